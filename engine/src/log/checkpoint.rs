//! Checkpoint files: the complete state of some partitions as of one cut of a journal (C1, C2), twice.
//!
//! ```text
//! 0      header block: "TLCKPT", version, fixed archive, checksum
//! 4096   body: rkyv archive of the partitions' state, body_bytes long, checksum seeded with the generation
//! ```
//! Invariant: the two files of a pair are written alternately and never both at once, so that one is always whole.
//! Runs on the shard's core, or on the recovering executor.

use std::io;

use rkyv::rancor::{Failure, Panic};
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Deserialize, Serialize};

use super::journal::files::TIDELOG_DIRECTORY;
use super::journal::format::Generation;
use super::journal::group::ChainEnd;
use super::read_again::read_again;
use crate::platform::{BLOCK_BYTES, Disk, File, OpenMode};
use crate::types::ShardId;

/// The version that this code writes and the only one it reads (RELIABILITY R12).
pub const CHECKPOINT_VERSION: u16 = 1;
const MAGIC: [u8; 6] = *b"TLCKPT";
const HEADER_BYTES: usize = 88;
const WRITE_BYTES: usize = 1 << 20;
/// The shard number of a node-wide start checkpoint.
const NODE_WIDE: u32 = u32::MAX;
/// Space that each file gets before its first use (C12c).
pub const CHECKPOINT_RESERVE_BYTES: u64 = 256 << 10;

const _: () = assert!(8 + size_of::<ArchivedHeaderFields>() == HEADER_BYTES);

/// What a checkpoint says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointHeader {
    /// The generation whose journal continues it.
    pub generation: Generation,
    /// The shard; `None` for the node-wide one that a start writes.
    pub shard: Option<ShardId>,
    /// Grows with every checkpoint of a pair.
    pub sequence: u64,
    /// Everything up to this group is in it and nothing later (C2).
    pub cut: ChainEnd,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
struct HeaderFields {
    generation_number: u64,
    generation_secret: [u8; 16],
    sequence: u64,
    cut_group_number: u64,
    cut_position: u64,
    body_bytes: u64,
    cut_checksum: u32,
    cut_file_number: u32,
    shard: u32,
    body_checksum: u32,
    reserved: u32,
    checksum: u32,
}

/// What was found under a checkpoint's name.
#[derive(Debug)]
pub enum FoundCheckpoint {
    /// No such file, or one that was never written.
    Missing,
    /// There, and not whole: what is wrong.
    Damaged(String),
    /// There, and the disk does not give it, however often it is asked.
    Unreadable(io::Error),
    /// Whole.
    Good(CheckpointHeader, Vec<u8>),
}

/// Which of the two files of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointCopy {
    /// `…-a`
    A,
    /// `…-b`
    B,
}

impl CheckpointCopy {
    /// The other one.
    pub fn other(self) -> CheckpointCopy {
        match self {
            CheckpointCopy::A => CheckpointCopy::B,
            CheckpointCopy::B => CheckpointCopy::A,
        }
    }
}

/// `tidelog/checkpoint-start-a`, `tidelog/checkpoint-<shard>-b`, ….
pub fn checkpoint_path(shard: Option<ShardId>, copy: CheckpointCopy) -> String {
    let letter = match copy {
        CheckpointCopy::A => 'a',
        CheckpointCopy::B => 'b',
    };
    match shard {
        Some(shard) => format!("{TIDELOG_DIRECTORY}/checkpoint-{}-{letter}", shard.0),
        None => format!("{TIDELOG_DIRECTORY}/checkpoint-start-{letter}"),
    }
}

/// Reads and checks a checkpoint file. An I/O error is neither absence nor damage, and often passes.
pub async fn read_checkpoint(disk: &Disk, path: &str) -> FoundCheckpoint {
    let bytes = match read_again(|| read_all(disk, path)).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return FoundCheckpoint::Missing,
        Err(error) => return FoundCheckpoint::Unreadable(error),
    };
    if bytes.iter().all(|byte| *byte == 0) {
        return FoundCheckpoint::Missing;
    }
    match decode(&bytes) {
        Ok((header, body)) => FoundCheckpoint::Good(header, body.to_vec()),
        Err(problem) => FoundCheckpoint::Damaged(problem.to_owned()),
    }
}

async fn read_all(disk: &Disk, path: &str) -> io::Result<bytes::Bytes> {
    if !disk.exists(path).await? {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = disk.open(path, OpenMode::Read).await?;
    let length = file.length().await?;
    file.read_at(0, usize::try_from(length).map_err(io::Error::other)?)
        .await
}

/// One file of a pair, open for writing.
pub struct CheckpointFile {
    file: File,
    allocated: u64,
}

impl CheckpointFile {
    /// Opens or makes the file, with space allocated. A new file's directory entry is not yet durable.
    pub async fn open(disk: &Disk, path: &str) -> io::Result<CheckpointFile> {
        let exists = disk.exists(path).await?;
        let file = disk
            .open(
                path,
                if exists {
                    OpenMode::Write
                } else {
                    OpenMode::Create
                },
            )
            .await?;
        let mut opened = CheckpointFile { file, allocated: 0 };
        opened.reserve(CHECKPOINT_RESERVE_BYTES).await?;
        Ok(opened)
    }

    /// Allocates space for a checkpoint of `bytes`, ahead of its growth (C12c).
    pub async fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.allocated {
            let target = bytes.next_multiple_of(CHECKPOINT_RESERVE_BYTES);
            self.file.allocate(0, target).await?;
            self.allocated = target;
        }
        Ok(())
    }

    /// Writes a whole checkpoint and flushes it. Returns its length.
    pub async fn write(
        &mut self,
        disk: &Disk,
        header: &CheckpointHeader,
        body: &[u8],
    ) -> io::Result<u64> {
        let total = BLOCK_BYTES + body.len();
        self.reserve(total as u64).await?;
        let mut first = disk.allocate_buffer(BLOCK_BYTES);
        encode_header(header, body, &mut first);
        let mut position = BLOCK_BYTES as u64;
        for chunk in body.chunks(WRITE_BYTES) {
            let mut buffer = disk.allocate_buffer(chunk.len());
            buffer[..chunk.len()].copy_from_slice(chunk);
            let length = buffer.len() as u64;
            self.file.write_at(buffer, position).await?;
            position += length;
        }
        self.file.write_at(first, 0).await?;
        self.file.fdatasync().await?;
        Ok(position)
    }
}

/// Fills the zeroed first block.
pub fn encode_header(header: &CheckpointHeader, body: &[u8], block: &mut [u8]) {
    let body_checksum = crc32c::crc32c_append(header.generation.seed(), body);
    let fields = header_fields(header, body.len() as u64, body_checksum);
    block[..6].copy_from_slice(&MAGIC);
    block[6..8].copy_from_slice(&CHECKPOINT_VERSION.to_le_bytes());
    write_fields(&fields, &mut block[8..HEADER_BYTES]);
    let checksum = crc32c::crc32c(&block[..HEADER_BYTES - 4]);
    block[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Header and body of a whole checkpoint, or what is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<(CheckpointHeader, &[u8]), &'static str> {
    let block = bytes
        .get(..BLOCK_BYTES)
        .ok_or("it is shorter than its header")?;
    if block[..6] != MAGIC {
        return Err("it does not begin like a checkpoint");
    }
    if block[6..8] != CHECKPOINT_VERSION.to_le_bytes() {
        return Err("its version is not supported");
    }
    let checksum = u32::from_le_bytes(
        block[HEADER_BYTES - 4..HEADER_BYTES]
            .try_into()
            .expect("four bytes"),
    );
    if crc32c::crc32c(&block[..HEADER_BYTES - 4]) != checksum {
        return Err("its header's checksum does not hold");
    }
    let fields = read_fields(&block[8..HEADER_BYTES]).ok_or("its header is malformed")?;
    let generation = Generation {
        number: fields.generation_number,
        secret: fields.generation_secret,
    };
    let body_bytes = usize::try_from(fields.body_bytes).map_err(|_| "its length is impossible")?;
    let body = bytes[BLOCK_BYTES..]
        .get(..body_bytes)
        .ok_or("it is shorter than it says")?;
    if crc32c::crc32c_append(generation.seed(), body) != fields.body_checksum {
        return Err("its body's checksum does not hold");
    }
    let shard = match fields.shard {
        NODE_WIDE => None,
        shard => Some(ShardId(
            u16::try_from(shard).map_err(|_| "its shard is impossible")?,
        )),
    };
    let cut = ChainEnd {
        group_number: fields.cut_group_number,
        checksum: fields.cut_checksum,
        file_number: fields.cut_file_number,
        position: fields.cut_position,
    };
    Ok((
        CheckpointHeader {
            generation,
            shard,
            sequence: fields.sequence,
            cut,
        },
        body,
    ))
}

fn header_fields(header: &CheckpointHeader, body_bytes: u64, body_checksum: u32) -> HeaderFields {
    HeaderFields {
        generation_number: header.generation.number,
        generation_secret: header.generation.secret,
        sequence: header.sequence,
        cut_group_number: header.cut.group_number,
        cut_position: header.cut.position,
        body_bytes,
        cut_checksum: header.cut.checksum,
        cut_file_number: header.cut.file_number,
        shard: header.shard.map_or(NODE_WIDE, |shard| u32::from(shard.0)),
        body_checksum,
        reserved: 0,
        checksum: 0,
    }
}

fn write_fields(fields: &HeaderFields, out: &mut [u8]) {
    rkyv::api::low::to_bytes_in_with_alloc::<_, _, Panic>(
        fields,
        Buffer::from(out),
        SubAllocator::new(&mut []),
    )
    .expect("a fixed-size archive fits the buffer of its size");
}

fn read_fields(bytes: &[u8]) -> Option<HeaderFields> {
    #[repr(align(16))]
    struct Aligned([u8; HEADER_BYTES - 8]);
    let aligned = Aligned(bytes.try_into().ok()?);
    let archived = rkyv::api::low::access::<ArchivedHeaderFields, Failure>(&aligned.0).ok()?;
    rkyv::api::low::deserialize::<HeaderFields, Failure>(archived).ok()
}

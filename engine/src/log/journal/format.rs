//! The bytes of a journal group: its header, its entry headers, their checksums.
//!
//! ```text
//! group (a multiple of 4 KiB, starts on a block):
//!   0                    group header, 96 bytes
//!   96                   front entry table, 80 bytes an entry
//!   …                    payloads, in table order, unpadded
//!   (8-aligned)          end entry table: the same bytes once more (C9)
//!   …                    zeros
//!   group_bytes − 96     group trailer: the header once more, other magic
//! ```
//! Every checksum is CRC-32C seeded with the generation's 128 secret bits (C8). The header's checksum covers the
//! table's checksum, the table covers each entry, an entry's checksum covers the batch's first 21 bytes, and those
//! contain Kafka's CRC of the rest: so the header's checksum names every byte of the group without a second pass over
//! the payload. All numbers are little-endian; archives are fixed-size rkyv archives without pointers; magic and
//! version stand outside of them. Pure functions, any thread. `engine/FORMAT.md` documents the same layout.

use rkyv::rancor::{Failure, Panic};
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Deserialize, Serialize};

use crate::types::{LeaderEpoch, Offset, PartitionId, TopicId};

/// The version that this code writes and the only one that it reads (RELIABILITY R12).
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of a group header and of its copy at the group's end.
pub const GROUP_HEADER_BYTES: usize = 96;
/// Bytes of an entry header.
pub const ENTRY_HEADER_BYTES: usize = 80;
/// The part of a batch that Kafka's CRC does not cover, and the CRC itself: baseOffset, batchLength,
/// partitionLeaderEpoch, magic, crc.
pub const BATCH_PREFIX_BYTES: usize = 21;
/// What an extent entry carries of its batch: the whole batch header.
pub const EXTENT_PAYLOAD_BYTES: usize = 61;

const PREAMBLE_BYTES: usize = 8;
const MAGIC_HEADER: [u8; 6] = *b"TLGRUP";
const MAGIC_TRAILER: [u8; 6] = *b"TLGEND";

const _: () = assert!(PREAMBLE_BYTES + size_of::<ArchivedGroupFields>() == GROUP_HEADER_BYTES);
const _: () = assert!(size_of::<ArchivedEntryFields>() == ENTRY_HEADER_BYTES);
const _: () = assert!(GROUP_HEADER_BYTES.is_multiple_of(8) && ENTRY_HEADER_BYTES.is_multiple_of(8));

/// One start of the node: a number that grows, and 128 random bits that no client ever sees (C8).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Grows by at least one with every start.
    pub number: u64,
    /// Random bits; part of every group header and the seed of every checksum.
    pub secret: [u8; 16],
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Generation({})", self.number) // the secret stays out of logs
    }
}

impl Generation {
    /// What every checksum of this generation starts from.
    pub fn seed(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.secret), &self.number.to_le_bytes())
    }
}

/// What a group says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader {
    /// The start that wrote it.
    pub generation: Generation,
    /// Never repeats in a shard's generation; the first is 1.
    pub group_number: u64,
    /// The highest group that was known flushed when this one was written.
    pub known_flushed: u64,
    /// Byte position in its file, so that a misdirected write is noticed.
    pub position: u64,
    /// Length with padding and trailer; a multiple of the block size.
    pub group_bytes: u32,
    /// Entries in each of the two tables.
    pub entry_count: u32,
    /// Where the end table starts, from the group's start.
    pub end_table_position: u32,
    /// Checksum of the entry table.
    pub table_checksum: u32,
    /// Header checksum of the group before; of the first group: 0.
    pub previous_checksum: u32,
    /// The shard whose journal this is.
    pub shard: u16,
    /// The slot number of the file it was written to.
    pub file_number: u32,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
struct GroupFields {
    group_number: u64,
    known_flushed: u64,
    position: u64,
    generation_number: u64,
    generation_secret: [u8; 16],
    group_bytes: u32,
    entry_count: u32,
    end_table_position: u32,
    table_checksum: u32,
    previous_checksum: u32,
    file_number: u32,
    shard: u16,
    reserved_a: u16,
    reserved_b: u32,
    reserved_c: u32,
    checksum: u32,
}

/// Which of the two copies of a group header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderCopy {
    /// At the group's first byte.
    Front,
    /// In the group's last bytes.
    Trailer,
}

impl GroupHeader {
    /// Writes the copy into `out` (exactly [`GROUP_HEADER_BYTES`]) and returns the group's checksum, which the next
    /// group names.
    pub fn encode(&self, copy: HeaderCopy, out: &mut [u8]) -> u32 {
        let checksum = self.checksum();
        out[..6].copy_from_slice(match copy {
            HeaderCopy::Front => &MAGIC_HEADER,
            HeaderCopy::Trailer => &MAGIC_TRAILER,
        });
        out[6..8].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        write_archive(&self.fields(checksum), &mut out[8..GROUP_HEADER_BYTES]);
        checksum
    }

    /// Reads a copy; `None` unless magic, version, plausibility and checksum all hold. Says nothing about the tables.
    pub fn decode(copy: HeaderCopy, bytes: &[u8]) -> Option<GroupHeader> {
        let magic = match copy {
            HeaderCopy::Front => &MAGIC_HEADER,
            HeaderCopy::Trailer => &MAGIC_TRAILER,
        };
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        if &bytes[..6] != magic || bytes[6..8] != FORMAT_VERSION.to_le_bytes() {
            return None;
        }
        let fields: GroupFields =
            read_archive::<GroupFields, ArchivedGroupFields, 88>(&bytes[8..])?;
        let header = GroupHeader {
            generation: Generation {
                number: fields.generation_number,
                secret: fields.generation_secret,
            },
            group_number: fields.group_number,
            known_flushed: fields.known_flushed,
            position: fields.position,
            group_bytes: fields.group_bytes,
            entry_count: fields.entry_count,
            end_table_position: fields.end_table_position,
            table_checksum: fields.table_checksum,
            previous_checksum: fields.previous_checksum,
            shard: fields.shard,
            file_number: fields.file_number,
        };
        // Byte for byte: a flip in a reserved field is damage as well.
        let mut image = [0; GROUP_HEADER_BYTES];
        header.encode(copy, &mut image);
        (image == bytes && header.is_plausible()).then_some(header)
    }

    /// The group's checksum: over every field of the header, seeded by the generation.
    pub fn checksum(&self) -> u32 {
        let mut image = [0u8; GROUP_HEADER_BYTES - PREAMBLE_BYTES];
        write_archive(&self.fields(0), &mut image);
        let seed = crc32c::crc32c_append(self.generation.seed(), &FORMAT_VERSION.to_le_bytes());
        crc32c::crc32c_append(seed, &image)
    }

    /// Bytes of one entry table.
    pub fn table_bytes(&self) -> usize {
        self.entry_count as usize * ENTRY_HEADER_BYTES
    }

    fn is_plausible(&self) -> bool {
        let group_bytes = u64::from(self.group_bytes);
        let table_bytes = u64::from(self.entry_count) * ENTRY_HEADER_BYTES as u64;
        let end_table = u64::from(self.end_table_position);
        group_bytes > 0
            && group_bytes.is_multiple_of(crate::platform::BLOCK_BYTES as u64)
            && self
                .position
                .is_multiple_of(crate::platform::BLOCK_BYTES as u64)
            && end_table >= GROUP_HEADER_BYTES as u64 + table_bytes
            && end_table + table_bytes + GROUP_HEADER_BYTES as u64 <= group_bytes
    }

    fn fields(&self, checksum: u32) -> GroupFields {
        GroupFields {
            group_number: self.group_number,
            known_flushed: self.known_flushed,
            position: self.position,
            generation_number: self.generation.number,
            generation_secret: self.generation.secret,
            group_bytes: self.group_bytes,
            entry_count: self.entry_count,
            end_table_position: self.end_table_position,
            table_checksum: self.table_checksum,
            previous_checksum: self.previous_checksum,
            file_number: self.file_number,
            shard: self.shard,
            reserved_a: 0,
            reserved_b: 0,
            reserved_c: 0,
            checksum,
        }
    }
}

/// What an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// A record batch; its bytes are the payload.
    Batch = 1,
    /// A record batch that already stands, flushed, in its segment; its 61-byte header is the payload.
    Extent = 2,
    /// The log start offset moved to `base_offset`.
    LogStartOffset = 3,
    /// The log was cut to end at `base_offset`; `leader_epoch` is the epoch that cut it.
    Truncate = 4,
    /// The partition is gone from this shard; its log ended at `last_offset`.
    PartitionClosed = 5,
}

/// What an entry says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHeader {
    /// What it records.
    pub kind: EntryKind,
    /// The partition it is about.
    pub partition: PartitionId,
    /// The batch's leader epoch, or the cutting epoch.
    pub leader_epoch: LeaderEpoch,
    /// First offset of the batch, or the offset that the kind is about.
    pub base_offset: Offset,
    /// Last offset of the batch.
    pub last_offset: Offset,
    /// Base offset of the segment that holds the batch.
    pub segment_base_offset: Offset,
    /// The batch's byte position in its segment.
    pub file_position: u64,
    /// The batch's length in its segment, in bytes.
    pub length: u32,
    /// Where the payload starts, from the group's start.
    pub payload_position: u32,
    /// The payload's length: `length` for a batch, 61 for an extent, else 0.
    pub payload_bytes: u32,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
struct EntryFields {
    kind: u8,
    reserved_a: u8,
    reserved_b: u16,
    partition_index: i32,
    topic_id: [u8; 16],
    base_offset: i64,
    last_offset: i64,
    segment_base_offset: i64,
    file_position: u64,
    leader_epoch: i32,
    length: u32,
    payload_position: u32,
    payload_bytes: u32,
    reserved_c: u32,
    checksum: u32,
}

impl EntryHeader {
    /// Writes the header with its checksum into `out` (exactly [`ENTRY_HEADER_BYTES`]). `prefix` is the start of the
    /// payload that the checksum covers: 21 bytes of a batch, all 61 of an extent, else empty.
    pub fn encode(&self, seed: u32, prefix: &[u8], out: &mut [u8]) {
        write_archive(&self.fields(self.checksum(seed, prefix)), out);
    }

    /// Reads a header from one table slot together with the checksum it claims; `None` if it is malformed.
    pub fn decode(bytes: &[u8]) -> Option<(EntryHeader, u32)> {
        let fields: EntryFields =
            read_archive::<EntryFields, ArchivedEntryFields, ENTRY_HEADER_BYTES>(bytes)?;
        let kind = match fields.kind {
            1 => EntryKind::Batch,
            2 => EntryKind::Extent,
            3 => EntryKind::LogStartOffset,
            4 => EntryKind::Truncate,
            5 => EntryKind::PartitionClosed,
            _ => return None,
        };
        let header = EntryHeader {
            kind,
            partition: PartitionId {
                topic_id: TopicId(fields.topic_id),
                index: fields.partition_index,
            },
            leader_epoch: LeaderEpoch(fields.leader_epoch),
            base_offset: Offset(fields.base_offset),
            last_offset: Offset(fields.last_offset),
            segment_base_offset: Offset(fields.segment_base_offset),
            file_position: fields.file_position,
            length: fields.length,
            payload_position: fields.payload_position,
            payload_bytes: fields.payload_bytes,
        };
        header.is_plausible().then_some((header, fields.checksum))
    }

    /// How many bytes of the payload the entry's checksum covers.
    pub fn covered_bytes(&self) -> usize {
        match self.kind {
            EntryKind::Batch => BATCH_PREFIX_BYTES,
            EntryKind::Extent => EXTENT_PAYLOAD_BYTES,
            _ => 0,
        }
    }

    /// The checksum over the header and the covered bytes of the payload.
    pub fn checksum(&self, seed: u32, prefix: &[u8]) -> u32 {
        assert_eq!(
            prefix.len(),
            self.covered_bytes(),
            "an entry's checksum covers exactly its prefix"
        );
        let mut image = [0u8; ENTRY_HEADER_BYTES];
        write_archive(&self.fields(0), &mut image);
        crc32c::crc32c_append(crc32c::crc32c_append(seed, &image), prefix)
    }

    fn is_plausible(&self) -> bool {
        match self.kind {
            EntryKind::Batch | EntryKind::Extent => {
                let expected = if self.kind == EntryKind::Batch {
                    self.length
                } else {
                    EXTENT_PAYLOAD_BYTES as u32
                };
                self.length as usize >= EXTENT_PAYLOAD_BYTES
                    && self.payload_bytes == expected
                    && self.base_offset.0 >= 0
                    && self.last_offset >= self.base_offset
                    && self.segment_base_offset <= self.base_offset
            }
            _ => self.payload_bytes == 0,
        }
    }

    fn fields(&self, checksum: u32) -> EntryFields {
        EntryFields {
            kind: self.kind as u8,
            reserved_a: 0,
            reserved_b: 0,
            partition_index: self.partition.index,
            topic_id: self.partition.topic_id.0,
            base_offset: self.base_offset.0,
            last_offset: self.last_offset.0,
            segment_base_offset: self.segment_base_offset.0,
            file_position: self.file_position,
            leader_epoch: self.leader_epoch.0,
            length: self.length,
            payload_position: self.payload_position,
            payload_bytes: self.payload_bytes,
            reserved_c: 0,
            checksum,
        }
    }
}

/// The checksum of a whole entry table.
pub fn table_checksum(seed: u32, table: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, table)
}

/// A pointer-free archive written into a slice of exactly its size.
fn write_archive<T>(value: &T, out: &mut [u8])
where
    T: for<'b> Serialize<rkyv::api::low::LowSerializer<Buffer<'b>, SubAllocator<'b>, Panic>>,
{
    let length = out.len();
    let written = rkyv::api::low::to_bytes_in_with_alloc::<_, _, Panic>(
        value,
        Buffer::from(out),
        SubAllocator::new(&mut []),
    )
    .expect("a fixed-size archive fits the buffer of its size");
    debug_assert_eq!(written.len(), length);
}

/// Checked access to a pointer-free archive; copied first, so that the source needs no alignment.
fn read_archive<T, A, const BYTES: usize>(bytes: &[u8]) -> Option<T>
where
    A: rkyv::Portable
        + for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::low::LowValidator<'a, Failure>>
        + Deserialize<T, rkyv::api::low::LowDeserializer<Failure>>,
{
    #[repr(align(16))]
    struct Aligned<const BYTES: usize>([u8; BYTES]);
    let aligned = Aligned::<BYTES>(bytes.try_into().ok()?);
    let archived = rkyv::api::low::access::<A, Failure>(&aligned.0).ok()?;
    rkyv::api::low::deserialize::<T, Failure>(archived).ok()
}

//! Writes what replay brings back into segments: contiguous runs, partial blocks by read-modify-write (C3). On the
//! recovering executor.
//!
//! Invariant: no byte outside a replayed batch changes, except zeros behind the end of the file; and writing the same
//! again changes nothing, so a recovery may be cut anywhere and run again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;

use super::journal::commit::join_all;
use super::read_again::read_again;
use super::segment_files::segment_path;
use crate::platform::{BLOCK_BYTES, Disk, File, OpenMode};
use crate::types::{Offset, PartitionId};

/// A write is at most about this long.
const RUN_BYTES: usize = 1 << 20;
/// Segment files open at once.
const FILES_MAX: usize = 256;
/// Partitions whose runs are written side by side.
const WRITES_TOGETHER: usize = 64;

struct Run {
    base: Offset,
    position: u64,
    bytes: usize,
    pieces: Vec<Bytes>,
}

/// What is to be written of one partition, in order.
struct Runs {
    directory: String,
    runs: Vec<Run>,
}

/// Gathers and writes runs.
pub(crate) struct RecoveryWriter<'a> {
    disk: &'a Disk,
    runs: BTreeMap<PartitionId, Runs>,
    total: usize,
    /// Everything is written when so many bytes are gathered: the longer the runs, the fewer the writes.
    total_max: usize,
    files: RefCell<BTreeMap<(PartitionId, Offset), File>>,
    directories: RefCell<BTreeSet<String>>,
    /// Behind the last byte written of each segment.
    written: RefCell<BTreeMap<(PartitionId, Offset), u64>>,
}

impl<'a> RecoveryWriter<'a> {
    pub(crate) fn new(disk: &'a Disk, total_max: usize) -> RecoveryWriter<'a> {
        RecoveryWriter {
            disk,
            runs: BTreeMap::new(),
            total: 0,
            total_max,
            files: RefCell::default(),
            directories: RefCell::default(),
            written: RefCell::default(),
        }
    }

    /// Adds a batch's bytes.
    pub(crate) async fn write(
        &mut self,
        id: PartitionId,
        directory: &str,
        base: Offset,
        position: u64,
        bytes: Bytes,
    ) -> io::Result<()> {
        let Runs { runs, .. } = self.runs.entry(id).or_insert_with(|| Runs {
            directory: directory.to_owned(),
            runs: Vec::new(),
        });
        self.total += bytes.len();
        match runs.last_mut().filter(|run| {
            run.base == base
                && run.position + run.bytes as u64 == position
                && run.bytes + bytes.len() <= RUN_BYTES
        }) {
            Some(run) => {
                run.bytes += bytes.len();
                run.pieces.push(bytes);
            }
            None => runs.push(Run {
                base,
                position,
                bytes: bytes.len(),
                pieces: vec![bytes],
            }),
        }
        if self.total >= self.total_max {
            self.flush_all().await?;
        }
        Ok(())
    }

    /// The bytes of a segment, with what was added and not yet written in place; `None` if they cannot be read. The
    /// error is that of writing: what was added would be lost with it.
    pub(crate) async fn read(
        &mut self,
        id: PartitionId,
        directory: &str,
        base: Offset,
        position: u64,
        length: usize,
    ) -> io::Result<Option<Bytes>> {
        self.flush_partition(id).await?;
        let file = self.open(id, directory, base).await?;
        // What cannot be read is taken for lost: a quarantine is for good, a read error often is not.
        Ok(read_again(|| file.read_at(position, length)).await.ok())
    }

    /// Writes all runs. New directory entries are not yet durable: [`RecoveryWriter::sync_new_names`].
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.flush_all().await?;
        self.files.borrow_mut().clear();
        Ok(())
    }

    /// Behind the last byte that was written of a segment; 0 if none was.
    pub(crate) fn written_end(&self, id: PartitionId, base: Offset) -> u64 {
        self.written.borrow().get(&(id, base)).copied().unwrap_or(0)
    }

    /// Makes the directory entries of new segments durable; one by one, as no flush of a file system follows.
    pub(crate) async fn sync_new_names(&mut self) -> io::Result<()> {
        for directory in self.directories.take() {
            self.disk.sync_directory(&directory).await?;
        }
        Ok(())
    }

    async fn flush_all(&mut self) -> io::Result<()> {
        let mut all = std::mem::take(&mut self.runs).into_iter().peekable();
        self.total = 0;
        while all.peek().is_some() {
            let together = all.by_ref().take(WRITES_TOGETHER);
            let writes = together.map(|(id, runs)| self.write_runs(id, runs));
            join_all(writes.collect()).await?;
        }
        Ok(())
    }

    async fn flush_partition(&mut self, id: PartitionId) -> io::Result<()> {
        let Some(runs) = self.runs.remove(&id) else {
            return Ok(());
        };
        self.total -= runs.runs.iter().map(|run| run.bytes).sum::<usize>();
        self.write_runs(id, runs).await
    }

    /// One after the other: neighbours share a block.
    async fn write_runs(&self, id: PartitionId, runs: Runs) -> io::Result<()> {
        for run in runs.runs {
            self.write_run(id, &runs.directory, run).await?;
        }
        Ok(())
    }

    async fn write_run(&self, id: PartitionId, directory: &str, run: Run) -> io::Result<()> {
        let file = self.open(id, directory, run.base).await?;
        let block = BLOCK_BYTES as u64;
        let run_end = run.position + run.bytes as u64;
        let start = run.position / block * block;
        let end = run_end.next_multiple_of(block);
        let mut buffer = self.disk.allocate_buffer((end - start) as usize);
        let (starts_inside, ends_inside) = (start < run.position, run_end < end);
        let one_block = end - start == block;
        let edges = [
            (start, starts_inside),
            (end - block, ends_inside && !(one_block && starts_inside)),
        ];
        for (edge, _) in edges.into_iter().filter(|(_, shared)| *shared) {
            let old = file.read_at(edge, BLOCK_BYTES).await?;
            let at = (edge - start) as usize;
            buffer[at..at + old.len()].copy_from_slice(&old);
        }
        let mut at = (run.position - start) as usize;
        for piece in run.pieces {
            buffer[at..at + piece.len()].copy_from_slice(&piece);
            at += piece.len();
        }
        file.write_at(buffer, start).await?;
        let mut written = self.written.borrow_mut();
        let known_end = written.entry((id, run.base)).or_default();
        *known_end = run_end.max(*known_end);
        Ok(())
    }

    async fn open(&self, id: PartitionId, directory: &str, base: Offset) -> io::Result<File> {
        if let Some(file) = self.files.borrow().get(&(id, base)) {
            return Ok(file.clone());
        }
        let path = segment_path(directory, base);
        let file = match self.disk.open(&path, OpenMode::Write).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.directories.borrow_mut().insert(directory.to_owned());
                self.disk.open(&path, OpenMode::Create).await?
            }
            result => result?,
        };
        let mut files = self.files.borrow_mut();
        if files.len() >= FILES_MAX {
            files.pop_first();
        }
        files.insert((id, base), file.clone());
        Ok(file)
    }
}

//! Writes what replay brings back into segments: contiguous runs, partial blocks by read-modify-write (C3). On the
//! recovering executor.
//!
//! Invariant: no byte outside a replayed batch changes, except zeros behind the end of the file; and writing the same
//! again changes nothing, so a recovery may be cut anywhere and run again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::segment_files::segment_path;
use crate::platform::{BLOCK_BYTES, Disk, File, OpenMode};
use crate::types::{Offset, PartitionId};

/// A run is written when it reaches this length …
const RUN_BYTES: usize = 1 << 20;
/// … and all runs when together they reach this.
const TOTAL_BYTES_MAX: usize = 64 << 20;
/// Segment files open at once.
const FILES_MAX: usize = 256;
/// What cannot be read so often is taken for lost: a quarantine is for good, a read error often is not.
const READS_MAX: usize = 5;

struct Run {
    base: Offset,
    position: u64,
    bytes: Vec<u8>,
}

/// Gathers and writes runs.
pub(crate) struct RecoveryWriter<'a> {
    disk: &'a Disk,
    runs: BTreeMap<PartitionId, (String, Run)>,
    total: usize,
    files: BTreeMap<(PartitionId, Offset), File>,
    directories: BTreeSet<String>,
}

impl<'a> RecoveryWriter<'a> {
    pub(crate) fn new(disk: &'a Disk) -> RecoveryWriter<'a> {
        RecoveryWriter {
            disk,
            runs: BTreeMap::new(),
            total: 0,
            files: BTreeMap::new(),
            directories: BTreeSet::new(),
        }
    }

    /// Adds a batch's bytes.
    pub(crate) async fn write(
        &mut self,
        id: PartitionId,
        directory: &str,
        base: Offset,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let continues = self.runs.get(&id).is_some_and(|(_, run)| {
            run.base == base
                && run.position + run.bytes.len() as u64 == position
                && run.bytes.len() + bytes.len() <= RUN_BYTES
        });
        if !continues {
            self.flush_partition(id).await?;
            self.runs.insert(
                id,
                (
                    directory.to_owned(),
                    Run {
                        base,
                        position,
                        bytes: Vec::new(),
                    },
                ),
            );
        }
        let (_, run) = self.runs.get_mut(&id).expect("it was just made");
        run.bytes.extend_from_slice(bytes);
        self.total += bytes.len();
        if self.total >= TOTAL_BYTES_MAX {
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
    ) -> io::Result<Option<bytes::Bytes>> {
        self.flush_partition(id).await?;
        let file = self.open(id, directory, base).await?;
        for _ in 0..READS_MAX {
            if let Ok(bytes) = file.read_at(position, length).await {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Writes all runs and makes new directory entries durable.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.flush_all().await?;
        for directory in std::mem::take(&mut self.directories) {
            self.disk.sync_directory(&directory).await?;
        }
        self.files.clear();
        Ok(())
    }

    async fn flush_all(&mut self) -> io::Result<()> {
        let ids: Vec<PartitionId> = self.runs.keys().copied().collect();
        for id in ids {
            self.flush_partition(id).await?;
        }
        Ok(())
    }

    async fn flush_partition(&mut self, id: PartitionId) -> io::Result<()> {
        let Some((directory, run)) = self.runs.remove(&id) else {
            return Ok(());
        };
        self.total -= run.bytes.len();
        let file = self.open(id, &directory, run.base).await?;
        let block = BLOCK_BYTES as u64;
        let start = run.position / block * block;
        let end = (run.position + run.bytes.len() as u64).next_multiple_of(block);
        let mut buffer = self.disk.allocate_buffer((end - start) as usize);
        for edge in [start, end - block] {
            let old = file.read_at(edge, BLOCK_BYTES).await?;
            let at = (edge - start) as usize;
            buffer[at..at + old.len()].copy_from_slice(&old);
        }
        let at = (run.position - start) as usize;
        buffer[at..at + run.bytes.len()].copy_from_slice(&run.bytes);
        file.write_at(buffer, start).await
    }

    async fn open(&mut self, id: PartitionId, directory: &str, base: Offset) -> io::Result<File> {
        if let Some(file) = self.files.get(&(id, base)) {
            return Ok(file.clone());
        }
        if self.files.len() >= FILES_MAX {
            self.files.pop_first();
        }
        let path = segment_path(directory, base);
        let mode = match self.disk.exists(&path).await? {
            true => OpenMode::Write,
            false => {
                self.directories.insert(directory.to_owned());
                OpenMode::Create
            }
        };
        let file = self.disk.open(&path, mode).await?;
        self.files.insert((id, base), file.clone());
        Ok(file)
    }
}

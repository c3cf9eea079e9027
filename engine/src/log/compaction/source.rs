//! Reads a closed segment from its begin to its end for the cleaner: whole index runs, every checksum verified. On the
//! shard's core.
//!
//! Invariant: bytes that cannot be proved are never handed out; they are named, and their segment is left alone.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use bytes::Bytes;

use crate::log::damage::divide;
use crate::log::index::SegmentIndex;
use crate::log::leader_epochs::LeaderEpochs;
use crate::log::quarantine::QuarantinedRange;
use crate::log::segment_indexes::index_of;
use crate::log::storage_shard::Shard;
use crate::platform::File;
use crate::types::{Offset, PartitionId};

/// Why there is nothing more to read.
pub(crate) enum SourceError {
    /// These offsets are damaged.
    Damaged(Vec<QuarantinedRange>),
    /// The disk did not answer, or the segment is gone.
    Io(io::Error),
}

impl From<io::Error> for SourceError {
    fn from(error: io::Error) -> Self {
        SourceError::Io(error)
    }
}

/// A segment being read.
pub(crate) struct Source {
    file: File,
    index: Rc<RefCell<SegmentIndex>>,
    next_run: usize,
    epochs: LeaderEpochs,
    /// Bytes read at once, or one run.
    chunk_bytes: usize,
}

impl Source {
    /// Opens the segment in front of the batch that holds `from`.
    pub(crate) async fn open(
        shard: &Shard,
        id: PartitionId,
        directory: &str,
        base: Offset,
        from: Offset,
    ) -> io::Result<Source> {
        let index = index_of(shard, id, base).await?;
        let file = shard
            .files
            .readable(&shard.disk, id, directory, base)
            .await?;
        let next_run = index.borrow().run_of_offset(from).unwrap_or(0);
        let epochs = shard.with_partition(id, |partition| partition.log.epochs().clone());
        Ok(Source {
            file,
            index,
            next_run,
            epochs: epochs.unwrap_or_default(),
            chunk_bytes: shard.cleaner_settings.get().chunk_bytes(),
        })
    }

    /// The next whole batches; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let (start, length, runs) = {
            let index = self.index.borrow();
            let mut length = 0usize;
            let mut runs = 0;
            while self.next_run + runs < index.run_count()
                && (runs == 0 || length < self.chunk_bytes)
            {
                length += index.run(self.next_run + runs).length as usize;
                runs += 1;
            }
            if runs == 0 {
                return Ok(None);
            }
            (index.run(self.next_run).position, length, runs)
        };
        let bytes = self.file.read_at(u64::from(start.0), length).await?;
        let epochs = || self.epochs.clone();
        let index = self.index.borrow();
        let division = divide(&index, self.next_run, start, &bytes, length, epochs);
        drop(index);
        if !division.damaged.is_empty() {
            let ranges = division.damaged.into_iter().map(|(range, _)| range);
            return Err(SourceError::Damaged(ranges.collect()));
        }
        self.next_run += runs;
        Ok(Some(bytes))
    }
}

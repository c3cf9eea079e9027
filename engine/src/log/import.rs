//! Takes in a Kafka partition directory: from the bytes of its segments to the state a checkpoint would hold.
//!
//! The batches themselves are the only authority. Kafka's `.index`, `.timeindex`, `.txnindex` and `.snapshot` are not
//! looked at; `leader-epoch-checkpoint` adds epochs without records where it agrees with the batches. A torn or
//! damaged tail of the **last** segment is cut, as Kafka's recovery would. Damage anywhere else is refused by name:
//! Kafka would delete everything behind it (RELIABILITY R3).
//!
//! Plain computation over bytes that the caller reads; runs with the node stopped.

use super::config::LogConfig;
use super::index::{IndexBuilder, RUN_INTERVAL_BYTES};
use super::leader_epochs::LeaderEpochs;
use super::partition_checkpoint::PartitionCheckpoint;
use super::partition_log::{PartitionLog, ReplayedBatch};
use super::producer_state::ProducerCount;
use super::segment_scanner::{Fed, ScanEnd, SegmentScanner};
use super::transactions::TransactionMarker;
use crate::types::{FilePosition, LeaderEpoch, Offset, PartitionId};
use net::records::Batch;
use thiserror::Error;

/// Why a directory is not taken in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImportError {
    /// There is no segment.
    #[error("the directory holds no segment")]
    NoSegment,
    /// Good data lies behind bad data; nothing is thrown away silently.
    #[error("segment {segment} is damaged at byte {position} ({end:?}) and later segments exist")]
    Damaged {
        /// Base offset of the segment.
        segment: Offset,
        /// Where its valid part ends.
        position: FilePosition,
        /// How the damage shows.
        end: ScanEnd,
    },
    /// Segments or batches contradict each other.
    #[error("segment {segment} at byte {position}: {problem}")]
    Contradiction {
        /// Base offset of the segment.
        segment: Offset,
        /// Where.
        position: FilePosition,
        /// What does not fit.
        problem: &'static str,
    },
}

/// The tail that was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutTail {
    /// Base offset of the last segment.
    pub segment: Offset,
    /// Length to which its file has to be cut.
    pub valid_bytes: FilePosition,
    /// Length it had.
    pub file_bytes: u64,
    /// Why.
    pub end: ScanEnd,
}

/// A directory taken in.
#[derive(Debug)]
pub struct ImportedLog {
    /// State for the checkpoint.
    pub checkpoint: PartitionCheckpoint,
    /// Sidecar index of each segment, in order.
    pub indexes: Vec<IndexBuilder>,
    /// What was cut off the end.
    pub cut: Option<CutTail>,
}

/// An import under way.
#[derive(Debug)]
pub struct Import {
    id: PartitionId,
    directory: String,
    now_ms: i64,
    log: Option<PartitionLog>,
    current: Option<(Offset, u64, SegmentScanner)>,
    indexes: Vec<IndexBuilder>,
}

impl Import {
    /// Begins; `directory` is the partition's name in **our** data directory.
    pub fn new(id: PartitionId, directory: &str, now_ms: i64) -> Import {
        Import {
            id,
            directory: directory.to_owned(),
            now_ms,
            log: None,
            current: None,
            indexes: Vec::new(),
        }
    }

    /// Opens the next segment, in the order of base offsets. `created_ms` is the file's age, for `segment.ms`.
    pub fn start_segment(
        &mut self,
        base: Offset,
        file_length: u64,
        created_ms: i64,
    ) -> Result<(), ImportError> {
        self.finish_segment(false)?;
        match &mut self.log {
            None => {
                let checkpoint = PartitionCheckpoint {
                    log_start: base,
                    end_offset: base,
                    segments: vec![super::segment::SegmentInfo::empty(base, created_ms)],
                    ..PartitionCheckpoint::empty(
                        self.id,
                        &self.directory,
                        LeaderEpoch(-1),
                        created_ms,
                    )
                };
                let log = PartitionLog::restore(
                    checkpoint,
                    LogConfig::default(),
                    ProducerCount::default(),
                );
                self.log = Some(log.map_err(|problem| ImportError::Contradiction {
                    segment: base,
                    position: FilePosition(0),
                    problem,
                })?);
            }
            Some(log) => {
                // An empty segment in the middle is skipped: it holds nothing and its name is free.
                if log.segments().active().size == 0 {
                    self.indexes.pop();
                }
                log.replay_roll(base, created_ms).map_err(|problem| {
                    ImportError::Contradiction {
                        segment: base,
                        position: FilePosition(0),
                        problem,
                    }
                })?;
            }
        }
        self.current = Some((
            base,
            file_length,
            SegmentScanner::new(base, file_length, created_ms, RUN_INTERVAL_BYTES),
        ));
        Ok(())
    }

    /// Takes bytes of the open segment from [`Self::position`] on; see [`SegmentScanner::feed`].
    ///
    /// # Panics
    /// If no segment is open.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, ImportError> {
        let (segment, _, scanner) = self.current.as_mut().expect("a segment is open");
        let log = self.log.as_mut().expect("a segment is open");
        let (segment, now_ms) = (*segment, self.now_ms);
        let mut result = Ok(());
        let fed = scanner.feed(bytes, |batch, position| {
            if result.is_ok() {
                result = replay(log, batch, segment, position, now_ms).map_err(|problem| {
                    ImportError::Contradiction {
                        segment,
                        position,
                        problem,
                    }
                });
            }
        });
        result.map(|()| fed)
    }

    /// Where the next bytes of the open segment have to come from.
    pub fn position(&self) -> FilePosition {
        self.current
            .as_ref()
            .map_or(FilePosition(0), |(_, _, scanner)| scanner.position())
    }

    fn finish_segment(&mut self, last: bool) -> Result<Option<CutTail>, ImportError> {
        let Some((segment, file_bytes, scanner)) = self.current.take() else {
            return Ok(None);
        };
        let (position, end) = (scanner.position(), scanner.end());
        let complete = u64::from(position.0) == file_bytes;
        // A scan that was not fed to its end counts as torn where it stopped.
        let end = end.unwrap_or(ScanEnd::Torn);
        if !complete && !last {
            return Err(ImportError::Damaged {
                segment,
                position,
                end,
            });
        }
        self.indexes.push(scanner.into_index());
        Ok((!complete).then_some(CutTail {
            segment,
            valid_bytes: position,
            file_bytes,
            end,
        }))
    }

    /// Ends the import. `log_start` and `epochs` come from Kafka's `log-start-offset-checkpoint` and
    /// `leader-epoch-checkpoint` where there are any.
    pub fn finish(
        mut self,
        log_start: Option<Offset>,
        epochs: Option<Vec<(LeaderEpoch, Offset)>>,
    ) -> Result<ImportedLog, ImportError> {
        let cut = self.finish_segment(true)?;
        let mut log = self.log.ok_or(ImportError::NoSegment)?;
        if let Some(log_start) = log_start {
            let removed = log.apply_log_start(log_start);
            self.indexes.drain(..removed.len());
        }
        let mut checkpoint = log.snapshot();
        // Also an epoch without a record was in use, so the next leader's must be above it.
        let newest = epochs
            .iter()
            .flatten()
            .map(|(epoch, _)| *epoch)
            .max()
            .unwrap_or_default();
        if let Some(epochs) = epochs.and_then(|entries| confirmed_epochs(entries, &checkpoint)) {
            checkpoint.epochs = epochs;
        }
        checkpoint.leader_epoch = checkpoint
            .epochs
            .last()
            .map_or(newest, |(epoch, _)| newest.max(*epoch));
        Ok(ImportedLog {
            checkpoint,
            indexes: self.indexes,
            cut,
        })
    }
}

/// Counts one batch.
fn replay(
    log: &mut PartitionLog,
    batch: &Batch<'_>,
    segment_base: Offset,
    file_position: FilePosition,
    now_ms: i64,
) -> Result<(), &'static str> {
    let header = batch.header();
    let marker = if header.is_control() {
        TransactionMarker::parse(batch.bytes())?
    } else {
        None
    };
    log.replay_batch(&ReplayedBatch {
        header,
        marker,
        segment_base,
        file_position,
        size: batch.bytes().len() as u32,
        now_ms,
    })
}

/// The file's epochs, if every epoch that the batches show stands in them and begins no later.
fn confirmed_epochs(
    entries: Vec<(LeaderEpoch, Offset)>,
    scanned: &PartitionCheckpoint,
) -> Option<Vec<(LeaderEpoch, Offset)>> {
    let mut file = LeaderEpochs::restore(entries)?;
    file.truncate(scanned.end_offset);
    file.remove_below(scanned.log_start);
    let agrees = scanned
        .epochs
        .iter()
        .all(|(epoch, start)| file.epoch_of(*start) == Some(*epoch));
    agrees.then(|| file.entries().to_vec())
}

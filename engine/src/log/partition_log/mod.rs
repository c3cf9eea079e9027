//! **Where an offset is decided.** One partition's log as a plain struct: [`PartitionLog::plan_append`] gives a batch
//! its offset, its leader epoch and its place in a segment; [`PartitionLog::apply_append`] makes it visible once the
//! edge says that it is durable; [`PartitionLog::plan_read`] says what a reader may see.
//!
//! Invariants: offsets are given in the order of calls, without gaps; the high watermark is the end of the longest
//! run of plans that are all durable, so a reader never sees what a power cut could take; the last stable offset is
//! the first offset of the oldest open transaction, or the high watermark. No I/O, no clock, no await: time comes in
//! with the request. Lives on the partition's one core.
//!
//! A batch arrives ready: LogAppendTime and a topic's own `compression.type` were applied by validation on the
//! connection's core (see [`super::append`]), so planning only stamps the prefix.
//!
//! Here is the state, and the one setter of its offsets. `append`, `read`, `ends` (where the log starts and ends),
//! `swap` (compaction) and `replay` (recovery) hold what is decided on it.

mod append;
mod ends;
mod read;
mod replay;
mod swap;

pub use super::append::{Placement, ReplayedBatch};
use super::config::LogConfig;
use super::leader_epochs::LeaderEpochs;
use super::offsets::LogOffsets;
use super::partition_checkpoint::PartitionCheckpoint;
use super::producer_state::{ProducerAppend, ProducerCount, ProducerState};
use super::quarantine::{Quarantine, QuarantinedRange};
use super::segment::{SegmentInfo, SegmentList};
use super::transactions::AbortedTransactions;
use crate::types::{LeaderEpoch, Offset, PartitionId};
use std::collections::VecDeque;

/// A plan that is not yet applied.
#[derive(Debug)]
struct Planned {
    base_offset: Offset,
    last_offset: Offset,
    leader_epoch: LeaderEpoch,
    producer: Option<ProducerAppend>,
    /// The active segment before this plan, to undo it and to know what is durable.
    segment_before: SegmentInfo,
    finished: bool,
}

/// One partition's log.
#[derive(Debug)]
pub struct PartitionLog {
    id: PartitionId,
    directory: String,
    config: LogConfig,
    offsets: LogOffsets,
    leader_epoch: LeaderEpoch,
    epochs: LeaderEpochs,
    producers: ProducerState,
    aborted: AbortedTransactions,
    segments: SegmentList,
    planned: VecDeque<Planned>,
    quarantine: Quarantine,
    /// Offsets of the segments that are being replaced by a cleaned one.
    swapping: Option<(Offset, Offset)>,
}

impl PartitionLog {
    /// An empty log. `directory` is its name in the data directory, such as `orders-0`.
    pub fn create(
        id: PartitionId,
        directory: &str,
        leader_epoch: LeaderEpoch,
        config: LogConfig,
        producers: ProducerCount,
        now_ms: i64,
    ) -> PartitionLog {
        let mut epochs = LeaderEpochs::default();
        epochs.assign(leader_epoch, Offset(0));
        PartitionLog {
            id,
            directory: directory.to_owned(),
            config,
            offsets: LogOffsets::default(),
            leader_epoch,
            epochs,
            producers: ProducerState::new(producers),
            aborted: AbortedTransactions::default(),
            segments: SegmentList::new(Offset(0), now_ms),
            planned: VecDeque::new(),
            quarantine: Quarantine::default(),
            swapping: None,
        }
    }

    /// A log as a checkpoint describes it; the error names what contradicts itself.
    pub fn restore(
        checkpoint: PartitionCheckpoint,
        config: LogConfig,
        producers: ProducerCount,
    ) -> Result<PartitionLog, &'static str> {
        let segments = SegmentList::restore(checkpoint.segments)
            .ok_or("segments are missing or out of order")?;
        let epochs =
            LeaderEpochs::restore(checkpoint.epochs).ok_or("leader epochs are out of order")?;
        if checkpoint.log_start < Offset(0)
            || checkpoint.log_start > checkpoint.end_offset
            || segments.active().base_offset > checkpoint.end_offset
        {
            return Err("log start, segments and end offset are out of order");
        }
        let mut log = PartitionLog {
            id: checkpoint.id,
            directory: checkpoint.directory,
            config,
            offsets: LogOffsets::new(checkpoint.log_start, checkpoint.end_offset),
            leader_epoch: checkpoint.leader_epoch,
            epochs,
            producers: ProducerState::restore(producers, checkpoint.producers),
            aborted: AbortedTransactions::restore(checkpoint.aborted),
            segments,
            planned: VecDeque::new(),
            quarantine: Quarantine::restore(
                checkpoint.quarantined,
                checkpoint.stepped_over,
                checkpoint.end_unproved,
            ),
            swapping: None,
        };
        log.move_offsets(
            checkpoint.log_start,
            checkpoint.end_offset,
            checkpoint.end_offset,
        );
        Ok(log)
    }

    /// The state after everything that is applied and before anything that is only planned (STORAGE C2).
    pub fn snapshot(&self) -> PartitionCheckpoint {
        PartitionCheckpoint {
            id: self.id,
            directory: self.directory.clone(),
            leader_epoch: self.leader_epoch,
            log_start: self.offsets.log_start(),
            end_offset: self.offsets.high_watermark(),
            segments: self.durable_segments(),
            epochs: self.epochs.entries().to_vec(),
            producers: self
                .producers
                .iter()
                .map(|(id, entry)| (id, entry.clone()))
                .collect(),
            aborted: self.aborted.iter().copied().collect(),
            quarantined: self.quarantine.ranges().to_vec(),
            stepped_over: self.quarantine.stepped_over().to_vec(),
            end_unproved: self.quarantine.end_unproved,
        }
    }

    /// Which partition this is.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Its directory's name in the data directory.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The topic's settings as far as the log is concerned.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Takes over changed settings; they hold from the next plan on.
    pub fn configure(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The four offsets.
    pub fn offsets(&self) -> &LogOffsets {
        &self.offsets
    }

    /// The epoch of the present leader.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The history of leader epochs.
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// What is remembered of producers.
    pub fn producers(&self) -> &ProducerState {
        &self.producers
    }

    /// Aborted transactions that the log still holds.
    pub fn aborted(&self) -> &AbortedTransactions {
        &self.aborted
    }

    /// All segments; the active one's numbers include plans that are not durable yet.
    pub fn segments(&self) -> &SegmentList {
        &self.segments
    }

    /// The segments without what is only planned.
    pub fn durable_segments(&self) -> Vec<SegmentInfo> {
        let all = self.segments.as_slice();
        match self.planned.front() {
            None => all.to_vec(),
            Some(first) => {
                let mut durable =
                    all[..=self.segments.index_of(first.segment_before.base_offset)].to_vec();
                *durable
                    .last_mut()
                    .expect("a partition always has a segment") = first.segment_before;
                durable
            }
        }
    }

    /// Damaged ranges that are kept but not served.
    pub fn quarantined(&self) -> &[QuarantinedRange] {
        self.quarantine.ranges()
    }

    /// Forgets producers silent for `producer.id.expiration.ms`; returns how many.
    pub fn expire_producers(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        self.producers.expire(now_ms, expiration_ms)
    }

    /// The node is back: the time it was down does not count as silence of its producers.
    pub fn resume_producers(&mut self, now_ms: i64) {
        self.producers.touch_all(now_ms);
    }

    /// This node leads the partition under `epoch` from here on. Kafka notes the epoch at once, with the log end as
    /// its start, so that an epoch without records is known too.
    ///
    /// # Panics
    /// If the epoch goes back.
    pub fn become_leader(&mut self, epoch: LeaderEpoch) {
        assert!(
            epoch >= self.leader_epoch,
            "leader epochs never go back: {epoch} after {}",
            self.leader_epoch
        );
        self.leader_epoch = epoch;
        self.epochs.assign(epoch, self.offsets.log_end());
    }

    /// A range turned out damaged: it is kept, and no longer served.
    pub fn quarantine(&mut self, range: QuarantinedRange) {
        self.quarantine.add(range);
    }

    /// Whether the end cannot be proved.
    pub fn end_is_unproved(&self) -> bool {
        self.quarantine.end_unproved
    }

    /// The end cannot be proved (STORAGE C9): appends are refused until an operator decides.
    pub fn set_end_unproved(&mut self, unproved: bool) {
        self.quarantine.end_unproved = unproved;
    }

    /// T4: the last stable offset follows from the open transactions, within the log.
    fn move_offsets(&mut self, log_start: Offset, high_watermark: Offset, log_end: Offset) {
        let last_stable = self
            .producers
            .first_open_transaction()
            .unwrap_or(high_watermark)
            .min(high_watermark)
            .max(log_start);
        self.offsets
            .set(log_start, last_stable, high_watermark, log_end);
    }
}

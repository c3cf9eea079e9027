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
//! Segments and plans change together, in `layout`; `append` and `read` are questions that change nothing.

mod append;
mod layout;
mod read;

use super::append::{AppendOrigin, AppendRequest, Appended, Applied, PlanOutcome, PlannedAppend};
pub use super::append::{Placement, ReplayedBatch};
use super::batch::StoredBatch;
use super::cache::TailCache;
use super::config::LogConfig;
use super::error::{AppendError, ReadError};
use super::leader_epochs::LeaderEpochs;
use super::offsets::LogOffsets;
use super::partition_checkpoint::PartitionCheckpoint;
use super::producer_state::{ProducerAppend, ProducerCheck, ProducerCount, ProducerState};
use super::quarantine::{Quarantine, QuarantinedRange};
use super::read::{ReadPlan, ReadRequest};
use super::segment::{RollQuestion, SegmentInfo, SegmentList};
use super::transactions::{AbortedTransaction, AbortedTransactions};
use crate::types::{FilePosition, LeaderEpoch, Offset, PartitionId};
use layout::{Layout, PlannedBatch};

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
    layout: Layout,
    quarantine: Quarantine,
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
            layout: Layout::new(SegmentList::new(Offset(0), now_ms)),
            quarantine: Quarantine::default(),
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
            layout: Layout::new(segments),
            quarantine: Quarantine::restore(
                checkpoint.quarantined,
                checkpoint.stepped_over,
                checkpoint.end_unproved,
            ),
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
        self.layout.segments()
    }

    /// The segments without what is only planned.
    pub fn durable_segments(&self) -> Vec<SegmentInfo> {
        self.layout.durable_segments()
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

    /// Where a batch would go if it were planned now, so that its bytes can be allocated first (DESIGN §5.2, Space).
    pub fn place(&self, request: &AppendRequest) -> Placement {
        let base = self.offsets.log_end();
        let question = RollQuestion {
            size: u32::try_from(request.batch.len()).unwrap_or(u32::MAX),
            max_timestamp: request.max_timestamp,
            last_offset: Offset(
                base.0
                    .saturating_add(i64::from(request.header.last_offset_delta)),
            ),
            now_ms: request.now_ms,
        };
        let segments = self.layout.segments();
        if segments.should_roll(self.id, &self.config, &question) {
            Placement {
                segment_base: base,
                file_position: FilePosition(0),
                roll: true,
            }
        } else {
            Placement {
                segment_base: segments.active().base_offset,
                file_position: segments.end_position(),
                roll: false,
            }
        }
    }

    /// Decides the batch's offset. Checks epoch, size and sequence; what is refused leaves no trace. An accepted
    /// plan counts at once for those behind it and must be followed by [`Self::apply_append`] or
    /// [`Self::fail_pending`].
    pub fn plan_append(&mut self, request: &AppendRequest) -> Result<PlanOutcome, AppendError> {
        let size = append::check(self, request)?;
        let marker = append::marker_of(request)?;
        let log_end = self.offsets.log_end();
        match self.producers.check(
            &request.header,
            marker,
            request.origin,
            log_end,
            request.now_ms,
        )? {
            ProducerCheck::Duplicate(batch) => return Ok(append::duplicate(self, batch)),
            ProducerCheck::Accept => {}
        }

        let (base_offset, leader_epoch) = match request.origin {
            AppendOrigin::Client | AppendOrigin::Coordinator => (log_end, self.leader_epoch),
            AppendOrigin::Replication => (
                Offset(request.header.base_offset),
                LeaderEpoch(request.header.partition_leader_epoch),
            ),
        };
        let delta = i64::from(request.header.last_offset_delta);
        let last_offset = Offset(
            base_offset
                .0
                .checked_add(delta)
                .filter(|last| *last < i64::MAX)
                .ok_or(AppendError::InvalidBatch("offsets run out"))?,
        );

        let placement = self.place(request);
        let offset_of_max_timestamp =
            Offset(base_offset.0 + i64::from(request.offset_of_max_timestamp_delta));
        let producer = ProducerAppend::of(
            &request.header,
            base_offset,
            last_offset,
            request.now_ms,
            marker,
        );
        if let Some(producer) = &producer {
            self.producers.plan(producer);
        }
        let batch = PlannedBatch {
            base_offset,
            last_offset,
            leader_epoch,
            producer,
            size,
            max_timestamp: request.max_timestamp,
            offset_of_max_timestamp,
            now_ms: request.now_ms,
        };
        self.layout.plan(placement.roll, batch);
        let offsets = self.offsets;
        self.offsets.set(
            offsets.log_start(),
            offsets.last_stable(),
            offsets.high_watermark(),
            Offset(last_offset.0 + 1),
        );

        Ok(PlanOutcome::Append(PlannedAppend {
            batch: StoredBatch::stamp(&request.batch, request.header, base_offset, leader_epoch),
            base_offset,
            last_offset,
            leader_epoch,
            segment_base: self.layout.segments().active().base_offset,
            file_position: placement.file_position,
            size,
            roll: placement.roll,
            max_timestamp: request.max_timestamp,
            offset_of_max_timestamp,
            flush: self.config.flushes,
            appended: Appended {
                base_offset,
                last_offset,
                log_append_time_ms: if self.config.log_append_time {
                    request.max_timestamp
                } else {
                    -1
                },
                log_start_offset: offsets.log_start(),
                duplicate: false,
            },
        }))
    }

    /// The planned batch that begins at `base_offset` is durable. It becomes visible together with those behind it
    /// that are durable already, once nothing in front of it is outstanding.
    ///
    /// # Panics
    /// If there is no such plan.
    pub fn apply_append(&mut self, base_offset: Offset) -> Applied {
        self.layout.finish(base_offset);
        self.advance()
    }

    fn advance(&mut self) -> Applied {
        let before = self.offsets;
        let mut batches = 0;
        let mut durable_end = before.high_watermark();
        while let Some(batch) = self.layout.pop_finished() {
            durable_end = Offset(batch.last_offset.0 + 1);
            batches += 1;
            self.epochs.assign(batch.leader_epoch, batch.base_offset);
            if let Some(aborted) = batch
                .producer
                .and_then(|producer| self.producers.apply(&producer))
            {
                self.aborted.push(aborted);
            }
        }
        if batches > 0 {
            self.move_offsets(before.log_start(), durable_end, before.log_end());
        }
        Applied {
            batches,
            high_watermark: self.offsets.high_watermark(),
            last_stable: self.offsets.last_stable(),
            moved: self.offsets.high_watermark() != before.high_watermark()
                || self.offsets.last_stable() != before.last_stable(),
        }
    }

    /// Everything planned and not applied is void: its write failed. The log ends at the high watermark again and
    /// the producers are as if the batches had never come.
    pub fn fail_pending(&mut self) {
        self.layout.undo_plans();
        self.producers.fail_pending();
        let offsets = self.offsets;
        self.offsets.set(
            offsets.log_start(),
            offsets.last_stable(),
            offsets.high_watermark(),
            offsets.high_watermark(),
        );
    }

    /// Whether plans are outstanding.
    pub fn has_pending(&self) -> bool {
        self.layout.has_plans()
    }

    /// Whether the batch is in the log already, so that its append writes nothing.
    pub fn is_duplicate(&self, request: &AppendRequest) -> bool {
        self.producers.is_duplicate(&request.header, request.origin)
    }

    /// An append was refused for want of space, before it was planned.
    pub fn note_refused(&mut self, request: &AppendRequest) {
        self.producers.note_refused(&request.header);
    }

    /// Decides what a reader gets, without I/O (RELIABILITY F1, F2, F4, F5).
    pub fn plan_read(
        &self,
        request: &ReadRequest,
        cache: &TailCache,
    ) -> Result<ReadPlan, ReadError> {
        read::plan(self, request, cache)
    }

    /// Answer to OffsetForLeaderEpoch; ends at what is durable.
    pub fn end_offset_of_epoch(
        &self,
        requested: LeaderEpoch,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<(LeaderEpoch, Offset), ReadError> {
        read::check_epoch(self, current_leader_epoch)?;
        Ok(self
            .epochs
            .end_offset_of(requested, self.offsets.high_watermark()))
    }

    /// DeleteRecords: where the log will start. −1 means the high watermark, beyond it is refused (F11), and below
    /// the present start nothing changes. The edge makes the answer durable, then calls [`Self::apply_log_start`].
    pub fn plan_delete_records(&self, before: Offset) -> Result<Offset, ReadError> {
        let high_watermark = self.offsets.high_watermark();
        let before = if before.0 == -1 {
            high_watermark
        } else {
            before
        };
        if before.0 < 0 || before > high_watermark {
            return Err(ReadError::OffsetOutOfRange {
                offset: before,
                log_start: self.offsets.log_start(),
                high_watermark,
            });
        }
        Ok(before.max(self.offsets.log_start()))
    }

    /// The log start is durable. Returns the segments that lie wholly below it, which are no longer part of the log;
    /// the active one always stays. Never moves back.
    pub fn apply_log_start(&mut self, log_start: Offset) -> Vec<SegmentInfo> {
        let offsets = self.offsets;
        let log_start = log_start.clamp(offsets.log_start(), offsets.high_watermark());
        self.move_offsets(log_start, offsets.high_watermark(), offsets.log_end());
        let removed = self.layout.remove_below(log_start);
        self.epochs.remove_below(log_start);
        self.aborted.remove_below(log_start);
        self.quarantine.remove_below(log_start);
        removed
    }

    /// A log start at the log end leaves no record: then the filled active segment goes too. Recovery's counterpart of
    /// [`Self::roll`] before retention takes everything, which is not journaled.
    pub fn drop_active_below_log_start(&mut self, now_ms: i64) -> Option<SegmentInfo> {
        if self.offsets.log_start() < self.offsets.log_end() || self.quarantine.end_unproved {
            return None;
        }
        self.roll(now_ms)?;
        self.apply_log_start(self.offsets.log_start()).pop()
    }

    /// Starts a new segment at the log end, for retention of the active one or before a clean stop. `None` while
    /// plans are outstanding or if the active segment is empty.
    pub fn roll(&mut self, now_ms: i64) -> Option<Offset> {
        let base = self.offsets.log_end();
        self.layout.roll(base, now_ms).then_some(base)
    }

    /// Cuts the log at `end`, which is a batch's first offset. `segments` is the list afterwards and `producers` the
    /// state at `end`; both come from a scan, since a cut cannot be undone from memory (Kafka reloads a snapshot).
    ///
    /// # Panics
    /// If plans are outstanding, or `end` lies outside the log.
    pub fn apply_truncate(&mut self, end: Offset, segments: SegmentList, producers: ProducerState) {
        assert!(
            end <= self.offsets.log_end() && segments.active().base_offset <= end,
            "a cut lies inside the log"
        );
        self.layout.replace(segments);
        self.producers = producers;
        self.epochs.truncate(end);
        self.aborted.truncate(end);
        let log_start = self.offsets.log_start().min(end);
        self.move_offsets(log_start, end, end);
    }

    /// The segments of `group`, up to `end`, are about to be replaced by a cleaned one: they stay in the list until
    /// [`Self::apply_swap`]. False, and nothing changed, if they are not all there as they were, or may still change.
    pub fn begin_swap(&mut self, group: &[SegmentInfo], end: Offset) -> bool {
        self.layout.begin_swap(group, end)
    }

    /// Whether the segment with this base offset is being replaced.
    pub fn is_swapping(&self, base: Offset) -> bool {
        self.layout.is_swapping(base)
    }

    /// Whether any segment is being replaced.
    pub fn has_swap(&self) -> bool {
        self.layout.has_swap()
    }

    /// `cleaned` takes the place of the segments that are being replaced. Of the aborted transactions that ended in
    /// them only `aborted` still have batches.
    ///
    /// # Panics
    /// If no swap of that range was begun.
    pub fn apply_swap(&mut self, cleaned: SegmentInfo, aborted: &[AbortedTransaction]) {
        let (first, end) = self.layout.apply_swap(cleaned);
        self.aborted.retain_of_range(first, end, aborted);
    }

    /// The swap is over, whatever became of it.
    pub fn end_swap(&mut self) {
        self.layout.end_swap();
    }

    /// The log goes on in this segment. Nothing happens if it is the active one; an empty active one is replaced.
    pub fn replay_roll(&mut self, segment_base: Offset, now_ms: i64) -> Result<(), &'static str> {
        let log_end = self.offsets.log_end();
        self.layout.replay_roll(segment_base, log_end, now_ms)
    }

    /// Counts a batch that the journal or a segment holds beyond what is known, without checking sequences
    /// (STORAGE C2). The error says what does not fit.
    pub fn replay_batch(&mut self, batch: &ReplayedBatch<'_>) -> Result<(), &'static str> {
        let header = batch.header;
        let base_offset = Offset(header.base_offset);
        if base_offset < self.offsets.log_end() || header.last_offset_delta < 0 {
            return Err("a replayed batch lies below the log end");
        }
        if batch.segment_base > base_offset {
            return Err("a replayed batch lies below its segment");
        }
        self.replay_roll(batch.segment_base, batch.now_ms)?;
        let last_offset = Offset(
            header
                .base_offset
                .checked_add(i64::from(header.last_offset_delta))
                .ok_or("offsets run out")?,
        );
        self.layout.replay(batch, last_offset)?;
        self.leader_epoch = self
            .leader_epoch
            .max(LeaderEpoch(header.partition_leader_epoch));
        self.epochs
            .assign(LeaderEpoch(header.partition_leader_epoch), base_offset);
        let producer =
            ProducerAppend::of(header, base_offset, last_offset, batch.now_ms, batch.marker);
        if let Some(aborted) = producer.and_then(|producer| self.producers.replay(&producer)) {
            self.aborted.push(aborted);
        }
        let end = Offset(last_offset.0 + 1);
        self.move_offsets(self.offsets.log_start(), end, end);
        Ok(())
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

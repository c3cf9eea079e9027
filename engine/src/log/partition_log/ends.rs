//! Where the log starts and where it ends: DeleteRecords and retention move the start up, a truncation the end back. On
//! the partition's core.
//!
//! Invariant: only a truncation moves the log start back; no segment leaves the list that a failed plan would have to
//! restore or that compaction is replacing.

use super::PartitionLog;
use crate::log::error::ReadError;
use crate::log::producer_state::ProducerState;
use crate::log::segment::{SegmentInfo, SegmentList};
use crate::types::Offset;

impl PartitionLog {
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
        let mut removed = Vec::new();
        while self
            .segments
            .next_base(0)
            .is_some_and(|next| next <= log_start)
            && self.first_segment_is_settled()
            && !self.is_swapping(self.segments.as_slice()[0].base_offset)
        {
            removed.push(self.segments.remove_first());
        }
        self.epochs.remove_below(log_start);
        self.aborted.remove_below(log_start);
        self.quarantine.remove_below(log_start);
        removed
    }

    /// Whether no outstanding plan would have to restore the first segment if it failed.
    fn first_segment_is_settled(&self) -> bool {
        let first = self.segments.as_slice()[0].base_offset;
        self.planned
            .front()
            .is_none_or(|plan| plan.segment_before.base_offset > first)
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
        if self.has_pending() || self.segments.active().size == 0 {
            return None;
        }
        let base = self.offsets.log_end();
        self.segments.roll(base, now_ms);
        Some(base)
    }

    /// Cuts the log at `end`, which is a batch's first offset. `segments` is the list afterwards and `producers` the
    /// state at `end`; both come from a scan, since a cut cannot be undone from memory (Kafka reloads a snapshot).
    ///
    /// # Panics
    /// If plans are outstanding, or `end` lies outside the log.
    pub fn apply_truncate(&mut self, end: Offset, segments: SegmentList, producers: ProducerState) {
        assert!(
            !self.has_pending() && !self.has_swap(),
            "appends and compaction wait for a truncation"
        );
        assert!(
            end <= self.offsets.log_end() && segments.active().base_offset <= end,
            "a cut lies inside the log"
        );
        self.segments = segments;
        self.producers = producers;
        self.epochs.truncate(end);
        self.aborted.truncate(end);
        let log_start = self.offsets.log_start().min(end);
        self.move_offsets(log_start, end, end);
    }
}

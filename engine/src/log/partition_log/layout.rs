//! Where a partition's batches lie and will lie: its segments, the plans that are not applied yet and are to be undone if
//! their write fails, and the segments that compaction is replacing. On the partition's core.
//!
//! Invariant: no segment leaves the list that a failed plan would have to restore or that compaction is replacing; one swap
//! at a time, of segments that no plan can change.

use std::collections::VecDeque;

use super::ReplayedBatch;
use crate::log::producer_state::ProducerAppend;
use crate::log::segment::{SegmentInfo, SegmentList};
use crate::types::{LeaderEpoch, Offset};

/// A batch whose place is decided.
#[derive(Debug)]
pub(super) struct PlannedBatch {
    pub(super) base_offset: Offset,
    pub(super) last_offset: Offset,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) producer: Option<ProducerAppend>,
    pub(super) size: u32,
    pub(super) max_timestamp: i64,
    pub(super) offset_of_max_timestamp: Offset,
    pub(super) now_ms: i64,
}

/// A plan that is not yet applied.
#[derive(Debug)]
struct Plan {
    batch: PlannedBatch,
    /// The active segment before this plan, to undo it and to know what is durable.
    segment_before: SegmentInfo,
    finished: bool,
}

/// Segments and plans.
#[derive(Debug)]
pub(super) struct Layout {
    segments: SegmentList,
    plans: VecDeque<Plan>,
    /// Offsets of the segments that are being replaced by a cleaned one.
    swapping: Option<(Offset, Offset)>,
}

impl Layout {
    pub(super) fn new(segments: SegmentList) -> Layout {
        Layout {
            segments,
            plans: VecDeque::new(),
            swapping: None,
        }
    }

    /// All segments; the active one's numbers include plans.
    pub(super) fn segments(&self) -> &SegmentList {
        &self.segments
    }

    /// The segments without what is only planned.
    pub(super) fn durable_segments(&self) -> Vec<SegmentInfo> {
        let all = self.segments.as_slice();
        match self.plans.front() {
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

    /// Whether plans are outstanding.
    pub(super) fn has_plans(&self) -> bool {
        !self.plans.is_empty()
    }

    /// The batch goes behind everything else, into a new segment if it is to `roll`.
    pub(super) fn plan(&mut self, roll: bool, batch: PlannedBatch) {
        let segment_before = *self.segments.active();
        if roll {
            self.segments.roll(batch.base_offset, batch.now_ms);
        }
        self.segments.active_mut().append(
            batch.size,
            batch.max_timestamp,
            batch.offset_of_max_timestamp,
        );
        self.plans.push_back(Plan {
            batch,
            segment_before,
            finished: false,
        });
    }

    /// The batch planned at `base_offset` is durable.
    ///
    /// # Panics
    /// If there is no such plan.
    pub(super) fn finish(&mut self, base_offset: Offset) {
        let index = self
            .plans
            .partition_point(|plan| plan.batch.base_offset < base_offset);
        let plan = self
            .plans
            .get_mut(index)
            .filter(|plan| plan.batch.base_offset == base_offset)
            .expect("only planned batches are applied");
        plan.finished = true;
    }

    /// The oldest plan, if it is durable.
    pub(super) fn pop_finished(&mut self) -> Option<PlannedBatch> {
        let plan = self.plans.pop_front_if(|plan| plan.finished)?;
        Some(plan.batch)
    }

    /// All plans are void: the segments are as if they had never been made.
    pub(super) fn undo_plans(&mut self) {
        while let Some(plan) = self.plans.pop_back() {
            while self.segments.active().base_offset != plan.segment_before.base_offset {
                self.segments.remove_last();
            }
            *self.segments.active_mut() = plan.segment_before;
        }
    }

    /// Starts a new segment at `log_end`. False while plans are outstanding or if the active segment is empty.
    pub(super) fn roll(&mut self, log_end: Offset, now_ms: i64) -> bool {
        let may = !self.has_plans() && self.segments.active().size > 0;
        if may {
            self.segments.roll(log_end, now_ms);
        }
        may
    }

    /// Takes the segments off the list that lie wholly below `log_start`; the active one always stays.
    pub(super) fn remove_below(&mut self, log_start: Offset) -> Vec<SegmentInfo> {
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
        removed
    }

    /// Whether no outstanding plan would have to restore the first segment if it failed.
    fn first_segment_is_settled(&self) -> bool {
        let first = self.segments.as_slice()[0].base_offset;
        self.plans
            .front()
            .is_none_or(|plan| plan.segment_before.base_offset > first)
    }

    /// The log was cut: these are its segments now.
    ///
    /// # Panics
    /// If plans or a swap are outstanding.
    pub(super) fn replace(&mut self, segments: SegmentList) {
        assert!(
            !self.has_plans() && !self.has_swap(),
            "appends and compaction wait for a truncation"
        );
        self.segments = segments;
    }

    /// The segments of `group`, up to `end`, are about to be replaced: they stay in the list until
    /// [`Self::apply_swap`]. False, and nothing changed, if they are not all there as they were, or may still change.
    pub(super) fn begin_swap(&mut self, group: &[SegmentInfo], end: Offset) -> bool {
        let segments = self.segments.as_slice();
        let first = segments
            .iter()
            .position(|segment| segment.base_offset == group[0].base_offset);
        let unchanged = first.is_some_and(|first| {
            segments[first..].starts_with(group)
                && segments
                    .get(first + group.len())
                    .is_some_and(|next| next.base_offset == end)
        });
        // A plan that fails brings back the active segment of its time.
        let planned = self
            .plans
            .front()
            .is_none_or(|plan| plan.segment_before.base_offset >= end);
        let begins = unchanged && planned && self.swapping.is_none();
        if begins {
            self.swapping = Some((group[0].base_offset, end));
        }
        begins
    }

    /// Whether the segment with this base offset is being replaced.
    pub(super) fn is_swapping(&self, base: Offset) -> bool {
        self.swapping
            .is_some_and(|(first, end)| (first..end).contains(&base))
    }

    /// Whether any segment is being replaced.
    pub(super) fn has_swap(&self) -> bool {
        self.swapping.is_some()
    }

    /// `cleaned` takes the place of the segments that are being replaced; which offsets those had.
    ///
    /// # Panics
    /// If no swap of that range was begun.
    pub(super) fn apply_swap(&mut self, cleaned: SegmentInfo) -> (Offset, Offset) {
        let (first, end) = self.swapping.expect("a swap was begun");
        assert_eq!(
            cleaned.base_offset, first,
            "a cleaned segment has the first old one's base offset"
        );
        self.segments.splice(cleaned, end);
        (first, end)
    }

    /// The swap is over, whatever became of it.
    pub(super) fn end_swap(&mut self) {
        self.swapping = None;
    }

    /// The log, which ends at `log_end`, goes on in this segment. Nothing happens if it is the active one; an empty active
    /// one is replaced.
    pub(super) fn replay_roll(
        &mut self,
        segment_base: Offset,
        log_end: Offset,
        now_ms: i64,
    ) -> Result<(), &'static str> {
        let active = *self.segments.active();
        if segment_base == active.base_offset {
            return Ok(());
        }
        if segment_base < log_end {
            return Err("a replayed segment begins below the log end");
        }
        if active.size == 0 {
            self.segments.reset_active(segment_base, now_ms);
        } else {
            self.segments.roll(segment_base, now_ms);
        }
        Ok(())
    }

    /// Counts a batch, whose last offset is given, that lies at the active segment's end.
    pub(super) fn replay(
        &mut self,
        batch: &ReplayedBatch<'_>,
        last_offset: Offset,
    ) -> Result<(), &'static str> {
        if batch.file_position.0 != self.segments.active().size {
            return Err("a replayed batch leaves a hole in its segment");
        }
        self.segments
            .active_mut()
            .append(batch.size, batch.header.max_timestamp, last_offset);
        Ok(())
    }
}

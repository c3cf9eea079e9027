//! Compaction puts a cleaned segment in the place of old ones. On the partition's core.
//!
//! Invariant: one swap at a time, of segments that no plan can change; they stay in the list until the swap is applied.

use super::PartitionLog;
use crate::log::segment::SegmentInfo;
use crate::log::transactions::AbortedTransaction;
use crate::types::Offset;

impl PartitionLog {
    /// The segments of `group`, up to `end`, are about to be replaced: they stay in the list until
    /// [`Self::end_swap`]. False, and nothing changed, if they are not all there as they were, or may still change.
    pub fn begin_swap(&mut self, group: &[SegmentInfo], end: Offset) -> bool {
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
            .planned
            .front()
            .is_none_or(|plan| plan.segment_before.base_offset >= end);
        let free = self.swapping.is_none();
        if unchanged && planned && free {
            self.swapping = Some((group[0].base_offset, end));
        }
        unchanged && planned && free
    }

    /// Whether the segment with this base offset is being replaced.
    pub fn is_swapping(&self, base: Offset) -> bool {
        self.swapping
            .is_some_and(|(first, end)| (first..end).contains(&base))
    }

    /// Whether any segment is being replaced.
    pub fn has_swap(&self) -> bool {
        self.swapping.is_some()
    }

    /// `cleaned` takes the place of the segments that are being replaced. Of the aborted transactions that ended in
    /// them only `aborted` still have batches.
    ///
    /// # Panics
    /// If no swap of that range was begun.
    pub fn apply_swap(&mut self, cleaned: SegmentInfo, aborted: &[AbortedTransaction]) {
        let (first, end) = self.swapping.expect("a swap was begun");
        assert_eq!(
            cleaned.base_offset, first,
            "a cleaned segment has the first old one's base offset"
        );
        self.segments.splice(cleaned, end);
        self.aborted.retain_of_range(first, end, aborted);
    }

    /// The swap is over, whatever became of it.
    pub fn end_swap(&mut self) {
        self.swapping = None;
    }
}

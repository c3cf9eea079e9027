//! The four offsets of a partition and the one order they keep.

use crate::types::Offset;

/// `log_start ≤ last_stable ≤ high_watermark ≤ log_end`, always. Lives on the partition's core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOffsets {
    log_start: Offset,
    last_stable: Offset,
    high_watermark: Offset,
    log_end: Offset,
}

impl LogOffsets {
    /// A log whose records from `log_start` up to `end` are durable and outside of any transaction.
    pub fn new(log_start: Offset, end: Offset) -> LogOffsets {
        let mut offsets = LogOffsets::default();
        offsets.set(log_start, end, end, end);
        offsets
    }

    /// The first offset that can be read.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The first offset hidden from read_committed: an open transaction begins there, or the high watermark.
    pub fn last_stable(&self) -> Offset {
        self.last_stable
    }

    /// The first offset that is not yet durable; on a single node every consumer stops here (RELIABILITY F2).
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The offset the next planned batch gets. Above the high watermark lie plans whose flush is under way.
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// The only way to change any of them.
    ///
    /// # Panics
    /// If the order is broken: going on would serve records that are not there, or hide records that are.
    pub fn set(
        &mut self,
        log_start: Offset,
        last_stable: Offset,
        high_watermark: Offset,
        log_end: Offset,
    ) {
        assert!(
            Offset(0) <= log_start
                && log_start <= last_stable
                && last_stable <= high_watermark
                && high_watermark <= log_end,
            "log start {log_start} ≤ last stable {last_stable} ≤ high watermark {high_watermark} ≤ log end {log_end}"
        );
        *self = LogOffsets {
            log_start,
            last_stable,
            high_watermark,
            log_end,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_in_order_are_kept() {
        let mut offsets = LogOffsets::new(Offset(3), Offset(9));
        offsets.set(Offset(4), Offset(5), Offset(9), Offset(12));
        assert_eq!(offsets.log_start(), Offset(4));
        assert_eq!(offsets.last_stable(), Offset(5));
        assert_eq!(offsets.high_watermark(), Offset(9));
        assert_eq!(offsets.log_end(), Offset(12));
    }

    #[test]
    #[should_panic(expected = "high watermark 9")]
    fn a_high_watermark_beyond_the_end_is_a_programming_error() {
        LogOffsets::default().set(Offset(0), Offset(0), Offset(9), Offset(8));
    }

    #[test]
    #[should_panic(expected = "log start 5")]
    fn a_log_start_beyond_the_last_stable_offset_is_a_programming_error() {
        LogOffsets::default().set(Offset(5), Offset(4), Offset(9), Offset(9));
    }
}

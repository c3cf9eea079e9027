//! What of a partition is damaged: kept, named, and not served (DESIGN §5.3, STORAGE C9).
//!
//! Ranges are sorted and apart. Lives on the partition's core.

use crate::types::Offset;

/// Damaged offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantinedRange {
    /// First damaged offset.
    pub first: Offset,
    /// Last damaged offset.
    pub last: Offset,
}

/// Damage of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quarantine {
    ranges: Vec<QuarantinedRange>,
    /// Ranges that an operator decided readers step over. Damage found later beside one is not part of it.
    stepped_over: Vec<QuarantinedRange>,
    /// The log's end cannot be proved: appends are refused until an operator decides.
    pub end_unproved: bool,
}

impl Quarantine {
    /// What a checkpoint says.
    pub fn restore(
        ranges: Vec<QuarantinedRange>,
        stepped_over: Vec<QuarantinedRange>,
        end_unproved: bool,
    ) -> Quarantine {
        let mut quarantine = Quarantine {
            ranges: Vec::new(),
            stepped_over,
            end_unproved,
        };
        for range in ranges {
            quarantine.add(range);
        }
        quarantine
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[QuarantinedRange] {
        &self.ranges
    }

    /// The ranges that readers step over.
    pub fn stepped_over(&self) -> &[QuarantinedRange] {
        &self.stepped_over
    }

    /// Where a reader at `offset` goes on, and the first offset that it must not reach; or the damage that it stands in.
    pub fn read_from(
        &self,
        mut offset: Offset,
    ) -> Result<(Offset, Option<Offset>), QuarantinedRange> {
        while let Some(range) = self.next(offset) {
            if range.first > offset {
                return Ok((offset, Some(range.first)));
            }
            let step = self
                .stepped_over
                .iter()
                .find(|step| step.first <= offset && offset <= step.last);
            match step {
                Some(step) => offset = Offset(step.last.0 + 1),
                None => return Err(*range),
            }
        }
        Ok((offset, None))
    }

    /// The first range that ends at or above `offset`.
    pub fn next(&self, offset: Offset) -> Option<&QuarantinedRange> {
        self.ranges
            .get(self.ranges.partition_point(|range| range.last < offset))
    }

    /// Adds a range; it swallows those it touches.
    pub fn add(&mut self, range: QuarantinedRange) {
        assert!(
            range.first <= range.last,
            "a range has a first and a last offset"
        );
        let mut merged = range;
        self.ranges.retain(|old| {
            let touches = old.first.0 <= merged.last.0.saturating_add(1)
                && merged.first.0 <= old.last.0.saturating_add(1);
            if touches {
                merged = QuarantinedRange {
                    first: old.first.min(merged.first),
                    last: old.last.max(merged.last),
                };
            }
            !touches
        });
        let index = self.ranges.partition_point(|old| old.first < merged.first);
        self.ranges.insert(index, merged);
    }

    /// The log starts above.
    pub fn remove_below(&mut self, log_start: Offset) {
        self.ranges.retain(|range| range.last >= log_start);
        self.stepped_over.retain(|range| range.last >= log_start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64) -> QuarantinedRange {
        QuarantinedRange {
            first: Offset(first),
            last: Offset(last),
        }
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let mut quarantine = Quarantine::default();
        for added in [
            range(20, 29),
            range(0, 4),
            range(40, 40),
            range(5, 9),
            range(25, 39),
        ] {
            quarantine.add(added);
        }
        assert_eq!(quarantine.ranges(), [range(0, 9), range(20, 40)]);
        assert_eq!(quarantine.next(Offset(9)), Some(&range(0, 9)));
        assert_eq!(quarantine.next(Offset(10)), Some(&range(20, 40)));
        assert_eq!(quarantine.next(Offset(41)), None);
        quarantine.remove_below(Offset(10));
        assert_eq!(quarantine.ranges(), [range(20, 40)]);
    }

    #[test]
    fn a_reader_steps_over_what_an_operator_gave_up_and_nothing_else() {
        let read = |quarantine: &Quarantine, offset| quarantine.read_from(Offset(offset));
        let mut quarantine =
            Quarantine::restore(vec![range(5, 9), range(20, 29)], vec![range(5, 9)], false);
        assert_eq!(read(&quarantine, 0), Ok((Offset(0), Some(Offset(5)))));
        assert_eq!(read(&quarantine, 7), Ok((Offset(10), Some(Offset(20)))));
        assert_eq!(read(&quarantine, 25), Err(range(20, 29)));
        assert_eq!(read(&quarantine, 30), Ok((Offset(30), None)));
        // Damage found beside it later is a decision of its own.
        quarantine.add(range(10, 12));
        assert_eq!(read(&quarantine, 7), Err(range(5, 12)));
        assert_eq!(read(&quarantine, 13), Ok((Offset(13), Some(Offset(20)))));
        quarantine.remove_below(Offset(13));
        assert!(quarantine.stepped_over().is_empty());
    }
}

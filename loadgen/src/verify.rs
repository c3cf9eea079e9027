//! Whether what was written came back: each record once, in order, whole.
//!
//! Pure: one [`Stream`] per producer and partition, fed with the sequence numbers in the order in which they are read.
//! Invariant: what a stream holds grows with its gaps, not with its records, and gaps are bounded.

use std::collections::BTreeMap;

/// Gaps that one partition's reader remembers; beyond that, what comes late counts as duplicated.
const GAPS_MAX: usize = 1 << 16;
/// Producers that one partition's reader follows.
const STREAMS_MAX: usize = 1 << 16;

/// What a record is, compared with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one, or the first after a gap.
    InOrder,
    /// It was missing until now.
    Reordered,
    /// It was read before.
    Duplicated,
    /// There are too many producers to tell.
    Unknown,
}

/// One producer's records in one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stream {
    /// One behind the highest sequence read.
    pub(crate) next: u64,
    /// What is missing below: first and one behind the last.
    pub(crate) missing: BTreeMap<u64, u64>,
}

impl Stream {
    fn take(&mut self, sequence: u64) -> Verdict {
        if sequence >= self.next {
            if sequence > self.next && self.missing.len() < GAPS_MAX {
                self.missing.insert(self.next, sequence);
            }
            self.next = sequence + 1;
            return Verdict::InOrder;
        }
        let gap = self.missing.range(..=sequence).next_back();
        let Some((&first, &end)) = gap.filter(|(_, end)| sequence < **end) else {
            return Verdict::Duplicated;
        };
        self.missing.remove(&first);
        if first < sequence {
            self.missing.insert(first, sequence);
        }
        if sequence + 1 < end {
            self.missing.insert(sequence + 1, end);
        }
        Verdict::Reordered
    }

    /// How many of the first `written` records are missing, leaving out those in `excused` (first, count).
    pub(crate) fn lost(&self, written: u64, excused: &[(u64, u64)]) -> u64 {
        let tail = (self.next < written).then_some((self.next, written));
        let gaps = self
            .missing
            .iter()
            .map(|(first, end)| (*first, (*end).min(written)));
        gaps.chain(tail)
            .map(|(first, end)| {
                let excused = excused.iter().map(|(from, count)| {
                    (from + count).min(end).saturating_sub((*from).max(first))
                });
                end.saturating_sub(first).saturating_sub(excused.sum())
            })
            .sum()
    }
}

/// Everything read from one partition.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// By run and producer.
    pub(crate) streams: BTreeMap<(u32, u32), Stream>,
}

impl Partition {
    /// A record of that run and producer was read. `from_start`: reading began before that run wrote anything, so that
    /// its records begin with sequence 0.
    pub(crate) fn take(
        &mut self,
        run: u32,
        producer: u32,
        sequence: u64,
        from_start: bool,
    ) -> Verdict {
        if let Some(stream) = self.streams.get_mut(&(run, producer)) {
            return stream.take(sequence);
        }
        if self.streams.len() >= STREAMS_MAX {
            return Verdict::Unknown;
        }
        let mut stream = Stream::default();
        if !from_start {
            stream.next = sequence;
        }
        stream.take(sequence);
        self.streams.insert((run, producer), stream);
        Verdict::InOrder
    }

    /// Records that are missing between two that were read, of runs that `known` does not say more about.
    pub(crate) fn gaps(&self, known: impl Fn(u32) -> bool) -> u64 {
        let others = self.streams.iter().filter(|((run, _), _)| !known(*run));
        others
            .map(|(_, stream)| stream.lost(stream.next, &[]))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_gap_is_lost_until_it_is_filled() {
        let mut partition = Partition::default();
        for sequence in [0, 1, 5] {
            assert_eq!(partition.take(1, 2, sequence, true), Verdict::InOrder);
        }
        assert_eq!(partition.gaps(|_| false), 3);
        assert_eq!(partition.take(1, 2, 3, true), Verdict::Reordered);
        assert_eq!(partition.take(1, 2, 3, true), Verdict::Duplicated);
        assert_eq!(partition.take(1, 2, 5, true), Verdict::Duplicated);
        assert_eq!(partition.gaps(|_| false), 2);
        assert_eq!(partition.gaps(|run| run == 1), 0);
        let stream = &partition.streams[&(1, 2)];
        assert_eq!(stream.lost(10, &[]), 6);
        assert_eq!(stream.lost(10, &[(2, 1), (8, 5)]), 3);
    }

    #[test]
    fn a_reader_that_came_late_misses_nothing_before_it() {
        let mut late = Partition::default();
        assert_eq!(late.take(1, 2, 100, false), Verdict::InOrder);
        assert_eq!(late.gaps(|_| false), 0);
        let mut early = Partition::default();
        early.take(1, 2, 100, true);
        assert_eq!(early.gaps(|_| false), 100);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_set(sequences in prop::collection::vec(0u64..60, 1..200)) {
            let mut partition = Partition::default();
            let mut seen = BTreeSet::new();
            let mut highest = None;
            for sequence in &sequences {
                let expected = if !seen.insert(*sequence) {
                    Verdict::Duplicated
                } else if highest.is_some_and(|highest| *sequence < highest) {
                    Verdict::Reordered
                } else {
                    Verdict::InOrder
                };
                prop_assert_eq!(partition.take(9, 9, *sequence, true), expected);
                highest = highest.max(Some(*sequence));
            }
            let lost = 60 - seen.len() as u64;
            prop_assert_eq!(partition.streams[&(9, 9)].lost(60, &[]), lost);
        }
    }
}

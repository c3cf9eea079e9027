//! Which leader wrote what: epoch → first offset, so that logs can be compared and cut by epoch (KIP-101).
//!
//! Both numbers ascend strictly. Lives on the partition's core.

use crate::types::{LeaderEpoch, Offset};

/// The history of a partition's leader epochs, as far as records of them remain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochs {
    /// Entries read back, ascending in both numbers; `None` if they do not.
    pub fn restore(entries: Vec<(LeaderEpoch, Offset)>) -> Option<LeaderEpochs> {
        let ascending = entries
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        ascending.then_some(LeaderEpochs { entries })
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// The newest epoch with a record.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// A record of `epoch` begins at `start`. Entries that contradict it (a newer epoch, or a start at or above
    /// this one) are dropped, as Kafka does; an epoch already known keeps its start.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        if epoch.0 < 0
            || self
                .entries
                .last()
                .is_some_and(|last| last.0 == epoch && last.1 <= start)
        {
            return;
        }
        while self
            .entries
            .last()
            .is_some_and(|last| last.0 >= epoch || last.1 >= start)
        {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
    }

    /// Whether [`Self::assign`] would change anything.
    pub fn is_new(&self, epoch: LeaderEpoch) -> bool {
        epoch.0 >= 0 && self.latest() != Some(epoch)
    }

    /// Answer to OffsetForLeaderEpoch (KIP-101, KIP-279): the newest epoch not above `requested` and the offset
    /// behind its last record. (−1, −1) if the epoch is unknown.
    pub fn end_offset_of(&self, requested: LeaderEpoch, log_end: Offset) -> (LeaderEpoch, Offset) {
        const UNKNOWN: (LeaderEpoch, Offset) = (LeaderEpoch(-1), Offset(-1));
        if requested.0 < 0 {
            return UNKNOWN;
        }
        if self.latest() == Some(requested) {
            return (requested, log_end);
        }
        let behind = self
            .entries
            .partition_point(|(epoch, _)| *epoch <= requested);
        match self.entries.get(behind) {
            // Newer than everything known, so nobody can say where it ends.
            None => UNKNOWN,
            // Older than everything that is left: it ended where the first known epoch began.
            Some((_, start)) if behind == 0 => (requested, *start),
            Some((_, start)) => (self.entries[behind - 1].0, *start),
        }
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let behind = self.entries.partition_point(|(_, start)| *start <= offset);
        behind.checked_sub(1).map(|index| self.entries[index].0)
    }

    /// The log now ends at `end`.
    pub fn truncate(&mut self, end: Offset) {
        while self.entries.last().is_some_and(|(_, start)| *start >= end) {
            self.entries.pop();
        }
    }

    /// The log now begins at `log_start`: the entry that covers it begins there, those below go.
    pub fn remove_below(&mut self, log_start: Offset) {
        let covering = self
            .entries
            .partition_point(|(_, start)| *start <= log_start);
        if covering == 0 {
            return;
        }
        self.entries.drain(..covering - 1);
        self.entries[0].1 = log_start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::restore(
            entries
                .iter()
                .map(|(epoch, start)| (LeaderEpoch(*epoch), Offset(*start)))
                .collect(),
        )
        .unwrap()
    }

    fn ask(epochs: &LeaderEpochs, requested: i32) -> (i32, i64) {
        let (epoch, offset) = epochs.end_offset_of(LeaderEpoch(requested), Offset(100));
        (epoch.0, offset.0)
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let epochs = epochs(&[(2, 10), (4, 20), (7, 50)]);
        assert_eq!(ask(&epochs, 2), (2, 20));
        assert_eq!(ask(&epochs, 3), (2, 20));
        assert_eq!(ask(&epochs, 5), (4, 50));
        assert_eq!(ask(&epochs, 7), (7, 100));
        assert_eq!(ask(&epochs, 8), (-1, -1));
        assert_eq!(ask(&epochs, 0), (0, 10));
        assert_eq!(ask(&epochs, -1), (-1, -1));
    }

    #[test]
    fn assigning_keeps_both_numbers_ascending() {
        let mut epochs = epochs(&[(1, 0), (3, 40)]);
        epochs.assign(LeaderEpoch(3), Offset(60));
        assert_eq!(epochs.entries().len(), 2);
        epochs.assign(LeaderEpoch(5), Offset(40));
        assert_eq!(
            epochs.entries(),
            &[(LeaderEpoch(1), Offset(0)), (LeaderEpoch(5), Offset(40))]
        );
    }

    #[test]
    fn log_start_moves_the_covering_entry() {
        let mut epochs = epochs(&[(1, 0), (3, 40), (5, 80)]);
        epochs.remove_below(Offset(50));
        assert_eq!(
            epochs.entries(),
            &[(LeaderEpoch(3), Offset(50)), (LeaderEpoch(5), Offset(80))]
        );
        assert_eq!(epochs.epoch_of(Offset(79)), Some(LeaderEpoch(3)));
        epochs.truncate(Offset(80));
        assert_eq!(epochs.latest(), Some(LeaderEpoch(3)));
    }
}

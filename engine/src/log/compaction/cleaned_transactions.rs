//! Which batches belong to aborted transactions, and which end marks have lost all of theirs (Kafka's
//! `CleanedTransactionMetadata`).
//!
//! Fed with the batches of a log in order. An end mark may go only when no batch of its transaction was met on the
//! way to it: otherwise a reader would see an open transaction. Plain values; on the shard's core.

use crate::log::transactions::{AbortedTransaction, TransactionMarker, TransactionResult};
use crate::types::{Offset, ProducerId};
use net::records::BatchHeader;
use std::collections::{BTreeMap, BTreeSet};

/// Follows the transactions of a log from batch to batch.
#[derive(Debug, Clone, Default)]
pub struct CleanedTransactions {
    /// Aborted ones that begin above what was met so far, last one first.
    ahead: Vec<AbortedTransaction>,
    /// Aborted ones that are being walked through, and whether a batch of them was met.
    aborted: BTreeMap<ProducerId, (AbortedTransaction, bool)>,
    /// Producers with batches of a transaction that was not aborted.
    committed: BTreeSet<ProducerId>,
    /// Bytes were stepped over: nobody knows which transactions have batches there.
    gaps: bool,
    /// Aborted ones of which batches were met, by their marker: readers still need them.
    needed: Vec<AbortedTransaction>,
}

impl CleanedTransactions {
    /// Begins in front of the log, with all its aborted transactions.
    pub fn new(aborted: impl IntoIterator<Item = AbortedTransaction>) -> CleanedTransactions {
        let mut ahead: Vec<AbortedTransaction> = aborted.into_iter().collect();
        ahead.sort_by_key(|entry| std::cmp::Reverse((entry.first_offset, entry.last_offset)));
        CleanedTransactions {
            ahead,
            ..CleanedTransactions::default()
        }
    }

    /// Batches are left out from here: no end mark goes any more.
    pub fn step_over(&mut self) {
        self.gaps = true;
    }

    /// Whether batches were left out.
    pub fn has_gaps(&self) -> bool {
        self.gaps
    }

    /// The next batch holds records; whether they were aborted.
    pub fn handle_records(&mut self, header: &BatchHeader) -> bool {
        self.reach(header);
        if !header.is_transactional() {
            return false;
        }
        let producer = ProducerId(header.producer_id);
        match self.aborted.get_mut(&producer) {
            Some((_, met)) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(producer);
                false
            }
        }
    }

    /// The next batch is a control batch with this marker; `None` for other control records. `empty` if its record
    /// was taken out by an earlier run. Whether nothing of its transaction is left, so that it may go in time.
    pub fn handle_control(
        &mut self,
        header: &BatchHeader,
        marker: Option<TransactionMarker>,
        empty: bool,
    ) -> bool {
        self.reach(header);
        if empty {
            return true;
        }
        let Some(marker) = marker else {
            return false;
        };
        let producer = ProducerId(header.producer_id);
        let left = match marker.result {
            TransactionResult::Abort => match self.aborted.remove(&producer) {
                Some((entry, met)) if met || self.gaps => {
                    self.needed.push(entry);
                    true
                }
                _ => false,
            },
            TransactionResult::Commit => self.committed.remove(&producer),
        };
        !left && !self.gaps
    }

    /// The aborted transactions whose markers were met and which readers still need; empties the list.
    pub fn take_needed(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.needed)
    }

    /// An entry counts from its first offset to its marker and no further: one that outlived its marker, as a crash
    /// can bring back, must not take a later transaction of its producer for its own.
    fn reach(&mut self, header: &BatchHeader) {
        let (base, last) = (Offset(header.base_offset), Offset(header.last_offset()));
        let ended = |(entry, met): &(AbortedTransaction, bool)| {
            (entry.last_offset < base).then_some((*entry, *met))
        };
        let producer = ProducerId(header.producer_id);
        if let Some((entry, met)) = self.aborted.get(&producer).and_then(ended) {
            self.aborted.remove(&producer);
            if met {
                self.needed.push(entry);
            }
        }
        while let Some(entry) = self.ahead.pop_if(|entry| entry.first_offset <= last) {
            if entry.last_offset < base {
                continue;
            }
            let before = self.aborted.insert(entry.producer_id, (entry, false));
            if let Some((entry, true)) = before {
                self.needed.push(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(producer: i64, first: i64, last: i64, transactional: bool) -> BatchHeader {
        BatchHeader {
            base_offset: first,
            last_offset_delta: (last - first) as i32,
            producer_id: producer,
            attributes: if transactional { 1 << 4 } else { 0 },
            ..crate::log::recovery_state::placeholder(
                Offset(first),
                Offset(last),
                100,
                crate::types::LeaderEpoch(0),
            )
        }
    }

    fn aborted(producer: i64, first: i64, last: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id: ProducerId(producer),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable_offset: Offset(first),
        }
    }

    fn marker(result: TransactionResult) -> Option<TransactionMarker> {
        Some(TransactionMarker {
            result,
            coordinator_epoch: 0,
        })
    }

    #[test]
    fn a_marker_goes_when_nothing_of_its_transaction_is_left() {
        let abort = marker(TransactionResult::Abort);
        let commit = marker(TransactionResult::Commit);
        let mut state = CleanedTransactions::new([aborted(1, 10, 12), aborted(1, 0, 2)]);
        assert!(state.handle_records(&header(1, 0, 1, true)));
        assert!(!state.handle_records(&header(2, 1, 1, false)));
        assert!(!state.handle_control(&header(1, 2, 2, true), abort, false));
        assert!(!state.handle_records(&header(1, 3, 4, true)));
        assert!(!state.handle_control(&header(1, 5, 5, true), commit, false));
        assert!(state.handle_control(&header(1, 7, 7, true), commit, false));
        assert!(state.handle_control(&header(1, 12, 12, true), abort, false));
        assert!(
            state.handle_control(&header(1, 13, 13, true), None, true),
            "emptied before"
        );
        assert!(
            !state.handle_control(&header(1, 14, 14, true), None, false),
            "no end mark"
        );
        assert_eq!(state.take_needed(), [aborted(1, 0, 2)]);
    }

    #[test]
    fn an_entry_that_outlived_its_marker_aborts_nothing_later() {
        let mut state = CleanedTransactions::new([aborted(1, 0, 2), aborted(1, 4, 6)]);
        assert!(
            state.handle_records(&header(1, 4, 4, true)),
            "within the second"
        );
        assert!(!state.handle_records(&header(1, 7, 7, true)), "behind both");
        assert_eq!(
            state.take_needed(),
            [aborted(1, 4, 6)],
            "its marker may be in a gap"
        );
    }

    #[test]
    fn behind_a_gap_every_marker_stays() {
        let mut state = CleanedTransactions::new([aborted(1, 0, 9)]);
        state.step_over();
        let commit = marker(TransactionResult::Commit);
        assert!(!state.handle_control(&header(2, 8, 8, true), commit, false));
        let abort = marker(TransactionResult::Abort);
        assert!(!state.handle_control(&header(1, 9, 9, true), abort, false));
        assert_eq!(state.take_needed(), [aborted(1, 0, 9)]);
    }
}

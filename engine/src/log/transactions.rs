//! Transactions as a partition's log sees them: markers that end them and the list of those that were aborted.
//!
//! Which transactions are open is a property of the producers ([`super::ProducerState`]); here is what remains when
//! one ends. Nothing in this file knows a coordinator.

use crate::types::{Offset, ProducerId};
use std::collections::VecDeque;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionResult {
    /// Its records never happened.
    Abort,
    /// Its records count.
    Commit,
}

/// The content of a control batch that ends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionMarker {
    /// How it ended.
    pub result: TransactionResult,
    /// Epoch of the coordinator that wrote it.
    pub coordinator_epoch: i32,
}

impl TransactionMarker {
    /// Reads the marker out of a control batch: `Ok(None)` for control records of another kind (leader changes and
    /// the like, which change no transaction), an error for bytes that are no control record.
    ///
    /// A control batch holds one uncompressed record whose key is version (2 bytes) and type (2 bytes; 0 abort,
    /// 1 commit), and whose value begins with version (2 bytes) and coordinator epoch (4 bytes).
    pub fn parse(batch: &[u8]) -> Result<Option<TransactionMarker>, &'static str> {
        const SHORT: &str = "a control record ends early";
        let mut rest = batch.get(super::batch::HEADER_BYTES..).ok_or(SHORT)?;
        varint(&mut rest).ok_or(SHORT)?; // length
        rest = rest.get(1..).ok_or(SHORT)?; // attributes
        varint(&mut rest).ok_or(SHORT)?; // timestamp delta
        varint(&mut rest).ok_or(SHORT)?; // offset delta
        let key = field(&mut rest).ok_or(SHORT)?;
        let value = field(&mut rest).ok_or(SHORT)?;
        if key.len() < 4 {
            return Err("a control record's key is shorter than four bytes");
        }
        let result = match i16::from_be_bytes([key[2], key[3]]) {
            0 => TransactionResult::Abort,
            1 => TransactionResult::Commit,
            _ => return Ok(None),
        };
        if value.len() < 6 {
            return Err("a transaction marker's value is shorter than six bytes");
        }
        let coordinator_epoch = i32::from_be_bytes([value[2], value[3], value[4], value[5]]);
        Ok(Some(TransactionMarker {
            result,
            coordinator_epoch,
        }))
    }
}

/// A zigzag varint of up to ten bytes.
fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// A length-prefixed field; a null one reads as empty.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint(rest)?;
    let length = if length < 0 {
        0
    } else {
        usize::try_from(length).ok()?
    };
    let (field, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(field)
}

/// A transaction that was aborted, as a read_committed consumer must know it; one entry of Kafka's `.txnindex`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
    /// Its marker.
    pub last_offset: Offset,
    /// The last stable offset once the marker counted: no transaction below it can end any more.
    pub last_stable_offset: Offset,
}

/// The aborted transactions of one partition, in the order of their markers (so also of their last stable offsets).
///
/// Bounded by what the log holds: an entry goes when its marker falls below the log start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AbortedTransactions {
    entries: VecDeque<AbortedTransaction>,
}

impl AbortedTransactions {
    /// A list read back; markers must ascend.
    pub fn restore(entries: impl IntoIterator<Item = AbortedTransaction>) -> AbortedTransactions {
        let mut list = AbortedTransactions::default();
        for entry in entries {
            list.push(entry);
        }
        list
    }

    /// Notes one more.
    pub fn push(&mut self, entry: AbortedTransaction) {
        assert!(
            self.entries
                .back()
                .is_none_or(|last| last.last_offset < entry.last_offset),
            "markers ascend"
        );
        self.entries.push_back(entry);
    }

    /// All of them, oldest marker first.
    pub fn iter(&self) -> impl Iterator<Item = &AbortedTransaction> {
        self.entries.iter()
    }

    /// Those with records in `from..to`. The search ends at the first whose last stable offset says that everything
    /// later began at or above `to`.
    pub fn between(&self, from: Offset, to: Offset) -> Vec<AbortedTransaction> {
        let begin = self
            .entries
            .partition_point(|entry| entry.last_offset < from);
        let mut found = Vec::new();
        for entry in self.entries.range(begin..) {
            if entry.first_offset < to {
                found.push(*entry);
            }
            if entry.last_stable_offset >= to {
                break;
            }
        }
        found
    }

    /// Those whose marker lies in a segment's range, for its `.txnindex`.
    pub fn of_segment(
        &self,
        base: Offset,
        next_base: Offset,
    ) -> impl Iterator<Item = &AbortedTransaction> {
        self.entries
            .iter()
            .filter(move |entry| base <= entry.last_offset && entry.last_offset < next_base)
    }

    /// Of those whose marker lies in `base..end` only those in `kept` stay.
    pub fn retain_of_range(&mut self, base: Offset, end: Offset, kept: &[AbortedTransaction]) {
        self.entries
            .retain(|entry| !(base..end).contains(&entry.last_offset) || kept.contains(entry));
    }

    /// Forgets what ended below the log start.
    pub fn remove_below(&mut self, log_start: Offset) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.last_offset < log_start)
        {
            self.entries.pop_front();
        }
    }

    /// Forgets what ended at or above a new log end.
    pub fn truncate(&mut self, end: Offset) {
        while self
            .entries
            .back()
            .is_some_and(|entry| entry.last_offset >= end)
        {
            self.entries.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted(first: i64, last: i64, stable: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id: ProducerId(1),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable_offset: Offset(stable),
        }
    }

    #[test]
    fn only_overlapping_aborts_are_reported() {
        let list = AbortedTransactions::restore([
            aborted(2, 7, 4),
            aborted(4, 9, 10),
            aborted(20, 22, 23),
        ]);
        assert_eq!(list.between(Offset(8), Offset(15)), vec![aborted(4, 9, 10)]);
        assert_eq!(list.between(Offset(0), Offset(3)), vec![aborted(2, 7, 4)]);
        assert_eq!(list.between(Offset(10), Offset(20)), vec![]);
        assert_eq!(list.between(Offset(0), Offset(100)).len(), 3);
    }

    #[test]
    fn truncation_and_log_start_drop_their_ends() {
        let mut list = AbortedTransactions::restore([
            aborted(2, 7, 4),
            aborted(4, 9, 10),
            aborted(20, 22, 23),
        ]);
        list.remove_below(Offset(8));
        list.truncate(Offset(22));
        assert_eq!(
            list.iter().copied().collect::<Vec<_>>(),
            vec![aborted(4, 9, 10)]
        );
    }

    #[test]
    fn a_cut_marker_is_an_error_and_never_a_panic() {
        for length in 0..90 {
            assert!(TransactionMarker::parse(&vec![0x80; length]).is_err());
        }
    }
}

//! **Which records survive.** Batch by batch and record by record, as Kafka's `Cleaner.cleanInto` decides.
//!
//! Invariants: the last record of each key below the round's end survives unless it is a tombstone whose delete
//! horizon has passed, with no damaged segment in front of it; nothing above the last offset that was looked at goes; the last batch of each producer and the
//! last batch of the round stay, empty if need be, so that sequences and the end are known. No I/O, no clock.

use super::cleaned_transactions::CleanedTransactions;
use super::offset_map::OffsetMap;
use crate::log::batch::HEADER_BYTES;
use crate::log::producer_state::ProducerState;
use crate::log::transactions::TransactionMarker;
use crate::types::{Offset, ProducerId};
use net::records::{BatchHeader, RetainRules, StoredRecord};
use std::collections::BTreeMap;

/// The last trace of a producer in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastOfProducer {
    /// Last offset of its newest data batch; `None` if its newest epoch has written none.
    pub last_data_offset: Option<Offset>,
    /// Its newest epoch.
    pub epoch: i16,
}

/// The producers that a log remembers, as the filter needs them.
pub fn last_of_producers(producers: &ProducerState) -> BTreeMap<ProducerId, LastOfProducer> {
    let last = |entry: &crate::log::ProducerEntry| LastOfProducer {
        last_data_offset: entry.batches().last().map(|batch| batch.last_offset),
        epoch: entry.epoch.0,
    };
    producers
        .iter()
        .map(|(id, entry)| (id, last(entry)))
        .collect()
}

/// What becomes of a batch whatever its records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes, with all its records; nobody need look at them.
    Drop,
    /// Its records go, the batch stays without them.
    Empty,
    /// Its records are asked about one by one.
    Ask {
        /// If none stays, the batch still does.
        keep_empty: bool,
        /// What else decides.
        rules: RetainRules,
    },
}

/// Everything that a cleaning of one partition decides by.
#[derive(Debug)]
pub struct Filter<'m> {
    /// The last offset of each key in the dirty part.
    pub map: &'m OffsetMap,
    /// State of the walk; to be put back where a stretch is walked again.
    pub transactions: CleanedTransactions,
    /// Producers at the moment the cleaning began.
    pub producers: BTreeMap<ProducerId, LastOfProducer>,
    /// Wall-clock time, `None` while it is in doubt: then no tombstone goes and none gets a horizon.
    pub now_ms: Option<i64>,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// First offset that this round does not clean.
    pub round_end: Offset,
}

impl Filter<'_> {
    /// Looks at a batch, in log order. `batch` is all of it.
    pub fn judge(&mut self, header: &BatchHeader, batch: &[u8]) -> Verdict {
        let (discard, rules) = if header.is_control() {
            let empty = header.record_count == 0;
            // Bytes that are no control record are left alone.
            let marker = match empty {
                true => None,
                false => TransactionMarker::parse(batch).ok().flatten(),
            };
            let spent = self.transactions.handle_control(header, marker, empty);
            let rules = RetainRules {
                delete_horizon_ms: self.new_horizon(),
                marker_of_empty_transaction: spent,
            };
            (spent && self.horizon_passed(header), rules)
        } else {
            let aborted = self.transactions.handle_records(header);
            let rules = RetainRules {
                delete_horizon_ms: self.new_horizon(),
                marker_of_empty_transaction: false,
            };
            (aborted, rules)
        };
        let keep_empty =
            self.is_last_of_producer(header) || Offset(header.next_offset()) == self.round_end;
        match (discard, keep_empty) {
            (true, true) => Verdict::Empty,
            (true, false) => Verdict::Drop,
            (false, _) => Verdict::Ask { keep_empty, rules },
        }
    }

    /// Whether a record of a batch that was to be asked about stays.
    pub fn keeps(&self, header: &BatchHeader, record: &StoredRecord<'_>) -> bool {
        if header.is_control() || record.offset > self.map.latest().0 {
            return true;
        }
        // A record without a key cannot be superseded, but no compacted topic takes one: Kafka removes it.
        let Some(key) = record.key else { return false };
        let superseded = self.map.get(key).is_some_and(|last| last.0 > record.offset);
        // What it deletes may stand in a segment that was stepped over, and would come back without it.
        let needed = self.transactions.has_gaps() || !self.horizon_passed(header);
        !superseded && (record.has_value || needed)
    }

    fn new_horizon(&self) -> Option<i64> {
        self.now_ms
            .map(|now| now.saturating_add(self.delete_retention_ms))
    }

    /// A control batch without records was emptied when its horizon had passed.
    fn horizon_passed(&self, header: &BatchHeader) -> bool {
        match self.now_ms {
            Some(now) => header.has_delete_horizon() && header.base_timestamp <= now,
            None => false,
        }
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        if !header.has_producer_id() {
            return false;
        }
        let last = self.producers.get(&ProducerId(header.producer_id));
        last.is_some_and(|last| match last.last_data_offset {
            Some(offset) => Offset(header.last_offset()) == offset,
            None => header.is_control() && header.producer_epoch == last.epoch,
        })
    }
}

/// Fills the map from the dirty part of the log, batch by batch in log order.
#[derive(Debug)]
pub struct MapBuilder {
    /// The map so far.
    pub map: OffsetMap,
    transactions: CleanedTransactions,
    first_dirty: Offset,
    full: bool,
}

impl MapBuilder {
    /// Begins at the first dirty offset. `transactions` are those that end at or above it.
    pub fn new(
        map: OffsetMap,
        transactions: CleanedTransactions,
        first_dirty: Offset,
    ) -> MapBuilder {
        MapBuilder {
            map,
            transactions,
            first_dirty,
            full: false,
        }
    }

    /// Whether the records of this batch are to be given to [`Self::add`]; [`Self::end_batch`] follows either way.
    pub fn begin_batch(&mut self, header: &BatchHeader, batch: &[u8]) -> bool {
        if header.is_control() {
            let marker = match header.record_count == 0 || batch.len() <= HEADER_BYTES {
                true => None,
                false => TransactionMarker::parse(batch).ok().flatten(),
            };
            self.transactions
                .handle_control(header, marker, header.record_count == 0);
            return false;
        }
        // What was aborted supersedes nothing.
        !self.transactions.handle_records(header) && header.record_count > 0
    }

    /// A record of the batch.
    pub fn add(&mut self, record: &StoredRecord<'_>) {
        let Some(key) = record.key else { return };
        if !self.full && record.offset >= self.first_dirty.0 {
            self.full = !self.map.put(key, Offset(record.offset));
        }
    }

    /// The batch was looked at. False once the table is full: what follows waits for another round.
    pub fn end_batch(&mut self, header: &BatchHeader) -> bool {
        if !self.full && header.last_offset() >= self.first_dirty.0 {
            self.map.cover(Offset(header.last_offset()));
        }
        !self.full
    }

    /// Everything below `end` was looked at, also where offsets are missing.
    pub fn end_segment(&mut self, end: Offset) {
        if !self.full {
            self.map.cover(Offset(end.0 - 1));
        }
    }

    /// Whether the table is full.
    pub fn is_full(&self) -> bool {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::recovery_state::placeholder;
    use crate::types::LeaderEpoch;

    #[test]
    fn a_tombstone_stays_while_what_it_deletes_may_stand_in_a_damaged_segment() {
        let mut map = OffsetMap::new(1 << 10, 0.5, 4, [1, 2]);
        assert!(map.put(b"key", Offset(7)));
        let mut filter = Filter {
            map: &map,
            transactions: CleanedTransactions::default(),
            producers: BTreeMap::new(),
            now_ms: Some(2_000),
            delete_retention_ms: 0,
            round_end: Offset(9),
        };
        let header = BatchHeader {
            attributes: 1 << 6,
            base_timestamp: 1_000,
            ..placeholder(Offset(7), Offset(7), 100, LeaderEpoch(0))
        };
        let tombstone = StoredRecord {
            offset: 7,
            timestamp: 500,
            key: Some(b"key"),
            has_value: false,
        };
        assert!(!filter.keeps(&header, &tombstone), "its horizon has passed");
        filter.transactions.step_over();
        assert!(filter.keeps(&header, &tombstone));
    }
}

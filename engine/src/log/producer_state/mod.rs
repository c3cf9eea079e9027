//! What a partition remembers of its producers: enough to recognise a resend, refuse a gap and fence an old epoch
//! (RELIABILITY I1–I11).
//!
//! There are two layers. `durable` is the state after everything below the high watermark. `pending` holds, for the
//! few producers with batches in flight, a copy that already counts those batches: checks look there first, so that
//! a batch may be planned before the one in front of it is flushed, and a failed flush is undone by dropping the
//! layer. Lives on the partition's core; iteration is by producer id, so equal histories give equal files.
//!
//! `entry` is one producer and what a batch changes of it, `count` the bound that a shard's partitions share.

mod count;
mod entry;
#[cfg(test)]
mod tests;

pub use count::ProducerCount;
pub use entry::{ProducerAppend, ProducerBatch, ProducerEntry};

use super::append::AppendOrigin;
use super::error::AppendError;
use super::transactions::{AbortedTransaction, TransactionMarker, TransactionResult};
use crate::limits::PRODUCER_IDLE_EVICTION_MS;
use crate::types::{Offset, ProducerEpoch, ProducerId};
use entry::sequence_plus;
use net::records::BatchHeader;
use std::collections::BTreeMap;

/// `NO_PRODUCER_ID` of Kafka: the batch of a producer without idempotence.
pub const NO_PRODUCER_ID: ProducerId = ProducerId(-1);
/// Refused first batches remembered per partition.
const REFUSED_PRODUCERS_MAX: usize = 256;

/// What a check of a producer's batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducerCheck {
    /// In sequence, or without sequence: append it.
    Accept,
    /// One of the remembered batches again.
    Duplicate(ProducerBatch),
}

#[derive(Debug)]
struct Pending {
    entry: ProducerEntry,
    in_flight: u32,
}

/// All producers of one partition.
///
/// **At the bound** (100,000 per shard): a producer id new to the partition takes the place of the one that was
/// silent longest here, provided that was at least [`PRODUCER_IDLE_EVICTION_MS`] and no transaction of it is open
/// (a forgotten producer may continue with any sequence, I7). Is there none, the batch is refused with
/// [`AppendError::TooManyProducers`]; producers already known go on.
#[derive(Debug)]
pub struct ProducerState {
    durable: BTreeMap<ProducerId, ProducerEntry>,
    pending: BTreeMap<ProducerId, Pending>,
    /// First offsets of the open transactions of `durable`.
    open: BTreeMap<Offset, ProducerId>,
    /// Unknown producers whose first batch was refused for want of space: what follows it must not come in its place.
    refused: BTreeMap<ProducerId, (ProducerEpoch, i32)>,
    count: ProducerCount,
}

impl Drop for ProducerState {
    fn drop(&mut self) {
        self.count.remove(self.durable.len());
    }
}

impl ProducerState {
    /// No producers yet.
    pub fn new(count: ProducerCount) -> ProducerState {
        ProducerState {
            durable: BTreeMap::new(),
            pending: BTreeMap::new(),
            open: BTreeMap::new(),
            refused: BTreeMap::new(),
            count,
        }
    }

    /// State read from a checkpoint or snapshot. Recovery never refuses a producer, so this may pass the bound.
    pub fn restore(
        count: ProducerCount,
        entries: impl IntoIterator<Item = (ProducerId, ProducerEntry)>,
    ) -> ProducerState {
        let mut state = ProducerState::new(count);
        for (id, entry) in entries {
            state.insert(id, entry);
        }
        state
    }

    /// The durable entries by producer id.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.durable.iter().map(|(id, entry)| (*id, entry))
    }

    /// Producers remembered.
    pub fn len(&self) -> usize {
        self.durable.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.durable.is_empty()
    }

    /// First offset of the oldest open transaction among what is durable.
    pub fn first_open_transaction(&self) -> Option<Offset> {
        self.open.first_key_value().map(|(offset, _)| *offset)
    }

    fn newest(&self, id: ProducerId) -> Option<&ProducerEntry> {
        self.pending
            .get(&id)
            .map(|pending| &pending.entry)
            .or_else(|| self.durable.get(&id))
    }

    /// A batch was refused before it was looked at, and its producer will send it again. Those that it sent behind it
    /// are on their way; of a producer that is not known yet they would be accepted, and the first one then not.
    pub fn note_refused(&mut self, header: &BatchHeader) {
        let producer_id = ProducerId(header.producer_id);
        if header.producer_id < 0 || self.newest(producer_id).is_some() {
            return;
        }
        let sent = (ProducerEpoch(header.producer_epoch), header.base_sequence);
        let known = self.refused.entry(producer_id).or_insert(sent);
        if known.0 < sent.0 {
            *known = sent;
        }
        if self.refused.len() > REFUSED_PRODUCERS_MAX {
            self.refused.pop_first();
        }
    }

    /// Whether the batch is one of the remembered ones again.
    pub fn is_duplicate(&self, header: &BatchHeader, origin: AppendOrigin) -> bool {
        origin == AppendOrigin::Client
            && header.producer_id >= 0
            && self
                .newest(ProducerId(header.producer_id))
                .is_some_and(|entry| entry.duplicate_of(header).is_some())
    }

    /// Looks at a batch before it is planned; `log_end` is where it would go. Changes nothing, except that at the
    /// bound it may forget an idle producer.
    pub fn check(
        &mut self,
        header: &BatchHeader,
        marker: Option<TransactionMarker>,
        origin: AppendOrigin,
        log_end: Offset,
        now_ms: i64,
    ) -> Result<ProducerCheck, AppendError> {
        if header.producer_id < 0 || origin == AppendOrigin::Replication {
            return Ok(ProducerCheck::Accept);
        }
        let producer_id = ProducerId(header.producer_id);
        let Some(entry) = self.newest(producer_id) else {
            if let Some((epoch, expected)) = self.refused.get(&producer_id)
                && (epoch.0, *expected) != (header.producer_epoch, header.base_sequence)
                && header.producer_epoch <= epoch.0
                && origin == AppendOrigin::Client
            {
                let (expected, got) = (*expected, header.base_sequence);
                return Err(AppendError::OutOfOrderSequence {
                    producer_id,
                    expected,
                    got,
                    offset: log_end,
                });
            }
            // I7: nothing known, so any sequence may be the next one.
            self.make_room(now_ms)?;
            self.refused.remove(&producer_id);
            return Ok(ProducerCheck::Accept);
        };
        if origin == AppendOrigin::Client
            && let Some(batch) = entry.duplicate_of(header)
        {
            return Ok(ProducerCheck::Duplicate(batch));
        }
        if header.producer_epoch < entry.epoch.0 {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id,
                current: entry.epoch,
                got: ProducerEpoch(header.producer_epoch),
            });
        }
        if let Some(marker) = marker {
            return if marker.coordinator_epoch < entry.coordinator_epoch {
                Err(AppendError::TransactionCoordinatorFenced {
                    current: entry.coordinator_epoch,
                    got: marker.coordinator_epoch,
                })
            } else {
                Ok(ProducerCheck::Accept)
            };
        }
        if origin == AppendOrigin::Client {
            let expected = if header.producer_epoch > entry.epoch.0 {
                0
            } else {
                sequence_plus(entry.last_sequence(), 1)
            };
            if header.base_sequence != expected {
                return Err(AppendError::OutOfOrderSequence {
                    producer_id,
                    expected,
                    got: header.base_sequence,
                    offset: log_end,
                });
            }
        }
        if entry.transaction_first_offset.is_some()
            && !header.is_transactional()
            && !header.is_control()
        {
            return Err(AppendError::InvalidTransactionState);
        }
        Ok(ProducerCheck::Accept)
    }

    fn make_room(&mut self, now_ms: i64) -> Result<(), AppendError> {
        if self.count.in_use() < self.count.max {
            return Ok(());
        }
        let idle = self
            .durable
            .iter()
            .filter(|(id, entry)| self.evictable(**id, entry, now_ms, PRODUCER_IDLE_EVICTION_MS))
            .min_by_key(|(_, entry)| entry.last_active_ms)
            .map(|(id, _)| *id);
        match idle {
            Some(id) => {
                self.remove(id);
                Ok(())
            }
            None => Err(AppendError::TooManyProducers {
                max: self.count.max,
            }),
        }
    }

    fn evictable(&self, id: ProducerId, entry: &ProducerEntry, now_ms: i64, idle_ms: i64) -> bool {
        entry.transaction_first_offset.is_none()
            && !self.pending.contains_key(&id)
            && now_ms.saturating_sub(entry.last_active_ms) >= idle_ms
    }

    /// Counts a planned batch for the checks of those behind it.
    pub fn plan(&mut self, batch: &ProducerAppend) {
        let known = self.durable.get(&batch.producer_id);
        let pending = self
            .pending
            .entry(batch.producer_id)
            .or_insert_with(|| Pending {
                entry: known
                    .cloned()
                    .unwrap_or_else(|| ProducerEntry::new(batch.epoch)),
                in_flight: 0,
            });
        pending.entry.append(batch);
        pending.in_flight += 1;
    }

    /// A planned batch became durable. Plans are applied in the order they were made. `high_watermark` is the one
    /// behind this batch. Returns the transaction it aborted, if it is a marker that did.
    pub fn apply(&mut self, batch: &ProducerAppend) -> Option<AbortedTransaction> {
        let pending = self
            .pending
            .get_mut(&batch.producer_id)
            .expect("a batch is planned before it is applied");
        pending.in_flight -= 1;
        if pending.in_flight == 0 {
            self.pending.remove(&batch.producer_id);
        }
        self.replay(batch)
    }

    /// All plans are void: the flush failed (I11).
    pub fn fail_pending(&mut self) {
        self.pending.clear();
    }

    /// Counts a batch that is in the log already, without any check (STORAGE C2).
    pub fn replay(&mut self, batch: &ProducerAppend) -> Option<AbortedTransaction> {
        let count = &self.count;
        let entry = self.durable.entry(batch.producer_id).or_insert_with(|| {
            count.add(1);
            ProducerEntry::new(batch.epoch)
        });
        let was_open = entry.transaction_first_offset;
        let completed = entry.append(batch);
        match (was_open, entry.transaction_first_offset) {
            (None, Some(first)) => {
                self.open.insert(first, batch.producer_id);
            }
            (Some(first), None) => {
                self.open.remove(&first);
            }
            _ => {}
        }
        let completed =
            completed.filter(|completed| completed.result == TransactionResult::Abort)?;
        Some(AbortedTransaction {
            producer_id: completed.producer_id,
            first_offset: completed.first_offset,
            last_offset: completed.last_offset,
            last_stable_offset: self
                .first_open_transaction()
                .unwrap_or(Offset(completed.last_offset.0 + 1)),
        })
    }

    /// Forgets producers silent for `expiration_ms` (`producer.id.expiration.ms`), except those with an open
    /// transaction or a batch in flight. Returns how many.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let expired: Vec<ProducerId> = self
            .durable
            .iter()
            .filter(|(id, entry)| self.evictable(**id, entry, now_ms, expiration_ms))
            .map(|(id, _)| *id)
            .collect();
        for id in &expired {
            self.remove(*id);
        }
        expired.len()
    }

    /// Recovery counts every restored producer as seen now: the time the node was down is not the producer's silence.
    pub fn touch_all(&mut self, now_ms: i64) {
        for entry in self.durable.values_mut() {
            entry.last_active_ms = entry.last_active_ms.max(now_ms);
        }
    }

    fn insert(&mut self, id: ProducerId, entry: ProducerEntry) {
        if let Some(first) = entry.transaction_first_offset {
            self.open.insert(first, id);
        }
        if let Some(old) = self.durable.insert(id, entry) {
            if let Some(first) = old.transaction_first_offset
                && self.durable[&id].transaction_first_offset != Some(first)
            {
                self.open.remove(&first);
            }
        } else {
            self.count.add(1);
        }
    }

    fn remove(&mut self, id: ProducerId) {
        if let Some(entry) = self.durable.remove(&id) {
            self.count.remove(1);
            if let Some(first) = entry.transaction_first_offset {
                self.open.remove(&first);
            }
        }
    }
}

//! One producer: its epochs, its open transaction, its newest batches, and what a batch changes of them. On the
//! partition's core.
//!
//! Invariant: the remembered batches are the newest of the current epoch, at most [`PRODUCER_BATCHES_MAX`], oldest
//! first; a new epoch begins without any.

use crate::limits::PRODUCER_BATCHES_MAX;
use crate::log::transactions::{TransactionMarker, TransactionResult};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence};
use net::records::BatchHeader;

const NO_SEQUENCE: i32 = -1;

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence of its last record.
    pub last_sequence: Sequence,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Last offset minus first offset.
    pub offset_delta: i32,
    /// Its largest timestamp; what a resend is told as its append time.
    pub timestamp: i64,
}

impl ProducerBatch {
    /// Sequence of its first record.
    pub fn first_sequence(&self) -> Sequence {
        sequence_minus(self.last_sequence, self.offset_delta)
    }

    /// Offset of its first record.
    pub fn first_offset(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.offset_delta))
    }
}

/// The sequence `delta` before `last`, across the wrap from 2,147,483,647 to 0 (RELIABILITY I4).
pub(super) fn sequence_minus(last: Sequence, delta: i32) -> Sequence {
    let first = last.0.wrapping_sub(delta);
    if last.0 >= delta {
        Sequence(first)
    } else {
        Sequence((i64::from(last.0) - i64::from(delta) + (1 << 31)) as i32)
    }
}

/// The sequence of the last of `delta + 1` records (RELIABILITY I4).
pub(super) fn sequence_plus(first: i32, delta: i32) -> i32 {
    ((i64::from(first) + i64::from(delta)) & 0x7fff_ffff) as i32
}

/// Everything remembered of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The newest epoch seen.
    pub epoch: ProducerEpoch,
    /// The newest epoch of a coordinator that ended a transaction of this producer; −1 for none.
    pub coordinator_epoch: i32,
    /// Largest timestamp of the newest batch or marker; Kafka's `lastTimestamp`.
    pub last_timestamp: i64,
    /// Wall-clock time of the last append as this node saw it. Expiry looks here, so that records with old
    /// timestamps do not make their producer forgotten at once.
    pub last_active_ms: i64,
    /// First offset of the open transaction.
    pub transaction_first_offset: Option<Offset>,
    batches: [ProducerBatch; PRODUCER_BATCHES_MAX],
    batch_count: u8,
}

const NO_BATCH: ProducerBatch = ProducerBatch {
    last_sequence: Sequence(NO_SEQUENCE),
    last_offset: Offset(-1),
    offset_delta: 0,
    timestamp: -1,
};

impl ProducerEntry {
    /// An entry read from a file. Of more than five batches the newest five stay.
    pub fn restore(
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
        last_timestamp: i64,
        last_active_ms: i64,
        transaction_first_offset: Option<Offset>,
        batches: &[ProducerBatch],
    ) -> ProducerEntry {
        let mut entry = ProducerEntry {
            epoch,
            coordinator_epoch,
            last_timestamp,
            last_active_ms,
            transaction_first_offset,
            batches: [NO_BATCH; PRODUCER_BATCHES_MAX],
            batch_count: 0,
        };
        for batch in batches {
            entry.push(*batch);
        }
        entry
    }

    pub(super) fn new(epoch: ProducerEpoch) -> ProducerEntry {
        ProducerEntry::restore(epoch, -1, -1, i64::MIN, None, &[])
    }

    /// The remembered batches of the current epoch, oldest first.
    pub fn batches(&self) -> &[ProducerBatch] {
        &self.batches[..usize::from(self.batch_count)]
    }

    fn push(&mut self, batch: ProducerBatch) {
        if usize::from(self.batch_count) == PRODUCER_BATCHES_MAX {
            self.batches.rotate_left(1);
            self.batches[PRODUCER_BATCHES_MAX - 1] = batch;
        } else {
            self.batches[usize::from(self.batch_count)] = batch;
            self.batch_count += 1;
        }
    }

    pub(super) fn last_sequence(&self) -> i32 {
        self.batches()
            .last()
            .map_or(NO_SEQUENCE, |batch| batch.last_sequence.0)
    }

    fn set_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batch_count = 0;
        }
    }

    /// I2: the same first and last sequence in the same epoch.
    pub(super) fn duplicate_of(&self, header: &BatchHeader) -> Option<ProducerBatch> {
        if self.epoch.0 != header.producer_epoch {
            return None;
        }
        let last = sequence_plus(header.base_sequence, header.last_offset_delta);
        self.batches()
            .iter()
            .rev()
            .find(|batch| {
                batch.last_sequence.0 == last && batch.first_sequence().0 == header.base_sequence
            })
            .copied()
    }

    pub(super) fn append(&mut self, batch: &ProducerAppend) -> Option<CompletedTransaction> {
        self.last_active_ms = self.last_active_ms.max(batch.now_ms);
        self.last_timestamp = batch.timestamp;
        self.set_epoch(batch.epoch);
        if let Some(marker) = batch.marker {
            self.coordinator_epoch = marker.coordinator_epoch;
            return self
                .transaction_first_offset
                .take()
                .map(|first_offset| CompletedTransaction {
                    producer_id: batch.producer_id,
                    first_offset,
                    last_offset: batch.last_offset,
                    result: marker.result,
                });
        }
        self.push(ProducerBatch {
            last_sequence: Sequence(batch.last_sequence),
            last_offset: batch.last_offset,
            offset_delta: (batch.last_offset.0 - batch.base_offset.0) as i32,
            timestamp: batch.timestamp,
        });
        if batch.is_transactional && self.transaction_first_offset.is_none() {
            self.transaction_first_offset = Some(batch.base_offset);
        }
        None
    }
}

/// A transaction that a marker has just ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompletedTransaction {
    pub(super) producer_id: ProducerId,
    pub(super) first_offset: Offset,
    pub(super) last_offset: Offset,
    pub(super) result: TransactionResult,
}

/// A batch's part for the producer state, kept with its plan until the plan is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerAppend {
    pub(super) producer_id: ProducerId,
    pub(super) epoch: ProducerEpoch,
    last_sequence: i32,
    base_offset: Offset,
    last_offset: Offset,
    timestamp: i64,
    now_ms: i64,
    is_transactional: bool,
    marker: Option<TransactionMarker>,
}

impl ProducerAppend {
    /// What `header` means for its producer; `None` for a batch without one, or a control batch that ends nothing.
    pub fn of(
        header: &BatchHeader,
        base_offset: Offset,
        last_offset: Offset,
        now_ms: i64,
        marker: Option<TransactionMarker>,
    ) -> Option<ProducerAppend> {
        if header.producer_id < 0 || (header.is_control() && marker.is_none()) {
            return None;
        }
        Some(ProducerAppend {
            producer_id: ProducerId(header.producer_id),
            epoch: ProducerEpoch(header.producer_epoch),
            last_sequence: sequence_plus(header.base_sequence, header.last_offset_delta),
            base_offset,
            last_offset,
            timestamp: header.max_timestamp,
            now_ms,
            is_transactional: header.is_transactional(),
            marker,
        })
    }
}

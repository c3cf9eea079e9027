//! What a partition remembers of its producers: enough to recognise a resend, refuse a gap and fence an old epoch
//! (RELIABILITY I1–I11).
//!
//! There are two layers. `durable` is the state after everything below the high watermark. `pending` holds, for the
//! few producers with batches in flight, a copy that already counts those batches: checks look there first, so that
//! a batch may be planned before the one in front of it is flushed, and a failed flush is undone by dropping the
//! layer. Lives on the partition's core; iteration is by producer id, so equal histories give equal files.

use super::append::AppendOrigin;
use super::error::AppendError;
use super::transactions::{AbortedTransaction, TransactionMarker, TransactionResult};
use crate::limits::{PRODUCER_BATCHES_MAX, PRODUCER_IDLE_EVICTION_MS, PRODUCERS_PER_SHARD_MAX};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence};
use net::records::BatchHeader;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// `NO_PRODUCER_ID` of Kafka: the batch of a producer without idempotence.
pub const NO_PRODUCER_ID: ProducerId = ProducerId(-1);
const NO_SEQUENCE: i32 = -1;
/// Refused first batches remembered per partition.
const REFUSED_PRODUCERS_MAX: usize = 256;

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
fn sequence_minus(last: Sequence, delta: i32) -> Sequence {
    let first = last.0.wrapping_sub(delta);
    if last.0 >= delta {
        Sequence(first)
    } else {
        Sequence((i64::from(last.0) - i64::from(delta) + (1 << 31)) as i32)
    }
}

/// The sequence of the last of `delta + 1` records (RELIABILITY I4).
fn sequence_plus(first: i32, delta: i32) -> i32 {
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

    fn new(epoch: ProducerEpoch) -> ProducerEntry {
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

    fn last_sequence(&self) -> i32 {
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
    fn duplicate_of(&self, header: &BatchHeader) -> Option<ProducerBatch> {
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

    fn append(&mut self, batch: &ProducerAppend) -> Option<CompletedTransaction> {
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
struct CompletedTransaction {
    producer_id: ProducerId,
    first_offset: Offset,
    last_offset: Offset,
    result: TransactionResult,
}

/// A batch's part for the producer state, kept with its plan until the plan is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerAppend {
    producer_id: ProducerId,
    epoch: ProducerEpoch,
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

/// What a check of a producer's batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducerCheck {
    /// In sequence, or without sequence: append it.
    Accept,
    /// One of the remembered batches again.
    Duplicate(ProducerBatch),
}

/// How many producers the partitions of one shard remember together; a handle of the shard's one counter.
#[derive(Debug, Clone)]
pub struct ProducerCount {
    in_use: Rc<Cell<usize>>,
    max: usize,
}

impl Default for ProducerCount {
    fn default() -> Self {
        ProducerCount::new(PRODUCERS_PER_SHARD_MAX)
    }
}

impl ProducerCount {
    /// A counter with this bound.
    pub fn new(max: usize) -> ProducerCount {
        ProducerCount {
            in_use: Rc::new(Cell::new(0)),
            max,
        }
    }

    /// Producers remembered now.
    pub fn in_use(&self) -> usize {
        self.in_use.get()
    }

    fn add(&self, count: usize) {
        self.in_use.set(self.in_use.get() + count);
    }

    fn remove(&self, count: usize) {
        self.in_use.set(
            self.in_use
                .get()
                .checked_sub(count)
                .expect("only what was counted is taken off"),
        );
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use net::records::BatchBuilder;

    fn header(producer: i64, epoch: i16, sequence: i32) -> BatchHeader {
        let mut builder = BatchBuilder::new().producer(producer, epoch, sequence);
        builder.append(None, None, &[], 10);
        BatchHeader::parse(&builder.build(0, -1)).unwrap()
    }

    fn check(
        state: &mut ProducerState,
        producer: i64,
        now_ms: i64,
    ) -> Result<ProducerCheck, AppendError> {
        state.check(
            &header(producer, 0, 0),
            None,
            AppendOrigin::Client,
            Offset(50),
            now_ms,
        )
    }

    fn append(state: &mut ProducerState, producer: i64, offset: i64, now_ms: i64) {
        let append = ProducerAppend::of(
            &header(producer, 0, 0),
            Offset(offset),
            Offset(offset),
            now_ms,
            None,
        )
        .unwrap();
        state.plan(&append);
        state.apply(&append);
    }

    #[test]
    fn at_the_bound_only_a_long_silent_producer_makes_room() {
        let count = ProducerCount::new(2);
        let mut state = ProducerState::new(count.clone());
        append(&mut state, 1, 0, 1_000);
        append(&mut state, 2, 1, 2_000);
        assert_eq!(
            check(&mut state, 3, 2_000 + PRODUCER_IDLE_EVICTION_MS - 1_001),
            Err(AppendError::TooManyProducers { max: 2 })
        );
        assert!(
            matches!(check(&mut state, 1, 3_000), Ok(ProducerCheck::Duplicate(_))),
            "known producers go on"
        );
        assert_eq!(
            check(&mut state, 3, 1_000 + PRODUCER_IDLE_EVICTION_MS),
            Ok(ProducerCheck::Accept)
        );
        assert_eq!(state.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [2]);
        let other = ProducerState::restore(
            count.clone(),
            [(ProducerId(7), ProducerEntry::new(ProducerEpoch(0)))],
        );
        assert_eq!(count.in_use(), 2, "the bound is the shard's");
        drop((state, other));
        assert_eq!(count.in_use(), 0);
    }

    #[test]
    fn expiry_counts_from_the_append_and_not_from_the_records_time() {
        let mut state = ProducerState::new(ProducerCount::default());
        append(&mut state, 1, 0, 1_000_000);
        assert_eq!(state.iter().next().unwrap().1.last_timestamp, 10);
        assert_eq!(state.expire(1_000_099, 100), 0);
        assert_eq!(state.expire(1_000_100, 100), 1);
        assert!(state.is_empty());
    }

    #[test]
    fn the_time_a_node_was_down_is_not_its_producers_silence() {
        let mut state = ProducerState::new(ProducerCount::default());
        append(&mut state, 1, 0, 1_000);
        state.touch_all(9_000);
        assert_eq!(state.expire(9_099, 100), 0);
        assert_eq!(state.expire(9_100, 100), 1);
    }

    #[test]
    fn an_open_transaction_never_expires() {
        let mut state = ProducerState::new(ProducerCount::default());
        let mut builder = BatchBuilder::new().producer(1, 0, 0).transactional(true);
        builder.append(None, None, &[], 10);
        let header = BatchHeader::parse(&builder.build(0, -1)).unwrap();
        state.replay(&ProducerAppend::of(&header, Offset(4), Offset(4), 0, None).unwrap());
        assert_eq!(state.expire(i64::MAX, 100), 0);
        assert_eq!(state.first_open_transaction(), Some(Offset(4)));
    }

    #[test]
    fn markers_fence_older_coordinators() {
        let mut state = ProducerState::new(ProducerCount::default());
        append(&mut state, 1, 0, 0);
        let marker = |coordinator_epoch| {
            Some(TransactionMarker {
                result: TransactionResult::Commit,
                coordinator_epoch,
            })
        };
        let header = header(1, 0, -1);
        state.replay(&ProducerAppend::of(&header, Offset(1), Offset(1), 0, marker(5)).unwrap());
        let mut ask = |epoch| {
            state.check(
                &header,
                marker(epoch),
                AppendOrigin::Coordinator,
                Offset(2),
                0,
            )
        };
        assert_eq!(
            ask(4),
            Err(AppendError::TransactionCoordinatorFenced { current: 5, got: 4 })
        );
        assert_eq!(ask(5), Ok(ProducerCheck::Accept));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(sequence_plus(i32::MAX, 1), 0);
        assert_eq!(sequence_plus(i32::MAX - 1, 3), 1);
        assert_eq!(sequence_minus(Sequence(1), 3), Sequence(i32::MAX - 1));
        assert_eq!(sequence_minus(Sequence(0), i32::MAX), Sequence(1));
        assert_eq!(
            sequence_plus(-1, 1),
            0,
            "without a batch the first sequence is 0"
        );
    }
}

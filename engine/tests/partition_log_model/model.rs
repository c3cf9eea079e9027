//! The model: every batch ever planned, and what follows from the list.

use std::collections::BTreeMap;

use engine::types::Offset;

pub(super) const WRAP: i64 = 1 << 31;

#[derive(Debug, Clone)]
pub(super) struct ModelBatch {
    pub(super) base: i64,
    pub(super) last: i64,
    pub(super) producer: i64,
    pub(super) epoch: i16,
    pub(super) first_sequence: i32,
    pub(super) last_sequence: i32,
    pub(super) max_timestamp: i64,
    pub(super) transactional: bool,
    pub(super) marker: Option<bool>,
    pub(super) bytes: Vec<u8>,
    pub(super) segment: Offset,
    pub(super) position: u32,
    pub(super) finished: bool,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) batches: Vec<ModelBatch>,
    pub(super) log_start: i64,
}

impl Model {
    pub(super) fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.last + 1)
    }
    pub(super) fn high_watermark(&self) -> i64 {
        self.batches
            .iter()
            .take_while(|batch| batch.finished)
            .last()
            .map_or(0, |batch| batch.last + 1)
    }
    pub(super) fn durable(&self) -> impl DoubleEndedIterator<Item = &ModelBatch> {
        self.batches
            .iter()
            .take_while(|batch| batch.finished)
            .collect::<Vec<_>>()
            .into_iter()
    }
    /// Open transactions after everything durable: producer → first offset.
    fn open(&self) -> BTreeMap<i64, i64> {
        let mut open = BTreeMap::new();
        for batch in self.durable() {
            if batch.marker.is_some() {
                open.remove(&batch.producer);
            } else if batch.transactional {
                open.entry(batch.producer).or_insert(batch.base);
            }
        }
        open
    }
    pub(super) fn last_stable(&self) -> i64 {
        self.open()
            .into_values()
            .min()
            .unwrap_or(i64::MAX)
            .min(self.high_watermark())
            .max(self.log_start)
    }
    /// Batches of the producer's newest epoch, and that epoch.
    pub(super) fn current(&self, producer: i64) -> Option<(i16, Vec<&ModelBatch>)> {
        let epoch = self
            .batches
            .iter()
            .rfind(|batch| batch.producer == producer)?
            .epoch;
        Some((
            epoch,
            self.batches
                .iter()
                .filter(|batch| {
                    batch.producer == producer && batch.epoch == epoch && batch.marker.is_none()
                })
                .collect(),
        ))
    }
    pub(super) fn in_transaction(&self, producer: i64) -> bool {
        self.batches
            .iter()
            .rfind(|batch| {
                batch.producer == producer && (batch.marker.is_some() || batch.transactional)
            })
            .is_some_and(|batch| batch.marker.is_none())
    }
    pub(super) fn next_sequence(&self, producer: i64) -> i64 {
        match self.current(producer) {
            None => WRAP - 5,
            Some((_, batches)) => batches
                .last()
                .map_or(0, |batch| (i64::from(batch.last_sequence) + 1) % WRAP),
        }
    }
}

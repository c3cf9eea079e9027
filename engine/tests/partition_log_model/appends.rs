//! What is appended, becomes durable and is written behind, held against the model.

use engine::log::batch::{HEADER_BYTES, PREFIX_BYTES};
use engine::log::{AppendError, AppendOrigin, AppendRequest, PlanOutcome};
use engine::types::Offset;
use net::records::BatchHeader;

use crate::model::ModelBatch;
use crate::{EPOCH, ID, World, config, request};

impl World {
    pub(super) fn append(&mut self, request: &AppendRequest) -> Result<(), AppendError> {
        let header = request.header;
        let marker = header
            .is_control()
            .then(|| request.batch[HEADER_BYTES + 8] == 1);
        let place = self.log.place(request);
        match self.log.plan_append(request)? {
            PlanOutcome::Append(plan) => {
                let base = self.model.end();
                assert_eq!(plan.base_offset.0, base, "offsets are given without gaps");
                assert_eq!(
                    plan.last_offset.0,
                    base + i64::from(header.last_offset_delta)
                );
                assert_eq!(
                    (place.segment_base, place.file_position, place.roll),
                    (plan.segment_base, plan.file_position, plan.roll)
                );
                assert!(plan.file_position.0 + plan.size <= config().segment_bytes);
                assert_eq!(plan.roll && base > 0, plan.file_position.0 == 0 && base > 0);
                assert_eq!(plan.appended.base_offset.0, base);
                let chain = plan.batch.chain();
                let bytes = [&chain[0][..], &chain[1][..]].concat();
                assert_eq!(
                    bytes[PREFIX_BYTES..],
                    request.batch[PREFIX_BYTES..],
                    "the producer's bytes are kept"
                );
                let stamped = BatchHeader::parse(&bytes).unwrap();
                assert_eq!(
                    (stamped.base_offset, stamped.partition_leader_epoch),
                    (base, EPOCH.0)
                );
                assert_eq!(stamped.crc, header.crc);
                self.model.batches.push(ModelBatch {
                    base,
                    last: plan.last_offset.0,
                    producer: header.producer_id,
                    epoch: header.producer_epoch,
                    first_sequence: header.base_sequence,
                    last_sequence: header.last_sequence(),
                    max_timestamp: header.max_timestamp,
                    transactional: header.is_transactional(),
                    marker,
                    bytes,
                    segment: plan.segment_base,
                    position: plan.file_position.0,
                    finished: false,
                });
                self.cache
                    .push(ID, plan.batch, plan.segment_base, plan.file_position);
            }
            PlanOutcome::Duplicate {
                appended,
                durable,
                wait_until,
            } => {
                let original = self
                    .model
                    .batches
                    .iter()
                    .find(|batch| batch.base == appended.base_offset.0)
                    .expect("a duplicate has an original");
                assert_eq!(
                    (
                        original.producer,
                        original.first_sequence,
                        original.last_sequence
                    ),
                    (
                        header.producer_id,
                        header.base_sequence,
                        header.last_sequence()
                    )
                );
                assert_eq!(
                    (original.last, original.max_timestamp),
                    (appended.last_offset.0, appended.log_append_time_ms)
                );
                assert!(appended.duplicate);
                assert_eq!(wait_until.0, original.last + 1);
                assert_eq!(
                    durable,
                    original.last < self.model.high_watermark(),
                    "I11: an answer waits for the first copy"
                );
            }
        }
        Ok(())
    }

    /// What the rules say about a client's batch.
    fn expect(&self, header: &BatchHeader) -> &'static str {
        let Some((epoch, batches)) = self
            .model
            .current(header.producer_id)
            .filter(|_| header.producer_id >= 0)
        else {
            return "append";
        };
        let same = |batch: &&&ModelBatch| {
            batch.first_sequence == header.base_sequence
                && batch.last_sequence == header.last_sequence()
        };
        if header.producer_epoch == epoch && batches.iter().rev().take(5).any(|batch| same(&batch))
        {
            return "duplicate";
        }
        if header.producer_epoch < epoch {
            return "epoch";
        }
        let expected = if header.producer_epoch > epoch {
            0
        } else {
            self.model.next_sequence(header.producer_id)
        };
        if i64::from(header.base_sequence) != expected {
            return "sequence";
        }
        if self.model.in_transaction(header.producer_id) && !header.is_transactional() {
            return "transaction";
        }
        "append"
    }

    pub(super) fn client(&mut self, batch: Vec<u8>) {
        let request = request(batch, AppendOrigin::Client);
        let expected = self.expect(&request.header);
        let before = self.model.batches.len();
        let got = match self.append(&request) {
            Ok(()) if self.model.batches.len() > before => "append",
            Ok(()) => "duplicate",
            Err(AppendError::InvalidProducerEpoch { .. }) => "epoch",
            Err(AppendError::OutOfOrderSequence { .. }) => "sequence",
            Err(AppendError::InvalidTransactionState) => "transaction",
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got, expected, "{:?}", request.header);
    }

    pub(super) fn finish(&mut self, which: usize) {
        let pending: Vec<usize> = (0..self.model.batches.len())
            .filter(|index| !self.model.batches[*index].finished)
            .collect();
        let Some(index) = pending.get(which % pending.len().max(1)).copied() else {
            return;
        };
        let before = (self.model.high_watermark(), self.model.last_stable());
        let visible_before = self.model.durable().count();
        self.model.batches[index].finished = true;
        let applied = self
            .log
            .apply_append(Offset(self.model.batches[index].base));
        let after = (self.model.high_watermark(), self.model.last_stable());
        assert_eq!((applied.high_watermark.0, applied.last_stable.0), after);
        assert_eq!(applied.moved, before != after);
        assert_eq!(
            applied.batches,
            self.model.durable().count() - visible_before
        );
        let newly: Vec<ModelBatch> = self.model.durable().skip(visible_before).cloned().collect();
        for batch in newly {
            self.unwritten.push_back((
                batch.segment,
                batch.position,
                batch.bytes.clone(),
                batch.last,
            ));
            if batch.marker == Some(false) {
                let first = self
                    .model
                    .batches
                    .iter()
                    .take_while(|other| other.base < batch.base)
                    .filter(|other| other.producer == batch.producer);
                // The open transaction's first batch: behind the producer's marker before this one.
                let mut begin = None;
                for other in first {
                    if other.marker.is_some() {
                        begin = None;
                    } else if other.transactional && begin.is_none() {
                        begin = Some(other.base);
                    }
                }
                if let Some(begin) = begin {
                    self.aborted.push((batch.producer, begin, batch.base));
                }
            }
        }
    }

    pub(super) fn write_behind(&mut self, batches: usize) {
        for _ in 0..batches {
            let Some((segment, position, bytes, last)) = self.unwritten.pop_front() else {
                return;
            };
            let file = self.files.entry(segment).or_default();
            assert_eq!(
                file.len(),
                position as usize,
                "batches lie one behind the other"
            );
            file.extend(bytes);
            self.cache.unpin(ID, Offset(last));
        }
    }
}

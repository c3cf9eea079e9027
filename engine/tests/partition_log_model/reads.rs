//! What a reader gets, from the tail cache or from the segments' bytes, held against the model.

use engine::log::index::{IndexBuilder, SegmentIndex};
use engine::log::read::{BatchCut, cut_batches};
use engine::log::{Isolation, ReadError, ReadPlan, ReadRequest, ReadSource};
use engine::types::Offset;

use crate::model::ModelBatch;
use crate::{ID, World};

impl World {
    pub(super) fn read(&self, offset: i64, bytes_max: usize, at_least_one: bool, committed: bool) {
        let isolation = if committed {
            Isolation::ReadCommitted
        } else {
            Isolation::ReadUncommitted
        };
        let mut request = ReadRequest {
            id: ID,
            offset: Offset(offset),
            bytes_max,
            at_least_one,
            isolation,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        };
        let planned = self.log.plan_read(&request, &self.cache);
        if offset < self.model.log_start || offset > self.model.end() {
            assert!(matches!(planned, Err(ReadError::OffsetOutOfRange { .. })));
            return;
        }
        let upper = if committed {
            self.model.last_stable()
        } else {
            self.model.high_watermark()
        };
        let mut plan = planned.unwrap();
        assert_eq!(
            (
                plan.high_watermark.0,
                plan.last_stable_offset.0,
                plan.log_start_offset.0
            ),
            (
                self.model.high_watermark(),
                self.model.last_stable(),
                self.model.log_start
            )
        );
        let expected_aborted: Vec<_> = self
            .aborted
            .iter()
            .filter(|(_, first, last)| {
                committed && offset < upper && *last >= offset && *first < upper
            })
            .copied()
            .collect();
        let got_aborted: Vec<_> = plan
            .aborted
            .iter()
            .map(|entry| {
                (
                    entry.producer_id.0,
                    entry.first_offset.0,
                    entry.last_offset.0,
                )
            })
            .collect();
        assert_eq!(got_aborted, expected_aborted);

        let mut bytes = self.execute(&plan);
        while let (None, Some(next)) = (&bytes, plan.next_segment_base) {
            request.offset = next;
            plan = self.log.plan_read(&request, &self.cache).unwrap();
            bytes = self.execute(&plan);
        }
        let bytes = bytes.unwrap_or_default();
        let all: Vec<&ModelBatch> = self
            .model
            .durable()
            .filter(|batch| batch.last >= offset && batch.last < upper)
            .collect();
        let mut expected: Vec<u8> = Vec::new();
        for (index, batch) in all.iter().enumerate() {
            if expected.len() + batch.bytes.len() > bytes_max && !(index == 0 && at_least_one) {
                break;
            }
            expected.extend(&batch.bytes);
        }
        // A read ends at its segment's end, or where the cached run begins; otherwise it is as long as it may be.
        assert!(
            expected.starts_with(&bytes),
            "offset {offset}: only what is visible, in order"
        );
        assert_eq!(
            expected.is_empty(),
            bytes.is_empty(),
            "offset {offset}: a read makes progress"
        );
        if matches!(plan.source, ReadSource::Cached { .. }) {
            assert_eq!(bytes, expected);
        }
    }

    /// `None`: nothing in this segment reaches the offset.
    fn execute(&self, plan: &ReadPlan) -> Option<Vec<u8>> {
        match &plan.source {
            ReadSource::Empty => Some(Vec::new()),
            ReadSource::Cached { chain, bytes } => {
                let all = chain.concat();
                assert_eq!(all.len(), *bytes);
                Some(all)
            }
            ReadSource::Segment { segment_base, end } => {
                let file = self
                    .files
                    .get(segment_base)
                    .map_or(&[][..], |file| &file[..end.0 as usize]);
                let index = SegmentIndex::Building(self.index(*segment_base, file));
                let (first, begin, behind) = index.read_range(plan.offset, plan.bytes_max, *end)?;
                let bytes = &file[begin.0 as usize..behind.0 as usize];
                index.verify(first, bytes).unwrap();
                match cut_batches(
                    bytes,
                    true,
                    plan.offset,
                    plan.upper_bound,
                    plan.bytes_max,
                    plan.at_least_one,
                ) {
                    BatchCut::Found { start, end, .. } => Some(bytes[start..end].to_vec()),
                    BatchCut::Exhausted => None,
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn index(&self, base: Offset, file: &[u8]) -> IndexBuilder {
        let mut builder = IndexBuilder::new(base, 0, 150);
        for batch in net::records::split_batches(file) {
            let batch = batch.unwrap();
            builder.push(batch.bytes().first_chunk().unwrap(), batch.header());
        }
        builder
    }
}

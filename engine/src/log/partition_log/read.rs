//! What a reader gets, and where an epoch ends. On the partition's core.
//!
//! Invariant: nothing above the high watermark is given out, to a read-committed reader nothing above the last stable
//! offset, and nothing of a quarantined range.

use super::PartitionLog;
use crate::log::cache::TailCache;
use crate::log::error::ReadError;
use crate::log::quarantine::QuarantinedRange;
use crate::log::read::{Isolation, ReadPlan, ReadRequest, ReadSource};
use crate::types::{FilePosition, LeaderEpoch, Offset};

impl PartitionLog {
    /// Decides what a reader gets, without I/O (RELIABILITY F1, F2, F4, F5).
    pub fn plan_read(
        &self,
        request: &ReadRequest,
        cache: &TailCache,
    ) -> Result<ReadPlan, ReadError> {
        self.check_reader_epoch(request.current_leader_epoch)?;
        let offsets = &self.offsets;
        let high_watermark = offsets.high_watermark();
        let out_of_range = ReadError::OffsetOutOfRange {
            offset: request.offset,
            log_start: offsets.log_start(),
            high_watermark,
        };
        let mut plan = ReadPlan {
            id: self.id,
            offset: request.offset,
            upper_bound: high_watermark,
            bytes_max: request.bytes_max,
            at_least_one: request.at_least_one,
            source: ReadSource::Empty,
            bytes_estimate: 0,
            next_segment_base: None,
            high_watermark,
            last_stable_offset: offsets.last_stable(),
            log_start_offset: offsets.log_start(),
            aborted: Vec::new(),
            diverging: None,
        };
        if let Some(last_fetched) = request.last_fetched_epoch {
            let (epoch, end) = self.epochs.end_offset_of(last_fetched, high_watermark);
            if end.0 < 0 {
                return Err(out_of_range);
            }
            if epoch < last_fetched || end < request.offset {
                plan.diverging = Some((epoch, end));
                return Ok(plan);
            }
        }
        if request.offset < offsets.log_start() || request.offset > offsets.log_end() {
            return Err(out_of_range);
        }
        if request.isolation == Isolation::ReadCommitted {
            plan.upper_bound = offsets.last_stable();
        }
        match self.quarantine.read_from(request.offset) {
            Ok((offset, before)) => {
                plan.offset = offset;
                plan.upper_bound = before.map_or(plan.upper_bound, |end| plan.upper_bound.min(end));
            }
            Err(QuarantinedRange { first, last }) => {
                return Err(ReadError::Quarantined { first, last });
            }
        }
        if plan.offset >= plan.upper_bound || (request.bytes_max == 0 && !request.at_least_one) {
            return Ok(plan);
        }
        if request.isolation == Isolation::ReadCommitted {
            plan.aborted = self.aborted.between(plan.offset, plan.upper_bound);
        }
        self.plan_source(&mut plan, cache);
        Ok(plan)
    }

    fn plan_source(&self, plan: &mut ReadPlan, cache: &TailCache) {
        if let Some((chain, bytes)) = cache.plan(
            self.id,
            plan.offset,
            plan.upper_bound,
            plan.bytes_max,
            plan.at_least_one,
        ) {
            plan.bytes_estimate = bytes;
            plan.source = ReadSource::Cached { chain, bytes };
            return;
        }
        let index = self.segments.index_of(plan.offset);
        let segment = &self.segments.as_slice()[index];
        // What is cached may not be written yet; what lies below the cached run is.
        let cached = cache
            .start(self.id)
            .filter(|start| start.segment_base == segment.base_offset);
        let end = cached.map_or(FilePosition(segment.size), |start| start.position);
        plan.bytes_estimate = plan.bytes_max.min(end.0 as usize);
        let next = cached
            .map(|start| start.offset)
            .or_else(|| self.segments.next_base(index));
        plan.next_segment_base = next.filter(|next| *next < plan.upper_bound);
        plan.source = ReadSource::Segment {
            segment_base: segment.base_offset,
            end,
        };
    }

    fn check_reader_epoch(&self, requested: Option<LeaderEpoch>) -> Result<(), ReadError> {
        match requested {
            Some(requested) if requested < self.leader_epoch => Err(ReadError::FencedLeaderEpoch {
                requested,
                current: self.leader_epoch,
            }),
            Some(requested) if requested > self.leader_epoch => {
                Err(ReadError::UnknownLeaderEpoch {
                    requested,
                    current: self.leader_epoch,
                })
            }
            _ => Ok(()),
        }
    }

    /// Answer to OffsetForLeaderEpoch; ends at what is durable.
    pub fn end_offset_of_epoch(
        &self,
        requested: LeaderEpoch,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<(LeaderEpoch, Offset), ReadError> {
        self.check_reader_epoch(current_leader_epoch)?;
        Ok(self
            .epochs
            .end_offset_of(requested, self.offsets.high_watermark()))
    }
}

//! What a reader gets, as pure queries of the log. On the partition's core.
//!
//! Invariant: nothing above the high watermark is given out, to a read-committed reader nothing above the last stable
//! offset, and nothing of a quarantined range.

use super::PartitionLog;
use crate::log::cache::TailCache;
use crate::log::error::ReadError;
use crate::log::quarantine::QuarantinedRange;
use crate::log::read::{Isolation, ReadPlan, ReadRequest, ReadSource};
use crate::types::{FilePosition, LeaderEpoch};

/// See [`PartitionLog::plan_read`].
pub(super) fn plan(
    log: &PartitionLog,
    request: &ReadRequest,
    cache: &TailCache,
) -> Result<ReadPlan, ReadError> {
    check_epoch(log, request.current_leader_epoch)?;
    let offsets = &log.offsets;
    let high_watermark = offsets.high_watermark();
    let out_of_range = ReadError::OffsetOutOfRange {
        offset: request.offset,
        log_start: offsets.log_start(),
        high_watermark,
    };
    let mut plan = ReadPlan {
        id: log.id,
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
        let (epoch, end) = log.epochs.end_offset_of(last_fetched, high_watermark);
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
    match log.quarantine.read_from(request.offset) {
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
        plan.aborted = log.aborted.between(plan.offset, plan.upper_bound);
    }
    plan_source(log, &mut plan, cache);
    Ok(plan)
}

fn plan_source(log: &PartitionLog, plan: &mut ReadPlan, cache: &TailCache) {
    if let Some((chain, bytes)) = cache.plan(
        log.id,
        plan.offset,
        plan.upper_bound,
        plan.bytes_max,
        plan.at_least_one,
    ) {
        plan.bytes_estimate = bytes;
        plan.source = ReadSource::Cached { chain, bytes };
        return;
    }
    let index = log.segments().index_of(plan.offset);
    let segment = &log.segments().as_slice()[index];
    // What is cached may not be written yet; what lies below the cached run is.
    let cached = cache
        .start(log.id)
        .filter(|start| start.segment_base == segment.base_offset);
    let end = cached.map_or(FilePosition(segment.size), |start| start.position);
    plan.bytes_estimate = plan.bytes_max.min(end.0 as usize);
    let next = cached
        .map(|start| start.offset)
        .or_else(|| log.segments().next_base(index));
    plan.next_segment_base = next.filter(|next| *next < plan.upper_bound);
    plan.source = ReadSource::Segment {
        segment_base: segment.base_offset,
        end,
    };
}

/// Refuses a reader that believes in another leader epoch.
pub(super) fn check_epoch(
    log: &PartitionLog,
    requested: Option<LeaderEpoch>,
) -> Result<(), ReadError> {
    match requested {
        Some(requested) if requested < log.leader_epoch => Err(ReadError::FencedLeaderEpoch {
            requested,
            current: log.leader_epoch,
        }),
        Some(requested) if requested > log.leader_epoch => Err(ReadError::UnknownLeaderEpoch {
            requested,
            current: log.leader_epoch,
        }),
        _ => Ok(()),
    }
}

//! What is asked about a batch before it is planned, as pure queries. On the partition's core.
//!
//! Invariant: what is refused leaves no trace.

use super::PartitionLog;
use crate::log::append::{AppendOrigin, AppendRequest, Appended, PlanOutcome};
use crate::log::batch::{HEADER_BYTES, LENGTH_OVERHEAD};
use crate::log::error::AppendError;
use crate::log::producer_state::ProducerBatch;
use crate::log::transactions::TransactionMarker;
use crate::types::Offset;

/// The batch's size, if nothing but its producer's sequence can speak against it.
pub(super) fn check(log: &PartitionLog, request: &AppendRequest) -> Result<u32, AppendError> {
    match request.current_leader_epoch {
        Some(requested) if requested < log.leader_epoch => {
            return Err(AppendError::FencedLeaderEpoch {
                requested,
                current: log.leader_epoch,
            });
        }
        Some(requested) if requested > log.leader_epoch => {
            return Err(AppendError::UnknownLeaderEpoch {
                requested,
                current: log.leader_epoch,
            });
        }
        _ => {}
    }
    if log.quarantine.end_unproved {
        return Err(AppendError::Quarantined);
    }
    let size = request.batch.len();
    let max = log.config.segment_bytes as usize;
    if size > max {
        return Err(AppendError::BatchLargerThanSegment { size, max });
    }
    let header = &request.header;
    if size != header.batch_length as usize + LENGTH_OVERHEAD || size < HEADER_BYTES {
        return Err(AppendError::InvalidBatch(
            "its length differs from its header",
        ));
    }
    if header.last_offset_delta < 0
        || !(0..=header.last_offset_delta).contains(&request.offset_of_max_timestamp_delta)
    {
        return Err(AppendError::InvalidBatch(
            "its last offset delta is out of range",
        ));
    }
    if request.origin == AppendOrigin::Replication && header.base_offset < log.offsets.log_end().0 {
        return Err(AppendError::InvalidBatch(
            "a replicated batch lies below the log end",
        ));
    }
    Ok(size as u32)
}

/// I2 and I11: the original's offsets, to be answered once the original is durable.
pub(super) fn duplicate(log: &PartitionLog, batch: ProducerBatch) -> PlanOutcome {
    let wait_until = Offset(batch.last_offset.0 + 1);
    PlanOutcome::Duplicate {
        appended: Appended {
            base_offset: batch.first_offset(),
            last_offset: batch.last_offset,
            log_append_time_ms: batch.timestamp,
            log_start_offset: log.offsets.log_start(),
            duplicate: true,
        },
        durable: wait_until <= log.offsets.high_watermark(),
        wait_until,
    }
}

/// The transaction marker in a control batch. Clients may not send one (RELIABILITY P5).
pub(super) fn marker_of(request: &AppendRequest) -> Result<Option<TransactionMarker>, AppendError> {
    if !request.header.is_control() {
        return Ok(None);
    }
    if request.origin == AppendOrigin::Client {
        return Err(AppendError::InvalidTransactionState);
    }
    TransactionMarker::parse(&request.batch).map_err(AppendError::InvalidBatch)
}

//! The log start moves up by an entry of the journal. On the shard's core.
//!
//! Invariant: a new start is durable before it holds: it is applied with its entry's group.

use std::rc::Rc;

use net::platform::sync::oneshot;

use crate::log::error::ReadError;
use crate::log::journal::commit::{Pending, Ticket};
use crate::log::journal::format::{EntryHeader, EntryKind};
use crate::log::journal::group::{Entry, Payload};
use crate::log::storage_shard::Shard;
use crate::types::{LeaderEpoch, Offset, PartitionId};

/// Journals the new log start and waits until it is durable; the plan is applied with its group.
pub(crate) async fn move_log_start(
    shard: &Rc<Shard>,
    id: PartitionId,
    log_start: Offset,
) -> Result<(), ReadError> {
    let current = shard.with_partition(id, |partition| partition.log.offsets().log_start());
    if current.ok_or(ReadError::UnknownPartition)? >= log_start {
        return Ok(());
    }
    let (waiter, receiver) = oneshot::channel();
    shard.journal.submit(Pending {
        entry: Entry {
            header: log_start_entry(id, log_start),
            payload: Payload::None,
        },
        ticket: Ticket::Control(waiter),
        planned: None,
    });
    match receiver.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ReadError::Storage(error.to_string())),
        Err(_) => Err(ReadError::Storage("the shard stopped".to_owned())),
    }
}

fn log_start_entry(id: PartitionId, log_start: Offset) -> EntryHeader {
    EntryHeader {
        kind: EntryKind::LogStartOffset,
        partition: id,
        leader_epoch: LeaderEpoch(-1),
        base_offset: log_start,
        last_offset: log_start,
        segment_base_offset: log_start,
        file_position: 0,
        length: 0,
        payload_position: 0,
        payload_bytes: 0,
    }
}

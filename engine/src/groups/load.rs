//! Reading a partition of the offsets topic, from its log start to its end, into memory.
//!
//! Runs on the shard that owns the partition, before its groups are served. Records that cannot be understood are named
//! and left out, as Kafka does; a log that cannot be read is an error, since an offset could go back.

use bytes::Bytes;
use net::platform::Runtime;
use net::records::{Batch, Decompressor, split_batches};

use super::partition::GroupPartition;
use super::record::GroupRecord;
use super::turn::EncodedRecord;
use crate::log::{Isolation, ReadError, ReadRequest, Storage};
use crate::types::{Offset, PartitionId};

/// Bytes that are read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The storage's reason.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The partition is not there (yet).
    #[error("the partition does not exist")]
    Missing,
    /// A batch that was served cannot be taken apart.
    #[error("a batch at offset {offset} cannot be read: {reason}")]
    Batch {
        /// Where.
        offset: i64,
        /// Why.
        reason: String,
    },
}

/// Whether there is nothing to read.
pub(super) fn is_empty(storage: &Storage, id: PartitionId) -> bool {
    storage
        .offsets(id)
        .is_some_and(|offsets| offsets.log_start() == offsets.high_watermark())
}

/// Reads it all.
pub(super) async fn load(
    runtime: &Runtime,
    storage: &Storage,
    id: PartitionId,
) -> Result<GroupPartition, LoadError> {
    let offsets = storage.offsets(id).ok_or(LoadError::Missing)?;
    let mut partition = GroupPartition::default();
    let mut decompressor = Decompressor::default();
    let mut next = offsets.log_start();
    let end = offsets.high_watermark();
    while next < end {
        let plan = storage.plan_read(&ReadRequest {
            id,
            offset: next,
            bytes_max: READ_BYTES,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        });
        let read = match plan {
            // Compaction or retention moved the start while this was reading.
            Err(ReadError::OffsetOutOfRange { log_start, .. }) if log_start > next => {
                next = log_start;
                continue;
            }
            plan => storage.execute_read(plan?).await?,
        };
        let bytes: Bytes = match <[Bytes; 1]>::try_from(read.chain) {
            Ok([one]) => one,
            Err(chain) => Bytes::from(chain.concat()),
        };
        let before = next;
        next = replay(&mut partition, &bytes, next, &mut decompressor)?;
        if next == before {
            // Everything up to the end was compacted away.
            break;
        }
        runtime.yield_now().await;
    }
    Ok(partition)
}

/// Follows the records of whole batches from offset `from` on; gives the offset behind them.
///
/// # Errors
/// A batch cannot be taken apart.
pub fn replay(
    partition: &mut GroupPartition,
    bytes: &[u8],
    from: Offset,
    decompressor: &mut Decompressor,
) -> Result<Offset, LoadError> {
    let mut next = from;
    for batch in split_batches(bytes) {
        let batch = batch.map_err(|error| LoadError::Batch {
            offset: next.0,
            reason: error.to_string(),
        })?;
        replay_batch(partition, &batch, next, decompressor)?;
        next = next.max(Offset(batch.header().next_offset()));
    }
    Ok(next)
}

fn replay_batch(
    partition: &mut GroupPartition,
    batch: &Batch<'_>,
    from: Offset,
    decompressor: &mut Decompressor,
) -> Result<(), LoadError> {
    let header = *batch.header();
    let fail = |reason: String| LoadError::Batch {
        offset: header.base_offset,
        reason,
    };
    let records = batch
        .records(decompressor)
        .map_err(|error| fail(error.to_string()))?;
    for record in records {
        let record = record.map_err(|error| fail(error.to_string()))?;
        if record.offset < from.0 {
            continue;
        }
        if header.is_control() {
            // The key of a marker: version, then 0 for abort and 1 for commit.
            if let Some([_, _, 0, kind @ (0 | 1)]) = record.key {
                let ended = partition.end_transaction(header.producer_id, *kind == 1);
                if let Err(error) = ended {
                    tracing::warn!(offset = record.offset, %error, "a record of a transaction was left out");
                }
            }
        } else if header.is_transactional() {
            partition.replay_in_transaction(
                header.producer_id,
                EncodedRecord {
                    key: Bytes::copy_from_slice(record.key.unwrap_or_default()),
                    value: record.value.map(Bytes::copy_from_slice),
                    replay: true,
                },
            );
        } else {
            match GroupRecord::decode(record.key, record.value) {
                Ok(decoded) => partition.replay(&decoded),
                Err(error) => {
                    tracing::warn!(offset = record.offset, %error, "a record of groups was left out");
                }
            }
        }
    }
    Ok(())
}

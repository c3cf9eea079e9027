//! Finds records by timestamp: by segment, then by index run, then by batch header, then by record. On the shard's core.
//!
//! Only what is durable and inside the log counts; damaged ranges are stepped over.

use std::ops::ControlFlow;
use std::rc::Rc;

use net::records::{Batch, Decompressor, split_batches};

use super::error::ReadError;
use super::read::{FoundOffset, Isolation, OffsetQuery, ReadRequest};
use super::segment::SegmentInfo;
use super::segment_indexes::index_of;
use super::storage_read;
use super::storage_shard::Shard;
use crate::types::{Offset, PartitionId};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// A batch that unpacks to more than this is not searched record by record.
const UNPACKED_BYTES_MAX: usize = 128 << 20;

/// Answers a timestamp query.
pub(crate) async fn find(
    shard: &Rc<Shard>,
    id: PartitionId,
    query: OffsetQuery,
) -> Result<FoundOffset, ReadError> {
    let segments = shard.with_partition(id, |partition| partition.log.durable_segments());
    let segments = segments.ok_or(ReadError::UnknownPartition)?;
    match query {
        OffsetQuery::Timestamp(wanted) => {
            for (index, segment) in segments
                .iter()
                .enumerate()
                .filter(|(_, segment)| segment.max_timestamp >= wanted)
            {
                let end = segments.get(index + 1).map(|next| next.base_offset);
                let start = start_of_search(shard, id, segment, wanted).await?;
                let found = search(shard, id, start, end, |timestamp| timestamp >= wanted).await?;
                if found != FoundOffset::NONE {
                    return Ok(found);
                }
            }
            Ok(FoundOffset::NONE)
        }
        OffsetQuery::MaxTimestamp => {
            // The first of those that carry the largest: `max_by_key` would take the last.
            let newest = segments
                .iter()
                .rev()
                .max_by_key(|segment| segment.max_timestamp);
            let Some(newest) = newest.filter(|segment| segment.max_timestamp >= 0) else {
                return Ok(FoundOffset::NONE);
            };
            search(
                shard,
                id,
                newest.offset_of_max_timestamp,
                None,
                |timestamp| timestamp == newest.max_timestamp,
            )
            .await
        }
        _ => Ok(FoundOffset::NONE),
    }
}

/// An offset of the segment below which every batch is older.
async fn start_of_search(
    shard: &Shard,
    id: PartitionId,
    segment: &SegmentInfo,
    wanted: i64,
) -> Result<Offset, ReadError> {
    let written = shard
        .with_partition(id, |partition| partition.writer.written_end())
        .unwrap_or_default();
    if written <= segment.base_offset {
        return Ok(segment.base_offset);
    }
    let index = index_of(shard, id, segment.base_offset)
        .await
        .map_err(|error| ReadError::Storage(error.to_string()))?;
    let index = index.borrow();
    Ok(index
        .run_of_timestamp(wanted)
        .map_or(segment.base_offset, |run| index.run(run).base_offset))
}

/// The first record from `start` on, below `end`, whose timestamp `fits`.
async fn search(
    shard: &Rc<Shard>,
    id: PartitionId,
    start: Offset,
    end: Option<Offset>,
    fits: impl Fn(i64) -> bool,
) -> Result<FoundOffset, ReadError> {
    let log_start = shard
        .with_partition(id, |partition| partition.log.offsets().log_start())
        .unwrap_or_default();
    let mut next = start.max(log_start);
    while end.is_none_or(|end| next < end) {
        let request = ReadRequest {
            id,
            offset: next,
            bytes_max: READ_BYTES,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        };
        let plan = {
            let cache = shard.cache.borrow();
            let plan =
                shard.with_partition(id, |partition| partition.log.plan_read(&request, &cache));
            plan.unwrap_or(Err(ReadError::UnknownPartition))
        };
        let read = match plan {
            Ok(plan) => storage_read::execute(shard, plan).await,
            Err(error) => Err(error),
        };
        let bytes = match read {
            Ok(result) => result.chain.concat(),
            Err(ReadError::Quarantined { last, .. }) => {
                next = Offset(last.0 + 1);
                continue;
            }
            Err(error) => return Err(error),
        };
        let before = next;
        for batch in split_batches(&bytes).map_while(Result::ok) {
            if let ControlFlow::Break(found) = search_batch(&batch, log_start, &fits) {
                return Ok(found);
            }
            next = Offset(batch.header().next_offset());
        }
        if next == before {
            return Ok(FoundOffset::NONE);
        }
    }
    Ok(FoundOffset::NONE)
}

fn search_batch(
    batch: &Batch<'_>,
    log_start: Offset,
    fits: &impl Fn(i64) -> bool,
) -> ControlFlow<FoundOffset> {
    let header = batch.header();
    if !fits(header.max_timestamp) {
        return ControlFlow::Continue(());
    }
    let mut decompressor = Decompressor::new(UNPACKED_BYTES_MAX);
    let Ok(records) = batch.records(&mut decompressor) else {
        return ControlFlow::Continue(());
    };
    for record in records.map_while(Result::ok) {
        if record.offset >= log_start.0 && fits(record.timestamp) {
            return ControlFlow::Break(FoundOffset {
                timestamp: record.timestamp,
                offset: record.offset,
                leader_epoch: header.partition_leader_epoch,
            });
        }
    }
    ControlFlow::Continue(())
}

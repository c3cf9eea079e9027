//! Answers ListOffsets: the special offsets from memory, timestamps through the segments' indexes. On the shard's core.

use std::rc::Rc;

use super::error::ReadError;
use super::read::{FoundOffset, Isolation, OffsetQuery};
use super::storage_shard::Shard;
use crate::types::{Offset, PartitionId};

/// Answers a query.
pub(crate) async fn find(
    shard: &Rc<Shard>,
    id: PartitionId,
    query: OffsetQuery,
) -> Result<FoundOffset, ReadError> {
    let at = |offset: Offset, epoch: Option<i32>| FoundOffset {
        timestamp: -1,
        offset: offset.0,
        leader_epoch: epoch.unwrap_or(-1),
    };
    let special = shard.with_partition(id, |partition| {
        let offsets = partition.log.offsets();
        let latest = Some(partition.log.leader_epoch().0);
        let epoch_of = |offset| partition.log.epochs().epoch_of(offset).map(|epoch| epoch.0);
        match query {
            OffsetQuery::Earliest | OffsetQuery::EarliestLocal => Some(at(
                offsets.log_start(),
                epoch_of(offsets.log_start()).or(latest),
            )),
            OffsetQuery::Latest(Isolation::ReadUncommitted) => {
                Some(at(offsets.high_watermark(), latest))
            }
            OffsetQuery::Latest(Isolation::ReadCommitted) => {
                Some(at(offsets.last_stable(), latest))
            }
            OffsetQuery::LatestTiered | OffsetQuery::EarliestPendingUpload => {
                Some(FoundOffset::NONE)
            }
            OffsetQuery::Timestamp(_) | OffsetQuery::MaxTimestamp => None,
        }
    });
    match special.ok_or(ReadError::UnknownPartition)? {
        Some(found) => Ok(found),
        None => super::timestamp_search::find(shard, id, query).await,
    }
}

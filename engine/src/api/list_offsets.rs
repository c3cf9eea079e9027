//! ListOffsets: the offset at a time, or one with a name (start, end, greatest timestamp).
//!
//! Runs on the connection's core. Which special timestamps exist depends on the request's version (RELIABILITY F10).

use std::collections::BTreeMap;

use net::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::owners::{Places, ask};
use super::{ErrorCode, RequestContext};
use crate::log::{FoundOffset, Isolation, OffsetQuery, ReadError};
use crate::partition::OffsetLookup;
use crate::shard::ClusterView;
use crate::shard::connection::Outgoing;
use crate::shard::message::{ShardRequest, ShardResponse};
use crate::types::{LeaderEpoch, ShardId};

/// First version whose answer carries leader epochs.
const VERSION_WITH_EPOCHS: i16 = 4;

pub(super) async fn handle(context: &RequestContext, request: ListOffsetsRequest<'_>) -> Outgoing {
    let isolation = match request.isolation_level {
        0 => Ok(Isolation::ReadUncommitted),
        1 => Ok(Isolation::ReadCommitted),
        _ => Err(ErrorCode::UnknownServerError),
    };
    let view = context.shard().view();
    let mut lookups = Vec::new();
    let mut places = Places::new();
    for topic in &request.topics {
        let twice = named_twice(&topic.partitions);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let lookup = if twice.get(&index).is_some_and(|times| *times > 1) {
                Err(ErrorCode::InvalidRequest)
            } else {
                isolation.and_then(|isolation| {
                    lookup(&view, topic.name, partition, context.version(), isolation)
                })
            };
            let place = lookup.map(|lookup| {
                lookups.push(lookup);
                lookups.len() - 1
            });
            if !partitions.contains(&(index, Err(ErrorCode::InvalidRequest))) {
                partitions.push((index, place));
            }
        }
        places.push((topic.name, partitions));
    }
    drop(view);
    let answers = |response| match response {
        ShardResponse::FindOffsets(results) => Some(results),
        _ => None,
    };
    let found = ask(
        context,
        lookups,
        ShardRequest::FindOffsets,
        answers,
        Err(ReadError::UnknownPartition),
    )
    .await;
    let topics = places
        .into_iter()
        .map(|(name, partitions)| ListOffsetsTopicResponse {
            name,
            partitions: partitions
                .into_iter()
                .map(|(index, place)| {
                    let result =
                        place.and_then(|place| found[place].as_ref().map_err(ErrorCode::from));
                    partition_response(index, result, context.version())
                })
                .collect(),
            ..Default::default()
        })
        .collect();
    let response = ListOffsetsResponse {
        topics,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn named_twice(partitions: &[ListOffsetsPartition<'_>]) -> BTreeMap<i32, usize> {
    let mut times = BTreeMap::new();
    for partition in partitions {
        *times.entry(partition.partition_index).or_default() += 1;
    }
    times
}

fn lookup(
    view: &ClusterView,
    topic: &str,
    partition: &ListOffsetsPartition<'_>,
    version: i16,
    isolation: Isolation,
) -> Result<(ShardId, OffsetLookup), ErrorCode> {
    let topic = view
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let (id, _, owner) = topic
        .partition(partition.partition_index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let query =
        query(partition.timestamp, version, isolation).ok_or(ErrorCode::UnsupportedVersion)?;
    let believed = partition.current_leader_epoch;
    let current_leader_epoch = (believed >= 0).then_some(LeaderEpoch(believed));
    Ok((
        owner,
        OffsetLookup {
            id,
            query,
            current_leader_epoch,
        },
    ))
}

/// What a timestamp means in a version; `None` if it means nothing yet.
fn query(timestamp: i64, version: i16, isolation: Isolation) -> Option<OffsetQuery> {
    let from = |version_min: i16, query| (version >= version_min).then_some(query);
    match timestamp {
        0.. => Some(OffsetQuery::Timestamp(timestamp)),
        -1 => Some(OffsetQuery::Latest(isolation)),
        -2 => Some(OffsetQuery::Earliest),
        -3 => from(7, OffsetQuery::MaxTimestamp),
        -4 => from(8, OffsetQuery::EarliestLocal),
        -5 => from(9, OffsetQuery::LatestTiered),
        -6 => from(11, OffsetQuery::EarliestPendingUpload),
        _ => None,
    }
}

fn partition_response(
    index: i32,
    result: Result<&FoundOffset, ErrorCode>,
    version: i16,
) -> ListOffsetsPartitionResponse<'static> {
    let (code, found) = match result {
        Ok(found) => (ErrorCode::None, *found),
        Err(code) => (code, FoundOffset::NONE),
    };
    ListOffsetsPartitionResponse {
        partition_index: index,
        error_code: code.code(),
        timestamp: found.timestamp,
        offset: found.offset,
        leader_epoch: if version >= VERSION_WITH_EPOCHS {
            found.leader_epoch
        } else {
            -1
        },
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_begin_with_their_versions() {
        let uncommitted = Isolation::ReadUncommitted;
        for (timestamp, version_min) in [(-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
            assert_eq!(
                query(timestamp, version_min - 1, uncommitted),
                None,
                "{timestamp}"
            );
            assert!(
                query(timestamp, version_min, uncommitted).is_some(),
                "{timestamp}"
            );
        }
        assert_eq!(query(-7, 11, uncommitted), None);
        assert_eq!(query(i64::MIN, 11, uncommitted), None);
        assert_eq!(query(0, 1, uncommitted), Some(OffsetQuery::Timestamp(0)));
        assert_eq!(
            query(-1, 2, Isolation::ReadCommitted),
            Some(OffsetQuery::Latest(Isolation::ReadCommitted))
        );
    }
}

//! OffsetForLeaderEpoch: where an epoch ended, so that consumers notice truncation (KIP-320, RELIABILITY F5).
//!
//! Runs on the connection's core; the owners answer from their epoch lists.

use net::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};

use super::owners::{Places, ask};
use super::{ErrorCode, RequestContext};
use crate::log::ReadError;
use crate::partition::EpochLookup;
use crate::shard::ClusterView;
use crate::shard::connection::Outgoing;
use crate::shard::message::{ShardRequest, ShardResponse};
use crate::types::{LeaderEpoch, ShardId};

pub(super) async fn handle(
    context: &RequestContext,
    request: OffsetForLeaderEpochRequest<'_>,
) -> Outgoing {
    let view = context.shard().view();
    let mut lookups = Vec::new();
    let mut places = Places::new();
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let place = lookup(&view, topic.topic, partition).map(|lookup| {
                lookups.push(lookup);
                lookups.len() - 1
            });
            partitions.push((partition.partition, place));
        }
        places.push((topic.topic, partitions));
    }
    drop(view);
    let answers = |response| match response {
        ShardResponse::EpochEnds(results) => Some(results),
        _ => None,
    };
    let found = ask(
        context,
        lookups,
        ShardRequest::EpochEnds,
        answers,
        Err(ReadError::UnknownPartition),
    )
    .await;
    let topics = places
        .into_iter()
        .map(|(topic, partitions)| OffsetForLeaderTopicResult {
            topic,
            partitions: partitions
                .into_iter()
                .map(|(index, place)| {
                    let result =
                        place.and_then(|place| found[place].as_ref().map_err(ErrorCode::from));
                    let (code, epoch, end) = match result {
                        Ok((epoch, end)) => (ErrorCode::None, epoch.0, end.0),
                        Err(code) => (code, -1, -1),
                    };
                    EpochEndOffset {
                        error_code: code.code(),
                        partition: index,
                        leader_epoch: epoch,
                        end_offset: end,
                        ..Default::default()
                    }
                })
                .collect(),
            ..Default::default()
        })
        .collect();
    let response = OffsetForLeaderEpochResponse {
        topics,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn lookup(
    view: &ClusterView,
    topic: &str,
    partition: &OffsetForLeaderPartition<'_>,
) -> Result<(ShardId, EpochLookup), ErrorCode> {
    let topic = view
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let (id, _, owner) = topic
        .partition(partition.partition)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let believed = partition.current_leader_epoch;
    Ok((
        owner,
        EpochLookup {
            id,
            epoch: LeaderEpoch(partition.leader_epoch),
            current_leader_epoch: (believed >= 0).then_some(LeaderEpoch(believed)),
        },
    ))
}

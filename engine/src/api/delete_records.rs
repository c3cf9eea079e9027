//! DeleteRecords: moves log starts up; durable before it is answered (RELIABILITY F11).
//!
//! Runs on the connection's core; the owners do the work.

use net::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

use super::owners::{Places, ask};
use super::{ErrorCode, RequestContext};
use crate::cluster::name::is_internal;
use crate::log::ReadError;
use crate::shard::ClusterView;
use crate::shard::connection::Outgoing;
use crate::shard::message::{ShardRequest, ShardResponse};
use crate::types::{Offset, PartitionId, ShardId};

/// "Everything up to the high watermark".
const HIGH_WATERMARK: i64 = -1;

pub(super) async fn handle(
    context: &RequestContext,
    request: DeleteRecordsRequest<'_>,
) -> Outgoing {
    let view = context.shard().view();
    let mut wishes = Vec::new();
    let mut places = Places::new();
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let place = wish(&view, topic.name, index, partition.offset).map(|wish| {
                wishes.push(wish);
                wishes.len() - 1
            });
            partitions.push((index, place));
        }
        places.push((topic.name, partitions));
    }
    drop(view);
    let answers = |response| match response {
        ShardResponse::DeleteRecords(results) => Some(results),
        _ => None,
    };
    let moved = ask(
        context,
        wishes,
        ShardRequest::DeleteRecords,
        answers,
        Err(ReadError::UnknownPartition),
    )
    .await;
    let topics = places
        .into_iter()
        .map(|(name, partitions)| DeleteRecordsTopicResult {
            name,
            partitions: partitions
                .into_iter()
                .map(|(index, place)| {
                    let result =
                        place.and_then(|place| moved[place].as_ref().map_err(ErrorCode::from));
                    let (code, low_watermark) = match result {
                        Ok(log_start) => (ErrorCode::None, log_start.0),
                        Err(code) => (code, -1),
                    };
                    DeleteRecordsPartitionResult {
                        partition_index: index,
                        low_watermark,
                        error_code: code.code(),
                        ..Default::default()
                    }
                })
                .collect(),
            ..Default::default()
        })
        .collect();
    let response = DeleteRecordsResponse {
        topics,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn wish(
    view: &ClusterView,
    topic: &str,
    index: i32,
    offset: i64,
) -> Result<(ShardId, (PartitionId, Offset)), ErrorCode> {
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let topic = view
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let (id, _, owner) = topic
        .partition(index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !topic.image.config.cleanup_policy.delete {
        // Kafka deletes records only where retention may.
        return Err(ErrorCode::PolicyViolation);
    }
    if offset < HIGH_WATERMARK {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    Ok((owner, (id, Offset(offset))))
}

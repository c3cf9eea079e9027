//! DescribeTopicPartitions: topics by name, a page of partitions at a time (KIP-966).

use std::collections::BTreeSet;

use net::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use net::wire::Uuid;

use super::{ErrorCode, RequestContext, authorized};
use crate::cluster::{MetadataImage, PartitionImage, TopicImage, name};
use crate::limits::DESCRIBED_PARTITIONS_MAX;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    request: DescribeTopicPartitionsRequest<'_>,
) -> Outgoing {
    let image = context.image();
    let response = match page(&image, &request) {
        Ok(response) => response,
        Err(code) => refuse_all(&request, code),
    };
    context.reply(|writer, version| response.encode(writer, version))
}

/// Kafka answers an error of the whole request once per topic that was named.
fn refuse_all<'a>(
    request: &DescribeTopicPartitionsRequest<'a>,
    code: ErrorCode,
) -> DescribeTopicPartitionsResponse<'a> {
    let topics = request
        .topics
        .iter()
        .map(|topic| DescribeTopicPartitionsResponseTopic {
            error_code: code.code(),
            name: Some(topic.name),
            topic_authorized_operations: authorized::NOT_ASKED,
            ..Default::default()
        });
    DescribeTopicPartitionsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn page<'a>(
    image: &'a MetadataImage,
    request: &DescribeTopicPartitionsRequest<'a>,
) -> Result<DescribeTopicPartitionsResponse<'a>, ErrorCode> {
    let cursor = request.cursor.as_ref();
    let (first_topic, first_partition) = cursor.map_or(("", 0), |cursor| {
        (cursor.topic_name, cursor.partition_index)
    });
    let first_partition =
        usize::try_from(first_partition).map_err(|_| ErrorCode::InvalidRequest)?;
    let mut names: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name).collect();
    if names.contains("") {
        return Err(ErrorCode::UnknownServerError);
    }
    if names.is_empty() {
        names = image.topics().map(|topic| &*topic.name).collect();
    } else if cursor.is_some() && !names.contains(first_topic) {
        return Err(ErrorCode::InvalidRequest);
    }
    let mut left = usize::try_from(request.response_partition_limit)
        .unwrap_or(0)
        .clamp(1, DESCRIBED_PARTITIONS_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    let (mut refused, mut described) = (Vec::new(), Vec::new());
    for name in names.range(first_topic..).copied() {
        let Some(topic) = image.topic(name) else {
            refused.push(unknown(name));
            continue;
        };
        if left == 0 {
            response.next_cursor = Some(cursor_at(name, 0));
            break;
        }
        let start = if name == first_topic {
            first_partition
        } else {
            0
        };
        let end = topic.partitions.len().min(start.saturating_add(left));
        left -= end.saturating_sub(start);
        described.push(describe(topic, start, end));
        if end < topic.partitions.len() {
            response.next_cursor = Some(cursor_at(name, end));
            break;
        }
    }
    refused.append(&mut described);
    response.topics = refused;
    Ok(response)
}

fn cursor_at(topic: &str, partition: usize) -> Cursor<'_> {
    Cursor {
        topic_name: topic,
        partition_index: i32::try_from(partition).expect("partition count is bounded"),
        ..Default::default()
    }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic<'_> {
    let code = match name::reason_invalid(name) {
        Some(_) => ErrorCode::InvalidTopicException,
        None => ErrorCode::UnknownTopicOrPartition,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(name),
        is_internal: name::is_internal(name),
        topic_authorized_operations: authorized::topic(true),
        ..Default::default()
    }
}

fn describe(
    topic: &TopicImage,
    start: usize,
    end: usize,
) -> DescribeTopicPartitionsResponseTopic<'_> {
    let describe =
        |(index, partition): (i32, &PartitionImage)| DescribeTopicPartitionsResponsePartition {
            partition_index: index,
            leader_id: partition.leader,
            leader_epoch: partition.leader_epoch.0,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            ..Default::default()
        };
    let partitions = (0..)
        .zip(&topic.partitions)
        .skip(start)
        .take(end.saturating_sub(start))
        .map(describe);
    DescribeTopicPartitionsResponseTopic {
        name: Some(&topic.name),
        topic_id: Uuid(topic.id.0),
        is_internal: topic.internal,
        partitions: partitions.collect(),
        topic_authorized_operations: authorized::topic(true),
        ..Default::default()
    }
}

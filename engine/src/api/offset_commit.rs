//! OffsetCommit: remembers how far a group has read; acknowledged when it is durable (RELIABILITY G4).

use std::sync::Arc;

use net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use net::wire::Uuid;

use super::coordinated::ask;
use super::{ErrorCode, RequestContext};
use crate::cluster::{MetadataImage, TopicImage};
use crate::groups::request::{Commit, CommitOffset, MemberAt};
use crate::groups::{GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;
use crate::types::TopicId;

/// From this version on topics are named by id.
const VERSION_WITH_TOPIC_IDS: i16 = 10;

pub(super) async fn handle(context: &RequestContext, request: OffsetCommitRequest<'_>) -> Outgoing {
    let image = context.image();
    let by_id = context.version() >= VERSION_WITH_TOPIC_IDS;
    let topics: Vec<Option<&Arc<TopicImage>>> = request
        .topics
        .iter()
        .map(|topic| find(&image, topic, by_id))
        .collect();
    let offsets: Vec<CommitOffset> = request
        .topics
        .iter()
        .zip(&topics)
        .filter_map(|(topic, found)| Some((topic, (*found)?)))
        .flat_map(|(topic, found)| wishes(topic, found))
        .collect();
    let wanted = offsets.len();
    let results = if wanted == 0 {
        Vec::new()
    } else {
        let commit = Commit {
            who: MemberAt {
                group: request.group_id.into(),
                member: request.member_id.into(),
                instance: request.group_instance_id.map(Arc::from),
                generation: request.generation_id_or_member_epoch,
            },
            version: context.version(),
            retention_ms: request.retention_time_ms,
            offsets,
        };
        let group = request.group_id;
        match ask(context, group, GroupRequest::Commit(Box::new(commit))).await {
            GroupReply::Committed(results) => results
                .into_iter()
                .map(|result| result.map_or_else(ErrorCode::from, |()| ErrorCode::None))
                .collect(),
            GroupReply::Failed(error) => vec![error.into(); wanted],
            _ => vec![ErrorCode::UnknownServerError; wanted],
        }
    };
    let mut results = results.into_iter();
    let unknown = if by_id {
        ErrorCode::UnknownTopicId
    } else {
        ErrorCode::UnknownTopicOrPartition
    };
    let topics =
        request
            .topics
            .iter()
            .zip(&topics)
            .map(|(topic, found)| OffsetCommitResponseTopic {
                name: topic.name,
                topic_id: topic.topic_id,
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| {
                        let code = match found {
                            Some(found) if exists(found, partition.partition_index) => {
                                results.next().unwrap_or(ErrorCode::UnknownServerError)
                            }
                            Some(_) => ErrorCode::UnknownTopicOrPartition,
                            None => unknown,
                        };
                        OffsetCommitResponsePartition {
                            partition_index: partition.partition_index,
                            error_code: code.code(),
                            ..Default::default()
                        }
                    })
                    .collect(),
                ..Default::default()
            });
    let response = OffsetCommitResponse {
        topics: topics.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn find<'i>(
    image: &'i MetadataImage,
    topic: &OffsetCommitRequestTopic<'_>,
    by_id: bool,
) -> Option<&'i Arc<TopicImage>> {
    if by_id {
        let Uuid(id) = topic.topic_id;
        image.topic_by_id(TopicId(id))
    } else {
        image.topic(topic.name)
    }
}

fn exists(topic: &TopicImage, partition: i32) -> bool {
    usize::try_from(partition).is_ok_and(|partition| partition < topic.partitions.len())
}

fn wishes(
    topic: &OffsetCommitRequestTopic<'_>,
    found: &Arc<TopicImage>,
) -> impl Iterator<Item = CommitOffset> {
    let existing = topic
        .partitions
        .iter()
        .filter(|partition| exists(found, partition.partition_index));
    existing.map(|partition| CommitOffset {
        topic: found.name.clone(),
        topic_id: found.id,
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.map(Arc::from),
    })
}

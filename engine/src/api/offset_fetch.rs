//! OffsetFetch: how far groups have read.

use std::sync::Arc;

use net::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use net::wire::Uuid;

use super::coordinated::ask;
use super::{ErrorCode, RequestContext};
use crate::cluster::MetadataImage;
use crate::groups::request::{FetchOffsets, FetchedOffset, MemberAt};
use crate::groups::{GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;
use crate::types::TopicId;

/// From this version on a failure of the group is not repeated for each partition.
const VERSION_WITH_ERROR: i16 = 2;
/// From this version on several groups are asked for.
const VERSION_WITH_GROUPS: i16 = 8;
/// From this version on topics are named by id.
const VERSION_WITH_TOPIC_IDS: i16 = 10;

/// A topic in the order of the answer, with the name it is kept under, and its partitions.
struct Topic<'a> {
    name: &'a str,
    id: Uuid,
    known: bool,
    partitions: Vec<i32>,
}

/// A group's part of the answer.
struct Answer<'a> {
    code: ErrorCode,
    topics: Vec<(Topic<'a>, Vec<FetchedOffset>)>,
}

pub(super) async fn handle(context: &RequestContext, request: OffsetFetchRequest<'_>) -> Outgoing {
    let image = context.image();
    if context.version() >= VERSION_WITH_GROUPS {
        return several(context, &image, &request).await;
    }
    let topics = request.topics.as_ref().map(|topics| {
        topics
            .iter()
            .map(|topic| Topic {
                name: topic.name,
                id: Uuid::default(),
                known: true,
                partitions: topic.partition_indexes.clone(),
            })
            .collect()
    });
    let who = outsider(request.group_id);
    let answer = fetch(context, &image, who, request.require_stable, topics).await;
    let topics = answer.topics.iter().map(|(topic, offsets)| {
        let code = answer.code;
        let partitions = topic.partitions.iter().zip(padded(offsets, code));
        OffsetFetchResponseTopic {
            name: topic.name,
            partitions: partitions
                .map(|(index, found)| OffsetFetchResponsePartition {
                    partition_index: *index,
                    committed_offset: found.0,
                    committed_leader_epoch: found.1,
                    metadata: Some(found.2),
                    error_code: found.3.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    });
    let whole = answer.code == ErrorCode::None || context.version() < VERSION_WITH_ERROR;
    let response = OffsetFetchResponse {
        topics: if whole { topics.collect() } else { Vec::new() },
        error_code: answer.code.code(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

async fn several(
    context: &RequestContext,
    image: &Arc<MetadataImage>,
    request: &OffsetFetchRequest<'_>,
) -> Outgoing {
    let by_id = context.version() >= VERSION_WITH_TOPIC_IDS;
    let mut answers = Vec::with_capacity(request.groups.len());
    for group in &request.groups {
        let topics = group.topics.as_ref().map(|topics| {
            topics
                .iter()
                .map(|topic| {
                    let found = image.topic_by_id(TopicId(topic.topic_id.0));
                    Topic {
                        name: if by_id {
                            found.map_or("", |found| &*found.name)
                        } else {
                            topic.name
                        },
                        id: topic.topic_id,
                        known: !by_id || found.is_some(),
                        partitions: topic.partition_indexes.clone(),
                    }
                })
                .collect()
        });
        let who = MemberAt {
            member: group.member_id.unwrap_or_default().into(),
            generation: group.member_epoch,
            ..outsider(group.group_id)
        };
        let answer = fetch(context, image, who, request.require_stable, topics).await;
        answers.push((group.group_id, answer));
    }
    let groups = answers
        .iter()
        .map(|(group_id, answer)| {
            let topics = answer.topics.iter().map(|(topic, offsets)| {
                let code = if topic.known {
                    answer.code
                } else {
                    ErrorCode::UnknownTopicId
                };
                let partitions = topic.partitions.iter().zip(padded(offsets, code));
                OffsetFetchResponseTopics {
                    name: topic.name,
                    topic_id: topic.id,
                    partitions: partitions
                        .map(|(index, found)| OffsetFetchResponsePartitions {
                            partition_index: *index,
                            committed_offset: found.0,
                            committed_leader_epoch: found.1,
                            metadata: Some(found.2),
                            error_code: found.3.code(),
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                }
            });
            OffsetFetchResponseGroup {
                group_id,
                error_code: answer.code.code(),
                topics: if answer.code == ErrorCode::None {
                    topics.collect()
                } else {
                    Vec::new()
                },
                ..Default::default()
            }
        })
        .collect();
    let response = OffsetFetchResponse {
        groups,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn outsider(group: &str) -> MemberAt {
    MemberAt {
        group: group.into(),
        member: "".into(),
        instance: None,
        generation: -1,
    }
}

/// Asks one group's coordinator; without `topics` for everything there is.
async fn fetch<'a>(
    context: &RequestContext,
    image: &'a MetadataImage,
    who: MemberAt,
    require_stable: bool,
    topics: Option<Vec<Topic<'a>>>,
) -> Answer<'a> {
    let group = who.group.clone();
    let partitions = topics.as_ref().map(|topics| {
        topics
            .iter()
            .filter(|topic| topic.known)
            .flat_map(|topic| {
                let name: Arc<str> = topic.name.into();
                let partitions = topic.partitions.iter();
                partitions.map(move |index| (name.clone(), *index))
            })
            .collect()
    });
    let request = FetchOffsets {
        who,
        require_stable,
        partitions,
    };
    let reply = ask(
        context,
        &group,
        GroupRequest::FetchOffsets(Box::new(request)),
    )
    .await;
    let (code, found) = match reply {
        GroupReply::Offsets(found) => (ErrorCode::None, found),
        GroupReply::Failed(error) => (error.into(), Vec::new()),
        _ => (ErrorCode::UnknownServerError, Vec::new()),
    };
    let topics = match topics {
        Some(topics) => {
            let mut found = found.into_iter();
            topics
                .into_iter()
                .map(|topic| {
                    let count = if topic.known {
                        topic.partitions.len()
                    } else {
                        0
                    };
                    let offsets = found.by_ref().take(count).collect();
                    (topic, offsets)
                })
                .collect()
        }
        None => by_topic(context, image, found),
    };
    Answer { code, topics }
}

/// Everything that is known of a group, topic by topic. Topics that are gone have no id to be named by.
fn by_topic<'a>(
    context: &RequestContext,
    image: &'a MetadataImage,
    found: Vec<FetchedOffset>,
) -> Vec<(Topic<'a>, Vec<FetchedOffset>)> {
    let mut topics: Vec<(Topic<'a>, Vec<FetchedOffset>)> = Vec::new();
    for offset in found {
        let Some(topic) = image.topic(&offset.topic) else {
            tracing::debug!(topic = %offset.topic, version = context.version(), "an offset of a topic that is gone");
            continue;
        };
        let same = topics
            .last()
            .is_some_and(|(last, _)| last.name == &*topic.name);
        if !same {
            let next = Topic {
                name: &topic.name,
                id: Uuid(topic.id.0),
                known: true,
                partitions: Vec::new(),
            };
            topics.push((next, Vec::new()));
        }
        let (last, offsets) = topics.last_mut().expect("pushed above");
        last.partitions.push(offset.partition);
        offsets.push(offset);
    }
    topics
}

/// The offsets, and `code` for every partition that has none.
fn padded(
    offsets: &[FetchedOffset],
    code: ErrorCode,
) -> impl Iterator<Item = (i64, i32, &str, ErrorCode)> {
    let known = offsets.iter().map(|offset| match &offset.found {
        Ok((offset, epoch, metadata)) => (*offset, *epoch, &**metadata, ErrorCode::None),
        Err(error) => (-1, -1, "", (*error).into()),
    });
    known.chain(std::iter::repeat((-1, -1, "", code)))
}

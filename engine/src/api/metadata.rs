//! Metadata: brokers, topics, leaders; creates topics that clients ask for, if that is wanted.

use std::sync::Arc;

use net::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use net::wire::Uuid;

use super::{ErrorCode, RequestContext, authorized, topic_results};
use crate::cluster::{MetadataImage, TopicImage, name};
use crate::shard::connection::Outgoing;
use crate::types::TopicId;

/// In version 0 an empty list asks for all topics; later null does.
const VERSION_WITH_NULL: i16 = 1;
/// First version in which a client may ask by id; the field is there from 10 on.
const VERSION_WITH_IDS: i16 = 12;

/// Which topics a request asks for.
enum Wanted<'a> {
    All,
    Names(Vec<&'a str>),
    /// Then names in the request do not count, as in Kafka.
    Ids(Vec<TopicId>),
}

pub(super) async fn handle(context: &RequestContext, request: MetadataRequest<'_>) -> Outgoing {
    let wanted = match wanted(&request, context.version()) {
        Ok(wanted) => wanted,
        Err(code) => return refuse_all(context, &request, code),
    };
    // As in Kafka, a topic that this request creates is unknown in its answer: clients that look whether a deletion went
    // through rely on it, and all of them ask again.
    let image = context.image();
    if let Wanted::Names(names) = &wanted
        && request.allow_auto_topic_creation
    {
        create_missing(context, &image, names);
    }
    let asked = request.include_topic_authorized_operations;
    let topics = match &wanted {
        Wanted::All => image
            .topics()
            .map(|topic| described(topic, asked))
            .collect(),
        Wanted::Names(names) => names
            .iter()
            .map(|name| answer(&image, name, asked))
            .collect(),
        Wanted::Ids(ids) => by_id(&image, ids, asked),
    };
    let (host, port) = context.advertised();
    let broker = MetadataResponseBroker {
        node_id: image.node_id,
        host,
        port: port.into(),
        ..Default::default()
    };
    let response = MetadataResponse {
        brokers: vec![broker],
        cluster_id: Some(&image.cluster_id),
        controller_id: image.node_id,
        topics,
        cluster_authorized_operations: authorized::cluster(
            request.include_cluster_authorized_operations,
        ),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn wanted<'a>(request: &MetadataRequest<'a>, version: i16) -> Result<Wanted<'a>, ErrorCode> {
    let topics = match &request.topics {
        None => return Ok(Wanted::All),
        Some(topics) if topics.is_empty() && version < VERSION_WITH_NULL => return Ok(Wanted::All),
        Some(topics) => topics,
    };
    let id = |topic: &MetadataRequestTopic<'_>| TopicId(topic.topic_id.0);
    if version < VERSION_WITH_IDS {
        let by_name = |topic| id(topic) == TopicId::default() && topic.name.is_some();
        if !topics.iter().all(by_name) {
            return Err(ErrorCode::InvalidRequest);
        }
    }
    let ids = topics.iter().map(id).filter(|id| *id != TopicId::default());
    let ids = topic_results::once_each(ids);
    if !ids.is_empty() {
        return Ok(Wanted::Ids(ids));
    }
    let names: Option<Vec<&str>> = topics.iter().map(|topic| topic.name).collect();
    let names = names.ok_or(ErrorCode::UnknownServerError)?;
    Ok(Wanted::Names(topic_results::once_each(names.into_iter())))
}

/// Kafka answers an error of the whole request once per topic, and without brokers.
fn refuse_all(
    context: &RequestContext,
    request: &MetadataRequest<'_>,
    code: ErrorCode,
) -> Outgoing {
    let topics = request.topics.iter().flatten();
    let response = MetadataResponse {
        controller_id: -1,
        topics: topics
            .map(|topic| MetadataResponseTopic {
                error_code: code.code(),
                name: Some(topic.name.unwrap_or_default()),
                topic_id: topic.topic_id,
                ..Default::default()
            })
            .collect(),
        error_code: code.code(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

/// Unknown ids come first, as in Kafka.
fn by_id<'a>(
    image: &'a MetadataImage,
    ids: &[TopicId],
    asked: bool,
) -> Vec<MetadataResponseTopic<'a>> {
    let unknown = ids
        .iter()
        .filter(|id| image.topic_by_id(**id).is_none())
        .map(|id| MetadataResponseTopic {
            error_code: ErrorCode::UnknownTopicId.code(),
            name: None,
            topic_id: Uuid(id.0),
            ..Default::default()
        });
    let known = ids
        .iter()
        .filter_map(|id| image.topic_by_id(*id))
        .map(|topic| described(topic, asked));
    unknown.chain(known).collect()
}

/// Has the topics that do not exist created.
fn create_missing(context: &RequestContext, image: &MetadataImage, names: &[&str]) {
    if !image.broker_config.auto_create_topics_enable() {
        return;
    }
    let missing = names.iter().copied().filter(|name| {
        image.topic(name).is_none()
            && name::reason_invalid(name).is_none()
            && !name::is_internal(name)
    });
    context.shard().create_soon(missing);
}

fn answer<'a>(
    image: &'a Arc<MetadataImage>,
    name: &'a str,
    asked: bool,
) -> MetadataResponseTopic<'a> {
    let code = match image.topic(name) {
        Some(topic) => return described(topic, asked),
        None if name::reason_invalid(name).is_some() => ErrorCode::InvalidTopicException,
        None => ErrorCode::UnknownTopicOrPartition,
    };
    MetadataResponseTopic {
        error_code: code.code(),
        name: Some(name),
        is_internal: name::is_internal(name),
        ..Default::default()
    }
}

fn described(topic: &TopicImage, asked: bool) -> MetadataResponseTopic<'_> {
    let partitions =
        (0..)
            .zip(&topic.partitions)
            .map(|(index, partition)| MetadataResponsePartition {
                partition_index: index,
                leader_id: partition.leader,
                leader_epoch: partition.leader_epoch.0,
                replica_nodes: partition.replicas.clone(),
                isr_nodes: partition.isr.clone(),
                ..Default::default()
            });
    MetadataResponseTopic {
        name: Some(&topic.name),
        topic_id: Uuid(topic.id.0),
        is_internal: topic.internal,
        partitions: partitions.collect(),
        topic_authorized_operations: authorized::topic(asked),
        ..Default::default()
    }
}

//! Metadata: brokers, topics, leaders; creates topics that clients ask for, if that is wanted.

use std::collections::BTreeSet;
use std::sync::Arc;

use net::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use net::wire::Uuid;

use super::{ErrorCode, RequestContext, authorized, topic_results};
use crate::cluster::topics::NewTopic;
use crate::cluster::{ControlRequest, MetadataImage, TopicImage, name};
use crate::shard::connection::Outgoing;

/// In version 0 an empty list asks for all topics; later null does.
const VERSION_WITH_NULL: i16 = 1;

pub(super) async fn handle(context: &RequestContext, request: MetadataRequest<'_>) -> Outgoing {
    let wanted = match &request.topics {
        None => None,
        Some(topics) if topics.is_empty() && context.version() < VERSION_WITH_NULL => None,
        Some(topics) => Some(topic_results::once_each(
            topics.iter().filter_map(|topic| topic.name),
        )),
    };
    if let Some(names) = &wanted
        && request.allow_auto_topic_creation
    {
        create_missing(context, names).await;
    }
    let image = context.image();
    let asked = request.include_topic_authorized_operations;
    let topics = match &wanted {
        None => image
            .topics()
            .map(|topic| described(topic, asked))
            .collect(),
        Some(names) => names
            .iter()
            .map(|name| answer(&image, name, asked))
            .collect(),
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

/// Creates the topics that do not exist, before they are described: Kafka answers 3 first and creates afterwards, which
/// costs every client a retry. A topic that cannot be created is answered as unknown.
async fn create_missing(context: &RequestContext, names: &[&str]) {
    let image = context.image();
    if !image.broker_config.auto_create_topics_enable() {
        return;
    }
    let creatable =
        |name: &&&str| image.topic(name).is_none() && name::reason_invalid(name).is_none();
    let topics: BTreeSet<&&str> = names.iter().filter(creatable).collect();
    let topics = topics
        .into_iter()
        .filter(|name| !name::is_internal(name))
        .map(|name| NewTopic {
            name: (*name).to_owned(),
            partitions: -1,
            replication_factor: -1,
            ..NewTopic::default()
        });
    let topics: Vec<NewTopic> = topics.collect();
    if topics.is_empty() {
        return;
    }
    if let Err(error) = context
        .control(ControlRequest::CreateTopics {
            topics,
            validate_only: false,
        })
        .await
    {
        tracing::warn!(%error, "a topic could not be created for a client");
    }
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

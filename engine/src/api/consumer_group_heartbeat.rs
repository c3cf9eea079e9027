//! ConsumerGroupHeartbeat: a member of a consumer group joins, goes on or leaves (KIP-848).

use std::fmt::Write as _;
use std::sync::Arc;

use net::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use net::wire::Uuid;

use super::coordinated::{ask, client_host};
use super::{ErrorCode, RequestContext};
use crate::cluster::MetadataImage;
use crate::groups::consumer::partitions::PartitionSet;
use crate::groups::consumer::request::{ConsumerHeartbeat, ConsumerHeartbeatReply};
use crate::groups::{GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;
use crate::types::{PartitionId, TopicId};

/// From this version on members make their ids themselves.
const VERSION_WITH_OWN_IDS: i16 = 1;

pub(super) async fn handle(
    context: &RequestContext,
    request: ConsumerGroupHeartbeatRequest<'_>,
) -> Outgoing {
    if !is_offered(&context.image()) {
        return refused(context, ErrorCode::UnsupportedVersion, None);
    }
    let wish = ConsumerHeartbeat {
        group: request.group_id.into(),
        member: request.member_id.into(),
        new_member: new_member_id(context),
        brings_id: context.version() >= VERSION_WITH_OWN_IDS,
        epoch: request.member_epoch,
        instance: request.instance_id.map(Arc::from),
        rack: request.rack_id.map(Arc::from),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: request
            .subscribed_topic_names
            .map(|names| names.into_iter().map(Arc::from).collect()),
        pattern: request.subscribed_topic_regex.map(Arc::from),
        assignor: request.server_assignor.map(Arc::from),
        owned: request.topic_partitions.as_deref().map(partitions_of),
        client: context.client_id().unwrap_or_default().into(),
        host: client_host(context),
    };
    let wish = GroupRequest::ConsumerHeartbeat(Box::new(wish));
    let reply = match ask(context, request.group_id, wish).await {
        GroupReply::ConsumerHeartbeat(reply) => *reply,
        GroupReply::Failed(error) => return refused(context, error.into(), None),
        _ => return refused(context, ErrorCode::UnknownServerError, None),
    };
    let accepted = match reply {
        ConsumerHeartbeatReply::Accepted(accepted) => accepted,
        ConsumerHeartbeatReply::Refused(error) => {
            return refused(context, (&error).into(), Some(&error.to_string()));
        }
    };
    let assignment = accepted.assignment.as_ref().map(|assignment| Assignment {
        topic_partitions: assignment
            .by_topic()
            .map(|(topic_id, partitions)| TopicPartitions {
                topic_id: Uuid(topic_id.0),
                partitions,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let response = ConsumerGroupHeartbeatResponse {
        member_id: Some(&accepted.member),
        member_epoch: accepted.epoch,
        heartbeat_interval_ms: accepted.heartbeat_interval_ms,
        assignment,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

/// Whether the cluster runs the protocol: the feature is finalized, the broker's setting names it.
pub(super) fn is_offered(image: &MetadataImage) -> bool {
    let protocols = image
        .broker_config
        .value("group.coordinator.rebalance.protocols");
    let named = |names: &str| {
        let mut names = names.split(',').map(str::trim);
        names.any(|name| name.eq_ignore_ascii_case("consumer"))
    };
    image
        .features
        .get("group.version")
        .is_some_and(|level| *level >= 1)
        && protocols.is_none_or(named)
}

fn refused(context: &RequestContext, code: ErrorCode, message: Option<&str>) -> Outgoing {
    let response = ConsumerGroupHeartbeatResponse {
        error_code: code.code(),
        error_message: message,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn partitions_of(topics: &[TopicPartitions<'_>]) -> PartitionSet {
    let topics = topics.iter();
    topics
        .flat_map(|topic| {
            topic.partitions.iter().map(|index| PartitionId {
                topic_id: TopicId(topic.topic_id.0),
                index: *index,
            })
        })
        .collect()
}

/// A random UUID as Kafka prints its own: 22 characters of url-safe base64.
fn new_member_id(context: &RequestContext) -> Arc<str> {
    let (high, low) = (
        context.runtime().random_u64(),
        context.runtime().random_u64(),
    );
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(22);
    write!(text, "{}", Uuid(bytes)).expect("a string takes everything");
    text.into()
}

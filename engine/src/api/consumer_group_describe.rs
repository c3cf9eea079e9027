//! ConsumerGroupDescribe: state, members and assignments of consumer groups (KIP-848).

use std::sync::Arc;

use net::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
    Member, TopicPartitions,
};
use net::wire::Uuid;

use super::consumer_group_heartbeat::is_offered;
use super::coordinated::ask;
use super::{ErrorCode, RequestContext, authorized};
use crate::cluster::MetadataImage;
use crate::groups::consumer::request::{ConsumerDescription, DescribedConsumer};
use crate::groups::{GroupError, GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;
use crate::types::TopicId;

/// Member types of version 1.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

/// One group of the answer: found, or why not in words.
type Found = Result<Box<ConsumerDescription>, (ErrorCode, Option<String>)>;

pub(super) async fn handle(
    context: &RequestContext,
    request: ConsumerGroupDescribeRequest<'_>,
) -> Outgoing {
    let image = context.image();
    let offered = is_offered(&image);
    let mut found: Vec<(&str, Found)> = Vec::with_capacity(request.group_ids.len());
    for group_id in &request.group_ids {
        let result = match (offered, group_id.is_empty()) {
            (false, _) => Err((ErrorCode::UnsupportedVersion, None)),
            (true, true) => Err((ErrorCode::InvalidGroupId, None)),
            (true, false) => describe(context, group_id).await,
        };
        found.push((group_id, result));
    }
    // Kafka answers for the ids it refuses at once before all others.
    found.sort_by_key(|(group_id, _)| !group_id.is_empty());
    let asked = request.include_authorized_operations;
    let groups = found.iter().map(|(group_id, result)| match result {
        Ok(description) => DescribedGroup {
            authorized_operations: authorized::group(asked),
            ..described(group_id, description, &image)
        },
        Err((code, message)) => DescribedGroup {
            error_code: code.code(),
            error_message: message.as_deref(),
            group_id,
            ..Default::default()
        },
    });
    let response = ConsumerGroupDescribeResponse {
        groups: groups.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

async fn describe(context: &RequestContext, group_id: &str) -> Found {
    let wish = GroupRequest::ConsumerDescribe(group_id.into());
    match ask(context, group_id, wish).await {
        GroupReply::ConsumerDescribed(description) => Ok(description),
        GroupReply::Failed(GroupError::GroupNotFound) => Err((
            ErrorCode::GroupIdNotFound,
            Some(format!("Group {group_id} not found.")),
        )),
        // A group of the classic protocol.
        GroupReply::Failed(GroupError::InconsistentProtocol) => Err((
            ErrorCode::GroupIdNotFound,
            Some(format!("Group {group_id} is not a consumer group.")),
        )),
        GroupReply::Failed(error) => Err((error.into(), None)),
        _ => Err((ErrorCode::UnknownServerError, None)),
    }
}

fn described<'a>(
    group_id: &'a str,
    description: &'a ConsumerDescription,
    image: &'a MetadataImage,
) -> DescribedGroup<'a> {
    let members = description.members.iter();
    DescribedGroup {
        group_id,
        group_state: description.state,
        group_epoch: description.epoch,
        assignment_epoch: description.target_epoch,
        assignor_name: &description.assignor,
        members: members
            .map(|member| described_member(member, image))
            .collect(),
        ..Default::default()
    }
}

fn described_member<'a>(member: &'a DescribedConsumer, image: &'a MetadataImage) -> Member<'a> {
    Member {
        member_id: &member.member,
        instance_id: member.instance.as_deref(),
        rack_id: member.rack.as_deref(),
        member_epoch: member.epoch,
        client_id: &member.client,
        client_host: &member.host,
        subscribed_topic_names: names(&member.topics),
        subscribed_topic_regex: member.pattern.as_deref(),
        assignment: assignment(&member.assigned, image),
        target_assignment: assignment(&member.target, image),
        member_type: if member.is_classic {
            CLASSIC_MEMBER
        } else {
            CONSUMER_MEMBER
        },
        ..Default::default()
    }
}

fn names(topics: &[Arc<str>]) -> Vec<&str> {
    topics.iter().map(|topic| &**topic).collect()
}

/// Topics that are gone have no name any more and are left out, as Kafka does.
fn assignment<'a>(topics: &[(TopicId, Vec<i32>)], image: &'a MetadataImage) -> Assignment<'a> {
    let topics = topics.iter().filter_map(|(topic_id, partitions)| {
        let topic = image.topic_by_id(*topic_id)?;
        Some(TopicPartitions {
            topic_id: Uuid(topic_id.0),
            topic_name: &topic.name,
            partitions: partitions.clone(),
            ..Default::default()
        })
    });
    Assignment {
        topic_partitions: topics.collect(),
        ..Default::default()
    }
}

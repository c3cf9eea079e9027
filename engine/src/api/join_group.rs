//! JoinGroup: a member of a classic group joins, and waits until the generation begins.

use std::sync::Arc;

use bytes::Bytes;
use net::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};

use super::coordinated::{ask, client_host, new_member_id};
use super::{ErrorCode, RequestContext};
use crate::groups::request::{Join, Joined, MemberAt};
use crate::groups::{GroupError, GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;

/// KIP-394: from this version on a member is sent back for its id first.
const VERSION_WITH_ID_REQUIRED: i16 = 4;
/// From this version on the protocol's name may be null.
const VERSION_WITH_NULL_PROTOCOL: i16 = 7;
/// KIP-814: from this version on a leader can be told not to assign.
const VERSION_WITH_SKIP: i16 = 9;

pub(super) async fn handle(context: &RequestContext, request: JoinGroupRequest<'_>) -> Outgoing {
    let version = context.version();
    let member: Arc<str> = request.member_id.into();
    let reply = if request.group_id.is_empty() {
        GroupReply::JoinRefused(GroupError::InvalidGroupId, member.clone())
    } else {
        let join = join(context, &request);
        let group = request.group_id;
        ask(context, group, GroupRequest::Join(Box::new(join))).await
    };
    let none = (version < VERSION_WITH_NULL_PROTOCOL).then_some("");
    match reply {
        GroupReply::Joined(joined) => {
            let response = accepted(&joined, none);
            context.reply(|writer, version| response.encode(writer, version))
        }
        other => {
            let (error, member) = match other {
                GroupReply::JoinRefused(error, member) => (error, member),
                GroupReply::Failed(error) => (error, member),
                _ => (GroupError::LimitReached, member),
            };
            let response = JoinGroupResponse {
                error_code: ErrorCode::from(error).code(),
                generation_id: -1,
                protocol_name: none,
                member_id: &member,
                ..Default::default()
            };
            context.reply(|writer, version| response.encode(writer, version))
        }
    }
}

fn join(context: &RequestContext, request: &JoinGroupRequest<'_>) -> Join {
    let version = context.version();
    let instance = request.group_instance_id;
    let rebalance_timeout_ms = if version == 0 {
        request.session_timeout_ms
    } else {
        request.rebalance_timeout_ms
    };
    Join {
        who: MemberAt {
            group: request.group_id.into(),
            member: request.member_id.into(),
            instance: instance.map(Arc::from),
            generation: -1,
        },
        new_member: new_member_id(context, instance),
        id_required: version >= VERSION_WITH_ID_REQUIRED,
        can_skip_assignment: version >= VERSION_WITH_SKIP,
        client: context.client_id().unwrap_or_default().into(),
        host: client_host(context),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: request.protocol_type.into(),
        protocols: request
            .protocols
            .iter()
            .map(|protocol| {
                let metadata = Bytes::copy_from_slice(protocol.metadata);
                (protocol.name.into(), metadata)
            })
            .collect(),
    }
}

fn accepted<'a>(joined: &'a Joined, none: Option<&'static str>) -> JoinGroupResponse<'a> {
    let members =
        joined
            .members
            .iter()
            .map(|(member, instance, metadata)| JoinGroupResponseMember {
                member_id: member,
                group_instance_id: instance.as_deref(),
                metadata,
                ..Default::default()
            });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_deref(),
        protocol_name: joined.protocol.as_deref().or(none),
        leader: joined.leader.as_deref().unwrap_or_default(),
        skip_assignment: joined.skip_assignment,
        member_id: &joined.member,
        members: members.collect(),
        ..Default::default()
    }
}

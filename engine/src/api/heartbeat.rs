//! Heartbeat: a member of a classic group is alive.

use std::sync::Arc;

use net::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::coordinated::ask;
use super::{ErrorCode, RequestContext};
use crate::groups::request::MemberAt;
use crate::groups::{GroupError, GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(context: &RequestContext, request: HeartbeatRequest<'_>) -> Outgoing {
    let reply = if request.group_id.is_empty() {
        GroupReply::Failed(GroupError::InvalidGroupId)
    } else {
        let who = MemberAt {
            group: request.group_id.into(),
            member: request.member_id.into(),
            instance: request.group_instance_id.map(Arc::from),
            generation: request.generation_id,
        };
        ask(context, request.group_id, GroupRequest::Heartbeat(who)).await
    };
    let code = match reply {
        // As in Kafka: while the group is read, nobody is sent away for what is not known yet.
        GroupReply::Alive | GroupReply::Failed(GroupError::Loading) => ErrorCode::None,
        GroupReply::Failed(error) => error.into(),
        _ => ErrorCode::UnknownServerError,
    };
    let response = HeartbeatResponse {
        error_code: code.code(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

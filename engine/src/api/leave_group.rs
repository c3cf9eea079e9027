//! LeaveGroup: members of a classic group go, by themselves or by an administrator's wish.

use std::sync::Arc;

use net::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};

use super::coordinated::ask;
use super::{ErrorCode, RequestContext};
use crate::groups::request::Leave;
use crate::groups::{GroupError, GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;

/// From this version on several members can go at once.
const VERSION_WITH_MEMBERS: i16 = 3;

pub(super) async fn handle(context: &RequestContext, request: LeaveGroupRequest<'_>) -> Outgoing {
    let members: Vec<(&str, Option<&str>)> = if context.version() >= VERSION_WITH_MEMBERS {
        let members = request.members.iter();
        members
            .map(|member| (member.member_id, member.group_instance_id))
            .collect()
    } else {
        vec![(request.member_id, None)]
    };
    let reply = if request.group_id.is_empty() {
        GroupReply::Failed(GroupError::InvalidGroupId)
    } else {
        let leave = Leave {
            group: request.group_id.into(),
            members: members
                .iter()
                .map(|(member, instance)| ((*member).into(), instance.map(Arc::from)))
                .collect(),
        };
        ask(context, request.group_id, GroupRequest::Leave(leave)).await
    };
    let code = |error: GroupError| ErrorCode::from(error).code();
    let (error_code, results) = match reply {
        GroupReply::Left(results) => (0, results),
        GroupReply::Failed(error) => (code(error), Vec::new()),
        _ => (ErrorCode::UnknownServerError.code(), Vec::new()),
    };
    let mut answers: Vec<MemberResponse<'_>> = members
        .iter()
        .zip(&results)
        .map(|((member, instance), result)| MemberResponse {
            member_id: member,
            group_instance_id: *instance,
            error_code: result.map_or_else(code, |()| 0),
            ..Default::default()
        })
        .collect();
    let response = if context.version() >= VERSION_WITH_MEMBERS {
        LeaveGroupResponse {
            error_code,
            members: answers,
            ..Default::default()
        }
    } else {
        let own = answers.pop().map_or(error_code, |answer| answer.error_code);
        LeaveGroupResponse {
            error_code: own,
            ..Default::default()
        }
    };
    context.reply(|writer, version| response.encode(writer, version))
}

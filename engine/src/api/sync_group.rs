//! SyncGroup: a member asks for its assignment; the leader brings everybody's.

use std::sync::Arc;

use bytes::Bytes;
use net::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::coordinated::ask;
use super::{ErrorCode, RequestContext};
use crate::groups::request::{MemberAt, Sync};
use crate::groups::{GroupError, GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;

/// From this version on a member says which protocol it believes in.
const VERSION_WITH_PROTOCOL: i16 = 5;

pub(super) async fn handle(context: &RequestContext, request: SyncGroupRequest<'_>) -> Outgoing {
    let silent = request.protocol_type.is_none() || request.protocol_name.is_none();
    let reply = if context.version() >= VERSION_WITH_PROTOCOL && silent {
        GroupReply::Failed(GroupError::InconsistentProtocol)
    } else if request.group_id.is_empty() {
        GroupReply::Failed(GroupError::InvalidGroupId)
    } else {
        let group = request.group_id;
        ask(context, group, GroupRequest::Sync(Box::new(sync(&request)))).await
    };
    match reply {
        GroupReply::Synced(synced) => {
            let response = SyncGroupResponse {
                protocol_type: synced.protocol_type.as_deref(),
                protocol_name: synced.protocol.as_deref(),
                assignment: &synced.assignment,
                ..Default::default()
            };
            context.reply(|writer, version| response.encode(writer, version))
        }
        other => {
            let error = match other {
                GroupReply::Failed(error) => error,
                _ => GroupError::LimitReached,
            };
            let response = SyncGroupResponse {
                error_code: ErrorCode::from(error).code(),
                ..Default::default()
            };
            context.reply(|writer, version| response.encode(writer, version))
        }
    }
}

fn sync(request: &SyncGroupRequest<'_>) -> Sync {
    Sync {
        who: MemberAt {
            group: request.group_id.into(),
            member: request.member_id.into(),
            instance: request.group_instance_id.map(Arc::from),
            generation: request.generation_id,
        },
        protocol_type: request.protocol_type.map(Arc::from),
        protocol: request.protocol_name.map(Arc::from),
        assignments: request
            .assignments
            .iter()
            .map(|entry| {
                let assignment = Bytes::copy_from_slice(entry.assignment);
                (entry.member_id.into(), assignment)
            })
            .collect(),
    }
}

//! ListGroups: the groups of all coordinators of this node, by state and type if wanted.

use net::messages::list_groups::{
    ListGroupsRequest, ListGroupsResponse, ListedGroup as ListedGroupBody,
};

use super::coordinated::ask_all;
use super::{ErrorCode, RequestContext};
use crate::groups::request::ListFilter;
use crate::groups::{GroupError, GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(context: &RequestContext, request: ListGroupsRequest<'_>) -> Outgoing {
    let lower = |names: &[&str]| names.iter().map(|name| name.to_lowercase()).collect();
    let filter = ListFilter {
        states: lower(&request.states_filter),
        types: lower(&request.types_filter),
    };
    let replies = ask_all(context, || GroupRequest::List(filter.clone())).await;
    let mut code = ErrorCode::None;
    let mut listed = Vec::new();
    for reply in replies {
        match reply {
            GroupReply::Listed(groups) => listed.extend(groups),
            GroupReply::Failed(GroupError::NotCoordinator) => {}
            GroupReply::Failed(error) => code = error.into(),
            _ => code = ErrorCode::UnknownServerError,
        }
    }
    let groups = listed.iter().map(|group| ListedGroupBody {
        group_id: &group.group,
        protocol_type: &group.protocol_type,
        group_state: group.state,
        group_type: group.kind,
        ..Default::default()
    });
    let response = ListGroupsResponse {
        error_code: code.code(),
        groups: if code == ErrorCode::None {
            groups.collect()
        } else {
            Vec::new()
        },
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

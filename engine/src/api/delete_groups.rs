//! DeleteGroups: forgets groups that nobody is in, with their offsets.

use net::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

use super::coordinated::ask;
use super::topic_results::once_each;
use super::{ErrorCode, RequestContext};
use crate::groups::{GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(context: &RequestContext, request: DeleteGroupsRequest<'_>) -> Outgoing {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in once_each(request.groups_names.iter().copied()) {
        let wish = GroupRequest::DeleteGroup(group_id.into());
        let code = match ask(context, group_id, wish).await {
            GroupReply::GroupDeleted => ErrorCode::None,
            GroupReply::Failed(error) => error.into(),
            _ => ErrorCode::UnknownServerError,
        };
        results.push(DeletableGroupResult {
            group_id,
            error_code: code.code(),
            ..Default::default()
        });
    }
    let response = DeleteGroupsResponse {
        results,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

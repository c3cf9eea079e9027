//! DescribeGroups: members and state of classic groups.

use net::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};

use super::coordinated::ask;
use super::{ErrorCode, RequestContext, authorized};
use crate::groups::request::Description;
use crate::groups::{GroupError, GroupReply, GroupRequest};
use crate::shard::connection::Outgoing;

/// KIP-1043: from this version on a group that does not exist is an error; before, it is dead.
const VERSION_WITH_NOT_FOUND: i16 = 6;
const DEAD: &str = "Dead";

pub(super) async fn handle(
    context: &RequestContext,
    request: DescribeGroupsRequest<'_>,
) -> Outgoing {
    let mut found: Vec<(&str, Result<Description, GroupError>, String)> = Vec::new();
    for group_id in &request.groups {
        let reply = ask(
            context,
            group_id,
            GroupRequest::Describe((*group_id).into()),
        )
        .await;
        let result = match reply {
            GroupReply::Described(description) => Ok(*description),
            GroupReply::Failed(error) => Err(error),
            _ => Err(GroupError::LimitReached),
        };
        found.push((group_id, result, format!("Group {group_id} not found.")));
    }
    let asked = request.include_authorized_operations;
    let groups = found.iter().map(|(group_id, result, not_found)| {
        let group = DescribedGroup {
            group_id,
            authorized_operations: authorized::group(asked),
            ..Default::default()
        };
        match result {
            Ok(description) => described(description, group),
            Err(GroupError::GroupNotFound) if context.version() < VERSION_WITH_NOT_FOUND => {
                DescribedGroup {
                    group_state: DEAD,
                    ..group
                }
            }
            Err(GroupError::GroupNotFound) => DescribedGroup {
                error_code: ErrorCode::GroupIdNotFound.code(),
                error_message: Some(not_found),
                group_state: DEAD,
                ..group
            },
            Err(error) => DescribedGroup {
                error_code: ErrorCode::from(*error).code(),
                ..group
            },
        }
    });
    let response = DescribeGroupsResponse {
        groups: groups.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn described<'a>(description: &'a Description, group: DescribedGroup<'a>) -> DescribedGroup<'a> {
    let members = description
        .members
        .iter()
        .map(|member| DescribedGroupMember {
            member_id: &member.member,
            group_instance_id: member.instance.as_deref(),
            client_id: &member.client,
            client_host: &member.host,
            member_metadata: &member.metadata,
            member_assignment: &member.assignment,
            ..Default::default()
        });
    DescribedGroup {
        group_state: description.state,
        protocol_type: &description.protocol_type,
        protocol_data: &description.protocol,
        members: members.collect(),
        ..group
    }
}

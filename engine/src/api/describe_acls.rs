//! DescribeAcls: there is no authorizer, and the answer says so in Kafka's words.

use net::messages::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

/// Kafka takes a filter with an unknown type, operation or permission for a malformed request.
const UNKNOWN: i8 = 0;

pub(super) async fn handle(context: &RequestContext, request: DescribeAclsRequest<'_>) -> Outgoing {
    let filters = [
        request.resource_type_filter,
        request.pattern_type_filter,
        request.operation,
        request.permission_type,
    ];
    if filters.contains(&UNKNOWN) {
        return Outgoing::close();
    }
    let response = DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured on the broker"),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

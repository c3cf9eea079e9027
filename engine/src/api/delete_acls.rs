//! DeleteAcls: there is no authorizer, and the answer says so in Kafka's words.

use net::messages::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

/// Kafka takes a filter with an unknown type, operation or permission for a malformed request.
const UNKNOWN: i8 = 0;

pub(super) async fn handle(context: &RequestContext, request: DeleteAclsRequest<'_>) -> Outgoing {
    let is_malformed = request.filters.iter().any(|filter| {
        [
            filter.resource_type_filter,
            filter.pattern_type_filter,
            filter.operation,
            filter.permission_type,
        ]
        .contains(&UNKNOWN)
    });
    if is_malformed {
        return Outgoing::close();
    }
    let results = request.filters.iter().map(|_| DeleteAclsFilterResult {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured."),
        ..Default::default()
    });
    let response = DeleteAclsResponse {
        filter_results: results.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

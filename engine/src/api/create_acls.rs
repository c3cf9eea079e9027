//! CreateAcls: there is no authorizer, and the answer says so in Kafka's words.

use net::messages::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

/// Kafka takes a rule with an unknown type, operation or permission for a malformed request.
const UNKNOWN: i8 = 0;

pub(super) async fn handle(context: &RequestContext, request: CreateAclsRequest<'_>) -> Outgoing {
    let is_malformed = request.creations.iter().any(|rule| {
        [
            rule.resource_type,
            rule.resource_pattern_type,
            rule.operation,
            rule.permission_type,
        ]
        .contains(&UNKNOWN)
    });
    if is_malformed {
        return Outgoing::close();
    }
    let results = request.creations.iter().map(|_| AclCreationResult {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured."),
        ..Default::default()
    });
    let response = CreateAclsResponse {
        results: results.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

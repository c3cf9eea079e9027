//! CreateDelegationToken: refused as Kafka refuses it on a connection that nobody logged in on.

use net::messages::create_delegation_token::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse,
};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

/// Who asks on a connection without authentication.
const ANONYMOUS: (&str, &str) = ("User", "ANONYMOUS");
/// First version that says who asked, beside for whom.
const VERSION_WITH_REQUESTER: i16 = 3;

pub(super) async fn handle(
    context: &RequestContext,
    request: CreateDelegationTokenRequest<'_>,
) -> Outgoing {
    let named = |name: Option<&'_ str>| name.is_some_and(|name| !name.is_empty());
    let owner = if named(request.owner_principal_name) {
        (
            request.owner_principal_type.unwrap_or_default(),
            request.owner_principal_name.unwrap_or_default(),
        )
    } else {
        ANONYMOUS
    };
    let requester = if context.version() >= VERSION_WITH_REQUESTER {
        ANONYMOUS
    } else {
        ("", "")
    };
    let response = CreateDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(),
        principal_type: owner.0,
        principal_name: owner.1,
        token_requester_principal_type: requester.0,
        token_requester_principal_name: requester.1,
        issue_timestamp_ms: -1,
        expiry_timestamp_ms: -1,
        max_timestamp_ms: -1,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

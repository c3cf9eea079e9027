//! ExpireDelegationToken: refused as Kafka refuses it on a connection that nobody logged in on.

use net::messages::expire_delegation_token::{
    ExpireDelegationTokenRequest, ExpireDelegationTokenResponse,
};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    _request: ExpireDelegationTokenRequest<'_>,
) -> Outgoing {
    let response = ExpireDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(),
        expiry_timestamp_ms: -1,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

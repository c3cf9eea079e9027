//! RenewDelegationToken: refused as Kafka refuses it on a connection that nobody logged in on.

use net::messages::renew_delegation_token::{
    RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    _request: RenewDelegationTokenRequest<'_>,
) -> Outgoing {
    let response = RenewDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(),
        expiry_timestamp_ms: -1,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

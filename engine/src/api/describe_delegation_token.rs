//! DescribeDelegationToken: refused as Kafka refuses it on a connection that nobody logged in on.

use net::messages::describe_delegation_token::{
    DescribeDelegationTokenRequest, DescribeDelegationTokenResponse,
};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    _request: DescribeDelegationTokenRequest<'_>,
) -> Outgoing {
    let response = DescribeDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

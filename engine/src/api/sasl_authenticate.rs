//! SaslAuthenticate: nobody logs in on a PLAINTEXT listener.

use net::messages::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    _request: SaslAuthenticateRequest<'_>,
) -> Outgoing {
    let response = SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        error_message: Some("SaslAuthenticate request received after successful authentication"),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

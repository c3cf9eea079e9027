//! SaslHandshake: nobody logs in on a PLAINTEXT listener.

use net::messages::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    _request: SaslHandshakeRequest<'_>,
) -> Outgoing {
    let response = SaslHandshakeResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

//! UnregisterBroker: the only broker is this node, which cannot be taken away from itself.

use net::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    request: UnregisterBrokerRequest<'_>,
) -> Outgoing {
    let id = request.broker_id;
    let (code, message) = if id == context.image().node_id {
        let message = format!(
            "Broker ID {id} is the only broker of this cluster and answers this request; stop it instead."
        );
        (ErrorCode::InvalidRequest, message)
    } else {
        let message = format!("Broker ID {id} is not currently registered");
        (ErrorCode::BrokerIdNotRegistered, message)
    };
    let response = UnregisterBrokerResponse {
        error_code: code.code(),
        error_message: Some(&message),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

//! FindCoordinator: no coordinator runs yet, and the answer says so in a way that clients understand and retry.

use net::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

/// From this version on several keys are looked up at once.
const VERSION_WITH_KEYS: i16 = 4;
const UNAVAILABLE: &str = "This version of Tidelog has no group or transaction coordinator yet: assign partitions by \
                           hand (consumer.assign) and produce without a transactional.id.";
const UNKNOWN_TYPE: &str = "This most likely occurs because of a request being malformed by the client library or the \
                            message was sent to an incompatible broker. See the broker logs for more details.";

pub(super) async fn handle(
    context: &RequestContext,
    request: FindCoordinatorRequest<'_>,
) -> Outgoing {
    // 0 is a group, 1 a transactional id; share groups came with a later version.
    let (code, message) = match request.key_type {
        0 | 1 => (ErrorCode::CoordinatorNotAvailable, UNAVAILABLE),
        _ => (ErrorCode::InvalidRequest, UNKNOWN_TYPE),
    };
    let response = if context.version() >= VERSION_WITH_KEYS {
        let coordinators = request.coordinator_keys.iter().map(|key| Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: code.code(),
            error_message: Some(message),
            ..Default::default()
        });
        FindCoordinatorResponse {
            coordinators: coordinators.collect(),
            ..Default::default()
        }
    } else {
        FindCoordinatorResponse {
            error_code: code.code(),
            error_message: Some(message),
            node_id: -1,
            port: -1,
            ..Default::default()
        }
    };
    context.reply(|writer, version| response.encode(writer, version))
}

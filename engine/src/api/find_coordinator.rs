//! FindCoordinator: who keeps a group. On a node of one that is this node; the offsets topic is made on the first call.
//!
//! There is no transaction coordinator yet, and the answer says so in a way that clients understand and retry.

use net::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};

use super::{ErrorCode, RequestContext};
use crate::cluster::ControlRequest;
use crate::groups::{OFFSETS_TOPIC, offsets_topic};
use crate::shard::connection::Outgoing;

/// From this version on several keys are looked up at once.
const VERSION_WITH_KEYS: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const NO_TRANSACTIONS: &str = "This version of Tidelog has no transaction coordinator yet: produce without a \
                               transactional.id.";
const NO_OFFSETS_TOPIC: &str = "The topic for offsets cannot be created; see the broker's log.";
const UNKNOWN_TYPE: &str = "This most likely occurs because of a request being malformed by the client library or the \
                            message was sent to an incompatible broker. See the broker logs for more details.";

pub(super) async fn handle(
    context: &RequestContext,
    request: FindCoordinatorRequest<'_>,
) -> Outgoing {
    let refusal = match request.key_type {
        GROUP if create_offsets_topic(context).await => None,
        GROUP => Some((ErrorCode::CoordinatorNotAvailable, NO_OFFSETS_TOPIC)),
        TRANSACTION => Some((ErrorCode::CoordinatorNotAvailable, NO_TRANSACTIONS)),
        _ => Some((ErrorCode::InvalidRequest, UNKNOWN_TYPE)),
    };
    let image = context.image();
    let (host, port) = context.advertised();
    let (node_id, host, port) = match refusal {
        None => (image.node_id, host, i32::from(port)),
        Some(_) => (-1, "", -1),
    };
    let (code, message) =
        refusal.map_or((ErrorCode::None, None), |(code, text)| (code, Some(text)));
    let response = if context.version() >= VERSION_WITH_KEYS {
        let coordinators = request.coordinator_keys.iter().map(|key| Coordinator {
            key,
            node_id,
            host,
            port,
            error_code: code.code(),
            error_message: message,
            ..Default::default()
        });
        FindCoordinatorResponse {
            coordinators: coordinators.collect(),
            ..Default::default()
        }
    } else {
        FindCoordinatorResponse {
            error_code: code.code(),
            error_message: message,
            node_id,
            host,
            port,
            ..Default::default()
        }
    };
    context.reply(|writer, version| response.encode(writer, version))
}

/// Makes the topic that groups are kept in, unless it exists; false if that fails.
async fn create_offsets_topic(context: &RequestContext) -> bool {
    let image = context.image();
    if image.topic(OFFSETS_TOPIC).is_some() {
        return true;
    }
    let created = context
        .control(ControlRequest::CreateTopics {
            topics: vec![offsets_topic(&image.broker_config)],
            validate_only: false,
        })
        .await;
    // Another connection may have been first.
    let exists = context.image().topic(OFFSETS_TOPIC).is_some();
    if !exists {
        tracing::error!(?created, "the topic for offsets cannot be created");
    }
    exists
}

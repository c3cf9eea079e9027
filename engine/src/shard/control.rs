//! The edge around the controller on shard 0: one change at a time, durable before anybody sees it.
//!
//! Order: decide on the present image, make the records durable in both copies, replay them, hand the new image to
//! every shard, wait until each follows it, answer (DESIGN §7).

use net::platform::Runtime;
use net::platform::sync::Mutex;

use super::Shard;
use crate::cluster::controller::ControlErrorKind;
use crate::cluster::{
    ControlError, ControlRequest, ControlResponse, Controller, MetadataStore, Record,
};
use crate::types::TopicId;

/// An id that no topic ever had.
pub(crate) fn new_topic_id(runtime: &Runtime) -> TopicId {
    loop {
        let id = (u128::from(runtime.random_u64()) << 64) | u128::from(runtime.random_u64());
        // Kafka reserves the smallest ids (KIP-516).
        if id > 255 {
            return TopicId(id.to_be_bytes());
        }
    }
}

/// The controller with its log.
pub struct ControlEdge {
    state: Mutex<State>,
}

struct State {
    controller: Controller,
    store: MetadataStore,
}

impl ControlEdge {
    /// The edge of `controller`, whose records go to `store`.
    #[must_use]
    pub fn new(controller: Controller, store: MetadataStore) -> ControlEdge {
        ControlEdge {
            state: Mutex::new(State { controller, store }),
        }
    }

    /// Carries one request out.
    pub(super) async fn handle(&self, shard: &Shard, request: ControlRequest) -> ControlResponse {
        let mut state = self.state.lock().await;
        let runtime = shard.runtime();
        let mut new_id = || new_topic_id(runtime);
        let decision = state.controller.handle(&request, &mut new_id);
        if decision.records.is_empty() {
            return decision.response;
        }
        let made = decision.records.iter();
        let made = made.filter(|record| matches!(record, Record::Partition { .. }));
        let room = match made.count() {
            0 => Ok(()),
            count => shard.storage().check_room_for_partitions(count).await,
        };
        if let Err(error) = room {
            tracing::warn!(%error, "no partition is made");
            return failed(&error);
        }
        let now_ms = runtime.wall_clock_ms();
        if let Err(error) = state.store.append(&decision.records, now_ms).await {
            tracing::error!(%error, "metadata could not be written");
            return failed(&error);
        }
        let image = match state.controller.replay(&decision.records) {
            Ok(image) => image,
            Err(error) => {
                tracing::error!(%error, "a decision contradicts the image it was made on");
                return failed(&error);
            }
        };
        match shard.publish(image).await {
            Ok(()) => decision.response,
            Err(error) => failed(&error),
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> ControlResponse {
    ControlResponse::Failed(ControlError::new(
        ControlErrorKind::Storage,
        error.to_string(),
    ))
}

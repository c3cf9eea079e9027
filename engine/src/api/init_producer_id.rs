//! InitProducerId: identities for idempotent producers. Transactions have no coordinator yet.

use net::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::{ErrorCode, RequestContext};
use crate::cluster::producer_ids::ProducerIdBlock;
use crate::cluster::{ControlError, ControlErrorKind, ControlRequest, ControlResponse};
use crate::shard::connection::Outgoing;
use crate::types::ProducerId;

pub(super) async fn handle(
    context: &RequestContext,
    request: InitProducerIdRequest<'_>,
) -> Outgoing {
    let result = match request.transactional_id {
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(refuse_transactions(context, &request)),
        // Without a transactional id a producer's old identity does not matter: Kafka gives a new one, too.
        None => next_producer_id(context)
            .await
            .map_err(|error| error.kind.into()),
    };
    let response = match result {
        Ok(id) => InitProducerIdResponse {
            producer_id: id.0,
            producer_epoch: 0,
            ..Default::default()
        },
        Err(code) => InitProducerIdResponse {
            error_code: code.code(),
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        },
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn refuse_transactions(context: &RequestContext, request: &InitProducerIdRequest<'_>) -> ErrorCode {
    let image = context.image();
    let timeout_ms_max = image
        .broker_config
        .value("transaction.max.timeout.ms")
        .and_then(|value| value.parse().ok());
    let allowed = 1..=timeout_ms_max.unwrap_or(i32::MAX);
    if !allowed.contains(&request.transaction_timeout_ms) {
        ErrorCode::InvalidTransactionTimeout
    } else if request.producer_id != -1 && request.producer_epoch == -1 {
        ErrorCode::InvalidRequest
    } else {
        ErrorCode::CoordinatorNotAvailable
    }
}

/// The next id of this shard's block; a new block is durable before its first id is given out (RELIABILITY I9).
async fn next_producer_id(context: &RequestContext) -> Result<ProducerId, ControlError> {
    let block = context.shard().producer_ids();
    if let Some(id) = block.borrow_mut().take() {
        return Ok(id);
    }
    match context.control(ControlRequest::AllocateProducerIds).await? {
        ControlResponse::AllocateProducerIds(first) => {
            let mut fresh = ProducerIdBlock::starting_at(first);
            let id = fresh.take().expect("a fresh block has ids");
            block.replace(fresh);
            Ok(id)
        }
        _ => Err(ControlError::bare(ControlErrorKind::UnknownServerError)),
    }
}

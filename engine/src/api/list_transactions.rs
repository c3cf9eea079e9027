//! ListTransactions: there are no transactions to list; the filters are judged all the same.

use net::messages::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

/// Kafka's names for what a transaction may be doing.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

pub(super) async fn handle(
    context: &RequestContext,
    request: ListTransactionsRequest<'_>,
) -> Outgoing {
    // KIP-1152: a pattern that is none fails the whole request.
    let bad_pattern = request
        .transactional_id_pattern
        .is_some_and(|pattern| !pattern.is_empty() && regex::Regex::new(pattern).is_err());
    let response = if bad_pattern {
        ListTransactionsResponse {
            error_code: ErrorCode::InvalidRegularExpression.code(),
            ..Default::default()
        }
    } else {
        let unknown = request
            .state_filters
            .iter()
            .copied()
            .filter(|state| !STATES.contains(state));
        ListTransactionsResponse {
            unknown_state_filters: unknown.collect(),
            ..Default::default()
        }
    };
    context.reply(|writer, version| response.encode(writer, version))
}

//! DescribeTransactions: there are no transactions, so no transactional id is known.

use net::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TransactionState,
};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    request: DescribeTransactionsRequest<'_>,
) -> Outgoing {
    let unknown = |id: &&'_ str| {
        if id.is_empty() {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::TransactionalIdNotFound
        }
    };
    let states = request.transactional_ids.iter().map(|id| TransactionState {
        error_code: unknown(id).code(),
        transactional_id: id,
        ..Default::default()
    });
    let response = DescribeTransactionsResponse {
        transaction_states: states.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

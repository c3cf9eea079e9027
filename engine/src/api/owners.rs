//! Asking the owners of many partitions at once and putting the answers back into the request's order.
//!
//! Runs on the connection's core. For the APIs that ask one thing of each partition and change nothing by waiting.

use std::collections::BTreeMap;

use net::platform::sync::Closed;

use super::{ErrorCode, RequestContext};
use crate::shard::message::{ShardRequest, ShardResponse};
use crate::types::ShardId;

/// Per topic, in the request's order: each partition's index and its code, or its place in the list of items.
pub(super) type Places<'a> = Vec<(&'a str, Vec<(i32, Result<usize, ErrorCode>)>)>;

/// Sends each owner its items in one request; the results come back in the order of `items`. An owner that is gone
/// answers `lost` for each.
pub(super) async fn ask<Item, Answer: Clone>(
    context: &RequestContext,
    items: Vec<(ShardId, Item)>,
    request: impl Fn(Vec<Item>) -> ShardRequest,
    answers: impl Fn(ShardResponse) -> Option<Vec<Answer>>,
    lost: Answer,
) -> Vec<Answer> {
    let mut results = vec![lost; items.len()];
    let mut owners: BTreeMap<ShardId, (Vec<Item>, Vec<usize>)> = BTreeMap::new();
    for (position, (owner, item)) in items.into_iter().enumerate() {
        let (items, positions) = owners.entry(owner).or_default();
        items.push(item);
        positions.push(position);
    }
    for (owner, (items, positions)) in owners {
        let response: Result<ShardResponse, Closed> =
            context.shard().mesh_call(owner, request(items)).await;
        let answered = response.ok().and_then(&answers).unwrap_or_default();
        for (position, answer) in positions.into_iter().zip(answered) {
            results[position] = answer;
        }
    }
    results
}

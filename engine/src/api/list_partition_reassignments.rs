//! ListPartitionReassignments: nothing is ever under way on a node of one.

use net::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::RequestContext;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    _request: ListPartitionReassignmentsRequest<'_>,
) -> Outgoing {
    let response = ListPartitionReassignmentsResponse {
        error_message: None,
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

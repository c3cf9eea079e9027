//! CreatePartitions: not served yet; the connection is closed.

use net::messages::create_partitions::CreatePartitionsRequest;

use super::RequestContext;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(_context: &RequestContext, _request: CreatePartitionsRequest<'_>) -> Outgoing {
    Outgoing::close()
}

//! DescribeCluster: not served yet; the connection is closed.

use net::messages::describe_cluster::DescribeClusterRequest;

use super::RequestContext;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(_context: &RequestContext, _request: DescribeClusterRequest<'_>) -> Outgoing {
    Outgoing::close()
}

//! DescribeConfigs: not served yet; the connection is closed.

use net::messages::describe_configs::DescribeConfigsRequest;

use super::RequestContext;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(_context: &RequestContext, _request: DescribeConfigsRequest<'_>) -> Outgoing {
    Outgoing::close()
}

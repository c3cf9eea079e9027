//! IncrementalAlterConfigs: not served yet; the connection is closed.

use net::messages::incremental_alter_configs::IncrementalAlterConfigsRequest;

use super::RequestContext;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(_context: &RequestContext, _request: IncrementalAlterConfigsRequest<'_>) -> Outgoing {
    Outgoing::close()
}

//! FindCoordinator: not served yet; the connection is closed.

use net::messages::find_coordinator::FindCoordinatorRequest;

use super::RequestContext;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(_context: &RequestContext, _request: FindCoordinatorRequest<'_>) -> Outgoing {
    Outgoing::close()
}

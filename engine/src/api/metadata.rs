//! Metadata: not served yet; the connection is closed.

use net::messages::metadata::MetadataRequest;

use super::RequestContext;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(_context: &RequestContext, _request: MetadataRequest<'_>) -> Outgoing {
    Outgoing::close()
}

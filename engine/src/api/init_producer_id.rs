//! InitProducerId: not served yet; the connection is closed.

use net::messages::init_producer_id::InitProducerIdRequest;

use super::RequestContext;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(_context: &RequestContext, _request: InitProducerIdRequest<'_>) -> Outgoing {
    Outgoing::close()
}

//! CreateTopics: not served yet; the connection is closed.

use net::messages::create_topics::CreateTopicsRequest;

use super::RequestContext;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(_context: &RequestContext, _request: CreateTopicsRequest<'_>) -> Outgoing {
    Outgoing::close()
}

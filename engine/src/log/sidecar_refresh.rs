//! Writes the sidecars of active segments from time to time, so that a start after a crash scans little of them. On the
//! shard's core, after a checkpoint.
//!
//! Invariant: a sidecar never covers more than its segment holds durably: what is indexed was written, and the checkpoint
//! before this flushed it or the journal still names it.

use std::rc::Rc;

use super::index::SegmentIndex;
use super::segment_indexes::{ActiveIndex, index_of, sidecar_path};
use super::storage_shard::Shard;
use crate::types::{Offset, PartitionId};

/// A segment that grew by this many bytes gets a new sidecar; a start scans no more than that and what is journaled.
const GROWTH_BYTES: u32 = 16 << 20;
/// An index that is to be caught up by a scan holds back at most about so many batches.
const PUSHED_MAX: usize = 4096;

enum Work {
    Write(Rc<str>, Offset, Vec<u8>, u32),
    CatchUp(Offset),
}

/// Looks at every partition once.
pub(crate) async fn refresh(shard: &Shard) {
    let ids: Vec<PartitionId> = shard.partitions.borrow().keys().copied().collect();
    for id in ids {
        match look_at(shard, id) {
            None => {}
            Some(Work::CatchUp(base)) => {
                if let Err(error) = index_of(shard, id, base).await {
                    tracing::warn!(segment = base.0, %error, "an index could not be caught up");
                }
            }
            Some(Work::Write(directory, base, sidecar, size)) => {
                // ENOSPC on a sidecar fails nothing (C12c).
                match shard
                    .disk
                    .write_small(&sidecar_path(&directory, base), &sidecar)
                    .await
                {
                    Ok(()) => {
                        // Gone in the meantime: then there is nothing to note.
                        let _noted =
                            shard.with_partition(id, |partition| partition.sidecar = (base, size));
                    }
                    Err(error) => {
                        tracing::warn!(directory = &*directory, segment = base.0, %error, "no sidecar")
                    }
                }
            }
        }
    }
}

fn look_at(shard: &Shard, id: PartitionId) -> Option<Work> {
    shard.with_partition(id, |partition| {
        let (base, index) = &partition.index;
        match index {
            _ if partition.closing => None,
            ActiveIndex::Behind { pushed, .. } => {
                (pushed.len() >= PUSHED_MAX).then_some(Work::CatchUp(*base))
            }
            ActiveIndex::Ready(index) => {
                let index = index.borrow();
                let SegmentIndex::Building(builder) = &*index else {
                    return None;
                };
                let size = builder.info().size;
                let covered = if partition.sidecar.0 == *base {
                    partition.sidecar.1
                } else {
                    0
                };
                (size >= covered.saturating_add(GROWTH_BYTES)).then(|| {
                    Work::Write(partition.directory.clone(), *base, builder.encode(), size)
                })
            }
        }
    })?
}

//! Writes the sidecars of active segments from time to time, so that a start after a crash scans little of them. On the
//! shard's core, after a checkpoint.
//!
//! Invariant: a sidecar never covers more than its segment holds durably: what is indexed was written, and the checkpoint
//! before this flushed it or the journal still names it. The sidecar itself is not flushed: one that a power cut tore is
//! rebuilt.

use std::rc::Rc;

use super::batch::LENGTH_OVERHEAD;
use super::index::SegmentIndex;
use super::segment_indexes::{ActiveIndex, index_of, sidecar_path};
use super::storage_shard::{Partition, Shard};
use crate::types::{Offset, PartitionId};

/// Bytes of a shard's active segments that no sidecar covers, after a refresh. A start scans no more than that, what is
/// journaled, and what [`BYTES_PER_SIDECAR_BYTE`] lets be.
const UNCOVERED_BYTES_MAX: u64 = 128 << 20;
/// A segment that grew by less than this many times its sidecar's length keeps the one it has.
const BYTES_PER_SIDECAR_BYTE: u32 = 8;
/// So much at least has to be gained by writing one.
const GROWTH_BYTES_MIN: u32 = 64 << 10;
/// An index that is to be caught up by a scan holds back at most about so many batches.
const PUSHED_MAX: usize = 4096;

/// Bytes of a partition's active segment that no sidecar covers.
struct Uncovered {
    bytes: u32,
    id: PartitionId,
    worth_it: bool,
    /// Too many batches are held back in memory for it.
    overdue: bool,
}

/// Writes sidecars, the one that covers most first, until little enough is uncovered.
pub(crate) async fn refresh(shard: &Shard) {
    let mut found: Vec<Uncovered> = {
        let partitions = shard.partitions.borrow();
        let open = partitions
            .iter()
            .filter(|(_, partition)| !partition.closing);
        open.map(|(id, partition)| uncovered(*id, partition))
            .collect()
    };
    let mut rest: u64 = found.iter().map(|one| u64::from(one.bytes)).sum();
    found.retain(|one| one.worth_it || one.overdue);
    found.sort_by_key(|one| std::cmp::Reverse((one.overdue, one.bytes, one.id)));
    for one in found {
        if (rest <= UNCOVERED_BYTES_MAX && !one.overdue) || shard.stopping.get() {
            return;
        }
        rest -= u64::from(one.bytes);
        write(shard, one.id).await;
    }
}

fn uncovered(id: PartitionId, partition: &Partition) -> Uncovered {
    let (base, index) = &partition.index;
    let overdue = matches!(index, ActiveIndex::Behind { pushed, .. } if pushed.len() >= PUSHED_MAX);
    let (bytes, sidecar_bytes) = match index {
        // What was there before the start is covered as well as it was then.
        ActiveIndex::Behind { pushed, .. } => {
            let sizes = pushed
                .iter()
                .map(|(_, header)| header.batch_length as u32 + LENGTH_OVERHEAD as u32);
            (sizes.sum(), 0)
        }
        ActiveIndex::Ready(index) => match &*index.borrow() {
            SegmentIndex::Loaded(_) => (0, 0),
            SegmentIndex::Building(builder) => {
                let covered = if partition.sidecar.0 == *base {
                    partition.sidecar.1
                } else {
                    0
                };
                let bytes = builder.info().size.saturating_sub(covered);
                (bytes, builder.encoded_bytes() as u32)
            }
        },
    };
    let worth_it =
        bytes >= GROWTH_BYTES_MIN.max(sidecar_bytes.saturating_mul(BYTES_PER_SIDECAR_BYTE));
    Uncovered {
        bytes,
        id,
        worth_it,
        overdue,
    }
}

async fn write(shard: &Shard, id: PartitionId) {
    let behind = shard.with_partition(id, |partition| match &partition.index {
        (base, ActiveIndex::Behind { .. }) => Some(*base),
        _ => None,
    });
    if let Some(Some(base)) = behind
        && let Err(error) = index_of(shard, id, base).await
    {
        return tracing::warn!(segment = base.0, %error, "an index could not be caught up");
    }
    let Some(Some((directory, base, sidecar, size))) = shard.with_partition(id, encode) else {
        return;
    };
    let path = sidecar_path(&directory, base);
    // ENOSPC on a sidecar fails nothing (C12c).
    match shard.disk.replace_small(&path, &sidecar).await {
        Ok(()) => {
            // Gone in the meantime: then there is nothing to note.
            let _noted = shard.with_partition(id, |partition| partition.sidecar_covers(base, size));
        }
        Err(error) => {
            tracing::warn!(directory = &*directory, segment = base.0, %error, "no sidecar");
        }
    }
}

fn encode(partition: &mut Partition) -> Option<(Rc<str>, Offset, Vec<u8>, u32)> {
    let (base, index) = &partition.index;
    let ActiveIndex::Ready(index) = index else {
        return None;
    };
    let index = index.borrow();
    let SegmentIndex::Building(builder) = &*index else {
        return None;
    };
    let size = builder.info().size;
    Some((partition.directory.clone(), *base, builder.encode(), size))
}

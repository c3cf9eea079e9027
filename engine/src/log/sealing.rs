//! Finishes a segment that takes no more batches: its exact length, its sidecar, Kafka's index files. On the shard's
//! core, one task per segment.
//!
//! Invariant: nothing here is needed for correctness, so nothing here fails anything: ENOSPC on a sidecar never fails a
//! roll (C12c), and what is missing is rebuilt. Nor is anything flushed here: the next checkpoint's flush takes it along.
//! And nothing is shortened after the journal failed: a group that was under way then may still be found by the next
//! start, and the batches that only the segment has are then taken back into the log.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::index::SegmentIndex;
use super::kafka_files::{
    encode_offset_index, encode_time_index, encode_transaction_index, kafka_indexes,
};
use super::segment::{SegmentInfo, segment_file_name};
use super::segment_indexes::{index_of, sidecar_path};
use super::storage_shard::Shard;
use super::transactions::AbortedTransaction;
use crate::types::{Offset, PartitionId};

/// Finishes the segment in the background.
pub(crate) fn start(shard: &Rc<Shard>, id: PartitionId, directory: Rc<str>, base: Offset) {
    // A swap writes everything beside the cleaned segment itself.
    let begun = shard.with_partition(id, |partition| {
        !partition.log.is_swapping(base) && partition.sealing.insert(base)
    });
    if begun != Some(true) {
        return;
    }
    let task = shard.clone();
    shard.tasks.set(shard.tasks.get() + 1);
    shard.runtime.spawn(async move {
        if let Err(error) = seal(&task, id, &directory, base).await {
            tracing::warn!(directory = &*directory, segment = base.0, %error, "the files beside a segment were not written");
        }
        task.with_partition(id, |partition| partition.sealing.remove(&base));
        task.task_ended();
    });
}

/// Everything beside a segment whose bytes are all written, and its exact length.
pub(crate) async fn seal(
    shard: &Shard,
    id: PartitionId,
    directory: &str,
    base: Offset,
) -> io::Result<()> {
    let found = shard.with_partition(id, |partition| {
        // What was planned counts no more, so the segment's size does not either.
        if shard.journal.poison().is_some() {
            return None;
        }
        let segments = partition.log.segments().as_slice();
        let index = segments.iter().position(|info| info.base_offset == base)?;
        let next = segments
            .get(index + 1)
            .map_or(partition.log.offsets().log_end(), |next| next.base_offset);
        let aborted: Vec<AbortedTransaction> = partition
            .log
            .aborted()
            .of_segment(base, next)
            .copied()
            .collect();
        Some((segments[index], aborted))
    });
    let Some((info, aborted)) = found.flatten() else {
        return Ok(());
    };
    let file = shard
        .files
        .writable_or_new(&shard.disk, id, directory, base)
        .await?;
    file.truncate(u64::from(info.size)).await?;
    shard.files.forget(id, base);
    let index = index_of(shard, id, base).await?;
    write_beside(shard, directory, &info, &index, &aborted).await
}

async fn write_beside(
    shard: &Shard,
    directory: &str,
    info: &SegmentInfo,
    index: &RefCell<SegmentIndex>,
    aborted: &[AbortedTransaction],
) -> io::Result<()> {
    let base = info.base_offset;
    let (sidecar, offsets, times) = {
        let index = index.borrow();
        let (offsets, times) = kafka_indexes(&index);
        let sidecar = match &*index {
            SegmentIndex::Building(builder) => Some(builder.encode()),
            SegmentIndex::Loaded(_) => None,
        };
        (sidecar, offsets, times)
    };
    if let Some(sidecar) = sidecar {
        shard
            .disk
            .replace_small(&sidecar_path(directory, base), &sidecar)
            .await?;
    }
    let path = |extension| format!("{directory}/{}", segment_file_name(base, extension));
    shard
        .disk
        .replace_small(&path("index"), &encode_offset_index(base, &offsets))
        .await?;
    shard
        .disk
        .replace_small(&path("timeindex"), &encode_time_index(base, &times))
        .await?;
    if !aborted.is_empty() {
        shard
            .disk
            .replace_small(&path("txnindex"), &encode_transaction_index(aborted))
            .await?;
    }
    Ok(())
}

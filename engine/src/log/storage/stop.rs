//! A shard stops: what it leaves, and how it gets there. On the shard's core.
//!
//! Invariant: everything that was taken in is written behind before the last checkpoints are taken, and both of these
//! are, so that none names a live journal entry (C12b).

use std::cell::Cell;
use std::rc::Rc;

use super::{Storage, StorageError};
use crate::log::compaction::{cleaner, swap};
use crate::log::journal::commit::join_all;
use crate::log::offsets::LogOffsets;
use crate::log::storage_shard::Shard;
use crate::log::{directories, sealing};
use crate::types::{Offset, PartitionId};

/// Partitions whose directories a stop finishes side by side.
const FINISHED_TOGETHER: usize = 32;

/// A partition as a stopped shard leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoppedPartition {
    /// Which partition.
    pub id: PartitionId,
    /// Where it starts and ends.
    pub offsets: LogOffsets,
    /// Up to where it was cleaned, if it ever was.
    pub first_dirty: Option<Offset>,
}

/// What a stopped shard leaves: for Kafka's checkpoint files of the whole node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedShard {
    /// Its partitions.
    pub partitions: Vec<StoppedPartition>,
    /// Whether every directory has its exact lengths and Kafka's files (C12b).
    pub complete: bool,
}

/// See [`super::Storage::stop`].
pub(super) async fn stop(storage: &Storage) -> Result<StoppedShard, StorageError> {
    let shard = &storage.shard;
    shard.stopping.set(true);
    shard.stop.notify_all();
    wait_until(shard, || {
        let waiting = shard
            .partitions
            .borrow()
            .values()
            .any(|partition| partition.admitting || partition.direct_run);
        !waiting || shard.journal.poison().is_some()
    })
    .await;
    shard.journal.stop();
    shard.write_up_to.set(u64::MAX);
    shard.write_work.notify_one();
    wait_until(shard, || {
        shard.write_work.notify_one();
        let quiet = shard.journal.is_stopped()
            && shard.writes_in_flight.get() == 0
            && shard.tasks.get() == 0;
        let empty = shard.unwritten.borrow().is_empty() || shard.journal.poison().is_some();
        quiet && empty && storage.checkpointer.borrow().is_some()
    })
    .await;
    if let Some(cause) = shard.journal.poison() {
        return Err(StorageError::Poisoned(cause.to_string()));
    }
    let complete = finish_segments(shard).await;
    let checkpointer = storage.checkpointer.borrow_mut().take();
    let mut checkpointer = checkpointer.expect("the checkpoint loop has ended");
    for _ in 0..2 {
        checkpointer
            .take(shard)
            .await
            .map_err(StorageError::during("the last checkpoint"))?;
    }
    shard.readers.forget_all();
    shard.files.forget_all();
    swap::forget_record(shard)
        .await
        .map_err(StorageError::during("taking swaps off the record"))?;
    cleaner::write_offsets(shard).await;
    let partitions = shard.partitions.borrow();
    let cleaner = shard.cleaner.borrow();
    let stopped = partitions.iter().map(|(id, partition)| StoppedPartition {
        id: *id,
        offsets: *partition.log.offsets(),
        first_dirty: cleaner.first_dirty.get(id).copied(),
    });
    Ok(StoppedShard {
        partitions: stopped.collect(),
        complete,
    })
}

async fn finish_segments(shard: &Shard) -> bool {
    let active: Vec<(PartitionId, Rc<str>, Offset)> = shard
        .partitions
        .borrow()
        .iter()
        .map(|(id, partition)| {
            (
                *id,
                partition.directory.clone(),
                partition.log.segments().active().base_offset,
            )
        })
        .collect();
    let clean = Cell::new(true);
    for together in active.chunks(FINISHED_TOGETHER) {
        let finishing = together.iter().map(async |(id, directory, base)| {
            let sealed = sealing::seal(shard, *id, directory, *base).await;
            let beside = directories::write_kafka_state(shard, *id).await;
            if let Err(error) = sealed.and(beside) {
                tracing::warn!(directory = &**directory, %error, "a partition's directory was not finished");
                clean.set(false);
            }
            Ok(())
        });
        // Each notes its own error.
        let _all_ended = join_all(finishing.collect()).await;
    }
    clean.get()
}

async fn wait_until(shard: &Shard, holds: impl Fn() -> bool) {
    while !holds() {
        let progress = shard.written.notified();
        if holds() {
            return;
        }
        let _ = shard
            .runtime
            .timeout(std::time::Duration::from_millis(20), progress)
            .await;
    }
}

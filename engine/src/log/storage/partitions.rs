//! Partitions come and go: made new, restored at the start, deleted. On the shard's core.
//!
//! Invariant: a partition's directory is durable before the shard has it, and leaves the disk only after its appends,
//! writes, removals and swaps have ended, or the journal has failed.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tuning::TopicConfig;

use super::{StorageError, log_config};
use crate::log::directories;
use crate::log::partition_log::PartitionLog;
use crate::log::producer_state::ProducerCount;
use crate::log::recovery::RecoveredPartition;
use crate::log::segment_indexes::ActiveIndex;
use crate::log::storage_shard::{Partition, Shard};
use crate::log::watch::Watchers;
use crate::log::write_behind::Writer;
use crate::types::{LeaderEpoch, Offset, PartitionId};

/// Space for a partition's directory, its `partition.metadata`, and its share of the checkpoints.
const PARTITION_BYTES: u64 = 16 << 10;

/// See [`super::Storage::check_room_for_partitions`].
pub(super) async fn check_room(shard: &Shard, count: usize) -> Result<(), StorageError> {
    let what = "making partitions";
    let free = shard.disk.free_bytes().await;
    let free = free.map_err(StorageError::during(what))?;
    let needed = (count as u64).saturating_mul(PARTITION_BYTES);
    if free < needed.saturating_add(shard.settings.reserve_bytes) {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        return Err(StorageError::io(what, full));
    }
    Ok(())
}

/// See [`super::Storage::create_partition`].
pub(super) async fn create(
    shard: &Shard,
    id: PartitionId,
    directory: &str,
    leader_epoch: LeaderEpoch,
    config: Arc<TopicConfig>,
) -> Result<(), StorageError> {
    directories::create(&shard.runtime, &shard.disk, id, directory)
        .await
        .map_err(StorageError::during(format!(
            "making the directory {directory}"
        )))?;
    let now_ms = shard.runtime.wall_clock_ms();
    let log = PartitionLog::create(
        id,
        directory,
        leader_epoch,
        log_config(&config),
        shard.producers.clone(),
        now_ms,
    );
    shard
        .partitions
        .borrow_mut()
        .insert(id, new_partition(log, now_ms));
    Ok(())
}

/// See [`super::Storage::delete_partition`].
pub(super) async fn delete(shard: &Rc<Shard>, id: PartitionId) -> Result<(), StorageError> {
    let found = shard.with_partition(id, |partition| {
        partition.closing = true;
        partition.watchers.fire();
        partition.directory.clone()
    });
    let Some(directory) = found else {
        return Ok(());
    };
    loop {
        let progress = shard.written.notified();
        let quiet = shard.with_partition(id, |partition| {
            partition.writer.hurry(Offset(i64::MAX));
            if partition.writer.is_ready() {
                shard.write_ready.borrow_mut().push_back(id);
            }
            let still = partition.writer.is_idle() && !partition.log.has_pending();
            let still = still && !partition.direct_run && !partition.admitting;
            still && partition.removals == 0 && !partition.log.has_swap()
        });
        if quiet != Some(false) || shard.journal.poison().is_some() {
            break;
        }
        shard.write_work.notify_one();
        let _ = shard
            .runtime
            .timeout(std::time::Duration::from_millis(20), progress)
            .await;
    }
    shard.partitions.borrow_mut().remove(&id);
    shard.cache.borrow_mut().remove(id);
    shard.files.forget_partition(id);
    shard.indexes.forget_partition(id);
    shard.readers.forget_partition(id);
    shard
        .unwritten
        .borrow_mut()
        .retain(|(_, other)| *other != id);
    let gone = directories::rename_for_deletion(&shard.runtime, &shard.disk, &directory)
        .await
        .map_err(StorageError::during(format!(
            "renaming {directory} for deletion"
        )))?;
    if let Some(gone) = gone {
        directories::remove(shard, gone);
    }
    Ok(())
}

pub(super) fn restore(
    recovered: RecoveredPartition,
    leader_epoch: LeaderEpoch,
    config: &TopicConfig,
    producers: &ProducerCount,
) -> Result<Partition, StorageError> {
    let directory = recovered.checkpoint.directory.clone();
    let mut log =
        PartitionLog::restore(recovered.checkpoint, log_config(config), producers.clone())
            .map_err(|problem| {
                StorageError::Damaged(format!("the recovered state of {directory}: {problem}"))
            })?;
    log.become_leader(leader_epoch.max(log.leader_epoch()));
    Ok(old_partition(log))
}

fn new_partition(log: PartitionLog, now_ms: i64) -> Partition {
    let base = log.segments().active().base_offset;
    partition(log, (base, ActiveIndex::of_new_segment(base, now_ms)))
}

fn old_partition(log: PartitionLog) -> Partition {
    let active = *log.segments().active();
    let index = match active.size {
        0 => ActiveIndex::of_new_segment(active.base_offset, active.created_ms),
        size => ActiveIndex::of_old_segment(size, log.offsets().log_end()),
    };
    partition(log, (active.base_offset, index))
}

fn partition(log: PartitionLog, index: (Offset, ActiveIndex)) -> Partition {
    let writer = Writer::new(
        log.segments().active().base_offset,
        log.segments().end_position(),
        log.offsets().log_end(),
    );
    // Both start checkpoints hold what was recovered.
    let checkpointed = [log.offsets().log_end(); 2];
    Partition {
        directory: Rc::from(log.directory()),
        log,
        sidecar: (index.0, 0),
        index,
        waiting: Default::default(),
        admitting: false,
        writer,
        direct_run: false,
        held: Vec::new(),
        duplicates: Default::default(),
        watchers: Watchers::default(),
        sealing: Default::default(),
        swaps: 0,
        renaming: false,
        checkpointed,
        removals: 0,
        closing: false,
    }
}

//! A shard starts with the partitions that recovery hands to it, and its loops. On the shard's core.
//!
//! Invariant: the journal's files and both checkpoints are open before the first append can be admitted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use net::platform::Runtime;
use net::platform::sync::{Mutex, Notify};
use tuning::TopicConfig;

use super::partitions::restore;
use super::{Storage, StorageError, StorageSettings};
use crate::log::cache::TailCache;
use crate::log::checkpointer::{self, Checkpointer};
use crate::log::compaction::cleaner;
use crate::log::directories;
use crate::log::file_removal::Removed;
use crate::log::journal::commit::{Journal, JournalSettings};
use crate::log::journal::files::{JournalFiles, open_journal_files};
use crate::log::journal::format::Generation;
use crate::log::producer_state::ProducerCount;
use crate::log::recovery::RecoveredPartition;
use crate::log::segment_files::SegmentFiles;
use crate::log::segment_indexes::LoadedIndexes;
use crate::log::segment_reader::SegmentReaders;
use crate::log::storage_shard::{Owner, Shard};
use crate::log::{upkeep, write_behind};
use crate::platform::Disk;
use crate::types::{LeaderEpoch, ShardId};

/// See [`super::Storage::start`].
pub(super) async fn start(
    runtime: &Runtime,
    disk: &Disk,
    shard: ShardId,
    generation: Generation,
    settings: StorageSettings,
    partitions: Vec<(RecoveredPartition, LeaderEpoch, Arc<TopicConfig>)>,
) -> Result<Storage, StorageError> {
    let journal_settings = JournalSettings {
        file_bytes: settings.journal_file_bytes,
        group_bytes_max: settings.group_bytes_max(),
        flush: settings.flushes(),
    };
    let files = open_journal_files(
        disk,
        shard,
        settings.journal_file_bytes,
        journal_settings.open_mode(),
    )
    .await
    .map_err(StorageError::during(format!(
        "opening the journal of shard {shard}"
    )))?;
    let checkpointer = Checkpointer::open(disk, shard)
        .await
        .map_err(StorageError::during(format!(
            "opening the checkpoints of shard {shard}"
        )))?;
    let files = JournalFiles::new(files, settings.journal_files_max);
    let journal = Journal::new(
        runtime.clone(),
        disk.clone(),
        shard,
        generation,
        journal_settings,
        files,
    );
    journal
        .prepare()
        .await
        .map_err(StorageError::during(format!(
            "making a journal file of shard {shard}"
        )))?;
    let producers = ProducerCount::new(settings.producers_max);
    let mut owned = BTreeMap::new();
    for (recovered, leader_epoch, config) in partitions {
        let id = recovered.checkpoint.id;
        let mut partition = restore(recovered, leader_epoch, &config, &producers)?;
        partition.log.resume_producers(runtime.wall_clock_ms());
        owned.insert(id, partition);
    }
    let shard = Rc::new(Shard {
        runtime: runtime.clone(),
        disk: disk.clone(),
        id: shard,
        journal,
        files: SegmentFiles::new(settings.segment_files_max, settings.reserve_bytes),
        indexes: LoadedIndexes::default(),
        readers: SegmentReaders::default(),
        partitions: RefCell::new(owned),
        cache: RefCell::new(TailCache::new(settings.cache_bytes)),
        producers,
        producer_expiration_ms: Cell::new(settings.producer_expiration_ms),
        cleaner_settings: Cell::new(settings.cleaner),
        settings,
        dirty_bytes: Cell::new(0),
        written: Notify::new(),
        write_work: Notify::new(),
        unwritten: RefCell::default(),
        write_ready: RefCell::default(),
        writes_in_flight: Cell::new(0),
        write_up_to: Cell::new(0),
        written_since_checkpoint: Cell::new(0),
        checkpoint_work: Notify::new(),
        checkpointed_group: Cell::new(0),
        segments_version: Cell::new(0),
        segments_checkpointed: Cell::new(0),
        no_space: Cell::default(),
        removed: Mutex::new(Removed::default()),
        cleaner: RefCell::default(),
        retention_clock: Cell::new(None),
        stopping: Cell::new(false),
        stop: Notify::new(),
        tasks: Cell::new(0),
        counters: Cell::default(),
    });
    let storage = Storage {
        shard,
        checkpointer: Rc::default(),
    };
    spawn_loops(&storage, checkpointer);
    Ok(storage)
}

fn spawn_loops(storage: &Storage, checkpointer: Checkpointer) {
    let runtime = storage.shard.runtime.clone();
    let shard = storage.shard.clone();
    runtime.spawn(async move {
        shard.journal.run(&Owner(shard.clone())).await;
        shard.write_work.notify_one();
        shard.checkpoint_work.notify_one();
    });
    let shard = storage.shard.clone();
    shard.tasks.set(shard.tasks.get() + 1);
    runtime.spawn(async move {
        shard.journal.grow_ahead().await;
        shard.task_ended();
    });
    let shard = storage.shard.clone();
    runtime.spawn(async move { write_behind::run(&shard).await });
    let shard = storage.shard.clone();
    if shard.id == ShardId(0) {
        shard.tasks.set(shard.tasks.get() + 1);
        runtime.spawn(async move {
            directories::remove_leftovers(&shard).await;
            shard.task_ended();
        });
    }
    let shard = storage.shard.clone();
    shard.tasks.set(shard.tasks.get() + 1);
    runtime.spawn(async move { upkeep::run(&shard).await });
    let shard = storage.shard.clone();
    shard.tasks.set(shard.tasks.get() + 1);
    runtime.spawn(async move { cleaner::run(&shard).await });
    let (shard, slot) = (storage.shard.clone(), storage.checkpointer.clone());
    runtime.spawn(async move {
        let checkpointer = checkpointer::run(&shard, checkpointer).await;
        *slot.borrow_mut() = Some(checkpointer);
        shard.written.notify_all();
    });
}

//! The storage of one shard as the rest of the broker sees it: [`Storage`]. A thin front: decisions are in
//! `PartitionLog`, loops in the modules named by `storage_shard`. On the shard's core.
//!
//! Invariant: nothing is acknowledged, and nothing is readable, before it is durable.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use net::platform::Runtime;
use net::platform::sync::{Notify, oneshot};
use tuning::{BrokerConfig, Durability, TopicConfig};

use super::admission;
use super::append::{AppendRequest, Appended};
use super::cache::TailCache;
use super::checkpointer::{self, Checkpointer};
use super::compaction::{CleanerNumbers, CleanerSettings, cleaner, swap};
use super::config::LogConfig;
use super::directories;
use super::error::{AppendError, ReadError};
use super::journal::commit::{Journal, JournalSettings, Pending, Ticket, join_all};
use super::journal::files::{JournalFiles, open_journal_files};
use super::journal::format::{EntryHeader, EntryKind, Generation};
use super::journal::group::{Entry, Payload};
use super::offsets::LogOffsets;
use super::partition_log::PartitionLog;
use super::producer_state::{ProducerCount, ProducerEntry};
use super::read::{FoundOffset, OffsetQuery, ReadPlan, ReadRequest, ReadResult};
use super::recovery::RecoveredPartition;
use super::segment_files::SegmentFiles;
use super::segment_indexes::{ActiveIndex, LoadedIndexes};
use super::storage_shard::{Owner, Partition, Shard};
use super::watch::{Watch, Watchers};
use super::write_behind::{self, Writer};
use super::{sealing, storage_read, upkeep};
use crate::platform::{Disk, Space};
use crate::types::{LeaderEpoch, Offset, PartitionId, ProducerId, ShardId};

/// What storage is told by the node's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageSettings {
    /// Length of a journal file (`journal.file.bytes`).
    pub journal_file_bytes: u64,
    /// Most journal files per shard.
    pub journal_files_max: usize,
    /// Bytes that may be journaled and not yet in segments (`journal.dirty.bytes.max`).
    pub journal_dirty_bytes_max: u64,
    /// Bytes of recent batches kept in memory beyond those.
    pub cache_bytes: usize,
    /// When an append is acknowledged.
    pub durability: Durability,
    /// With at least this many bytes for one partition in a group, they go straight to the segment.
    pub direct_run_bytes_min: usize,
    /// Longest time between checkpoints while something is appended.
    pub checkpoint_interval_ms: u64,
    /// Time between looks at what retention takes.
    pub retention_check_ms: u64,
    /// How long a silent producer is remembered.
    pub producer_expiration_ms: i64,
    /// Producers remembered per shard.
    pub producers_max: usize,
    /// Segment files open at once.
    pub segment_files_max: usize,
    /// How compacted logs are cleaned.
    pub cleaner: CleanerSettings,
    /// Free space that data does not take, so that checkpoints and metadata go on (C12c).
    pub reserve_bytes: u64,
}

impl Default for StorageSettings {
    fn default() -> Self {
        StorageSettings {
            journal_file_bytes: 64 << 20,
            journal_files_max: 10,
            journal_dirty_bytes_max: 256 << 20,
            cache_bytes: 64 << 20,
            durability: Durability::Flush,
            direct_run_bytes_min: 256 << 10,
            checkpoint_interval_ms: 30_000,
            retention_check_ms: 300_000,
            producer_expiration_ms: 24 * 3600 * 1000,
            producers_max: 100_000,
            segment_files_max: 512,
            cleaner: CleanerSettings::default(),
            reserve_bytes: 8 << 20,
        }
    }
}

impl StorageSettings {
    /// What a node's configuration says.
    pub fn from_broker(config: &BrokerConfig) -> StorageSettings {
        StorageSettings {
            journal_file_bytes: config.journal_file_bytes(),
            journal_dirty_bytes_max: config.journal_dirty_bytes_max(),
            durability: config.durability(),
            cache_bytes: usize::try_from(config.cache_bytes()).unwrap_or(usize::MAX),
            direct_run_bytes_min: usize::try_from(config.direct_run_bytes_min())
                .unwrap_or(usize::MAX),
            checkpoint_interval_ms: config.checkpoint_interval_ms(),
            retention_check_ms: u64::try_from(config.log_retention_check_interval_ms())
                .unwrap_or(300_000),
            producer_expiration_ms: i64::from(config.producer_id_expiration_ms()),
            cleaner: CleanerSettings::of_shard(config, 1),
            ..StorageSettings::default()
        }
    }

    /// A group takes about this many bytes at most.
    pub fn group_bytes_max(&self) -> usize {
        (self.journal_file_bytes / 4).min(8 << 20) as usize
    }

    /// So many files in use ask for a checkpoint.
    pub fn journal_files_before_checkpoint(&self) -> usize {
        (self.journal_files_max / 2).max(2)
    }

    /// Whether an acknowledgement waits for a flush.
    pub fn flushes(&self) -> bool {
        self.durability == Durability::Flush
    }
}

/// Storage cannot start or stop as it should.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// An operation of the disk failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// What is on disk cannot be gone on from.
    #[error("{0}")]
    Damaged(String),
    /// The journal had failed.
    #[error("the journal failed: {0}")]
    Poisoned(String),
}

impl StorageError {
    /// A disk error with what was being done.
    pub fn io(what: impl Into<String>, source: io::Error) -> StorageError {
        StorageError::Io {
            what: what.into(),
            source,
        }
    }

    /// The same for `map_err`.
    pub fn during(what: impl Into<String>) -> impl FnOnce(io::Error) -> StorageError {
        move |source| StorageError::Io {
            what: what.into(),
            source,
        }
    }
}

/// Numbers of one shard or of several together, for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the metrics")]
pub struct StorageMetrics {
    pub checkpoints: u64,
    pub journal_groups: u64,
    pub journal_bytes: u64,
    pub journal_recycled_files: u64,
    pub direct_runs: u64,
    pub segment_rolls: u64,
    pub journal_dirty_bytes: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub quarantined_ranges: u64,
    pub partitions: u64,
    pub cleaner: CleanerNumbers,
    /// Shards whose journal failed.
    pub failed_shards: u64,
}

impl StorageMetrics {
    /// Adds another shard's numbers.
    pub fn add(&mut self, other: &StorageMetrics) {
        self.checkpoints += other.checkpoints;
        self.journal_groups += other.journal_groups;
        self.journal_bytes += other.journal_bytes;
        self.journal_recycled_files += other.journal_recycled_files;
        self.direct_runs += other.direct_runs;
        self.segment_rolls += other.segment_rolls;
        self.journal_dirty_bytes += other.journal_dirty_bytes;
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
        self.quarantined_ranges += other.quarantined_ranges;
        self.partitions += other.partitions;
        self.cleaner.add(&other.cleaner);
        self.failed_shards += other.failed_shards;
    }

    /// Whether every shard takes appends.
    pub fn is_ready(&self) -> bool {
        self.failed_shards == 0
    }

    /// Each metric's name, whether it only grows, and its value.
    pub fn for_each(&self, mut put: impl FnMut(&str, bool, u64)) {
        put("tidelog_checkpoints_total", true, self.checkpoints);
        put("tidelog_journal_groups_total", true, self.journal_groups);
        put("tidelog_journal_bytes_total", true, self.journal_bytes);
        put(
            "tidelog_journal_recycled_files_total",
            true,
            self.journal_recycled_files,
        );
        put("tidelog_direct_runs_total", true, self.direct_runs);
        put("tidelog_segment_rolls_total", true, self.segment_rolls);
        put(
            "tidelog_journal_dirty_bytes",
            false,
            self.journal_dirty_bytes,
        );
        put("tidelog_cache_hits_total", true, self.cache_hits);
        put("tidelog_cache_misses_total", true, self.cache_misses);
        put("tidelog_quarantined_ranges", false, self.quarantined_ranges);
        self.cleaner.for_each(&mut put);
        put("tidelog_storage_ready", false, u64::from(self.is_ready()));
    }
}

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

/// Space for a partition's directory, its `partition.metadata`, and its share of the checkpoints.
const PARTITION_BYTES: u64 = 16 << 10;
/// Partitions whose directories a stop finishes side by side.
const FINISHED_TOGETHER: usize = 32;

/// An append under way. Dropping it does not cancel it.
pub struct PendingAppend {
    receiver: oneshot::Receiver<Result<Appended, AppendError>>,
}

impl Future for PendingAppend {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver)
            .poll(context)
            .map(|result| result.unwrap_or(Err(AppendError::Stopping)))
    }
}

/// The storage of one shard. Cheap to clone; never leaves its executor.
#[derive(Clone)]
pub struct Storage {
    shard: Rc<Shard>,
    checkpointer: Rc<RefCell<Option<Checkpointer>>>,
}

impl Storage {
    /// Starts a shard with the partitions it owns, and its loops.
    pub async fn start(
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
            checkpoint_work: Notify::new(),
            checkpointed_group: Cell::new(0),
            segments_version: Cell::new(0),
            segments_checkpointed: Cell::new(0),
            no_space: Cell::default(),
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
        storage.spawn_loops(checkpointer);
        Ok(storage)
    }

    fn spawn_loops(&self, checkpointer: Checkpointer) {
        let runtime = self.shard.runtime.clone();
        let shard = self.shard.clone();
        runtime.spawn(async move {
            shard.journal.run(&Owner(shard.clone())).await;
            shard.write_work.notify_one();
            shard.checkpoint_work.notify_one();
        });
        let shard = self.shard.clone();
        shard.tasks.set(shard.tasks.get() + 1);
        runtime.spawn(async move {
            shard.journal.grow_ahead().await;
            shard.task_ended();
        });
        let shard = self.shard.clone();
        runtime.spawn(async move { write_behind::run(&shard).await });
        let shard = self.shard.clone();
        shard.tasks.set(shard.tasks.get() + 1);
        runtime.spawn(async move { upkeep::run(&shard).await });
        let shard = self.shard.clone();
        shard.tasks.set(shard.tasks.get() + 1);
        runtime.spawn(async move { cleaner::run(&shard).await });
        let (shard, slot) = (self.shard.clone(), self.checkpointer.clone());
        runtime.spawn(async move {
            let checkpointer = checkpointer::run(&shard, checkpointer).await;
            *slot.borrow_mut() = Some(checkpointer);
            shard.written.notify_all();
        });
    }

    /// Whether the disk has room for so many more partitions beyond the reserve, from which the checkpoints grow with
    /// them, at the next start too (C12c): to be asked before the metadata names them.
    pub async fn check_room_for_partitions(&self, count: usize) -> Result<(), StorageError> {
        let what = "making partitions";
        let free = self.shard.disk.free_bytes().await;
        let free = free.map_err(StorageError::during(what))?;
        let needed = (count as u64).saturating_mul(PARTITION_BYTES);
        if free < needed.saturating_add(self.shard.settings.reserve_bytes) {
            let full = io::Error::from_raw_os_error(libc::ENOSPC);
            return Err(StorageError::io(what, full));
        }
        Ok(())
    }

    /// Makes a partition without a record; its directory is durable when this returns.
    pub async fn create_partition(
        &self,
        id: PartitionId,
        directory: &str,
        leader_epoch: LeaderEpoch,
        config: Arc<TopicConfig>,
    ) -> Result<(), StorageError> {
        directories::create(&self.shard.runtime, &self.shard.disk, id, directory)
            .await
            .map_err(StorageError::during(format!(
                "making the directory {directory}"
            )))?;
        let now_ms = self.shard.runtime.wall_clock_ms();
        let log = PartitionLog::create(
            id,
            directory,
            leader_epoch,
            log_config(&config),
            self.shard.producers.clone(),
            now_ms,
        );
        self.shard
            .partitions
            .borrow_mut()
            .insert(id, new_partition(log, now_ms));
        Ok(())
    }

    /// Takes a partition off the shard and its directory off the disk.
    pub async fn delete_partition(&self, id: PartitionId) -> Result<(), StorageError> {
        let shard = &self.shard;
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
            let disk = shard.disk.clone();
            shard
                .runtime
                .spawn(async move { directories::remove(&disk, &gone).await });
        }
        Ok(())
    }

    /// Takes over changed settings of a partition's topic.
    pub fn configure(&self, id: PartitionId, config: Arc<TopicConfig>) {
        self.shard
            .with_partition(id, |partition| partition.log.configure(log_config(&config)));
    }

    /// Changes how long a silent producer is remembered (`producer.id.expiration.ms`).
    pub fn set_producer_expiration(&self, expiration_ms: i64) {
        self.shard.producer_expiration_ms.set(expiration_ms);
    }

    /// Changes how compacted logs are cleaned (`log.cleaner.*`).
    pub fn set_cleaner(&self, settings: CleanerSettings) {
        self.shard.cleaner_settings.set(settings);
    }

    /// Queues the append at once, in call order per partition. Resolves when it is durable.
    pub fn append(&self, id: PartitionId, request: AppendRequest) -> PendingAppend {
        let (waiter, receiver) = admission::channel();
        admission::admit(&self.shard, id, request, waiter);
        PendingAppend { receiver }
    }

    /// Decides now, without I/O, what a fetch gets.
    pub fn plan_read(&self, request: &ReadRequest) -> Result<ReadPlan, ReadError> {
        let cache = self.shard.cache.borrow();
        let planned = self.shard.with_partition(request.id, |partition| {
            partition.log.plan_read(request, &cache)
        });
        planned.unwrap_or(Err(ReadError::UnknownPartition))
    }

    /// Carries out a plan.
    pub async fn execute_read(&self, plan: ReadPlan) -> Result<ReadResult, ReadError> {
        storage_read::execute(&self.shard, plan).await
    }

    /// Resolves once: at durable growth beyond `from`, or when the last stable offset, the log start or the epoch
    /// moved, or the partition is gone or failed. To be called in the same poll as [`Storage::plan_read`].
    pub fn watch(&self, id: PartitionId, from: Offset) -> Watch {
        let watch = self.shard.with_partition(id, |partition| {
            let grown = partition.log.offsets().high_watermark() > from;
            if grown || partition.closing {
                Watch::fired()
            } else {
                partition.watchers.add()
            }
        });
        watch.unwrap_or_else(Watch::fired)
    }

    /// Answers an offset query.
    pub async fn find_offset(
        &self,
        id: PartitionId,
        query: OffsetQuery,
    ) -> Result<FoundOffset, ReadError> {
        super::offset_query::find(&self.shard, id, query).await
    }

    /// Answers OffsetForLeaderEpoch: the largest epoch not above `epoch`, and where it ends.
    pub fn end_offset_of_epoch(
        &self,
        id: PartitionId,
        epoch: LeaderEpoch,
    ) -> Result<(LeaderEpoch, Offset), ReadError> {
        let found = self.shard.with_partition(id, |partition| {
            partition.log.end_offset_of_epoch(epoch, None)
        });
        found.unwrap_or(Err(ReadError::UnknownPartition))
    }

    /// Moves the log start to `before` (−1: the high watermark). The new start is durable when this returns.
    pub async fn delete_records(
        &self,
        id: PartitionId,
        before: Offset,
    ) -> Result<Offset, ReadError> {
        let planned = self
            .shard
            .with_partition(id, |partition| partition.log.plan_delete_records(before));
        let log_start = planned.unwrap_or(Err(ReadError::UnknownPartition))?;
        move_log_start(&self.shard, id, log_start).await?;
        Ok(log_start)
    }

    /// The four offsets.
    pub fn offsets(&self, id: PartitionId) -> Option<LogOffsets> {
        self.shard
            .with_partition(id, |partition| *partition.log.offsets())
    }

    /// Bytes of the partition's segments.
    pub fn partition_bytes(&self, id: PartitionId) -> u64 {
        self.shard
            .with_partition(id, |partition| partition.log.segments().bytes())
            .unwrap_or(0)
    }

    /// What the partition remembers of its producers, by id.
    pub fn producers(&self, id: PartitionId) -> Option<Vec<(ProducerId, ProducerEntry)>> {
        self.shard.with_partition(id, |partition| {
            let producers = partition.log.producers().iter();
            producers.map(|(id, entry)| (id, entry.clone())).collect()
        })
    }

    /// Room on the file system, as it says itself; `None` if it does not.
    pub async fn space(&self) -> Option<Space> {
        self.shard.disk.space().await.ok()
    }

    /// The epoch under which this node leads the partition.
    pub fn leader_epoch(&self, id: PartitionId) -> Option<LeaderEpoch> {
        self.shard
            .with_partition(id, |partition| partition.log.leader_epoch())
    }

    /// Whether appends are taken; false for good once the journal failed.
    pub fn is_writable(&self) -> bool {
        self.shard.journal.poison().is_none()
    }

    /// Why not.
    pub fn failure(&self) -> Option<Rc<str>> {
        self.shard.journal.poison()
    }

    /// Plain numbers.
    pub fn metrics(&self) -> StorageMetrics {
        let counters = self.shard.counters.get();
        let journal = self.shard.journal.counters();
        let partitions = self.shard.partitions.borrow();
        StorageMetrics {
            checkpoints: counters.checkpoints,
            journal_groups: journal.groups,
            journal_bytes: journal.bytes,
            journal_recycled_files: self.shard.journal.recycled_files(),
            direct_runs: counters.direct_runs,
            segment_rolls: counters.segment_rolls,
            journal_dirty_bytes: self.shard.dirty_bytes.get(),
            cache_hits: counters.cache_hits,
            cache_misses: counters.cache_misses,
            quarantined_ranges: partitions
                .values()
                .map(|partition| partition.log.quarantined().len() as u64)
                .sum(),
            partitions: partitions.len() as u64,
            cleaner: self.shard.cleaner.borrow().numbers,
            failed_shards: u64::from(!self.is_writable()),
        }
    }

    /// Finishes everything that was taken in, writes it behind, gives segments their exact length and Kafka's files,
    /// and leaves both checkpoints without a live journal entry.
    pub async fn stop(&self) -> Result<StoppedShard, StorageError> {
        let shard = &self.shard;
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
            quiet && empty && self.checkpointer.borrow().is_some()
        })
        .await;
        if let Some(cause) = shard.journal.poison() {
            return Err(StorageError::Poisoned(cause.to_string()));
        }
        let complete = self.finish_segments().await;
        let checkpointer = self.checkpointer.borrow_mut().take();
        let mut checkpointer = checkpointer.expect("the checkpoint loop has ended");
        for _ in 0..2 {
            checkpointer
                .take(shard)
                .await
                .map_err(StorageError::during("the last checkpoint"))?;
        }
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

    async fn finish_segments(&self) -> bool {
        let shard = &self.shard;
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

/// Journals the new log start and waits until it is durable; the plan is applied with its group.
pub(crate) async fn move_log_start(
    shard: &Rc<Shard>,
    id: PartitionId,
    log_start: Offset,
) -> Result<(), ReadError> {
    let current = shard.with_partition(id, |partition| partition.log.offsets().log_start());
    if current.ok_or(ReadError::UnknownPartition)? >= log_start {
        return Ok(());
    }
    let (waiter, receiver) = oneshot::channel();
    shard.journal.submit(Pending {
        entry: Entry {
            header: log_start_entry(id, log_start),
            payload: Payload::None,
        },
        ticket: Ticket::Control(waiter),
        planned: None,
    });
    match receiver.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ReadError::Storage(error.to_string())),
        Err(_) => Err(ReadError::Storage("the shard stopped".to_owned())),
    }
}

fn log_start_entry(id: PartitionId, log_start: Offset) -> EntryHeader {
    EntryHeader {
        kind: EntryKind::LogStartOffset,
        partition: id,
        leader_epoch: LeaderEpoch(-1),
        base_offset: log_start,
        last_offset: log_start,
        segment_base_offset: log_start,
        file_position: 0,
        length: 0,
        payload_position: 0,
        payload_bytes: 0,
    }
}

fn restore(
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

/// A topic's settings as far as its logs are concerned.
pub fn log_config(config: &TopicConfig) -> LogConfig {
    LogConfig::from(config)
}

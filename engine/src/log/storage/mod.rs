//! The storage of one shard as the rest of the broker sees it: [`Storage`]. A thin front: decisions are in
//! `PartitionLog`, loops in the modules named by `storage_shard`. On the shard's core.
//!
//! Invariant: nothing is acknowledged, and nothing is readable, before it is durable.
//!
//! How that is done when it takes more than a line: `start` and `stop` begin and end the shard, `partitions` makes and deletes
//! partitions, `log_start` moves a log's start; `settings`, `metrics` and `error` are what goes in and comes out.

mod error;
mod log_start;
mod metrics;
mod partitions;
mod settings;
mod start;
mod stop;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use net::platform::Runtime;
use net::platform::sync::oneshot;
use tuning::TopicConfig;

pub use error::StorageError;
pub(crate) use log_start::move_log_start;
pub use metrics::StorageMetrics;
pub use settings::StorageSettings;
pub use stop::{StoppedPartition, StoppedShard};

use super::admission;
use super::append::{AppendRequest, Appended};
use super::checkpointer::Checkpointer;
use super::compaction::CleanerSettings;
use super::config::LogConfig;
use super::error::{AppendError, ReadError};
use super::journal::format::Generation;
use super::offsets::LogOffsets;
use super::producer_state::ProducerEntry;
use super::read::{FoundOffset, OffsetQuery, ReadPlan, ReadRequest, ReadResult};
use super::recovery::RecoveredPartition;
use super::storage_read;
use super::storage_shard::Shard;
use super::watch::Watch;
use crate::platform::{Disk, Space};
use crate::types::{LeaderEpoch, Offset, PartitionId, ProducerId, ShardId};

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
        start::start(runtime, disk, shard, generation, settings, partitions).await
    }

    /// Finishes everything that was taken in, writes it behind, gives segments their exact length and Kafka's files,
    /// and leaves both checkpoints without a live journal entry.
    pub async fn stop(&self) -> Result<StoppedShard, StorageError> {
        stop::stop(self).await
    }

    /// Whether the disk has room for so many more partitions beyond the reserve, from which the checkpoints grow with
    /// them, at the next start too (C12c): to be asked before the metadata names them.
    pub async fn check_room_for_partitions(&self, count: usize) -> Result<(), StorageError> {
        partitions::check_room(&self.shard, count).await
    }

    /// Makes a partition without a record; its directory is durable when this returns.
    pub async fn create_partition(
        &self,
        id: PartitionId,
        directory: &str,
        leader_epoch: LeaderEpoch,
        config: Arc<TopicConfig>,
    ) -> Result<(), StorageError> {
        partitions::create(&self.shard, id, directory, leader_epoch, config).await
    }

    /// Takes a partition off the shard and its directory off the disk.
    pub async fn delete_partition(&self, id: PartitionId) -> Result<(), StorageError> {
        partitions::delete(&self.shard, id).await
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
            segment_read_bytes: counters.segment_read_bytes,
            read_ahead_hits: counters.read_ahead_hits,
            quarantined_ranges: partitions
                .values()
                .map(|partition| partition.log.quarantined().len() as u64)
                .sum(),
            partitions: partitions.len() as u64,
            cleaner: self.shard.cleaner.borrow().numbers,
            failed_shards: u64::from(!self.is_writable()),
        }
    }
}

/// A topic's settings as far as its logs are concerned.
pub fn log_config(config: &TopicConfig) -> LogConfig {
    LogConfig::from(config)
}

//! The state of one shard's storage and what happens when a group is durable: plans are applied, producers answered,
//! readers woken, batches handed to the write-behind. Everything here is synchronous; the loops around it are in
//! `journal::commit`, `admission`, `write_behind`, `direct_run` and `checkpointer`.
//!
//! Invariant: a partition's plans reach the journal in offset order, and each is applied once, in that order. Lives on
//! the shard's core; no borrow crosses an await.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use net::platform::Runtime;
use net::platform::sync::{Mutex, Notify, oneshot};

use super::admission::Waiting;
use super::append::{Appended, PlannedAppend};
use super::cache::TailCache;
use super::compaction::CleanerSettings;
use super::compaction::cleaner::CleanerState;
use super::error::AppendError;
use super::file_removal::Removed;
use super::journal::commit::{Journal, JournalOwner, Pending, Ticket};
use super::journal::format::EntryKind;
use super::journal::group::ChainEnd;
use super::partition_log::PartitionLog;
use super::producer_state::ProducerCount;
use super::retention::RetentionClock;
use super::segment_files::SegmentFiles;
use super::segment_indexes::{ActiveIndex, LoadedIndexes};
use super::segment_reader::SegmentReaders;
use super::storage::StorageSettings;
use super::watch::Watchers;
use super::write_behind::Writer;
use super::{direct_run, segment_removal};
use crate::platform::Disk;
use crate::types::{Offset, PartitionId, ShardId};

/// What producers and the shard itself wait for.
pub(crate) type AppendWaiter = oneshot::Sender<Result<Appended, AppendError>>;

/// A resend that waits for its first copy (RELIABILITY I11).
pub(crate) struct DuplicateWaiter {
    pub(crate) wait_until: Offset,
    pub(crate) appended: Appended,
    pub(crate) waiter: AppendWaiter,
}

/// One partition on its shard.
pub(crate) struct Partition {
    pub(crate) log: PartitionLog,
    pub(crate) directory: Rc<str>,
    /// The active segment's base offset and index.
    pub(crate) index: (Offset, ActiveIndex),
    /// The active segment's base offset, and how many of its bytes a sidecar on disk covers.
    pub(crate) sidecar: (Offset, u32),
    /// Appends not planned yet, in order.
    pub(crate) waiting: VecDeque<Waiting>,
    /// A task works off `waiting`.
    pub(crate) admitting: bool,
    pub(crate) writer: Writer,
    /// A direct run is outstanding: later batches are held (no acknowledged record above a hole).
    pub(crate) direct_run: bool,
    pub(crate) held: Vec<Pending>,
    pub(crate) duplicates: VecDeque<DuplicateWaiter>,
    pub(crate) watchers: Watchers,
    /// Segments whose files beside them are being written.
    pub(crate) sealing: BTreeSet<Offset>,
    /// How often segments were replaced by cleaned ones: an index and a file that were opened under different counts do
    /// not belong together.
    pub(crate) swaps: u64,
    /// A cleaned log is being given an old one's name: which of the two a reader opens nobody can say.
    pub(crate) renaming: bool,
    /// The durable end as each of the two checkpoints has it.
    pub(crate) checkpointed: [Offset; 2],
    /// Removals of segments that still rename files.
    pub(crate) removals: usize,
    /// Being deleted: nothing new starts.
    pub(crate) closing: bool,
}

impl Partition {
    /// A sidecar on disk covers so many bytes of the segment.
    pub(crate) fn sidecar_covers(&mut self, base: Offset, bytes: u32) {
        if self.sidecar.0 < base {
            self.sidecar = (base, bytes);
        } else if self.sidecar.0 == base {
            self.sidecar.1 = self.sidecar.1.max(bytes);
        }
    }

    /// Everything below is in segments and below the cut of both checkpoints: no journal entry that a replay would
    /// look at names a position there.
    pub(crate) fn settled_end(&self) -> Offset {
        let [one, other] = self.checkpointed;
        one.min(other).min(self.writer.written_end())
    }
}

/// Plain counters of a shard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ShardCounters {
    pub(crate) checkpoints: u64,
    pub(crate) direct_runs: u64,
    pub(crate) segment_rolls: u64,
    pub(crate) cache_hits: u64,
    pub(crate) cache_misses: u64,
    /// Bytes that readers, or what is read ahead for them, asked the disk for.
    pub(crate) segment_read_bytes: u64,
    /// Reads that found a chunk which was read, or asked for, before they came.
    pub(crate) read_ahead_hits: u64,
}

/// One shard's storage.
pub(crate) struct Shard {
    pub(crate) runtime: Runtime,
    pub(crate) disk: Disk,
    pub(crate) id: ShardId,
    pub(crate) settings: StorageSettings,
    /// How long a silent producer is remembered; may change while the node runs.
    pub(crate) producer_expiration_ms: Cell<i64>,
    pub(crate) journal: Journal,
    pub(crate) files: SegmentFiles,
    pub(crate) indexes: LoadedIndexes,
    pub(crate) readers: SegmentReaders,
    pub(crate) partitions: RefCell<BTreeMap<PartitionId, Partition>>,
    pub(crate) cache: RefCell<TailCache>,
    pub(crate) producers: ProducerCount,
    /// Bytes planned and not yet in segments.
    pub(crate) dirty_bytes: Cell<u64>,
    /// Dirty bytes shrank, a run was written, a partition became quiet.
    pub(crate) written: Notify,
    /// Something to write behind.
    pub(crate) write_work: Notify,
    /// Partitions with unwritten batches and no write in flight, by the group of the oldest.
    pub(crate) unwritten: RefCell<BTreeSet<(u64, PartitionId)>>,
    /// Partitions whose next run should be written now.
    pub(crate) write_ready: RefCell<VecDeque<PartitionId>>,
    /// Runs being written.
    pub(crate) writes_in_flight: Cell<usize>,
    /// A checkpoint waits for everything up to this group.
    pub(crate) write_up_to: Cell<u64>,
    pub(crate) checkpoint_work: Notify,
    /// Bytes that came into segments since the last checkpoint began.
    pub(crate) written_since_checkpoint: Cell<u64>,
    /// Up to which group both checkpoints go.
    pub(crate) checkpointed_group: Cell<u64>,
    /// Counts the changes of segments that no journal entry says: a checkpoint has to.
    pub(crate) segments_version: Cell<u64>,
    /// Up to which of those both checkpoints go.
    pub(crate) segments_checkpointed: Cell<u64>,
    /// When the log was last told that there is no space, and how many appends were refused for it since.
    pub(crate) no_space: Cell<(Option<Duration>, u64)>,
    /// Held for the time that the removal of a file takes.
    pub(crate) removed: Mutex<Removed>,
    pub(crate) cleaner: RefCell<CleanerState>,
    pub(crate) cleaner_settings: Cell<CleanerSettings>,
    /// What retention knows of the wall clock.
    pub(crate) retention_clock: Cell<Option<RetentionClock>>,
    pub(crate) stopping: Cell<bool>,
    /// The shard stops: nobody sleeps on.
    pub(crate) stop: Notify,
    /// Loops and tasks that end before the shard has stopped.
    pub(crate) tasks: Cell<usize>,
    pub(crate) counters: Cell<ShardCounters>,
}

impl Shard {
    pub(crate) fn count(&self, change: impl FnOnce(&mut ShardCounters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    /// Waits; less long if the shard stops.
    pub(crate) async fn pause(&self, time: Duration) {
        let stop = self.stop.notified();
        if !self.stopping.get() {
            let _ = self.runtime.timeout(time, stop).await;
        }
    }

    /// One of the loops and tasks has ended.
    pub(crate) fn task_ended(&self) {
        self.tasks.set(self.tasks.get() - 1);
        self.written.notify_all();
    }

    pub(crate) fn with_partition<T>(
        &self,
        id: PartitionId,
        work: impl FnOnce(&mut Partition) -> T,
    ) -> Option<T> {
        self.partitions.borrow_mut().get_mut(&id).map(work)
    }

    /// Dirty bytes are gone: written, or failed.
    pub(crate) fn release_dirty(&self, bytes: u64) {
        self.dirty_bytes
            .set(self.dirty_bytes.get().saturating_sub(bytes));
        self.written.notify_all();
    }

    /// Whether `bytes` more may be pinned; one batch always may.
    pub(crate) fn dirty_fits(&self, bytes: u64) -> bool {
        let dirty = self.dirty_bytes.get();
        dirty == 0 || dirty + bytes <= self.settings.journal_dirty_bytes_max
    }

    fn entry_durable(self: &Rc<Self>, partition: &mut Partition, group: u64, pending: Pending) {
        match pending.entry.header.kind {
            EntryKind::Batch | EntryKind::Extent => {
                let planned = pending.planned.expect("a batch was planned");
                self.batch_durable(partition, group, &planned, pending.entry.header.kind);
            }
            EntryKind::LogStartOffset => {
                self.log_start_durable(partition, pending.entry.header.base_offset)
            }
            EntryKind::Truncate | EntryKind::PartitionClosed => {}
        }
        match pending.ticket {
            // A receiver that is gone does not want to know.
            Ticket::Append { appended, waiter } => drop(waiter.send(Ok(appended))),
            Ticket::Control(waiter) => drop(waiter.send(Ok(()))),
            Ticket::None => {}
        }
    }

    fn batch_durable(
        &self,
        partition: &mut Partition,
        group: u64,
        planned: &Rc<PlannedAppend>,
        kind: EntryKind,
    ) {
        if !crate::planted::is(crate::planted::Bug::HighWatermarkAhead) {
            let applied = partition.log.apply_append(planned.base_offset);
            let hole = crate::planted::is(crate::planted::Bug::AckAboveHole);
            assert!(
                applied.batches > 0 || hole,
                "groups become durable in the order of plans"
            );
        }
        if kind == EntryKind::Batch {
            let id = partition.log.id();
            if let Some(oldest) = partition.writer.push(planned.clone(), group) {
                self.unwritten.borrow_mut().insert((oldest, id));
            }
            if partition.writer.is_ready() {
                self.write_ready.borrow_mut().push_back(id);
                self.write_work.notify_one();
            }
        }
        self.partition_moved(partition);
    }

    /// Whether the partition's batches below `end` came into their segments; not if it was deleted or the journal
    /// failed.
    pub(crate) async fn wait_until_written(&self, id: PartitionId, end: Offset) -> bool {
        loop {
            let progress = self.written.notified();
            match self.with_partition(id, |partition| partition.writer.written_end() >= end) {
                None => return false,
                Some(true) => return true,
                Some(false) if self.journal.poison().is_some() => return false,
                Some(false) => progress.await,
            }
        }
    }

    fn log_start_durable(self: &Rc<Self>, partition: &mut Partition, log_start: Offset) {
        let removed = partition.log.apply_log_start(log_start);
        partition.watchers.fire();
        segment_removal::start(self, partition, removed);
    }

    /// The high watermark or the last stable offset moved: whoever waits for that is told.
    pub(crate) fn partition_moved(&self, partition: &mut Partition) {
        partition.watchers.fire();
        let durable_end = partition.log.offsets().high_watermark();
        while let Some(first) = partition.duplicates.front()
            && first.wait_until <= durable_end
        {
            let duplicate = partition.duplicates.pop_front().expect("it is there");
            drop(duplicate.waiter.send(Ok(duplicate.appended)));
        }
    }

    /// Everything of the partition that is planned and not durable has failed.
    pub(crate) fn fail_partition(&self, partition: &mut Partition, error: &AppendError) {
        partition.log.fail_pending();
        let end = partition.log.offsets().high_watermark();
        self.cache.borrow_mut().truncate(partition.log.id(), end);
        for pending in std::mem::take(&mut partition.held) {
            self.fail_entry(pending, error);
        }
        for waiting in std::mem::take(&mut partition.waiting) {
            drop(waiting.waiter.send(Err(error.clone())));
        }
        for duplicate in std::mem::take(&mut partition.duplicates) {
            drop(duplicate.waiter.send(Err(error.clone())));
        }
        partition.watchers.fire();
    }

    /// Entries that never come into the journal.
    pub(crate) fn fail_entries(&self, entries: Vec<Pending>, error: &AppendError) {
        for pending in entries {
            self.fail_entry(pending, error);
        }
    }

    /// The same for batches whose dirty bytes are accounted for by the write-behind.
    pub(crate) fn fail_written(&self, entries: Vec<Pending>, error: &AppendError) {
        for mut pending in entries {
            pending.planned = None;
            self.fail_entry(pending, error);
        }
    }

    fn fail_entry(&self, pending: Pending, error: &AppendError) {
        if let Some(planned) = &pending.planned {
            self.release_dirty(u64::from(planned.size));
        }
        match pending.ticket {
            Ticket::Append { waiter, .. } => drop(waiter.send(Err(error.clone()))),
            Ticket::Control(waiter) => drop(waiter.send(Err(error.clone()))),
            Ticket::None => {}
        }
    }
}

/// The journal's view of its shard.
pub(crate) struct Owner(pub(crate) Rc<Shard>);

impl JournalOwner for Owner {
    fn take_group(&self, queue: &mut VecDeque<Pending>, bytes_max: usize) -> Vec<Pending> {
        direct_run::take_group(&self.0, queue, bytes_max)
    }

    fn group_durable(&self, end: ChainEnd, entries: Vec<Pending>) {
        let mut partitions = self.0.partitions.borrow_mut();
        for pending in entries {
            match partitions.get_mut(&pending.entry.header.partition) {
                Some(partition) => self.0.entry_durable(partition, end.group_number, pending),
                None => self.0.fail_entry(pending, &AppendError::UnknownPartition),
            }
        }
        drop(partitions);
        if self.0.dirty_bytes.get() > self.0.settings.journal_dirty_bytes_max / 2 {
            self.0.write_work.notify_one();
        }
        if self.0.journal.live_files() >= self.0.settings.journal_files_before_checkpoint() {
            self.0.checkpoint_work.notify_one();
        }
    }

    fn group_failed(&self, cause: &str, entries: Vec<Pending>) {
        let error = AppendError::Poisoned(cause.to_owned());
        for pending in entries {
            self.0.fail_entry(pending, &error);
        }
        for partition in self.0.partitions.borrow_mut().values_mut() {
            self.0.fail_partition(partition, &error);
        }
        self.0.written.notify_all();
    }

    fn checkpoint_wanted(&self) {
        self.0.checkpoint_work.notify_one();
    }
}

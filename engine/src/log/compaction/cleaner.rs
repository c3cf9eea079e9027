//! Looks at the shard's compacted partitions again and again, and cleans those that need it, the dirtiest first. On
//! the shard's core, one task per shard.
//!
//! Invariants: a partition is cleaned only below the cut of both checkpoints; after a round nothing is left on record
//! that the checkpoints do not say; and the cleaner gives way: every slice of work ends in a sleep, however short,
//! so that the executor looks at its connections and its disk in between.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tuning::BrokerConfig;

use super::cleaned_offsets::{self, CleanedOffsets};
use super::cleaning::{self, Outcome};
use super::plan::{Cleanable, LogFacts, is_overdue_for_roll, plan_cleaning};
use super::swap;
use super::swap_record::{SWAPS_MAX, Swap};
use super::throttle::Throttle;
use crate::log::storage_shard::{Partition, Shard};
use crate::platform::BLOCK_BYTES;
use crate::types::{Offset, PartitionId};

/// Partitions looked at before others run.
const PARTITIONS_AT_ONCE: usize = 64;
/// Bytes worked on before others run …
const SLICE_BYTES: usize = 64 << 10;
/// … and for how long they may.
const SLICE_REST: Duration = Duration::from_micros(100);
/// Smaller and larger chunks are not read or written.
const CHUNK_BYTES_MIN: usize = 16 << 10;
const CHUNK_BYTES_MAX: usize = 4 << 20;
/// The shortest pause between two rounds.
const BACKOFF_MS_MIN: u64 = 10;

/// What the broker's settings say about cleaning. Names are those of Kafka's `log.cleaner.*`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CleanerSettings {
    /// `dedupe.buffer.size`, for one shard.
    pub map_bytes: u64,
    /// `io.buffer.load.factor`.
    pub map_load: f64,
    /// `io.buffer.size`: one half reads, the other writes.
    pub io_buffer_bytes: usize,
    /// `io.max.bytes.per.second`, for one shard.
    pub bytes_per_second: f64,
    /// `backoff.ms`.
    pub backoff_ms: u64,
}

impl Default for CleanerSettings {
    /// Kafka's defaults for a single shard.
    fn default() -> Self {
        CleanerSettings {
            map_bytes: 128 << 20,
            map_load: 0.9,
            io_buffer_bytes: 512 << 10,
            bytes_per_second: f64::MAX,
            backoff_ms: 15_000,
        }
    }
}

impl CleanerSettings {
    /// What a node's configuration says for each of its `shards`.
    pub fn of_shard(config: &BrokerConfig, shards: u16) -> CleanerSettings {
        let shards = shards.max(1);
        let map_bytes = u64::try_from(config.log_cleaner_dedupe_buffer_size()).unwrap_or(0);
        CleanerSettings {
            map_bytes: map_bytes / u64::from(shards),
            map_load: config.log_cleaner_io_buffer_load_factor(),
            io_buffer_bytes: usize::try_from(config.log_cleaner_io_buffer_size()).unwrap_or(0),
            bytes_per_second: config.log_cleaner_io_max_bytes_per_second() / f64::from(shards),
            backoff_ms: u64::try_from(config.log_cleaner_backoff_ms()).unwrap_or(15_000),
        }
    }
}

impl CleanerSettings {
    /// Bytes that are read, or written, at once.
    pub(crate) fn chunk_bytes(&self) -> usize {
        (self.io_buffer_bytes / 2)
            .clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)
            .next_multiple_of(BLOCK_BYTES)
    }
}

/// What a shard knows of its cleaning.
#[derive(Debug, Default)]
pub(crate) struct CleanerState {
    /// First dirty offset by partition.
    pub(crate) first_dirty: CleanedOffsets,
    /// Swaps on record.
    pub(crate) swaps: Vec<Swap>,
    /// A swap failed half-way: nothing more is cleaned until the next start.
    pub(crate) disabled: bool,
    /// The disk was full when a swap was put on record: the record may name a swap that is not to be, and nothing is
    /// cleaned before it was written anew.
    pub(crate) record_in_doubt: bool,
    /// Segments that would grow beyond what a segment may have, by partition and base offset; each was named once.
    pub(crate) too_large: BTreeSet<(PartitionId, Offset)>,
    /// Numbers for the metrics.
    pub(crate) numbers: CleanerNumbers,
}

/// Numbers for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the metrics")]
pub struct CleanerNumbers {
    pub cleanings: u64,
    pub swaps: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub records_read: u64,
    pub records_removed: u64,
    /// Segments left alone because bytes of them are damaged, each time they were met.
    pub damaged_segments: u64,
    /// Cleanings that failed.
    pub failures: u64,
    /// Cleanings whose table of keys was full before their end.
    pub partial: u64,
    /// The highest dirty ratio at the last look, in percent.
    pub dirty_percent_max: u64,
    /// Bytes of the largest table of keys so far.
    pub map_bytes_max: u64,
}

impl CleanerNumbers {
    /// Adds another shard's numbers.
    pub fn add(&mut self, other: &CleanerNumbers) {
        self.cleanings += other.cleanings;
        self.swaps += other.swaps;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.records_read += other.records_read;
        self.records_removed += other.records_removed;
        self.damaged_segments += other.damaged_segments;
        self.failures += other.failures;
        self.partial += other.partial;
        self.dirty_percent_max = self.dirty_percent_max.max(other.dirty_percent_max);
        self.map_bytes_max = self.map_bytes_max.max(other.map_bytes_max);
    }

    /// Each metric's name, whether it only grows, and its value.
    pub fn for_each(&self, put: &mut impl FnMut(&str, bool, u64)) {
        put("tidelog_cleaner_cleanings_total", true, self.cleanings);
        put("tidelog_cleaner_swaps_total", true, self.swaps);
        put("tidelog_cleaner_read_bytes_total", true, self.bytes_read);
        put(
            "tidelog_cleaner_written_bytes_total",
            true,
            self.bytes_written,
        );
        put("tidelog_cleaner_records_total", true, self.records_read);
        put(
            "tidelog_cleaner_records_removed_total",
            true,
            self.records_removed,
        );
        put(
            "tidelog_cleaner_damaged_segments_total",
            true,
            self.damaged_segments,
        );
        put("tidelog_cleaner_failures_total", true, self.failures);
        put("tidelog_cleaner_partial_total", true, self.partial);
        put("tidelog_cleaner_map_bytes_max", false, self.map_bytes_max);
        // Kafka's names, where they say the same.
        put(
            "kafka_log_logcleanermanager_max_dirty_percent",
            false,
            self.dirty_percent_max,
        );
        let recopied = (self.bytes_written * 100).checked_div(self.bytes_read);
        put(
            "kafka_log_logcleaner_cleaner_recopy_percent",
            false,
            recopied.unwrap_or(0),
        );
    }
}

/// Paces the cleaner's work.
pub(crate) struct Pace<'a> {
    shard: &'a Shard,
    throttle: Throttle,
    work: usize,
}

impl<'a> Pace<'a> {
    fn new(shard: &'a Shard) -> Pace<'a> {
        let rate = shard.cleaner_settings.get().bytes_per_second;
        Pace {
            shard,
            throttle: Throttle::new(rate, monotonic_ms(shard)),
            work: 0,
        }
    }

    /// So many bytes were worked on.
    pub(crate) async fn worked(&mut self, bytes: usize) {
        self.work += bytes;
        if self.work >= SLICE_BYTES {
            self.work = 0;
            self.shard.runtime.sleep(SLICE_REST).await;
        }
    }

    /// So many bytes were read from or written to the disk.
    pub(crate) async fn transferred(&mut self, bytes: u64) {
        self.throttle
            .set_rate(self.shard.cleaner_settings.get().bytes_per_second);
        let rest_ms = self.throttle.spend(bytes, monotonic_ms(self.shard));
        if rest_ms > 0 {
            self.shard.pause(Duration::from_millis(rest_ms)).await;
        }
    }
}

/// The loop. Ends when the shard stops, or its journal has failed.
pub(crate) async fn run(shard: &Rc<Shard>) {
    match cleaned_offsets::read(&shard.disk).await {
        Ok(offsets) => shard.cleaner.borrow_mut().first_dirty = offsets,
        Err(error) => {
            tracing::warn!(shard = shard.id.0, %error, "every compacted log counts as dirty");
        }
    }
    while !is_over(shard) {
        if !round(shard).await {
            let backoff_ms = shard.cleaner_settings.get().backoff_ms;
            shard
                .pause(Duration::from_millis(backoff_ms.max(BACKOFF_MS_MIN)))
                .await;
        }
    }
    shard.task_ended();
}

fn is_over(shard: &Shard) -> bool {
    shard.stopping.get() || shard.journal.poison().is_some()
}

fn monotonic_ms(shard: &Shard) -> u64 {
    u64::try_from(shard.runtime.monotonic().as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock, if retention believes it.
fn believed_ms(shard: &Shard) -> Option<i64> {
    let mut clock = shard.retention_clock.get()?;
    let monotonic_ms = i64::try_from(monotonic_ms(shard)).unwrap_or(i64::MAX);
    clock.believe(shard.runtime.wall_clock_ms(), monotonic_ms)
}

/// Cleans every partition that needs it. Whether any got cleaner.
async fn round(shard: &Rc<Shard>) -> bool {
    if shard.cleaner.borrow().disabled {
        return false;
    }
    if shard.cleaner.borrow().record_in_doubt && !swap::write_record_anew(shard).await {
        return false;
    }
    // A start would take a file that is being written for that of a swap still on record, and rename half a segment.
    if !shard.cleaner.borrow().swaps.is_empty() && !settle(shard).await {
        return false;
    }
    let mut candidates = look_at_all(shard).await;
    if candidates.is_empty() {
        return false;
    }
    if candidates
        .iter()
        .any(|(_, plan)| plan.waits_for_checkpoint())
        && !swap::wait_for_checkpoints(shard).await
    {
        return false;
    }
    candidates.sort_by(|(_, one), (_, other)| {
        let urgency = |plan: &Cleanable| (plan.overdue, plan.dirty_ratio);
        urgency(other)
            .partial_cmp(&urgency(one))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut cleaner = false;
    for (id, _) in candidates {
        let stops = {
            let cleaner = shard.cleaner.borrow();
            cleaner.disabled || cleaner.record_in_doubt
        };
        if is_over(shard) || stops {
            break;
        }
        cleaner |= clean(shard, id).await;
        if shard.cleaner.borrow().swaps.len() >= SWAPS_MAX && !settle(shard).await {
            return false;
        }
    }
    settle(shard).await && cleaner
}

/// Both checkpoints take note of what was swapped, and how far each log is clean is written down.
async fn settle(shard: &Rc<Shard>) -> bool {
    if shard.cleaner.borrow().disabled || shard.cleaner.borrow().record_in_doubt {
        return false;
    }
    let settled = match swap::settle(shard).await {
        Ok(settled) => settled,
        Err(error) => {
            tracing::warn!(shard = shard.id.0, %error, "swaps stay on record");
            false
        }
    };
    write_offsets(shard).await;
    settled
}

/// Writes down how far each of the shard's logs is clean.
pub(crate) async fn write_offsets(shard: &Shard) {
    let offsets: CleanedOffsets = {
        let partitions = shard.partitions.borrow();
        let mut cleaner = shard.cleaner.borrow_mut();
        cleaner
            .first_dirty
            .retain(|id, _| partitions.contains_key(id));
        cleaner
            .too_large
            .retain(|(id, _)| partitions.contains_key(id));
        cleaner.first_dirty.clone()
    };
    if offsets.is_empty() {
        return;
    }
    if let Err(error) = cleaned_offsets::write(&shard.disk, shard.id, &offsets).await {
        tracing::warn!(shard = shard.id.0, %error, "how far logs are clean was not written down");
    }
}

async fn look_at_all(shard: &Rc<Shard>) -> Vec<(PartitionId, Cleanable)> {
    let ids: Vec<PartitionId> = shard.partitions.borrow().keys().copied().collect();
    let now_ms = believed_ms(shard);
    let mut candidates = Vec::new();
    let mut dirty_percent_max = 0;
    for (count, id) in ids.into_iter().enumerate() {
        if count % PARTITIONS_AT_ONCE == PARTITIONS_AT_ONCE - 1 {
            shard.runtime.sleep(SLICE_REST).await;
        }
        if let Some(plan) = look_at(shard, id, now_ms) {
            dirty_percent_max = dirty_percent_max.max((plan.dirty_ratio * 100.0) as u64);
            candidates.push((id, plan));
        }
    }
    shard.cleaner.borrow_mut().numbers.dirty_percent_max = dirty_percent_max;
    candidates
}

/// Whether the partition needs cleaning; what is overdue in its active segment is made cleanable.
fn look_at(shard: &Shard, id: PartitionId, now_ms: Option<i64>) -> Option<Cleanable> {
    let first_dirty = first_dirty(shard, id);
    shard.with_partition(id, |partition| {
        if partition.closing || !partition.log.config().compact {
            return None;
        }
        let overdue = is_overdue_for_roll(&facts(partition, first_dirty, now_ms));
        if overdue && !partition.log.end_is_unproved() {
            let rolled = partition.log.roll(shard.runtime.wall_clock_ms());
            if rolled.is_some() {
                shard.count(|counters| counters.segment_rolls += 1);
            }
        }
        plan_cleaning(&facts(partition, first_dirty, now_ms))
    })?
}

fn first_dirty(shard: &Shard, id: PartitionId) -> Offset {
    let known = shard.cleaner.borrow().first_dirty.get(&id).copied();
    known.unwrap_or(Offset(-1))
}

fn facts(partition: &Partition, first_dirty: Offset, now_ms: Option<i64>) -> LogFacts<'_> {
    let offsets = partition.log.offsets();
    LogFacts {
        config: partition.log.config(),
        segments: partition.log.segments().as_slice(),
        log_start: offsets.log_start(),
        last_stable: offsets.last_stable(),
        log_end: offsets.log_end(),
        first_dirty,
        settled_end: partition.settled_end(),
        now_ms,
    }
}

/// Cleans one partition. Whether it got any cleaner.
async fn clean(shard: &Rc<Shard>, id: PartitionId) -> bool {
    let now_ms = believed_ms(shard);
    let Some(plan) = look_at(shard, id, now_ms).filter(|plan| plan.first_dirty < plan.end) else {
        return false;
    };
    let mut pace = Pace::new(shard);
    let outcome = cleaning::clean(shard, id, &plan, now_ms, &mut pace).await;
    let mut cleaner = shard.cleaner.borrow_mut();
    match outcome {
        Ok(Outcome::Cleaned { first_dirty }) => {
            cleaner.numbers.cleanings += 1;
            cleaner.numbers.partial += u64::from(first_dirty < plan.end);
            cleaner.first_dirty.insert(id, first_dirty);
            first_dirty > plan.first_dirty
        }
        Ok(Outcome::Interrupted) => false,
        Err(error) => {
            cleaner.numbers.failures += 1;
            tracing::warn!(topic = ?id, %error, "a log could not be cleaned; it is tried again");
            false
        }
    }
}

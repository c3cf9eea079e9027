//! The numbers of shards for the metrics. Plain values, added up on any core.
//!
//! Invariant: the sum of several shards reads like one shard; it is ready while none of their journals has failed.

use crate::log::compaction::CleanerNumbers;

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
    pub segment_read_bytes: u64,
    pub read_ahead_hits: u64,
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
        self.segment_read_bytes += other.segment_read_bytes;
        self.read_ahead_hits += other.read_ahead_hits;
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
        put(
            "tidelog_segment_read_bytes_total",
            true,
            self.segment_read_bytes,
        );
        put("tidelog_read_ahead_hits_total", true, self.read_ahead_hits);
        put("tidelog_quarantined_ranges", false, self.quarantined_ranges);
        self.cleaner.for_each(&mut put);
        put("tidelog_storage_ready", false, u64::from(self.is_ready()));
    }
}

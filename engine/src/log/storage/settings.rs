//! What storage is told by the node's configuration. Plain values, usable on any core.
//!
//! Invariant: a limit that follows from others is computed here and nowhere else.

use tuning::{BrokerConfig, Durability};

use crate::log::compaction::CleanerSettings;

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
    /// So many bytes written to segments since the last checkpoint ask for another: a start reads them again, those of
    /// direct runs to see whether they are whole, and those that no sidecar covers to index them.
    pub written_bytes_before_checkpoint: u64,
    /// Space that the disk gets back in one step when files are removed.
    pub removal_step_bytes: u64,
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
            written_bytes_before_checkpoint: 256 << 20,
            removal_step_bytes: 2 << 20,
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

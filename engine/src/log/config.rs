//! What the log needs to know of a topic's configuration, resolved to plain numbers.

/// A topic's settings as its partitions' logs use them. Names are Kafka's; −1 means "no limit" as in Kafka.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes` (or `internal.segment.bytes`).
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `retention.ms`.
    pub retention_ms: i64,
    /// `retention.bytes`.
    pub retention_bytes: i64,
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `max.message.bytes`.
    pub max_message_bytes: u32,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `flush.messages` or `flush.ms` is set: its batches are flushed before they are acknowledged, whatever the node's
    /// durability. That is more often than asked for, and never later.
    pub flushes: bool,
}

impl LogConfig {
    /// The age at which a segment is closed: `segment.ms`, and no later than `max.compaction.lag.ms` allows.
    pub fn segment_ms_max(&self) -> i64 {
        if self.compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            segment_jitter_ms: 0,
            retention_ms: 7 * 24 * 3600 * 1000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            delete: true,
            compact: false,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: 24 * 3600 * 1000,
            max_message_bytes: 1_048_588,
            log_append_time: false,
            flushes: false,
        }
    }
}

impl From<&tuning::TopicConfig> for LogConfig {
    fn from(topic: &tuning::TopicConfig) -> Self {
        LogConfig {
            segment_bytes: u32::try_from(topic.segment_bytes_effective()).unwrap_or(1),
            segment_ms: topic.segment_ms,
            segment_jitter_ms: topic.segment_jitter_ms,
            retention_ms: topic.retention_ms,
            retention_bytes: topic.retention_bytes,
            file_delete_delay_ms: topic.file_delete_delay_ms,
            delete: topic.cleanup_policy.delete,
            compact: topic.cleanup_policy.compact,
            min_cleanable_dirty_ratio: topic.min_cleanable_dirty_ratio,
            min_compaction_lag_ms: topic.min_compaction_lag_ms,
            max_compaction_lag_ms: topic.max_compaction_lag_ms,
            delete_retention_ms: topic.delete_retention_ms,
            max_message_bytes: u32::try_from(topic.max_message_bytes).unwrap_or(0),
            log_append_time: topic.message_timestamp_type == tuning::TimestampType::LogAppendTime,
            flushes: topic.flush_messages < i64::MAX || topic.flush_ms < i64::MAX,
        }
    }
}

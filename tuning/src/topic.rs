//! The configuration of one topic, with everything resolved: its own values over the broker's over the defaults.
//!
//! An immutable value that shards hold by copy or reference; computed on the core that changes configurations.

use crate::alter::accept;
use crate::broker::{BrokerConfig, FromText, Layers};
use crate::error::ConfigError;
use crate::setting::{Scope, Setting};
use crate::table::lookup;
use std::collections::BTreeMap;

/// What happens to old data; neither is "kept for ever".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are deleted by time and size.
    pub delete: bool,
    /// Only the last record of each key is kept.
    pub compact: bool,
}

/// Whose time a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, when it appends.
    LogAppendTime,
}

/// Codec in which batches are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    /// Not compressed.
    Uncompressed,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl FromText for CleanupPolicy {
    fn from_text(text: Option<&str>) -> Self {
        let words = crate::setting::split_list(text.unwrap_or_default());
        CleanupPolicy {
            delete: words.contains(&"delete"),
            compact: words.contains(&"compact"),
        }
    }
}

impl FromText for TimestampType {
    fn from_text(text: Option<&str>) -> Self {
        match text {
            Some("LogAppendTime") => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }
}

impl FromText for CompressionType {
    fn from_text(text: Option<&str>) -> Self {
        match text {
            Some("uncompressed") => CompressionType::Uncompressed,
            Some("gzip") => CompressionType::Gzip,
            Some("snappy") => CompressionType::Snappy,
            Some("lz4") => CompressionType::Lz4,
            Some("zstd") => CompressionType::Zstd,
            _ => CompressionType::Producer,
        }
    }
}

macro_rules! topic_config {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $name:literal;)+) => {
        /// The resolved configuration of a topic. Times are milliseconds, sizes bytes.
        #[derive(Debug, Clone, PartialEq)]
        pub struct TopicConfig { $($(#[$doc])* pub $field: $type),+ }

        impl TopicConfig {
            fn from_values(value: impl Fn(&str) -> Option<String>) -> TopicConfig {
                TopicConfig { $($field: FromText::from_text(value($name).as_deref())),+ }
            }
        }
    };
}

topic_config! {
    /// What happens to old data.
    cleanup_policy: CleanupPolicy = "cleanup.policy";
    /// Age beyond which segments go; −1 is never.
    retention_ms: i64 = "retention.ms";
    /// Size beyond which segments go; negative is never.
    retention_bytes: i64 = "retention.bytes";
    /// Size at which a segment is closed; see [`TopicConfig::segment_bytes_effective`].
    segment_bytes: i32 = "segment.bytes";
    /// Overrides `segment_bytes` without its lower bound; for tests.
    internal_segment_bytes: Option<i32> = "internal.segment.bytes";
    /// Age at which a segment is closed.
    segment_ms: i64 = "segment.ms";
    /// Largest random part taken off `segment_ms`.
    segment_jitter_ms: i64 = "segment.jitter.ms";
    /// Largest index file (no effect on Tidelog's own index).
    segment_index_bytes: i32 = "segment.index.bytes";
    /// Distance between index entries (no effect on Tidelog's own index).
    index_interval_bytes: i32 = "index.interval.bytes";
    /// Largest record batch.
    max_message_bytes: i32 = "max.message.bytes";
    /// Whose time a record carries.
    message_timestamp_type: TimestampType = "message.timestamp.type";
    /// How far a record's time may lie in the past.
    message_timestamp_before_max_ms: i64 = "message.timestamp.before.max.ms";
    /// How far a record's time may lie in the future.
    message_timestamp_after_max_ms: i64 = "message.timestamp.after.max.ms";
    /// Codec in which batches are stored.
    compression_type: CompressionType = "compression.type";
    /// Level for gzip; −1 is the codec's default.
    compression_gzip_level: i32 = "compression.gzip.level";
    /// Level for LZ4.
    compression_lz4_level: i32 = "compression.lz4.level";
    /// Level for zstd.
    compression_zstd_level: i32 = "compression.zstd.level";
    /// Replicas that must have a record before acks=all is answered; at most the number of replicas counts.
    min_insync_replicas: i32 = "min.insync.replicas";
    /// How long tombstones are kept.
    delete_retention_ms: i64 = "delete.retention.ms";
    /// Shortest time a record stays uncompacted.
    min_compaction_lag_ms: i64 = "min.compaction.lag.ms";
    /// Longest time a record may stay uncompacted.
    max_compaction_lag_ms: i64 = "max.compaction.lag.ms";
    /// Share of uncleaned bytes at which the log is cleaned.
    min_cleanable_dirty_ratio: f64 = "min.cleanable.dirty.ratio";
    /// Flush after this many records.
    flush_messages: i64 = "flush.messages";
    /// Flush at least this often.
    flush_ms: i64 = "flush.ms";
    /// How long a deleted segment's file stays.
    file_delete_delay_ms: i64 = "file.delete.delay.ms";
    /// Whether segment files are allocated ahead (no effect: space is always allocated first).
    preallocate: bool = "preallocate";
    /// Whether a replica out of sync may lead; always false on a node of one.
    unclean_leader_election_enable: bool = "unclean.leader.election.enable";
}

impl TopicConfig {
    /// Resolves a topic's own values over the broker's (which holds what was set at run time, too). Every value is
    /// checked, and so are the relations between them, with Kafka's messages.
    pub fn resolve(
        broker: &BrokerConfig,
        overrides: &BTreeMap<String, String>,
    ) -> Result<TopicConfig, ConfigError> {
        for (name, value) in overrides {
            accept(Scope::Topic, name, value)?;
        }
        TopicConfig::of(&broker.layers, overrides)
    }

    pub(crate) fn of(
        layers: &Layers,
        overrides: &BTreeMap<String, String>,
    ) -> Result<TopicConfig, ConfigError> {
        let config = TopicConfig::from_values(|name| {
            let setting = lookup(name, Scope::Topic).expect("fields name settings of the table");
            value_in_force(setting, layers, overrides)
        });
        let (min, max) = (config.min_compaction_lag_ms, config.max_compaction_lag_ms);
        if min > max {
            return Err(ConfigError::config(format!(
                "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
            )));
        }
        Ok(config)
    }

    /// Size in bytes at which a segment is closed.
    pub fn segment_bytes_effective(&self) -> i32 {
        self.internal_segment_bytes.unwrap_or(self.segment_bytes)
    }
}

/// The value of a topic or group setting: its own, else the first given among its broker synonyms in their unit,
/// else the default. As Kafka prints it.
pub(crate) fn value_in_force(
    setting: &Setting,
    layers: &Layers,
    overrides: &BTreeMap<String, String>,
) -> Option<String> {
    if let Some(own) = overrides.get(setting.name) {
        return setting.parse(own).ok();
    }
    for synonym in setting.synonyms {
        let Some(raw) = layers.value(synonym.name) else {
            continue;
        };
        if synonym.factor == 1 && setting.name != "retention.ms" {
            return setting.parse(raw).ok();
        }
        let scaled = i64::from_text(Some(raw)).saturating_mul(synonym.factor);
        // Every negative retention of a broker is "for ever", which a topic writes as -1.
        return Some(if scaled < 0 { -1 } else { scaled }.to_string());
    }
    setting.default_value()
}

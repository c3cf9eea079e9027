//! The small files Kafka keeps beside its segments, as bytes in and bytes out.
//!
//! Tidelog writes them at roll and at a clean stop so that Kafka's tools and a Kafka broker can open the directory,
//! and reads them when a Kafka directory is imported. Nothing at run time depends on them. Formats were read off
//! files written by Kafka 4.3.1 and off its sources; `engine/FORMAT.md` lists them.

mod indexes;
mod properties;
mod snapshot;
mod text;

pub use indexes::{
    AbortedEntry, OffsetEntry, TimeEntry, decode_offset_index, decode_time_index,
    decode_transaction_index, encode_offset_index, encode_time_index, encode_transaction_index,
    kafka_indexes,
};
pub use properties::{
    CleanShutdown, MetaProperties, decode_partition_metadata, decode_topic_id,
    encode_partition_metadata, encode_topic_id,
};
pub use snapshot::{decode_snapshot, encode_snapshot};
pub use text::{
    decode_epoch_checkpoint, decode_offset_checkpoint, encode_epoch_checkpoint,
    encode_offset_checkpoint,
};

/// Name of the file with a partition's leader epochs.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// Name of the file that ties a partition directory to its topic id.
pub const PARTITION_METADATA: &str = "partition.metadata";
/// Name of the data directory's file with cluster, node and directory id.
pub const META_PROPERTIES: &str = "meta.properties";
/// Name of the mark of a clean stop.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Name of the file with the first offset of partitions whose records were deleted.
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
/// Name of the file with the offset up to which each partition is flushed.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// Name of the file with each partition's high watermark.
pub const REPLICATION_CHECKPOINT: &str = "replication-offset-checkpoint";

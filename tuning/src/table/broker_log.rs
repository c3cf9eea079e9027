//! Broker settings of the log: directories, segments, retention, cleaning, timestamps, and the defaults of topics.
//!
//! Rows: name: type = default, when it can change, rule, [support], meaning.

use super::reasons::*;
use super::words::*;
use crate::setting::Check::*;

table! { Broker;
    "compression.gzip.level": Int = "-1", ClusterWide, BetweenOr { min: 1, max: 9, or: -1 }, [honoured],
        "Level for gzip where the broker itself compresses; -1 is the codec's own default.";
    "compression.lz4.level": Int = "9", ClusterWide, Between(1, 17), [refused LZ4],
        "Level for LZ4 where the broker itself compresses.";
    "compression.type": String = "producer", ClusterWide, OneOf(COMPRESSION), [honoured],
        "Codec in which batches are stored; `producer` keeps what the producer sent, byte for byte.";
    "compression.zstd.level": Int = "3", ClusterWide, Between(-131_072, 22), [honoured],
        "Level for zstd where the broker itself compresses.";
    "log.cleaner.backoff.ms": Long = "15000", ClusterWide, AtLeast(0), [honoured],
        "Pause of the cleaner when it finds nothing to do.";
    "log.cleaner.dedupe.buffer.size": Long = "134217728", ClusterWide, AtLeast(1_048_577), [honoured],
        "Memory for the cleaner's table of keys.";
    "log.cleaner.delete.retention.ms": Long = "86400000", ClusterWide, AtLeast(0), [honoured],
        "How long tombstones of compacted topics are kept (default of `delete.retention.ms`).";
    "log.cleaner.enable": Boolean = "true", ReadOnly, Any, [refused CLEANER_ALWAYS],
        "Whether the log cleaner runs at all.";
    "log.cleaner.io.buffer.load.factor": Double = "0.9", ClusterWide, Any, [honoured],
        "How full the cleaner's table of keys may get.";
    "log.cleaner.io.buffer.size": Int = "524288", ClusterWide, AtLeast(0), [honoured],
        "Memory for the cleaner's reading and writing.";
    "log.cleaner.io.max.bytes.per.second": Double = "1.7976931348623157E308", ClusterWide, Any, [honoured],
        "Upper bound on the cleaner's reading and writing together.";
    "log.cleaner.max.compaction.lag.ms": Long = "9223372036854775807", ClusterWide, AtLeast(1), [honoured],
        "Longest time a record may stay uncompacted (default of `max.compaction.lag.ms`).";
    "log.cleaner.min.cleanable.ratio": Double = "0.5", ClusterWide, BetweenReal(0.0, 1.0), [honoured],
        "Share of uncleaned bytes at which a log is cleaned (default of `min.cleanable.dirty.ratio`).";
    "log.cleaner.min.compaction.lag.ms": Long = "0", ClusterWide, AtLeast(0), [honoured],
        "Shortest time a record stays uncompacted (default of `min.compaction.lag.ms`).";
    "log.cleaner.threads": Int = "1", ReadOnly, AtLeast(0), [inert THREADS],
        "Number of cleaner threads.";
    "log.cleanup.policy": List = "delete", ClusterWide, ListOf(CLEANUP), [honoured],
        "What happens to old data: `delete`, `compact`, both, or nothing when empty (default of `cleanup.policy`).";
    "log.dir": List = "./tidelog-data", ReadOnly, Any, [honoured],
        "The data directory, when `log.dirs` is not set.";
    "log.dirs": List = null, ReadOnly, Any, [honoured],
        "The data directory. Tidelog has exactly one: a list is refused.";
    "log.dir.failure.timeout.ms": Long = "30000", ReadOnly, AtLeast(1), [refused ONE_DIRECTORY],
        "How long a broker waits to report a failed directory before it stops.";
    "log.flush.interval.messages": Long = "9223372036854775807", ClusterWide, AtLeast(1), [honoured],
        "Flush after this many records (default of `flush.messages`). With durability = flush everything is flushed before it is acknowledged, which satisfies any value; with durability = os that holds for topics that set it.";
    "log.flush.interval.ms": Long = null, ClusterWide, Any, [honoured],
        "Flush at least this often (default of `flush.ms`). With durability = flush everything is flushed before it is acknowledged, which satisfies any value; with durability = os that holds for topics that set it.";
    "log.flush.offset.checkpoint.interval.ms": Int = "60000", ReadOnly, AtLeast(0), [refused CHECKPOINT],
        "How often the recovery point is written.";
    "log.flush.scheduler.interval.ms": Long = "9223372036854775807", ReadOnly, Any, [refused CHECKPOINT],
        "How often the flusher looks for logs to flush.";
    "log.flush.start.offset.checkpoint.interval.ms": Int = "60000", ReadOnly, AtLeast(0), [refused CHECKPOINT],
        "How often the log start offset is written.";
    "log.index.interval.bytes": Int = "4096", ClusterWide, AtLeast(0), [inert INDEX],
        "Distance between index entries (default of `index.interval.bytes`).";
    "log.index.size.max.bytes": Int = "10485760", ClusterWide, AtLeast(4), [inert INDEX],
        "Largest index file (default of `segment.index.bytes`).";
    "log.message.timestamp.after.max.ms": Long = "3600000", ClusterWide, AtLeast(0), [honoured],
        "How far a record's time may lie in the future (default of `message.timestamp.after.max.ms`).";
    "log.message.timestamp.before.max.ms": Long = "9223372036854775807", ClusterWide, AtLeast(0), [honoured],
        "How far a record's time may lie in the past (default of `message.timestamp.before.max.ms`).";
    "log.message.timestamp.type": String = "CreateTime", ClusterWide, OneOf(TIMESTAMP), [honoured],
        "Whether records keep the producer's time or get the broker's (default of `message.timestamp.type`).";
    "log.preallocate": Boolean = "false", ClusterWide, Any, [inert PREALLOCATE],
        "Whether segment files are allocated ahead (default of `preallocate`).";
    "log.retention.bytes": Long = "-1", ClusterWide, Any, [honoured],
        "Size of a partition beyond which old segments go; negative is no limit (default of `retention.bytes`).";
    "log.retention.check.interval.ms": Long = "300000", ReadOnly, AtLeast(1), [honoured],
        "How often retention looks for segments to delete.";
    "log.retention.hours": Int = "168", ReadOnly, NonZero, [honoured],
        "Retention in hours, when neither `log.retention.minutes` nor `log.retention.ms` is set; negative is forever.";
    "log.retention.minutes": Int = null, ReadOnly, NonZero, [honoured],
        "Retention in minutes, when `log.retention.ms` is not set; negative is forever.";
    "log.retention.ms": Long = null, ClusterWide, NonZero, [honoured],
        "Retention in milliseconds; negative is forever (default of `retention.ms`).";
    "log.roll.hours": Int = "168", ReadOnly, AtLeast(1), [honoured],
        "Age in hours at which a segment is closed, when `log.roll.ms` is not set.";
    "log.roll.jitter.hours": Int = "0", ReadOnly, AtLeast(0), [honoured],
        "Largest random part taken off `log.roll.hours`, when `log.roll.jitter.ms` is not set.";
    "log.roll.jitter.ms": Long = null, ClusterWide, AtLeast(0), [honoured],
        "Largest random part taken off the age at which a segment is closed (default of `segment.jitter.ms`).";
    "log.roll.ms": Long = null, ClusterWide, AtLeast(1), [honoured],
        "Age at which a segment is closed (default of `segment.ms`).";
    "log.segment.bytes": Int = "1073741824", ClusterWide, AtLeast(1_048_576), [honoured],
        "Size at which a segment is closed (default of `segment.bytes`).";
    "log.segment.delete.delay.ms": Long = "60000", ClusterWide, AtLeast(0), [honoured],
        "How long a deleted segment's file stays (default of `file.delete.delay.ms`).";
    "message.max.bytes": Int = "1048588", ClusterWide, AtLeast(0), [honoured],
        "Largest record batch, after compression (default of `max.message.bytes`).";
    "min.insync.replicas": Int = "1", ClusterWide, AtLeast(1), [honoured],
        "Replicas that must have a record before acks=all is answered; a node of one counts itself.";
    "num.partitions": Int = "1", ReadOnly, AtLeast(1), [honoured],
        "Partitions of a topic created without a number.";
    "num.recovery.threads.per.data.dir": Int = "2", ReadOnly, AtLeast(1), [inert THREADS],
        "Threads that recover logs at start.";
    "auto.create.topics.enable": Boolean = "true", ReadOnly, Any, [honoured],
        "Whether a topic comes into being when a client asks for it.";
    "create.topic.policy.class.name": Class = null, ReadOnly, Any, [refused PLUGIN],
        "Plug-in that decides which topics may be created.";
    "alter.config.policy.class.name": Class = null, ReadOnly, Any, [refused PLUGIN],
        "Plug-in that decides which configurations may be changed.";
    "cordoned.log.dirs": List = "", PerBroker, Any, [refused ONE_DIRECTORY],
        "Data directories that get no new partitions.";
    "default.replication.factor": Int = "1", ReadOnly, AtLeast(1), [refused ONE_NODE],
        "Replicas of a topic created without a number.";
    "delete.topic.enable": Boolean = "true", ReadOnly, Any, [honoured],
        "Whether topics can be deleted.";
    "producer.id.expiration.ms": Int = "86400000", ClusterWide, AtLeast(1), [honoured],
        "How long the last sequence numbers of an idle producer are remembered.";
    "unclean.leader.election.enable": Boolean = "false", ClusterWide, Any, [refused ONE_NODE],
        "Whether a replica out of sync may lead.";
}

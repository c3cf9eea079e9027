//! Topic settings, and the broker settings they take their defaults from.
//!
//! Rows: name: type = default, when it can change, rule, [support], meaning.

use super::reasons::*;
use super::words::*;
use crate::setting::Check::*;

table! { Topic;
    "cleanup.policy": List = "delete", ClusterWide, ListOf(CLEANUP), [honoured],
        "What happens to old data: `delete`, `compact`, both, or nothing when empty.";
    "compression.gzip.level": Int = "-1", ClusterWide, BetweenOr { min: 1, max: 9, or: -1 }, [honoured],
        "Level for gzip where the broker itself compresses; -1 is the codec's own default.";
    "compression.lz4.level": Int = "9", ClusterWide, Between(1, 17), [refused LZ4],
        "Level for LZ4 where the broker itself compresses.";
    "compression.type": String = "producer", ClusterWide, OneOf(COMPRESSION), [honoured],
        "Codec in which batches are stored; `producer` keeps what the producer sent, byte for byte.";
    "compression.zstd.level": Int = "3", ClusterWide, Between(-131_072, 22), [honoured],
        "Level for zstd where the broker itself compresses.";
    "delete.retention.ms": Long = "86400000", ClusterWide, AtLeast(0), [honoured],
        "How long tombstones of a compacted topic are kept.";
    "file.delete.delay.ms": Long = "60000", ClusterWide, AtLeast(0), [honoured],
        "How long a deleted segment's file stays.";
    "flush.messages": Long = "9223372036854775807", ClusterWide, AtLeast(1), [honoured],
        "Flush after this many records. With durability = flush everything is flushed before it is acknowledged, which satisfies any value; with durability = os that holds for topics that set it.";
    "flush.ms": Long = "9223372036854775807", ClusterWide, AtLeast(0), [honoured],
        "Flush at least this often. With durability = flush everything is flushed before it is acknowledged, which satisfies any value; with durability = os that holds for topics that set it.";
    "follower.replication.throttled.replicas": List = "", ClusterWide, ThrottledReplicas, [refused ONE_NODE],
        "Replicas whose catching up is throttled, partition:broker, or *.";
    "index.interval.bytes": Int = "4096", ClusterWide, AtLeast(0), [inert INDEX],
        "Distance between index entries.";
    "leader.replication.throttled.replicas": List = "", ClusterWide, ThrottledReplicas, [refused ONE_NODE],
        "Replicas whose reading is throttled, partition:broker, or *.";
    "local.retention.bytes": Long = "-2", ClusterWide, AtLeast(-2), [refused TIERED],
        "Local part of a tiered partition by size; -2 follows `retention.bytes`.";
    "local.retention.ms": Long = "-2", ClusterWide, AtLeast(-2), [refused TIERED],
        "Local part of a tiered partition by age; -2 follows `retention.ms`.";
    "max.compaction.lag.ms": Long = "9223372036854775807", ClusterWide, AtLeast(1), [honoured],
        "Longest time a record may stay uncompacted.";
    "max.message.bytes": Int = "1048588", ClusterWide, AtLeast(0), [honoured],
        "Largest record batch, after compression.";
    "message.timestamp.after.max.ms": Long = "3600000", ClusterWide, AtLeast(0), [honoured],
        "How far a record's time may lie in the future.";
    "message.timestamp.before.max.ms": Long = "9223372036854775807", ClusterWide, AtLeast(0), [honoured],
        "How far a record's time may lie in the past.";
    "message.timestamp.type": String = "CreateTime", ClusterWide, OneOf(TIMESTAMP), [honoured],
        "Whether records keep the producer's time or get the broker's.";
    "min.cleanable.dirty.ratio": Double = "0.5", ClusterWide, BetweenReal(0.0, 1.0), [honoured],
        "Share of uncleaned bytes at which the log is cleaned.";
    "min.compaction.lag.ms": Long = "0", ClusterWide, AtLeast(0), [honoured],
        "Shortest time a record stays uncompacted.";
    "min.insync.replicas": Int = "1", ClusterWide, AtLeast(1), [honoured],
        "Replicas that must have a record before acks=all is answered; a node of one counts itself.";
    "preallocate": Boolean = "false", ClusterWide, Any, [inert PREALLOCATE],
        "Whether segment files are allocated ahead.";
    "remote.log.copy.disable": Boolean = "false", ClusterWide, Any, [refused TIERED],
        "Whether copying to tiered storage is off.";
    "remote.log.delete.on.disable": Boolean = "false", ClusterWide, Any, [refused TIERED],
        "Whether tiered data goes when tiering is switched off.";
    "remote.storage.enable": Boolean = "false", ClusterWide, Any, [refused TIERED],
        "Whether the topic is tiered.";
    "retention.bytes": Long = "-1", ClusterWide, Any, [honoured],
        "Size of a partition beyond which old segments go; negative is no limit.";
    "retention.ms": Long = "604800000", ClusterWide, AtLeast(-1), [honoured],
        "Age beyond which old segments go; -1 is forever.";
    "segment.bytes": Int = "1073741824", ClusterWide, AtLeast(1_048_576), [honoured],
        "Size at which a segment is closed.";
    "segment.index.bytes": Int = "10485760", ClusterWide, AtLeast(4), [inert INDEX],
        "Largest index file.";
    "segment.jitter.ms": Long = "0", ClusterWide, AtLeast(0), [honoured],
        "Largest random part taken off the age at which a segment is closed.";
    "segment.ms": Long = "604800000", ClusterWide, AtLeast(1), [honoured],
        "Age at which a segment is closed.";
    "unclean.leader.election.enable": Boolean = "false", ClusterWide, Any, [refused ONE_NODE],
        "Whether a replica out of sync may lead.";
}

//! Broker settings of tiered storage.
//!
//! Rows: name: type = default, when it can change, rule, [support], meaning.

use super::reasons::*;
use crate::setting::Check::*;

table! { Broker;
    "follower.fetch.last.tiered.offset.enable": Boolean = "false", ClusterWide, Any, [refused TIERED],
        "Whether a new follower starts at the last tiered offset.";
    "log.local.retention.bytes": Long = "-2", ClusterWide, Any, [refused TIERED],
        "Local part of a tiered partition by size (default of `local.retention.bytes`).";
    "log.local.retention.ms": Long = "-2", ClusterWide, Any, [refused TIERED],
        "Local part of a tiered partition by age (default of `local.retention.ms`).";
    "remote.fetch.max.wait.ms": Int = "500", ClusterWide, Any, [refused TIERED],
        "Longest wait for a read from tiered storage.";
    "remote.list.offsets.request.timeout.ms": Long = "30000", ClusterWide, Any, [refused TIERED],
        "Longest wait for an offset look-up in tiered storage.";
    "remote.log.index.file.cache.total.size.bytes": Long = "1073741824", ClusterWide, Any, [refused TIERED],
        "Space for cached indexes of tiered segments.";
    "remote.log.manager.copier.thread.pool.size": Int = "10", ClusterWide, Any, [refused TIERED],
        "Threads that copy to tiered storage.";
    "remote.log.manager.copy.max.bytes.per.second": Long = "9223372036854775807", ClusterWide, Any, [refused TIERED],
        "Upper bound on copying to tiered storage.";
    "remote.log.manager.copy.quota.window.num": Int = "11", ReadOnly, Any, [refused TIERED],
        "Samples kept for that bound.";
    "remote.log.manager.copy.quota.window.size.seconds": Int = "1", ReadOnly, Any, [refused TIERED],
        "Length of such a sample.";
    "remote.log.manager.expiration.thread.pool.size": Int = "10", ClusterWide, Any, [refused TIERED],
        "Threads that delete expired tiered segments.";
    "remote.log.manager.fetch.max.bytes.per.second": Long = "9223372036854775807", ClusterWide, Any, [refused TIERED],
        "Upper bound on reading from tiered storage.";
    "remote.log.manager.fetch.quota.window.num": Int = "11", ReadOnly, Any, [refused TIERED],
        "Samples kept for that bound.";
    "remote.log.manager.fetch.quota.window.size.seconds": Int = "1", ReadOnly, Any, [refused TIERED],
        "Length of such a sample.";
    "remote.log.manager.follower.thread.pool.size": Int = "2", ClusterWide, Any, [refused TIERED],
        "Threads for tiered work of followers.";
    "remote.log.manager.task.interval.ms": Long = "30000", ReadOnly, Any, [refused TIERED],
        "How often tiered work is looked for.";
    "remote.log.manager.thread.pool.size": Int = "2", ReadOnly, Any, [refused TIERED],
        "Threads for tiered work.";
    "remote.log.metadata.custom.metadata.max.bytes": Int = "128", ReadOnly, Any, [refused TIERED],
        "Largest note of a tiered storage plug-in.";
    "remote.log.metadata.manager.class.name": String = "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", ReadOnly, Any, [refused TIERED],
        "Plug-in that keeps the metadata of tiered segments.";
    "remote.log.metadata.manager.class.path": String = null, ReadOnly, Any, [refused TIERED],
        "Where that plug-in is found.";
    "remote.log.metadata.manager.impl.prefix": String = "rlmm.config.", ReadOnly, Any, [refused TIERED],
        "Prefix of that plug-in's own settings.";
    "remote.log.metadata.manager.listener.name": String = null, ReadOnly, Any, [refused TIERED],
        "Listener that plug-in uses.";
    "remote.log.reader.max.pending.tasks": Int = "100", ReadOnly, Any, [refused TIERED],
        "Reads from tiered storage that may wait.";
    "remote.log.reader.threads": Int = "10", ClusterWide, Any, [refused TIERED],
        "Threads that read from tiered storage.";
    "remote.log.storage.manager.class.name": String = null, ReadOnly, Any, [refused TIERED],
        "Plug-in that is the tiered storage.";
    "remote.log.storage.manager.class.path": String = null, ReadOnly, Any, [refused TIERED],
        "Where that plug-in is found.";
    "remote.log.storage.manager.impl.prefix": String = "rsm.config.", ReadOnly, Any, [refused TIERED],
        "Prefix of that plug-in's own settings.";
    "remote.log.storage.system.enable": Boolean = "false", ReadOnly, Any, [refused TIERED],
        "Whether tiered storage is on.";
}

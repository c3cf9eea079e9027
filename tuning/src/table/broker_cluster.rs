//! Broker settings of the cluster: roles, controller, replication, metadata log, quotas, metrics.
//!
//! Rows: name: type = default, when it can change, rule, [support], meaning.

use super::reasons::*;
use super::words::*;
use crate::setting::Check::*;

table! { Broker;
    "add.partitions.to.txn.retry.backoff.max.ms": Int = "100", ReadOnly, Any, [refused TRANSACTIONS],
        "Longest pause before adding partitions to a transaction is tried again.";
    "add.partitions.to.txn.retry.backoff.ms": Int = "20", ReadOnly, Any, [refused TRANSACTIONS],
        "First pause before adding partitions to a transaction is tried again.";
    "alter.log.dirs.replication.quota.window.num": Int = "11", ReadOnly, Any, [refused QUOTAS],
        "Samples kept for the quota on moves between directories.";
    "alter.log.dirs.replication.quota.window.size.seconds": Int = "1", ReadOnly, Any, [refused QUOTAS],
        "Length of a sample for the quota on moves between directories.";
    "auto.leader.rebalance.enable": Boolean = "true", ReadOnly, Any, [refused ONE_NODE],
        "Whether leadership returns to preferred replicas by itself.";
    "broker.heartbeat.interval.ms": Int = "2000", ReadOnly, Any, [refused ONE_NODE],
        "Pause between heartbeats to the controller.";
    "broker.id": Int = "-1", ReadOnly, AtLeast(-1), [honoured],
        "Older name of `node.id`.";
    "broker.rack": String = null, ReadOnly, Any, [refused RACK],
        "Rack the broker stands in.";
    "broker.session.timeout.ms": Int = "9000", ReadOnly, Any, [refused ONE_NODE],
        "Silence after which the controller takes a broker for dead.";
    "client.quota.callback.class": Class = null, ReadOnly, Any, [refused PLUGIN],
        "Plug-in that computes client quotas.";
    "config.providers": List = "", ClusterWide, Any, [refused PLUGIN],
        "Plug-ins that look values up elsewhere.";
    "controlled.shutdown.enable": Boolean = "true", ReadOnly, Any, [refused ONE_NODE],
        "Whether a stopping broker hands its leaderships over first.";
    "controller.listener.names": List = null, ReadOnly, Any, [inert CONTROLLER],
        "Names of the listeners for the controller quorum.";
    "controller.quorum.append.linger.ms": Int = "25", ReadOnly, Any, [refused ONE_NODE],
        "How long the controller gathers records.";
    "controller.quorum.auto.join.enable": Boolean = "false", ReadOnly, Any, [refused ONE_NODE],
        "Whether a controller joins the quorum by itself.";
    "controller.quorum.bootstrap.servers": List = "", ReadOnly, Any, [inert CONTROLLER],
        "Addresses at which the controller quorum is found.";
    "controller.quorum.election.backoff.max.ms": Int = "1000", ReadOnly, Any, [refused ONE_NODE],
        "Longest pause before another election.";
    "controller.quorum.election.timeout.ms": Int = "1000", ReadOnly, Any, [refused ONE_NODE],
        "Silence after which an election starts.";
    "controller.quorum.fetch.max.bytes": Int = "1048576", ReadOnly, Any, [refused ONE_NODE],
        "Largest answer to a fetch in the quorum.";
    "controller.quorum.fetch.snapshot.max.bytes": Int = "1048576", ReadOnly, Any, [refused ONE_NODE],
        "Largest answer to a snapshot fetch in the quorum.";
    "controller.quorum.fetch.timeout.ms": Int = "2000", ReadOnly, Any, [refused ONE_NODE],
        "Silence after which a follower looks for another leader.";
    "controller.quorum.request.timeout.ms": Int = "2000", ReadOnly, Any, [refused ONE_NODE],
        "Wait for an answer in the quorum.";
    "controller.quorum.retry.backoff.ms": Int = "20", ReadOnly, Any, [refused ONE_NODE],
        "Pause before a request in the quorum is repeated.";
    "controller.quorum.voters": List = "", ReadOnly, Any, [inert CONTROLLER],
        "Ids and addresses of the controller quorum.";
    "controller.quota.window.num": Int = "11", ReadOnly, Any, [refused QUOTAS],
        "Samples kept for the quota on changes.";
    "controller.quota.window.size.seconds": Int = "1", ReadOnly, Any, [refused QUOTAS],
        "Length of a sample for the quota on changes.";
    "controller.socket.timeout.ms": Int = "30000", ReadOnly, Any, [refused ONE_NODE],
        "Wait for an answer of the controller.";
    "initial.broker.registration.timeout.ms": Int = "60000", ReadOnly, Any, [refused ONE_NODE],
        "How long a starting broker waits to be registered.";
    "kafka.metrics.polling.interval.secs": Int = "10", ReadOnly, Any, [refused JVM_METRICS],
        "How often metrics reporters are asked.";
    "kafka.metrics.reporters": List = "", ReadOnly, Any, [refused JVM_METRICS],
        "Metrics reporters, old style.";
    "leader.imbalance.check.interval.seconds": Long = "300", ReadOnly, Any, [refused ONE_NODE],
        "How often leadership is compared with the preferred replicas.";
    "metadata.log.dir": String = null, ReadOnly, Any, [refused ONE_DIRECTORY],
        "Directory of the metadata log, when it is not the first data directory.";
    "metadata.log.max.record.bytes.between.snapshots": Long = "20971520", ReadOnly, Any, [refused METADATA],
        "Bytes of metadata records between snapshots.";
    "metadata.log.max.snapshot.interval.ms": Long = "3600000", ReadOnly, Any, [refused METADATA],
        "Longest time between metadata snapshots.";
    "metadata.log.segment.bytes": Int = "1073741824", ReadOnly, Any, [refused METADATA],
        "Size at which a metadata segment is closed.";
    "metadata.log.segment.ms": Long = "604800000", ReadOnly, Any, [refused METADATA],
        "Age at which a metadata segment is closed.";
    "metadata.max.idle.interval.ms": Int = "500", ReadOnly, Any, [refused METADATA],
        "How often the controller writes a record when nothing happens.";
    "metadata.max.retention.bytes": Long = "104857600", ReadOnly, Any, [refused METADATA],
        "Size of the metadata log beyond which old parts go.";
    "metadata.max.retention.ms": Long = "604800000", ReadOnly, Any, [refused METADATA],
        "Age beyond which old parts of the metadata log go.";
    "metric.reporters": List = "org.apache.kafka.common.metrics.JmxReporter", ClusterWide, Any, [refused JVM_METRICS],
        "Metrics reporters.";
    "metrics.num.samples": Int = "2", ReadOnly, Any, [refused JVM_METRICS],
        "Samples behind a rate.";
    "metrics.recording.level": String = "INFO", ReadOnly, Any, [refused JVM_METRICS],
        "How much is measured.";
    "metrics.sample.window.ms": Long = "30000", ReadOnly, Any, [refused JVM_METRICS],
        "Length of a sample.";
    "node.id": Int = "1", ReadOnly, AtLeast(0), [honoured],
        "Number of this node.";
    "num.replica.alter.log.dirs.threads": Int = null, ReadOnly, Any, [inert THREADS],
        "Threads that move partitions between directories.";
    "num.replica.fetchers": Int = "1", ReadOnly, AtLeast(1), [inert THREADS],
        "Threads that fetch from each other broker.";
    "process.roles": List = "broker,controller", ReadOnly, ListOf(ROLES), [honoured],
        "What this process is. Tidelog's node of one is broker and controller at once.";
    "quota.window.num": Int = "11", ReadOnly, Any, [refused QUOTAS],
        "Samples kept for client quotas.";
    "quota.window.size.seconds": Int = "1", ReadOnly, Any, [refused QUOTAS],
        "Length of a sample for client quotas.";
    "replica.fetch.backoff.ms": Int = "1000", ReadOnly, Any, [refused ONE_NODE],
        "Pause of a follower after an error.";
    "replica.fetch.max.bytes": Int = "1048576", ReadOnly, Any, [refused ONE_NODE],
        "Bytes per partition in a follower's fetch.";
    "replica.fetch.min.bytes": Int = "1", ReadOnly, Any, [refused ONE_NODE],
        "Fewest bytes in the answer to a follower's fetch.";
    "replica.fetch.response.max.bytes": Int = "10485760", ReadOnly, Any, [refused ONE_NODE],
        "Most bytes in the answer to a follower's fetch.";
    "replica.fetch.wait.max.ms": Int = "500", ReadOnly, Any, [refused ONE_NODE],
        "Longest wait of a follower's fetch.";
    "replica.high.watermark.checkpoint.interval.ms": Long = "5000", ReadOnly, Any, [refused CHECKPOINT],
        "How often the high watermark is written.";
    "replica.lag.time.max.ms": Long = "30000", ReadOnly, Any, [refused ONE_NODE],
        "Time after which a follower falls out of sync.";
    "replica.selector.class": String = null, ReadOnly, Any, [refused PLUGIN],
        "Plug-in that picks the replica to read from.";
    "replica.socket.receive.buffer.bytes": Int = "65536", ReadOnly, Any, [refused ONE_NODE],
        "Kernel buffer of a follower's connection.";
    "replica.socket.timeout.ms": Int = "30000", ReadOnly, Any, [refused ONE_NODE],
        "Wait for an answer to a follower's fetch.";
    "replication.quota.window.num": Int = "11", ReadOnly, Any, [refused QUOTAS],
        "Samples kept for the replication quota.";
    "replication.quota.window.size.seconds": Int = "1", ReadOnly, Any, [refused QUOTAS],
        "Length of a sample for the replication quota.";
    "telemetry.max.bytes": Int = "1048576", ReadOnly, Any, [refused TELEMETRY],
        "Largest metrics message a client may push.";
}

//! Broker settings of groups and transactions.
//!
//! Rows: name: type = default, when it can change, rule, [support], meaning.

use super::reasons::*;
use super::words::*;
use crate::setting::Check::*;

table! { Broker;
    "group.consumer.assignment.interval.ms": Int = "1000", ClusterWide, Between(0, 15_000), [honoured],
        "Shortest time between two assignments of a consumer group.";
    "group.consumer.assignors": List = "uniform,range", ReadOnly, Any, [honoured],
        "Assignors the coordinator offers to consumer groups.";
    "group.consumer.heartbeat.interval.ms": Int = "5000", ReadOnly, AtLeast(1), [honoured],
        "Pause between heartbeats of a consumer group's member.";
    "group.consumer.max.assignment.interval.ms": Int = "15000", ReadOnly, Any, [honoured],
        "Largest value of `consumer.assignment.interval.ms`.";
    "group.consumer.max.heartbeat.interval.ms": Int = "15000", ReadOnly, AtLeast(1), [honoured],
        "Largest value of `consumer.heartbeat.interval.ms`.";
    "group.consumer.max.session.timeout.ms": Int = "60000", ReadOnly, AtLeast(1), [honoured],
        "Largest value of `consumer.session.timeout.ms`.";
    "group.consumer.max.size": Int = "2147483647", ReadOnly, AtLeast(1), [honoured],
        "Members of a consumer group.";
    "group.consumer.migration.policy": String = "bidirectional", ReadOnly, OneOf(MIGRATION), [honoured],
        "Whether groups may change between the classic and the consumer protocol.";
    "group.consumer.min.assignment.interval.ms": Int = "0", ReadOnly, Any, [honoured],
        "Smallest value of `consumer.assignment.interval.ms`.";
    "group.consumer.min.heartbeat.interval.ms": Int = "5000", ReadOnly, AtLeast(1), [honoured],
        "Smallest value of `consumer.heartbeat.interval.ms`.";
    "group.consumer.min.session.timeout.ms": Int = "45000", ReadOnly, AtLeast(1), [honoured],
        "Smallest value of `consumer.session.timeout.ms`.";
    "group.consumer.session.timeout.ms": Int = "45000", ReadOnly, AtLeast(1), [honoured],
        "Silence after which a consumer group's member is taken for dead.";
    "group.coordinator.append.linger.ms": Int = "-1", ReadOnly, Any, [refused GROUP_LOG],
        "How long the coordinator gathers records.";
    "group.coordinator.background.threads": Int = "2", ReadOnly, Any, [inert THREADS],
        "Threads for the coordinator's work in the background.";
    "group.coordinator.cached.buffer.max.bytes": Int = "1048588", ClusterWide, Any, [refused GROUP_LOG],
        "Largest buffer the coordinator keeps for reuse.";
    "group.coordinator.rebalance.protocols": List = "classic,consumer,streams", ReadOnly, ListOf(PROTOCOLS), [honoured],
        "Group protocols the coordinator offers.";
    "group.coordinator.threads": Int = "4", ReadOnly, AtLeast(1), [inert THREADS],
        "Threads of the coordinator.";
    "group.initial.rebalance.delay.ms": Int = "3000", ReadOnly, Any, [honoured],
        "How long an empty classic group waits for more members.";
    "group.max.session.timeout.ms": Int = "1800000", ReadOnly, Any, [honoured],
        "Largest session timeout of a classic group's member.";
    "group.max.size": Int = "2147483647", ReadOnly, AtLeast(1), [honoured],
        "Members of a classic group.";
    "group.min.session.timeout.ms": Int = "6000", ReadOnly, Any, [honoured],
        "Smallest session timeout of a classic group's member.";
    "group.share.assignment.interval.ms": Int = "1000", ClusterWide, Between(0, 15_000), [pending SHARE_GROUPS],
        "Shortest time between two assignments of a share group.";
    "group.share.assignors": List = "simple", ReadOnly, Any, [refused SHARE_GROUPS],
        "Assignors the coordinator offers to share groups.";
    "group.share.delivery.count.limit": Int = "5", ReadOnly, Any, [refused SHARE_GROUPS],
        "Times a record is delivered before it is given up.";
    "group.share.heartbeat.interval.ms": Int = "5000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Pause between heartbeats of a share group's member.";
    "group.share.max.assignment.interval.ms": Int = "15000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Largest value of `share.assignment.interval.ms`.";
    "group.share.max.delivery.count.limit": Int = "10", ReadOnly, Any, [refused SHARE_GROUPS],
        "Largest value of `share.delivery.count.limit`.";
    "group.share.max.heartbeat.interval.ms": Int = "15000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Largest value of `share.heartbeat.interval.ms`.";
    "group.share.max.partition.max.record.locks": Int = "4000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Largest value of `share.partition.max.record.locks`.";
    "group.share.max.record.lock.duration.ms": Int = "60000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Largest value of `share.record.lock.duration.ms`.";
    "group.share.max.session.timeout.ms": Int = "60000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Largest value of `share.session.timeout.ms`.";
    "group.share.max.share.sessions": Int = "2000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Share sessions kept.";
    "group.share.max.size": Int = "200", ReadOnly, Any, [refused SHARE_GROUPS],
        "Members of a share group.";
    "group.share.min.assignment.interval.ms": Int = "0", ReadOnly, Any, [refused SHARE_GROUPS],
        "Smallest value of `share.assignment.interval.ms`.";
    "group.share.min.delivery.count.limit": Int = "2", ReadOnly, Any, [refused SHARE_GROUPS],
        "Smallest value of `share.delivery.count.limit`.";
    "group.share.min.heartbeat.interval.ms": Int = "5000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Smallest value of `share.heartbeat.interval.ms`.";
    "group.share.min.partition.max.record.locks": Int = "100", ReadOnly, Any, [refused SHARE_GROUPS],
        "Smallest value of `share.partition.max.record.locks`.";
    "group.share.min.record.lock.duration.ms": Int = "15000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Smallest value of `share.record.lock.duration.ms`.";
    "group.share.min.session.timeout.ms": Int = "45000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Smallest value of `share.session.timeout.ms`.";
    "group.share.partition.max.record.locks": Int = "2000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Records of a partition that a share group may hold at a time.";
    "group.share.record.lock.duration.ms": Int = "30000", ReadOnly, Any, [refused SHARE_GROUPS],
        "How long a share group's member may hold a record.";
    "group.share.session.timeout.ms": Int = "45000", ReadOnly, Any, [refused SHARE_GROUPS],
        "Silence after which a share group's member is taken for dead.";
    "group.streams.assignment.interval.ms": Int = "1000", ClusterWide, Between(0, 15_000), [pending STREAMS_GROUPS],
        "Shortest time between two assignments of a streams group.";
    "group.streams.heartbeat.interval.ms": Int = "5000", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Pause between heartbeats of a streams group's member.";
    "group.streams.initial.rebalance.delay.ms": Int = "3000", ReadOnly, Any, [pending STREAMS_GROUPS],
        "How long an empty streams group waits for more members.";
    "group.streams.max.assignment.interval.ms": Int = "15000", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Largest value of `streams.assignment.interval.ms`.";
    "group.streams.max.heartbeat.interval.ms": Int = "15000", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Largest value of `streams.heartbeat.interval.ms`.";
    "group.streams.max.session.timeout.ms": Int = "60000", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Largest value of `streams.session.timeout.ms`.";
    "group.streams.max.size": Int = "2147483647", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Members of a streams group.";
    "group.streams.max.standby.replicas": Int = "2", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Largest value of `streams.num.standby.replicas`.";
    "group.streams.min.assignment.interval.ms": Int = "0", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Smallest value of `streams.assignment.interval.ms`.";
    "group.streams.min.heartbeat.interval.ms": Int = "5000", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Smallest value of `streams.heartbeat.interval.ms`.";
    "group.streams.min.session.timeout.ms": Int = "45000", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Smallest value of `streams.session.timeout.ms`.";
    "group.streams.num.standby.replicas": Int = "0", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Standby copies of a streams group's tasks.";
    "group.streams.session.timeout.ms": Int = "45000", ReadOnly, Any, [refused STREAMS_GROUPS],
        "Silence after which a streams group's member is taken for dead.";
    "offset.metadata.max.bytes": Int = "4096", ReadOnly, Any, [honoured],
        "Largest note with a committed offset.";
    "offsets.commit.timeout.ms": Int = "5000", ReadOnly, Any, [refused GROUP_LOG],
        "How long a commit may take.";
    "offsets.load.buffer.size": Int = "5242880", ReadOnly, Any, [refused GROUP_LOG],
        "Buffer for loading committed offsets.";
    "offsets.retention.check.interval.ms": Long = "600000", ReadOnly, Any, [honoured],
        "How often expired offsets are looked for.";
    "offsets.retention.minutes": Int = "10080", ReadOnly, AtLeast(1), [honoured],
        "How long the offsets of an empty group are kept.";
    "offsets.topic.compression.codec": Int = "0", ReadOnly, Any, [refused GROUP_LOG],
        "Codec of the offsets topic.";
    "offsets.topic.num.partitions": Int = "50", ReadOnly, AtLeast(1), [honoured],
        "Partitions of the offsets topic.";
    "offsets.topic.replication.factor": Short = "3", ReadOnly, AtLeast(1), [allowed ONE_COPY &["1"]],
        "Replicas of the offsets topic; a node of one keeps one, whatever the default says.";
    "offsets.topic.segment.bytes": Int = "104857600", ReadOnly, AtLeast(1), [honoured],
        "Segment size of the offsets topic.";
    "share.coordinator.append.linger.ms": Int = "-1", ReadOnly, Any, [refused SHARE_GROUPS],
        "How long the share coordinator gathers records.";
    "share.coordinator.cached.buffer.max.bytes": Int = "1048588", ClusterWide, Any, [refused SHARE_GROUPS],
        "Largest buffer the share coordinator keeps for reuse.";
    "share.coordinator.load.buffer.size": Int = "5242880", ReadOnly, Any, [refused SHARE_GROUPS],
        "Buffer for loading share state.";
    "share.coordinator.snapshot.update.records.per.snapshot": Int = "500", ReadOnly, Any, [refused SHARE_GROUPS],
        "Updates between two snapshots of share state.";
    "share.coordinator.state.topic.compression.codec": Int = "0", ReadOnly, Any, [refused SHARE_GROUPS],
        "Codec of the share state topic.";
    "share.coordinator.state.topic.min.isr": Short = "2", ReadOnly, AtLeast(1), [allowed ONE_COPY &["1"]],
        "`min.insync.replicas` of the share state topic.";
    "share.coordinator.state.topic.num.partitions": Int = "50", ReadOnly, AtLeast(1), [pending SHARE_GROUPS],
        "Partitions of the share state topic.";
    "share.coordinator.state.topic.replication.factor": Short = "3", ReadOnly, AtLeast(1), [allowed ONE_COPY &["1"]],
        "Replicas of the share state topic; a node of one keeps one, whatever the default says.";
    "share.coordinator.state.topic.segment.bytes": Int = "104857600", ReadOnly, Any, [refused SHARE_GROUPS],
        "Segment size of the share state topic.";
    "share.coordinator.threads": Int = "1", ReadOnly, AtLeast(1), [inert THREADS],
        "Threads of the share coordinator.";
    "share.coordinator.write.timeout.ms": Int = "5000", ReadOnly, Any, [refused SHARE_GROUPS],
        "How long a write of share state may take.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": Int = "10000", ReadOnly, Any, [refused TRANSACTIONS],
        "How often timed-out transactions are looked for.";
    "transaction.max.timeout.ms": Int = "900000", ReadOnly, AtLeast(1), [pending TRANSACTIONS],
        "Longest transaction a producer may ask for.";
    "transaction.partition.verification.enable": Boolean = "true", ClusterWide, Any, [refused TRANSACTIONS],
        "Whether a partition asks the coordinator before it takes a transactional batch.";
    "transaction.remove.expired.transaction.cleanup.interval.ms": Int = "3600000", ReadOnly, Any, [refused TRANSACTIONS],
        "How often expired transactional ids are looked for.";
    "transaction.state.log.load.buffer.size": Int = "5242880", ReadOnly, Any, [refused TRANSACTIONS],
        "Buffer for loading transactions.";
    "transaction.state.log.min.isr": Int = "2", ReadOnly, AtLeast(1), [allowed ONE_COPY &["1"]],
        "`min.insync.replicas` of the transaction topic.";
    "transaction.state.log.num.partitions": Int = "50", ReadOnly, AtLeast(1), [pending TRANSACTIONS],
        "Partitions of the transaction topic.";
    "transaction.state.log.replication.factor": Short = "3", ReadOnly, AtLeast(1), [allowed ONE_COPY &["1"]],
        "Replicas of the transaction topic; a node of one keeps one, whatever the default says.";
    "transaction.state.log.segment.bytes": Int = "104857600", ReadOnly, AtLeast(1), [pending TRANSACTIONS],
        "Segment size of the transaction topic.";
    "transaction.two.phase.commit.enable": Boolean = "false", ReadOnly, Any, [refused TRANSACTIONS],
        "Whether transactions may be prepared and finished by an outside coordinator.";
    "transactional.id.expiration.ms": Int = "604800000", ReadOnly, AtLeast(1), [pending TRANSACTIONS],
        "How long an idle transactional id is remembered.";
}

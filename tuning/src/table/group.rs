//! Settings of a single group.
//!
//! Rows: name: type = default, when it can change, rule, [support], meaning.

use super::reasons::*;
use super::words::*;
use crate::setting::Check::*;

table! { Group;
    "consumer.assignment.interval.ms": Int = "1000", ClusterWide, AtLeast(0), [honoured],
        "Shortest time between two assignments.";
    "consumer.heartbeat.interval.ms": Int = "5000", ClusterWide, AtLeast(1), [honoured],
        "Pause between heartbeats of a member.";
    "consumer.session.timeout.ms": Int = "45000", ClusterWide, AtLeast(1), [honoured],
        "Silence after which a member is taken for dead.";
    "share.assignment.interval.ms": Int = "1000", ClusterWide, Between(0, 15_000), [refused SHARE_GROUPS],
        "Shortest time between two assignments.";
    "share.auto.offset.reset": String = "latest", ClusterWide, OffsetReset, [refused SHARE_GROUPS],
        "Where a new share group starts: earliest, latest or by_duration:PnDTnHnMnS.";
    "share.delivery.count.limit": Int = "5", ClusterWide, Between(2, 10), [refused SHARE_GROUPS],
        "Times a record is delivered before it is given up.";
    "share.heartbeat.interval.ms": Int = "5000", ClusterWide, Between(5_000, 15_000), [refused SHARE_GROUPS],
        "Pause between heartbeats of a member.";
    "share.isolation.level": String = "read_uncommitted", ClusterWide, OneOf(ISOLATION), [refused SHARE_GROUPS],
        "Whether members see records of open transactions.";
    "share.partition.max.record.locks": Int = "2000", ClusterWide, Between(100, 4_000), [refused SHARE_GROUPS],
        "Records of a partition the group may hold at a time.";
    "share.record.lock.duration.ms": Int = "30000", ClusterWide, Between(15_000, 60_000), [refused SHARE_GROUPS],
        "How long a member may hold a record.";
    "share.renew.acknowledge.enable": Boolean = "true", ClusterWide, Any, [refused SHARE_GROUPS],
        "Whether a member may hold a record longer.";
    "share.session.timeout.ms": Int = "45000", ClusterWide, Between(45_000, 60_000), [refused SHARE_GROUPS],
        "Silence after which a member is taken for dead.";
    "streams.assignment.interval.ms": Int = "1000", ClusterWide, Between(0, 15_000), [refused STREAMS_GROUPS],
        "Shortest time between two assignments.";
    "streams.heartbeat.interval.ms": Int = "5000", ClusterWide, Between(5_000, 15_000), [refused STREAMS_GROUPS],
        "Pause between heartbeats of a member.";
    "streams.initial.rebalance.delay.ms": Int = "3000", ClusterWide, AtLeast(0), [refused STREAMS_GROUPS],
        "How long an empty group waits for more members.";
    "streams.num.standby.replicas": Int = "0", ClusterWide, Between(0, 2), [refused STREAMS_GROUPS],
        "Standby copies of the group's tasks.";
    "streams.session.timeout.ms": Int = "45000", ClusterWide, Between(45_000, 60_000), [refused STREAMS_GROUPS],
        "Silence after which a member is taken for dead.";
}

//! Which broker settings a topic or group setting takes its default from, in which order and in which unit.

use crate::setting::{Scope, Synonym};

const fn same(name: &'static str) -> Synonym {
    Synonym {
        name,
        factor: 1,
        described: true,
    }
}

const fn scaled(name: &'static str, factor: i64) -> Synonym {
    Synonym {
        name,
        factor,
        described: true,
    }
}

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;

const RETENTION: &[Synonym] = &[
    same("log.retention.ms"),
    scaled("log.retention.minutes", MINUTE),
    scaled("log.retention.hours", HOUR),
];
const ROLL: &[Synonym] = &[same("log.roll.ms"), scaled("log.roll.hours", HOUR)];
const ROLL_JITTER: &[Synonym] = &[
    same("log.roll.jitter.ms"),
    scaled("log.roll.jitter.hours", HOUR),
];
const FLUSH: &[Synonym] = &[
    same("log.flush.interval.ms"),
    Synonym {
        name: "log.flush.scheduler.interval.ms",
        factor: 1,
        described: false,
    },
];

const TOPIC: &[(&str, &[Synonym])] = &[
    ("cleanup.policy", &[same("log.cleanup.policy")]),
    ("compression.gzip.level", &[same("compression.gzip.level")]),
    ("compression.lz4.level", &[same("compression.lz4.level")]),
    ("compression.type", &[same("compression.type")]),
    ("compression.zstd.level", &[same("compression.zstd.level")]),
    (
        "delete.retention.ms",
        &[same("log.cleaner.delete.retention.ms")],
    ),
    (
        "file.delete.delay.ms",
        &[same("log.segment.delete.delay.ms")],
    ),
    ("flush.messages", &[same("log.flush.interval.messages")]),
    ("flush.ms", FLUSH),
    ("index.interval.bytes", &[same("log.index.interval.bytes")]),
    (
        "local.retention.bytes",
        &[same("log.local.retention.bytes")],
    ),
    ("local.retention.ms", &[same("log.local.retention.ms")]),
    (
        "max.compaction.lag.ms",
        &[same("log.cleaner.max.compaction.lag.ms")],
    ),
    ("max.message.bytes", &[same("message.max.bytes")]),
    (
        "message.timestamp.after.max.ms",
        &[same("log.message.timestamp.after.max.ms")],
    ),
    (
        "message.timestamp.before.max.ms",
        &[same("log.message.timestamp.before.max.ms")],
    ),
    (
        "message.timestamp.type",
        &[same("log.message.timestamp.type")],
    ),
    (
        "min.cleanable.dirty.ratio",
        &[same("log.cleaner.min.cleanable.ratio")],
    ),
    (
        "min.compaction.lag.ms",
        &[same("log.cleaner.min.compaction.lag.ms")],
    ),
    ("min.insync.replicas", &[same("min.insync.replicas")]),
    ("preallocate", &[same("log.preallocate")]),
    ("retention.bytes", &[same("log.retention.bytes")]),
    ("retention.ms", RETENTION),
    ("segment.bytes", &[same("log.segment.bytes")]),
    ("segment.index.bytes", &[same("log.index.size.max.bytes")]),
    ("segment.jitter.ms", ROLL_JITTER),
    ("segment.ms", ROLL),
    (
        "unclean.leader.election.enable",
        &[same("unclean.leader.election.enable")],
    ),
];

const GROUP: &[(&str, &[Synonym])] = &[
    (
        "consumer.assignment.interval.ms",
        &[same("group.consumer.assignment.interval.ms")],
    ),
    (
        "consumer.heartbeat.interval.ms",
        &[same("group.consumer.heartbeat.interval.ms")],
    ),
    (
        "consumer.session.timeout.ms",
        &[same("group.consumer.session.timeout.ms")],
    ),
    (
        "share.assignment.interval.ms",
        &[same("group.share.assignment.interval.ms")],
    ),
    (
        "share.delivery.count.limit",
        &[same("group.share.delivery.count.limit")],
    ),
    (
        "share.heartbeat.interval.ms",
        &[same("group.share.heartbeat.interval.ms")],
    ),
    (
        "share.partition.max.record.locks",
        &[same("group.share.partition.max.record.locks")],
    ),
    (
        "share.record.lock.duration.ms",
        &[same("group.share.record.lock.duration.ms")],
    ),
    (
        "share.session.timeout.ms",
        &[same("group.share.session.timeout.ms")],
    ),
    (
        "streams.assignment.interval.ms",
        &[same("group.streams.assignment.interval.ms")],
    ),
    (
        "streams.heartbeat.interval.ms",
        &[same("group.streams.heartbeat.interval.ms")],
    ),
    (
        "streams.initial.rebalance.delay.ms",
        &[same("group.streams.initial.rebalance.delay.ms")],
    ),
    (
        "streams.num.standby.replicas",
        &[same("group.streams.num.standby.replicas")],
    ),
    (
        "streams.session.timeout.ms",
        &[same("group.streams.session.timeout.ms")],
    ),
];

/// Where a setting of this scope takes a missing value from.
pub(super) fn of(scope: Scope, name: &str) -> &'static [Synonym] {
    let table = match scope {
        Scope::Topic => TOPIC,
        Scope::Group => GROUP,
        Scope::Broker | Scope::ClientMetrics => return &[],
    };
    table
        .iter()
        .find(|(setting, _)| *setting == name)
        .map_or(&[], |(_, synonyms)| synonyms)
}

/// The broker settings that DescribeConfigs lists under this broker setting, the setting itself among them. Kafka
/// lists of them only those from the setting's own first occurrence on.
pub(crate) fn broker_synonyms(name: &'static str) -> Vec<&'static str> {
    for family in [RETENTION, ROLL, ROLL_JITTER] {
        if family.iter().any(|synonym| synonym.name == name) {
            return family.iter().map(|synonym| synonym.name).collect();
        }
    }
    vec![name]
}

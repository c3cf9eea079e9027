//! What a consumer group is allowed, from the broker's and the group's own configuration.

use std::collections::BTreeMap;

use tuning::BrokerConfig;

use super::assignor::Assignor;

/// In which directions a group may change its protocol while it has members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationPolicy {
    /// From classic to consumer.
    pub upgrade: bool,
    /// From consumer to classic.
    pub downgrade: bool,
}

impl MigrationPolicy {
    /// Kafka's names, in any case: bidirectional, upgrade, downgrade, disabled.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        Self {
            upgrade: is("bidirectional") || is("upgrade"),
            downgrade: is("bidirectional") || is("downgrade"),
        }
    }
}

/// The settings of one consumer group. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    /// Silence after which a member is taken for dead.
    pub session_timeout_ms: i32,
    /// Pause between a member's heartbeats.
    pub heartbeat_interval_ms: i32,
    /// Shortest time between two assignments.
    pub assignment_interval_ms: i32,
    /// Members of a consumer group.
    pub members_max: usize,
    /// Members of a classic group.
    pub classic_members_max: usize,
    /// What is offered, the default first.
    pub assignors: Vec<Assignor>,
    /// In which directions a group may migrate.
    pub migration: MigrationPolicy,
}

impl Default for ConsumerGroupSettings {
    fn default() -> Self {
        Self::of(&BrokerConfig::default(), &BTreeMap::new())
    }
}

impl ConsumerGroupSettings {
    /// The settings of a group with these values of its own.
    #[must_use]
    pub fn of(broker: &BrokerConfig, overrides: &BTreeMap<String, String>) -> Self {
        let number = |name: &str| -> i32 {
            let value = broker
                .value(name)
                .and_then(|value| value.trim().parse().ok());
            value.unwrap_or_else(|| {
                panic!("{name} is a number with a default in the table of settings")
            })
        };
        let of_group = |own: &str, broker_name: &str| -> i32 {
            let own = overrides
                .get(own)
                .and_then(|value| value.trim().parse().ok());
            own.unwrap_or_else(|| number(broker_name))
        };
        let bounded = |value: i32, min: &str, max: &str| value.max(number(min)).min(number(max));
        let size = |name: &str| usize::try_from(number(name)).unwrap_or(0);
        let names = broker.value("group.consumer.assignors").unwrap_or_default();
        let mut assignors: Vec<_> = names
            .split(',')
            .filter_map(|name| Assignor::from_name(class_or_name(name.trim())))
            .collect();
        if assignors.is_empty() {
            assignors = vec![Assignor::Uniform, Assignor::Range];
        }
        let policy = broker.value("group.consumer.migration.policy");
        Self {
            session_timeout_ms: bounded(
                of_group(
                    "consumer.session.timeout.ms",
                    "group.consumer.session.timeout.ms",
                ),
                "group.consumer.min.session.timeout.ms",
                "group.consumer.max.session.timeout.ms",
            ),
            heartbeat_interval_ms: bounded(
                of_group(
                    "consumer.heartbeat.interval.ms",
                    "group.consumer.heartbeat.interval.ms",
                ),
                "group.consumer.min.heartbeat.interval.ms",
                "group.consumer.max.heartbeat.interval.ms",
            ),
            assignment_interval_ms: bounded(
                of_group(
                    "consumer.assignment.interval.ms",
                    "group.consumer.assignment.interval.ms",
                ),
                "group.consumer.min.assignment.interval.ms",
                "group.consumer.max.assignment.interval.ms",
            ),
            members_max: size("group.consumer.max.size"),
            classic_members_max: size("group.max.size"),
            assignors,
            migration: MigrationPolicy::from_name(policy.unwrap_or("bidirectional").trim()),
        }
    }

    /// The names of what is offered, as Kafka lists them.
    #[must_use]
    pub fn assignor_names(&self) -> String {
        let names: Vec<_> = self
            .assignors
            .iter()
            .map(|assignor| assignor.name())
            .collect();
        names.join(", ")
    }
}

/// Kafka also takes the names of its own classes.
fn class_or_name(name: &str) -> &str {
    match name {
        "org.apache.kafka.coordinator.group.assignor.UniformAssignor" => "uniform",
        "org.apache.kafka.coordinator.group.assignor.RangeAssignor" => "range",
        other => other,
    }
}

//! What the broker's configuration says about groups, read once per turn.

use tuning::BrokerConfig;

/// The settings that decisions use; times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i64,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: i32,
    /// `group.max.size`.
    pub members_max: usize,
    /// `offset.metadata.max.bytes`.
    pub metadata_bytes_max: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub retention_check_ms: i64,
}

impl GroupSettings {
    /// Reads them.
    #[must_use]
    pub fn of(config: &BrokerConfig) -> GroupSettings {
        let size = |value: i32| usize::try_from(value).unwrap_or(0);
        GroupSettings {
            initial_rebalance_delay_ms: i64::from(config.group_initial_rebalance_delay_ms()).max(0),
            session_timeout_min_ms: config.group_min_session_timeout_ms(),
            session_timeout_max_ms: config.group_max_session_timeout_ms(),
            members_max: size(config.group_max_size()),
            metadata_bytes_max: size(config.offset_metadata_max_bytes()),
            offsets_retention_ms: i64::from(config.offsets_retention_minutes()) * 60_000,
            retention_check_ms: config.offsets_retention_check_interval_ms().max(1),
        }
    }
}

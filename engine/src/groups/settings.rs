//! What the broker's configuration says about groups, read once per turn.

use std::collections::BTreeMap;

use tuning::BrokerConfig;

use super::OFFSETS_TOPIC;
use super::consumer::ConsumerGroupSettings;
use crate::cluster::MetadataImage;

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
    /// `max.message.bytes` of the offsets topic: what one decision may write.
    pub batch_bytes_max: usize,
    /// Those of consumer groups without values of their own.
    pub consumer: ConsumerGroupSettings,
}

impl GroupSettings {
    /// What they are in a cluster, where the offsets topic may have a bound of its own.
    #[must_use]
    pub fn of_image(image: &MetadataImage) -> GroupSettings {
        let mut settings = GroupSettings::of(&image.broker_config);
        if let Some(topic) = image.topic(OFFSETS_TOPIC) {
            settings.batch_bytes_max = usize::try_from(topic.config.max_message_bytes).unwrap_or(0);
        }
        settings
    }

    /// Reads them from the broker's configuration.
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
            consumer: ConsumerGroupSettings::of(config, &BTreeMap::new()),
            batch_bytes_max: size(config.topic_defaults().max_message_bytes),
        }
    }
}

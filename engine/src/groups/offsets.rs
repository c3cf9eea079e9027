//! Committed offsets of one partition's groups, as the log says.

use std::collections::BTreeMap;
use std::sync::Arc;

use net::messages::group_records::legacy_offset_commit::{
    LegacyOffsetCommitKey, LegacyOffsetCommitValue,
};
use net::messages::group_records::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use net::wire::Uuid;

use super::record::GroupRecord;
use crate::types::TopicId;

/// No time of its own at which an offset expires.
pub const NO_EXPIRY: i64 = -1;

/// One committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the last record read; −1 is unknown.
    pub leader_epoch: i32,
    /// The client's words.
    pub metadata: Arc<str>,
    /// When it was committed, in milliseconds since 1970.
    pub commit_ms: i64,
    /// When it expires, or [`NO_EXPIRY`] for the broker's setting.
    pub expire_ms: i64,
    /// The topic's incarnation; all zero if the record does not say.
    pub topic_id: TopicId,
}

impl CommittedOffset {
    fn of(value: &OffsetCommitValue<'_>) -> CommittedOffset {
        CommittedOffset {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.into(),
            commit_ms: value.commit_timestamp,
            expire_ms: value.expire_timestamp,
            topic_id: TopicId(value.topic_id.0),
        }
    }

    fn of_legacy(value: &LegacyOffsetCommitValue<'_>) -> CommittedOffset {
        CommittedOffset {
            offset: value.offset,
            leader_epoch: -1,
            metadata: value.metadata.into(),
            commit_ms: value.commit_timestamp,
            expire_ms: NO_EXPIRY,
            topic_id: TopicId::default(),
        }
    }

    /// The record of this offset.
    #[must_use]
    pub fn record<'a>(&'a self, group: &'a str, topic: &'a str, partition: i32) -> GroupRecord<'a> {
        let value = OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: &self.metadata,
            commit_timestamp: self.commit_ms,
            expire_timestamp: self.expire_ms,
            topic_id: Uuid(self.topic_id.0),
            ..Default::default()
        };
        GroupRecord::Offset(key(group, topic, partition), Some(value))
    }
}

/// The record that removes an offset.
#[must_use]
pub fn tombstone<'a>(group: &'a str, topic: &'a str, partition: i32) -> GroupRecord<'a> {
    GroupRecord::Offset(key(group, topic, partition), None)
}

fn key<'a>(group: &'a str, topic: &'a str, partition: i32) -> OffsetCommitKey<'a> {
    OffsetCommitKey {
        group,
        topic,
        partition,
    }
}

type OfTopic = BTreeMap<i32, CommittedOffset>;
type OfGroup = BTreeMap<Arc<str>, OfTopic>;

/// All of them, by group, topic and partition.
#[derive(Debug, Default)]
pub struct CommittedOffsets {
    groups: BTreeMap<Arc<str>, OfGroup>,
    count: usize,
}

impl CommittedOffsets {
    /// Follows the record of an offset.
    pub fn replay(&mut self, key: &OffsetCommitKey<'_>, value: Option<&OffsetCommitValue<'_>>) {
        self.set(
            key.group,
            key.topic,
            key.partition,
            value.map(CommittedOffset::of),
        );
    }

    /// Follows the record of an offset of the oldest kind.
    pub fn replay_legacy(
        &mut self,
        key: &LegacyOffsetCommitKey<'_>,
        value: Option<&LegacyOffsetCommitValue<'_>>,
    ) {
        let value = value.map(CommittedOffset::of_legacy);
        self.set(key.group, key.topic, key.partition, value);
    }

    fn set(&mut self, group: &str, topic: &str, partition: i32, value: Option<CommittedOffset>) {
        let Some(value) = value else {
            return self.remove(group, topic, partition);
        };
        // Names are made only when they are new.
        if !self.groups.contains_key(group) {
            self.groups.insert(group.into(), OfGroup::new());
        }
        let topics = self.groups.get_mut(group).expect("made above");
        if !topics.contains_key(topic) {
            topics.insert(topic.into(), OfTopic::new());
        }
        let partitions = topics.get_mut(topic).expect("made above");
        if partitions.insert(partition, value).is_none() {
            self.count += 1;
        }
    }

    fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(topics) = self.groups.get_mut(group) else {
            return;
        };
        let Some(partitions) = topics.get_mut(topic) else {
            return;
        };
        if partitions.remove(&partition).is_some() {
            self.count -= 1;
        }
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.groups.remove(group);
        }
    }

    /// The offset of one partition.
    #[must_use]
    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    /// All offsets of a group, by topic and partition.
    pub fn of_group(
        &self,
        group: &str,
    ) -> impl Iterator<Item = (&Arc<str>, i32, &CommittedOffset)> {
        self.groups.get(group).into_iter().flat_map(|topics| {
            topics.iter().flat_map(|(topic, partitions)| {
                partitions
                    .iter()
                    .map(move |(partition, committed)| (topic, *partition, committed))
            })
        })
    }

    /// Whether the group has any.
    #[must_use]
    pub fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// The groups that have any.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<str>> {
        self.groups.keys()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

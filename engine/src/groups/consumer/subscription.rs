//! What a group asks for: topics by name and by pattern, and whether the metadata changed under it.
//!
//! The hash covers name, id and partition count of every existing topic that a member asks for. It is kept with the
//! group's epoch, so that a restart does not rebalance, and any change of these facts bumps the epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::member::MemberMetadata;
use super::pattern::TopicPattern;
use super::record::{ConsumerRecord, GroupEpoch, ResolvedPattern};
use super::{ConsumerGroup, Work};
use crate::cluster::MetadataImage;
use crate::groups::timers::TimerKey;
use crate::types::TopicId;

impl ConsumerGroup {
    /// The names that `metadata` asks for, directly and by pattern.
    #[must_use]
    pub fn topics_of(&self, metadata: &MemberMetadata) -> BTreeSet<Arc<str>> {
        let mut topics: BTreeSet<_> = metadata.topics.iter().cloned().collect();
        let resolved = metadata
            .pattern()
            .and_then(|pattern| self.patterns.get(pattern));
        if let Some(resolved) = resolved {
            topics.extend(resolved.topics.iter().cloned());
        }
        topics
    }

    /// The names that anybody asks for.
    #[must_use]
    pub fn subscribed_topics(&self) -> BTreeSet<Arc<str>> {
        let mut topics = BTreeSet::new();
        let mut last: Option<&Arc<[Arc<str>]>> = None;
        for member in self.members.values() {
            let names = &member.metadata.topics;
            // Equal lists are one list as a rule.
            if !last.is_some_and(|last| Arc::ptr_eq(last, names)) {
                topics.extend(names.iter().cloned());
                last = Some(names);
            }
        }
        let used = self.used_patterns();
        for (pattern, resolved) in &self.patterns {
            if used.contains(pattern) {
                topics.extend(resolved.topics.iter().cloned());
            }
        }
        topics
    }

    /// Whether anybody asks for that topic.
    #[must_use]
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        let mut members = self.members.values();
        members.any(|member| {
            let metadata = &member.metadata;
            let resolved = metadata
                .pattern()
                .and_then(|pattern| self.patterns.get(pattern));
            metadata.topics.iter().any(|name| **name == *topic)
                || resolved.is_some_and(|resolved| resolved.topics.contains(topic))
        })
    }

    fn used_patterns(&self) -> BTreeSet<Arc<str>> {
        let members = self.members.values();
        members
            .filter_map(|member| member.metadata.pattern().cloned())
            .collect()
    }

    /// Ids and partition counts of those topics that exist.
    #[must_use]
    pub fn existing_topics(
        names: &BTreeSet<Arc<str>>,
        image: &MetadataImage,
    ) -> BTreeMap<TopicId, i32> {
        names
            .iter()
            .filter_map(|name| image.topic(name))
            .map(|topic| {
                let count = i32::try_from(topic.partitions.len());
                (
                    topic.id,
                    count.expect("a topic has at most 2^31 partitions"),
                )
            })
            .collect()
    }

    /// Matches the known patterns against newer metadata and forgets those nobody uses; whether what the group asks for
    /// changed. New patterns are left to [`ConsumerGroup::resolve_patterns`], right after this decision: as in Kafka a
    /// member first gets what it names, then what it describes.
    pub(super) fn refresh_patterns(&mut self, work: &mut Work<'_>) -> bool {
        if self.patterns_settled && self.metadata_checked == work.image.offset {
            // Most heartbeats: nobody is asked again what it wants.
            return false;
        }
        let unresolved = self.has_unresolved_pattern();
        if unresolved {
            let key = TimerKey::ConsumerRefresh(self.id.clone());
            work.timers.arm(key, work.now.monotonic_ms);
        }
        let changed = self.match_patterns(false, work);
        self.patterns_settled = !unresolved;
        changed
    }

    /// Matches the new patterns as well; the group goes on if one names topics.
    pub(super) fn resolve_patterns(&mut self, work: &mut Work<'_>) {
        let changed = self.match_patterns(true, work);
        self.refresh_epoch(changed, work);
    }

    /// Whether a member's pattern was not matched against any metadata yet.
    pub(super) fn has_unresolved_pattern(&self) -> bool {
        let mut members = self.members.values();
        members.any(|member| self.is_unresolved(&member.metadata))
    }

    /// Whether the pattern of `metadata` was not matched yet.
    pub(super) fn is_unresolved(&self, metadata: &MemberMetadata) -> bool {
        let pattern = metadata.pattern();
        pattern.is_some_and(|pattern| !self.patterns.contains_key(pattern))
    }

    fn match_patterns(&mut self, new_ones: bool, work: &mut Work<'_>) -> bool {
        let mut changed = false;
        for pattern in self.used_patterns() {
            let old = self.patterns.get(&pattern);
            let is_due = match old {
                Some(_) => self.metadata_checked != work.image.offset,
                None => new_ones,
            };
            if !is_due {
                continue;
            }
            // A pattern that a Kafka accepted and this version cannot read matches nothing.
            let topics = TopicPattern::parse(&pattern)
                .map(|pattern| pattern.topics(work.image))
                .unwrap_or_default();
            if old.is_some_and(|old| old.topics == topics) {
                continue;
            }
            changed = true;
            let resolved = ResolvedPattern {
                topics,
                version: work.image.offset,
                timestamp_ms: work.now.wall_ms,
            };
            work.change(self, ConsumerRecord::Pattern(pattern, Some(resolved)));
        }
        self.forget_unused_patterns(work);
        changed
    }

    /// Removes the patterns that nobody uses.
    pub(super) fn forget_unused_patterns(&mut self, work: &mut Work<'_>) {
        let used = self.used_patterns();
        let unused: Vec<_> = self
            .patterns
            .keys()
            .filter(|pattern| !used.contains(*pattern))
            .cloned()
            .collect();
        for pattern in unused {
            work.change(self, ConsumerRecord::Pattern(pattern, None));
        }
    }

    /// Bumps the group's epoch if `changed`, or if the metadata of its topics changed since the last look.
    pub(super) fn refresh_epoch(&mut self, changed: bool, work: &mut Work<'_>) {
        if !changed && self.metadata_checked == work.image.offset {
            return;
        }
        let hash = metadata_hash(&self.subscribed_topics(), work.image);
        if changed || hash != self.metadata_hash {
            let epoch = GroupEpoch {
                epoch: self.epoch + 1,
                metadata_hash: hash,
            };
            work.change(self, ConsumerRecord::Group(Some(epoch)));
        }
        if self.has_partition_metadata {
            // Kafka since 4.1 keeps the hash instead.
            work.change(self, ConsumerRecord::PartitionMetadata(false));
        }
        self.metadata_checked = work.image.offset;
    }
}

/// FNV-1a over what an assignment depends on; 0 if no topic exists.
pub(super) fn metadata_hash(names: &BTreeSet<Arc<str>>, image: &MetadataImage) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut found = false;
    for topic in names.iter().filter_map(|name| image.topic(name)) {
        found = true;
        let count = topic.partitions.len().to_be_bytes();
        let name = topic.name.as_bytes();
        for byte in name.iter().chain(&[0]).chain(&topic.id.0).chain(&count) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    if found { hash.cast_signed() } else { 0 }
}

//! The target assignment: what everybody is to own at the group's epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assignor::{AssignmentMember, AssignmentSpec, Assignor};
use super::record::{ConsumerRecord, TargetEpoch};
use super::{ConsumerGroup, Work};
use crate::cluster::MetadataImage;
use crate::types::TopicId;

/// Topic names and pattern of a member: members with the same key ask for the same topics.
type SubscriptionKey<'g> = (&'g Arc<[Arc<str>]>, Option<&'g Arc<str>>);

impl ConsumerGroup {
    /// The assignor most members want, the first in its name's order among equals; else the default.
    #[must_use]
    pub fn assignor(&self, default: Assignor) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for member in self.members.values() {
            let wanted = member
                .metadata
                .assignor
                .as_deref()
                .and_then(Assignor::from_name);
            if let Some(assignor) = wanted {
                *votes.entry(assignor).or_default() += 1;
            }
        }
        let most = votes.values().max().copied();
        let winner = votes.iter().find(|(_, count)| Some(**count) == most);
        winner.map_or(default, |(assignor, _)| *assignor)
    }

    /// Computes the target anew if the group went on and enough time passed since the last.
    pub(super) fn refresh_target(&mut self, work: &mut Work<'_>) {
        if self.epoch <= self.target_epoch.epoch {
            return;
        }
        let interval = i64::from(work.settings.assignment_interval_ms);
        let since = work.now.wall_ms - self.target_epoch.timestamp_ms;
        // A clock that was set back must not stop the group.
        let too_early = self.target_epoch.timestamp_ms > 0 && (0..interval).contains(&since);
        if too_early {
            return;
        }
        let assignor = self.assignor(work.settings.assignors[0]);
        let target = assignor.assign(&self.specification(work.image));
        for (member_id, partitions) in target {
            if self.target.get(&member_id) != Some(&partitions) {
                work.change(self, ConsumerRecord::Target(member_id, Some(partitions)));
            }
        }
        let target_epoch = TargetEpoch {
            epoch: self.epoch,
            timestamp_ms: work.now.wall_ms,
        };
        work.change(self, ConsumerRecord::TargetEpoch(Some(target_epoch)));
    }

    fn specification(&self, image: &MetadataImage) -> AssignmentSpec<'_> {
        let mut lists: BTreeMap<SubscriptionKey<'_>, Arc<[TopicId]>> = BTreeMap::new();
        let mut topics = BTreeMap::new();
        let mut members = Vec::with_capacity(self.members.len());
        for member in self.members.values() {
            let metadata = &member.metadata;
            let key = (&metadata.topics, metadata.pattern());
            let list = lists.entry(key).or_insert_with(|| {
                let existing = Self::existing_topics(&self.topics_of(metadata), image);
                let list = existing.keys().copied().collect();
                topics.extend(existing);
                list
            });
            members.push(AssignmentMember {
                id: &member.id,
                instance_id: metadata.instance_id.as_ref(),
                topics: list.clone(),
                previous: self.target.get(&member.id),
            });
        }
        AssignmentSpec { members, topics }
    }
}

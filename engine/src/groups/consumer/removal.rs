//! Members that go: by leaving, by silence, by not giving partitions up in time.

use std::sync::Arc;

use super::member::{CurrentAssignment, LEAVE_STATIC_EPOCH};
use super::migration::Downgrade;
use super::partitions::OwnedPartitions;
use super::record::{ConsumerRecord, GroupEpoch};
use super::subscription::metadata_hash;
use super::{ConsumerGroup, Work};
use crate::groups::timers::TimerKey;

/// What became of the group when members went.
#[derive(Debug)]
pub enum Removal {
    /// It goes on, perhaps empty.
    Stays,
    /// Only members of the classic protocol are left: it is to become a classic group.
    Downgrade(Downgrade),
}

impl ConsumerGroup {
    /// Takes members out and frees what they hold; the group's epoch is bumped once.
    pub fn remove_members(&mut self, members: &[Arc<str>], work: &mut Work<'_>) -> Removal {
        if let Some(downgrade) = self.downgrade_without(members, work) {
            return Removal::Downgrade(downgrade);
        }
        for id in members {
            self.write_removal(id, work);
            self.cancel_timers(id, work.timers);
        }
        self.forget_unused_patterns(work);
        let epoch = GroupEpoch {
            epoch: self.epoch + 1,
            metadata_hash: metadata_hash(&self.subscribed_topics(), work.image),
        };
        work.change(self, ConsumerRecord::Group(Some(epoch)));
        Removal::Stays
    }

    /// Lets a static member leave for a while: it keeps what it owns until its session ends.
    pub fn park_static_member(&mut self, id: &Arc<str>, work: &mut Work<'_>) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let current = CurrentAssignment {
            epoch: LEAVE_STATIC_EPOCH,
            revoking: OwnedPartitions::default(),
            ..member.current.clone()
        };
        work.change(self, ConsumerRecord::Current(id.clone(), Some(current)));
        let key = TimerKey::ConsumerRebalance(self.id.clone(), id.clone());
        work.timers.cancel(&key);
    }

    /// A timer of this group fired; what became of the group if it was about a member that is still there.
    pub fn expire(&mut self, key: &TimerKey, work: &mut Work<'_>) -> Option<Removal> {
        if matches!(key, TimerKey::ConsumerRefresh(_)) {
            self.resolve_patterns(work);
            return None;
        }
        let (TimerKey::ConsumerSession(_, member)
        | TimerKey::ConsumerRebalance(_, member)
        | TimerKey::ConsumerJoin(_, member)
        | TimerKey::ConsumerSync(_, member)) = key
        else {
            return None;
        };
        self.members
            .contains_key(member)
            .then(|| self.remove_members(std::slice::from_ref(member), work))
    }

    pub(super) fn write_removal(&mut self, id: &Arc<str>, work: &mut Work<'_>) {
        work.change(self, ConsumerRecord::Current(id.clone(), None));
        work.change(self, ConsumerRecord::Target(id.clone(), None));
        work.change(self, ConsumerRecord::Member(id.clone(), None));
    }

    /// The tombstones of everything the log holds of the group. They are not applied: the group goes as a whole.
    #[must_use]
    pub fn tombstones(&self) -> Vec<ConsumerRecord> {
        let ids = || self.members.keys().cloned();
        let mut records = Vec::new();
        records.extend(ids().map(|id| ConsumerRecord::Current(id, None)));
        records.extend(ids().map(|id| ConsumerRecord::Target(id, None)));
        records.push(ConsumerRecord::TargetEpoch(None));
        records.extend(ids().map(|id| ConsumerRecord::Member(id, None)));
        let patterns = self.patterns.keys().cloned();
        records.extend(patterns.map(|pattern| ConsumerRecord::Pattern(pattern, None)));
        if self.has_partition_metadata {
            records.push(ConsumerRecord::PartitionMetadata(false));
        }
        records.push(ConsumerRecord::Group(None));
        records
    }
}

//! Consumer groups of the modern protocol (KIP-848): the server assigns, members reconcile one by one.
//!
//! A [`ConsumerGroup`] is plain state without clock or I/O, on the shard of its partition of `__consumer_offsets`.
//! Everything a restart needs is changed by [`ConsumerGroup::replay`] alone; a decision applies each record as it makes it
//! and hands it out to be written ([`Work::change`]). Invariant: no partition is owned by two members
//! ([`ConsumerGroup::holder`] is asked before a partition is granted).
//!
//! [`heartbeat`] is the protocol, [`classic_member`] serves members of a group on its way between the protocols,
//! [`migration`] turns one kind of group into the other.

pub mod assignor;
pub mod classic_member;
pub mod describe;
pub mod embedded;
pub mod error;
pub mod heartbeat;
pub mod member;
pub mod migration;
pub mod offsets;
pub mod partitions;
pub mod pattern;
pub mod reconcile;
pub mod record;
pub mod removal;
pub mod request;
mod serve;
pub mod settings;
pub mod subscription;
pub mod target;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod protocol_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use error::ConsumerGroupError;
pub use serve::{fire, handle, loaded, make_room_for_classic, replay};
pub use settings::ConsumerGroupSettings;

use self::member::{CurrentAssignment, LEAVE_EPOCH, Member, MemberMetadata, MemberState};
use self::partitions::PartitionSet;
use self::record::{ConsumerRecord, GroupEpoch, ResolvedPattern, TargetEpoch};
use super::timers::{TimerKey, Timers};
use super::turn::Now;
use crate::cluster::MetadataImage;
use crate::types::PartitionId;

/// What a decision works with.
pub struct Work<'w> {
    /// The time.
    pub now: Now,
    /// The settings of this group.
    pub settings: &'w ConsumerGroupSettings,
    /// The cluster.
    pub image: &'w MetadataImage,
    /// The partition's timers.
    pub timers: &'w mut Timers,
    /// What was changed, in order, to be written.
    pub records: &'w mut Vec<ConsumerRecord>,
    /// What takes the changes back, from the last to the first.
    pub undo: &'w mut Vec<ConsumerRecord>,
    /// Bytes that the records of the decision may take in the log.
    pub batch_bytes_max: usize,
}

impl Work<'_> {
    /// Applies a record and hands it out.
    pub fn change(&mut self, group: &mut ConsumerGroup, record: ConsumerRecord) {
        group.push_inverse(&record, self.undo);
        group.replay(&record);
        self.records.push(record);
    }
}

/// What a group is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// The target assignment is older than the group.
    Assigning,
    /// Members are on their way to the target.
    Reconciling,
    /// Everybody has what the target says.
    Stable,
}

impl GroupState {
    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// A consumer group.
#[derive(Debug, Clone)]
pub struct ConsumerGroup {
    id: Arc<str>,
    epoch: i32,
    metadata_hash: i64,
    target_epoch: TargetEpoch,
    members: BTreeMap<Arc<str>, Member>,
    /// Member ids by instance id.
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    target: BTreeMap<Arc<str>, PartitionSet>,
    patterns: BTreeMap<Arc<str>, ResolvedPattern>,
    /// Who holds a partition, given up or not yet.
    holders: BTreeMap<PartitionId, Arc<str>>,
    /// Whether the log holds a record of partition counts, which Kafka before 4.1 wrote.
    has_partition_metadata: bool,
    /// Offset of the metadata that the hash was last compared with; not durable.
    metadata_checked: i64,
    /// Every member's pattern is resolved and every pattern has a member, and no record changed that; not durable.
    patterns_settled: bool,
}

impl ConsumerGroup {
    /// A group without members. Its first epoch is 1, so that no epoch handed out is the 0 of a join.
    #[must_use]
    pub fn new(id: Arc<str>) -> Self {
        Self {
            id,
            epoch: 1,
            metadata_hash: 0,
            target_epoch: TargetEpoch {
                epoch: 1,
                timestamp_ms: 0,
            },
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            target: BTreeMap::new(),
            patterns: BTreeMap::new(),
            holders: BTreeMap::new(),
            has_partition_metadata: false,
            metadata_checked: -1,
            patterns_settled: false,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How often something changed that the assignment depends on.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The epoch that the target assignment was computed for.
    #[must_use]
    pub fn target_epoch(&self) -> i32 {
        self.target_epoch.epoch
    }

    /// How many are in it.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Its members, by id.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<Arc<str>, Member> {
        &self.members
    }

    /// The member with that id.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// The static member of that name.
    #[must_use]
    pub fn static_member(&self, instance_id: &str) -> Option<&Member> {
        self.members.get(self.static_members.get(instance_id)?)
    }

    /// What the member is to own.
    #[must_use]
    pub fn target(&self, member_id: &str) -> Option<&PartitionSet> {
        self.target.get(member_id)
    }

    /// Who holds `partition`: it was granted and is not known to be given up.
    #[must_use]
    pub fn holder(&self, partition: PartitionId) -> Option<&Arc<str>> {
        self.holders.get(&partition)
    }

    /// What the group is doing.
    #[must_use]
    pub fn state(&self) -> GroupState {
        let mut members = self.members.values();
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epoch > self.target_epoch.epoch {
            GroupState::Assigning
        } else if members.all(|member| member.current.is_reconciled_to(self.target_epoch.epoch)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// Applies a record, one that a decision just made or one from the log.
    pub fn replay(&mut self, record: &ConsumerRecord) {
        if matches!(
            record,
            ConsumerRecord::Member(..) | ConsumerRecord::Pattern(..)
        ) {
            self.patterns_settled = false;
        }
        match record {
            ConsumerRecord::Group(value) => {
                let value = value.unwrap_or(GroupEpoch {
                    epoch: 1,
                    metadata_hash: 0,
                });
                (self.epoch, self.metadata_hash) = (value.epoch, value.metadata_hash);
            }
            ConsumerRecord::PartitionMetadata(present) => self.has_partition_metadata = *present,
            ConsumerRecord::Member(id, Some(metadata)) => self.replay_metadata(id, metadata),
            ConsumerRecord::Member(id, None) => self.remove_member(id),
            ConsumerRecord::TargetEpoch(value) => {
                self.target_epoch = value.unwrap_or(TargetEpoch {
                    epoch: 1,
                    timestamp_ms: 0,
                });
            }
            ConsumerRecord::Target(id, Some(partitions)) => {
                self.target.insert(id.clone(), partitions.clone());
            }
            ConsumerRecord::Target(id, None) => {
                self.target.remove(id);
            }
            ConsumerRecord::Current(id, value) => self.replay_current(id, value.as_ref()),
            ConsumerRecord::Pattern(pattern, Some(resolved)) => {
                self.patterns.insert(pattern.clone(), resolved.clone());
            }
            ConsumerRecord::Pattern(pattern, None) => {
                self.patterns.remove(pattern);
            }
        }
    }

    /// Adds what takes `record` back to `undo`, which is applied from its end.
    fn push_inverse(&self, record: &ConsumerRecord, undo: &mut Vec<ConsumerRecord>) {
        let member = |id: &Arc<str>| self.members.get(id);
        let inverse = match record {
            ConsumerRecord::Group(_) => ConsumerRecord::Group(Some(GroupEpoch {
                epoch: self.epoch,
                metadata_hash: self.metadata_hash,
            })),
            ConsumerRecord::PartitionMetadata(_) => {
                ConsumerRecord::PartitionMetadata(self.has_partition_metadata)
            }
            ConsumerRecord::Member(id, value) => {
                if let (Some(member), None) = (member(id), value) {
                    // Its place goes with it.
                    let current = member.current.clone();
                    undo.push(ConsumerRecord::Current(id.clone(), Some(current)));
                }
                let metadata = member(id).map(|member| Box::new(member.metadata.clone()));
                ConsumerRecord::Member(id.clone(), metadata)
            }
            ConsumerRecord::TargetEpoch(_) => ConsumerRecord::TargetEpoch(Some(self.target_epoch)),
            ConsumerRecord::Target(id, _) => {
                ConsumerRecord::Target(id.clone(), self.target.get(id).cloned())
            }
            ConsumerRecord::Current(id, _) => match member(id) {
                Some(member) => ConsumerRecord::Current(id.clone(), Some(member.current.clone())),
                None => ConsumerRecord::Member(id.clone(), None),
            },
            ConsumerRecord::Pattern(pattern, _) => {
                ConsumerRecord::Pattern(pattern.clone(), self.patterns.get(pattern).cloned())
            }
        };
        undo.push(inverse);
    }

    /// Takes a decision back that is not to be. Deadlines of members stay, of those who were to join they go.
    pub(super) fn take_back(&mut self, undo: &[ConsumerRecord], timers: &mut Timers) {
        for record in undo.iter().rev() {
            self.replay(record);
            if let ConsumerRecord::Member(id, None) = record {
                self.cancel_timers(id, timers);
            }
        }
        self.metadata_checked = -1;
    }

    fn replay_metadata(&mut self, id: &Arc<str>, metadata: &MemberMetadata) {
        let old_instance = self
            .members
            .get(id)
            .and_then(|member| member.metadata.instance_id.clone());
        if let Some(instance) =
            old_instance.filter(|old| metadata.instance_id.as_ref() != Some(old))
        {
            self.release_instance(&instance, id);
        }
        if let Some(instance) = &metadata.instance_id {
            self.static_members.insert(instance.clone(), id.clone());
        }
        let mut metadata = metadata.clone();
        // Members of a group ask for the same topics as a rule; one list serves them all.
        let known = self.members.values().map(|member| &member.metadata.topics);
        if let Some(same) = known.into_iter().find(|topics| **topics == metadata.topics) {
            metadata.topics = same.clone();
        }
        let member = self.members.entry(id.clone());
        member.or_insert_with(|| Member::new(id.clone())).metadata = metadata;
    }

    fn replay_current(&mut self, id: &Arc<str>, value: Option<&CurrentAssignment>) {
        if value.is_none() && !self.members.contains_key(id) {
            return;
        }
        self.release_partitions(id);
        let next = value.cloned().unwrap_or(CurrentAssignment {
            epoch: LEAVE_EPOCH,
            previous_epoch: LEAVE_EPOCH,
            ..CurrentAssignment::default()
        });
        for partition in next.assigned.partitions().chain(next.revoking.partitions()) {
            self.holders.insert(partition, id.clone());
        }
        let member = self.members.entry(id.clone());
        member.or_insert_with(|| Member::new(id.clone())).current = next;
    }

    fn remove_member(&mut self, id: &Arc<str>) {
        self.release_partitions(id);
        if let Some(member) = self.members.remove(id)
            && let Some(instance) = &member.metadata.instance_id
        {
            self.release_instance(instance, id);
        }
    }

    /// The instance id may belong to another member by now.
    fn release_instance(&mut self, instance: &Arc<str>, id: &Arc<str>) {
        if self.static_members.get(instance) == Some(id) {
            self.static_members.remove(instance);
        }
    }

    fn release_partitions(&mut self, id: &Arc<str>) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let held = member.current.assigned.partitions();
        for partition in held.chain(member.current.revoking.partitions()) {
            if self.holders.get(&partition) == Some(id) {
                self.holders.remove(&partition);
            }
        }
    }

    /// Arms the timers that a restart lost: everybody gets a whole session and a whole rebalance.
    pub fn arm_timers(&self, now: Now, settings: &ConsumerGroupSettings, timers: &mut Timers) {
        if self.has_unresolved_pattern() {
            timers.arm(TimerKey::ConsumerRefresh(self.id.clone()), now.monotonic_ms);
        }
        for member in self.members.values() {
            self.arm_session(member, now, settings, timers);
            let waits = member.current.state == MemberState::UnrevokedPartitions;
            if waits && !member.is_classic() {
                let key = TimerKey::ConsumerRebalance(self.id.clone(), member.id.clone());
                timers.arm(
                    key,
                    now.monotonic_ms + i64::from(member.metadata.rebalance_timeout_ms),
                );
            }
        }
    }

    /// Gives the member a whole session from now on.
    pub(super) fn arm_session(
        &self,
        member: &Member,
        now: Now,
        settings: &ConsumerGroupSettings,
        timers: &mut Timers,
    ) {
        let classic = member.metadata.classic.as_ref();
        let timeout = classic.map_or(settings.session_timeout_ms, |classic| {
            classic.session_timeout_ms
        });
        let key = TimerKey::ConsumerSession(self.id.clone(), member.id.clone());
        timers.arm(key, now.monotonic_ms + i64::from(timeout));
    }

    /// Forgets the timers of a member.
    pub(super) fn cancel_timers(&self, member_id: &Arc<str>, timers: &mut Timers) {
        let (group, member) = (|| self.id.clone(), || member_id.clone());
        timers.cancel(&TimerKey::ConsumerSession(group(), member()));
        timers.cancel(&TimerKey::ConsumerRebalance(group(), member()));
        timers.cancel(&TimerKey::ConsumerJoin(group(), member()));
        timers.cancel(&TimerKey::ConsumerSync(group(), member()));
    }

    /// The member with that id, or the refusal.
    pub(super) fn known_member(&self, id: &str) -> Result<&Member, ConsumerGroupError> {
        self.members
            .get(id)
            .ok_or_else(|| ConsumerGroupError::unknown_member(id, &self.id))
    }

    /// Fails the process unless both are the same in all that is durable.
    #[cfg(test)]
    pub(crate) fn assert_same_but_for_the_last_look(&self, other: &Self) {
        let mut same = self.clone();
        same.metadata_checked = other.metadata_checked;
        same.patterns_settled = other.patterns_settled;
        assert_eq!(format!("{same:?}"), format!("{other:?}"));
    }

    /// Fails the process if a partition has two holders or one that does not say so.
    #[cfg(test)]
    pub(crate) fn assert_consistent(&self) {
        let mut seen = BTreeMap::new();
        for member in self.members.values() {
            let held = member.current.assigned.partitions();
            for partition in held.chain(member.current.revoking.partitions()) {
                let other = seen.insert(partition, member.id.clone());
                assert_eq!(other, None, "{partition:?} has two holders");
            }
        }
        assert_eq!(seen, self.holders);
        let statics = self
            .members
            .values()
            .filter_map(|member| Some((member.metadata.instance_id.clone()?, member.id.clone())));
        assert_eq!(statics.collect::<BTreeMap<_, _>>(), self.static_members);
        assert!(
            self.members
                .values()
                .all(|member| member.current.epoch != LEAVE_EPOCH)
        );
    }
}

//! From one protocol to the other while members are in the group (`group.consumer.migration.policy`).
//!
//! Upgrade: the first member of the consumer protocol turns a classic group of consumers into a consumer group; its
//! members stay, at the generation as epoch, and are asked to join again. Downgrade: when the last member of the consumer
//! protocol goes, what is left becomes a classic group again, at the group's epoch as generation.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::embedded::{
    PROTOCOL_TYPE, Subscription, decode_assignment, encode_assignment, version_of,
};
use super::error::ConsumerGroupError;
use super::member::{ClassicMetadata, CurrentAssignment, Member, MemberMetadata, MemberState};
use super::partitions::PartitionSet;
use super::record::{ConsumerRecord, GroupEpoch, TargetEpoch};
use super::subscription::metadata_hash;
use super::{ConsumerGroup, Work};
use crate::groups::turn::{BATCH_HEADER_BYTES, EncodedRecord, RECORD_OVERHEAD_BYTES};

/// A classic group as the migration sees it.
#[derive(Debug, Clone, Default)]
pub struct ClassicView {
    /// Its generation.
    pub generation: i32,
    /// The protocol in force.
    pub protocol: Option<Arc<str>>,
    /// Its members.
    pub members: Vec<ClassicMemberView>,
}

/// A member of a classic group as the migration sees it.
#[derive(Debug, Clone)]
pub struct ClassicMemberView {
    /// Its id.
    pub id: Arc<str>,
    /// Name of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// How long it may take to join again.
    pub rebalance_timeout_ms: i32,
    /// Silence after which it is taken for dead.
    pub session_timeout_ms: i32,
    /// Its protocols with their metadata, the most wanted first.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// What the leader gave it.
    pub assignment: Bytes,
}

/// A member in the record of a classic group beside texts and bytes, at most.
const MEMBER_FIXED_BYTES: usize = 64;
/// A classic group's record beside its name, its protocol and its members, at most.
const GROUP_FIXED_BYTES: usize = 128;

impl ClassicMemberView {
    /// What it takes in the record of its group, at most.
    fn record_bytes(&self) -> usize {
        let instance = self.instance_id.as_ref().map_or(0, |id| id.len());
        // Whichever protocol is in force.
        let metadata = self.protocols.iter().map(|(_, metadata)| metadata.len());
        let texts = self.id.len() + instance + self.client_id.len() + self.client_host.len();
        MEMBER_FIXED_BYTES + texts + metadata.max().unwrap_or(0) + self.assignment.len()
    }
}

/// The classic group that a consumer group is to become.
#[derive(Debug, Clone)]
pub struct Downgrade {
    /// It, stable, with the target as assignment.
    pub group: ClassicView,
    /// Whether its members have to join again at once.
    pub rebalance: bool,
}

impl ConsumerGroup {
    /// The consumer group that a classic group of consumers becomes. Its records are written; those that remove the
    /// classic group go before them.
    ///
    /// # Errors
    /// The group is too large, or its members' metadata is not what consumers send.
    pub fn from_classic(
        id: Arc<str>,
        classic: &ClassicView,
        work: &mut Work<'_>,
    ) -> Result<Self, ConsumerGroupError> {
        let mut group = Self::new(id);
        let mut members = Vec::with_capacity(classic.members.len());
        for member in &classic.members {
            members.push(group.upgraded(member, classic, work)?);
        }
        let mut taken = BTreeMap::new();
        let mut targets: Vec<(Arc<str>, PartitionSet)> = Vec::new();
        for (member, assigned) in &members {
            // A leader may have given a partition away twice; here nobody owns one with another.
            let mine: PartitionSet = assigned
                .iter()
                .filter(|partition| taken.insert(*partition, member.id.clone()).is_none())
                .collect();
            targets.push((member.id.clone(), mine));
        }
        for (member, _) in &members {
            let metadata = Some(Box::new(member.metadata.clone()));
            work.change(
                &mut group,
                ConsumerRecord::Member(member.id.clone(), metadata),
            );
        }
        let epoch = classic.generation.max(1);
        let group_epoch = GroupEpoch {
            epoch,
            metadata_hash: metadata_hash(&group.subscribed_topics(), work.image),
        };
        work.change(&mut group, ConsumerRecord::Group(Some(group_epoch)));
        for (id, target) in &targets {
            work.change(
                &mut group,
                ConsumerRecord::Target(id.clone(), Some(target.clone())),
            );
        }
        let target_epoch = TargetEpoch {
            epoch,
            // None computed yet: the next heartbeat may compute one at once.
            timestamp_ms: 0,
        };
        work.change(&mut group, ConsumerRecord::TargetEpoch(Some(target_epoch)));
        for (id, target) in targets {
            let current = CurrentAssignment {
                epoch,
                previous_epoch: epoch,
                state: MemberState::Stable,
                assigned: target.iter().map(|partition| (partition, epoch)).collect(),
                ..CurrentAssignment::default()
            };
            work.change(&mut group, ConsumerRecord::Current(id, Some(current)));
        }
        for member in group.members.values() {
            group.arm_session(member, work.now, work.settings, work.timers);
        }
        Ok(group)
    }

    fn upgraded(
        &self,
        member: &ClassicMemberView,
        classic: &ClassicView,
        work: &Work<'_>,
    ) -> Result<(Member, PartitionSet), ConsumerGroupError> {
        let malformed = || {
            ConsumerGroupError::GroupNotFound(format!(
                "Cannot upgrade classic group {} to consumer group because the embedded consumer protocol is malformed.",
                self.id
            ))
        };
        let in_force = classic.protocol.as_ref();
        let metadata = member
            .protocols
            .iter()
            .find(|(name, _)| in_force.is_none_or(|protocol| name == protocol))
            .map(|(_, metadata)| metadata)
            .ok_or_else(malformed)?;
        let subscription = Subscription::decode(metadata, work.image).map_err(|_| malformed())?;
        let assigned =
            decode_assignment(&member.assignment, work.image).map_err(|_| malformed())?;
        let mut upgraded = Member::new(member.id.clone());
        upgraded.metadata = MemberMetadata {
            instance_id: member.instance_id.clone(),
            rack_id: subscription.rack,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: subscription.topics,
            regex: None,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            assignor: None,
            classic: Some(ClassicMetadata {
                session_timeout_ms: member.session_timeout_ms,
                protocols: member.protocols.clone(),
            }),
        };
        Ok((upgraded, assigned))
    }

    /// Whether `id` is the only member of the consumer protocol.
    pub(super) fn only_consumer_is(&self, id: &str) -> bool {
        let mut consumers = self.members.values().filter(|member| !member.is_classic());
        consumers.next().is_some_and(|member| *member.id == *id) && consumers.next().is_none()
    }

    /// What the group becomes when `leaving` go; `None` if it stays a consumer group. The group is not changed.
    pub(super) fn downgrade_without(
        &self,
        leaving: &[Arc<str>],
        work: &Work<'_>,
    ) -> Option<Downgrade> {
        let goes = |member: &Member| leaving.contains(&member.id);
        let loses_consumer = self
            .members
            .values()
            .any(|member| goes(member) && !member.is_classic());
        if !loses_consumer {
            return None;
        }
        let staying: Vec<_> = self
            .members
            .values()
            .filter(|member| !goes(member))
            .collect();
        self.downgraded(&staying, true, work)
    }

    /// What the group becomes when a classic member took the place of the last of the consumer protocol.
    pub(super) fn downgrade_of_all(&self, work: &Work<'_>) -> Option<Downgrade> {
        let all: Vec<_> = self.members.values().collect();
        self.downgraded(&all, false, work)
    }

    fn downgraded(
        &self,
        members: &[&Member],
        rebalance: bool,
        work: &Work<'_>,
    ) -> Option<Downgrade> {
        let allowed = work.settings.migration.downgrade
            && !members.is_empty()
            && members.len() <= work.settings.classic_members_max;
        if !allowed || !members.iter().all(|member| member.is_classic()) {
            return None;
        }
        let classics: Vec<_> = members
            .iter()
            .filter_map(|member| Some((*member, member.metadata.classic.as_ref()?)))
            .collect();
        let protocol = common_protocol(&classics)?;
        let members = classics
            .iter()
            .map(|(member, classic)| {
                let metadata = classic.protocols.iter().find(|(name, _)| *name == protocol);
                let version = metadata.map_or(0, |(_, metadata)| version_of(metadata));
                let target = self
                    .target
                    .get(&member.id)
                    .into_iter()
                    .flat_map(PartitionSet::iter);
                ClassicMemberView {
                    id: member.id.clone(),
                    instance_id: member.metadata.instance_id.clone(),
                    client_id: member.metadata.client_id.clone(),
                    client_host: member.metadata.client_host.clone(),
                    rebalance_timeout_ms: member.metadata.rebalance_timeout_ms,
                    session_timeout_ms: classic.session_timeout_ms,
                    protocols: classic.protocols.clone(),
                    assignment: encode_assignment(target, version, work.image),
                }
            })
            .collect();
        let group = ClassicView {
            generation: self.epoch,
            protocol: Some(protocol),
            members,
        };
        // What the log would not take as one decision is not begun: the group stays what it is.
        let bytes = self.exchange_bytes(&group, work.records);
        (bytes <= work.batch_bytes_max).then_some(Downgrade { group, rebalance })
    }

    /// What it takes in the log to become `group` after `before`, at most.
    fn exchange_bytes(&self, group: &ClassicView, before: &[ConsumerRecord]) -> usize {
        let tombstones = self.tombstones();
        let records = before.iter().chain(&tombstones);
        let records = records.map(|record| EncodedRecord::of_change(&record.to_wire(&self.id)));
        let records: usize = records.map(|record| record.bytes()).sum();
        let members = group.members.iter().map(ClassicMemberView::record_bytes);
        let protocol = group.protocol.as_ref().map_or(0, |protocol| protocol.len());
        let fixed = BATCH_HEADER_BYTES + RECORD_OVERHEAD_BYTES + GROUP_FIXED_BYTES;
        records + members.sum::<usize>() + self.id.len() + protocol + fixed
    }
}

impl Downgrade {
    /// The protocol type of every group that can be downgraded to.
    pub const PROTOCOL_TYPE: &'static str = PROTOCOL_TYPE;
}

/// The protocol that everybody knows and most put first.
fn common_protocol(members: &[(&Member, &ClassicMetadata)]) -> Option<Arc<str>> {
    let knows = |classic: &ClassicMetadata, name: &Arc<str>| {
        classic.protocols.iter().any(|(other, _)| other == name)
    };
    let mut votes: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for (_, classic) in members {
        let mut names = classic.protocols.iter().map(|(name, _)| name);
        let vote = names.find(|name| members.iter().all(|(_, other)| knows(other, name)));
        *votes.entry(vote?.clone()).or_default() += 1;
    }
    let most = votes.values().max().copied()?;
    votes
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(name, _)| name)
}

//! ConsumerGroupHeartbeat: a member joins, changes its mind, reports what it owns, leaves.
//!
//! Four steps: who is it; did the group change; is there a target for the group as it is now; one step of this member
//! towards it. Everything that can be refused is refused before the first change.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assignor::Assignor;
use super::error::ConsumerGroupError;
use super::member::{
    CurrentAssignment, JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, Member, MemberMetadata,
    MemberState,
};
use super::partitions::PartitionSet;
use super::pattern::TopicPattern;
use super::reconcile::Target;
use super::record::ConsumerRecord;
use super::removal::Removal;
use super::request::{ConsumerHeartbeat, HeartbeatAccepted};
use super::settings::ConsumerGroupSettings;
use super::{ConsumerGroup, Work};
use crate::groups::timers::TimerKey;
use crate::limits::GROUP_MEMBER_BYTES_MAX;

impl ConsumerHeartbeat {
    /// Refuses what contradicts the protocol, whatever the group.
    ///
    /// # Errors
    /// Kafka's refusals, in Kafka's order.
    pub fn validate(&self, settings: &ConsumerGroupSettings) -> Result<(), ConsumerGroupError> {
        let refuse = |wrong: bool, text| {
            if wrong {
                return Err(ConsumerGroupError::InvalidRequest(text));
            }
            Ok(())
        };
        let blank = |text: &Option<Arc<str>>| text.as_ref().is_some_and(|text| is_blank(text));
        let needs_id = self.brings_id || self.epoch != JOIN_EPOCH;
        refuse(is_blank(&self.group), "GroupId can't be empty.")?;
        refuse(
            needs_id && is_blank(&self.member),
            "MemberId can't be empty.",
        )?;
        refuse(blank(&self.instance), "InstanceId can't be empty.")?;
        refuse(blank(&self.rack), "RackId can't be empty.")?;
        refuse(
            self.subscription_bytes() > GROUP_MEMBER_BYTES_MAX,
            "The subscription is larger than a member's may be.",
        )?;
        match self.epoch {
            JOIN_EPOCH => {
                let owns = self.owned.as_ref().is_none_or(|owned| !owned.is_empty());
                let subscribes = self.topics.is_some() || self.pattern.is_some();
                refuse(
                    self.rebalance_timeout_ms == -1,
                    "RebalanceTimeoutMs must be provided in first request.",
                )?;
                refuse(owns, "TopicPartitions must be empty when (re-)joining.")?;
                refuse(
                    !subscribes,
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                )?;
            }
            LEAVE_STATIC_EPOCH => refuse(self.instance.is_none(), "InstanceId can't be null.")?,
            epoch => refuse(epoch < LEAVE_EPOCH, "MemberEpoch is invalid.")?,
        }
        let offered = |name: &str| {
            Assignor::from_name(name).is_some_and(|assignor| settings.assignors.contains(&assignor))
        };
        match self.assignor.as_deref() {
            Some(name) if !offered(name) => Err(ConsumerGroupError::UnsupportedAssignor {
                name: name.to_owned(),
                supported: settings.assignor_names(),
            }),
            _ => Ok(()),
        }
    }
}

impl ConsumerHeartbeat {
    /// What the record of the member would hold of the request.
    fn subscription_bytes(&self) -> usize {
        let topics = self.topics.iter().flatten().map(|topic| topic.len());
        topics.sum::<usize>() + self.pattern.as_ref().map_or(0, |pattern| pattern.len())
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// The member a request speaks for.
struct Speaker {
    /// Its id.
    id: Arc<str>,
    /// The static member it takes the place of, if that is another.
    replaces: Option<Arc<str>>,
}

impl ConsumerGroup {
    /// A validated heartbeat that does not leave.
    ///
    /// # Errors
    /// As Kafka; nothing was changed then.
    pub fn heartbeat(
        &mut self,
        request: &ConsumerHeartbeat,
        work: &mut Work<'_>,
    ) -> Result<HeartbeatAccepted, ConsumerGroupError> {
        let id = match request.member.is_empty() {
            true => &request.new_member,
            false => &request.member,
        };
        let speaker = self.speaker(request, id)?;
        let base = speaker.replaces.as_ref().unwrap_or(&speaker.id);
        let old = self.members.get(base).cloned();
        if old.is_none() {
            self.refuse_if_full(work.settings)?;
        }
        let metadata = updated_metadata(old.as_ref().map(|member| &member.metadata), request);
        if let Some(pattern) = metadata.pattern()
            && !self.patterns.contains_key(pattern)
        {
            TopicPattern::parse(pattern)?;
        }
        // A member in a state of a later version has to come back without partitions.
        let is_lost = old
            .as_ref()
            .is_some_and(|member| member.current.state == MemberState::Unknown);
        if is_lost && request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return Err(ConsumerGroupError::UnknownMemberState);
        }

        if let Some(replaced) = &speaker.replaces {
            self.replace_member(replaced, &speaker.id, work);
        }
        self.advance(&speaker.id, metadata, request.owned.as_ref(), work)?;

        let member = self.known_member(&speaker.id)?;
        self.arm_session(member, work.now, work.settings, work.timers);
        let was = old.as_ref().map(|member| &member.current.assigned);
        let moved = was.is_none_or(|was| !was.same_partitions(&member.current.assigned));
        let tells = request.epoch == JOIN_EPOCH || request.is_full() || moved;
        Ok(HeartbeatAccepted {
            member: member.id.clone(),
            epoch: member.current.epoch,
            heartbeat_interval_ms: work.settings.heartbeat_interval_ms,
            assignment: tells.then(|| member.current.assigned.partitions().collect()),
        })
    }

    /// A heartbeat that leaves, for good or for a while.
    ///
    /// # Errors
    /// The member is not known, or another took its place; nothing was changed then.
    pub fn leave(
        &mut self,
        request: &ConsumerHeartbeat,
        work: &mut Work<'_>,
    ) -> Result<(HeartbeatAccepted, Removal), ConsumerGroupError> {
        let id = match &request.instance {
            None => self.known_member(&request.member)?.id.clone(),
            Some(instance) => self.owner_of(instance, &request.member)?.id.clone(),
        };
        let removal = if request.epoch == LEAVE_STATIC_EPOCH {
            self.park_static_member(&id, work);
            Removal::Stays
        } else {
            self.remove_members(std::slice::from_ref(&id), work)
        };
        let accepted = HeartbeatAccepted {
            member: id,
            epoch: request.epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        };
        Ok((accepted, removal))
    }

    /// Refuses one more member in a full group.
    pub(super) fn refuse_if_full(
        &self,
        settings: &ConsumerGroupSettings,
    ) -> Result<(), ConsumerGroupError> {
        if self.members.len() >= settings.members_max {
            return Err(ConsumerGroupError::GroupFull(settings.members_max));
        }
        Ok(())
    }

    /// The static member of that name, which must be `id`.
    pub(super) fn owner_of(&self, instance: &str, id: &str) -> Result<&Member, ConsumerGroupError> {
        let owner = self.static_member(instance).ok_or_else(|| {
            ConsumerGroupError::UnknownMember(format!("Instance id {instance} is unknown."))
        })?;
        if *owner.id != *id {
            return Err(ConsumerGroupError::InstanceFenced {
                member: id.to_owned(),
                instance: instance.to_owned(),
                owner: owner.id.to_string(),
            });
        }
        Ok(owner)
    }

    fn speaker(
        &self,
        request: &ConsumerHeartbeat,
        id: &Arc<str>,
    ) -> Result<Speaker, ConsumerGroupError> {
        let joins = request.epoch == JOIN_EPOCH;
        let mut speaker = Speaker {
            id: id.clone(),
            replaces: None,
        };
        let existing = match &request.instance {
            None if joins => self.members.get(id),
            None => Some(self.known_member(id)?),
            Some(instance) if joins => self.static_member(instance),
            Some(instance) => Some(self.owner_of(instance, id)?),
        };
        let Some(member) = existing else {
            return Ok(speaker);
        };
        if member.id != *id {
            let has_left = member.current.epoch == LEAVE_STATIC_EPOCH;
            if !has_left && !member.is_classic() {
                return Err(ConsumerGroupError::InstanceUnreleased {
                    member: id.to_string(),
                    instance: request.instance.as_deref().unwrap_or_default().to_owned(),
                    owner: member.id.to_string(),
                });
            }
            speaker.replaces = Some(member.id.clone());
        } else if !joins {
            check_epoch(&member.current, request)?;
        }
        Ok(speaker)
    }

    /// Puts the static member `new` in the place of `old`, with all that it owns.
    pub(super) fn replace_member(&mut self, old: &Arc<str>, new: &Arc<str>, work: &mut Work<'_>) {
        let Some(member) = self.members.get(old).cloned() else {
            return;
        };
        let target = self.target.get(old).cloned().unwrap_or_default();
        self.write_removal(old, work);
        self.cancel_timers(old, work.timers);
        let current = CurrentAssignment {
            epoch: JOIN_EPOCH,
            previous_epoch: JOIN_EPOCH,
            ..member.current
        };
        let metadata = Some(Box::new(member.metadata));
        work.change(self, ConsumerRecord::Member(new.clone(), metadata));
        work.change(self, ConsumerRecord::Target(new.clone(), Some(target)));
        work.change(self, ConsumerRecord::Current(new.clone(), Some(current)));
    }

    /// Takes over what the member says of itself, brings the group up to date and makes one step of the member.
    pub(super) fn advance(
        &mut self,
        id: &Arc<str>,
        metadata: MemberMetadata,
        reported: Option<&PartitionSet>,
        work: &mut Work<'_>,
    ) -> Result<(), ConsumerGroupError> {
        let subscription_changed = self.write_metadata(id, metadata, work);
        let patterns_changed = self.refresh_patterns(work);
        self.refresh_epoch(subscription_changed || patterns_changed, work);
        self.refresh_target(work);
        self.reconcile(id, reported, work)
    }

    /// Writes what the member says of itself if that is new; whether the group has to be assigned anew.
    fn write_metadata(
        &mut self,
        id: &Arc<str>,
        metadata: MemberMetadata,
        work: &mut Work<'_>,
    ) -> bool {
        let old = self.members.get(id).map(|member| &member.metadata);
        if old == Some(&metadata) {
            return false;
        }
        let nothing = MemberMetadata::default();
        let old = old.unwrap_or(&nothing);
        // A new pattern counts when it is resolved.
        let pattern_changed = old.pattern() != metadata.pattern() && !self.is_unresolved(&metadata);
        let changed = old.topics != metadata.topics || pattern_changed;
        let record = ConsumerRecord::Member(id.clone(), Some(Box::new(metadata)));
        work.change(self, record);
        changed
    }

    /// One step of the member towards its target.
    fn reconcile(
        &mut self,
        id: &Arc<str>,
        reported: Option<&PartitionSet>,
        work: &mut Work<'_>,
    ) -> Result<(), ConsumerGroupError> {
        let member = self.known_member(id)?;
        let epoch = self.target_epoch.epoch;
        let is_current = self.epoch == epoch;
        if is_current && member.current.is_reconciled_to(epoch) {
            return Ok(());
        }
        let none = PartitionSet::default();
        let wanted = Self::existing_topics(&self.topics_of(&member.metadata), work.image);
        let next = member.current.step(&Target {
            epoch,
            partitions: self.target.get(id).unwrap_or(&none),
            // Only a target older than the group can hold what the member does not ask for.
            wanted: &|partition| is_current || wanted.contains_key(&partition.topic_id),
            held_by_another: &|partition| self.holder(partition).is_some_and(|holder| holder != id),
            reported,
        })?;
        if next == member.current {
            return Ok(());
        }
        let waits = next.state == MemberState::UnrevokedPartitions && !member.is_classic();
        let goes_on_waiting =
            member.current.state == next.state && member.current.epoch == next.epoch;
        let timeout = i64::from(member.metadata.rebalance_timeout_ms);
        work.change(self, ConsumerRecord::Current(id.clone(), Some(next)));
        let key = TimerKey::ConsumerRebalance(self.id.clone(), id.clone());
        if !waits {
            work.timers.cancel(&key);
        } else if !goes_on_waiting || !work.timers.is_armed(&key) {
            work.timers.arm(key, work.now.monotonic_ms + timeout);
        }
        Ok(())
    }
}

/// The epoch of a member that is known: the present one, or the one before if its last answer was lost.
fn check_epoch(
    current: &CurrentAssignment,
    request: &ConsumerHeartbeat,
) -> Result<(), ConsumerGroupError> {
    let (received, known) = (request.epoch, current.epoch);
    if received > known {
        return Err(ConsumerGroupError::EpochAhead { received, known });
    }
    let owns_what_is_assigned = request.owned.as_ref().is_some_and(|owned| {
        let mut owned = owned.iter();
        owned.all(|partition| current.assigned.contains(partition))
    });
    if received < known && !(received == current.previous_epoch && owns_what_is_assigned) {
        return Err(ConsumerGroupError::EpochBehind { received, known });
    }
    Ok(())
}

/// What the member says now over what it said before.
fn updated_metadata(old: Option<&MemberMetadata>, request: &ConsumerHeartbeat) -> MemberMetadata {
    let mut metadata = old.cloned().unwrap_or_default();
    metadata.client_id = request.client.clone();
    metadata.client_host = request.host.clone();
    metadata.classic = None;
    if request.instance.is_some() {
        metadata.instance_id.clone_from(&request.instance);
    }
    if request.rack.is_some() {
        metadata.rack_id.clone_from(&request.rack);
    }
    if request.rebalance_timeout_ms != -1 {
        metadata.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if request.assignor.is_some() {
        metadata.assignor.clone_from(&request.assignor);
    }
    if let Some(topics) = &request.topics {
        let topics: BTreeSet<_> = topics.iter().cloned().collect();
        metadata.topics = topics.into_iter().collect();
    }
    if request.pattern.is_some() {
        metadata.regex.clone_from(&request.pattern);
    }
    metadata
}

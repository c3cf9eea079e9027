//! Members of a consumer group that speak the classic protocol (KIP-848, online migration).
//!
//! JoinGroup is their heartbeat: it makes one step towards the target. SyncGroup fetches what the step gave, Heartbeat
//! tells when to join again. Nobody waits for the others, so every request is answered at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::embedded::{PROTOCOL_TYPE, Subscription, encode_assignment, version_of};
use super::error::ConsumerGroupError;
use super::member::{ClassicMetadata, Member, MemberState};
use super::migration::Downgrade;
use super::removal::Removal;
use super::{ConsumerGroup, Work};
use crate::groups::request::{Join, Joined, Leave, MemberAt, Sync, Synced};
use crate::groups::timers::TimerKey;

impl ConsumerGroup {
    /// JoinGroup of a member of the classic protocol.
    ///
    /// # Errors
    /// As Kafka; nothing was changed then.
    pub fn classic_join(
        &mut self,
        request: &Join,
        work: &mut Work<'_>,
    ) -> Result<(Joined, Option<Downgrade>), ConsumerGroupError> {
        let has_no_id = request.who.member.is_empty();
        let id = if has_no_id {
            &request.new_member
        } else {
            &request.who.member
        };
        let replaces = self.classic_speaker(request, id)?;
        let known = replaces.as_ref().unwrap_or(id);
        if !self.members.contains_key(known) {
            self.refuse_if_full(work.settings)?;
        }
        let refused = || {
            ConsumerGroupError::InconsistentProtocol(format!(
                "Member {id}'s protocols are not supported."
            ))
        };
        if !self.supports_classic(request, known) {
            return Err(refused());
        }
        if has_no_id && request.who.instance.is_none() && request.id_required {
            return Err(ConsumerGroupError::MemberIdRequired(id.to_string()));
        }
        let (_, metadata_bytes) = request.protocols.first().ok_or_else(refused)?;
        let subscription =
            Subscription::decode(metadata_bytes, work.image).map_err(|_| refused())?;

        let last_consumer = replaces
            .as_ref()
            .filter(|old| self.only_consumer_is(old))
            .cloned();
        if let Some(old) = &replaces {
            self.replace_member(old, id, work);
        }
        let old = self.members.get(id).map(|member| member.metadata.clone());
        let mut metadata = old.unwrap_or_default();
        metadata.topics = subscription.topics;
        metadata.regex = None;
        metadata.client_id = request.client.clone();
        metadata.client_host = request.host.clone();
        metadata.rebalance_timeout_ms = request.rebalance_timeout_ms;
        metadata.assignor = None;
        if request.who.instance.is_some() {
            metadata.instance_id.clone_from(&request.who.instance);
        }
        if subscription.rack.is_some() {
            metadata.rack_id = subscription.rack;
        }
        metadata.classic = Some(ClassicMetadata {
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols.clone(),
        });
        self.advance(id, metadata, Some(&subscription.owned), work)?;

        let member = self.known_member(id)?;
        let joined = Joined {
            generation: member.current.epoch,
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol: request.protocols.first().map(|(name, _)| name.clone()),
            leader: None,
            skip_assignment: false,
            member: id.clone(),
            members: Vec::new(),
        };
        work.timers
            .cancel(&TimerKey::ConsumerJoin(self.id.clone(), id.clone()));
        if last_consumer.is_some()
            && let Some(downgrade) = self.downgrade_of_all(work)
        {
            return Ok((joined, Some(downgrade)));
        }
        self.arm_session(member, work.now, work.settings, work.timers);
        let key = TimerKey::ConsumerSync(self.id.clone(), id.clone());
        let deadline = work.now.monotonic_ms + i64::from(request.rebalance_timeout_ms);
        work.timers.arm(key, deadline);
        Ok((joined, None))
    }

    /// SyncGroup of a member of the classic protocol.
    ///
    /// # Errors
    /// As Kafka.
    pub fn classic_sync(
        &mut self,
        request: &Sync,
        work: &mut Work<'_>,
    ) -> Result<Synced, ConsumerGroupError> {
        let member = self.classic_member(&request.who)?;
        let classic = classic_of(member)?;
        let (protocol, metadata) = classic
            .protocols
            .first()
            .expect("a member is classic by its protocols");
        if request
            .protocol_type
            .as_deref()
            .is_some_and(|kind| kind != PROTOCOL_TYPE)
        {
            return Err(ConsumerGroupError::InconsistentProtocol(format!(
                "The protocol type from member {} request is not equal to the group protocol type {PROTOCOL_TYPE}.",
                member.id
            )));
        }
        if request
            .protocol
            .as_ref()
            .is_some_and(|name| name != protocol)
        {
            return Err(ConsumerGroupError::InconsistentProtocol(format!(
                "The protocol name from member {} request is not equal to the protocol name {protocol} returned in \
                 the join response.",
                member.id
            )));
        }
        // A member that gives partitions up learns of the next rebalance when it has joined again.
        let behind = self.epoch > member.current.epoch
            && member.current.state != MemberState::UnrevokedPartitions;
        if behind {
            self.await_join(member, work);
            return Err(ConsumerGroupError::RebalanceInProgress {
                group: self.id.to_string(),
                member: member.id.to_string(),
            });
        }
        let owned = member.current.assigned.partitions();
        let synced = Synced {
            protocol_type: request.protocol_type.clone(),
            protocol: request.protocol.clone(),
            assignment: encode_assignment(owned, version_of(metadata), work.image),
        };
        let key = TimerKey::ConsumerSync(self.id.clone(), member.id.clone());
        work.timers.cancel(&key);
        self.arm_session(member, work.now, work.settings, work.timers);
        Ok(synced)
    }

    /// Heartbeat of a member of the classic protocol.
    ///
    /// # Errors
    /// As Kafka; among them that it has to join again.
    pub fn classic_heartbeat(
        &mut self,
        who: &MemberAt,
        work: &mut Work<'_>,
    ) -> Result<(), ConsumerGroupError> {
        let member = self.classic_member(who)?;
        self.arm_session(member, work.now, work.settings, work.timers);
        let rejoin = match member.current.state {
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !self.waits_for_another(member),
            MemberState::Stable | MemberState::Unknown => false,
        };
        if member.current.epoch < self.epoch || rejoin {
            self.await_join(member, work);
            return Err(ConsumerGroupError::RebalanceInProgress {
                group: self.id.to_string(),
                member: member.id.to_string(),
            });
        }
        Ok(())
    }

    /// LeaveGroup of members of the classic protocol: who goes, and the answer for each.
    pub fn classic_leave(
        &mut self,
        request: &Leave,
        work: &mut Work<'_>,
    ) -> (Vec<Result<(), ConsumerGroupError>>, Removal) {
        let mut leaving: Vec<Arc<str>> = Vec::new();
        let mut results = Vec::with_capacity(request.members.len());
        for (id, instance) in &request.members {
            let found = match instance {
                None => self.known_member(id),
                // An administrator names only the instance.
                Some(instance) if id.is_empty() => self.static_member(instance).ok_or_else(|| {
                    ConsumerGroupError::UnknownMember(format!("Instance id {instance} is unknown."))
                }),
                Some(instance) => self.owner_of(instance, id),
            };
            results.push(found.and_then(|member| {
                classic_of(member)?;
                if leaving.contains(&member.id) {
                    return Err(ConsumerGroupError::unknown_member(&member.id, &self.id));
                }
                leaving.push(member.id.clone());
                Ok(())
            }));
        }
        if leaving.is_empty() {
            return (results, Removal::Stays);
        }
        let removal = self.remove_members(&leaving, work);
        (results, removal)
    }

    /// The member in whose place a joining member comes, if that is another.
    fn classic_speaker(
        &self,
        request: &Join,
        id: &Arc<str>,
    ) -> Result<Option<Arc<str>>, ConsumerGroupError> {
        let has_no_id = request.who.member.is_empty();
        match &request.who.instance {
            None => Ok(None),
            Some(instance) if has_no_id => {
                let owner = self.static_member(instance).map(|member| member.id.clone());
                Ok(owner.filter(|owner| owner != id))
            }
            Some(instance) => self.owner_of(instance, id).map(|_| None),
        }
    }

    /// The classic member that `who` says it is, at its epoch.
    fn classic_member(&self, who: &MemberAt) -> Result<&Member, ConsumerGroupError> {
        let member = match &who.instance {
            None => self.known_member(&who.member)?,
            Some(instance) => self.owner_of(instance, &who.member)?,
        };
        classic_of(member)?;
        if member.current.epoch != who.generation {
            return Err(ConsumerGroupError::IllegalGeneration(format!(
                "The request generation id {} is not equal to the member epoch {} of member {}.",
                who.generation, member.current.epoch, member.id
            )));
        }
        Ok(member)
    }

    /// Whether a member with these protocols can be in the group beside the other classic ones.
    fn supports_classic(&self, request: &Join, id: &str) -> bool {
        if *request.protocol_type != *PROTOCOL_TYPE {
            return false;
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut others = 0;
        for member in self.members.values().filter(|member| *member.id != *id) {
            if let Some(classic) = &member.metadata.classic {
                others += 1;
                for (name, _) in &classic.protocols {
                    *counts.entry(name).or_default() += 1;
                }
            }
        }
        let everybody_knows = |name: &Arc<str>| counts.get(&**name).copied().unwrap_or(0) == others;
        let mut names = request
            .protocols
            .iter()
            .map(|(name, _): &(Arc<str>, Bytes)| name);
        names.any(everybody_knows)
    }

    /// Gives a classic member its rebalance timeout to join again, counted from the first time it is told.
    fn await_join(&self, member: &Member, work: &mut Work<'_>) {
        let key = TimerKey::ConsumerJoin(self.id.clone(), member.id.clone());
        if !work.timers.is_armed(&key) {
            let timeout = i64::from(member.metadata.rebalance_timeout_ms);
            work.timers.arm(key, work.now.monotonic_ms + timeout);
        }
    }

    /// Whether something the member is to own is still held by another.
    fn waits_for_another(&self, member: &Member) -> bool {
        self.target.get(&member.id).is_some_and(|target| {
            let mut missing = target
                .iter()
                .filter(|partition| !member.current.assigned.contains(*partition));
            missing.any(|partition| {
                self.holder(partition)
                    .is_some_and(|holder| *holder != member.id)
            })
        })
    }
}

fn classic_of(member: &Member) -> Result<&ClassicMetadata, ConsumerGroupError> {
    member.metadata.classic.as_ref().ok_or_else(|| {
        ConsumerGroupError::UnknownMember(format!(
            "Member {} does not use the classic protocol.",
            member.id
        ))
    })
}

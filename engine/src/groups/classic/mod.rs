//! A group of the classic protocol: members join, a leader among them assigns.
//!
//! Plain state. Invariant: a member gets an assignment only in the generation it joined, and only from that generation's
//! leader, so nothing is owned twice in one generation (RELIABILITY G7). States and their changes are Apache Kafka's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use net::messages::data::consumer_protocol_subscription::ConsumerProtocolSubscription;
use net::messages::group_records::group_metadata::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata,
};
use net::wire::Reader;

pub mod join;
pub mod leave;
pub mod member;
pub mod sync;

use super::error::GroupError;
use super::record::GroupRecord;
use super::request::{Description, GroupReply, Joined, ListedGroup, MemberAt};
use super::timers::TimerKey;
use super::turn::{BATCH_HEADER_BYTES, RECORD_OVERHEAD_BYTES, Token, Turn};
use member::Member;

/// The protocol type of consumers, whose subscriptions the broker understands.
const CONSUMERS: &str = "consumer";

/// The value of a group's record beside texts and members: its version, the lengths of three strings, generation,
/// timestamp and the number of members.
const RECORD_FIXED_BYTES: usize = 2 + 3 * 2 + 4 + 8 + 4;

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody is in it.
    Empty,
    /// Members join.
    PreparingRebalance,
    /// The generation has begun; its leader assigns.
    CompletingRebalance,
    /// Everybody knows what to do.
    Stable,
}

impl State {
    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// A group.
#[derive(Debug)]
pub struct ClassicGroup {
    name: Arc<str>,
    state: State,
    previous: State,
    /// When the state last changed, in milliseconds since 1970; what empties expire by.
    state_ms: i64,
    generation: i32,
    protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Instance id to member id.
    instances: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out and not used yet.
    pending: BTreeSet<Arc<str>>,
    /// Members that have not asked for their assignment in this generation.
    unsynced: BTreeSet<Arc<str>>,
    /// Somebody joined since the initial delay last began.
    joined_meanwhile: bool,
    /// The present initial delay, and what may follow, in milliseconds.
    initial_delay: (i64, i64),
    /// Topics that the members of a consumer group read; `None` where that is not known.
    topics: Option<BTreeSet<Arc<str>>>,
}

impl ClassicGroup {
    /// A group that nobody is in.
    #[must_use]
    pub fn new(name: Arc<str>, now_ms: i64) -> ClassicGroup {
        ClassicGroup {
            name,
            state: State::Empty,
            previous: State::Empty,
            state_ms: now_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            joined_meanwhile: false,
            initial_delay: (0, 0),
            topics: None,
        }
    }

    /// The group as its record says.
    #[must_use]
    pub fn from_record(name: Arc<str>, value: &GroupMetadataValue<'_>) -> ClassicGroup {
        let mut group = ClassicGroup::new(name, value.current_state_timestamp);
        group.generation = value.generation;
        group.protocol = value.protocol.map(Arc::from);
        group.protocol_type = Some(value.protocol_type)
            .filter(|text| !text.is_empty())
            .map(Arc::from);
        group.leader = value.leader.map(Arc::from);
        for member in &value.members {
            let id: Arc<str> = member.member_id.into();
            let protocol = group.protocol.clone().unwrap_or_default();
            let rebalance_timeout_ms = if member.rebalance_timeout == -1 {
                member.session_timeout
            } else {
                member.rebalance_timeout
            };
            let member = Member {
                id: id.clone(),
                instance: member.group_instance_id.map(Arc::from),
                client: member.client_id.into(),
                host: member.client_host.into(),
                session_timeout_ms: member.session_timeout,
                rebalance_timeout_ms,
                protocols: vec![(protocol, Bytes::copy_from_slice(member.subscription))],
                assignment: Bytes::copy_from_slice(member.assignment),
                is_new: false,
                awaiting_join: None,
                awaiting_sync: None,
            };
            if let Some(instance) = &member.instance {
                group.instances.insert(instance.clone(), id.clone());
            }
            group.members.insert(id, member);
        }
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group.topics = group.subscribed_topics();
        group
    }

    /// The record of this group as it is.
    pub fn write(&self, turn: &mut Turn<'_>) {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.values().map(|member| MemberMetadata {
            member_id: &member.id,
            group_instance_id: member.instance.as_deref(),
            client_id: &member.client,
            client_host: &member.host,
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(protocol).map_or(&[][..], |bytes| bytes),
            assignment: &member.assignment,
            ..Default::default()
        });
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type.as_deref().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.as_deref(),
            leader: self.leader.as_deref(),
            current_state_timestamp: self.state_ms,
            members: members.collect(),
            ..Default::default()
        };
        let key = GroupMetadataKey { group: &self.name };
        turn.effects
            .record_of_change(&GroupRecord::ClassicGroup(key, Some(value)));
    }

    /// Bytes of key and value of the record that [`ClassicGroup::write`] makes.
    fn record_bytes(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.values();
        let members: usize = members.map(|member| member.record_bytes(protocol)).sum();
        let key = 2 + 2 + self.name.len();
        let texts = text(&self.protocol_type) + text(&self.protocol) + text(&self.leader);
        key + RECORD_FIXED_BYTES + texts + members
    }

    /// Whether the log takes the record of this group (Kafka's bound is the offsets topic's `max.message.bytes`, too).
    fn fits(&self, turn: &Turn<'_>) -> bool {
        let batch = self.record_bytes() + RECORD_OVERHEAD_BYTES + BATCH_HEADER_BYTES;
        batch <= turn.settings.batch_bytes_max
    }

    /// The record that removes the group.
    pub fn write_tombstone(&self, turn: &mut Turn<'_>) {
        let key = GroupMetadataKey { group: &self.name };
        turn.effects.record(&GroupRecord::ClassicGroup(key, None));
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// When its state last changed, in milliseconds since 1970.
    #[must_use]
    pub fn state_ms(&self) -> i64 {
        self.state_ms
    }

    /// How many generations it had.
    #[must_use]
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// Its protocol type, once somebody joined.
    #[must_use]
    pub fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    /// The protocol chosen for this generation.
    #[must_use]
    pub fn protocol(&self) -> Option<&Arc<str>> {
        self.protocol.as_ref()
    }

    /// Its members, by id.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<Arc<str>, Member> {
        &self.members
    }

    /// Whether its members are consumers that subscribe to topics.
    #[must_use]
    pub fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMERS)
    }

    /// Whether nothing is known of it that a record or a member would miss.
    #[must_use]
    pub fn is_forgettable(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty() && self.generation == 0
    }

    /// Whether a member reads the topic, so that its offsets stay; yes where that cannot be told.
    #[must_use]
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match &self.topics {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// Whether ids were given out that may still be used.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Since when, in milliseconds since 1970, an offset was of no use; `None` while it is.
    #[must_use]
    pub fn unused_since(&self, topic: &str, commit_ms: i64) -> Option<i64> {
        if self.protocol_type.is_none() {
            // Nobody ever joined: a consumer that assigns itself.
            return Some(commit_ms);
        }
        match self.state {
            State::Empty if self.state_ms >= 0 => Some(self.state_ms),
            State::Empty => Some(commit_ms),
            State::Stable if self.topics().is_some() && !self.is_subscribed(topic) => {
                Some(commit_ms)
            }
            _ => None,
        }
    }

    /// The topics its members read, if it is of consumers whose subscriptions are understood.
    #[must_use]
    pub fn topics(&self) -> Option<&BTreeSet<Arc<str>>> {
        self.topics.as_ref().filter(|_| self.is_of_consumers())
    }

    /// Its line in a list.
    #[must_use]
    pub fn listed(&self) -> ListedGroup {
        ListedGroup {
            group: self.name.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state.name(),
            kind: "classic",
        }
    }

    /// Everything about it.
    #[must_use]
    pub fn describe(&self) -> Description {
        let stable = self.state == State::Stable;
        let protocol = self.protocol.clone().filter(|_| stable);
        Description {
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: self
                .members
                .values()
                .map(|member| member.describe(protocol.as_deref()))
                .collect(),
            protocol: protocol.unwrap_or_default(),
        }
    }

    /// Whether `who` is the member it says it is.
    ///
    /// # Errors
    /// It is not, or another one took over its instance id.
    pub fn validate(&self, who: &MemberAt) -> Result<(), GroupError> {
        if let Some(instance) = &who.instance {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMember),
                Some(member) if *member != who.member => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(&who.member) {
            Ok(())
        } else {
            Err(GroupError::UnknownMember)
        }
    }

    /// Whether `who` may commit offsets (RELIABILITY G4).
    ///
    /// # Errors
    /// Why not.
    pub fn validate_commit(&self, who: &MemberAt) -> Result<(), GroupError> {
        // An outsider, such as an administrator, or a consumer that assigns itself.
        if who.generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if who.generation >= 0 || !who.member.is_empty() || who.instance.is_some() {
            self.validate(who)?;
            if who.generation != self.generation {
                return Err(GroupError::IllegalGeneration);
            }
        } else if self.state != State::Empty {
            return Err(GroupError::UnknownMember);
        }
        // It joined the generation and does not know yet what it owns in it.
        if self.state == State::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// A commit is a sign of life.
    pub fn touch(&self, member: &Arc<str>, turn: &mut Turn<'_>) {
        if matches!(self.state, State::Stable | State::PreparingRebalance)
            && let Some(member) = self.members.get(member)
        {
            self.arm_session(member, turn);
        }
    }

    /// After the log was read: its members are given the time to show up.
    pub fn loaded(&mut self, turn: &mut Turn<'_>) {
        for member in self.members.values() {
            self.arm_session(member, turn);
        }
        if self.members.len() > turn.settings.members_max {
            join::prepare_rebalance(self, turn);
        }
    }

    /// The group is given up: whoever waits is told so, its deadlines are forgotten.
    pub fn abandon(&mut self, error: GroupError, turn: &mut Turn<'_>) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.remove_member(&id, error, turn);
        }
        for id in std::mem::take(&mut self.pending) {
            turn.timers
                .cancel(&TimerKey::Session(self.name.clone(), id));
        }
        turn.timers.cancel(&TimerKey::Join(self.name.clone()));
        turn.timers.cancel(&TimerKey::Sync(self.name.clone()));
    }

    fn transition(&mut self, state: State, turn: &Turn<'_>) {
        self.previous = self.state;
        self.state = state;
        self.state_ms = turn.now.wall_ms;
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    fn waiting_to_join(&self) -> usize {
        self.members
            .values()
            .filter(|member| member.awaiting_join.is_some())
            .count()
    }

    fn everybody_joined(&self) -> bool {
        self.pending.is_empty()
            && self
                .members
                .values()
                .all(|member| member.awaiting_join.is_some())
    }

    /// The longest time that a member asks for, in milliseconds.
    fn rebalance_timeout_ms(&self) -> i64 {
        self.members
            .values()
            .map(|member| i64::from(member.rebalance_timeout_ms))
            .max()
            .unwrap_or(0)
            .max(0)
    }

    fn arm_session(&self, member: &Member, turn: &mut Turn<'_>) {
        self.arm_session_for(&member.id, i64::from(member.session_timeout_ms), turn);
    }

    fn arm_session_for(&self, member: &Arc<str>, timeout_ms: i64, turn: &mut Turn<'_>) {
        let key = TimerKey::Session(self.name.clone(), member.clone());
        turn.timers
            .arm(key, turn.now.monotonic_ms.saturating_add(timeout_ms));
    }

    /// Whether a member with these protocols can be in the group beside the others.
    fn supports(&self, protocol_type: &str, protocols: &[(Arc<str>, Bytes)]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| self.everybody_knows(name))
    }

    fn everybody_knows(&self, protocol: &str) -> bool {
        self.members
            .values()
            .all(|member| member.metadata(protocol).is_some())
    }

    /// Each member votes for the first of its protocols that everybody knows; the most votes win.
    fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member
                .protocols
                .iter()
                .find(|(name, _)| self.everybody_knows(name));
            if let Some((name, _)) = vote {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| name.clone())
    }

    fn subscribed_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.is_of_consumers() {
            return None;
        }
        let Some(protocol) = &self.protocol else {
            return Some(BTreeSet::new()).filter(|_| self.members.is_empty());
        };
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let mut reader = Reader::new(member.metadata(protocol)?);
            let newest = *ConsumerProtocolSubscription::VERSIONS.end();
            let version = reader.get_i16().ok()?.clamp(0, newest);
            let subscription = ConsumerProtocolSubscription::decode(&mut reader, version).ok()?;
            topics.extend(subscription.topics.into_iter().map(Arc::from));
        }
        Some(topics)
    }

    fn insert_member(&mut self, member: Member, protocol_type: &Arc<str>) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), member.id.clone());
        }
        self.pending.remove(&member.id);
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member out; if it waits it is told why.
    fn remove_member(&mut self, id: &Arc<str>, why: GroupError, turn: &mut Turn<'_>) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        if let Some(instance) = &member.instance
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        self.unsynced.remove(id);
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        turn.timers
            .cancel(&TimerKey::Session(self.name.clone(), id.clone()));
        if let Some(token) = member.awaiting_join {
            turn.effects
                .reply(token, GroupReply::JoinRefused(why, id.clone()));
        }
        if let Some(token) = member.awaiting_sync {
            turn.effects.reply(token, GroupReply::Failed(why));
        }
    }

    /// Lets a member wait for the generation to begin; who waited in its name before is sent back.
    fn await_join(&mut self, id: &Arc<str>, token: Token, turn: &mut Turn<'_>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if let Some(before) = member.awaiting_join.replace(token) {
            let again = GroupReply::JoinRefused(GroupError::RebalanceInProgress, id.clone());
            turn.effects.reply(before, again);
        }
    }

    /// What a member is told of this generation; the leader, if it shall assign, is told of everybody.
    fn joined(&self, member: &Arc<str>, with_members: bool) -> Joined {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let entry = |member: &Member| {
            let metadata = member.metadata(protocol).cloned().unwrap_or_default();
            (member.id.clone(), member.instance.clone(), metadata)
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            skip_assignment: false,
            member: member.clone(),
            members: if with_members {
                self.members.values().map(entry).collect()
            } else {
                Vec::new()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::turn::EncodedRecord;

    #[test]
    fn the_bytes_of_a_record_are_counted_as_they_are_written() {
        let value = |metadata: &'static [u8]| GroupMetadataValue {
            protocol_type: "consumer",
            generation: 3,
            protocol: Some("range"),
            leader: Some("leader-1"),
            current_state_timestamp: 5,
            members: vec![
                MemberMetadata {
                    member_id: "leader-1",
                    group_instance_id: Some("instance"),
                    client_id: "client",
                    client_host: "/127.0.0.1",
                    rebalance_timeout: 1,
                    session_timeout: 2,
                    subscription: metadata,
                    assignment: &[1; 77],
                    ..Default::default()
                },
                MemberMetadata::default(),
            ],
            ..Default::default()
        };
        for metadata in [&[][..], &[0; 1_000]] {
            let group = ClassicGroup::from_record("group".into(), &value(metadata));
            let key = GroupMetadataKey { group: "group" };
            let record = GroupRecord::ClassicGroup(key, Some(value(metadata)));
            let record = EncodedRecord::of_change(&record);
            assert_eq!(group.record_bytes() + RECORD_OVERHEAD_BYTES, record.bytes());
        }
    }
}

//! The groups of one partition of `__consumer_offsets`: every decision about them, and all they must remember.
//!
//! Plain state without clock, I/O or randomness, on the shard that owns the log partition. Invariant: what a restart
//! must know is changed by [`GroupPartition::replay`] of records, or written down by the decision that changed it; the
//! order of the records is the order of the changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::classic::{self, ClassicGroup, join, leave, sync};
use super::consumer::{self, ConsumerGroup};
use super::error::GroupError;
use super::offsets::{self, CommittedOffset, CommittedOffsets, NO_EXPIRY};
use super::record::{GroupRecord, RecordError};
use super::request::{
    Commit, FetchOffsets, FetchedOffset, GroupReply, GroupRequest, Join, ListFilter, ListedGroup,
};
use super::settings::GroupSettings;
use super::timers::{TimerKey, Timers};
use super::turn::{
    BATCH_HEADER_BYTES, Effects, EncodedRecord, Now, RECORD_OVERHEAD_BYTES, Token, Turn,
};
use crate::cluster::MetadataImage;
use crate::limits::{
    GROUP_DEADLINES_PER_PARTITION_MAX, GROUP_MEMBER_BYTES_MAX, GROUPS_PER_PARTITION_MAX,
    OFFSETS_PER_PARTITION_MAX,
};
use crate::types::{PartitionId, TopicId};

/// A batch with one committed offset, without the names and the metadata in it, at most.
const OFFSET_RECORD_BYTES: usize = BATCH_HEADER_BYTES + RECORD_OVERHEAD_BYTES + 128;

/// A group of either protocol.
#[derive(Debug)]
pub enum Group {
    /// Members assign.
    Classic(ClassicGroup),
    /// The coordinator assigns.
    Consumer(ConsumerGroup),
}

/// See the module.
#[derive(Debug, Default)]
pub struct GroupPartition {
    /// By name.
    pub groups: BTreeMap<Arc<str>, Group>,
    /// Of these groups.
    pub offsets: CommittedOffsets,
    timers: Timers,
    /// Names of groups of types that are not served.
    foreign: BTreeSet<Arc<str>>,
    /// Offsets of transactions that have not ended, by producer id.
    open_transactions: BTreeMap<i64, Vec<EncodedRecord>>,
}

impl GroupPartition {
    /// Decides a request. A caller without a reply in the effects waits for one of a later decision.
    pub fn handle(
        &mut self,
        now: Now,
        settings: &GroupSettings,
        image: &MetadataImage,
        token: Token,
        request: GroupRequest,
    ) -> Effects {
        self.turn(now, settings, image, |partition, turn| {
            if let Err(error) = partition.decide(turn, token, request) {
                turn.effects.reply(token, GroupReply::Failed(error));
            }
        })
    }

    /// The earliest deadline, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        self.timers.next()
    }

    /// Nothing can be decided any more.
    pub fn forget_deadlines(&mut self) {
        self.timers = Timers::default();
    }

    /// Decides about the earliest deadline that is over; `None` if there is none.
    pub fn poll_timers(
        &mut self,
        now: Now,
        settings: &GroupSettings,
        image: &MetadataImage,
    ) -> Option<Effects> {
        let key = self.timers.take_due(now.monotonic_ms)?;
        Some(self.turn(now, settings, image, |partition, turn| {
            partition.fire(turn, key);
        }))
    }

    /// After the last record of the log was replayed, before the first request.
    pub fn loaded(&mut self, now: Now, settings: &GroupSettings, image: &MetadataImage) -> Effects {
        self.turn(now, settings, image, |partition, turn| {
            for group in partition.groups.values_mut() {
                if let Group::Classic(group) = group {
                    group.loaded(turn);
                }
            }
            consumer::loaded(partition, turn);
            turn.effects.divisible = true;
            partition.arm_expiry(turn);
            partition.drop_offsets_of_gone_topics(turn);
        })
    }

    /// Topics were deleted: what was committed for them goes.
    pub fn topics_changed(
        &mut self,
        now: Now,
        settings: &GroupSettings,
        image: &MetadataImage,
        removed: &BTreeMap<Arc<str>, TopicId>,
    ) -> Effects {
        self.turn(now, settings, image, |partition, turn| {
            turn.effects.divisible = true;
            partition.drop_offsets(turn, |topic, _| removed.contains_key(topic));
        })
    }

    /// Follows a record, of the log or of a decision just made.
    pub fn replay(&mut self, record: &GroupRecord<'_>) {
        match record {
            GroupRecord::LegacyOffset(key, value) => {
                self.offsets.replay_legacy(key, value.as_ref());
                self.own_offsets(key.group, value.is_some());
            }
            GroupRecord::Offset(key, value) => {
                self.offsets.replay(key, value.as_ref());
                self.own_offsets(key.group, value.is_some());
            }
            GroupRecord::ClassicGroup(key, None) => {
                if matches!(self.groups.get(key.group), Some(Group::Classic(_))) {
                    self.groups.remove(key.group);
                }
            }
            GroupRecord::ClassicGroup(key, Some(value)) => {
                let name: Arc<str> = key.group.into();
                let group = ClassicGroup::from_record(name.clone(), value);
                self.groups.insert(name, Group::Classic(group));
            }
            GroupRecord::Foreign {
                group: Some(group),
                tombstone,
            } => {
                if *tombstone {
                    self.foreign.remove(*group);
                } else {
                    self.foreign.insert((*group).into());
                }
            }
            GroupRecord::Foreign { group: None, .. } => {}
            _ => consumer::replay(self, record),
        }
    }

    /// Follows a record of a transaction: it counts when the transaction is committed.
    pub fn replay_in_transaction(&mut self, producer_id: i64, record: EncodedRecord) {
        self.open_transactions
            .entry(producer_id)
            .or_default()
            .push(record);
    }

    /// A transaction ended.
    ///
    /// # Errors
    /// One of its records cannot be read; the others are followed.
    pub fn end_transaction(
        &mut self,
        producer_id: i64,
        committed: bool,
    ) -> Result<(), RecordError> {
        let mut result = Ok(());
        for record in self
            .open_transactions
            .remove(&producer_id)
            .unwrap_or_default()
        {
            if !committed {
                continue;
            }
            match GroupRecord::decode(Some(&record.key), record.value.as_deref()) {
                Ok(record) => self.replay(&record),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Members of all groups.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.groups
            .values()
            .map(|group| match group {
                Group::Classic(group) => group.members().len(),
                Group::Consumer(group) => group.member_count(),
            })
            .sum()
    }

    /// Runs a decision, then replays what it recorded.
    fn turn(
        &mut self,
        now: Now,
        settings: &GroupSettings,
        image: &MetadataImage,
        decide: impl FnOnce(&mut Self, &mut Turn<'_>),
    ) -> Effects {
        let mut timers = std::mem::take(&mut self.timers);
        let mut effects = Effects::default();
        decide(
            self,
            &mut Turn {
                now,
                settings,
                image,
                timers: &mut timers,
                effects: &mut effects,
            },
        );
        self.timers = timers;
        for record in effects.records.iter().filter(|record| record.replay) {
            let record = GroupRecord::decode(Some(&record.key), record.value.as_deref());
            self.replay(&record.expect("encoded by this decision"));
        }
        effects
    }

    fn decide(
        &mut self,
        turn: &mut Turn<'_>,
        token: Token,
        request: GroupRequest,
    ) -> Result<(), GroupError> {
        if adds_deadlines(&request) && turn.timers.len() >= GROUP_DEADLINES_PER_PARTITION_MAX {
            return Err(GroupError::LimitReached);
        }
        if let Some(group) = request.group()
            && self.belongs_to_modern(group, &request)
        {
            return consumer::handle(self, turn, token, request);
        }
        match request {
            GroupRequest::Join(request) => {
                let member = request.who.member.clone();
                self.join(turn, token, &request).or_else(|error| {
                    turn.effects
                        .reply(token, GroupReply::JoinRefused(error, member));
                    Ok(())
                })
            }
            GroupRequest::Sync(request) => {
                let group = self.classic(&request.who.group)?;
                sync::sync(group, turn, token, &request)
            }
            GroupRequest::Heartbeat(who) => {
                leave::heartbeat(self.classic(&who.group)?, turn, &who)?;
                turn.effects.reply(token, GroupReply::Alive);
                Ok(())
            }
            GroupRequest::Leave(request) => {
                let results = match self.classic(&request.group) {
                    Ok(group) => leave::leave(group, turn, &request.members),
                    Err(error) => vec![Err(error); request.members.len()],
                };
                turn.effects.reply(token, GroupReply::Left(results));
                Ok(())
            }
            GroupRequest::Commit(request) => {
                // Each offset stands for itself, and none is acknowledged before all are durable.
                turn.effects.divisible = true;
                let results = self.commit(turn, &request)?;
                turn.effects.reply(token, GroupReply::Committed(results));
                Ok(())
            }
            GroupRequest::FetchOffsets(request) => {
                let found = self.fetch_offsets(&request)?;
                turn.effects.reply(token, GroupReply::Offsets(found));
                Ok(())
            }
            GroupRequest::DeleteOffsets(group, partitions) => {
                turn.effects.divisible = true;
                let results = self.delete_offsets(turn, &group, &partitions)?;
                turn.effects
                    .reply(token, GroupReply::OffsetsDeleted(results));
                Ok(())
            }
            GroupRequest::DeleteGroup(group) => {
                // The group goes last: until then it can be deleted again.
                turn.effects.divisible = true;
                self.delete_group(turn, &group)?;
                turn.effects.reply(token, GroupReply::GroupDeleted);
                Ok(())
            }
            GroupRequest::List(filter) => {
                turn.effects
                    .reply(token, GroupReply::Listed(self.list(&filter)));
                Ok(())
            }
            GroupRequest::Describe(group) => {
                let Some(Group::Classic(group)) = self.groups.get(&group) else {
                    return Err(GroupError::GroupNotFound);
                };
                let described = GroupReply::Described(Box::new(group.describe()));
                turn.effects.reply(token, described);
                Ok(())
            }
            GroupRequest::ConsumerHeartbeat(_) | GroupRequest::ConsumerDescribe(_) => {
                consumer::handle(self, turn, token, request)
            }
        }
    }

    /// Membership of a consumer group is decided there, whichever protocol the member speaks.
    fn belongs_to_modern(&self, group: &str, request: &GroupRequest) -> bool {
        matches!(
            request,
            GroupRequest::Join(_)
                | GroupRequest::Sync(_)
                | GroupRequest::Heartbeat(_)
                | GroupRequest::Leave(_)
        ) && match self.groups.get(group) {
            // Nobody is in it: it makes room for a classic one.
            Some(Group::Consumer(group)) => {
                !group.is_empty() || !matches!(request, GroupRequest::Join(_))
            }
            _ => false,
        }
    }

    fn classic(&mut self, group: &str) -> Result<&mut ClassicGroup, GroupError> {
        match self.groups.get_mut(group) {
            Some(Group::Classic(group)) => Ok(group),
            _ => Err(GroupError::UnknownMember),
        }
    }

    fn join(
        &mut self,
        turn: &mut Turn<'_>,
        token: Token,
        request: &Join,
    ) -> Result<(), GroupError> {
        let name = &request.who.group;
        let settings = turn.settings;
        if !(settings.session_timeout_min_ms..=settings.session_timeout_max_ms)
            .contains(&request.session_timeout_ms)
        {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let bytes: usize = request
            .protocols
            .iter()
            .map(|(name, metadata)| name.len() + metadata.len())
            .sum();
        if bytes > GROUP_MEMBER_BYTES_MAX {
            return Err(GroupError::LimitReached);
        }
        if self.foreign.contains(name) {
            return Err(GroupError::InconsistentProtocol);
        }
        consumer::make_room_for_classic(self, turn, name);
        if !self.groups.contains_key(name) {
            if !request.who.member.is_empty() {
                return Err(GroupError::UnknownMember);
            }
            if self.groups.len() >= GROUPS_PER_PARTITION_MAX {
                return Err(GroupError::LimitReached);
            }
            let group = ClassicGroup::new(name.clone(), turn.now.wall_ms);
            self.groups.insert(name.clone(), Group::Classic(group));
        }
        let result = join::join(self.classic(name)?, turn, token, request);
        self.forget_if_nothing(name);
        result
    }

    fn commit(
        &mut self,
        turn: &mut Turn<'_>,
        request: &Commit,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let who = &request.who;
        match self.groups.get(&who.group) {
            Some(Group::Classic(group)) => {
                group.validate_commit(who)?;
                group.touch(&who.member, turn);
            }
            Some(Group::Consumer(group)) => group.may_commit(who, request.version)?,
            None if who.generation >= 0 => {
                return Err(if request.version >= 9 {
                    GroupError::GroupNotFound
                } else {
                    GroupError::IllegalGeneration
                });
            }
            None if self.groups.len() >= GROUPS_PER_PARTITION_MAX => {
                return Err(GroupError::LimitReached);
            }
            None => {}
        }
        let mut room = OFFSETS_PER_PARTITION_MAX.saturating_sub(self.offsets.len());
        let now_ms = turn.now.wall_ms;
        let results = request.offsets.iter().map(|wish| {
            let metadata = wish.metadata.clone().unwrap_or_default();
            if metadata.len() > turn.settings.metadata_bytes_max {
                return Err(GroupError::MetadataTooLarge);
            }
            let names = who.group.len() + wish.topic.len();
            if metadata.len() + names + OFFSET_RECORD_BYTES > turn.settings.batch_bytes_max {
                return Err(GroupError::LimitReached);
            }
            if let Some(Group::Consumer(group)) = self.groups.get(&who.group) {
                let partition = PartitionId {
                    topic_id: wish.topic_id,
                    index: wish.partition,
                };
                group.may_commit_partition(who, partition)?;
            }
            let known = self
                .offsets
                .get(&who.group, &wish.topic, wish.partition)
                .is_some();
            if !known {
                room = room.checked_sub(1).ok_or(GroupError::LimitReached)?;
            }
            let committed = CommittedOffset {
                offset: wish.offset,
                leader_epoch: wish.leader_epoch,
                metadata,
                commit_ms: now_ms,
                expire_ms: if request.retention_ms < 0 {
                    NO_EXPIRY
                } else {
                    now_ms.saturating_add(request.retention_ms)
                },
                topic_id: wish.topic_id,
            };
            turn.effects
                .record(&committed.record(&who.group, &wish.topic, wish.partition));
            Ok(())
        });
        Ok(results.collect())
    }

    fn fetch_offsets(&self, request: &FetchOffsets) -> Result<Vec<FetchedOffset>, GroupError> {
        let group = &request.who.group;
        if let Some(Group::Consumer(found)) = self.groups.get(group) {
            found.may_fetch(&request.who)?;
        }
        let unstable = if request.require_stable {
            self.unstable(group)
        } else {
            BTreeSet::new()
        };
        let fetched = |topic: &Arc<str>, partition: i32, committed: Option<&CommittedOffset>| {
            let found = if unstable.contains(&(topic.clone(), partition)) {
                Err(GroupError::UnstableOffset)
            } else {
                Ok(committed.map_or((-1, -1, Arc::from("")), |committed| {
                    let metadata = committed.metadata.clone();
                    (committed.offset, committed.leader_epoch, metadata)
                }))
            };
            FetchedOffset {
                topic: topic.clone(),
                partition,
                found,
            }
        };
        Ok(match &request.partitions {
            Some(partitions) => partitions
                .iter()
                .map(|(topic, partition)| {
                    let committed = self.offsets.get(group, topic, *partition);
                    fetched(topic, *partition, committed)
                })
                .collect(),
            None => self
                .offsets
                .of_group(group)
                .map(|(topic, partition, committed)| fetched(topic, partition, Some(committed)))
                .collect(),
        })
    }

    /// Partitions whose offsets a transaction may still change.
    fn unstable(&self, group: &str) -> BTreeSet<(Arc<str>, i32)> {
        let mut found = BTreeSet::new();
        for record in self.open_transactions.values().flatten() {
            if let Ok(GroupRecord::Offset(key, _)) =
                GroupRecord::decode(Some(&record.key), record.value.as_deref())
                && key.group == group
            {
                found.insert((key.topic.into(), key.partition));
            }
        }
        found
    }

    fn delete_offsets(
        &mut self,
        turn: &mut Turn<'_>,
        name: &Arc<str>,
        partitions: &[(Arc<str>, i32)],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let group = self.groups.get(name).ok_or(GroupError::GroupNotFound)?;
        if let Group::Classic(group) = group
            && group.state() != classic::State::Empty
            && !group.is_of_consumers()
        {
            return Err(GroupError::NonEmptyGroup);
        }
        let results = partitions.iter().map(|(topic, partition)| {
            let subscribed = match group {
                Group::Classic(group) => group.is_subscribed(topic),
                Group::Consumer(group) => group.is_subscribed_to(topic),
            };
            if subscribed {
                return Err(GroupError::SubscribedToTopic);
            }
            if self.offsets.get(name, topic, *partition).is_some() {
                turn.effects
                    .record(&offsets::tombstone(name, topic, *partition));
            }
            Ok(())
        });
        Ok(results.collect())
    }

    fn delete_group(&mut self, turn: &mut Turn<'_>, name: &Arc<str>) -> Result<(), GroupError> {
        match self.groups.get(name).ok_or(GroupError::GroupNotFound)? {
            Group::Classic(group) if group.state() != classic::State::Empty => {
                return Err(GroupError::NonEmptyGroup);
            }
            Group::Consumer(group) if !group.is_empty() => return Err(GroupError::NonEmptyGroup),
            _ => {}
        }
        for (topic, partition, _) in self.offsets.of_group(name) {
            turn.effects
                .record(&offsets::tombstone(name, topic, partition));
        }
        self.remove_group(turn, name);
        Ok(())
    }

    /// Writes that an empty group is no more, and forgets it.
    fn remove_group(&mut self, turn: &mut Turn<'_>, name: &Arc<str>) {
        match self.groups.get_mut(name) {
            Some(Group::Classic(group)) => {
                group.abandon(GroupError::UnknownMember, turn);
                group.write_tombstone(turn);
            }
            Some(Group::Consumer(group)) => {
                for record in group.tombstones() {
                    turn.effects.record(&record.to_wire(name));
                }
            }
            None => {}
        }
    }

    fn list(&self, filter: &ListFilter) -> Vec<ListedGroup> {
        let wanted = |listed: &ListedGroup| {
            (filter.states.is_empty() || filter.states.contains(&listed.state.to_lowercase()))
                && (filter.types.is_empty() || filter.types.contains(listed.kind))
        };
        self.groups
            .values()
            .map(|group| match group {
                Group::Classic(group) => group.listed(),
                Group::Consumer(group) => group.listed(),
            })
            .filter(wanted)
            .collect()
    }

    fn fire(&mut self, turn: &mut Turn<'_>, key: TimerKey) {
        match key {
            TimerKey::Session(name, member) => {
                if let Ok(group) = self.classic(&name) {
                    leave::session_is_over(group, turn, &member);
                }
                self.forget_if_nothing(&name);
            }
            TimerKey::Join(name) => {
                if let Ok(group) = self.classic(&name) {
                    join::time_is_over(group, turn);
                }
            }
            TimerKey::Sync(name) => {
                if let Ok(group) = self.classic(&name) {
                    sync::time_is_over(group, turn);
                }
            }
            TimerKey::Expire => {
                // As if somebody deleted offsets, and then their group, one by one.
                turn.effects.divisible = true;
                self.expire(turn);
                self.arm_expiry(turn);
            }
            key => consumer::fire(self, turn, key),
        }
    }

    fn arm_expiry(&self, turn: &mut Turn<'_>) {
        let deadline = turn.now.monotonic_ms + turn.settings.retention_check_ms;
        turn.timers.arm(TimerKey::Expire, deadline);
    }

    /// Removes what nobody used for too long (RELIABILITY G6): only of groups, or for topics, that nobody reads.
    fn expire(&mut self, turn: &mut Turn<'_>) {
        let names: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for name in names {
            if self.is_foreign(&name) {
                // Who reads of such a group is in records that are not followed.
                continue;
            }
            let expired: Vec<(Arc<str>, i32)> = self
                .offsets
                .of_group(&name)
                .filter(|(topic, _, committed)| self.is_expired(turn, &name, topic, committed))
                .map(|(topic, partition, _)| (topic.clone(), partition))
                .collect();
            let all = expired.len() == self.offsets.of_group(&name).count();
            for (topic, partition) in &expired {
                turn.effects
                    .record(&offsets::tombstone(&name, topic, *partition));
            }
            let empty = match &self.groups[&name] {
                Group::Classic(group) => {
                    group.state() == classic::State::Empty && !group.has_pending()
                }
                Group::Consumer(group) => group.is_empty(),
            };
            if all && empty && self.unstable(&name).is_empty() {
                self.remove_group(turn, &name);
            }
        }
    }

    fn is_expired(
        &self,
        turn: &Turn<'_>,
        name: &Arc<str>,
        topic: &str,
        committed: &CommittedOffset,
    ) -> bool {
        let since = match &self.groups[name] {
            Group::Classic(group) => group.unused_since(topic, committed.commit_ms),
            Group::Consumer(group) => group.unused_since(topic, committed.commit_ms),
        };
        let Some(since) = since else {
            return false;
        };
        let now = turn.now.wall_ms;
        if committed.expire_ms == NO_EXPIRY {
            now.saturating_sub(since) >= turn.settings.offsets_retention_ms
        } else {
            now >= committed.expire_ms
        }
    }

    /// What was committed for a topic that was deleted, should the node have died before the offsets were removed. An id
    /// that is merely unknown may come from a directory of another cluster.
    fn drop_offsets_of_gone_topics(&mut self, turn: &mut Turn<'_>) {
        let removed = &turn.image.removed_topics;
        self.drop_offsets(turn, |_, committed| removed.contains(&committed.topic_id));
    }

    fn drop_offsets(&self, turn: &mut Turn<'_>, gone: impl Fn(&str, &CommittedOffset) -> bool) {
        for group in self.offsets.groups() {
            for (topic, partition, committed) in self.offsets.of_group(group) {
                if gone(topic, committed) {
                    turn.effects
                        .record(&offsets::tombstone(group, topic, partition));
                }
            }
        }
    }

    /// Whether the name is one of a group of a type that is not served.
    #[must_use]
    pub fn is_foreign(&self, group: &str) -> bool {
        self.foreign.contains(group)
    }

    /// A group was removed: if it has offsets, they still belong to one.
    pub fn offsets_keep_group(&mut self, group: &str) {
        if self.offsets.has_group(group) {
            self.own_offsets(group, true);
        }
    }

    /// A group with offsets exists, even if nobody was ever in it.
    fn own_offsets(&mut self, group: &str, exists: bool) {
        if exists && !self.groups.contains_key(group) {
            let name: Arc<str> = group.into();
            let simple = ClassicGroup::new(name.clone(), -1);
            self.groups.insert(name, Group::Classic(simple));
        } else if !exists {
            self.forget_if_nothing(group);
        }
    }

    /// A group that no record names and nobody is in needs no memory.
    fn forget_if_nothing(&mut self, group: &str) {
        if let Some(Group::Classic(found)) = self.groups.get(group)
            && found.is_forgettable()
            && !self.offsets.has_group(group)
        {
            self.groups.remove(group);
        }
    }
}

/// Whether it brings a member, or an id to become one with; each has a deadline as long as it is known.
fn adds_deadlines(request: &GroupRequest) -> bool {
    match request {
        GroupRequest::Join(join) => join.who.member.is_empty(),
        GroupRequest::ConsumerHeartbeat(heartbeat) => {
            heartbeat.epoch == consumer::member::JOIN_EPOCH
        }
        _ => false,
    }
}

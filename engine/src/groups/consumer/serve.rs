//! The seam between a partition's groups and the consumer protocol: finds or makes the group, lets it decide, writes what
//! changed, and exchanges the group for one of the other kind where a migration says so.

use std::borrow::Cow;
use std::sync::Arc;

use net::messages::group_records::group_metadata::{GroupMetadataValue, MemberMetadata};

use super::error::ConsumerGroupError;
use super::member::{JOIN_EPOCH, LEAVE_EPOCH};
use super::migration::{ClassicMemberView, ClassicView, Downgrade};
use super::record::ConsumerRecord;
use super::removal::Removal;
use super::request::{ConsumerHeartbeat, ConsumerHeartbeatReply, HeartbeatAccepted};
use super::settings::ConsumerGroupSettings;
use super::{ConsumerGroup, Work};
use crate::cluster::{ConfigResource, MetadataImage, ResourceKind};
use crate::groups::classic::{ClassicGroup, State, join};
use crate::groups::error::GroupError;
use crate::groups::partition::{Group, GroupPartition};
use crate::groups::record::GroupRecord;
use crate::groups::request::{GroupReply, GroupRequest};
use crate::groups::settings::GroupSettings;
use crate::groups::timers::TimerKey;
use crate::groups::turn::{EncodedRecord, RECORD_OVERHEAD_BYTES, Token, Turn, batch_bytes};
use crate::limits::GROUPS_PER_PARTITION_MAX;

/// The record that removes a classic group, without its name.
const CLASSIC_TOMBSTONE_BYTES: usize = 4 + RECORD_OVERHEAD_BYTES;

/// Carries out a request to a group of this protocol, or one of the classic protocol to such a group.
///
/// # Errors
/// Why not, for the requests whose answers have no place for more than a code.
pub fn handle(
    partition: &mut GroupPartition,
    turn: &mut Turn<'_>,
    token: Token,
    request: GroupRequest,
) -> Result<(), GroupError> {
    match request {
        GroupRequest::ConsumerHeartbeat(request) => {
            let reply = match heartbeat(partition, turn, &request) {
                Ok(accepted) => ConsumerHeartbeatReply::Accepted(accepted),
                Err(error) => ConsumerHeartbeatReply::Refused(error),
            };
            let reply = GroupReply::ConsumerHeartbeat(Box::new(reply));
            turn.effects.reply(token, reply);
        }
        GroupRequest::ConsumerDescribe(name) => {
            let reply = match partition.groups.get(&name) {
                Some(Group::Consumer(group)) => {
                    let settings = settings_of(turn.settings, turn.image, &name);
                    GroupReply::ConsumerDescribed(Box::new(group.describe(&settings)))
                }
                Some(Group::Classic(_)) => GroupReply::Failed(GroupError::InconsistentProtocol),
                None => GroupReply::Failed(GroupError::GroupNotFound),
            };
            turn.effects.reply(token, reply);
        }
        GroupRequest::Join(request) => {
            let name = request.who.group.clone();
            let member = request.who.member.clone();
            let joined = decide(partition, turn, &name, |group, work| {
                group.classic_join(&request, work)
            });
            let reply = match joined {
                Ok((mut joined, downgrade)) => {
                    if let Some(downgrade) = downgrade {
                        joined.generation = downgrade.group.generation;
                        exchange(partition, turn, &name, &downgrade);
                    }
                    GroupReply::Joined(Box::new(joined))
                }
                Err(ConsumerGroupError::MemberIdRequired(id)) => {
                    GroupReply::JoinRefused(GroupError::MemberIdRequired, id.into())
                }
                Err(error) => GroupReply::JoinRefused((&error).into(), member),
            };
            turn.effects.reply(token, reply);
        }
        GroupRequest::Sync(request) => {
            let name = request.who.group.clone();
            let synced = decide(partition, turn, &name, |group, work| {
                group.classic_sync(&request, work)
            })?;
            turn.effects
                .reply(token, GroupReply::Synced(Box::new(synced)));
        }
        GroupRequest::Heartbeat(who) => {
            decide(partition, turn, &who.group, |group, work| {
                group.classic_heartbeat(&who, work)
            })?;
            turn.effects.reply(token, GroupReply::Alive);
        }
        GroupRequest::Leave(request) => {
            let name = &request.group;
            let (results, removal) =
                decide_within(partition, turn, name, usize::MAX, |group, work| {
                    Ok(group.classic_leave(&request, work))
                })?;
            settle(partition, turn, name, removal);
            let results = results.into_iter();
            let results = results.map(|result| result.map_err(|error| (&error).into()));
            turn.effects
                .reply(token, GroupReply::Left(results.collect()));
        }
        _ => return Err(GroupError::UnsupportedVersion),
    }
    Ok(())
}

/// Follows a record of this protocol.
pub fn replay(partition: &mut GroupPartition, record: &GroupRecord<'_>) {
    let Some((name, record)) = ConsumerRecord::from_wire(record) else {
        return;
    };
    if record == ConsumerRecord::Group(None) {
        if matches!(partition.groups.get(name), Some(Group::Consumer(_))) {
            partition.groups.remove(name);
            partition.offsets_keep_group(name);
        }
        return;
    }
    if !matches!(partition.groups.get(name), Some(Group::Consumer(_))) {
        // What is left of a group that is gone; compaction removes it in any order.
        if record.is_tombstone() {
            return;
        }
        let name: Arc<str> = name.into();
        // A classic group here only held offsets, or its tombstone was compacted away behind the consumer group.
        let group = Group::Consumer(ConsumerGroup::new(name.clone()));
        partition.groups.insert(name, group);
    }
    if let Some(Group::Consumer(group)) = partition.groups.get_mut(name) {
        group.replay(&record);
    }
}

/// A deadline of this protocol is over.
pub fn fire(partition: &mut GroupPartition, turn: &mut Turn<'_>, key: TimerKey) {
    let (TimerKey::ConsumerSession(name, _)
    | TimerKey::ConsumerRebalance(name, _)
    | TimerKey::ConsumerRefresh(name)
    | TimerKey::ConsumerJoin(name, _)
    | TimerKey::ConsumerSync(name, _)) = &key
    else {
        return;
    };
    // A removal only takes away; what a pattern names may be more than the log takes.
    let bytes_max = match key {
        TimerKey::ConsumerRefresh(_) => turn.settings.batch_bytes_max,
        _ => usize::MAX,
    };
    let removal = decide_within(partition, turn, name, bytes_max, |group, work| {
        Ok(group.expire(&key, work))
    });
    if let Err(ConsumerGroupError::RecordsTooLarge) = removal {
        tracing::warn!(
            group = &**name,
            "the topics that a pattern names are too many for one record"
        );
    }
    if let Ok(Some(removal)) = removal {
        settle(partition, turn, name, removal);
    }
}

/// After the log was read: deadlines of the members there are.
pub fn loaded(partition: &mut GroupPartition, turn: &mut Turn<'_>) {
    for (name, group) in &partition.groups {
        if let Group::Consumer(group) = group {
            let settings = settings_of(turn.settings, turn.image, name);
            group.arm_timers(turn.now, &settings, turn.timers);
        }
    }
}

/// A member of the classic protocol comes to a consumer group that nobody is in: the group makes room.
pub fn make_room_for_classic(partition: &mut GroupPartition, turn: &mut Turn<'_>, name: &str) {
    if let Some(Group::Consumer(group)) = partition.groups.get(name)
        && group.is_empty()
    {
        for record in group.tombstones() {
            turn.effects.record_of_change(&record.to_wire(name));
        }
        partition.groups.remove(name);
        // The member may yet be refused, and offsets without a group would never expire.
        partition.offsets_keep_group(name);
    }
}

/// The broker's settings, read once; a group with values of its own has them read for each decision.
fn settings_of<'t>(
    settings: &'t GroupSettings,
    image: &MetadataImage,
    name: &str,
) -> Cow<'t, ConsumerGroupSettings> {
    let resource = ConfigResource {
        kind: ResourceKind::Group,
        name: name.to_owned(),
    };
    match image.configs.get(&resource) {
        Some(own) => Cow::Owned(ConsumerGroupSettings::of(&image.broker_config, own)),
        None => Cow::Borrowed(&settings.consumer),
    }
}

/// Lets `group` decide; the records are returned, not yet written.
fn run<R>(
    group: &mut ConsumerGroup,
    turn: &mut Turn<'_>,
    decision: impl FnOnce(&mut ConsumerGroup, &mut Work<'_>) -> R,
) -> (R, Changes) {
    let settings = settings_of(turn.settings, turn.image, group.id());
    let (mut records, mut undo) = (Vec::new(), Vec::new());
    let mut work = Work {
        now: turn.now,
        settings: &settings,
        image: turn.image,
        timers: turn.timers,
        records: &mut records,
        undo: &mut undo,
        batch_bytes_max: turn.settings.batch_bytes_max,
    };
    let result = decision(group, &mut work);
    let name = group.id();
    let records = records.iter();
    let records = records.map(|record| EncodedRecord::of_change(&record.to_wire(name)));
    let changes = Changes {
        records: records.collect(),
        undo,
    };
    (result, changes)
}

/// What a group changed: to be written, or to be taken back.
struct Changes {
    records: Vec<EncodedRecord>,
    undo: Vec<ConsumerRecord>,
}

/// Lets the consumer group of that name decide, and writes what it changed; what the log would not take is taken back.
fn decide<R>(
    partition: &mut GroupPartition,
    turn: &mut Turn<'_>,
    name: &Arc<str>,
    decision: impl FnOnce(&mut ConsumerGroup, &mut Work<'_>) -> Result<R, ConsumerGroupError>,
) -> Result<R, ConsumerGroupError> {
    let bytes_max = turn.settings.batch_bytes_max;
    decide_within(partition, turn, name, bytes_max, decision)
}

fn decide_within<R>(
    partition: &mut GroupPartition,
    turn: &mut Turn<'_>,
    name: &Arc<str>,
    bytes_max: usize,
    decision: impl FnOnce(&mut ConsumerGroup, &mut Work<'_>) -> Result<R, ConsumerGroupError>,
) -> Result<R, ConsumerGroupError> {
    let Some(Group::Consumer(group)) = partition.groups.get_mut(name) else {
        return Err(ConsumerGroupError::not_found(name));
    };
    let (result, changes) = run(group, turn, decision);
    if batch_bytes(&changes.records) > bytes_max {
        group.take_back(&changes.undo, turn.timers);
        return Err(ConsumerGroupError::RecordsTooLarge);
    }
    turn.effects.records.extend(changes.records);
    result
}

fn heartbeat(
    partition: &mut GroupPartition,
    turn: &mut Turn<'_>,
    request: &ConsumerHeartbeat,
) -> Result<HeartbeatAccepted, ConsumerGroupError> {
    let name = &request.group;
    request.validate(&settings_of(turn.settings, turn.image, name))?;
    let found = match partition.groups.get(name) {
        Some(Group::Consumer(_)) => true,
        Some(Group::Classic(_)) if request.epoch == JOIN_EPOCH => false,
        Some(Group::Classic(_)) => return Err(ConsumerGroupError::not_consumer(name)),
        None if request.epoch == JOIN_EPOCH => false,
        None if request.epoch <= LEAVE_EPOCH => return Err(ConsumerGroupError::not_found(name)),
        None => {
            return Err(ConsumerGroupError::GroupNotFound(format!(
                "Consumer group {name} not found."
            )));
        }
    };
    if request.epoch <= LEAVE_EPOCH {
        let (accepted, removal) =
            decide_within(partition, turn, name, usize::MAX, |group, work| {
                group.leave(request, work)
            })?;
        settle(partition, turn, name, removal);
        return Ok(accepted);
    }
    if found {
        return decide(partition, turn, name, |group, work| {
            group.heartbeat(request, work)
        });
    }
    create(partition, turn, request)
}

/// The first member of the consumer protocol: a new group, or a classic one becomes a consumer group.
fn create(
    partition: &mut GroupPartition,
    turn: &mut Turn<'_>,
    request: &ConsumerHeartbeat,
) -> Result<HeartbeatAccepted, ConsumerGroupError> {
    let name = &request.group;
    if partition.is_foreign(name) {
        return Err(ConsumerGroupError::not_consumer(name));
    }
    let view = match partition.groups.get(name) {
        Some(Group::Classic(group)) => Some(view_of(group)),
        _ if partition.groups.len() >= GROUPS_PER_PARTITION_MAX => {
            return Err(ConsumerGroupError::TooManyGroups);
        }
        _ => None,
    };
    let classic_members = view.as_ref().map_or(0, |view| view.members.len());
    if classic_members > 0 && !may_upgrade(partition, turn, name, classic_members) {
        return Err(ConsumerGroupError::not_consumer(name));
    }
    let mut group = ConsumerGroup::new(name.clone());
    let (mut result, changes) = run(&mut group, turn, |group, work| {
        if let Some(view) = view.filter(|view| !view.members.is_empty()) {
            *group = ConsumerGroup::from_classic(name.clone(), &view, work)?;
        }
        group.heartbeat(request, work)
    });
    if batch_bytes(&changes.records) + CLASSIC_TOMBSTONE_BYTES + name.len()
        > turn.settings.batch_bytes_max
    {
        result = Err(ConsumerGroupError::RecordsTooLarge);
    }
    if result.is_err() {
        for id in group.members().keys() {
            group.cancel_timers(id, turn.timers);
        }
        return result;
    }
    if let Some(Group::Classic(mut classic)) = partition.groups.remove(name) {
        // Who waits for the others is to come back and finds the new group.
        classic.abandon(GroupError::RebalanceInProgress, turn);
        if !classic.is_forgettable() || classic_members > 0 {
            classic.write_tombstone(turn);
        }
    }
    turn.effects.records.extend(changes.records);
    partition
        .groups
        .insert(name.clone(), Group::Consumer(group));
    result
}

fn may_upgrade(
    partition: &GroupPartition,
    turn: &Turn<'_>,
    name: &Arc<str>,
    members: usize,
) -> bool {
    let settings = settings_of(turn.settings, turn.image, name);
    let is_of_consumers = matches!(
        partition.groups.get(name),
        Some(Group::Classic(group)) if group.is_of_consumers()
    );
    settings.migration.upgrade && is_of_consumers && members <= settings.members_max
}

fn view_of(group: &ClassicGroup) -> ClassicView {
    let members = group.members().values().map(|member| ClassicMemberView {
        id: member.id.clone(),
        instance_id: member.instance.clone(),
        client_id: member.client.clone(),
        client_host: member.host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        session_timeout_ms: member.session_timeout_ms,
        protocols: member.protocols.clone(),
        assignment: match group.state() {
            State::PreparingRebalance | State::Stable => member.assignment.clone(),
            // The leader has not spoken yet.
            State::Empty | State::CompletingRebalance => bytes::Bytes::new(),
        },
    });
    ClassicView {
        generation: group.generation(),
        protocol: group.protocol().cloned(),
        members: members.collect(),
    }
}

fn settle(partition: &mut GroupPartition, turn: &mut Turn<'_>, name: &Arc<str>, removal: Removal) {
    if let Removal::Downgrade(downgrade) = removal {
        exchange(partition, turn, name, &downgrade);
    }
}

/// Puts the classic group in the place of the consumer group.
fn exchange(
    partition: &mut GroupPartition,
    turn: &mut Turn<'_>,
    name: &Arc<str>,
    downgrade: &Downgrade,
) {
    let Some(Group::Consumer(old)) = partition.groups.get(name) else {
        return;
    };
    for id in old.members().keys() {
        old.cancel_timers(id, turn.timers);
    }
    for record in old.tombstones() {
        turn.effects.record_of_change(&record.to_wire(name));
    }
    let mut group = classic_of(name, &downgrade.group, turn.now.wall_ms);
    group.write(turn);
    group.loaded(turn);
    if downgrade.rebalance {
        join::prepare_rebalance(&mut group, turn);
    }
    partition.groups.insert(name.clone(), Group::Classic(group));
}

fn classic_of(name: &Arc<str>, view: &ClassicView, now_ms: i64) -> ClassicGroup {
    let protocol = view.protocol.as_deref().unwrap_or_default();
    let members = view.members.iter().map(|member| {
        let metadata = member
            .protocols
            .iter()
            .find(|(name, _)| **name == *protocol);
        MemberMetadata {
            member_id: &member.id,
            group_instance_id: member.instance_id.as_deref(),
            client_id: &member.client_id,
            client_host: &member.client_host,
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: metadata.map_or(&[][..], |(_, bytes)| bytes),
            assignment: &member.assignment,
            ..Default::default()
        }
    });
    let value = GroupMetadataValue {
        protocol_type: Downgrade::PROTOCOL_TYPE,
        generation: view.generation,
        protocol: Some(protocol),
        leader: view.members.first().map(|member| &*member.id),
        current_state_timestamp: now_ms,
        members: members.collect(),
        ..Default::default()
    };
    ClassicGroup::from_record(name.clone(), &value)
}

impl From<&ConsumerGroupError> for GroupError {
    fn from(error: &ConsumerGroupError) -> GroupError {
        use ConsumerGroupError as Error;
        match error {
            Error::InvalidRequest(_) => GroupError::InvalidRequest,
            Error::GroupNotFound(_) => GroupError::GroupNotFound,
            Error::UnknownMember(_) => GroupError::UnknownMember,
            Error::GroupFull(_) => GroupError::GroupFull,
            Error::UnsupportedAssignor { .. } => GroupError::UnsupportedAssignor,
            Error::InvalidPattern { .. } => GroupError::InvalidRegularExpression,
            Error::EpochAhead { .. } | Error::EpochBehind { .. } | Error::UnknownMemberState => {
                GroupError::FencedMemberEpoch
            }
            Error::InstanceUnreleased { .. } => GroupError::UnreleasedInstance,
            Error::InstanceFenced { .. } => GroupError::FencedInstance,
            Error::StaleMemberEpoch(_) => GroupError::StaleMemberEpoch,
            Error::IllegalGeneration(_) => GroupError::IllegalGeneration,
            Error::CommitVersionTooLow => GroupError::UnsupportedVersion,
            Error::InconsistentProtocol(_) => GroupError::InconsistentProtocol,
            Error::RebalanceInProgress { .. } => GroupError::RebalanceInProgress,
            Error::MemberIdRequired(_) => GroupError::MemberIdRequired,
            Error::TooManyGroups | Error::RecordsTooLarge => GroupError::LimitReached,
        }
    }
}

impl From<ConsumerGroupError> for GroupError {
    fn from(error: ConsumerGroupError) -> GroupError {
        (&error).into()
    }
}

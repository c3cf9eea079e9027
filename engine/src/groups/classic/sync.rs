//! SyncGroup: the leader's assignment becomes durable and goes to everybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::super::error::GroupError;
use super::super::request::{GroupReply, Sync, Synced};
use super::super::timers::TimerKey;
use super::super::turn::{Token, Turn};
use super::{ClassicGroup, State, join};

/// A member asks for its assignment: it is answered now, or waits for the leader's.
///
/// # Errors
/// Why it gets none.
pub fn sync(
    group: &mut ClassicGroup,
    turn: &mut Turn<'_>,
    token: Token,
    sync: &Sync,
) -> Result<(), GroupError> {
    let id = &sync.who.member;
    group.validate(&sync.who)?;
    if sync.who.generation != group.generation {
        return Err(GroupError::IllegalGeneration);
    }
    let differs = |said: &Option<Arc<str>>, known: &Option<Arc<str>>| {
        said.is_some() && known.is_some() && said != known
    };
    if differs(&sync.protocol_type, &group.protocol_type)
        || differs(&sync.protocol, &group.protocol)
    {
        return Err(GroupError::InconsistentProtocol);
    }
    match group.state {
        State::Empty => Err(GroupError::UnknownMember),
        State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
        State::CompletingRebalance => {
            group.unsynced.remove(id);
            let member = group.members.get_mut(id).expect("validated");
            if let Some(before) = member.awaiting_sync.replace(token) {
                let again = GroupReply::Failed(GroupError::RebalanceInProgress);
                turn.effects.reply(before, again);
            }
            if group.is_leader(id) {
                assign(group, turn, &sync.assignments);
            }
            cancel_if_all_synced(group, turn);
            Ok(())
        }
        State::Stable => {
            group.unsynced.remove(id);
            cancel_if_all_synced(group, turn);
            let synced = synced(group, group.members[id].assignment.clone());
            turn.effects.reply(token, synced);
            Ok(())
        }
    }
}

fn cancel_if_all_synced(group: &ClassicGroup, turn: &mut Turn<'_>) {
    if group.unsynced.is_empty() {
        turn.timers.cancel(&TimerKey::Sync(group.name.clone()));
    }
}

fn synced(group: &ClassicGroup, assignment: Bytes) -> GroupReply {
    GroupReply::Synced(Box::new(Synced {
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        assignment,
    }))
}

/// Everybody gets what the leader says, or nothing. The answers leave when the record is durable.
fn assign(group: &mut ClassicGroup, turn: &mut Turn<'_>, assignments: &[(Arc<str>, Bytes)]) {
    let by_member: BTreeMap<&Arc<str>, &Bytes> = assignments
        .iter()
        .map(|(member, assignment)| (member, assignment))
        .collect();
    for member in group.members.values_mut() {
        let assignment = by_member.get(&member.id);
        member.assignment = assignment.map_or_else(Bytes::new, |bytes| Bytes::clone(bytes));
    }
    if !group.fits(turn) {
        // As when Kafka's log refuses the record: nobody gets an assignment, everybody joins again.
        refuse_waiting(group, turn, GroupError::LimitReached);
        join::prepare_or_complete(group, turn);
        return;
    }
    group.transition(State::Stable, turn);
    group.write(turn);
    let ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
    for id in ids {
        let member = group.members.get_mut(&id).expect("listed above");
        if let Some(token) = member.awaiting_sync.take() {
            let assignment = member.assignment.clone();
            turn.effects.reply(token, synced(group, assignment));
            group.arm_session(&group.members[&id], turn);
        }
    }
}

/// Nobody gets an assignment in this generation.
pub fn refuse_waiting(group: &mut ClassicGroup, turn: &mut Turn<'_>, error: GroupError) {
    let ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
    for id in ids {
        let member = group.members.get_mut(&id).expect("listed above");
        member.assignment = Bytes::new();
        if let Some(token) = member.awaiting_sync.take() {
            turn.effects.reply(token, GroupReply::Failed(error));
            group.arm_session(&group.members[&id], turn);
        }
    }
}

/// The time to ask for assignments is over: who did not ask is out.
pub fn time_is_over(group: &mut ClassicGroup, turn: &mut Turn<'_>) {
    if !matches!(group.state, State::CompletingRebalance | State::Stable)
        || group.unsynced.is_empty()
    {
        return;
    }
    for id in std::mem::take(&mut group.unsynced) {
        group.remove_member(&id, GroupError::UnknownMember, turn);
    }
    join::prepare_rebalance(group, turn);
}

//! Heartbeat, LeaveGroup, and members that fell silent.

use std::sync::Arc;

use super::super::error::GroupError;
use super::super::request::MemberAt;
use super::super::timers::TimerKey;
use super::super::turn::Turn;
use super::{ClassicGroup, State, join};

/// A member is alive.
///
/// # Errors
/// It must join again, or is not a member.
pub fn heartbeat(
    group: &mut ClassicGroup,
    turn: &mut Turn<'_>,
    who: &MemberAt,
) -> Result<(), GroupError> {
    group.validate(who)?;
    if who.generation != group.generation {
        return Err(GroupError::IllegalGeneration);
    }
    if group.state == State::Empty {
        return Err(GroupError::UnknownMember);
    }
    group.arm_session(&group.members[&who.member], turn);
    if group.state == State::PreparingRebalance {
        return Err(GroupError::RebalanceInProgress);
    }
    Ok(())
}

/// Members go; each gets its result, in order.
pub fn leave(
    group: &mut ClassicGroup,
    turn: &mut Turn<'_>,
    members: &[(Arc<str>, Option<Arc<str>>)],
) -> Vec<Result<(), GroupError>> {
    let mut somebody_left = false;
    let results = members
        .iter()
        .map(|(id, instance)| {
            // An administrator names static members by instance id alone.
            let by_instance = instance
                .as_ref()
                .filter(|_| id.is_empty())
                .and_then(|instance| group.instances.get(instance).cloned());
            if id.is_empty() && by_instance.is_none() {
                return Err(GroupError::UnknownMember);
            }
            let id = by_instance.unwrap_or_else(|| id.clone());
            if group.pending.remove(&id) {
                turn.timers
                    .cancel(&TimerKey::Session(group.name.clone(), id));
                return Ok(());
            }
            group.validate(&MemberAt {
                group: group.name.clone(),
                member: id.clone(),
                instance: instance.clone(),
                generation: -1,
            })?;
            group.remove_member(&id, GroupError::UnknownMember, turn);
            somebody_left = true;
            Ok(())
        })
        .collect();
    if somebody_left {
        without_them(group, turn);
    } else {
        // The others may have waited for the use of an id that was given back.
        join::complete_if_ready(group, turn);
    }
    results
}

/// A session, or the time to use a given id, is over.
pub fn session_is_over(group: &mut ClassicGroup, turn: &mut Turn<'_>, id: &Arc<str>) {
    if group.pending.remove(id) {
        join::complete_if_ready(group, turn);
        return;
    }
    let Some(member) = group.members.get(id) else {
        return;
    };
    // Who waits for an answer cannot send heartbeats; the times to join and to synchronize bound the wait.
    let waits = member.awaiting_join.is_some() || member.awaiting_sync.is_some();
    if waits && !member.is_new {
        group.arm_session(member, turn);
        return;
    }
    group.remove_member(id, GroupError::UnknownMember, turn);
    without_them(group, turn);
}

fn without_them(group: &mut ClassicGroup, turn: &mut Turn<'_>) {
    match group.state {
        State::Stable | State::CompletingRebalance => join::prepare_rebalance(group, turn),
        State::PreparingRebalance => join::complete_if_ready(group, turn),
        State::Empty => {}
    }
}

//! JoinGroup: who may join, when a rebalance begins, and when its generation does.

use std::sync::Arc;

use super::super::error::GroupError;
use super::super::request::{GroupReply, Join};
use super::super::timers::TimerKey;
use super::super::turn::{Token, Turn};
use super::member::Member;
use super::{ClassicGroup, State, sync};

/// How long a member that is not in a generation yet may wait. It knows no id to send heartbeats under, and its
/// connection says nothing while it waits, so this alone finds those that are gone.
const NEW_MEMBER_WAIT_MS: i64 = 5 * 60 * 1000;

/// A member joins: it is answered now, or waits for the generation.
///
/// # Errors
/// Why it cannot.
pub fn join(
    group: &mut ClassicGroup,
    turn: &mut Turn<'_>,
    token: Token,
    join: &Join,
) -> Result<(), GroupError> {
    let id = &join.who.member;
    if !has_room(group, turn, id) {
        forget_pending(group, turn, id);
        return Err(GroupError::GroupFull);
    }
    if !group.supports(&join.protocol_type, &join.protocols) {
        return Err(GroupError::InconsistentProtocol);
    }
    if id.is_empty() {
        join_new(group, turn, token, join);
        Ok(())
    } else {
        join_again(group, turn, token, join)
    }
}

fn has_room(group: &ClassicGroup, turn: &Turn<'_>, id: &Arc<str>) -> bool {
    let max = turn.settings.members_max;
    let member = group.members.get(id);
    match group.state {
        State::Empty => true,
        State::PreparingRebalance => {
            member.is_some_and(|member| member.awaiting_join.is_some())
                || group.waiting_to_join() < max
        }
        State::CompletingRebalance | State::Stable => member.is_some() || group.members.len() < max,
    }
}

fn forget_pending(group: &mut ClassicGroup, turn: &mut Turn<'_>, id: &Arc<str>) {
    if group.pending.remove(id) {
        let key = TimerKey::Session(group.name.clone(), id.clone());
        turn.timers.cancel(&key);
    }
}

fn join_new(group: &mut ClassicGroup, turn: &mut Turn<'_>, token: Token, join: &Join) {
    let id = join.new_member.clone();
    let known = join
        .who
        .instance
        .as_ref()
        .and_then(|instance| group.instances.get(instance).cloned());
    if let Some(before) = known {
        replace_static(group, turn, token, join, &before);
    } else if join.who.instance.is_none() && join.id_required {
        // KIP-394: who never comes back for its id costs no rebalance.
        group.pending.insert(id.clone());
        group.arm_session_for(&id, i64::from(join.session_timeout_ms), turn);
        let reply = GroupReply::JoinRefused(GroupError::MemberIdRequired, id);
        turn.effects.reply(token, reply);
    } else {
        add(group, turn, token, join, id);
    }
}

fn join_again(
    group: &mut ClassicGroup,
    turn: &mut Turn<'_>,
    token: Token,
    join: &Join,
) -> Result<(), GroupError> {
    let id = &join.who.member;
    if group.pending.contains(id) {
        add(group, turn, token, join, id.clone());
        return Ok(());
    }
    group.validate(&join.who)?;
    let same = group.members[id].protocols == join.protocols;
    // The leader may have seen what its metadata does not show, such as more partitions.
    let nothing_new = match group.state {
        State::Empty => return Err(GroupError::UnknownMember),
        State::PreparingRebalance => false,
        State::CompletingRebalance => same,
        State::Stable => same && !group.is_leader(id),
    };
    if nothing_new {
        let joined = group.joined(id, group.is_leader(id));
        turn.effects
            .reply(token, GroupReply::Joined(Box::new(joined)));
    } else {
        update(group, turn, token, join, id);
        prepare_or_complete(group, turn);
    }
    Ok(())
}

fn add(group: &mut ClassicGroup, turn: &mut Turn<'_>, token: Token, join: &Join, id: Arc<str>) {
    if group.state == State::PreparingRebalance && group.previous == State::Empty {
        group.joined_meanwhile = true;
    }
    group.insert_member(Member::new(id.clone(), join), &join.protocol_type);
    group.await_join(&id, token, turn);
    group.arm_session_for(&id, NEW_MEMBER_WAIT_MS, turn);
    prepare_or_complete(group, turn);
}

fn update(group: &mut ClassicGroup, turn: &mut Turn<'_>, token: Token, join: &Join, id: &Arc<str>) {
    let member = group.members.get_mut(id).expect("validated");
    member.protocols.clone_from(&join.protocols);
    member.session_timeout_ms = join.session_timeout_ms;
    member.rebalance_timeout_ms = join.rebalance_timeout_ms;
    group.await_join(id, token, turn);
}

/// A static member came back under a new id (KIP-345). In a stable group whose protocol stays the same it simply takes
/// the old one's place, without a rebalance.
fn replace_static(
    group: &mut ClassicGroup,
    turn: &mut Turn<'_>,
    token: Token,
    join: &Join,
    before: &Arc<str>,
) {
    let id = join.new_member.clone();
    let led_before = group.leader.clone();
    let mut member = group.members[before].clone();
    let was_leader = group.is_leader(before);
    group.remove_member(before, GroupError::FencedInstance, turn);
    member.id = id.clone();
    member.client = join.client.clone();
    member.host = join.host.clone();
    (member.awaiting_join, member.awaiting_sync) = (None, None);
    if was_leader {
        group.leader = Some(id.clone());
    }
    group.insert_member(member, &join.protocol_type);
    update(group, turn, token, join, &id);
    group.arm_session(&group.members[&id], turn);
    match group.state {
        State::Stable if group.select_protocol() == group.protocol && group.fits(turn) => {
            let member = group.members.get_mut(&id).expect("inserted above");
            member.awaiting_join = None;
            group.write(turn);
            // KIP-814: a leader that knows the field is told everything and that it must not assign; an older client is
            // told the old leader's id, so that it does not try.
            let mut joined = group.joined(&id, was_leader && join.can_skip_assignment);
            joined.skip_assignment = was_leader && join.can_skip_assignment;
            if !join.can_skip_assignment {
                joined.leader = led_before;
            }
            turn.effects
                .reply(token, GroupReply::Joined(Box::new(joined)));
        }
        State::Stable => prepare_or_complete(group, turn),
        // The leader may already assign to the old id.
        State::CompletingRebalance => prepare_rebalance(group, turn),
        State::Empty | State::PreparingRebalance => complete_if_ready(group, turn),
    }
}

/// Begins a rebalance, or ends the one under way if nobody is missing any more.
pub fn prepare_or_complete(group: &mut ClassicGroup, turn: &mut Turn<'_>) {
    if group.state == State::PreparingRebalance {
        complete_if_ready(group, turn);
    } else {
        prepare_rebalance(group, turn);
    }
}

/// Begins a rebalance.
pub fn prepare_rebalance(group: &mut ClassicGroup, turn: &mut Turn<'_>) {
    if group.state == State::CompletingRebalance {
        sync::refuse_waiting(group, turn, GroupError::RebalanceInProgress);
    }
    turn.timers.cancel(&TimerKey::Sync(group.name.clone()));
    let initial = group.state == State::Empty;
    group.transition(State::PreparingRebalance, turn);
    if initial {
        // Members that start together shall meet in one generation.
        let delay = turn.settings.initial_rebalance_delay_ms;
        group.joined_meanwhile = false;
        group.initial_delay = (delay, (group.rebalance_timeout_ms() - delay).max(0));
        arm_join(group, turn, delay);
    } else if group.everybody_joined() {
        complete(group, turn);
    } else {
        arm_join(group, turn, group.rebalance_timeout_ms());
    }
}

fn arm_join(group: &ClassicGroup, turn: &mut Turn<'_>, delay_ms: i64) {
    let key = TimerKey::Join(group.name.clone());
    turn.timers
        .arm(key, turn.now.monotonic_ms.saturating_add(delay_ms));
}

/// Begins the generation if nobody is missing; a new group waits its delay in any case.
pub fn complete_if_ready(group: &mut ClassicGroup, turn: &mut Turn<'_>) {
    if group.state == State::PreparingRebalance
        && group.previous != State::Empty
        && group.everybody_joined()
    {
        complete(group, turn);
    }
}

/// The time to join is over.
pub fn time_is_over(group: &mut ClassicGroup, turn: &mut Turn<'_>) {
    if group.state != State::PreparingRebalance {
        return;
    }
    let (delay, remaining) = group.initial_delay;
    if group.previous == State::Empty && group.joined_meanwhile && remaining > 0 {
        group.joined_meanwhile = false;
        let next = turn.settings.initial_rebalance_delay_ms.min(remaining);
        group.initial_delay = (next, (remaining - delay).max(0));
        arm_join(group, turn, next);
        return;
    }
    complete(group, turn);
}

fn complete(group: &mut ClassicGroup, turn: &mut Turn<'_>) {
    turn.timers.cancel(&TimerKey::Join(group.name.clone()));
    let absent: Vec<Arc<str>> = group
        .members
        .values()
        .filter(|member| member.awaiting_join.is_none() && member.instance.is_none())
        .map(|member| member.id.clone())
        .collect();
    for id in &absent {
        group.remove_member(id, GroupError::UnknownMember, turn);
    }
    if !group.members.is_empty() && !elect_joined_leader(group) {
        // Only static members are left, and none of them came: they keep their places until their sessions end.
        arm_join(group, turn, group.rebalance_timeout_ms());
        return;
    }
    group.generation = group.generation.wrapping_add(1).max(0);
    group.unsynced.clear();
    if group.members.is_empty() {
        group.protocol = None;
        group.leader = None;
        group.topics = group.subscribed_topics();
        group.transition(State::Empty, turn);
        group.write(turn);
        return;
    }
    group.protocol = group.select_protocol();
    group.topics = group.subscribed_topics();
    group.transition(State::CompletingRebalance, turn);
    let ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
    for id in ids {
        let joined = group.joined(&id, group.is_leader(&id));
        let member = group.members.get_mut(&id).expect("listed above");
        member.is_new = false;
        if let Some(token) = member.awaiting_join.take() {
            turn.effects
                .reply(token, GroupReply::Joined(Box::new(joined)));
        }
        group.arm_session(&group.members[&id], turn);
        group.unsynced.insert(id);
    }
    let key = TimerKey::Sync(group.name.clone());
    let deadline = turn.now.monotonic_ms + group.rebalance_timeout_ms();
    turn.timers.arm(key, deadline);
}

/// Makes sure that the leader is somebody who joined; false if nobody did.
fn elect_joined_leader(group: &mut ClassicGroup) -> bool {
    let joined = |id: &Arc<str>| {
        group
            .members
            .get(id)
            .is_some_and(|member| member.awaiting_join.is_some())
    };
    if group.leader.as_ref().is_some_and(joined) {
        return true;
    }
    let next = group.members.keys().find(|id| joined(id)).cloned();
    if next.is_some() {
        group.leader = next;
        return true;
    }
    false
}

//! The uniform assignor: as even as the subscriptions allow, as sticky as evenness allows.
//!
//! Equal subscriptions (the rule): everybody keeps what he has up to his share, what is left over goes round robin to
//! those below theirs; no partition moves that evenness does not move. Unequal subscriptions: everybody keeps what he
//! may keep, what is left over goes to the emptiest subscriber, then `balance` evens out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::AssignmentSpec;
use super::balance::{Loads, even_out};
use crate::groups::consumer::partitions::PartitionSet;
use crate::types::{PartitionId, TopicId};

pub(super) fn assign(spec: &AssignmentSpec<'_>) -> BTreeMap<Arc<str>, PartitionSet> {
    let (mut owned, free) = keep_previous(spec);
    if !spec.members.is_empty() {
        if spec.is_homogeneous() {
            assign_shares(&mut owned, free);
        } else {
            let mut loads = Loads::new(spec, owned);
            loads.place(free);
            even_out(&mut loads);
            owned = loads.into_owned();
        }
    }
    let sets = owned.into_iter().map(PartitionSet::from_iter);
    spec.members
        .iter()
        .map(|member| member.id.clone())
        .zip(sets)
        .collect()
}

/// What each member may keep, and what nobody has.
fn keep_previous(spec: &AssignmentSpec<'_>) -> (Vec<Vec<PartitionId>>, Vec<PartitionId>) {
    let mut taken = BTreeSet::new();
    let mut owned: Vec<Vec<PartitionId>> = Vec::with_capacity(spec.members.len());
    let mut wanted: BTreeSet<TopicId> = BTreeSet::new();
    for member in &spec.members {
        let keep = |partition: &PartitionId| {
            member.topics.binary_search(&partition.topic_id).is_ok()
                && spec
                    .topics
                    .get(&partition.topic_id)
                    .is_some_and(|count| (0..*count).contains(&partition.index))
        };
        let previous = member.previous.into_iter().flat_map(PartitionSet::iter);
        // A partition with two owners in the old target (it never should) stays with the first.
        owned.push(
            previous
                .filter(keep)
                .filter(|partition| taken.insert(*partition))
                .collect(),
        );
        wanted.extend(member.topics.iter());
    }
    let free = wanted
        .iter()
        .filter_map(|topic_id| Some((*topic_id, *spec.topics.get(topic_id)?)))
        .flat_map(|(topic_id, count)| (0..count).map(move |index| PartitionId { topic_id, index }))
        .filter(|partition| !taken.contains(partition))
        .collect();
    (owned, free)
}

/// Cuts everybody to his share and deals out what is free.
fn assign_shares(owned: &mut [Vec<PartitionId>], mut free: Vec<PartitionId>) {
    let total = free.len() + owned.iter().map(Vec::len).sum::<usize>();
    let (share, mut extra) = (total / owned.len(), total % owned.len());
    let mut room = Vec::with_capacity(owned.len());
    // Whoever has more than the share keeps one of the extras, as long as there are some.
    for mine in owned.iter_mut() {
        let keeps_extra = mine.len() > share && extra > 0;
        extra -= usize::from(keeps_extra);
        let limit = share + usize::from(keeps_extra);
        if mine.len() > limit {
            free.extend(mine.drain(limit..));
        }
        room.push(limit - mine.len());
    }
    free.sort_unstable();
    // The remaining extras go to those who have the share exactly or less, in order.
    for (mine, room) in owned.iter().zip(&mut room) {
        if extra > 0 && mine.len() + *room == share {
            *room += 1;
            extra -= 1;
        }
    }
    let mut free = free.into_iter();
    // Round robin, so that the partitions of one topic spread.
    while free.len() > 0 {
        for (mine, room) in owned.iter_mut().zip(&mut room) {
            if *room > 0
                && let Some(partition) = free.next()
            {
                mine.push(partition);
                *room -= 1;
            }
        }
    }
}

//! Evening out members whose subscriptions differ.
//!
//! Who owns a partition of a topic can hand it to any subscriber of that topic, so members form a graph, and a chain of
//! hand-overs from a member to one with at least two partitions fewer makes the group more even. When no such chain is
//! left, no assignment is more even (the loads of an optimal semi-matching). Work is bounded: each chain lowers the sum
//! of squares of the loads, each search visits a member and a topic once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::AssignmentSpec;
use crate::types::{PartitionId, TopicId};

/// Who owns what, and who could.
pub(super) struct Loads {
    owned: Vec<BTreeMap<TopicId, BTreeSet<i32>>>,
    load: Vec<usize>,
    subscribers: BTreeMap<TopicId, Vec<usize>>,
}

/// One hand-over: a partition of `topic` from a member to the next in the chain.
struct HandOver {
    from: usize,
    topic: TopicId,
}

impl Loads {
    /// The members of `spec` with what they own.
    pub(super) fn new(spec: &AssignmentSpec<'_>, owned: Vec<Vec<PartitionId>>) -> Self {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (at, member) in spec.members.iter().enumerate() {
            for topic in member.topics.iter() {
                subscribers.entry(*topic).or_default().push(at);
            }
        }
        let load = owned.iter().map(Vec::len).collect();
        let owned = owned
            .into_iter()
            .map(|mine| {
                let mut topics: BTreeMap<TopicId, BTreeSet<i32>> = BTreeMap::new();
                for partition in mine {
                    topics
                        .entry(partition.topic_id)
                        .or_default()
                        .insert(partition.index);
                }
                topics
            })
            .collect();
        Self {
            owned,
            load,
            subscribers,
        }
    }

    /// Gives each partition to the emptiest subscriber, those with the fewest possible owners first.
    pub(super) fn place(&mut self, mut free: Vec<PartitionId>) {
        free.sort_by_key(|partition| {
            let choice = self
                .subscribers
                .get(&partition.topic_id)
                .map_or(0, Vec::len);
            (choice, *partition)
        });
        for partition in free {
            let subscribers = self.subscribers.get(&partition.topic_id);
            let emptiest = subscribers
                .into_iter()
                .flatten()
                .copied()
                .min_by_key(|at| (self.load[*at], *at));
            if let Some(at) = emptiest {
                self.owned[at]
                    .entry(partition.topic_id)
                    .or_default()
                    .insert(partition.index);
                self.load[at] += 1;
            }
        }
    }

    /// The partitions of each member.
    pub(super) fn into_owned(self) -> Vec<Vec<PartitionId>> {
        let flat = |topics: BTreeMap<TopicId, BTreeSet<i32>>| {
            topics
                .into_iter()
                .flat_map(|(topic_id, indexes)| {
                    indexes
                        .into_iter()
                        .map(move |index| PartitionId { topic_id, index })
                })
                .collect()
        };
        self.owned.into_iter().map(flat).collect()
    }

    /// A shortest chain from `start` to a member with at least two partitions fewer.
    fn chain_from(&self, start: usize) -> Option<(Vec<HandOver>, usize)> {
        let mut came_from: Vec<Option<(usize, TopicId)>> = vec![None; self.load.len()];
        let mut seen = vec![false; self.load.len()];
        let mut topics_seen = BTreeSet::new();
        let mut queue = VecDeque::from([start]);
        seen[start] = true;
        while let Some(at) = queue.pop_front() {
            for topic in self.owned[at].keys() {
                if !topics_seen.insert(*topic) {
                    continue;
                }
                for &next in self.subscribers.get(topic).into_iter().flatten() {
                    if std::mem::replace(&mut seen[next], true) {
                        continue;
                    }
                    came_from[next] = Some((at, *topic));
                    if self.load[next] + 2 <= self.load[start] {
                        return Some((trace(&came_from, next), next));
                    }
                    queue.push_back(next);
                }
            }
        }
        None
    }

    fn hand_over(&mut self, chain: &[HandOver], last: usize) {
        let mut to = last;
        for step in chain.iter().rev() {
            let mine = self.owned[step.from]
                .get_mut(&step.topic)
                .expect("the chain follows owned topics");
            let index = mine.pop_last().expect("no empty set is kept");
            if mine.is_empty() {
                self.owned[step.from].remove(&step.topic);
            }
            self.owned[to].entry(step.topic).or_default().insert(index);
            to = step.from;
        }
        self.load[to] -= 1;
        self.load[last] += 1;
    }
}

fn trace(came_from: &[Option<(usize, TopicId)>], last: usize) -> Vec<HandOver> {
    let mut chain = Vec::new();
    let mut at = last;
    while let Some((from, topic)) = came_from[at] {
        chain.push(HandOver { from, topic });
        at = from;
    }
    chain.reverse();
    chain
}

/// Hands partitions over until no chain helps.
pub(super) fn even_out(loads: &mut Loads) {
    loop {
        let mut order: Vec<usize> = (0..loads.load.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(loads.load[*at]));
        let mut improved = false;
        for start in order {
            while let Some((chain, last)) = loads.chain_from(start) {
                loads.hand_over(&chain, last);
                improved = true;
            }
        }
        if !improved {
            return;
        }
    }
}

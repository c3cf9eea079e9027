//! Properties of the assignors over random groups, against what can be counted by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::{AssignmentMember, AssignmentSpec, Assignor};
use crate::groups::consumer::partitions::PartitionSet;
use crate::types::{PartitionId, TopicId};

/// A group to assign: partition counts by topic, topics by member, and an old target.
#[derive(Debug, Clone)]
struct Case {
    counts: Vec<i32>,
    subscriptions: Vec<BTreeSet<usize>>,
    /// Owner of each partition, topic by topic; anything at or beyond the number of members is nobody.
    owners: Vec<Vec<usize>>,
}

fn topic(index: usize) -> TopicId {
    TopicId([u8::try_from(index).unwrap() + 1; 16])
}

fn cases(equal: bool) -> impl Strategy<Value = Case> {
    let sizes = (1..12_usize, 1..6_usize);
    sizes.prop_flat_map(move |(members, topics)| {
        let counts = prop::collection::vec(0..9_i32, topics);
        let subscription = prop::collection::btree_set(0..topics, 0..=topics);
        let subscriptions = if equal {
            subscription.prop_map(move |one| vec![one; members]).boxed()
        } else {
            prop::collection::vec(subscription, members).boxed()
        };
        let owners = prop::collection::vec(prop::collection::vec(0..members + 3, 10), topics);
        (counts, subscriptions, owners).prop_map(|(counts, subscriptions, owners)| Case {
            counts,
            subscriptions,
            owners,
        })
    })
}

struct World {
    ids: Vec<Arc<str>>,
    previous: Vec<PartitionSet>,
}

impl Case {
    fn world(&self) -> World {
        let ids = (0..self.subscriptions.len()).map(|at| format!("m{at:02}").into());
        let previous = (0..self.subscriptions.len()).map(|member| {
            let owners = self.owners.iter().enumerate();
            owners
                .flat_map(|(at, owners)| {
                    let mine = owners.iter().enumerate();
                    mine.filter(|(_, owner)| **owner == member)
                        .map(move |(index, _)| PartitionId {
                            topic_id: topic(at),
                            index: i32::try_from(index).unwrap(),
                        })
                })
                .collect()
        });
        World {
            ids: ids.collect(),
            previous: previous.collect(),
        }
    }

    fn spec<'w>(&self, world: &'w World, previous: &'w [PartitionSet]) -> AssignmentSpec<'w> {
        let members = world.ids.iter().zip(&self.subscriptions).zip(previous);
        AssignmentSpec {
            members: members
                .map(|((id, topics), previous)| AssignmentMember {
                    id,
                    instance_id: None,
                    topics: topics.iter().map(|at| topic(*at)).collect(),
                    previous: Some(previous),
                })
                .collect(),
            topics: (0..self.counts.len())
                .filter(|at| self.subscriptions.iter().any(|mine| mine.contains(at)))
                .map(|at| (topic(at), self.counts[at]))
                .collect(),
        }
    }
}

/// Every partition of a subscribed topic has one owner, who asked for it.
fn assert_complete(spec: &AssignmentSpec<'_>, target: &BTreeMap<Arc<str>, PartitionSet>) {
    assert_eq!(target.len(), spec.members.len());
    let mut owners = BTreeMap::new();
    for member in &spec.members {
        for partition in target[member.id].iter() {
            assert!(member.topics.contains(&partition.topic_id));
            assert_eq!(owners.insert(partition, member.id), None, "two owners");
        }
    }
    let mut expected = 0;
    for (topic_id, count) in &spec.topics {
        for index in 0..*count {
            let partition = PartitionId {
                topic_id: *topic_id,
                index,
            };
            assert!(
                owners.contains_key(&partition),
                "{partition:?} has no owner"
            );
            expected += 1;
        }
    }
    assert_eq!(owners.len(), expected);
}

fn loads(target: &BTreeMap<Arc<str>, PartitionSet>) -> Vec<usize> {
    target.values().map(PartitionSet::len).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_subscriptions_are_even_and_nothing_moves_that_need_not(case in cases(true)) {
        let world = case.world();
        let spec = case.spec(&world, &world.previous);
        let target = Assignor::Uniform.assign(&spec);
        assert_complete(&spec, &target);
        let loads = loads(&target);
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{loads:?}");

        let total: usize = loads.iter().sum();
        let (share, extra) = (total / loads.len(), total % loads.len());
        let valid = |partition: &PartitionId| {
            spec.topics.get(&partition.topic_id).is_some_and(|count| partition.index < *count)
        };
        let had: Vec<usize> = world
            .previous
            .iter()
            .map(|mine| mine.iter().filter(valid).count())
            .collect();
        let most_kept = had.iter().map(|had| (*had).min(share)).sum::<usize>()
            + had.iter().filter(|had| **had > share).count().min(extra);
        let kept: usize = world
            .ids
            .iter()
            .zip(&world.previous)
            .map(|(id, previous)| previous.iter().filter(|at| target[id].contains(*at)).count())
            .sum();
        prop_assert_eq!(kept, most_kept);
    }

    #[test]
    fn unequal_subscriptions_are_as_even_as_hand_overs_can_make_them(case in cases(false)) {
        let world = case.world();
        let spec = case.spec(&world, &world.previous);
        let target = Assignor::Uniform.assign(&spec);
        assert_complete(&spec, &target);
        for giver in &spec.members {
            for taker in &spec.members {
                let shared = target[giver.id].iter().any(|at| taker.topics.contains(&at.topic_id));
                let gap = target[giver.id].len() as i64 - target[taker.id].len() as i64;
                prop_assert!(!shared || gap < 2, "{} could give to {}", giver.id, taker.id);
            }
        }
    }

    #[test]
    fn a_target_that_was_just_computed_is_kept(case in cases(false), equal in cases(true)) {
        for case in [case, equal] {
            let world = case.world();
            let first = Assignor::Uniform.assign(&case.spec(&world, &world.previous));
            let settled: Vec<_> = first.values().cloned().collect();
            let second = Assignor::Uniform.assign(&case.spec(&world, &settled));
            prop_assert_eq!(first, second);
        }
    }

    #[test]
    fn ranges_are_runs_of_nearly_equal_length(case in cases(false)) {
        let world = case.world();
        let spec = case.spec(&world, &world.previous);
        let target = Assignor::Range.assign(&spec);
        assert_complete(&spec, &target);
        for (topic_id, count) in &spec.topics {
            let mut lengths = Vec::new();
            for member in spec.members.iter().filter(|member| member.topics.contains(topic_id)) {
                let indexes: Vec<i32> = target[member.id]
                    .iter()
                    .filter(|at| at.topic_id == *topic_id)
                    .map(|at| at.index)
                    .collect();
                prop_assert!(indexes.windows(2).all(|pair| pair[1] == pair[0] + 1));
                lengths.push(indexes.len());
            }
            prop_assert_eq!(lengths.iter().sum::<usize>(), usize::try_from(*count).unwrap());
            let (least, most) = (lengths.iter().min().unwrap(), lengths.iter().max().unwrap());
            prop_assert!(most - least <= 1);
        }
    }
}

#[test]
fn topics_of_one_size_are_cut_alike_by_range_and_static_members_come_first() {
    let case = Case {
        counts: vec![5, 5],
        subscriptions: vec![BTreeSet::from([0, 1]); 3],
        owners: vec![vec![], vec![]],
    };
    let world = case.world();
    let mut spec = case.spec(&world, &world.previous);
    let instance: Arc<str> = "a".into();
    spec.members[2].instance_id = Some(&instance);
    let target = Assignor::Range.assign(&spec);
    let of = |member: usize, at: usize| -> Vec<i32> {
        let mine = target[&world.ids[member]].iter();
        mine.filter(|partition| partition.topic_id == topic(at))
            .map(|partition| partition.index)
            .collect()
    };
    for at in 0..2 {
        assert_eq!(of(2, at), [0, 1]);
        assert_eq!(of(0, at), [2, 3]);
        assert_eq!(of(1, at), [4]);
    }
}

#[test]
fn a_chain_of_hand_overs_evens_out_what_no_single_one_can() {
    // The first member can give only to the second, the second only to the third.
    let case = Case {
        counts: vec![3, 2],
        subscriptions: vec![
            BTreeSet::from([0]),
            BTreeSet::from([0, 1]),
            BTreeSet::from([1]),
        ],
        owners: vec![vec![0, 0, 0], vec![1, 1]],
    };
    let world = case.world();
    let target = Assignor::Uniform.assign(&case.spec(&world, &world.previous));
    assert_eq!(loads(&target), [2, 2, 1]);
}

//! The range assignor: of every topic each subscriber gets one run of consecutive partitions.
//!
//! Subscribers are ordered by instance id, then member id, the same for all topics, so that topics with equally many
//! partitions and the same subscribers are cut alike (joins work). Static members keep their place in the order.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::AssignmentSpec;
use crate::groups::consumer::partitions::PartitionSet;
use crate::types::{PartitionId, TopicId};

pub(super) fn assign(spec: &AssignmentSpec<'_>) -> BTreeMap<Arc<str>, PartitionSet> {
    let mut order: Vec<usize> = (0..spec.members.len()).collect();
    // Static members first, as their place should not depend on who else comes and goes.
    order.sort_by_key(|&at| {
        let member = &spec.members[at];
        (member.instance_id.is_none(), member.instance_id, member.id)
    });
    let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for &at in &order {
        for topic in spec.members[at].topics.iter() {
            subscribers.entry(*topic).or_default().push(at);
        }
    }
    let mut owned: Vec<Vec<PartitionId>> = vec![Vec::new(); spec.members.len()];
    for (topic_id, subscribers) in &subscribers {
        let partitions = usize::try_from(spec.topics.get(topic_id).copied().unwrap_or(0))
            .expect("a topic has no negative number of partitions");
        let (share, extra) = (
            partitions / subscribers.len(),
            partitions % subscribers.len(),
        );
        let mut next = 0;
        for (place, &at) in subscribers.iter().enumerate() {
            let count = share + usize::from(place < extra);
            owned[at].extend((next..next + count).map(|index| PartitionId {
                topic_id: *topic_id,
                index: i32::try_from(index).expect("partition indexes are 32 bits"),
            }));
            next += count;
        }
    }
    let sets = owned.into_iter().map(PartitionSet::from_iter);
    spec.members
        .iter()
        .map(|member| member.id.clone())
        .zip(sets)
        .collect()
}

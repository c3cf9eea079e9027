//! What may be seen of a group: in one generation a partition has one owner, and committed offsets never go back
//! (RELIABILITY G4, G6, G7).

use std::collections::BTreeMap;

use super::commits::Commits;

/// One group, one topic.
#[derive(Default)]
pub struct GroupModel {
    /// By generation and partition: the member, or the instance that outlives its member ids.
    owners: BTreeMap<(i32, i32), String>,
    /// By partition.
    pub commits: Commits<i32>,
}

impl GroupModel {
    /// A member was told what it owns.
    pub fn owns(&mut self, generation: i32, member: &str, instance: Option<&str>, owned: &[i32]) {
        let name = instance.unwrap_or(member);
        for partition in owned {
            let owner = self
                .owners
                .entry((generation, *partition))
                .or_insert_with(|| name.to_owned());
            assert_eq!(
                owner, name,
                "partition {partition} is owned twice in generation {generation}"
            );
        }
    }
}

//! What may be seen of a group: in one generation a partition has one owner, and committed offsets never go back
//! (RELIABILITY G4, G6, G7).

use std::collections::BTreeMap;

/// One group, one topic.
#[derive(Default)]
pub struct GroupModel {
    /// By generation and partition: the member, or the instance that outlives its member ids.
    owners: BTreeMap<(i32, i32), String>,
    sent: BTreeMap<i32, i64>,
    /// Acknowledged, or seen.
    known: BTreeMap<i32, i64>,
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

    /// The next offset to commit; each is sent once.
    pub fn sends(&mut self, partition: i32) -> i64 {
        let sent = self.sent.entry(partition).or_default();
        *sent += 1;
        *sent
    }

    /// A commit was answered.
    pub fn acknowledged(&mut self, partition: i32, offset: i64) {
        let known = self.known.entry(partition).or_default();
        *known = offset.max(*known);
    }

    /// What an answer to a question asked now must reach.
    pub fn floors(&self) -> BTreeMap<i32, i64> {
        self.known.clone()
    }

    /// An answer; `floor` was known when it was asked for.
    pub fn found(&mut self, partition: i32, floor: Option<i64>, offset: i64) {
        let sent = self.sent.get(&partition).copied().unwrap_or(-1);
        assert!(
            offset <= sent,
            "partition {partition}: {offset} is committed, {sent} was sent"
        );
        assert!(
            floor.is_none_or(|floor| offset >= floor),
            "partition {partition}: the committed offset went back from {floor:?} to {offset}"
        );
        if offset >= 0 {
            self.acknowledged(partition, offset);
        }
    }
}

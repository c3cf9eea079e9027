//! Committed offsets of one group: what was acknowledged or seen never goes back (RELIABILITY G4, G6).

use std::collections::BTreeMap;
use std::fmt::Debug;

/// By partition, however the group's clients name one.
pub struct Commits<P> {
    sent: BTreeMap<P, i64>,
    /// Acknowledged, or seen.
    known: BTreeMap<P, i64>,
}

impl<P> Default for Commits<P> {
    fn default() -> Commits<P> {
        Commits {
            sent: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }
}

impl<P: Copy + Ord + Debug> Commits<P> {
    /// The next offset to commit; each is sent once.
    pub fn sends(&mut self, partition: P) -> i64 {
        let sent = self.sent.entry(partition).or_default();
        *sent += 1;
        *sent
    }

    /// A commit was answered.
    pub fn acknowledged(&mut self, partition: P, offset: i64) {
        let known = self.known.entry(partition).or_default();
        *known = offset.max(*known);
    }

    /// What an answer to a question asked now must reach.
    pub fn floors(&self) -> BTreeMap<P, i64> {
        self.known.clone()
    }

    /// An answer; `floor` was known when it was asked for.
    pub fn found(&mut self, partition: P, floor: Option<i64>, offset: i64) {
        let sent = self.sent.get(&partition).copied().unwrap_or(-1);
        assert!(
            offset <= sent,
            "partition {partition:?}: {offset} is committed, {sent} was sent"
        );
        assert!(
            floor.is_none_or(|floor| offset >= floor),
            "partition {partition:?}: the committed offset went back from {floor:?} to {offset}"
        );
        if offset >= 0 {
            self.acknowledged(partition, offset);
        }
    }
}

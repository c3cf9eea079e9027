//! What may be seen of a group of the consumer protocol (KIP-848): at any moment a partition has one owner, a member's
//! epoch never goes back, and who keeps its session is not sent away.
//!
//! A member owns a partition from the answer that gives it until the member gives it up (before it says so), leaves, is
//! sent away, or its lease ends: the session, counted from when the last answered heartbeat *left*. The coordinator
//! counts from when that arrived, or from its own start if that is later, so it may not replace the member before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::commits::Commits;

/// A partition by the id of its topic.
pub type Part = ([u8; 16], i32);

/// One group.
#[derive(Default)]
pub struct ConsumerGroupModel {
    owners: BTreeMap<Part, Owner>,
    /// By member id.
    epochs: BTreeMap<String, i32>,
    /// Committed offsets.
    pub commits: Commits<Part>,
    /// Every partition had its owner after all was healed.
    pub converged: bool,
}

struct Owner {
    member: String,
    until: Duration,
}

impl ConsumerGroupModel {
    /// The newest epoch anybody was told.
    pub fn newest_epoch(&self) -> i32 {
        self.epochs.values().copied().max().unwrap_or(0)
    }

    /// A member was told its epoch; `newest` was known when it asked. A new one gets the newest epoch there is.
    pub fn epoch(&mut self, member: &str, epoch: i32, newest: i32) {
        let least = self.epochs.get(member).copied().unwrap_or(newest);
        assert!(
            epoch >= least.max(1),
            "{member} is told epoch {epoch}, and {least} was told before"
        );
        self.epochs.insert(member.to_owned(), epoch);
    }

    /// The member goes on owning the partition, or owns it from now on.
    pub fn owns(&mut self, member: &str, part: Part, now: Duration, until: Duration) {
        if let Some(other) = self.owners.get(&part)
            && other.member != member
        {
            assert!(
                other.until <= now,
                "partition {} is given to {member} at {now:?}, and {} owns it until {:?}",
                part.1,
                other.member,
                other.until
            );
        }
        let member = member.to_owned();
        self.owners.insert(part, Owner { member, until });
    }

    /// The member has stopped to work on the partition.
    pub fn gives_up(&mut self, member: &str, part: Part) {
        if self
            .owners
            .get(&part)
            .is_some_and(|owner| owner.member == member)
        {
            self.owners.remove(&part);
        }
    }

    /// The member has stopped to work on anything.
    pub fn gone(&mut self, member: &str) {
        self.owners.retain(|_, owner| owner.member != member);
    }

    /// The partitions of that topic that have an owner.
    pub fn owned(&self, topic: [u8; 16], now: Duration) -> BTreeSet<i32> {
        let owned = self
            .owners
            .iter()
            .filter(|((id, _), owner)| *id == topic && owner.until > now);
        owned.map(|((_, partition), _)| *partition).collect()
    }
}

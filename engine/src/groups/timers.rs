//! Deadlines of one partition's groups; plain, ordered, one per key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a deadline is for. Ordered, so that deadlines of the same moment fire in the same order everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKey {
    /// Classic: the member (or the pending member id) was silent for too long.
    Session(Arc<str>, Arc<str>),
    /// Classic: the time to join is over.
    Join(Arc<str>),
    /// Classic: the time to fetch the assignment is over.
    Sync(Arc<str>),
    /// Modern: the member was silent for too long.
    ConsumerSession(Arc<str>, Arc<str>),
    /// Modern: the member's time to give partitions up is over.
    ConsumerRebalance(Arc<str>, Arc<str>),
    /// Modern: other periodic work of a group.
    ConsumerRefresh(Arc<str>),
    /// Modern: a classic-protocol member of a consumer group has not synchronized.
    ConsumerSync(Arc<str>, Arc<str>),
    /// Modern: a classic-protocol member of a consumer group has not joined again.
    ConsumerJoin(Arc<str>, Arc<str>),
    /// Offsets and empty groups are looked at for expiry.
    Expire,
}

/// The deadlines, in monotonic milliseconds.
#[derive(Debug, Default)]
pub struct Timers {
    by_key: BTreeMap<TimerKey, i64>,
    by_time: BTreeSet<(i64, TimerKey)>,
}

impl Timers {
    /// Sets the deadline of `key`, instead of the one it had.
    pub fn arm(&mut self, key: TimerKey, deadline_ms: i64) {
        if let Some(before) = self.by_key.insert(key.clone(), deadline_ms) {
            if before == deadline_ms {
                return;
            }
            self.by_time.remove(&(before, key.clone()));
        }
        self.by_time.insert((deadline_ms, key));
    }

    /// Forgets `key`.
    pub fn cancel(&mut self, key: &TimerKey) {
        if let Some(before) = self.by_key.remove(key) {
            self.by_time.remove(&(before, key.clone()));
        }
    }

    /// Whether `key` has a deadline.
    #[must_use]
    pub fn is_armed(&self, key: &TimerKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<i64> {
        self.by_time.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the earliest that is due.
    pub fn take_due(&mut self, now_ms: i64) -> Option<TimerKey> {
        if self.next()? > now_ms {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// How many are armed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is armed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fires_once_at_its_last_deadline_and_in_order() {
        let mut timers = Timers::default();
        let (a, b) = (TimerKey::Join("a".into()), TimerKey::Join("b".into()));
        timers.arm(a.clone(), 10);
        timers.arm(b.clone(), 20);
        timers.arm(a.clone(), 30);
        assert_eq!(timers.take_due(19), None);
        assert_eq!(timers.take_due(40), Some(b.clone()));
        timers.arm(b.clone(), 30);
        assert_eq!(timers.take_due(40), Some(a));
        timers.cancel(&b);
        assert_eq!((timers.take_due(99), timers.len()), (None, 0));
    }
}

//! Which batch is sent next: arrivals are turned into batches as a producer's accumulator does it.
//!
//! Pure decisions; time comes in as `now`, nanoseconds from the start of the phase. Invariant: a record keeps the due
//! time that the schedule gave it, however late its batch leaves.

use std::collections::VecDeque;

use crate::plan::{KeySpace, Partitioner};
use crate::random::Random;
use crate::schedule::Arrivals;

/// Full batches that wait for a free request; further arrivals stay in the schedule, which costs no memory.
const READY_MAX: usize = 64;

/// When a batch's records were due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// All at once.
    Same(u64),
    /// Each at its own time.
    Each(Vec<u64>),
}

/// Records that leave together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Index among this connection's partitions.
    pub(crate) target: usize,
    /// Records.
    pub(crate) count: usize,
    /// When they were due.
    pub(crate) due: Due,
    /// Their keys; empty without keys.
    pub(crate) keys: Vec<u64>,
}

impl Batch {
    /// When record `index` was due.
    pub(crate) fn due(&self, index: usize) -> u64 {
        match &self.due {
            Due::Same(at) => *at,
            Due::Each(each) => each[index],
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    due: Vec<u64>,
    keys: Vec<u64>,
    /// Counts the batches that this partition had, to tell a deadline that is out of date.
    generation: u64,
}

/// How a connection chooses partitions.
#[derive(Debug)]
pub(crate) struct Chooser {
    partitioner: Partitioner,
    keys: Option<KeySpace>,
    /// For keys: the partition that each of the topic's partitions is among this connection's, if it is.
    targets: usize,
    next: usize,
    random: Random,
    key: Vec<u8>,
}

impl Chooser {
    /// Chooses among `targets` partitions; connections start at different ones.
    pub(crate) fn new(
        partitioner: Partitioner,
        keys: Option<KeySpace>,
        targets: usize,
        first: usize,
        random: Random,
    ) -> Self {
        let key = vec![0; keys.as_ref().map_or(0, |keys| keys.bytes)];
        Self {
            partitioner,
            keys,
            targets,
            next: first % targets,
            random,
            key,
        }
    }

    /// The next record's partition and key.
    fn choose(&mut self) -> (usize, Option<u64>) {
        let key = self
            .keys
            .as_ref()
            .map(|keys| self.random.power_law(keys.count, keys.skew));
        let target = match (self.partitioner, key) {
            (Partitioner::Sticky, _) | (Partitioner::Key, None) => self.next,
            (Partitioner::RoundRobin, _) => {
                let target = self.next;
                self.advance();
                target
            }
            (Partitioner::Random, _) => self.random.below(self.targets as u64) as usize,
            (Partitioner::Key, Some(key)) => {
                crate::template::write_key(&mut self.key, key);
                let partitions =
                    i32::try_from(self.targets).expect("partitions are counted in i32");
                net::cluster::partition_of_key(&self.key, partitions) as usize
            }
        };
        (target, key)
    }

    fn advance(&mut self) {
        self.next = (self.next + 1) % self.targets;
    }

    /// A batch of `target` was closed.
    fn closed(&mut self, target: usize) {
        if self.partitioner == Partitioner::Sticky && target == self.next {
            self.advance();
        }
    }

    /// Whether full batches can be made without looking at each record.
    fn is_blind(&self) -> bool {
        self.keys.is_none()
            && matches!(
                self.partitioner,
                Partitioner::Sticky | Partitioner::RoundRobin
            )
    }
}

/// One connection's arrivals, open batches and full batches.
#[derive(Debug)]
pub(crate) struct Accumulator {
    arrivals: Arrivals,
    chooser: Chooser,
    records_max: usize,
    linger: u64,
    closed_loop: bool,
    open: Vec<Open>,
    /// Deadlines of open batches, in the order in which they come.
    lingering: VecDeque<(u64, usize, u64)>,
    ready: VecDeque<Batch>,
    waiting: u64,
}

impl Accumulator {
    /// Batches of up to `records_max` records that wait up to `linger` nanoseconds for more.
    pub(crate) fn new(
        arrivals: Arrivals,
        chooser: Chooser,
        records_max: usize,
        linger: u64,
        closed_loop: bool,
    ) -> Self {
        let open = (0..chooser.targets).map(|_| Open::default()).collect();
        Self {
            arrivals,
            chooser,
            records_max,
            linger,
            closed_loop,
            open,
            lingering: VecDeque::new(),
            ready: VecDeque::new(),
            waiting: 0,
        }
    }

    /// The next batch to send, if one is full or has waited long enough.
    pub(crate) fn take(&mut self, now: u64) -> Option<Batch> {
        self.admit(now);
        self.forget_closed();
        if let Some(batch) = self.ready.pop_front() {
            self.waiting -= batch.count as u64;
            return Some(batch);
        }
        if self.arrivals.is_saturating() {
            return self.take_saturating(now);
        }
        // Only what is taken is closed: until then a batch grows, as in a producer that may not send.
        let &(deadline, target, _) = self.lingering.front()?;
        if deadline > now {
            return None;
        }
        self.lingering.pop_front();
        let batch = self.close(target);
        self.waiting -= batch.count as u64;
        Some(batch)
    }

    /// When [`Self::take`] can have something new; `None` if nothing more comes.
    pub(crate) fn next_event(&self) -> Option<u64> {
        let deadline = self
            .lingering
            .iter()
            .find(|(_, target, generation)| self.open[*target].generation == *generation)
            .map(|(deadline, ..)| *deadline);
        match (self.arrivals.peek(), deadline) {
            (Some(arrival), Some(deadline)) => Some(arrival.min(deadline)),
            (arrival, deadline) => arrival.or(deadline),
        }
    }

    /// When the oldest record that nobody has looked at yet was due.
    pub(crate) fn next_arrival(&self) -> Option<u64> {
        self.arrivals.peek()
    }

    /// Records that were looked at so far.
    pub(crate) fn looked_at(&self) -> u64 {
        self.arrivals.taken()
    }

    /// Records that are due and not sent.
    pub(crate) fn backlog(&self, now: u64) -> u64 {
        self.arrivals.backlog(now) + self.waiting
    }

    /// No record after `now`.
    pub(crate) fn cut(&mut self, now: u64) {
        self.arrivals.cut(now);
    }

    /// Everything that is still to be sent is given up.
    pub(crate) fn abandon(&mut self) -> u64 {
        let mut count = std::mem::take(&mut self.waiting);
        while self.arrivals.take().is_some() && !self.arrivals.is_saturating() {
            count += 1;
        }
        self.arrivals.cut(0);
        self.ready.clear();
        self.lingering.clear();
        for open in &mut self.open {
            open.due.clear();
            open.keys.clear();
        }
        count
    }

    /// Drops the deadlines of batches that were full before.
    fn forget_closed(&mut self) {
        while let Some((_, target, generation)) = self.lingering.front()
            && self.open[*target].generation != *generation
        {
            self.lingering.pop_front();
        }
    }

    fn admit(&mut self, now: u64) {
        if self.arrivals.is_saturating() {
            return;
        }
        while self.ready.len() < READY_MAX
            && let Some(due) = self.arrivals.peek()
            && due <= now
        {
            self.arrivals.take();
            self.place(if self.closed_loop { now } else { due });
        }
    }

    fn take_saturating(&mut self, now: u64) -> Option<Batch> {
        if self.chooser.is_blind() {
            let count = self.arrivals.take_many(self.records_max as u64) as usize;
            if count == 0 {
                return None;
            }
            let target = self.chooser.next;
            self.chooser.advance();
            return Some(Batch {
                target,
                count,
                due: Due::Same(now),
                keys: Vec::new(),
            });
        }
        let lingered = self.lingering.front().copied();
        let mut batch = match lingered.filter(|(deadline, ..)| *deadline <= now) {
            // Records are always there, but not for every partition: its batch waits no longer than it may.
            Some((_, target, _)) => self.close(target),
            None => self.take_full(now)?,
        };
        self.waiting -= batch.count as u64;
        batch.due = Due::Same(now);
        Some(batch)
    }

    /// Chooses partitions until one of them has a full batch; without linger others wait until theirs are full, too.
    fn take_full(&mut self, now: u64) -> Option<Batch> {
        while self.ready.is_empty() && self.arrivals.take_many(1) == 1 {
            self.place(now);
        }
        self.ready.pop_front().or_else(|| {
            // The last records do not fill their batches.
            let target = self.open.iter().position(|open| !open.due.is_empty())?;
            Some(self.close(target))
        })
    }

    fn place(&mut self, due: u64) {
        let (target, key) = self.chooser.choose();
        let open = &mut self.open[target];
        if open.due.is_empty() && (self.linger > 0 || !self.arrivals.is_saturating()) {
            self.lingering
                .push_back((due.saturating_add(self.linger), target, open.generation));
        }
        open.due.push(due);
        open.keys.extend(key);
        self.waiting += 1;
        if open.due.len() >= self.records_max {
            let batch = self.close(target);
            self.ready.push_back(batch);
        }
    }

    fn close(&mut self, target: usize) -> Batch {
        self.chooser.closed(target);
        let open = &mut self.open[target];
        open.generation += 1;
        let due = std::mem::take(&mut open.due);
        let keys = std::mem::take(&mut open.keys);
        Batch {
            target,
            count: due.len(),
            due: Due::Each(due),
            keys,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{MILLISECOND, SECOND};
    use crate::schedule::{Shape, Share};

    fn accumulator(
        rate: Option<f64>,
        partitioner: Partitioner,
        targets: usize,
        linger_ms: u64,
    ) -> Accumulator {
        let share = Share { of: 1, index: 0 };
        let records = rate.is_none().then_some(100);
        let arrivals = Arrivals::new(Shape::Constant, rate, SECOND, records, share, 1);
        let keys = (partitioner == Partitioner::Key).then_some(KeySpace {
            count: 50,
            skew: 0.0,
            bytes: 8,
        });
        let chooser = Chooser::new(partitioner, keys, targets, 0, Random::new(1, 1));
        Accumulator::new(arrivals, chooser, 10, linger_ms * MILLISECOND, false)
    }

    fn drain(accumulator: &mut Accumulator) -> Vec<(u64, Batch)> {
        let mut batches = Vec::new();
        let mut now = 0;
        loop {
            while let Some(batch) = accumulator.take(now) {
                batches.push((now, batch));
            }
            match accumulator.next_event() {
                Some(next) => {
                    assert!(next > now, "no event is announced twice");
                    now = next;
                }
                None => return batches,
            }
        }
    }

    #[test]
    fn without_linger_every_record_leaves_when_it_is_due() {
        let batches = drain(&mut accumulator(Some(100.0), Partitioner::Sticky, 3, 0));
        assert_eq!(batches.len(), 100);
        for (number, (at, batch)) in batches.iter().enumerate() {
            assert_eq!(
                (batch.target, batch.count, batch.due(0)),
                (number % 3, 1, *at)
            );
        }
    }

    #[test]
    fn a_batch_waits_for_linger_or_until_it_is_full() {
        let slow = drain(&mut accumulator(Some(1000.0), Partitioner::Sticky, 1, 5));
        assert!(
            slow.iter()
                .all(|(at, batch)| at - batch.due(0) == 5 * MILLISECOND)
        );
        assert_eq!(slow[0].1.count, 6);
        let fast = drain(&mut accumulator(Some(10_000.0), Partitioner::Sticky, 1, 5));
        assert!(fast.iter().all(|(_, batch)| batch.count == 10));
        let spread = drain(&mut accumulator(
            Some(10_000.0),
            Partitioner::RoundRobin,
            100,
            5,
        ));
        assert!(spread.iter().all(|(_, batch)| batch.count == 1));
    }

    #[test]
    fn a_stall_delays_records_and_not_their_due_times() {
        let mut stalled = accumulator(Some(1000.0), Partitioner::Sticky, 1, 0);
        assert!(stalled.take(0).is_some());
        assert_eq!(stalled.backlog(500 * MILLISECOND), 499);
        let mut due = Vec::new();
        while let Some(batch) = stalled.take(SECOND) {
            due.extend((0..batch.count).map(|index| batch.due(index)));
        }
        assert_eq!(due.len(), 999);
        assert!(
            due.windows(2)
                .all(|pair| (pair[1] - pair[0]).abs_diff(MILLISECOND) < 10)
        );
    }

    #[test]
    fn at_full_load_a_batch_that_is_not_full_waits_for_linger() {
        for (linger_ms, waited) in [(0, false), (5, true)] {
            let mut accumulator = accumulator(None, Partitioner::Key, 4, linger_ms);
            let first = accumulator.take(0).map(|batch| batch.count);
            let second = accumulator.take(5 * MILLISECOND).map(|batch| batch.count);
            assert_eq!(first, Some(10));
            assert_eq!(second.is_some_and(|count| count < 10), waited, "{second:?}");
        }
    }

    #[test]
    fn keys_decide_the_partition_and_nothing_is_lost_at_the_end() {
        for partitioner in [Partitioner::Key, Partitioner::Random, Partitioner::Sticky] {
            let mut accumulator = accumulator(None, partitioner, 4, 0);
            let mut of_key = std::collections::BTreeMap::new();
            let mut count = 0;
            while let Some(batch) = accumulator.take(5) {
                count += batch.count;
                for key in &batch.keys {
                    assert_eq!(*of_key.entry(*key).or_insert(batch.target), batch.target);
                }
            }
            assert_eq!(count, 100);
            assert_eq!(accumulator.next_event(), None);
        }
    }
}

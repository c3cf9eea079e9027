//! What everybody in one run shares: the oracle, counters, the seed's dice, and the last lines of what happened.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use net::messages::ApiKey;
use net::platform::sim::SimHandle;

use crate::oracle::Oracle;
use crate::runner::environment;

/// Lines kept for the case of a failure.
const TAIL_LINES: usize = 120;

/// Cheap to clone; one per run.
#[derive(Clone)]
pub struct Shared {
    inner: Rc<Inner>,
}

struct Inner {
    sim: SimHandle,
    oracle: RefCell<Oracle>,
    life: Cell<u32>,
    operations: Cell<u64>,
    finishing: Cell<bool>,
    working: Cell<usize>,
    counters: RefCell<BTreeMap<String, u64>>,
    tail: RefCell<VecDeque<String>>,
    tail_lines: usize,
}

impl Shared {
    /// For a run in `sim`.
    pub fn new(sim: SimHandle) -> Shared {
        let inner = Inner {
            sim,
            oracle: RefCell::default(),
            life: Cell::new(0),
            operations: Cell::new(0),
            finishing: Cell::new(false),
            working: Cell::new(0),
            counters: RefCell::default(),
            tail: RefCell::default(),
            tail_lines: environment("TIDELOG_TAIL").map_or(TAIL_LINES, |lines| lines as usize),
        };
        Shared {
            inner: Rc::new(inner),
        }
    }

    /// The checkers.
    pub fn oracle(&self) -> RefMut<'_, Oracle> {
        self.inner.oracle.borrow_mut()
    }
    /// Number of the broker's present life.
    pub fn life(&self) -> u32 {
        self.inner.life.get()
    }
    /// A new life begins.
    pub fn next_life(&self) {
        self.inner.life.set(self.inner.life.get() + 1);
    }
    /// Requests sent so far.
    pub fn operations(&self) -> u64 {
        self.inner.operations.get()
    }
    /// Whether clients only finish what they began.
    pub fn is_finishing(&self) -> bool {
        self.inner.finishing.get()
    }
    /// Clients begin nothing new from now on.
    pub fn finish(&self) {
        self.inner.finishing.set(true);
    }
    /// Clients that have not finished.
    pub fn working(&self) -> usize {
        self.inner.working.get()
    }
    /// A client begins.
    pub fn client_began(&self) {
        self.inner.working.set(self.inner.working.get() + 1);
    }
    /// A client is done.
    pub fn client_done(&self) {
        self.inner.working.set(self.inner.working.get() - 1);
    }

    /// A request is about to leave.
    pub fn count_operation(&self, key: ApiKey) {
        self.inner.operations.set(self.inner.operations.get() + 1);
        self.count(&format!("request {}", key.name()), 1);
    }
    /// Adds to a counter of the coverage report.
    pub fn count(&self, counter: &str, amount: u64) {
        *self
            .inner
            .counters
            .borrow_mut()
            .entry(counter.to_owned())
            .or_default() += amount;
    }
    /// What was counted.
    pub fn counters(&self) -> Ref<'_, BTreeMap<String, u64>> {
        self.inner.counters.borrow()
    }

    /// A line for the report of a failure; also part of the trace.
    pub fn note(&self, line: impl Into<String>) {
        let line = line.into();
        let hash = line.bytes().fold(0u64, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        self.inner.sim.trace("note", &[hash]);
        let now = self.inner.sim.now();
        let mut tail = self.inner.tail.borrow_mut();
        if tail.len() == self.inner.tail_lines {
            tail.pop_front();
        }
        tail.push_back(format!("{:>12.6} {line}", now.as_secs_f64()));
    }
    /// The last lines.
    pub fn tail(&self) -> String {
        self.inner
            .tail
            .borrow()
            .iter()
            .fold(String::new(), |text, line| text + line + "\n")
    }

    /// The time since the run began.
    pub fn now(&self) -> Duration {
        self.inner.sim.now()
    }
    /// From 0 to `below` − 1.
    pub fn below(&self, below: u64) -> u64 {
        self.inner.sim.random_below(below)
    }
    /// True with that probability.
    pub fn chance(&self, probability: f64) -> bool {
        self.inner.sim.random_chance(probability)
    }
    /// One of these.
    pub fn pick<T: Copy>(&self, among: &[T]) -> T {
        among[self.below(among.len() as u64) as usize]
    }
    /// Up to so many milliseconds.
    pub fn up_to_ms(&self, longest: u64) -> Duration {
        self.inner
            .sim
            .random_duration(Duration::from_millis(longest))
    }
}

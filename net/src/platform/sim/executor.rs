//! The simulator's executor: tasks of all nodes, timers, virtual time.
//!
//! Invariant: no cell stays borrowed while a task is polled or dropped.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::random::Random;

/// Virtual time that one poll of a task takes, so that a task that only yields meets its timeout.
const POLL_COST: Duration = Duration::from_nanos(500);

pub(super) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Names a node within its simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(u64);

impl NodeId {
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

pub(super) struct Executor {
    now: Cell<Duration>,
    next_id: Cell<u64>,
    current: Cell<Option<u64>>,
    tasks: RefCell<BTreeMap<u64, TaskSlot>>,
    ready: RefCell<Vec<Ready>>,
    woken: Arc<Mutex<Vec<u64>>>,
    timers: RefCell<BTreeMap<(Duration, u64), Waker>>,
    nodes: RefCell<BTreeMap<NodeId, NodeState>>,
}

struct TaskSlot {
    node: NodeId,
    /// Away while it is being polled.
    future: Option<Task>,
    waker: Arc<TaskWaker>,
}

struct NodeState {
    name: String,
    alive: bool,
    wall_clock_offset_ms: i64,
}

/// A task that may run.
struct Ready {
    task: u64,
    order: u64,
    /// It yielded: all that were ready before it go first.
    yielded: bool,
}

struct TaskWaker {
    task: u64,
    scheduled: AtomicBool,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.scheduled.swap(true, Ordering::Relaxed) {
            self.woken
                .lock()
                .expect("no code panics while holding the lock")
                .push(self.task);
        }
    }
}

impl Executor {
    pub(super) fn new() -> Self {
        Executor {
            now: Cell::default(),
            next_id: Cell::new(1),
            current: Cell::default(),
            tasks: RefCell::default(),
            ready: RefCell::default(),
            woken: Arc::default(),
            timers: RefCell::default(),
            nodes: RefCell::default(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.now.get()
    }

    pub(super) fn spawn(&self, node: NodeId, future: Task) {
        if !self.is_alive(node) {
            return;
        }
        let task = self.new_id();
        let waker = Arc::new(TaskWaker {
            task,
            scheduled: AtomicBool::new(false),
            woken: self.woken.clone(),
        });
        waker.wake_by_ref();
        self.tasks.borrow_mut().insert(
            task,
            TaskSlot {
                node,
                future: Some(future),
                waker,
            },
        );
    }

    /// Ready once virtual time reached `until`; otherwise the task is woken then.
    pub(super) fn poll_time(&self, until: Duration, context: &mut Context<'_>) -> Poll<()> {
        if until <= self.now.get() {
            return Poll::Ready(());
        }
        self.wake_at(until, context.waker());
        Poll::Pending
    }

    pub(super) fn wake_at(&self, until: Duration, waker: &Waker) {
        let mut timers = self.timers.borrow_mut();
        // A task polled again before its time asks again for the same.
        let asked = timers
            .range((until, 0)..=(until, u64::MAX))
            .any(|(_, known)| known.will_wake(waker));
        if !asked {
            timers.insert((until, self.new_id()), waker.clone());
        }
    }

    /// Puts the running task behind all that are ready now.
    pub(super) fn yield_current(&self) {
        self.take_woken();
        let Some(task) = self.current.get() else {
            return;
        };
        let already = match self.tasks.borrow().get(&task) {
            Some(slot) => slot.waker.scheduled.swap(true, Ordering::Relaxed),
            None => true,
        };
        if !already {
            self.ready.borrow_mut().push(Ready {
                task,
                order: self.new_id(),
                yielded: true,
            });
        }
    }

    /// Polls one ready task, or else moves time to the next timer. False when there is neither, or none by `end`.
    pub(super) fn step(&self, random: &Random, seed: u64, end: Option<Duration>) -> bool {
        if end.is_some_and(|end| self.now.get() >= end) {
            return false;
        }
        self.take_woken();
        if let Some(task) = self.pick(random) {
            self.poll_task(task);
            self.now.set(self.now.get() + POLL_COST);
            self.fire_timers();
            return true;
        }
        let next = self
            .timers
            .borrow()
            .first_key_value()
            .map(|((time, _), _)| *time);
        match (next, end) {
            (Some(next), Some(end)) if next > end => {
                self.now.set(end);
                false
            }
            (None, Some(end)) => {
                self.now.set(end);
                false
            }
            (None, None) => false,
            (Some(next), _) => {
                assert!(
                    next < Duration::from_secs(1 << 40),
                    "SEED={seed}: time without end"
                );
                self.now.set(self.now.get().max(next));
                random.trace("time", &[next.as_nanos() as u64]);
                self.fire_timers();
                true
            }
        }
    }

    fn fire_timers(&self) {
        loop {
            let due = {
                let mut timers = self.timers.borrow_mut();
                match timers.first_entry() {
                    Some(first) if first.key().0 <= self.now.get() => first.remove(),
                    _ => return,
                }
            };
            due.wake();
        }
    }

    fn take_woken(&self) {
        let woken = std::mem::take(
            &mut *self
                .woken
                .lock()
                .expect("no code panics while holding the lock"),
        );
        let mut ready = self.ready.borrow_mut();
        for task in woken {
            ready.push(Ready {
                task,
                order: self.new_id(),
                yielded: false,
            });
        }
    }

    fn pick(&self, random: &Random) -> Option<u64> {
        let mut ready = self.ready.borrow_mut();
        if ready.is_empty() {
            return None;
        }
        let mut picked = random.below(ready.len() as u64) as usize;
        if ready[picked].yielded {
            let oldest = ready
                .iter()
                .enumerate()
                .min_by_key(|(_, entry)| entry.order);
            picked = oldest.expect("at least one is ready").0;
        }
        let task = ready.swap_remove(picked).task;
        random.trace("run", &[task, ready.len() as u64]);
        Some(task)
    }

    fn poll_task(&self, task: u64) {
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(slot) = tasks.get_mut(&task) else {
                return;
            };
            slot.waker.scheduled.store(false, Ordering::Relaxed);
            (slot.future.take(), slot.waker.clone())
        };
        let (Some(mut future), waker) = taken else {
            return;
        };
        self.current.set(Some(task));
        let done = future
            .as_mut()
            .poll(&mut Context::from_waker(&Waker::from(waker)))
            .is_ready();
        self.current.set(None);
        let leftover = {
            let mut tasks = self.tasks.borrow_mut();
            match tasks.get_mut(&task) {
                // It may have been killed while it ran.
                Some(slot) if !done => slot.future.replace(future),
                Some(_) => {
                    tasks.remove(&task);
                    Some(future)
                }
                None => Some(future),
            }
        };
        drop(leftover);
    }

    pub(super) fn add_node(&self, name: &str) -> NodeId {
        let id = NodeId(self.new_id());
        self.nodes.borrow_mut().insert(
            id,
            NodeState {
                name: name.into(),
                alive: true,
                wall_clock_offset_ms: 0,
            },
        );
        id
    }

    pub(super) fn mark_dead(&self, node: NodeId) {
        if let Some(state) = self.nodes.borrow_mut().get_mut(&node) {
            state.alive = false;
        }
    }

    /// Removes the node's tasks; the caller drops them.
    pub(super) fn take_tasks(&self, node: NodeId) -> Vec<Option<Task>> {
        let mut tasks = self.tasks.borrow_mut();
        let of_node: Vec<u64> = tasks
            .iter()
            .filter(|(_, slot)| slot.node == node)
            .map(|(task, _)| *task)
            .collect();
        of_node
            .iter()
            .filter_map(|task| tasks.remove(task))
            .map(|slot| slot.future)
            .collect()
    }

    pub(super) fn clear(&self) {
        let nodes: Vec<NodeId> = self.nodes.borrow().keys().copied().collect();
        for node in nodes {
            self.mark_dead(node);
            drop(self.take_tasks(node));
        }
        let timers = self.timers.take();
        drop(timers);
    }

    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        self.nodes
            .borrow()
            .get(&node)
            .is_some_and(|state| state.alive)
    }

    pub(super) fn node_name(&self, node: NodeId) -> String {
        self.nodes
            .borrow()
            .get(&node)
            .map(|state| state.name.clone())
            .unwrap_or_default()
    }

    pub(super) fn wall_clock_offset(&self, node: NodeId) -> i64 {
        self.nodes
            .borrow()
            .get(&node)
            .map_or(0, |state| state.wall_clock_offset_ms)
    }

    pub(super) fn jump_wall_clock(&self, node: NodeId, milliseconds: i64) {
        if let Some(state) = self.nodes.borrow_mut().get_mut(&node) {
            state.wall_clock_offset_ms += milliseconds;
        }
    }

    pub(super) fn new_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }
}

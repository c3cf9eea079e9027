//! The simulator's backend of [`Runtime`]: one seed, one thread, virtual time.
//!
//! A [`Simulation`] runs the tasks of all its nodes (and of the hardware under them) on the calling thread. Which
//! ready task goes next, how long things take and which faults happen comes from the seed alone; every such decision
//! enters the trace hash, so that one seed gives one trace.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::{Runtime, RuntimeBackend};

mod executor;
mod network;
mod random;
#[cfg(test)]
mod tests;

use executor::Executor;
pub use executor::NodeId;
use network::Network;
pub use network::NetworkOptions;
pub(super) use network::{SimDetached, SimListener, SimStream};
use random::Random;

/// The wall clock when a simulation starts, in milliseconds since the epoch.
const WALL_CLOCK_START_MS: i64 = 1_750_000_000_000;

/// Steps after which a run that does not end is given up.
const STEPS_MAX: u64 = 200_000_000;

thread_local! {
    /// The simulations alive on this thread, for what finds its way back only by number.
    static SIMULATIONS: RefCell<BTreeMap<u64, Weak<World>>> = const { RefCell::new(BTreeMap::new()) };
    static NEXT_SIMULATION: Cell<u64> = const { Cell::new(0) };
}

/// Everything in one simulation.
struct World {
    id: u64,
    seed: u64,
    random: Random,
    executor: Executor,
    network: RefCell<Network>,
    faults: RefCell<BTreeMap<&'static str, u64>>,
}

/// A simulation; ends, with all its tasks, when dropped.
pub struct Simulation {
    handle: SimHandle,
}

/// A reference to a running simulation, for the models inside it. Cheap to clone.
#[derive(Clone)]
pub struct SimHandle {
    world: Rc<World>,
}

/// One process: a broker's executors, or a client.
#[derive(Clone)]
pub struct Node {
    handle: SimHandle,
    id: NodeId,
}

/// A node's side of [`Runtime`].
#[derive(Clone)]
pub(super) struct SimRuntime {
    handle: SimHandle,
    node: NodeId,
}

impl Simulation {
    /// A simulation at time zero without nodes.
    pub fn new(seed: u64) -> Self {
        let id = NEXT_SIMULATION.with(|next| next.replace(next.get() + 1));
        let world = Rc::new(World {
            id,
            seed,
            random: Random::new(seed),
            executor: Executor::new(),
            network: RefCell::default(),
            faults: RefCell::default(),
        });
        SIMULATIONS.with_borrow_mut(|all| all.insert(id, Rc::downgrade(&world)));
        Simulation {
            handle: SimHandle { world },
        }
    }

    /// What the models inside use.
    pub fn handle(&self) -> SimHandle {
        self.handle.clone()
    }

    /// Starts a process. A restarted broker is a new node.
    pub fn node(&self, name: &str) -> Node {
        self.handle.node(name)
    }

    /// Runs until `body`, a task of `node`, is done. Panics when nothing can ever happen again before that.
    pub fn block_on<T: 'static>(&self, node: &Node, body: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        node.runtime().spawn(async move {
            let value = body.await;
            slot.borrow_mut().replace(value);
        });
        let world = &self.handle.world;
        for _ in 0..STEPS_MAX {
            if result.borrow().is_some() {
                break;
            }
            assert!(
                world.step(None),
                "SEED={}: deadlock, every task waits and no timer runs",
                world.seed
            );
        }
        result
            .take()
            .unwrap_or_else(|| panic!("SEED={}: not done after {STEPS_MAX} steps", world.seed))
    }

    /// Runs for `duration` of virtual time.
    pub fn run_for(&self, duration: Duration) {
        let world = &self.handle.world;
        let end = world.executor.now() + duration;
        while world.step(Some(end)) {}
    }

    /// Kills a process as `kill -9` does: its tasks vanish and the kernel resets its connections. What it had
    /// already handed to the disk goes on.
    pub fn kill(&self, node: &Node) {
        self.handle.count_fault("kill");
        self.handle
            .world
            .end_node(node.id, network::NodeEnd::Killed);
    }

    /// Takes a process's machine off the power: its tasks vanish and its peers hear nothing of it.
    /// (The disk is cut on its own.)
    pub fn power_off(&self, node: &Node) {
        self.handle.count_fault("power_off");
        self.handle
            .world
            .end_node(node.id, network::NodeEnd::PoweredOff);
    }

    /// Changes how the network behaves from now on.
    pub fn set_network(&self, options: NetworkOptions) {
        self.handle.world.network.borrow_mut().set_options(options);
    }

    /// Resets every connection of `node`, as a broken middle box would.
    pub fn reset_connections(&self, node: &Node) {
        self.handle.world.reset_connections(node.id);
    }

    /// Holds back all bytes that `from` sends (one way only) for `duration`.
    pub fn stall_sender(&self, from: &Node, duration: Duration) {
        self.handle.world.stall_sender(from.id, duration);
    }

    /// How often each kind of fault happened.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.handle.world.faults.borrow().clone()
    }

    /// A number that depends on every decision so far.
    pub fn trace_hash(&self) -> u64 {
        self.handle.world.random.trace_hash()
    }

    /// The seed, for messages.
    pub fn seed(&self) -> u64 {
        self.handle.world.seed
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        self.handle.world.executor.now()
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Tasks hold the world and the world holds the tasks.
        self.handle.world.executor.clear();
        self.handle.world.network.take();
        SIMULATIONS.with_borrow_mut(|all| all.remove(&self.handle.world.id));
    }
}

impl SimHandle {
    /// Starts a process.
    pub fn node(&self, name: &str) -> Node {
        Node {
            handle: self.clone(),
            id: self.world.executor.add_node(name),
        }
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        self.world.executor.now()
    }

    /// 64 bits from the seed.
    pub fn random_u64(&self) -> u64 {
        self.world.random.next()
    }

    /// A number from 0 to `below` − 1 (0 if `below` is 0).
    pub fn random_below(&self, below: u64) -> u64 {
        self.world.random.below(below)
    }

    /// True with `probability`.
    pub fn random_chance(&self, probability: f64) -> bool {
        self.world.random.chance(probability)
    }

    /// A duration from zero to `longest`.
    pub fn random_duration(&self, longest: Duration) -> Duration {
        self.world.random.duration(longest)
    }

    /// Lets `values` change the trace hash.
    pub fn trace(&self, event: &str, values: &[u64]) {
        self.world.random.trace(event, values);
    }

    /// Counts a fault that a model made happen.
    pub fn count_fault(&self, kind: &'static str) {
        self.trace(kind, &[]);
        *self.world.faults.borrow_mut().entry(kind).or_default() += 1;
    }
}

impl Node {
    /// The handle that the node's code runs with.
    pub fn runtime(&self) -> Runtime {
        let runtime = SimRuntime {
            handle: self.handle.clone(),
            node: self.id,
        };
        Runtime {
            backend: RuntimeBackend::Sim(runtime),
        }
    }

    /// Moves the node's wall clock, which otherwise goes with virtual time.
    pub fn jump_wall_clock(&self, milliseconds: i64) {
        self.handle.count_fault("clock_jump");
        self.handle
            .world
            .executor
            .jump_wall_clock(self.id, milliseconds);
    }

    /// Whether it was neither killed nor powered off.
    pub fn is_alive(&self) -> bool {
        self.handle.world.executor.is_alive(self.id)
    }

    /// The node's name, for messages.
    pub fn name(&self) -> String {
        self.handle.world.executor.node_name(self.id)
    }
}

impl World {
    /// Lets one task run, or lets time pass to the next timer. False when there is neither, or none before `end`.
    fn step(&self, end: Option<Duration>) -> bool {
        self.executor.step(&self.random, self.seed, end)
    }

    fn end_node(&self, node: NodeId, end: network::NodeEnd) {
        self.executor.mark_dead(node);
        // Connections first: destructors of the node's tasks must not say a polite goodbye.
        self.network_ended(node, end);
        drop(self.executor.take_tasks(node));
    }
}

impl SimRuntime {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.handle.world.executor.spawn(self.node, Box::pin(task));
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.handle.now()
    }

    pub(super) fn wall_clock_ms(&self) -> i64 {
        let passed = i64::try_from(self.handle.now().as_millis())
            .expect("a simulation is shorter than eternity");
        WALL_CLOCK_START_MS + passed + self.handle.world.executor.wall_clock_offset(self.node)
    }

    pub(super) fn random_u64(&self) -> u64 {
        self.handle.random_u64()
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        let world = &self.handle.world;
        let until = world.executor.now() + duration;
        std::future::poll_fn(|context| world.executor.poll_time(until, context)).await;
    }

    pub(super) async fn yield_now(&self) {
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return std::task::Poll::Ready(());
            }
            self.handle.world.executor.yield_current();
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }

    fn world(&self) -> &Rc<World> {
        &self.handle.world
    }

    fn node(&self) -> NodeId {
        self.node
    }
}

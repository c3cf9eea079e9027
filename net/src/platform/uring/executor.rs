//! Executors: a thread's tasks, run one after the other, with its ring and its timers.
//!
//! Invariant: an executor ends only after its tasks are dropped and the kernel has completed every operation, because it
//! may still read or write the memory of one that it has not.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_task::Runnable;
use slab::Slab;

use super::remote::Remote;
use super::ring::{Ring, Wait, Watched, Way};
use super::timers::{Timers, after};
use crate::platform::{Runtime, RuntimeBackend, blocking};

thread_local! {
    /// The tasks of this thread's executor that are to run.
    static READY: RefCell<VecDeque<Runnable>> = const { RefCell::new(VecDeque::new()) };
    /// Which executor that is.
    static HERE: Cell<*const Remote> = const { Cell::new(std::ptr::null()) };
}

/// Where an executor's thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Wherever the scheduler likes.
    Unpinned,
    /// On this core only (the kernel's numbering).
    Core(usize),
}

/// A running executor.
pub struct ExecutorHandle<T> {
    thread: std::thread::JoinHandle<io::Result<T>>,
}

impl<T> ExecutorHandle<T> {
    /// Blocks until the executor's body ended; a panic there goes on here.
    pub fn join(self) -> io::Result<T> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Whether the executor's body ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts an executor on a thread of its own and runs `body` on it. The executor ends with its body; tasks still
/// running then are dropped.
pub fn spawn_executor<T, F>(
    name: &str,
    placement: Placement,
    body: impl FnOnce(Runtime) -> F + Send + 'static,
) -> io::Result<ExecutorHandle<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    blocking::remember_affinity();
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            if let Placement::Core(core) = placement {
                pin_this_thread(core)?;
            }
            run_here(Ring::new()?, body)
        })?;
    Ok(ExecutorHandle { thread })
}

/// Runs `body` on an executor of this thread, which made the ring.
pub(super) fn run_here<T, F>(ring: Ring, body: impl FnOnce(Runtime) -> F) -> io::Result<T>
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let runtime = UringRuntime {
        executor: Rc::new(Executor::new(ring)?),
    };
    let backend = RuntimeBackend::Uring(runtime.clone());
    Ok(runtime.executor.run(body(Runtime { backend })))
}

/// Runs `body` on an unpinned executor and returns its result; for tests and tools.
pub fn block_on<T, F>(body: impl FnOnce(Runtime) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    spawn_executor("block_on", Placement::Unpinned, body)
        .and_then(ExecutorHandle::join)
        .expect("io_uring is usable")
}

/// Lets every other task that is ready run once.
pub(in crate::platform) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

struct Executor {
    remote: Arc<Remote>,
    ring: Rc<Ring>,
    timers: Rc<Timers>,
    /// A waker of every task, so that those left at the end can be found.
    tasks: Rc<RefCell<Slab<Waker>>>,
    start: Instant,
}

/// Forgets a task when its future is dropped.
struct Registered {
    tasks: Rc<RefCell<Slab<Waker>>>,
    number: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let waker = self.tasks.borrow_mut().remove(self.number);
        drop(waker);
    }
}

impl Executor {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the platform seam's clock"
    )]
    fn new(ring: Ring) -> io::Result<Executor> {
        let remote = Arc::new(Remote::new()?);
        let here = HERE.replace(Arc::as_ptr(&remote));
        assert!(here.is_null(), "a thread has one executor");
        Ok(Executor {
            remote,
            ring: Rc::new(ring),
            timers: Rc::default(),
            tasks: Rc::default(),
            start: Instant::now(),
        })
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let registered = Registered {
            tasks: self.tasks.clone(),
            number: entry.key(),
        };
        let remote = self.remote.clone();
        let schedule = move |task| {
            if HERE.get() == Arc::as_ptr(&remote) {
                READY.with_borrow_mut(|ready| ready.push_back(task));
            } else {
                remote.push(task);
            }
        };
        let work = async move {
            let _registered = registered;
            future.await;
        };
        let (runnable, task) = async_task::spawn_local(work, schedule);
        entry.insert(runnable.waker());
        drop(tasks);
        task.detach();
        runnable.schedule();
    }

    fn run<T: 'static>(&self, body: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let place = result.clone();
        self.spawn(async move {
            let value = body.await;
            place.replace(Some(value));
        });
        let bell = self.ring.watch(self.remote.bell());
        let result = loop {
            self.run_ready();
            if let Some(result) = result.take() {
                break result;
            }
            self.turn(&bell);
        };
        self.end();
        drop(bell);
        result
    }

    /// Runs each task that is ready now once.
    fn run_ready(&self) {
        while let Some(task) = self.remote.pop() {
            READY.with_borrow_mut(|ready| ready.push_back(task));
        }
        let count = READY.with_borrow(VecDeque::len);
        for _ in 0..count {
            let Some(task) = READY.with_borrow_mut(VecDeque::pop_front) else {
                return;
            };
            task.run();
        }
    }

    /// Looks at the clock and the kernel; sleeps if nothing is ready.
    fn turn(&self, bell: &Watched) {
        let mut context = Context::from_waker(Waker::noop());
        // Every ring makes the bell's descriptor tell again; that it did is all there is to know.
        bell.clear(Way::In);
        let _ = bell.poll_ready(Way::In, &mut context);
        if !READY.with_borrow(VecDeque::is_empty) || !self.remote.prepare_to_sleep() {
            self.ring.turn(Wait::Not);
        } else {
            let wait = match self.timers.next() {
                None => Wait::Forever,
                Some(due) => match due.saturating_duration_since(now()) {
                    Duration::ZERO => Wait::Not,
                    left => Wait::UpTo(left),
                },
            };
            self.ring.turn(wait);
            self.remote.woke_up();
        }
        if self.timers.next().is_some() {
            self.timers.fire(now());
        }
    }

    /// Drops what is left, and waits for the kernel.
    fn end(&self) {
        while !self.tasks.borrow().is_empty() {
            let wakers: Vec<Waker> = {
                let tasks = self.tasks.borrow();
                tasks.iter().map(|(_, waker)| waker.clone()).collect()
            };
            // A task that is woken is scheduled, and one that is scheduled can be dropped.
            wakers.into_iter().for_each(Waker::wake);
            while let Some(task) = READY
                .with_borrow_mut(VecDeque::pop_front)
                .or_else(|| self.remote.pop())
            {
                drop(task);
            }
        }
        while self.ring.operations() > 0 {
            self.ring.turn(Wait::Forever);
        }
        HERE.set(std::ptr::null());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the platform seam's clock"
)]
fn now() -> Instant {
    Instant::now()
}

/// Handle to an executor, on its thread.
#[derive(Clone)]
pub(in crate::platform) struct UringRuntime {
    executor: Rc<Executor>,
}

impl UringRuntime {
    pub(in crate::platform) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(task);
    }

    pub(in crate::platform) fn monotonic(&self) -> Duration {
        now().saturating_duration_since(self.executor.start)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the platform seam's clock"
    )]
    pub(in crate::platform) fn wall_clock_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    pub(in crate::platform) fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        // SAFETY: the pointer and length describe `bytes`, which outlives the call.
        let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        assert_eq!(filled, 8, "getrandom of at most 256 bytes is never short");
        u64::from_ne_bytes(bytes)
    }

    pub(in crate::platform) async fn sleep(&self, duration: Duration) {
        let due = after(now(), duration);
        self.executor.timers.sleep_until(due).await;
    }

    pub(super) fn ring(&self) -> &Rc<Ring> {
        &self.executor.ring
    }
}

fn pin_this_thread(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: cpu_set_t is plain data for which all zeros is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the core number was checked against the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is a valid cpu_set_t of the size given; thread 0 means the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

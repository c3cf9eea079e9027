//! The glommio backend of [`Runtime`]: executors, tasks, timers, clocks, randomness.
//!
//! One executor per thread. Invariant: an executor ends only after every counted operation completed, because the
//! kernel may still read or write the memory of one that has not.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Runtime, RuntimeBackend, blocking};

/// Registered memory of a ring. Small: larger buffers come from the heap, and the kernel's limit on locked memory
/// must hold many executors.
const RING_MEMORY_BYTES: usize = 256 << 10;
const RING_DEPTH: usize = 256;
/// How long ready tasks may run before the rings are looked at again.
const PREEMPT_AFTER: Duration = Duration::from_millis(10);

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

/// Longest sleep of an executor.
const HEARTBEAT: Duration = Duration::from_millis(50);

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
            let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
                .io_memory(RING_MEMORY_BYTES)
                .ring_depth(RING_DEPTH)
                .preempt_timer(PREEMPT_AFTER)
                .make()
                .map_err(to_io_error)?;
            Ok(executor.run(async move {
                let runtime = GlommioRuntime::new();
                // An executor without timers that misses a wake-up would sleep for ever. Twice, on an overloaded machine, a
                // client without timers stood still; whatever the cause, it must not last.
                glommio::spawn_local(async {
                    loop {
                        glommio::timer::sleep(HEARTBEAT).await;
                    }
                })
                .detach();
                let result = body(Runtime {
                    backend: RuntimeBackend::Glommio(runtime.clone()),
                })
                .await;
                runtime.wait_for_operations().await;
                result
            }))
        })?;
    Ok(ExecutorHandle { thread })
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

#[derive(Clone)]
pub(super) struct GlommioRuntime {
    start: Instant,
    operations: Rc<Cell<usize>>,
}

/// An operation in flight; see [`Runtime::begin_operation`].
#[derive(Default)]
pub struct OperationGuard {
    operations: Rc<Cell<usize>>,
}

impl Drop for OperationGuard {
    fn drop(&mut self) {
        self.operations.set(self.operations.get().saturating_sub(1));
    }
}

impl GlommioRuntime {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the platform seam's clock"
    )]
    fn new() -> Self {
        GlommioRuntime {
            start: Instant::now(),
            operations: Rc::default(),
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // Not `spawn_local`: that runs the task's first step inside the caller, whose borrows it would meet.
        let queue = glommio::executor().current_task_queue();
        let task = glommio::spawn_local_into(task, queue)
            .expect("a task's own queue exists while it runs");
        task.detach();
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the platform seam's clock"
    )]
    pub(super) fn wall_clock_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    pub(super) fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        // SAFETY: the pointer and length describe `bytes`, which outlives the call.
        let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        assert_eq!(filled, 8, "getrandom of at most 256 bytes is never short");
        u64::from_ne_bytes(bytes)
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        glommio::timer::sleep(duration).await;
    }

    pub(super) async fn yield_now(&self) {
        glommio::executor().yield_task_queue_now().await;
    }

    pub(super) fn begin_operation(&self) -> OperationGuard {
        self.operations.set(self.operations.get() + 1);
        OperationGuard {
            operations: self.operations.clone(),
        }
    }

    async fn wait_for_operations(&self) {
        while self.operations.get() > 0 {
            self.sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The operating system's error with its code, which glommio's own conversion would drop.
pub(super) fn to_io_error<T>(error: glommio::GlommioError<T>) -> io::Error {
    match error {
        glommio::GlommioError::IoError(source)
        | glommio::GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
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

//! Threads for system calls that may block: flushes of whole file systems and directories, removals, renames.
//!
//! Owns at most [`THREADS_MAX`] threads of the process; they start when work waits and end after a while without
//! any. They run on no executor and on any core the process may use. Invariant: every job runs exactly once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use super::sync::remote_oneshot;

const THREADS_MAX: usize = 8;
const IDLE_BEFORE_END: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Pool {
    state: Mutex<PoolState>,
    arrived: Condvar,
}

#[derive(Default)]
struct PoolState {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static POOL: OnceLock<Pool> = OnceLock::new();
static AFFINITY: OnceLock<libc::cpu_set_t> = OnceLock::new();

/// Runs `work` on one of the pool's threads and waits for its result.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = remote_oneshot::channel();
    submit(Box::new(move || drop(sender.send(work()))));
    receiver.await.expect("blocking work panicked")
}

/// Remembers which cores the process may use, before its threads pin themselves; pool threads use all of them.
pub(super) fn remember_affinity() {
    AFFINITY.get_or_init(|| {
        // SAFETY: cpu_set_t is plain data for which all zeros is a valid value.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a valid cpu_set_t of the size given; thread 0 means the calling thread.
        unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
        set
    });
}

/// Has one of the pool's threads do `job`, sometime soon.
pub(super) fn submit(job: Job) {
    let pool = POOL.get_or_init(Pool::default);
    let mut state = pool.lock();
    state.jobs.push_back(job);
    if state.jobs.len() > state.idle && state.threads < THREADS_MAX {
        state.threads += 1;
        let started = std::thread::Builder::new()
            .name("blocking".into())
            .spawn(work_until_idle);
        if started.is_err() {
            state.threads -= 1;
            assert!(
                state.threads > 0,
                "no thread can be started for blocking work"
            );
        }
    }
    drop(state);
    pool.arrived.notify_one();
}

fn work_until_idle() {
    if let Some(set) = AFFINITY.get() {
        // SAFETY: `set` is a valid cpu_set_t of the size given. Failure only leaves the thread where it is.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    }
    let pool = POOL.get_or_init(Pool::default);
    let mut state = pool.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            // A panic reaches the waiting task as a closed channel.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            state = pool.lock();
            continue;
        }
        state.idle += 1;
        let (woken, wait) = pool
            .arrived
            .wait_timeout(state, IDLE_BEFORE_END)
            .expect("no code panics while holding the lock");
        state = woken;
        state.idle -= 1;
        if wait.timed_out() && state.jobs.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state
            .lock()
            .expect("no code panics while holding the lock")
    }
}

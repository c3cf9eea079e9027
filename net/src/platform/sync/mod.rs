//! What tasks wait on: channels, notifications, locks. None depends on an executor.
//!
//! [`oneshot`], [`channel`], [`Notify`], [`Semaphore`] and [`Mutex`] are for tasks of one executor;
//! [`remote_oneshot`] and [`queue`] cross threads. All work in the simulator too, where every shard runs on one
//! thread. Fairness: waiters are served in the order they came.

pub mod channel;
mod lock;
mod notify;
pub mod oneshot;
pub mod queue;
pub mod remote_oneshot;
mod semaphore;
#[cfg(test)]
mod tests;

pub use lock::{Mutex, MutexGuard};
pub use notify::{Notified, Notify};
pub use semaphore::{Acquire, Permit, Semaphore};

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Waker;

use crossbeam::atomic::AtomicCell;

/// The other end of a channel was dropped without sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other end was dropped")]
pub struct Closed;

/// A waker that one thread leaves and others take.
///
/// Protocol: the waiter registers and then looks at its condition again; a waker makes the condition true and then
/// calls `wake`. The fences make sure that at least one of them sees the other.
#[derive(Default)]
struct RemoteWaker {
    waiting: AtomicBool,
    waker: AtomicCell<Option<Waker>>,
}

impl RemoteWaker {
    fn register(&self, waker: &Waker) {
        self.waker.store(Some(waker.clone()));
        self.waiting.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Acquire)
            && self.waiting.swap(false, Ordering::AcqRel)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

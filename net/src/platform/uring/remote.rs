//! How other threads reach an executor: a queue of tasks they woke, and a bell in case it sleeps.
//!
//! Invariant: whoever pushes and whoever goes to sleep each write first and look at what the other wrote second, both
//! in one total order; so a push that the sleeper does not see rings the bell.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use async_task::Runnable;
use crossbeam::queue::SegQueue;

/// The part of an executor that every thread may touch.
pub(super) struct Remote {
    woken: SegQueue<Runnable>,
    sleeping: AtomicBool,
    bell: OwnedFd,
}

impl Remote {
    pub(super) fn new() -> io::Result<Remote> {
        // SAFETY: eventfd takes no pointers.
        let bell = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if bell < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Remote {
            woken: SegQueue::new(),
            sleeping: AtomicBool::new(false),
            // SAFETY: the kernel just made the descriptor, and nobody else owns it.
            bell: unsafe { OwnedFd::from_raw_fd(bell) },
        })
    }

    /// The descriptor that becomes readable when the bell is rung.
    pub(super) fn bell(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// Hands a woken task to its executor, from any thread.
    pub(super) fn push(&self, task: Runnable) {
        self.woken.push(task);
        fence(Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            let one = 1u64.to_ne_bytes();
            // SAFETY: the pointer and length describe `one`, which outlives the call. The counter would have to be rung
            // 2⁶⁴ times to refuse.
            unsafe { libc::write(self.bell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// A task that another thread woke; on the executor's thread.
    pub(super) fn pop(&self) -> Option<Runnable> {
        self.woken.pop()
    }

    /// Says that the executor is about to sleep. False if there is work, so that it must not.
    pub(super) fn prepare_to_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.woken.is_empty() {
            return true;
        }
        self.sleeping.store(false, Ordering::SeqCst);
        false
    }

    /// The executor is awake.
    pub(super) fn woke_up(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }
}

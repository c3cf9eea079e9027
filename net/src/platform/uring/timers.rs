//! The timers of one executor, by the monotonic clock.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// When a timer is due, and a number that makes the key unique.
type Key = (Instant, u64);

/// All timers that somebody waits for.
#[derive(Default)]
pub(super) struct Timers {
    waiting: RefCell<BTreeMap<Key, Waker>>,
    next_number: Cell<u64>,
}

impl Timers {
    /// Wakes everybody whose time has come.
    pub(super) fn fire(&self, now: Instant) {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let due = waiting.first_entry().filter(|first| first.key().0 <= now);
            let Some(waker) = due.map(|first| first.remove()) else {
                return;
            };
            drop(waiting);
            waker.wake();
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let waiting = self.waiting.borrow();
        waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Resolves at `due`.
    pub(super) fn sleep_until(self: &Rc<Self>, due: Instant) -> Sleep {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        Sleep {
            timers: self.clone(),
            key: (due, number),
            waits: false,
        }
    }
}

/// A wait for a point in time; dropped early, it leaves nothing behind.
pub(super) struct Sleep {
    timers: Rc<Timers>,
    key: Key,
    waits: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.timers.waiting.borrow_mut();
        let waker = context.waker();
        match waiting.get_mut(&self.key) {
            Some(known) => known.clone_from(waker),
            // It was there and is gone: it fired.
            None if self.waits => return Poll::Ready(()),
            None => drop(waiting.insert(self.key, waker.clone())),
        }
        drop(waiting);
        self.waits = true;
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if self.waits {
            let waker = self.timers.waiting.borrow_mut().remove(&self.key);
            drop(waker);
        }
    }
}

/// The length of a sleep that nobody has to add up: a far future is no overflow.
pub(super) fn after(now: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now.checked_add(duration).unwrap_or(now + FAR)
}

//! A flag that tasks of one executor can wait for, and the wish to do something unless it is raised.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use net::platform::sync::Notify;

/// Raised once, never lowered.
#[derive(Default)]
pub struct Signal {
    raised: Cell<bool>,
    notify: Notify,
}

impl Signal {
    /// Raises it and wakes who waits.
    pub fn raise(&self) {
        if !self.raised.replace(true) {
            self.notify.notify_all();
        }
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.raised.get()
    }

    /// Resolves when it is raised.
    pub async fn wait(&self) {
        while !self.raised.get() {
            self.notify.notified().await;
        }
    }
}

/// A count that tasks of one executor can wait to see at zero.
#[derive(Default)]
pub struct Outstanding {
    count: Cell<usize>,
    zero: Notify,
}

impl Outstanding {
    /// One more.
    pub fn add(&self) {
        self.count.set(self.count.get() + 1);
    }

    /// One less.
    pub fn remove(&self) {
        let left = self
            .count
            .get()
            .checked_sub(1)
            .expect("only what was added is removed");
        self.count.set(left);
        if left == 0 {
            self.zero.notify_all();
        }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Resolves when there are none.
    pub async fn none(&self) {
        while self.count.get() > 0 {
            self.zero.notified().await;
        }
    }
}

/// Drives `work` until it is done or `stop` is; `None` then. `work` is looked at first.
pub async fn unless<T>(work: impl Future<Output = T>, stop: impl Future<Output = ()>) -> Option<T> {
    let mut work = pin!(work);
    let mut stop = pin!(stop);
    poll_fn(|context| {
        if let Poll::Ready(value) = work.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        stop.as_mut().poll(context).map(|()| None)
    })
    .await
}

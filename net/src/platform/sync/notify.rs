//! Waking tasks of the same executor that wait for something to change.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Tasks wait on it; others wake one or all of them.
///
/// To wait for a condition without missing a change: make the [`Notified`] first, look at the condition, then await
/// it. It counts from the moment [`Notify::notified`] was called, polled or not.
#[derive(Default)]
pub struct Notify {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    next_ticket: u64,
    /// Waiters in the order they came; `None` until first polled.
    waiting: BTreeMap<u64, Option<Waker>>,
    /// A [`Notify::notify_one`] that found nobody.
    stored: bool,
}

/// Resolves at the next notification.
pub struct Notified<'a> {
    notify: &'a Notify,
    ticket: u64,
    /// It took the stored notification when it was made.
    done: bool,
}

impl Notify {
    /// Nobody waits, nothing is stored.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for the next [`Notify::notify_all`], or for a [`Notify::notify_one`] meant for it.
    pub fn notified(&self) -> Notified<'_> {
        let mut state = self.state.borrow_mut();
        let done = std::mem::take(&mut state.stored);
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        if !done {
            state.waiting.insert(ticket, None);
        }
        Notified {
            notify: self,
            ticket,
            done,
        }
    }

    /// Wakes everybody who waits now. Stores nothing.
    pub fn notify_all(&self) {
        let woken = std::mem::take(&mut self.state.borrow_mut().waiting);
        for waker in woken.into_values().flatten() {
            waker.wake();
        }
    }

    /// Wakes the one who has waited longest; if nobody waits, the next to come does not wait.
    pub fn notify_one(&self) {
        let first = {
            let mut state = self.state.borrow_mut();
            let first = state.waiting.pop_first();
            state.stored |= first.is_none();
            first
        };
        if let Some((_, Some(waker))) = first {
            waker.wake();
        }
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.done {
            let mut state = self.notify.state.borrow_mut();
            if let Some(waker) = state.waiting.get_mut(&self.ticket) {
                *waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.done = true;
        Poll::Ready(())
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.notify.state.borrow_mut().waiting.remove(&self.ticket);
        }
    }
}

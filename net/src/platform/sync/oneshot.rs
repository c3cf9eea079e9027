//! One value from one task to another of the same executor.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Closed;

enum Slot<T> {
    Empty(Option<Waker>),
    Sent(T),
    Gone,
}

/// Sends the value; dropped unused, it closes the channel.
pub struct Sender<T> {
    slot: Rc<RefCell<Slot<T>>>,
}

/// Resolves to the value.
pub struct Receiver<T> {
    slot: Rc<RefCell<Slot<T>>>,
}

/// A channel for one value.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Rc::new(RefCell::new(Slot::Empty(None)));
    (Sender { slot: slot.clone() }, Receiver { slot })
}

impl<T> Sender<T> {
    /// Hands the value over; gives it back if nobody waits any more.
    pub fn send(self, value: T) -> Result<(), T> {
        if self.is_closed() {
            return Err(value);
        }
        if let Slot::Empty(Some(waker)) = self.slot.replace(Slot::Sent(value)) {
            waker.wake();
        }
        Ok(())
    }

    /// Whether the receiver was dropped.
    pub fn is_closed(&self) -> bool {
        matches!(*self.slot.borrow(), Slot::Gone)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if !matches!(*self.slot.borrow(), Slot::Empty(_)) {
            return;
        }
        if let Slot::Empty(Some(waker)) = self.slot.replace(Slot::Gone) {
            waker.wake();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let unread = self.slot.replace(Slot::Gone);
        drop(unread);
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.borrow_mut();
        if let Slot::Empty(waker) = &mut *slot {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *slot, Slot::Gone) {
            Slot::Sent(value) => Poll::Ready(Ok(value)),
            Slot::Gone | Slot::Empty(_) => Poll::Ready(Err(Closed)),
        }
    }
}

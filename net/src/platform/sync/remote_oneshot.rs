//! One value from any thread to one task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crossbeam::atomic::AtomicCell;

use super::{Closed, RemoteWaker};

struct Slot<T> {
    value: AtomicCell<Option<T>>,
    sender_gone: AtomicBool,
    receiver_gone: AtomicBool,
    waker: RemoteWaker,
}

/// Sends the value; dropped unused, it closes the channel.
pub struct Sender<T> {
    slot: Arc<Slot<T>>,
}

/// Resolves to the value.
pub struct Receiver<T> {
    slot: Arc<Slot<T>>,
}

/// A channel for one value; both ends may be on any thread.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Arc::new(Slot {
        value: AtomicCell::new(None),
        sender_gone: AtomicBool::new(false),
        receiver_gone: AtomicBool::new(false),
        waker: RemoteWaker::default(),
    });
    (Sender { slot: slot.clone() }, Receiver { slot })
}

impl<T> Sender<T> {
    /// Hands the value over; gives it back if nobody waits any more.
    pub fn send(self, value: T) -> Result<(), T> {
        if self.slot.receiver_gone.load(Ordering::Acquire) {
            return Err(value);
        }
        self.slot.value.store(Some(value));
        Ok(())
    }

    /// Whether the receiver was dropped.
    pub fn is_closed(&self) -> bool {
        self.slot.receiver_gone.load(Ordering::Acquire)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.slot.sender_gone.store(true, Ordering::Release);
        self.slot.waker.wake();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.slot.receiver_gone.store(true, Ordering::Release);
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        for registered in [false, true] {
            if self.slot.sender_gone.load(Ordering::Acquire) {
                return Poll::Ready(self.slot.value.take().ok_or(Closed));
            }
            if !registered {
                self.slot.waker.register(context.waker());
            }
        }
        Poll::Pending
    }
}

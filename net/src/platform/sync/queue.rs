//! A bounded first-in-first-out queue from any threads to one task: the mesh between executors.
//!
//! Lock-free while nobody has to wait. Invariant: an item is received once, and a full queue never drops one.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::task::{Context, Poll, Waker};

use crossbeam::queue::{ArrayQueue, SegQueue};

use super::{Closed, RemoteWaker};

struct Shared<T> {
    items: ArrayQueue<T>,
    senders: AtomicUsize,
    receiver_gone: AtomicBool,
    receiver: RemoteWaker,
    /// Senders that found the queue full.
    waiting: SegQueue<Waker>,
}

/// The sending end; clone it for more senders.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving end.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

/// A queue that holds at most `capacity` items.
pub fn bounded<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        items: ArrayQueue::new(capacity.max(1)),
        senders: AtomicUsize::new(1),
        receiver_gone: AtomicBool::new(false),
        receiver: RemoteWaker::default(),
        waiting: SegQueue::new(),
    });
    (
        Sender {
            shared: shared.clone(),
        },
        Receiver { shared },
    )
}

impl<T> Sender<T> {
    /// Gives the item back if there is no space or no receiver.
    pub fn try_send(&self, item: T) -> Result<(), T> {
        if self.shared.receiver_gone.load(Ordering::Acquire) {
            return Err(item);
        }
        self.shared.items.push(item)?;
        self.shared.receiver.wake();
        Ok(())
    }

    /// Waits for space; fails when the receiver is gone.
    pub async fn send(&self, item: T) -> Result<(), Closed> {
        let mut unsent = Some(item);
        poll_fn(|context| {
            for registered in [false, true] {
                if self.is_closed() {
                    return Poll::Ready(Err(Closed));
                }
                let item = unsent
                    .take()
                    .expect("a send is not polled after it is done");
                match self.try_send(item) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(item) => unsent = Some(item),
                }
                if !registered {
                    self.shared.waiting.push(context.waker().clone());
                    fence(Ordering::SeqCst);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the receiver was dropped.
    pub fn is_closed(&self) -> bool {
        self.shared.receiver_gone.load(Ordering::Acquire)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.receiver.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The next item; `None` when every sender is gone and nothing is left.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// As [`Receiver::recv`], for use inside a poll.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        for registered in [false, true] {
            let closed = self.shared.senders.load(Ordering::Acquire) == 0;
            if let Some(item) = self.try_recv() {
                return Poll::Ready(Some(item));
            }
            if closed {
                return Poll::Ready(None);
            }
            if !registered {
                self.shared.receiver.register(context.waker());
            }
        }
        Poll::Pending
    }

    /// The next item if one is there.
    pub fn try_recv(&mut self) -> Option<T> {
        let item = self.shared.items.pop()?;
        self.shared.wake_senders();
        Some(item)
    }

    /// How many items are there, about.
    pub fn len(&self) -> usize {
        self.shared.items.len()
    }

    /// Whether nothing seems to be there.
    pub fn is_empty(&self) -> bool {
        self.shared.items.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::Release);
        while self.shared.items.pop().is_some() {}
        self.shared.wake_senders();
    }
}

impl<T> Shared<T> {
    /// Wakes all who wait: one of them may have given up, and its wake-up must not be lost to the others.
    fn wake_senders(&self) {
        fence(Ordering::SeqCst);
        for _ in 0..self.waiting.len() {
            let Some(waker) = self.waiting.pop() else {
                break;
            };
            waker.wake();
        }
    }
}

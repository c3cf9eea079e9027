//! A bounded first-in-first-out channel between tasks of one executor.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::{Closed, Permit, Semaphore};

struct Shared<T> {
    items: VecDeque<(T, Permit)>,
    senders: usize,
    receiver_gone: bool,
    receiver: Option<Waker>,
}

/// The sending end; clone it for more senders.
pub struct Sender<T> {
    shared: Rc<RefCell<Shared<T>>>,
    space: Semaphore,
}

/// The receiving end.
pub struct Receiver<T> {
    shared: Rc<RefCell<Shared<T>>>,
}

/// A channel that holds at most `capacity` items.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(RefCell::new(Shared {
        items: VecDeque::new(),
        senders: 1,
        receiver_gone: false,
        receiver: None,
    }));
    (
        Sender {
            shared: shared.clone(),
            space: Semaphore::new(capacity.max(1)),
        },
        Receiver { shared },
    )
}

impl<T> Sender<T> {
    /// Waits for space; fails when the receiver is gone.
    pub async fn send(&self, item: T) -> Result<(), Closed> {
        let permit = self.space.acquire(1).await;
        self.put(item, permit).map_err(|_| Closed)
    }

    /// Gives the item back if there is no space or no receiver.
    pub fn try_send(&self, item: T) -> Result<(), T> {
        match self.space.try_acquire(1) {
            Some(permit) => self.put(item, permit),
            None => Err(item),
        }
    }

    fn put(&self, item: T, permit: Permit) -> Result<(), T> {
        let waker = {
            let mut shared = self.shared.borrow_mut();
            if shared.receiver_gone {
                drop(shared);
                return Err(item);
            }
            shared.items.push_back((item, permit));
            shared.receiver.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.borrow_mut().senders += 1;
        Sender {
            shared: self.shared.clone(),
            space: self.space.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut shared = self.shared.borrow_mut();
            shared.senders -= 1;
            if shared.senders == 0 {
                shared.receiver.take()
            } else {
                None
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The next item; `None` when every sender is gone and nothing is left.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| {
            let mut shared = self.shared.borrow_mut();
            if let Some((item, permit)) = shared.items.pop_front() {
                drop(shared);
                drop(permit);
                return Poll::Ready(Some(item));
            }
            if shared.senders == 0 {
                return Poll::Ready(None);
            }
            shared.receiver = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The next item if one is there.
    pub fn try_recv(&mut self) -> Option<T> {
        let next = self.shared.borrow_mut().items.pop_front();
        next.map(|(item, _permit)| item)
    }

    /// How many items are there.
    pub fn len(&self) -> usize {
        self.shared.borrow().items.len()
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let unread = {
            let mut shared = self.shared.borrow_mut();
            shared.receiver_gone = true;
            std::mem::take(&mut shared.items)
        };
        drop(unread);
    }
}

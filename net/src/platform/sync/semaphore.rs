//! A budget that tasks of one executor share, for example of bytes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Permits up to a capacity, given out in the order of asking. Cheap to clone; all clones share one budget.
#[derive(Clone)]
pub struct Semaphore {
    shared: Rc<Shared>,
}

struct Shared {
    capacity: usize,
    available: Cell<usize>,
    waiting: RefCell<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next_ticket: u64,
    tasks: BTreeMap<u64, (usize, Waker)>,
}

/// Permits taken; dropping gives them back.
pub struct Permit {
    shared: Rc<Shared>,
    count: usize,
}

/// Resolves when the permits are there.
pub struct Acquire {
    shared: Rc<Shared>,
    count: usize,
    ticket: Option<u64>,
}

impl Semaphore {
    /// `capacity` permits, all free.
    pub fn new(capacity: usize) -> Self {
        Semaphore {
            shared: Rc::new(Shared {
                capacity,
                available: Cell::new(capacity),
                waiting: RefCell::default(),
            }),
        }
    }

    /// Waits for `count` permits, or for all of them if `count` exceeds the capacity: one large request always fits.
    pub fn acquire(&self, count: usize) -> Acquire {
        Acquire {
            shared: self.shared.clone(),
            count: count.min(self.shared.capacity),
            ticket: None,
        }
    }

    /// Takes `count` permits (at most the capacity) if they are free and nobody waits.
    pub fn try_acquire(&self, count: usize) -> Option<Permit> {
        let count = count.min(self.shared.capacity);
        let free =
            self.shared.waiting.borrow().tasks.is_empty() && self.shared.available.get() >= count;
        free.then(|| self.shared.take(count))
    }

    /// Permits free now.
    pub fn available(&self) -> usize {
        self.shared.available.get()
    }

    /// All permits, free or taken.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

impl Permit {
    /// How many permits these are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Gives back all but `count` of them.
    pub fn shrink_to(&mut self, count: usize) {
        let returned = self.count.saturating_sub(count);
        self.count -= returned;
        self.shared.give_back(returned);
    }

    /// Moves `count` of them (at most all) into a permit of their own.
    pub fn split(&mut self, count: usize) -> Permit {
        let count = count.min(self.count);
        self.count -= count;
        Permit {
            shared: self.shared.clone(),
            count,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.give_back(self.count);
    }
}

impl Shared {
    fn take(self: &Rc<Self>, count: usize) -> Permit {
        self.available.set(self.available.get() - count);
        Permit {
            shared: self.clone(),
            count,
        }
    }

    fn give_back(&self, count: usize) {
        self.available.set(self.available.get() + count);
        self.wake_first();
    }

    /// Wakes the first in the line if there is enough for it; it stays in the line until it has taken its permits.
    fn wake_first(&self) {
        let waker = {
            let waiting = self.waiting.borrow();
            waiting
                .tasks
                .values()
                .next()
                .filter(|(count, _)| *count <= self.available.get())
                .map(|(_, w)| w.clone())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let shared = self.shared.clone();
        let first = match (shared.waiting.borrow().tasks.keys().next(), self.ticket) {
            (Some(first), Some(own)) => *first == own,
            (first, _) => first.is_none(),
        };
        if first && shared.available.get() >= self.count {
            if let Some(ticket) = self.ticket.take() {
                shared.waiting.borrow_mut().tasks.remove(&ticket);
            }
            let permit = shared.take(self.count);
            shared.wake_first();
            return Poll::Ready(permit);
        }
        let mut waiting = shared.waiting.borrow_mut();
        let ticket = self.ticket.unwrap_or_else(|| {
            waiting.next_ticket += 1;
            waiting.next_ticket
        });
        self.ticket = Some(ticket);
        waiting
            .tasks
            .insert(ticket, (self.count, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.waiting.borrow_mut().tasks.remove(&ticket);
            self.shared.wake_first();
        }
    }
}

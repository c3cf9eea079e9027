//! Waiting for a partition to change. A [`Watch`] resolves once, for whichever change comes first. On the shard's core.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct WatchCell {
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Resolves when the partition it was made for changes. Dropping it cancels.
pub struct Watch {
    cell: Rc<WatchCell>,
}

/// Those who watch one partition. Cancelled ones are dropped when the list would grow.
#[derive(Default)]
pub(crate) struct Watchers {
    cells: Vec<Weak<WatchCell>>,
}

impl Watch {
    /// One that resolves at once.
    pub(crate) fn fired() -> Watch {
        let cell = WatchCell::default();
        cell.fired.set(true);
        Watch {
            cell: Rc::new(cell),
        }
    }
}

impl Watchers {
    pub(crate) fn add(&mut self) -> Watch {
        if self.cells.len() == self.cells.capacity() {
            self.cells.retain(|cell| cell.strong_count() > 0);
        }
        let cell = Rc::new(WatchCell::default());
        self.cells.push(Rc::downgrade(&cell));
        Watch { cell }
    }

    pub(crate) fn fire(&mut self) {
        for cell in self.cells.drain(..).filter_map(|cell| cell.upgrade()) {
            cell.fired.set(true);
            if let Some(waker) = cell.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.fire();
    }
}

impl Future for Watch {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.cell.fired.get() {
            return Poll::Ready(());
        }
        *self.cell.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

//! One executor's ring: operations on their way through the kernel, and descriptors that are watched for readiness.
//!
//! Invariant: what an operation's pointers point to is owned by its slot until the completion came, whatever happens to
//! the future that asked; a slot is used again only after the last completion that can name it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use slab::Slab;

/// Submissions that wait for one entry into the kernel; more enter in between.
const SUBMISSIONS: u32 = 256;
/// Completions that may wait. The kernel keeps what is beyond them and says so.
const COMPLETIONS: u32 = 4096;
/// The user data of completions nobody waits for.
const NOBODY: u64 = u64::MAX;

/// How long a turn may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Something is ready to run.
    Not,
    /// Until something happens, or for so long.
    UpTo(Duration),
    /// Until something happens.
    Forever,
}

/// Whether a descriptor can be read or written, as far as is known: it is tried, and only then waited for.
#[derive(Default)]
pub(super) struct Readiness {
    read: Direction,
    write: Direction,
    /// The kernel tells of changes; it may stop doing so.
    armed: Cell<bool>,
}

#[derive(Default)]
struct Direction {
    ready: Cell<bool>,
    /// The other end is gone: ready for good, since no further change will be told.
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Readiness {
    /// What the kernel said: events as in poll(2), or an error; and whether it goes on telling.
    fn changed(&self, result: i32, more: bool) {
        const FAILED: i32 = (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) as i32;
        const READABLE: i32 = libc::POLLIN as i32;
        const WRITABLE: i32 = libc::POLLOUT as i32;
        const ENDED: i32 = libc::POLLRDHUP as i32;
        self.armed.set(more);
        let failed = result > 0 && result & FAILED != 0;
        // If it stopped telling, both try again and then have it watched anew.
        let unknown = result < 0 || !more;
        if failed || (result > 0 && result & ENDED != 0) {
            self.read.ended.set(true);
        }
        if failed {
            self.write.ended.set(true);
        }
        if unknown || failed || result & (READABLE | ENDED) != 0 {
            self.read.set_ready();
        }
        if unknown || failed || result & WRITABLE != 0 {
            self.write.set_ready();
        }
    }
}

impl Direction {
    fn set_ready(&self) {
        self.ready.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A descriptor under watch; unwatched when dropped, which must come before the descriptor is closed.
pub(super) struct Watched {
    ring: Rc<Ring>,
    slot: usize,
    fd: RawFd,
    readiness: Rc<Readiness>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the other end.
    In,
    /// To the other end.
    Out,
}

/// When the kernel runs completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    /// When the executor asks for them (Linux 6.1).
    Deferred,
    /// When its thread enters the kernel for whatever reason (Linux 5.19).
    Cooperative,
    /// At once, by an interrupt.
    Plain,
}

impl Setup {
    fn build(self) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(COMPLETIONS);
        match self {
            Setup::Deferred => builder
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_taskrun_flag(),
            Setup::Cooperative => builder.setup_coop_taskrun().setup_taskrun_flag(),
            Setup::Plain => &mut builder,
        };
        builder.build(SUBMISSIONS)
    }
}

enum Slot {
    Operation {
        waker: Option<Waker>,
        result: Option<i32>,
        /// `None` once it was taken, or given back.
        owned: Option<Box<dyn Any>>,
        /// The future is gone; the completion only frees the slot.
        abandoned: bool,
    },
    Watch(Rc<Readiness>),
    /// Nobody watches any more; freed by the last completion.
    Unwatched,
}

/// A ring. Stays on its thread.
pub(super) struct Ring {
    uring: RefCell<IoUring>,
    slots: RefCell<Slab<Slot>>,
    /// Operations the kernel has not completed.
    operations: Cell<usize>,
    completed: RefCell<Vec<(u64, i32, u32)>>,
}

impl Ring {
    /// A ring of the kind that costs least of those the kernel knows.
    pub(super) fn new() -> io::Result<Ring> {
        for setup in [Setup::Deferred, Setup::Cooperative] {
            match Ring::with(setup) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                result => return result,
            }
        }
        Ring::with(Setup::Plain)
    }

    /// A ring of that kind; `EINVAL` if the kernel does not know it.
    pub(super) fn with(setup: Setup) -> io::Result<Ring> {
        Ok(Ring {
            uring: RefCell::new(setup.build()?),
            slots: RefCell::default(),
            operations: Cell::new(0),
            completed: RefCell::default(),
        })
    }

    /// Starts an operation.
    ///
    /// # Safety
    ///
    /// Every pointer and descriptor in `entry` stays valid as long as `owned` is neither dropped nor touched.
    pub(super) unsafe fn start<T: 'static>(
        self: &Rc<Self>,
        entry: squeue::Entry,
        owned: T,
    ) -> Operation<T> {
        let slot = self.slots.borrow_mut().insert(Slot::Operation {
            waker: None,
            result: None,
            owned: Some(Box::new(owned)),
            abandoned: false,
        });
        self.operations.set(self.operations.get() + 1);
        self.submit(&entry.user_data(slot as u64));
        Operation {
            ring: self.clone(),
            slot,
            taken: false,
            owned: PhantomData,
        }
    }

    /// Operations that the kernel has not completed.
    pub(super) fn operations(&self) -> usize {
        self.operations.get()
    }

    /// Watches a descriptor, which is open as long as the result lives.
    pub(super) fn watch(self: &Rc<Self>, fd: RawFd) -> Watched {
        let readiness = Rc::new(Readiness::default());
        let slot = Slot::Watch(readiness.clone());
        Watched {
            slot: self.slots.borrow_mut().insert(slot),
            ring: self.clone(),
            fd,
            readiness,
        }
    }

    fn submit(&self, entry: &squeue::Entry) {
        let mut uring = self.uring.borrow_mut();
        loop {
            // SAFETY: whoever made the entry answers for what it points to: `start`'s caller, or the callers here,
            // whose entries point to nothing.
            if unsafe { uring.submission().push(entry) }.is_ok() {
                return;
            }
            // Full: the kernel takes what is there. It refuses only while completions overflow, which entering resolves.
            if let Err(error) = uring.submit() {
                assert!(is_passing(&error), "the kernel takes no operation: {error}");
                drop(uring);
                self.collect();
                self.tell();
                uring = self.uring.borrow_mut();
            }
        }
    }

    /// Submits what was asked for, waits as told, and tells everybody whose operation completed.
    pub(super) fn turn(&self, wait: Wait) {
        let entered = self.enter(wait);
        if let Err(error) = entered {
            assert!(is_passing(&error), "the kernel refuses the ring: {error}");
        }
        self.collect();
        self.tell();
    }

    fn enter(&self, wait: Wait) -> io::Result<usize> {
        let mut uring = self.uring.borrow_mut();
        let have = !uring.completion().is_empty();
        let (waiting, due) = {
            let submission = uring.submission();
            (
                submission.len(),
                submission.taskrun() || submission.cq_overflow(),
            )
        };
        match wait {
            Wait::Forever if !have => uring.submit_and_wait(1),
            Wait::UpTo(duration) if !have => {
                let timespec = Timespec::from(duration);
                let arguments = SubmitArgs::new().timespec(&timespec);
                uring.submitter().submit_with_args(1, &arguments)
            }
            _ if waiting > 0 || due => {
                let submit = u32::try_from(waiting).expect("a ring is short");
                // SAFETY: the entries are those pushed, no argument is passed, and nothing is waited for.
                unsafe {
                    uring
                        .submitter()
                        .enter::<()>(submit, 0, EnterFlags::GETEVENTS.bits(), None)
                }
            }
            _ => Ok(0),
        }
    }

    fn collect(&self) {
        let mut completed = self.completed.borrow_mut();
        for entry in self.uring.borrow_mut().completion() {
            completed.push((entry.user_data(), entry.result(), entry.flags()));
        }
    }

    /// Outside every borrow: waking and dropping may come back to the ring.
    fn tell(&self) {
        let mut completed = std::mem::take(&mut *self.completed.borrow_mut());
        for (user_data, result, flags) in completed.drain(..) {
            if user_data != NOBODY {
                let slot = usize::try_from(user_data).expect("it was made from a slot");
                self.complete(slot, result, cqueue::more(flags));
            }
        }
        *self.completed.borrow_mut() = completed;
    }

    fn complete(&self, slot: usize, result: i32, more: bool) {
        let mut slots = self.slots.borrow_mut();
        match &mut slots[slot] {
            Slot::Operation {
                waker,
                result: stored,
                abandoned,
                ..
            } => {
                self.operations.set(self.operations.get() - 1);
                *stored = Some(result);
                let waker = waker.take();
                let gone = abandoned.then(|| slots.remove(slot));
                drop(slots);
                drop(gone);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Slot::Watch(readiness) => {
                let readiness = readiness.clone();
                drop(slots);
                readiness.changed(result, more);
            }
            Slot::Unwatched if more => {}
            Slot::Unwatched => drop(slots.remove(slot)),
        }
    }
}

/// The kernel could not do it this time: too many completions wait, a signal came, or the time was up.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBUSY | libc::EAGAIN | libc::EINTR | libc::ETIME)
    )
}

/// An operation under way: resolves to its result and to what it owned. Dropped early, the operation goes on, and what
/// it owns is dropped when it completes.
pub(super) struct Operation<T> {
    ring: Rc<Ring>,
    slot: usize,
    taken: bool,
    owned: PhantomData<T>,
}

impl<T> Unpin for Operation<T> {}

impl<T: 'static> Future for Operation<T> {
    type Output = (io::Result<usize>, T);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slots = self.ring.slots.borrow_mut();
        let Slot::Operation { waker, result, .. } = &mut slots[self.slot] else {
            unreachable!("the slot is this operation's until it is taken");
        };
        let Some(result) = *result else {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let Slot::Operation { owned, .. } = slots.remove(self.slot) else {
            unreachable!("just looked at");
        };
        drop(slots);
        self.taken = true;
        let owned = owned.and_then(|owned| owned.downcast().ok());
        let owned: Box<T> = owned.expect("the slot holds what it was started with");
        let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        Poll::Ready((result, *owned))
    }
}

impl<T> Drop for Operation<T> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut slots = self.ring.slots.borrow_mut();
        let Slot::Operation {
            result,
            abandoned,
            waker,
            ..
        } = &mut slots[self.slot]
        else {
            unreachable!("the slot is this operation's until it is taken");
        };
        *abandoned = true;
        let waker = waker.take();
        let gone = result.is_some().then(|| slots.remove(self.slot));
        drop(slots);
        drop((waker, gone));
    }
}

impl Watched {
    /// Polls for readiness; [`Watched::clear`] says that it was used up.
    pub(super) fn poll_ready(&self, way: Way, context: &mut Context<'_>) -> Poll<()> {
        let direction = self.direction(way);
        if direction.ready.get() {
            return Poll::Ready(());
        }
        direction
            .waker
            .borrow_mut()
            .replace(context.waker().clone());
        self.arm();
        Poll::Pending
    }

    /// The last try found nothing there, or no room; or not as much as there was room for. False if no change is going
    /// to be told, because the other end is gone: the next try says how.
    pub(super) fn clear(&self, way: Way) -> bool {
        let direction = self.direction(way);
        direction.ready.set(direction.ended.get());
        !direction.ended.get()
    }

    fn direction(&self, way: Way) -> &Direction {
        match way {
            Way::In => &self.readiness.read,
            Way::Out => &self.readiness.write,
        }
    }

    /// The kernel reports every change from now on, and what is there at once.
    fn arm(&self) {
        if self.readiness.armed.replace(true) {
            return;
        }
        let events = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;
        let entry = opcode::PollAdd::new(Fd(self.fd), events as u32)
            .multi(true)
            .build()
            .user_data(self.slot as u64);
        self.ring.submit(&entry);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.readiness.armed.get() {
            self.ring.slots.borrow_mut()[self.slot] = Slot::Unwatched;
            let entry = opcode::PollRemove::new(self.slot as u64)
                .build()
                .user_data(NOBODY);
            self.ring.submit(&entry);
        } else {
            let slot = self.ring.slots.borrow_mut().remove(self.slot);
            drop(slot);
        }
    }
}

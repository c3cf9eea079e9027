//! What a machine's disk does by itself: its operations as its own tasks, the time they take, and which of them fail.
//!
//! Invariant: an operation from before a power cut does nothing any more; whether one goes wrong is decided by the
//! simulation's seed or by what a test has planned, and every fault is counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::rc::Rc;

use net::platform::Runtime;
use net::platform::sim::SimHandle;
use net::platform::sync::oneshot;

use super::media::{Inode, Media};
use super::{DiskFault, SimDiskOptions};

pub(super) struct Shared {
    pub(super) sim: SimHandle,
    /// The disk's own tasks.
    pub(super) hardware: Runtime,
    pub(super) media: RefCell<Media>,
    pub(super) options: RefCell<SimDiskOptions>,
    pub(super) planned: RefCell<Vec<(DiskFault, String)>>,
    pub(super) locked: RefCell<BTreeSet<Inode>>,
    /// Operations on names, of whichever process.
    pub(super) names_in_flight: Cell<usize>,
    /// Power cuts so far; an operation from before one does nothing any more.
    pub(super) epoch: Cell<u64>,
    pub(super) in_flight: Cell<usize>,
}

impl Shared {
    /// Runs an operation as a task of the disk; the future only waits for its answer.
    pub(super) fn start<T: 'static, F: Future<Output = io::Result<T>> + 'static>(
        self: &Rc<Self>,
        operation: F,
    ) -> impl Future<Output = io::Result<T>> + use<T, F> {
        let (sender, receiver) = oneshot::channel();
        self.in_flight.set(self.in_flight.get() + 1);
        let shared = self.clone();
        self.hardware.spawn(async move {
            let result = operation.await;
            shared.in_flight.set(shared.in_flight.get() - 1);
            drop(sender.send(result));
        });
        async move { receiver.await.unwrap_or_else(|_| Err(input_output_error())) }
    }

    /// The same for an operation on names.
    pub(super) fn start_on_names<T: 'static, F: Future<Output = io::Result<T>> + 'static>(
        self: &Rc<Self>,
        operation: F,
    ) -> impl Future<Output = io::Result<T>> + use<T, F> {
        let (shared, epoch) = (self.clone(), self.epoch.get());
        self.names_in_flight.set(self.names_in_flight.get() + 1);
        self.start(async move {
            let result = operation.await;
            if shared.epoch.get() == epoch {
                shared.names_in_flight.set(shared.names_in_flight.get() - 1);
            }
            result
        })
    }

    /// Takes an operation's time; fails when the power went meanwhile.
    pub(super) async fn pass_time(&self, epoch: u64) -> io::Result<()> {
        let duration = {
            let options = self.options.borrow();
            if self.sim.random_chance(options.latency_tail) {
                self.sim.count_fault("disk_latency_tail");
                self.sim.random_duration(options.latency_tail_max)
            } else {
                self.sim.random_duration(options.latency_max)
            }
        };
        self.hardware.sleep(duration).await;
        if self.epoch.get() == epoch {
            Ok(())
        } else {
            Err(input_output_error())
        }
    }

    pub(super) fn happens(
        &self,
        probability: impl Fn(&SimDiskOptions) -> f64,
        kind: &'static str,
    ) -> bool {
        let happens = self.sim.random_chance(probability(&self.options.borrow()));
        if happens {
            self.sim.count_fault(kind);
        }
        happens
    }

    pub(super) fn planned(&self, fault: DiskFault, path: &str, kind: &'static str) -> bool {
        let mut planned = self.planned.borrow_mut();
        let found = planned
            .iter()
            .position(|(planned, part)| *planned == fault && path.contains(part.as_str()));
        if let Some(found) = found {
            planned.remove(found);
            self.sim.count_fault(kind);
        }
        found.is_some()
    }

    pub(super) fn read_fails(&self, path: &str) -> bool {
        self.planned(DiskFault::Read, path, "disk_read_error")
            || self.happens(|options| options.read_error, "disk_read_error")
    }

    pub(super) fn write_fails(&self, path: &str) -> bool {
        self.planned(DiskFault::Write, path, "disk_write_error")
            || self.happens(|options| options.write_error, "disk_write_error")
    }

    pub(super) fn flush_fails(&self, path: &str) -> bool {
        self.planned(DiskFault::Flush, path, "disk_flush_error")
            || self.happens(|options| options.flush_error, "disk_flush_error")
    }

    pub(super) fn refused(&self, result: io::Result<u64>) -> io::Result<u64> {
        if result
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
        {
            self.sim.count_fault("disk_full");
        }
        result
    }
}

pub(super) fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

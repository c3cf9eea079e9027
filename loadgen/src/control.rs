//! What the executors of a phase and the thread that watches over them tell each other. A few atomics, no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::clock;

/// Shared by everything that takes part in a phase.
#[derive(Debug)]
pub(crate) struct Control {
    /// On the clock; 0: not yet.
    start: AtomicU64,
    /// The user wants to stop.
    abort: Arc<AtomicBool>,
    ended_at: AtomicU64,
    producers: AtomicUsize,
}

impl Control {
    /// Nothing has started; `abort` is set when the run is to end early.
    pub(crate) fn new(abort: Arc<AtomicBool>, producers: usize) -> Self {
        Self {
            start: AtomicU64::new(0),
            abort,
            ended_at: AtomicU64::new(u64::MAX),
            producers: AtomicUsize::new(producers),
        }
    }

    /// Schedules begin at `at`.
    pub(crate) fn start_at(&self, at: u64) {
        self.start.store(at, Ordering::Release);
    }

    /// When schedules begin, once that is known.
    pub(crate) fn start(&self) -> Option<u64> {
        match self.start.load(Ordering::Acquire) {
            0 => None,
            at => Some(at),
        }
    }

    /// Whether the run is to end early.
    pub(crate) fn is_aborted(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }

    /// When the run was ended early, on the clock; the far future otherwise.
    pub(crate) fn ended_at(&self) -> u64 {
        if self.is_aborted() {
            let _ = self.ended_at.compare_exchange(
                u64::MAX,
                clock::now(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        self.ended_at.load(Ordering::Relaxed)
    }

    /// A producer has sent its last record.
    pub(crate) fn producer_ended(&self) {
        self.producers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether records still come.
    pub(crate) fn producers_run(&self) -> bool {
        self.producers.load(Ordering::Acquire) > 0
    }
}

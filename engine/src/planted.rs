//! Bugs planted on purpose, so that tests can show that the simulator finds them. Without the feature `planted` every
//! question is answered with a constant `false` and the code behind it is not built.

/// A bug that a test may plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Answers before the journal's flush.
    AckBeforeFlush,
    /// Replay takes what an earlier use of the journal left in a torn group for the group's own blocks.
    AcceptStaleBlock,
    /// Acknowledges a batch that lies above an unfinished direct run.
    AckAboveHole,
    /// Recovery forgets what producers sent.
    LoseProducerState,
    /// The high watermark runs ahead of the journal.
    HighWatermarkAhead,
    /// A journal file is reused before the checkpoint that covers it is durable.
    RecycleBeforeCheckpoint,
}

#[cfg(feature = "planted")]
mod planted_now {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants `bug` on this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.with(|planted| planted.set(bug));
    }

    /// Whether `bug` is planted on this thread.
    pub fn is(bug: Bug) -> bool {
        PLANTED.with(|planted| planted.get() == Some(bug))
    }
}

#[cfg(feature = "planted")]
pub use planted_now::{is, plant};

/// Whether `bug` is planted: never, in this build.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(bug: Bug) -> bool {
    let _ = bug;
    false
}

//! How many producers a shard remembers. On the shard's core, which all its partitions share.
//!
//! Invariant: the number is that of the durable entries of all partitions together; a dropped state takes its own off.

use crate::limits::PRODUCERS_PER_SHARD_MAX;
use std::cell::Cell;
use std::rc::Rc;

/// How many producers the partitions of one shard remember together; a handle of the shard's one counter.
#[derive(Debug, Clone)]
pub struct ProducerCount {
    in_use: Rc<Cell<usize>>,
    pub(super) max: usize,
}

impl Default for ProducerCount {
    fn default() -> Self {
        ProducerCount::new(PRODUCERS_PER_SHARD_MAX)
    }
}

impl ProducerCount {
    /// A counter with this bound.
    pub fn new(max: usize) -> ProducerCount {
        ProducerCount {
            in_use: Rc::new(Cell::new(0)),
            max,
        }
    }

    /// Producers remembered now.
    pub fn in_use(&self) -> usize {
        self.in_use.get()
    }

    pub(super) fn add(&self, count: usize) {
        self.in_use.set(self.in_use.get() + count);
    }

    pub(super) fn remove(&self, count: usize) {
        self.in_use.set(
            self.in_use
                .get()
                .checked_sub(count)
                .expect("only what was counted is taken off"),
        );
    }
}

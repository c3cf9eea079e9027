//! The seed's numbers and the trace of what they decided.

use std::cell::Cell;
use std::time::Duration;

/// A generator (splitmix64) and a running hash (FNV-1a over words).
pub(super) struct Random {
    state: Cell<u64>,
    trace: Cell<u64>,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random {
            state: Cell::new(seed),
            trace: Cell::new(0xcbf2_9ce4_8422_2325),
        }
    }

    pub(super) fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&self, below: u64) -> u64 {
        if below == 0 {
            0
        } else {
            ((u128::from(self.next()) * u128::from(below)) >> 64) as u64
        }
    }

    pub(super) fn chance(&self, probability: f64) -> bool {
        // No number is drawn for what cannot or must happen, so that switching a fault off disturbs little.
        probability > 0.0
            && (probability >= 1.0
                || (self.next() >> 11) as f64 / (1u64 << 53) as f64 <= probability)
    }

    pub(super) fn duration(&self, longest: Duration) -> Duration {
        Duration::from_nanos(self.below(longest.as_nanos() as u64 + 1))
    }

    pub(super) fn trace(&self, event: &str, values: &[u64]) {
        let mut hash = self.trace.get();
        for word in event.bytes().map(u64::from).chain(values.iter().copied()) {
            hash = (hash ^ word)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(23);
        }
        self.trace.set(hash);
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace.get()
    }
}

//! A whole node and its clients in the simulator: crashes, power cuts and every fault the disk and the network know,
//! held against a model of what was promised.
//!
//! `TIDELOG_SEED=n` replays one seed, `TIDELOG_SEEDS=n` runs so many (from `TIDELOG_FIRST_SEED`, 1 by default) and then
//! demands that every kind of fault and recovery happened at least once. A failure prints its seed and the last lines
//! of what happened.

#![allow(unreachable_pub, reason = "a test's modules are private to it")]

mod administrator;
mod batches;
mod broker;
mod churn;
mod codes;
mod compaction;
mod consumer;
mod consumer_groups;
mod consumer_offsets;
mod corrupt;
mod coverage;
mod epochs;
mod faults;
mod filling;
mod groups;
mod growth;
mod oracle;
#[cfg(feature = "planted")]
mod planted;
mod producer;
mod rot;
mod run;
mod runner;
mod shared;
mod topics;
mod wire;

/// Seeds that `cargo test` runs.
const SEEDS_DEFAULT: u64 = 24;
/// From so many seeds on, everything must have happened.
const SEEDS_FOR_COVERAGE: u64 = 100;

#[test]
fn whatever_happens_every_promise_is_kept() {
    if let Some(seed) = runner::environment("TIDELOG_SEED") {
        runner::run_seed(seed).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let seeds = runner::environment("TIDELOG_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let first = runner::environment("TIDELOG_FIRST_SEED").unwrap_or(1);
    let counters = runner::run_seeds(first..first + seeds);
    coverage::print(&counters);
    if seeds >= SEEDS_FOR_COVERAGE {
        coverage::demand(&counters);
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in [1, 2] {
        let hash = || {
            runner::run_seed(seed)
                .unwrap_or_else(|failure| panic!("{failure}"))
                .trace_hash
        };
        assert_eq!(hash(), hash(), "SEED={seed}: two runs, two traces");
    }
}

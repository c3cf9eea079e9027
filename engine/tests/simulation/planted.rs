//! The unchanged workload finds each planted bug within a hundred seeds; if it could not, it would prove nothing.

use engine::planted::{Bug, plant};

use crate::runner;

const SEEDS_MAX: u64 = 100;

fn found(bug: Bug) {
    let found = std::thread::spawn(move || {
        plant(Some(bug));
        (1..=SEEDS_MAX).find_map(|seed| runner::run_seed(seed).err())
    });
    let failure = found.join().expect("failures of a run are caught");
    let failure =
        failure.unwrap_or_else(|| panic!("{bug:?} was not found within {SEEDS_MAX} seeds"));
    println!("{bug:?}: {}", failure.lines().next().unwrap_or_default());
}

#[test]
fn an_answer_before_the_flush_is_found() {
    found(Bug::AckBeforeFlush);
}

#[test]
fn a_stale_block_of_the_same_generation_is_found() {
    found(Bug::AcceptStaleBlock);
}

#[test]
fn an_acknowledged_record_above_a_hole_is_found() {
    found(Bug::AckAboveHole);
}

#[test]
fn lost_producer_state_is_found() {
    found(Bug::LoseProducerState);
}

#[test]
fn a_high_watermark_ahead_of_the_journal_is_found() {
    found(Bug::HighWatermarkAhead);
}

#[test]
fn a_journal_file_recycled_before_its_checkpoint_is_found() {
    found(Bug::RecycleBeforeCheckpoint);
}

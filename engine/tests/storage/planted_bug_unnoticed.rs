//! Each planted bug is found by the unchanged random work within a hundred seeds; else the work would be blind.

use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::planted::{Bug, plant};

use crate::random_crashes::run_seed;

fn first_seed_that_finds(bug: Bug) -> Option<u64> {
    (1..=100).find(|seed| {
        plant(Some(bug));
        let result = catch_unwind(AssertUnwindSafe(|| run_seed(*seed, 8)));
        plant(None);
        result.is_err()
    })
}

macro_rules! found {
    ($($name:ident: $bug:ident,)+) => {
        $(#[test]
        fn $name() {
            let seed = first_seed_that_finds(Bug::$bug);
            println!("found with seed {seed:?}");
            assert!(seed.is_some());
        })+
    };
}

found! {
    an_acknowledgement_before_the_flush_is_found: AckBeforeFlush,
    a_stale_block_taken_for_a_group_is_found: AcceptStaleBlock,
    an_acknowledgement_above_a_hole_is_found: AckAboveHole,
    lost_producer_state_is_found: LoseProducerState,
    a_high_watermark_ahead_of_the_journal_is_found: HighWatermarkAhead,
    a_journal_recycled_before_its_checkpoint_is_found: RecycleBeforeCheckpoint,
}

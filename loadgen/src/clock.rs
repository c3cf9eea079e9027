//! One clock for every thread of the generator, so that a record's intended send time means the same to the executor
//! that sends it and to the one that reads it.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Nanoseconds of a millisecond.
pub(crate) const MILLISECOND: u64 = 1_000_000;

struct Origin {
    instant: Instant,
    wall_us: i64,
}

static ORIGIN: OnceLock<Origin> = OnceLock::new();

#[expect(
    clippy::disallowed_methods,
    reason = "the generator measures with a clock that its executors share; nothing of it runs in the simulator"
)]
fn origin() -> &'static Origin {
    ORIGIN.get_or_init(|| Origin {
        instant: Instant::now(),
        wall_us: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
            }),
    })
}

/// Nanoseconds since the process first looked at this clock; never goes back.
pub(crate) fn now() -> u64 {
    u64::try_from(origin().instant.elapsed().as_nanos()).expect("a process runs below 584 years")
}

/// The wall clock at `at`, in microseconds since 1970. It moves with [`now`], whatever happens to the system's clock.
pub(crate) fn wall_us(at: u64) -> i64 {
    origin().wall_us.saturating_add_unsigned(at / 1000)
}

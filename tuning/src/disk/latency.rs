//! Percentiles of measured times. Pure.

use serde::Serialize;

/// How long one kind of operation took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Bytes written by each operation.
    pub bytes: usize,
    /// Operations measured.
    pub count: usize,
    /// Half of them took no longer.
    pub p50_us: f64,
    /// 90 % took no longer.
    pub p90_us: f64,
    /// 99 % took no longer.
    pub p99_us: f64,
    /// 99.9 % took no longer.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latency {
    /// Of times in nanoseconds, in any order; at least one.
    pub(super) fn of(bytes: usize, mut nanoseconds: Vec<u64>) -> Latency {
        assert!(!nanoseconds.is_empty(), "something was measured");
        nanoseconds.sort_unstable();
        // Nearest rank: the smallest value that so many of a thousand do not exceed.
        let rank = |per_mille: usize| {
            let rank = (nanoseconds.len() * per_mille).div_ceil(1_000);
            nanoseconds[rank.clamp(1, nanoseconds.len()) - 1] as f64 / 1_000.0
        };
        Latency {
            bytes,
            count: nanoseconds.len(),
            p50_us: rank(500),
            p90_us: rank(900),
            p99_us: rank(990),
            p999_us: rank(999),
            max_us: rank(1_000),
        }
    }
}

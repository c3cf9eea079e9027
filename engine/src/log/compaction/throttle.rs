//! How fast the cleaner may read and write (`log.cleaner.io.max.bytes.per.second`).
//!
//! Time comes in; the caller sleeps. On the shard's core.

/// The longest debt that is slept off at once, in milliseconds.
const SLEEP_MS_MAX: u64 = 1_000;

/// A bucket of bytes that fills with time.
#[derive(Debug, Clone, Copy)]
pub struct Throttle {
    bytes_per_second: f64,
    /// Below 0 while there is a debt; never above what a tenth of a second brings.
    credit: f64,
    at_ms: u64,
}

impl Throttle {
    /// An empty bucket.
    pub fn new(bytes_per_second: f64, now_ms: u64) -> Throttle {
        Throttle {
            bytes_per_second: bytes_per_second.max(1.0),
            credit: 0.0,
            at_ms: now_ms,
        }
    }

    /// The rate changed.
    pub fn set_rate(&mut self, bytes_per_second: f64) {
        self.bytes_per_second = bytes_per_second.max(1.0);
    }

    /// `bytes` were read or written. For how many milliseconds to rest.
    pub fn spend(&mut self, bytes: u64, now_ms: u64) -> u64 {
        let passed = now_ms.saturating_sub(self.at_ms) as f64 / 1000.0;
        self.at_ms = self.at_ms.max(now_ms);
        let most = self.bytes_per_second / 10.0;
        self.credit = (self.credit + passed * self.bytes_per_second).min(most) - bytes as f64;
        if self.credit >= 0.0 {
            return 0;
        }
        let milliseconds = (-self.credit / self.bytes_per_second * 1000.0).ceil();
        (milliseconds as u64).min(SLEEP_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_long_run_the_rate_holds() {
        let mut throttle = Throttle::new(1_000_000.0, 0);
        let (mut now_ms, mut spent) = (0, 0u64);
        for _ in 0..1000 {
            spent += 50_000;
            now_ms += throttle.spend(50_000, now_ms);
        }
        let allowed = now_ms * 1000;
        assert!(spent <= allowed + 150_000, "{spent} of {allowed}");
        assert!(spent + 150_000 >= allowed, "it does not rest for nothing");
    }

    #[test]
    fn without_a_bound_nobody_rests_long() {
        let mut throttle = Throttle::new(f64::MAX, 0);
        for _ in 0..100 {
            assert!(throttle.spend(u64::from(u32::MAX), 0) <= 1);
        }
    }

    #[test]
    fn rest_saves_no_more_than_a_tenth_of_a_second() {
        let mut throttle = Throttle::new(1000.0, 0);
        assert_eq!(throttle.spend(100, 60_000), 0);
        assert_eq!(throttle.spend(100, 60_000), 100);
    }
}

//! When each batch is due: fixed before the first one is sent.

use std::time::Duration;

/// Constant arrival times of batches on one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    interval: Duration,
    offset: Duration,
    count: u64,
}

impl Schedule {
    /// Connection `index` of `connections`, which together send `batches_per_second` for `duration`. Connections take
    /// turns, so that the arrivals of all of them are evenly spaced.
    pub(crate) fn new(
        batches_per_second: f64,
        duration: Duration,
        connections: u64,
        index: u64,
    ) -> Self {
        let spacing = Duration::from_secs_f64(1.0 / batches_per_second);
        let interval = spacing.mul_f64(connections as f64);
        let count = (duration.as_secs_f64() / interval.as_secs_f64()).floor() as u64;
        Self {
            interval,
            offset: spacing.mul_f64(index as f64),
            count: count.max(1),
        }
    }

    /// Due times, measured from the start of the run.
    pub(crate) fn due_times(self) -> impl Iterator<Item = Duration> {
        (0..self.count).map(move |number| self.offset + self.interval.mul_f64(number as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_the_rate_evenly() {
        let mut due: Vec<Duration> = (0..4)
            .flat_map(|index| Schedule::new(1000.0, Duration::from_secs(2), 4, index).due_times())
            .collect();
        due.sort();
        assert_eq!(due.len(), 2000);
        for pair in due.windows(2) {
            let gap = (pair[1] - pair[0]).as_secs_f64();
            assert!((gap - 0.001).abs() < 1e-6, "{gap}");
        }
    }
}

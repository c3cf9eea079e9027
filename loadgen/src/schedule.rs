//! When each record is due: fixed before the first one is sent, and never moved by what the broker does.
//!
//! Pure computation: the n-th due time depends on the plan and its seed alone. Connections take turns, so that the
//! arrivals of all of them together have the rate and the shape of the plan.

use serde::{Deserialize, Serialize};

use crate::clock::SECOND;
use crate::random::Random;

/// The shape of the arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    /// Evenly spaced.
    Constant,
    /// Independent of each other: exponential gaps.
    Poisson,
    /// This many at once, then a pause that keeps the rate.
    Bursts(u64),
    /// The rate grows (or falls) evenly to this many records per second at the end.
    RampTo(f64),
}

/// One connection's share of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// Connections that take turns.
    pub(crate) of: u64,
    /// Which of them this is.
    pub(crate) index: u64,
}

/// The due times of one connection's records, in nanoseconds from the start of the phase.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    shape: Shape,
    /// Records per second of all connections together; `None`: always one more, as fast as they go.
    rate: Option<f64>,
    share: Share,
    end: u64,
    records_max: u64,
    taken: u64,
    next: Option<u64>,
    random: Random,
}

impl Arrivals {
    /// `rate` of `None` is saturation: every record is due at once. `records` bounds the records of all connections.
    pub(crate) fn new(
        shape: Shape,
        rate: Option<f64>,
        end: u64,
        records: Option<u64>,
        share: Share,
        seed: u64,
    ) -> Self {
        let records_max = records.map_or(u64::MAX, |all| {
            all / share.of + u64::from(share.index < all % share.of)
        });
        let mut arrivals = Self {
            shape,
            rate,
            share,
            end,
            records_max,
            taken: 0,
            next: None,
            random: Random::new(seed, share.index),
        };
        arrivals.next = arrivals.compute(0);
        arrivals
    }

    /// Whether every record is due at once.
    pub(crate) fn is_saturating(&self) -> bool {
        self.rate.is_none()
    }

    /// Records taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// When the next record is due, `None` after the last.
    pub(crate) fn peek(&self) -> Option<u64> {
        self.next
    }

    /// Takes the next record off the schedule.
    pub(crate) fn take(&mut self) -> Option<u64> {
        let due = self.next?;
        self.taken += 1;
        self.next = self.compute(due);
        Some(due)
    }

    /// Takes up to `count` records that are due at once; only for saturation.
    pub(crate) fn take_many(&mut self, count: u64) -> u64 {
        if self.next.is_none() {
            return 0;
        }
        let count = count.min(self.records_max - self.taken);
        self.taken += count;
        self.next = self.compute(0);
        count
    }

    /// Nothing more is due after `now` (the run was ended early).
    pub(crate) fn cut(&mut self, now: u64) {
        self.end = self.end.min(now);
        if self.next.is_some_and(|due| due >= self.end) || self.is_saturating() {
            self.next = None;
        }
    }

    /// How many records are due by `now` and not taken yet. Expected value for Poisson arrivals.
    pub(crate) fn backlog(&self, now: u64) -> u64 {
        let Some(rate) = self.rate else { return 0 };
        let seconds = now.min(self.end) as f64 / SECOND as f64;
        let duration = self.end as f64 / SECOND as f64;
        let all = match self.shape {
            Shape::RampTo(last) => {
                rate * seconds + (last - rate) * seconds * seconds / (2.0 * duration)
            }
            _ => rate * seconds,
        };
        let due = (all / self.share.of as f64) as u64;
        due.min(self.records_max).saturating_sub(self.taken)
    }

    /// The due time of record number `taken` of this connection, given the one before it.
    fn compute(&mut self, before: u64) -> Option<u64> {
        if self.taken >= self.records_max {
            return None;
        }
        let Some(rate) = self.rate else {
            return Some(0);
        };
        let (of, index) = (self.share.of, self.share.index);
        let nanoseconds = |seconds: f64| (seconds * SECOND as f64) as u64;
        let due = match self.shape {
            Shape::Constant => nanoseconds((self.taken * of + index) as f64 / rate),
            Shape::Poisson => {
                let mean = of as f64 / rate;
                before + nanoseconds(self.random.exponential() * mean)
            }
            Shape::Bursts(size) => {
                let number = self.taken * of + index;
                nanoseconds((number - number % size) as f64 / rate)
            }
            Shape::RampTo(last) => {
                let number = (self.taken * of + index) as f64;
                nanoseconds(ramp_time(
                    rate,
                    last,
                    self.end as f64 / SECOND as f64,
                    number,
                )?)
            }
        };
        (due < self.end).then_some(due)
    }
}

/// When record `number` is due if the rate goes evenly from `first` to `last` within `duration` seconds: the root of
/// `first·t + (last − first)·t²/(2·duration) = number`.
fn ramp_time(first: f64, last: f64, duration: f64, number: f64) -> Option<f64> {
    let slope = (last - first) / duration;
    if slope.abs() < 1e-9 {
        return Some(number / first);
    }
    let root = first.mul_add(first, 2.0 * slope * number);
    (root >= 0.0).then(|| 2.0 * number / (first + root.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(shape: Shape, rate: f64, seconds: u64, connections: u64) -> Vec<u64> {
        let mut due = Vec::new();
        for index in 0..connections {
            let share = Share {
                of: connections,
                index,
            };
            let mut arrivals = Arrivals::new(shape, Some(rate), seconds * SECOND, None, share, 1);
            let mut before = 0;
            while let Some(next) = arrivals.take() {
                assert!(next >= before && next < seconds * SECOND);
                before = next;
                due.push(next);
            }
        }
        due.sort_unstable();
        due
    }

    #[test]
    fn connections_share_a_constant_rate_evenly() {
        let due = all(Shape::Constant, 1000.0, 2, 4);
        assert_eq!(due.len(), 2000);
        for pair in due.windows(2) {
            assert!((pair[1] - pair[0]).abs_diff(1_000_000) < 10, "{pair:?}");
        }
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_uneven_gaps() {
        let due = all(Shape::Poisson, 10_000.0, 4, 3);
        assert!((39_000..41_000).contains(&due.len()), "{}", due.len());
        let mean = 4.0 * SECOND as f64 / due.len() as f64;
        let variance = due
            .windows(2)
            .map(|pair| ((pair[1] - pair[0]) as f64 - mean).powi(2))
            .sum::<f64>()
            / due.len() as f64;
        let deviation = variance.sqrt() / mean;
        assert!((0.95..1.05).contains(&deviation), "{deviation}");
    }

    #[test]
    fn bursts_arrive_together_and_keep_the_rate() {
        let due = all(Shape::Bursts(50), 1000.0, 1, 4);
        assert_eq!(due.len(), 1000);
        for burst in due.chunks(50) {
            assert_eq!(burst[0], burst[49]);
        }
        assert_eq!(due[50] - due[0], 50_000_000);
    }

    #[test]
    fn a_ramp_goes_from_one_rate_to_the_other() {
        let due = all(Shape::RampTo(3000.0), 1000.0, 4, 2);
        assert!(due.len().abs_diff(8000) <= 2, "{}", due.len());
        let within = |from: u64, to: u64| {
            due.iter()
                .filter(|at| (from * SECOND..to * SECOND).contains(at))
                .count()
        };
        assert!(within(0, 1).abs_diff(1250) <= 2);
        assert!(within(3, 4).abs_diff(2750) <= 2);
    }

    #[test]
    fn a_number_of_records_ends_the_schedule() {
        let mut count = 0;
        for index in 0..3 {
            let share = Share { of: 3, index };
            let mut arrivals = Arrivals::new(Shape::Constant, None, u64::MAX, Some(100), share, 1);
            while arrivals.peek().is_some() {
                count += arrivals.take_many(7);
            }
        }
        assert_eq!(count, 100);
    }

    #[test]
    fn saturation_ends_when_it_is_cut() {
        let share = Share { of: 1, index: 0 };
        let mut arrivals = Arrivals::new(Shape::Constant, None, SECOND, None, share, 1);
        assert_eq!(arrivals.take_many(7), 7);
        arrivals.cut(SECOND);
        assert_eq!((arrivals.take_many(7), arrivals.peek()), (0, None));
    }

    #[test]
    fn the_backlog_is_what_was_due_and_not_taken() {
        let share = Share { of: 1, index: 0 };
        let mut arrivals =
            Arrivals::new(Shape::Constant, Some(1000.0), 10 * SECOND, None, share, 1);
        for _ in 0..500 {
            arrivals.take();
        }
        assert_eq!(arrivals.backlog(2 * SECOND), 1500);
    }
}

//! Pseudo-random numbers with a seed: the same plan draws the same arrivals, keys and sizes every time.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// A sequence of its own for every `(seed, stream)`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self {
            state: seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// Uniform in `0..1`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is something to choose from");
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Exponentially distributed with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// A rank in `0..count` by a power law with exponent `skew` (0: uniform): the continuous form of Zipf's law, which
    /// needs no table.
    pub(crate) fn power_law(&mut self, count: u64, skew: f64) -> u64 {
        if skew == 0.0 {
            return self.below(count);
        }
        let unit = self.unit();
        let most = count as f64 + 1.0;
        let rank = if (skew - 1.0).abs() < 1e-9 {
            most.powf(unit)
        } else {
            let exponent = 1.0 - skew;
            (unit * (most.powf(exponent) - 1.0) + 1.0).powf(1.0 / exponent)
        };
        (rank as u64).clamp(1, count) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_prefers_the_first_keys_and_stays_in_range() {
        let mut random = Random::new(1, 2);
        for skew in [0.0, 0.5, 1.0, 1.5] {
            let mut counts = [0u32; 100];
            for _ in 0..50_000 {
                counts[random.power_law(100, skew) as usize] += 1;
            }
            let expected_more = skew > 0.0;
            assert_eq!(counts[0] > 2 * counts[50], expected_more, "skew {skew}");
            assert!(counts[99] > 0, "skew {skew} never chose the last key");
        }
    }

    #[test]
    fn the_mean_of_exponential_gaps_is_one() {
        let mut random = Random::new(7, 0);
        let sum: f64 = (0..100_000).map(|_| random.exponential()).sum();
        assert!((sum / 100_000.0 - 1.0).abs() < 0.02);
    }
}

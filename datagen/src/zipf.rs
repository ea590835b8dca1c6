//! Popularity by Zipf's law: the item of rank k is chosen in proportion to 1 / k^exponent.

use rand::{Rng, RngExt};

/// A choice among ranks 0 (most popular) to n - 1.
pub struct Zipf {
    /// The probability of each rank or a more popular one; the last is 1.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// Over `ranks` items; none for an empty choice.
    pub fn new(ranks: usize, exponent: f64) -> Option<Self> {
        let mut sum = 0.0;
        let mut weight = 0.0_f64;
        let mut cumulative: Vec<f64> = (0..ranks)
            .map(|_| {
                weight += 1.0;
                sum += weight.powf(-exponent);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|part| *part /= sum);
        (ranks > 0).then_some(Self { cumulative })
    }

    /// One rank.
    pub fn sample(&self, rng: &mut impl Rng) -> usize {
        let point: f64 = rng.random();
        self.cumulative.partition_point(|part| *part <= point).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    const SAMPLES: u32 = 200_000;

    fn shares(ranks: usize, exponent: f64) -> Vec<f64> {
        let zipf = Zipf::new(ranks, exponent).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let mut counts = vec![0_u32; ranks];
        for _ in 0..SAMPLES {
            counts[zipf.sample(&mut rng)] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) / f64::from(SAMPLES)).collect()
    }

    #[test]
    fn shares_fall_as_one_over_the_rank() {
        // H(4) = 1 + 1/2 + 1/3 + 1/4 = 25/12, so the shares are 12/25, 6/25, 4/25 and 3/25. Three standard deviations are 0.0034.
        for (share, expected) in shares(4, 1.0).into_iter().zip([0.48, 0.24, 0.16, 0.12]) {
            assert!((share - expected).abs() < 0.0034, "{share} is not {expected}");
        }
    }

    #[test]
    fn an_exponent_of_zero_is_fair_and_one_item_is_certain() {
        for share in shares(5, 0.0) {
            assert!((share - 0.2).abs() < 0.0034, "{share} is not 0.2");
        }
        assert_eq!(shares(1, 1.1), [1.0]);
        assert!(Zipf::new(0, 1.1).is_none());
    }
}

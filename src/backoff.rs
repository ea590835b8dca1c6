//! Waiting between tries: exponential, bounded, with full jitter.
//!
//! The wait before try n is uniform in (0, min(max, first * 2^n)] but never below a tenth of that bound, so that many engines that
//! lost the same neighbour do not come back at the same moment.

use std::time::Duration;

use rand::RngExt;

/// The state of one series of tries.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    tries: u32,
}

impl Backoff {
    /// A series whose first wait is at most `first` and whose waits never exceed `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, tries: 0 }
    }

    /// How long to wait before the next try.
    pub fn wait(&mut self) -> Duration {
        let bound = self.first.saturating_mul(1 << self.tries.min(20)).min(self.max);
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(rand::rng().random_range(0.1..=1.0))
    }

    /// How many waits were handed out since the last success.
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// A try succeeded.
    pub const fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_start_again_after_a_success() {
        let (first, max) = (Duration::from_millis(10), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, max);
        for n in 0..200 {
            let bound = first.saturating_mul(1 << n.min(20)).min(max);
            let wait = backoff.wait();
            assert!(wait <= bound && wait >= bound.mul_f64(0.099), "{n}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
    }
}

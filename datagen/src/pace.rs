//! When the next change is due: the n-th at n / rate after the start, so that a late one does not make the later ones late.

use std::time::Duration;
use tokio::time::Instant;

/// A schedule of equal steps.
pub struct Pace {
    origin: Instant,
    changes_per_second: f64,
    due: u32,
}

impl Pace {
    /// The first change is due at `origin`.
    pub fn new(origin: Instant, changes_per_second: f64) -> Self {
        Self { origin, changes_per_second, due: 0 }
    }

    /// When the next change is due; in the past while behind.
    pub fn next(&mut self) -> Instant {
        // The origin moves on now and then, so that neither the count nor the rounding of a long run matters.
        if f64::from(self.due) >= self.changes_per_second * 60.0 {
            self.origin += self.offset();
            self.due = 0;
        }
        let at = self.origin + self.offset();
        self.due += 1;
        at
    }

    /// Forgets what was missed: after an outage the rate goes on, without a burst to make up for it.
    pub fn resume(&mut self, now: Instant) {
        self.origin = now;
        self.due = 0;
    }

    fn offset(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.due) / self.changes_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_does_not_drift() {
        let origin = Instant::now();
        let mut pace = Pace::new(origin, 3.0);
        let last = (0..=3 * 3_600).map(|_| pace.next()).last();
        let drift = last.map(|last| (last - origin).abs_diff(Duration::from_secs(3_600)));
        assert!(drift < Some(Duration::from_micros(1)), "{drift:?}");
    }

    #[test]
    fn an_outage_is_not_made_up_for() {
        let origin = Instant::now();
        let mut pace = Pace::new(origin, 10.0);
        pace.next();
        let back = origin + Duration::from_secs(100);
        pace.resume(back);
        assert_eq!([pace.next(), pace.next()], [back, back + Duration::from_millis(100)]);
    }
}

//! Small measurements with a fixed size: counts per second or minute, and the percentiles of the most recent values.

use std::collections::VecDeque;

use serde::Serialize;

/// Counts in the most recent `length` slots of `slot_us` each; what is older is forgotten.
#[derive(Debug, Clone)]
pub struct Series {
    slot_us: i64,
    length: i64,
    /// (slot number, count), ascending; slots without events are not kept.
    counts: VecDeque<(i64, u64)>,
}

impl Series {
    /// A series without events.
    #[must_use]
    pub fn new(slot_us: i64, length: u16) -> Self {
        Self { slot_us, length: length.into(), counts: VecDeque::new() }
    }

    /// Counts `events` at `at_us`. A clock that went back counts into the newest slot: order is worth more than its error.
    pub fn add(&mut self, at_us: i64, events: u64) {
        let slot = at_us.div_euclid(self.slot_us);
        match self.counts.back_mut() {
            Some((newest, count)) if *newest >= slot => *count += events,
            _ => self.counts.push_back((slot, events)),
        }
        let newest = self.counts.back().map_or(slot, |(newest, _)| *newest);
        while self.counts.front().is_some_and(|(oldest, _)| *oldest <= newest - self.length) {
            self.counts.pop_front();
        }
    }

    /// One count per slot, oldest first, the last being the slot of `now_us`.
    #[must_use]
    pub fn values(&self, now_us: i64) -> Vec<u64> {
        let last = now_us.div_euclid(self.slot_us);
        let mut values = vec![0; usize::try_from(self.length).unwrap_or(0)];
        for (slot, count) in &self.counts {
            let place = usize::try_from(self.length - 1 - (last - slot));
            if let Some(value) = place.ok().and_then(|place| values.get_mut(place)) {
                *value = *count;
            }
        }
        values
    }
}

/// The most recent values of a quantity in microseconds, to take percentiles of.
#[derive(Debug, Clone)]
pub struct Recent {
    values_us: VecDeque<i64>,
    values_max: usize,
}

/// Percentiles in milliseconds, by nearest rank: each is a value that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the values are at most this.
    pub p50: f64,
    /// 95 of 100 values are at most this.
    pub p95: f64,
    /// 99 of 100 values are at most this.
    pub p99: f64,
    /// The largest value.
    pub max: f64,
    /// How many values these are taken of.
    pub samples: usize,
}

impl Recent {
    /// Keeps the last `values_max` values.
    #[must_use]
    pub fn new(values_max: usize) -> Self {
        Self { values_us: VecDeque::new(), values_max }
    }

    /// Adds the newest value and forgets the oldest beyond the limit.
    pub fn push(&mut self, value_us: i64) {
        if self.values_us.len() >= self.values_max {
            self.values_us.pop_front();
        }
        self.values_us.push_back(value_us);
    }

    /// `None` while there are no values.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        let mut sorted: Vec<i64> = self.values_us.iter().copied().collect();
        sorted.sort_unstable();
        let samples = sorted.len();
        let at = |percent: usize| {
            let rank = (samples * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().map(milliseconds)
        };
        Some(Percentiles { p50: at(50)?, p95: at(95)?, p99: at(99)?, max: at(100)?, samples })
    }
}

/// Exact to the microsecond for anything below 285 years.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn milliseconds(value_us: i64) -> f64 {
    value_us as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_fall_into_their_slot_and_out_of_the_window() {
        let mut series = Series::new(1_000_000, 4);
        assert_eq!(series.values(9_000_000), [0, 0, 0, 0]);
        series.add(1_000_000, 1);
        series.add(1_999_999, 2);
        series.add(3_500_000, 5);
        assert_eq!(series.values(3_900_000), [0, 3, 0, 5]);
        assert_eq!(series.values(5_000_000), [0, 5, 0, 0]);
        series.add(60_000_000, 7);
        assert_eq!(series.values(60_000_000), [0, 0, 0, 7]);
        assert_eq!(series.counts.len(), 1);
    }

    #[test]
    fn a_clock_that_goes_back_loses_no_event() {
        let mut series = Series::new(1_000_000, 4);
        series.add(10_000_000, 1);
        series.add(8_000_000, 1);
        assert_eq!(series.values(10_000_000), [0, 0, 0, 2]);
        assert_eq!(series.values(8_000_000), [0, 0, 0, 0]);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut recent = Recent::new(200);
        assert_eq!(recent.percentiles(), None);
        for value in (1..=200).rev() {
            recent.push(value * 1000);
        }
        let expected = Percentiles { p50: 100.0, p95: 190.0, p99: 198.0, max: 200.0, samples: 200 };
        assert_eq!(recent.percentiles(), Some(expected));
        let mut one = Recent::new(10);
        one.push(-1500);
        assert_eq!(one.percentiles().unwrap().p50, -1.5);
        assert_eq!(one.percentiles().unwrap().p99, -1.5);
    }

    #[test]
    fn the_oldest_values_are_forgotten() {
        let mut recent = Recent::new(2);
        for value in [900, 1, 2] {
            recent.push(value * 1000);
        }
        assert_eq!(recent.percentiles().unwrap().max, 2.0);
    }
}

//! How fast a replay goes, and what is shown of it.

use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

const SHOW_EVERY: Duration = Duration::from_secs(10);
const SHOW_ON_A_TERMINAL_EVERY: Duration = Duration::from_secs(1);

/// Counts events, holds them back, shows them.
pub struct Pace {
    rate: u32,
    began: Instant,
    due: Instant,
    shown: Instant,
    show_every: Duration,
    sent: u64,
}

impl Pace {
    /// Nothing is sent yet.
    pub fn new(rate: u32) -> Self {
        let now = Instant::now();
        let show_every = if std::io::stdout().is_terminal() { SHOW_ON_A_TERMINAL_EVERY } else { SHOW_EVERY };
        Self { rate, began: now, due: now, shown: now, show_every, sent: 0 }
    }

    /// How many events go out together: a tenth of a second's.
    pub fn chunk(&self) -> usize {
        usize::try_from(self.rate / 10).unwrap_or(usize::MAX).max(1)
    }

    /// Events that were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Waits until more may be sent.
    pub async fn wait(&self) {
        sleep_until(self.due).await;
    }

    /// So many went out. What an outage held back is not made up for.
    pub fn count(&mut self, events: usize) {
        self.count_at(events, Instant::now());
    }

    fn count_at(&mut self, events: usize, now: Instant) {
        self.sent += events as u64;
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.due = self.due.max(now) + Duration::from_secs_f64(f64::from(events) / f64::from(self.rate));
    }

    /// Shows how far it is, if it is time to. `done` of `total` is in what is read: records, or rows; nothing where the total is unknown.
    pub fn show(&mut self, done: i64, total: Option<i64>) {
        if self.shown.elapsed() < self.show_every {
            return;
        }
        self.shown = Instant::now();
        let line = line(self.sent, self.began.elapsed(), done, total);
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// `1234 events, 98/s, 50 %, 13 s left`. The rest is expected to take as long for each record as what is done.
fn line(sent: u64, took: Duration, done: i64, total: Option<i64>) -> String {
    let seconds = took.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "shown to people")]
    let (sent_f, done_f, total_f) = (sent as f64, done as f64, total.unwrap_or(0) as f64);
    let mut line = format!("{sent} events, {:.0}/s", if seconds > 0.0 { sent_f / seconds } else { 0.0 });
    if total_f > 0.0 {
        let share = (done_f / total_f).clamp(0.0, 1.0);
        line += &format!(", {:.0} %", share * 100.0);
        if share > 0.0 {
            line += &format!(", {:.0} s left", seconds / share * (1.0 - share));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_count_rate_share_and_rest() {
        let took = Duration::from_secs(10);
        assert_eq!(line(1_000, took, 250, Some(1_000)), "1000 events, 100/s, 25 %, 30 s left");
        assert_eq!(line(1_000, took, 1_000, None), "1000 events, 100/s");
        assert_eq!(line(0, Duration::ZERO, 0, Some(10)), "0 events, 0/s, 0 %");
        // An estimate may be too small.
        assert_eq!(line(30, took, 30, Some(20)), "30 events, 3/s, 100 %, 0 s left");
    }

    #[test]
    fn no_more_go_out_than_the_rate_allows_and_an_outage_is_not_made_up_for() {
        let mut pace = Pace::new(100);
        assert_eq!(pace.chunk(), 10);
        let began = pace.due;
        for n in 0..50 {
            // Each call returns at once.
            pace.count_at(10, began + Duration::from_millis(100 * n));
        }
        assert_eq!((pace.due - began, pace.sent()), (Duration::from_secs(5), 500));
        // An outage of a minute within a call.
        let back = pace.due + Duration::from_secs(60);
        pace.count_at(10, back);
        assert_eq!(pace.due - back, Duration::from_millis(100));
    }
}

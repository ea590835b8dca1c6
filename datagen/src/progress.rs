//! How far it is: one line that renews itself on a terminal, a line every ten seconds elsewhere.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;
use tokio::time::Instant;

/// What was committed.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// Events added.
    pub inserts: u64,
    /// Events corrected.
    pub updates: u64,
    /// Events deleted.
    pub deletes: u64,
}

impl Counts {
    fn total(self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

/// The line, and when it is due.
pub struct Progress {
    began: Instant,
    shown_at: Instant,
    shown_total: u64,
    on_terminal: bool,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new(now: Instant) -> Self {
        Self { began: now, shown_at: now, shown_total: 0, on_terminal: stdout().is_terminal() }
    }

    /// Shows the line if it is due.
    pub fn show(&mut self, now: Instant, counts: Counts) {
        let since = now.duration_since(self.shown_at);
        if since < if self.on_terminal { Duration::from_secs(1) } else { Duration::from_secs(10) } {
            return;
        }
        let text = line(counts, now.duration_since(self.began), counts.total() - self.shown_total, since);
        if self.on_terminal {
            print!("\r{text}\x1b[K");
            // A terminal that went away is no reason to stop.
            let _ = stdout().flush();
        } else {
            println!("{text}");
        }
        self.shown_at = now;
        self.shown_total = counts.total();
    }

    /// The last line: the whole run.
    pub fn finish(&self, now: Instant, counts: Counts) {
        let whole = now.duration_since(self.began);
        println!("{}{}", if self.on_terminal { "\r\x1b[K" } else { "" }, line(counts, whole, counts.total(), whole));
    }
}

fn line(counts: Counts, elapsed: Duration, recent: u64, since: Duration) -> String {
    let Counts { inserts, updates, deletes } = counts;
    let rate = recent as f64 / since.as_secs_f64().max(0.001);
    format!("{inserts} inserted, {updates} updated, {deletes} deleted in {:.0} s, {rate:.1}/s", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_the_counts_and_the_recent_rate() {
        let counts = Counts { inserts: 970, updates: 20, deletes: 10 };
        let text = line(counts, Duration::from_secs(50), 200, Duration::from_secs(10));
        assert_eq!(text, "970 inserted, 20 updated, 10 deleted in 50 s, 20.0/s");
    }
}

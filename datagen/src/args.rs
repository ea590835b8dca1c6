//! The command line: `datagen engagement --rate 20 --duration 60s --updates 0.02 --deletes 0.01 --seed 7`.

use clap::{Parser, Subcommand};
use std::time::Duration;

/// Highest rate that is accepted, in changes per second.
const RATE_MAX: f64 = 100_000.0;

/// Writes believable demo events to Postgres
#[derive(Parser)]
#[command(version)]
pub struct Args {
    /// Which demo to play.
    #[command(subcommand)]
    pub demo: Demo,
}

/// The demos there are.
#[derive(Subcommand)]
pub enum Demo {
    /// People play, pause, finish and click: rows of engagement_events
    Engagement(Settings),
}

/// What one run does.
#[derive(clap::Args)]
pub struct Settings {
    /// Changes per second
    #[arg(long, default_value = "20", value_parser = rate)]
    pub rate: f64,

    /// Stop after this long, such as 500ms, 60s, 10m or 2h; without it, run until told to stop
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,

    /// Share of the changes that correct a recent event instead of adding one
    #[arg(long, default_value = "0.02", value_parser = share)]
    pub updates: f64,

    /// Share of the changes that delete a recent event instead of adding one
    #[arg(long, default_value = "0.01", value_parser = share)]
    pub deletes: f64,

    /// The same seed and content give the same events; chosen and printed when absent
    #[arg(long)]
    pub seed: Option<u64>,

    /// Where to write: postgres://role:password@host:port/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("a number above 0 and up to {RATE_MAX} is needed")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=0.5).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 0.5 is needed".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let millis_each = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a whole number with its unit is needed: ms, s, m or h".into()),
    };
    let count: u64 = digits.parse().map_err(|_| format!("'{digits}' is no whole number"))?;
    let millis = count.checked_mul(millis_each).filter(|millis| *millis > 0);
    millis.map(Duration::from_millis).ok_or_else(|| "out of range".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("60s").unwrap(), Duration::from_secs(60));
        assert_eq!(duration("10m").unwrap(), Duration::from_secs(600));
        assert_eq!(duration("2h").unwrap(), Duration::from_secs(7200));
        for bad in ["", "60", "s", "1.5s", "-1s", "0s", "1d", "s60", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_of_the_readme_parses_and_bad_values_do_not() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        let url = "--database-url postgres://localhost/x";
        let line = format!("datagen engagement --rate 20 --duration 60s --updates 0.02 --deletes 0.01 --seed 7 {url}");
        let Args { demo: Demo::Engagement(settings) } = parse(&line).unwrap();
        assert_eq!((settings.rate, settings.updates, settings.deletes, settings.seed), (20.0, 0.02, 0.01, Some(7)));
        for bad in ["--rate 0", "--rate nan", "--rate inf", "--updates 0.6", "--deletes -0.1"] {
            assert!(parse(&format!("datagen engagement {bad} {url}")).is_err(), "{bad}");
        }
    }
}

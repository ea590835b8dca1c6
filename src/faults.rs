//! Faults that tests ask for: points at which the process dies, and protections that are switched off, one or several, chosen at run time.
//!
//! Only a build with the feature `faults` has them; in every other [`holds`] is true, [`reach`] does nothing and [`VARIABLE`] is not read. The
//! variable holds words: `kill=before_call:17` dies when that point is reached for the 17th time, `stop=before_call:17` stands still there until SIGCONT,
//! `off=mark` switches a protection off, `clock=-240` puts the process's clock back by that many seconds.

#[cfg(not(feature = "faults"))]
use std::time::Duration;

/// A rule without which results go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Redis compares epoch and token before it applies.
    CompareAndSet,
    /// Batches that were read before the last seek are dropped.
    Token,
    /// What Debezium sends again is known by its position.
    Mark,
    /// A null first element under a later commit is a connector that began anew.
    NullFirst,
    /// The window's start is decided by Redis' clock alone.
    Floor,
    /// A snapshot run is known by its LSN and its transaction.
    RunIdentity,
    /// Snapshots and truncates begin an epoch.
    Boundary,
    /// A Redis that restarted begins an epoch.
    RunId,
    /// A lookup row whose key changed while it was loaded is not kept.
    InFlightLoads,
    /// Events of one key are sent one after the other.
    KeyOrder,
}

/// A moment at which the process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A batch is about to be sent.
    BeforeCall,
    /// A ranking's batch is about to be applied by Redis.
    BeforeApply,
    /// The sink has it, and nobody here knows.
    BeforeReply,
    /// It is known, and no offset is committed.
    AfterReply,
    /// A call reached an epoch that is being built.
    Rebuild,
    /// SIGTERM came, and not everything is written.
    Drain,
}

#[cfg(feature = "faults")]
mod chosen {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::{Point, Protection};

    /// Where the faults of a process are chosen.
    pub const VARIABLE: &str = "HIGHWATER_FAULTS";

    const PROTECTIONS: &[(&str, Protection)] = &[
        ("compare_and_set", Protection::CompareAndSet),
        ("token", Protection::Token),
        ("mark", Protection::Mark),
        ("null_first", Protection::NullFirst),
        ("floor", Protection::Floor),
        ("run_identity", Protection::RunIdentity),
        ("boundary", Protection::Boundary),
        ("run_id", Protection::RunId),
        ("in_flight_loads", Protection::InFlightLoads),
        ("key_order", Protection::KeyOrder),
    ];

    const POINTS: &[(&str, Point)] = &[
        ("before_call", Point::BeforeCall),
        ("before_apply", Point::BeforeApply),
        ("before_reply", Point::BeforeReply),
        ("after_reply", Point::AfterReply),
        ("rebuild", Point::Rebuild),
        ("drain", Point::Drain),
    ];

    /// How long a sent SIGSTOP may take to arrive.
    const STOPPED_WITHIN: Duration = Duration::from_millis(500);

    /// What happens at a point.
    #[derive(Clone, Copy)]
    enum End {
        /// As abrupt as SIGKILL: nothing is flushed, closed or said.
        Death,
        /// As SIGSTOP, between two instructions that nobody else could tell apart.
        Standstill,
    }

    struct Faults {
        off: Vec<Protection>,
        end: Option<(End, Point, u64)>,
        clock: (Duration, Duration),
        reached: AtomicU64,
    }

    static FAULTS: LazyLock<Faults> = LazyLock::new(|| read(&std::env::var(VARIABLE).unwrap_or_default()));

    /// A word that means nothing would be a test that tests nothing: the process ends.
    fn read(text: &str) -> Faults {
        let mut faults = Faults { off: Vec::new(), end: None, clock: Default::default(), reached: AtomicU64::new(0) };
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let protection = PROTECTIONS.iter().find(|(known, _)| name == "off" && *known == value);
            let end = [("kill", End::Death), ("stop", End::Standstill)].into_iter().find(|(known, _)| *known == name);
            let end = end.zip(value.split_once(':')).and_then(|((_, end), (point, count))| {
                Some((end, POINTS.iter().find(|(known, _)| *known == point)?.1, count.parse().ok()?))
            });
            let clock = value.parse::<i64>().ok().filter(|_| name == "clock");
            match (protection, end, clock) {
                (Some((_, protection)), ..) => faults.off.push(*protection),
                (_, Some(end), _) => faults.end = Some(end),
                (.., Some(seconds)) => {
                    let by = Duration::from_secs(seconds.unsigned_abs());
                    faults.clock = if seconds < 0 { (Duration::ZERO, by) } else { (by, Duration::ZERO) };
                }
                _ => {
                    eprintln!("{VARIABLE}: nothing is called {word:?}");
                    std::process::exit(2);
                }
            }
        }
        faults
    }

    /// False while a test has it switched off.
    pub fn holds(protection: Protection) -> bool {
        !FAULTS.off.contains(&protection)
    }

    /// How much the clock is ahead, and how much behind.
    pub fn clock_off_by() -> (Duration, Duration) {
        FAULTS.clock
    }

    /// Dies or stands still if a test asked for that.
    pub fn reach(point: Point) {
        let Some((end, chosen, count)) = FAULTS.end else { return };
        if chosen != point || FAULTS.reached.fetch_add(1, Ordering::Relaxed) + 1 != count {
            return;
        }
        match end {
            End::Death => std::process::abort(),
            End::Standstill => {
                let stop = ["-STOP", &std::process::id().to_string()].map(str::to_owned);
                // If it fails, whoever waits for the process to stand still says so.
                let _ = std::process::Command::new("kill").args(stop).status();
                // Any thread may be the one that takes the signal: this one does nothing until it has.
                std::thread::sleep(STOPPED_WITHIN);
            }
        }
    }
}

#[cfg(feature = "faults")]
pub use chosen::{VARIABLE, clock_off_by, holds, reach};

/// It is right.
#[cfg(not(feature = "faults"))]
pub const fn clock_off_by() -> (Duration, Duration) {
    (Duration::ZERO, Duration::ZERO)
}

/// Always.
#[cfg(not(feature = "faults"))]
pub const fn holds(_: Protection) -> bool {
    true
}

/// Nothing.
#[cfg(not(feature = "faults"))]
pub const fn reach(_: Point) {}

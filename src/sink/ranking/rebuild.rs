//! What a rebuild would change: the served epoch at one moment, compared with the Z-set of the records that a rebuild would read up to the same offsets.
//!
//! Compared are every bucket of the window, the totals and the sorted set that users read, at the stored floor. Entries that expired and are not drained yet are in the
//! totals still, and are expected there. Nothing is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use redis::{Value, cmd};

use super::function::{State, Sum};
use super::server::Session;
use super::{Payload, Ranking, epoch};
use crate::progress::Boundary;
use crate::sink::Error;
use crate::sink::webhook::time::rfc3339;
use crate::source::Log;

/// Members that differ and are shown.
const SHOWN_MAX: usize = 50;

/// The served epoch at one moment; nothing without one. KEYS: the internal `state`, the key that users read.
const READ: &str = r"
local letter = redis.call('HGET', KEYS[1], 'served')
if not letter then return {} end
local epoch = string.sub(KEYS[1], 1, -6) .. letter
return {redis.call('HGETALL', epoch), redis.call('HGETALL', epoch .. ':buckets'), redis.call('HGETALL', epoch .. ':totals'),
  redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'), redis.call('EXISTS', epoch .. ':owed')}";

/// Amount in units of 10^-scale, rows.
type Total = (i128, i64);

/// The served epoch at one moment.
#[derive(Debug, Default)]
pub struct Served {
    /// Identifies its topic.
    pub topic: String,
    /// What lies before it counts no more.
    pub boundary: Option<Boundary>,
    /// The window's start, Unix milliseconds.
    pub floor_ms: i64,
    /// The next offset of each partition.
    pub next: BTreeMap<i32, i64>,
    /// By first millisecond and member.
    buckets: HashMap<(i64, String), Total>,
    totals: BTreeMap<String, Total>,
    public: Vec<(String, f64)>,
    /// Rows of dead letters are missing: what is left in a bucket without rows may be theirs, and is kept.
    owes: bool,
}

/// A member that would change: what is there, and what would be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    member: String,
    /// Amounts; none where the member is not in the ranking.
    is: Option<i128>,
    becomes: Option<i128>,
    /// Where it differs: in what users read, else only in what that is made of.
    place: &'static str,
}

/// What a rebuild would change.
#[derive(Debug)]
pub struct Difference {
    floor_ms: i64,
    scale: u8,
    members: usize,
    changes: Vec<Change>,
    sums: (i128, i128),
}

impl<L: Log> Ranking<L> {
    /// What is served now.
    pub async fn served(&self, key: &str) -> Result<Served, Error> {
        let stop = |message: &str, remedy: &str| Error::Stop { message: message.to_owned(), remedy: remedy.to_owned() };
        let mut session = Session::open_to_read(&self.url).await?;
        let mut read = cmd("EVAL_RO");
        read.arg(READ).arg(2).arg(format!("{{{key}}}:state")).arg(key);
        let parts: Vec<Value> = session.call(&read).await?;
        if parts.is_empty() {
            return Err(stop("no ranking is served under this key", "start an engine"));
        }
        type Read = (BTreeMap<String, String>, HashMap<String, String>, HashMap<String, String>, Vec<(String, f64)>, bool);
        let unreadable = || stop("what redis holds of the ranking cannot be read", "replay it without --dry-run: it is built anew");
        let (epoch, buckets, totals, public, owes): Read = redis::from_redis_value(Value::Array(parts)).map_err(|_| unreadable())?;
        let field = |name: &str| epoch.get(name).map_or("", String::as_str);
        if field("fingerprint") != self.layout.fingerprint {
            let remedy = "start an engine with this version, which rebuilds it";
            return Err(stop("the served ranking is another pipeline's, or of another version of this one", remedy));
        }
        let next = epoch.iter().filter_map(|(field, next)| Some((field.strip_prefix("next:")?.parse().ok()?, next.parse().ok()?)));
        Ok(Served {
            topic: field("topic").to_owned(),
            boundary: Boundary::decode(field("boundary")),
            floor_ms: field("floor").parse().map_err(|_| unreadable())?,
            next: next.collect(),
            buckets: buckets
                .iter()
                .filter_map(|(field, sum)| {
                    let (bucket, member) = field.split_once(':')?;
                    Some(((bucket.parse().ok()?, member.to_owned()), total(sum)))
                })
                .collect(),
            totals: totals.iter().map(|(member, sum)| (member.clone(), total(sum))).collect(),
            public,
            owes,
        })
    }

    /// From when on a rebuild reads at this floor: what the window needs, or from further back.
    pub fn since_ms(&self, floor_ms: i64, from_ms: Option<i64>) -> Result<i64, Error> {
        epoch::since_ms(&self.layout, floor_ms, from_ms)
    }

    /// Decimal digits of an amount.
    pub const fn scale(&self) -> u8 {
        self.layout.scale
    }

    /// Refuses a start that is later than the window needs, before anything is changed.
    pub(super) fn check_from(&self, state: &State, from_ms: Option<i64>) -> Result<(), Error> {
        let floor_ms = epoch::floor_ms(&self.layout, state, &self.layout.fingerprint);
        self.since_ms(floor_ms, from_ms).map(drop)
    }
}

/// `'<amount> <rows>'`; what is something else counts as nothing, and differs.
fn total(text: &str) -> Total {
    let parts = text.split_once(' ').and_then(|(amount, rows)| Some((amount.parse().ok()?, rows.parse().ok()?)));
    parts.unwrap_or_default()
}

impl Served {
    /// Compares with the Z-set of a rebuild.
    pub fn difference(&self, rebuilt: &Payload, scale: u8) -> Difference {
        let mut buckets: HashMap<(i64, &str), Total> = HashMap::new();
        let is_kept = |sum: Sum| sum.rows != 0 || self.owes && sum.amount != 0;
        for (bucket_ms, member, sum) in rebuilt.entries().filter(|(bucket_ms, _, sum)| *bucket_ms >= self.floor_ms && is_kept(*sum)) {
            buckets.insert((bucket_ms, member), (sum.amount, sum.rows));
        }
        // What is not drained yet is in both.
        for ((bucket_ms, member), sum) in self.buckets.iter().filter(|((bucket_ms, _), _)| *bucket_ms < self.floor_ms) {
            buckets.insert((*bucket_ms, member), *sum);
        }
        let mut becomes: BTreeMap<&str, Total> = BTreeMap::new();
        for ((_, member), (amount, rows)) in &buckets {
            let total = becomes.entry(member).or_default();
            *total = (total.0 + amount, total.1 + rows);
        }
        becomes.retain(|_, total| *total != (0, 0));
        let stored: HashMap<(i64, &str), Total> = self.buckets.iter().map(|((ms, member), sum)| ((*ms, member.as_str()), *sum)).collect();
        let mut held: BTreeMap<&str, i128> = BTreeMap::new();
        let mut in_buckets: BTreeSet<&str> = BTreeSet::new();
        for (place, sum) in &stored {
            *held.entry(place.1).or_default() += sum.0;
            if buckets.get(place) != Some(sum) {
                in_buckets.insert(place.1);
            }
        }
        in_buckets.extend(buckets.keys().filter(|place| !stored.contains_key(*place)).map(|(_, member)| *member));
        let unit = 10_f64.powi(i32::from(scale));
        #[allow(clippy::cast_possible_truncation, reason = "totals stay below 2^53")]
        let read: BTreeMap<&str, i128> =
            self.public.iter().map(|(member, score)| (member.as_str(), (score * unit).round() as i128)).collect();
        let members: BTreeSet<&str> =
            becomes.keys().chain(read.keys()).chain(held.keys()).copied().chain(self.totals.keys().map(String::as_str)).collect();
        let mut changes = Vec::new();
        for member in &members {
            let new = becomes.get(member).copied();
            let ranked = new.filter(|(_, rows)| *rows > 0).map(|(amount, _)| amount);
            let (read, total) = (read.get(member).copied(), self.totals.get(*member).copied());
            let (is, place) = match () {
                () if read != ranked => (read, "what users read"),
                () if total != new => (total.map(|(amount, _)| amount), "its total"),
                () if in_buckets.contains(member) => (held.get(member).copied(), "its buckets"),
                () => continue,
            };
            changes.push(Change { member: (*member).to_owned(), is, becomes: new.map(|(amount, _)| amount).or(ranked), place });
        }
        changes.sort_by_key(|change| (std::cmp::Reverse(change.by().abs()), change.member.clone()));
        let sums = (read.values().sum(), becomes.values().filter(|(_, rows)| *rows > 0).map(|(amount, _)| amount).sum());
        Difference { floor_ms: self.floor_ms, scale, members: members.len(), changes, sums }
    }
}

impl Change {
    fn by(&self) -> i128 {
        self.becomes.unwrap_or(0) - self.is.unwrap_or(0)
    }
}

impl Difference {
    /// Nothing would change.
    pub fn is_none(&self) -> bool {
        self.changes.is_empty()
    }

    /// For people: one line, then the members that would change, the largest change first, at most [`SHOWN_MAX`] of them.
    pub fn render(&self, name: &str) -> String {
        let from = rfc3339(self.floor_ms.saturating_mul(1000)).unwrap_or_else(|| self.floor_ms.to_string());
        if self.is_none() {
            return format!("{name}: equal, a rebuild would change none of {} members since {from}\n", self.members);
        }
        let amount = |units: i128| decimal(units, self.scale);
        let mut out = format!(
            "{name}: a rebuild would change {} of {} members since {from}; their sum from {} to {}\n",
            self.changes.len(),
            self.members,
            amount(self.sums.0),
            amount(self.sums.1)
        );
        let shown = &self.changes[..self.changes.len().min(SHOWN_MAX)];
        let width = shown.iter().map(|change| change.member.chars().count()).max().unwrap_or(0).max("member".len());
        let _ = writeln!(out, "{:width$}  {:>20}  {:>20}  {:>20}  differs in", "member", "is", "becomes", "by");
        let side = |units: Option<i128>| units.map_or_else(|| "-".to_owned(), amount);
        for change in shown {
            let by = change.by();
            let sign = if by > 0 { "+" } else { "" };
            let (is, becomes, by) = (side(change.is), side(change.becomes), format!("{sign}{}", amount(by)));
            let _ = writeln!(out, "{:width$}  {is:>20}  {becomes:>20}  {by:>20}  {}", change.member, change.place);
        }
        if self.changes.len() > SHOWN_MAX {
            let _ = writeln!(out, "and {} more", self.changes.len() - SHOWN_MAX);
        }
        out
    }
}

/// Units of 10^-scale, with the point.
pub fn decimal(units: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let (sign, point) = (if units < 0 { "-" } else { "" }, if scale > 0 { "." } else { "" });
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: i64 = 10_000;

    /// Members `a`, with an entry that expired, and `b`, whose rows are withdrawn; everything as it should be.
    fn served() -> Served {
        let bucket = |ms, member: &str, sum| ((ms, member.to_owned()), sum);
        Served {
            floor_ms: FLOOR,
            buckets: [
                bucket(9_000, "a", (5, 1)),
                bucket(10_000, "a", (1_500, 2)),
                bucket(11_000, "a", (250, 1)),
                bucket(11_000, "b", (-70, -1)),
            ]
            .into(),
            totals: [("a".to_owned(), (1_755, 4)), ("b".to_owned(), (-70, -1))].into(),
            public: vec![("a".to_owned(), 1.755)],
            ..Served::default()
        }
    }

    fn rebuilt() -> Payload {
        let sum = |amount, rows| Sum { amount, rows, came: 1 };
        Payload::of([
            // Below the floor: late.
            (8_000, "a", sum(99, 1)),
            (10_000, "a", sum(1_500, 2)),
            (11_000, "a", sum(250, 1)),
            (11_000, "b", sum(-70, -1)),
            (11_000, "gone", sum(0, 0)),
        ])
    }

    #[test]
    fn what_is_as_a_rebuild_would_make_it_is_equal() {
        let found = served().difference(&rebuilt(), 3);
        assert!(found.is_none(), "{found:?}");
        assert!(found.render("p/ranking").starts_with("p/ranking: equal, a rebuild would change none of 2 members"));
    }

    /// A row was withdrawn whose insert was parked, and another one came.
    #[test]
    fn what_is_left_of_a_bucket_is_kept_as_long_as_rows_are_owed() {
        let rebuilt = || Payload::of([(10_000, "a", Sum { amount: 3, rows: 0, came: 2 })]);
        let left = || Served {
            buckets: [((10_000, "a".to_owned()), (3, 0))].into(),
            totals: [("a".to_owned(), (3, 0))].into(),
            ..Served::default()
        };
        assert!(Served { owes: true, ..left() }.difference(&rebuilt(), 3).is_none());
        assert_eq!(left().difference(&rebuilt(), 3).changes.len(), 1);
        assert!(Served::default().difference(&rebuilt(), 3).is_none());
    }

    #[test]
    fn each_place_is_compared_and_the_largest_change_is_first() {
        let mut damaged = served();
        damaged.public.push(("nobody".to_owned(), 5.0));
        damaged.totals.insert("b".to_owned(), (-71, -1));
        *damaged.buckets.get_mut(&(10_000, "a".to_owned())).unwrap() = (1_501, 2);
        let found = damaged.difference(&rebuilt(), 3);
        let change = |member: &str, is, becomes, place| Change { member: member.to_owned(), is, becomes, place };
        let expected = [
            change("nobody", Some(5_000), None, "what users read"),
            change("a", Some(1_756), Some(1_755), "its buckets"),
            change("b", Some(-71), Some(-70), "its total"),
        ];
        assert_eq!(found.changes, expected);
        let text = found.render("p/ranking");
        assert!(text.contains("change 3 of 3 members") && text.contains("from 6.755 to 1.755") && text.contains("-5.000"), "{text}");
        // Two wrong buckets whose sum is right.
        let mut damaged = served();
        *damaged.buckets.get_mut(&(10_000, "a".to_owned())).unwrap() = (1_499, 2);
        *damaged.buckets.get_mut(&(11_000, "a".to_owned())).unwrap() = (251, 1);
        assert_eq!(damaged.difference(&rebuilt(), 3).changes, [change("a", Some(1_755), Some(1_755), "its buckets")]);
        // A member that is missing.
        let mut damaged = served();
        damaged.public.clear();
        assert_eq!(damaged.difference(&rebuilt(), 3).changes, [change("a", None, Some(1_755), "what users read")]);
    }

    #[test]
    fn amounts_are_shown_with_their_point() {
        for (units, scale, text) in [(1_755, 3, "1.755"), (-5, 3, "-0.005"), (0, 2, "0.00"), (12, 0, "12"), (-100, 2, "-1.00")] {
            assert_eq!(decimal(units, scale), text);
        }
    }
}

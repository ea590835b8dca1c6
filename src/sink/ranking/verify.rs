//! Whether a ranking that is live says what SQL says.
//!
//! Compared with SQL are rows of a closed stretch of the window: from its start to the last bucket that has begun, amounts and counts of rows by
//! member, in units of 10^-scale. The sorted set that users read, and the totals behind it, are compared with the buckets they are made of. Both sides change while they are read, and the ranking is milliseconds behind: what differs is looked at again, and only what
//! goes on differing counts. Nothing is written to either side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use redis::cmd;
use sqlx::{AssertSqlSafe, Row as _};

use super::config::{Layout, Slot};
use super::rebuild::decimal;
use super::server::Session;
use crate::catalog::{self, Database};
use crate::lookup::postgres::{cast_differs, quoted};
use crate::sink::Error;
use crate::sink::webhook::time::rfc3339;

/// Looks at a difference, the first one included.
const LOOKS_MAX: usize = 6;
/// Members that differ and are shown.
const SHOWN_MAX: usize = 50;
/// How long between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The served epoch at one moment, and the server's time; nothing without an epoch. KEYS: the internal `state`, the key that users read.
const READ: &str = r"
local letter = redis.call('HGET', KEYS[1], 'served')
if not letter then return {} end
local epoch = string.sub(KEYS[1], 1, -6) .. letter
return {redis.call('HGET', epoch, 'fingerprint'), redis.call('HGET', epoch, 'floor'), redis.call('TIME')[1],
  redis.call('HGETALL', epoch .. ':buckets'), redis.call('HGETALL', epoch .. ':totals'), redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')}";

/// What one member comes to: amount in units of 10^-scale, rows.
pub type Total = (i128, i64);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The stretch, Unix milliseconds: from the first, before the second.
    pub stretch_ms: (i64, i64),
    /// Decimal digits of an amount.
    pub scale: u8,
    /// Members that were compared.
    pub members: usize,
    /// Members that go on differing: what the ranking has, what SQL has.
    pub differ: BTreeMap<String, (Total, Total)>,
    /// Members whose place in the sorted set, or total, goes on being another one than their buckets make: what is read, and what should be, in units.
    pub misread: BTreeMap<String, (Option<i128>, Option<i128>)>,
}

/// The ranking at one moment.
struct Looked {
    stretch_ms: (i64, i64),
    members: BTreeMap<String, Total>,
    misread: BTreeMap<String, (Option<i128>, Option<i128>)>,
}

impl Verified {
    /// Nothing differs.
    pub fn is_equal(&self) -> bool {
        self.differ.is_empty() && self.misread.is_empty()
    }

    /// Members that differ, in either way, each once.
    pub fn differing(&self) -> impl Iterator<Item = &str> {
        let members: BTreeSet<&str> = self.differ.keys().chain(self.misread.keys()).map(String::as_str).collect();
        members.into_iter()
    }

    /// The largest difference of a member, in units of 10^-scale.
    pub fn largest(&self) -> i128 {
        let differ = self.differ.values().map(|(is, should)| is.0.saturating_sub(should.0).saturating_abs());
        let misread = self.misread.values().map(|(is, should)| (is.unwrap_or(0) - should.unwrap_or(0)).abs());
        differ.chain(misread).max().unwrap_or(0)
    }

    /// For people: one line, then a table of what differs, at most [`SHOWN_MAX`] members of it.
    pub fn render(&self, name: &str) -> String {
        let moment = |ms: i64| rfc3339(ms.saturating_mul(1000)).unwrap_or_else(|| ms.to_string());
        let (from, until) = (moment(self.stretch_ms.0), moment(self.stretch_ms.1));
        let mut out = format!(
            "{name}: {} of {} members differ from SQL, from {from} to {until}; {} are shown with another score than is counted\n",
            self.differ.len(),
            self.members,
            self.misread.len()
        );
        if self.is_equal() {
            return format!("{name}: equal, {} members, from {from} to {until}\n", self.members);
        }
        let score = |amount: i128| decimal(amount, self.scale);
        let shown_score = |amount: Option<i128>| amount.map_or_else(|| "nothing".to_owned(), score);
        for (member, (is, should)) in self.misread.iter().take(SHOWN_MAX) {
            let _ = writeln!(out, "{member}: readers get {}, its rows come to {}", shown_score(*is), shown_score(*should));
        }
        if self.differ.is_empty() {
            return out;
        }
        let shown: Vec<_> = self.differ.iter().take(SHOWN_MAX).collect();
        let width = shown.iter().map(|(member, _)| member.chars().count()).max().unwrap_or(0).max("member".len());
        let _ = writeln!(
            out,
            "{:width$}  {:>20}  {:>20}  {:>16}  {:>12}  {:>12}",
            "member", "ranking", "SQL", "difference", "rows", "SQL's rows"
        );
        for (member, (ranking, table)) in shown {
            let difference = ranking.0.saturating_sub(table.0);
            let sign = if difference > 0 { "+" } else { "" };
            let (is, expected, difference) = (score(ranking.0), score(table.0), format!("{sign}{}", score(difference)));
            let _ = writeln!(out, "{member:width$}  {is:>20}  {expected:>20}  {difference:>16}  {:>12}  {:>12}", ranking.1, table.1);
        }
        if self.differ.len() > SHOWN_MAX {
            let _ = writeln!(out, "and {} more", self.differ.len() - SHOWN_MAX);
        }
        out
    }
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Redis.
    #[error("{0}")]
    Redis(#[from] Error),
    /// Postgres.
    #[error("{0}")]
    Postgres(#[from] catalog::Error),
    /// There is no ranking of this pipeline.
    #[error("{0}")]
    NoRanking(&'static str),
}

/// A ranking, and the SELECT it must equal.
pub struct Verifier<'a> {
    /// Where the ranking is.
    pub session: Session,
    /// The key that users read.
    pub key: &'a str,
    /// How rows become amounts.
    pub layout: &'a Layout,
    /// Where the rows are.
    pub database: Database,
    /// The pipeline's SELECT.
    pub sql: &'a str,
}

impl Verifier<'_> {
    /// Compares until nothing differs, or goes on differing.
    pub async fn verify(mut self) -> Result<Verified, Failure> {
        let mut found = self.look().await?;
        for _ in 1..LOOKS_MAX {
            if found.is_equal() {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let again = self.look().await?;
            let differ = again.differ.into_iter().filter(|(member, _)| found.differ.contains_key(member)).collect();
            let misread = again.misread.into_iter().filter(|(member, _)| found.misread.contains_key(member)).collect();
            found = Verified { differ, misread, ..again };
        }
        self.database.close().await;
        Ok(found)
    }

    async fn look(&mut self) -> Result<Verified, Failure> {
        let Looked { stretch_ms, members: ranking, misread } = self.ranking().await?;
        let table = self.table(stretch_ms).await?;
        let members: BTreeSet<&String> = ranking.keys().chain(table.keys()).collect();
        let total = |side: &BTreeMap<String, Total>, member: &String| side.get(member).copied().unwrap_or_default();
        let both = members.iter().map(|member| ((*member).clone(), (total(&ranking, member), total(&table, member))));
        let differ = both.filter(|(_, (ranking, table))| ranking != table).collect();
        Ok(Verified { stretch_ms, scale: self.layout.scale, members: members.len(), differ, misread })
    }

    /// What the ranking holds of the stretch, and whether what users read is made of what it holds.
    async fn ranking(&mut self) -> Result<Looked, Failure> {
        type Pairs = Vec<(String, String)>;
        type Read = Option<(String, i64, i64, Pairs, Pairs, Vec<(String, f64)>)>;
        let mut read = cmd("EVAL_RO");
        read.arg(READ).arg(2).arg(format!("{{{}}}:state", self.key)).arg(self.key);
        let parts: Vec<redis::Value> = self.session.call(&read).await?;
        let read: Read = if parts.is_empty() { None } else { redis::from_redis_value(redis::Value::Array(parts)).ok() };
        let (fingerprint, floor_ms, now_seconds, buckets, totals, public) =
            read.ok_or(Failure::NoRanking("no ranking is served under this key"))?;
        if fingerprint != self.layout.fingerprint {
            return Err(Failure::NoRanking("the served ranking is another pipeline's, or of another version of this one"));
        }
        let width_ms = i64::try_from(self.layout.bucket_ms).unwrap_or(i64::MAX);
        let until_ms = (now_seconds * 1000).div_euclid(width_ms) * width_ms;
        let (mut members, mut whole): (BTreeMap<String, Total>, BTreeMap<String, Total>) = Default::default();
        for (field, sum) in &buckets {
            let (Some((bucket, member)), Some((amount, rows))) = (field.split_once(':'), sum.split_once(' ')) else { continue };
            let bucket_ms: i64 = bucket.parse().unwrap_or(i64::MAX);
            let (amount, rows): (i128, i64) = (amount.parse().unwrap_or_default(), rows.parse().unwrap_or_default());
            let add = |totals: &mut BTreeMap<String, Total>| {
                let total = totals.entry(member.to_owned()).or_default();
                *total = (total.0 + amount, total.1 + rows);
            };
            add(&mut whole);
            if (floor_ms..until_ms).contains(&bucket_ms) {
                add(&mut members);
            }
        }
        members.retain(|_, total| *total != (0, 0));
        let misread = misread(&whole, &totals, &public, self.layout.scale);
        Ok(Looked { stretch_ms: (floor_ms, until_ms), members, misread })
    }

    /// What the table comes to, by the pipeline's own SELECT.
    async fn table(&self, (from_ms, until_ms): (i64, i64)) -> Result<BTreeMap<String, Total>, Failure> {
        let Layout { member, score, time, scale, .. } = self.layout;
        let (output, member, score, time) = (output(member), quoted(&member.name), quoted(&score.name), quoted(&time.name));
        let sql = format!(
            "SELECT {output}, (sum(round(q.{score}::numeric, {scale})) * 10::numeric ^ {scale})::numeric(1000, 0)::text, count(q.{score})
             FROM ({}\n) q WHERE q.{member} IS NOT NULL AND q.{score} IS NOT NULL
               AND q.{time}::timestamptz >= to_timestamp({from_ms} / 1000.0) AND q.{time}::timestamptz < to_timestamp({until_ms} / 1000.0)
             GROUP BY 1",
            self.sql.trim().trim_end_matches(';')
        );
        let mut connection = self.database.connection().await?;
        let read = async { sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.map_err(catalog::Error::from) };
        let rows = self.database.within(read).await?;
        let mut members = BTreeMap::new();
        for row in rows {
            let text = |n: usize| row.try_get_unchecked::<String, _>(n).map_err(catalog::Error::from);
            let amount = text(1)?.parse().unwrap_or(i128::MAX);
            members.insert(text(0)?, (amount, text(2)?.parse().unwrap_or_default()));
        }
        Ok(members)
    }
}

/// Members that the sorted set or the totals have otherwise than the buckets, which hold everything that counts and what is not drained yet.
fn misread(
    whole: &BTreeMap<String, Total>,
    totals: &[(String, String)],
    public: &[(String, f64)],
    scale: u8,
) -> BTreeMap<String, (Option<i128>, Option<i128>)> {
    let ranked = |member: &str| whole.get(member).filter(|(_, rows)| *rows > 0).map(|(amount, _)| *amount);
    let unit = 10_f64.powi(i32::from(scale));
    #[allow(clippy::cast_possible_truncation, reason = "totals stay below 2^53")]
    let read: BTreeMap<&str, i128> = public.iter().map(|(member, score)| (member.as_str(), (score * unit).round() as i128)).collect();
    let stored: BTreeMap<&str, i128> = totals
        .iter()
        .filter_map(|(member, total)| total.split_once(' ').filter(|(_, rows)| *rows != "0").map(|(amount, _)| (member.as_str(), amount)))
        .filter_map(|(member, amount)| Some((member, amount.parse().ok()?)))
        .collect();
    let members: BTreeSet<&str> = whole.keys().map(String::as_str).chain(read.keys().copied()).chain(stored.keys().copied()).collect();
    let mut misread = BTreeMap::new();
    for member in members {
        let (should, read, stored) = (ranked(member), read.get(member).copied(), stored.get(member).copied());
        if let Some(wrong) = [read, stored].into_iter().find(|is| *is != should) {
            misread.insert(member.to_owned(), (wrong, should));
        }
    }
    misread
}

/// A member of the query `q` as the ranking knows it, by its output function; it is not NULL.
fn output(member: &Slot) -> String {
    let name = quoted(&member.name);
    if cast_differs(&member.ty) { format!("pg_catalog.concat(q.{name})") } else { format!("q.{name}::text") }
}

#[cfg(test)]
mod tests {
    use highwater_sql::Type;

    use super::*;

    #[test]
    fn members_are_read_as_the_output_function_writes_them() {
        let slot = |ty| Slot { index: 0, name: "a\"b".to_owned(), ty };
        assert_eq!(output(&slot(Type::Text)), r#"q."a""b"::text"#);
        assert_eq!(output(&slot(Type::Bpchar(Some(3)))), r#"pg_catalog.concat(q."a""b")"#);
        assert_eq!(output(&slot(Type::Inet)), r#"pg_catalog.concat(q."a""b")"#);
    }

    #[test]
    fn a_member_counts_once_and_the_largest_difference_is_told() {
        let mut found = Verified { stretch_ms: (0, 1), scale: 3, members: 9, differ: BTreeMap::new(), misread: BTreeMap::new() };
        assert_eq!((found.differing().count(), found.largest()), (0, 0));
        found.differ.insert("a".to_owned(), ((5, 1), (12, 1)));
        found.differ.insert("b".to_owned(), ((1, 1), (1, 2)));
        found.misread.insert("a".to_owned(), (None, Some(3)));
        found.misread.insert("c".to_owned(), (Some(-4), None));
        assert_eq!(found.differing().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(found.largest(), 7);
        found.misread.insert("c".to_owned(), (Some(-4), Some(4)));
        assert_eq!(found.largest(), 8);
    }
}

//! `type = "redis_ranking"`: the section of the pipeline file, and what it means for a SELECT.

use highwater_sql::{Plan, Type};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::{Duration, Problem, SecretUrl};

const SCALE_DEFAULT: u8 = 3;
const SCALE_MAX: u8 = 15;
const AHEAD_DEFAULT: Duration = Duration::from_secs(600);
const KEY_BYTES_MAX: usize = 512;

/// A rolling ranking in Redis: the sum of a score by member over the last `window`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankingConfig {
    /// The sink's name, unique in the pipeline; `ranking` if it is left out.
    pub name: Option<String>,
    /// URL of the Redis that holds it, `redis://user:password@host:port/db`.
    pub redis: SecretUrl,
    /// The sorted set that users read. Internal keys are called `{key}:...` and share its slot.
    pub key: String,
    /// The column of the SELECT whose values are ranked. Rows where it is NULL do not count.
    pub member: String,
    /// The column that is summed. Rows where it is NULL do not count.
    pub score: String,
    /// Decimal digits that each score is rounded to before it is added.
    #[serde(default = "scale_default")]
    pub scale: u8,
    /// The column that says when; rows dated ahead of the clock count at once, NULL never.
    pub time: String,
    /// Length of the window; a multiple of `bucket`.
    pub window: Duration,
    /// The window slides in steps of this.
    pub bucket: Duration,
    /// How far ahead of their commit rows may be dated: a rebuild reads back `window + ahead`.
    #[serde(default = "ahead_default")]
    pub ahead: Duration,
    /// Compare it with SQL now and then while it is live; not at all without the section.
    pub verify: Option<VerifyConfig>,
}

/// `[sink.verify]`: when a live ranking is compared with SQL.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyConfig {
    /// From one comparison to the next.
    pub every: Duration,
    /// How long one statement of it may take.
    #[serde(default = "timeout_default")]
    pub timeout: Duration,
}

impl VerifyConfig {
    /// From the shortest to the longest limit of a statement.
    pub const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(600));
    /// The one that holds where nothing is said.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
}

fn scale_default() -> u8 {
    SCALE_DEFAULT
}

fn ahead_default() -> Duration {
    AHEAD_DEFAULT
}

fn timeout_default() -> Duration {
    VerifyConfig::TIMEOUT_DEFAULT
}

/// A column of the result.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Its place in `Plan::outputs`.
    pub index: usize,
    /// Its name, for errors.
    pub name: String,
    /// Its type.
    pub ty: Type,
}

/// How result rows become amounts: the section, resolved against the SELECT.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What is ranked.
    pub member: Slot,
    /// What is summed.
    pub score: Slot,
    /// When.
    pub time: Slot,
    /// Decimal digits of an amount.
    pub scale: u8,
    /// Milliseconds.
    pub window_ms: u64,
    /// Milliseconds.
    pub bucket_ms: u64,
    /// Milliseconds.
    pub ahead_ms: u64,
    /// What the ranking holds: another one cannot be continued.
    pub fingerprint: String,
}

impl RankingConfig {
    /// Everything that is wrong with the section, given the SELECT it ranks and whether its table only gets inserts.
    pub fn validate(&self, plan: &Plan, append_only: bool) -> Result<(), Vec<Problem>> {
        let mut problems = self.problems();
        if let Some((member, score, time)) = self.slots(plan, &mut problems) {
            let text = |name: &str| format!("write {name}::text in the SELECT");
            if !is_identified_by_its_text(&member.ty) {
                let message = format!("{} is of type {}, whose equal values can have different texts", self.member, member.ty.name());
                problems.push(problem("member", message, text(&self.member)));
            }
            if !score.ty.is_number() {
                let message = format!("{} is of type {}", self.score, score.ty.name());
                problems.push(problem("score", message, "name a column that is a number"));
            }
            if !matches!(time.ty, Type::Timestamp(_) | Type::Timestamptz(_) | Type::Date) {
                let message = format!("{} is of type {}", self.time, time.ty.name());
                problems.push(problem("time", message, "name a column that is a timestamp or a date"));
            }
            if !append_only {
                self.check_lookups(plan, &[("member", &member), ("score", &score), ("time", &time)], &mut problems);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// A row would be withdrawn with another value than it was added with once the lookup row changed.
    fn check_lookups(&self, plan: &Plan, slots: &[(&str, &Slot)], problems: &mut Vec<Problem>) {
        let remedy = "rank by columns of the FROM table, or set source.append_only = true if that table only gets inserts";
        for (key, slot) in slots {
            if plan.outputs[slot.index].reads_lookup {
                problems.push(problem(key, format!("{} reads a lookup table, whose rows change", slot.name), remedy));
            }
        }
        if plan.filter_reads_lookup {
            problems.push(problem("", "WHERE or an INNER JOIN reads a lookup table, whose rows change", remedy));
        }
    }

    /// What is wrong with the section by itself.
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if redis::Client::open(self.redis.expose()).is_err() {
            problems.push(problem("redis", "is not a URL of Redis", "write redis://user:password@host:port/db (without TLS)"));
        }
        if self.key.is_empty() || self.key.len() > KEY_BYTES_MAX || self.key.contains(['{', '}']) {
            let remedy = format!("write 1 to {KEY_BYTES_MAX} bytes without braces: the internal keys put it in braces to share its slot");
            problems.push(problem("key", format!("{:?} cannot be the key of a ranking", self.key), remedy));
        }
        if self.scale > SCALE_MAX {
            problems.push(problem("scale", format!("{} digits are too many", self.scale), format!("write 0 to {SCALE_MAX}")));
        }
        let (window, bucket) = (self.window.as_millis(), self.bucket.as_millis());
        if bucket == 0 {
            problems.push(problem("bucket", "is nothing", "write at least \"1ms\""));
        } else if window == 0 || window % bucket != 0 {
            let message = format!("{} is not a multiple of bucket, {}", self.window, self.bucket);
            problems.push(problem("window", message, "choose a bucket that divides the window"));
        }
        if let Some(verify) = &self.verify {
            for (key, value, min, max) in [
                ("verify.every", verify.every, Duration::from_secs(1), Duration::from_secs(7 * 86_400)),
                ("verify.timeout", verify.timeout, VerifyConfig::TIMEOUTS.0, VerifyConfig::TIMEOUTS.1),
            ] {
                if value < min || value > max {
                    problems.push(problem(key, format!("{value} is out of range"), format!("choose between {min} and {max}")));
                }
            }
        }
        problems
    }

    fn slots(&self, plan: &Plan, problems: &mut Vec<Problem>) -> Option<(Slot, Slot, Slot)> {
        let mut slot = |key: &str, name: &str| {
            let Some(index) = plan.output(name) else {
                let names: Vec<_> = plan.outputs.iter().map(|output| output.name.as_str()).collect();
                problems.push(problem(key, format!("the SELECT has no column {name}"), format!("name one of {}", names.join(", "))));
                return None;
            };
            Some(Slot { index, name: name.to_owned(), ty: plan.outputs[index].ty.clone() })
        };
        let (member, score, time) = (slot("member", &self.member), slot("score", &self.score), slot("time", &self.time));
        Some((member?, score?, time?))
    }

    /// The section against the SELECT; its problems if it is not valid.
    pub fn layout(&self, plan: &Plan, sql: &str) -> Result<Layout, Vec<Problem>> {
        let mut problems = self.problems();
        let slots = self.slots(plan, &mut problems);
        let Some((member, score, time)) = slots.filter(|_| problems.is_empty()) else { return Err(problems) };
        let (window_ms, bucket_ms, ahead_ms) = (self.window.as_millis(), self.bucket.as_millis(), self.ahead.as_millis());
        Ok(Layout { member, score, time, scale: self.scale, window_ms, bucket_ms, ahead_ms, fingerprint: self.fingerprint(sql) })
    }

    /// SHA-256 of what decides the contents, each part with its length so that no two lists of parts are the same bytes.
    fn fingerprint(&self, sql: &str) -> String {
        let numbers = [u64::from(self.scale), self.window.as_millis(), self.bucket.as_millis()].map(|n| n.to_string());
        let parts = [sql, &self.member, &self.score, &self.time].into_iter().chain(numbers.iter().map(String::as_str));
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether two values are equal in Postgres exactly when their texts are: the ranking knows members by their text, GROUP BY by equality.
fn is_identified_by_its_text(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Int2 | Type::Int4 | Type::Int8 | Type::Uuid | Type::Enum(_) | Type::Inet => true,
        Type::Text | Type::Varchar(_) | Type::Bpchar(_) => true,
        Type::Date | Type::Time(_) | Type::Timestamp(_) | Type::Timestamptz(_) => true,
        // Without a declared scale 1.0 and 1.00 are equal.
        Type::Numeric(declared) => declared.is_some(),
        _ => false,
    }
}

fn problem(key: &str, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { key: key.to_owned(), message: message.into(), remedy: remedy.into() }
}

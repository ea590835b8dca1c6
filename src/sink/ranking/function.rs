//! The calls of the Redis Function library: what goes in, what comes out.
//!
//! The library (`redis/highwater.lua`) documents the keys and the arguments; this is the other end of the same wire. Everything is text:
//! Redis' own integers go through doubles in Lua.

use std::collections::{BTreeMap, HashMap};

use redis::{Cmd, FromRedisValue, Value, cmd};

use crate::clock;
use crate::faults::{Protection, holds};
use crate::progress::{Boundary, Mark};
use crate::sink::{Owed, Progress, Sides, Slice};

/// The library, loaded by the engine.
pub const LIBRARY: &str = include_str!("../../../redis/highwater.lua");
/// Its name in Redis.
pub const NAME: &str = "highwater";
/// Its version: `VERSION` in the text.
pub const VERSION: u32 = 2;
/// Distinct (bucket, member) entries in one call.
pub const ENTRIES_MAX: usize = 500;
/// Dead letters that an epoch keeps: some 6 MB in Redis.
pub const OWED_MAX: usize = 100_000;
/// Amounts and totals stay within plus and minus this: 2^53 - 1.
pub const AMOUNT_MAX: i64 = (1 << 53) - 1;
/// A WAL record of COPY holds the rows of one page at most, so a mark has at most a few hundred names of 17 bytes; this is never reached.
const MARK_BYTES_MAX: usize = 64 << 10;

/// Where the time of a call comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The server's own.
    Server,
    /// This Unix time in milliseconds; for tests.
    Fixed(i64),
}

/// The functions, bound to one ranking's keys.
#[derive(Clone, Debug)]
pub struct Functions {
    keys: [String; 14],
    /// Where the time comes from.
    pub clock: Clock,
}

/// What one batch adds to one (bucket, member).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// In units of 10^-scale.
    pub amount: i128,
    /// Rows added minus rows withdrawn.
    pub rows: i64,
    /// Rows that came, either way.
    pub came: u64,
}

/// What an epoch is identified by, beside its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Redis' `run_id`.
    pub run_id: String,
    /// What the pipeline computes.
    pub fingerprint: String,
    /// The topic across deletion and creation.
    pub topic: String,
}

/// An epoch to begin.
#[derive(Clone, Debug)]
pub struct NewEpoch {
    /// Random.
    pub id: String,
    /// The rest of its identity.
    pub identity: Identity,
    /// What lies before it counts no more.
    pub boundary: Option<Boundary>,
    /// Length of the window, milliseconds.
    pub window_ms: u64,
    /// Step of the window, milliseconds.
    pub bucket_ms: u64,
    /// Decimal digits of an amount.
    pub scale: u8,
    /// Start and target offset of every partition.
    pub partitions: BTreeMap<i32, (i64, i64)>,
}

/// Whether a ranking is being rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// There is no epoch.
    None,
    /// Readers see the current epoch.
    Served,
    /// The current epoch is built beside the one that readers see.
    Building,
}

/// The ranking as stored.
#[derive(Clone, Debug)]
pub struct State {
    /// The server's clock, Unix milliseconds.
    pub now_ms: i64,
    /// The epoch that lanes work on: the one being built, else the one served.
    pub current: Option<Epoch>,
}

/// An epoch as stored.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// Random.
    pub id: String,
    /// The rest of its identity.
    pub identity: Identity,
    /// Served or building.
    pub role: Role,
    /// What lies before it counts no more.
    pub boundary: Option<Boundary>,
    /// The window's start, Unix milliseconds.
    pub floor_ms: i64,
    /// How far it is.
    pub progress: BTreeMap<i32, Progress>,
    /// Dead letters that found no room; none where an older version began it, which kept none at all.
    pub unkept: Option<u64>,
}

/// What a call did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The current epoch, empty without one.
    pub epoch: String,
    /// Served or building.
    pub role: Role,
    /// Its window's start, Unix milliseconds.
    pub floor_ms: i64,
    /// Rows that came below the window's start.
    pub late: u64,
    /// The end of the boundary's run was read, or there is none.
    pub ended: bool,
    /// This call made the built epoch the served one.
    pub swapped: bool,
    /// Expired entries, or a lost public key, are left for the next call.
    pub more: bool,
    /// Dead letters of the epoch that found no room.
    pub unkept: u64,
}

/// What a call comes back with.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It happened.
    Done(Done),
    /// Nothing changed: the epoch or a token is another one.
    Moved,
}

impl Functions {
    /// The functions for the ranking that users read at `key`.
    pub fn new(key: &str) -> Self {
        let internal = |name: &str| format!("{{{key}}}:{name}");
        let keys = [
            key.to_owned(),
            internal("state"),
            internal("a"),
            internal("a:totals"),
            internal("a:buckets"),
            internal("a:expiry"),
            internal("a:ranking"),
            internal("a:owed"),
            internal("b"),
            internal("b:totals"),
            internal("b:buckets"),
            internal("b:expiry"),
            internal("b:ranking"),
            internal("b:owed"),
        ];
        Self { keys, clock: Clock::Server }
    }

    /// The same with this clock, Unix milliseconds; for tests.
    #[must_use]
    pub fn at(self, unix_ms: i64) -> Self {
        Self { clock: Clock::Fixed(unix_ms), ..self }
    }

    fn call(&self, command: &str, function: &str) -> Cmd {
        let mut call = cmd(command);
        call.arg(function).arg(self.keys.len()).arg(&self.keys).arg(VERSION);
        match self.clock {
            Clock::Server if !holds(Protection::Floor) => call.arg(clock::unix_us() / 1000),
            Clock::Server => call.arg(""),
            Clock::Fixed(now_ms) => call.arg(now_ms),
        };
        call
    }

    /// Reads the version of the library that is loaded.
    pub fn version() -> Cmd {
        let mut call = cmd("FCALL_RO");
        call.arg("highwater_version").arg(0);
        call
    }

    /// Reads the ranking's state: a [`State`].
    pub fn state(&self) -> Cmd {
        self.call("FCALL_RO", "highwater_state")
    }

    /// Moves the window on: a [`Reply`].
    pub fn tick(&self) -> Cmd {
        self.call("FCALL", "highwater_tick")
    }

    /// Applies a batch to this epoch: a [`Reply`]. `targets` are the high watermarks when the end of the boundary's run was read, else empty;
    /// `owed` are the records that were parked.
    pub fn apply<'a>(
        &self,
        epoch: &str,
        slices: &BTreeMap<i32, Slice>,
        targets: &BTreeMap<i32, i64>,
        owed: &[Owed],
        entries: impl ExactSizeIterator<Item = (i64, &'a str, Sum)>,
    ) -> Cmd {
        let mut call = self.call("FCALL", "highwater_apply");
        call.arg(epoch).arg(slices.len()).arg(targets.len()).arg(owed.len()).arg(entries.len());
        for (partition, slice) in slices {
            call.arg(*partition).arg(slice.token).arg(slice.progress.next).arg(slice.progress.mark.encode(MARK_BYTES_MAX));
        }
        for (partition, high) in targets {
            call.arg(*partition).arg(*high);
        }
        for Owed { partition, offset, sides } in owed {
            let unjudged = sides.is_empty().then_some("?");
            call.arg(coordinates((*partition, *offset))).arg(unjudged.unwrap_or(sides_text(*sides)));
        }
        add_entries(&mut call, entries);
        call
    }

    /// Reads what the current epoch lacks of these records: an [`Owing`].
    pub fn owed(&self, records: &[(i32, i64)]) -> Cmd {
        let mut call = self.call("FCALL_RO", "highwater_owed");
        for record in records {
            call.arg(coordinates(*record));
        }
        call
    }

    /// Counts what was owed of a record: a [`Reply`], `Moved` when this epoch does not owe exactly `owed` of it. `left` stays owed.
    pub fn replay<'a>(
        &self,
        epoch: &str,
        record: (i32, i64),
        owed: Sides,
        left: Sides,
        entries: impl ExactSizeIterator<Item = (i64, &'a str, Sum)>,
    ) -> Cmd {
        let mut call = self.call("FCALL", "highwater_replay");
        call.arg(epoch).arg(coordinates(record)).arg(sides_text(owed)).arg(sides_text(left)).arg(entries.len());
        add_entries(&mut call, entries);
        call
    }

    /// Begins an epoch if `old` (empty: none) is still the current one: a [`Reply`].
    pub fn begin(&self, old: &str, epoch: &NewEpoch) -> Cmd {
        let mut call = self.call("FCALL", "highwater_begin");
        let ended = epoch.boundary.as_ref().is_some_and(|boundary| boundary.ended);
        call.arg(old).arg(&epoch.id).arg(&epoch.identity.run_id).arg(&epoch.identity.fingerprint).arg(&epoch.identity.topic);
        call.arg(epoch.boundary.as_ref().map_or_else(String::new, Boundary::encode)).arg(u32::from(ended));
        call.arg(epoch.window_ms).arg(epoch.bucket_ms).arg(u32::from(epoch.scale));
        for (partition, (start, target)) in &epoch.partitions {
            call.arg(*partition).arg(*start).arg(*target);
        }
        call
    }
}

fn add_entries<'a>(call: &mut Cmd, entries: impl Iterator<Item = (i64, &'a str, Sum)>) {
    for (bucket_ms, member, sum) in entries {
        call.arg(bucket_ms).arg(member).arg(sum.amount).arg(sum.rows).arg(sum.came);
    }
}

fn coordinates((partition, offset): (i32, i64)) -> String {
    format!("{partition}:{offset}")
}

const fn sides_text(sides: Sides) -> &'static str {
    match (sides.before, sides.after) {
        (false, false) => "",
        (true, false) => "-",
        (false, true) => "+",
        (true, true) => "-+",
    }
}

/// What an epoch lacks of some records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owing {
    /// The current epoch, empty without one.
    pub epoch: String,
    /// Of each record that was asked for, in that order; no side of one that could not be judged.
    pub owed: Vec<Option<Sides>>,
}

impl FromRedisValue for Owing {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let mut parts = Vec::<String>::from_redis_value(value)?.into_iter();
        let epoch = parts.next().ok_or_else(|| unreadable("an epoch"))?;
        let sides = |text: String| (!text.is_empty()).then(|| Sides { before: text.contains('-'), after: text.contains('+') });
        Ok(Self { epoch, owed: parts.map(sides).collect() })
    }
}

/// A reply that the library does not give.
fn unreadable(what: &str) -> redis::ParsingError {
    redis::ParsingError::from(format!("the function library answered without {what}"))
}

fn number<T: std::str::FromStr>(text: Option<&String>, what: &str) -> Result<T, redis::ParsingError> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| unreadable(what))
}

fn role(text: Option<&String>) -> Result<Role, redis::ParsingError> {
    match text.map(String::as_str) {
        Some("none") => Ok(Role::None),
        Some("served") => Ok(Role::Served),
        Some("building") => Ok(Role::Building),
        _ => Err(unreadable("a role")),
    }
}

impl FromRedisValue for Reply {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let Value::Array(mut parts) = value else { return Err(unreadable("an array")) };
        if parts.first().is_some_and(|first| *first == Value::BulkString(b"moved".to_vec())) {
            return Ok(Self::Moved);
        }
        let parts = parts.drain(..).map(String::from_redis_value).collect::<Result<Vec<_>, _>>()?;
        let flag = |n: usize| parts.get(n).is_some_and(|flag| flag == "1");
        Ok(Self::Done(Done {
            epoch: parts.get(1).cloned().ok_or_else(|| unreadable("an epoch"))?,
            role: role(parts.get(2))?,
            floor_ms: number(parts.get(3), "a floor")?,
            late: number(parts.get(4), "a count")?,
            ended: flag(5),
            swapped: flag(6),
            more: flag(7),
            unkept: number(parts.get(8), "a count")?,
        }))
    }
}

impl FromRedisValue for State {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let (now_ms, is, _served, fields): (String, String, String, Vec<String>) = redis::from_redis_value(value)?;
        let now_ms = number(Some(&now_ms), "the time")?;
        let role = role(Some(&is))?;
        let mut fields = fields.into_iter();
        let mut stored = HashMap::new();
        while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
            stored.insert(field, value);
        }
        let current = if role == Role::None { None } else { Some(Epoch::read(role, &stored)?) };
        Ok(Self { now_ms, current })
    }
}

impl Epoch {
    fn read(role: Role, stored: &HashMap<String, String>) -> Result<Self, redis::ParsingError> {
        let text = |field: &str| stored.get(field).cloned().ok_or_else(|| unreadable(field));
        let boundary = match text("boundary")?.as_str() {
            "" => None,
            boundary => {
                Some(Boundary { ended: text("ended")? == "1", ..Boundary::decode(boundary).ok_or_else(|| unreadable("a boundary"))? })
            }
        };
        let mut progress = BTreeMap::new();
        for (field, next) in stored {
            let Some(partition) = field.strip_prefix("next:") else { continue };
            let mark = stored.get(&format!("mark:{partition}")).map_or("", String::as_str);
            let mark = Mark::decode(mark).ok_or_else(|| unreadable("a mark"))?;
            let partition = partition.parse().map_err(|_| unreadable("a partition"))?;
            progress.insert(partition, Progress { next: number(Some(next), "an offset")?, mark });
        }
        Ok(Self {
            id: text("id")?,
            identity: Identity { run_id: text("run_id")?, fingerprint: text("fingerprint")?, topic: text("topic")? },
            role,
            boundary,
            floor_ms: number(stored.get("floor"), "a floor")?,
            progress,
            unkept: stored.get("unkept").and_then(|count| count.parse().ok()),
        })
    }
}

//! The attacker of the executable specification, ported: lanes that decide with the engine's own functions, on a real Redis, in a world
//! where requests and replies are lost, calls arrive late, engines crash and come back as zombies, Redis loses its last writes, and the
//! connector does all that connectors do. After every call and at the end readers must see the truth.
//!
//! While something is broken, some rows fail and some records cannot be read: lanes park them, and somebody replays them when it is mended, often
//! twice. Readers see every row but those that are owed.
//!
//! It covers [`crate::progress::decide`], [`epoch::decide`], [`epoch::plan`], the payload, what a replay counts, and the function library.
//! `HIGHWATER_ATTACK_SEEDS=1000` runs more seeds than the few that every test run affords, from `HIGHWATER_ATTACK_FIRST=0` on.

mod lanes;

mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use highwater_sql::{RowError, Type, Value};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{RngExt, SeedableRng};
use redis::{Cmd, Connection};
use tokio::runtime::Runtime;

use super::redis_server::{RedisServer, run};
use super::world::{AHEAD, BUCKET, Connector, Partition, Row, Sent, World, one};
use crate::change::{Op, Snapshot};
use crate::faults::{Protection, holds};
use crate::progress::{Boundary, Mark, Verdict, decide};
use crate::sink::ranking::config::{Layout, Slot};
use crate::sink::ranking::epoch::{self, Decision};
use crate::sink::ranking::function::{Done, Epoch, Functions, Identity, NewEpoch, Owing, Reply, Role, State, Sum};
use crate::sink::ranking::owed::Due;
use crate::sink::ranking::payload::Payload;
use crate::sink::{Failed, Owed, Policy, Progress, Sides, Slice};
use crate::source::{self, Log};

/// The world counts seconds: a public key that lives as long as its window must not expire while a slow machine looks at it.
const SECOND_MS: i64 = 1000;

/// Two versions of one pipeline: a factor on its score, and its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pipeline {
    A,
    B,
}

impl Pipeline {
    fn factor(self) -> i64 {
        if self == Self::A { 1 } else { 10 }
    }

    fn layout(self) -> Layout {
        let slot = |index, name: &str, ty| Slot { index, name: name.to_owned(), ty };
        Layout {
            member: slot(0, "member", Type::Text),
            score: slot(1, "score", Type::Int8),
            time: slot(2, "at", Type::Timestamptz(None)),
            scale: 0,
            window_ms: if self == Self::A { 60_000 } else { 40_000 },
            bucket_ms: (BUCKET * SECOND_MS).unsigned_abs(),
            ahead_ms: (AHEAD * SECOND_MS).unsigned_abs(),
            fingerprint: format!("{self:?}"),
        }
    }

    fn result(self, row: Option<Row>) -> Option<Vec<Value>> {
        let (member, score, at) = row?;
        let member = member.map_or(Value::Null, |member| Value::Text(member.into()));
        Some(vec![member, score.map_or(Value::Null, |score| Value::Int(score * self.factor())), Value::Timestamp(at * SECOND_MS * 1000)])
    }
}

/// The rows of a record after the SELECT, and the sides that fail while something is broken.
struct Selected {
    before: Option<Vec<Value>>,
    after: Option<Vec<Value>>,
    failed: Option<Failed>,
}

impl Selected {
    fn new(pipeline: Pipeline, sent: &Sent, broken: bool) -> Self {
        // Some records as a whole; else the rows of two scores, whenever they come and go.
        let unreadable = broken && sent.own.is_multiple_of(13);
        let fails = |row: Option<Row>| unreadable || broken && row.is_some_and(|(_, score, _)| matches!(score, Some(5 | 7)));
        let sides = Sides { before: fails(sent.before), after: fails(sent.after) };
        let row = |row: Option<Row>| if fails(row) { None } else { pipeline.result(row) };
        let failed = (!sides.is_empty()).then(|| Failed { sides, error: RowError::new("22012", "division by zero") });
        Self { before: row(sent.before), after: row(sent.after), failed }
    }

    fn rows(&self) -> (Option<&[Value]>, Option<&[Value]>) {
        (self.before.as_deref(), self.after.as_deref())
    }
}

/// The topic, by partition.
struct Seen<'a>(&'a [Partition]);

fn offset(at: usize) -> i64 {
    i64::try_from(at).unwrap()
}

impl Seen<'_> {
    fn each<T>(&self, what: impl Fn(&Partition) -> T) -> BTreeMap<i32, T> {
        (0..).zip(self.0.iter().map(what)).collect()
    }
}

/// What a lane can ask about it.
struct Moment {
    watermarks: BTreeMap<i32, (i64, i64)>,
    times: BTreeMap<i32, Vec<i64>>,
}

impl Moment {
    fn of(logs: &[Partition]) -> Self {
        let seen = Seen(logs);
        Self { watermarks: seen.each(|log| (offset(log.start), offset(log.records.len()))), times: seen.each(|log| log.times.clone()) }
    }
}

impl Log for Moment {
    async fn id(&self) -> Result<String, source::Error> {
        Ok("topic".to_owned())
    }

    async fn watermarks(&self) -> Result<BTreeMap<i32, (i64, i64)>, source::Error> {
        Ok(self.watermarks.clone())
    }

    async fn offsets_at(&self, unix_ms: i64) -> Result<BTreeMap<i32, i64>, source::Error> {
        let at = |times: &Vec<i64>| offset(times.iter().position(|at| *at * SECOND_MS >= unix_ms).unwrap_or(times.len()));
        Ok(self.times.iter().map(|(p, times)| (*p, at(times))).collect())
    }

    async fn committed(&self, _: &[i32]) -> Result<BTreeMap<i32, (i64, String)>, source::Error> {
        Ok(BTreeMap::new())
    }
}

type Entries = Vec<(i64, String, Sum)>;

fn entries(payload: &Payload) -> Entries {
    payload.entries().map(|(bucket, member, sum)| (bucket, member.to_owned(), sum)).collect()
}

/// A call that was planned, to be made one step later.
#[derive(Clone)]
enum Call {
    Tick,
    Apply { epoch: String, slices: BTreeMap<i32, Slice>, targets: BTreeMap<i32, i64>, owed: Vec<Owed>, entries: Entries },
    Replay { epoch: String, record: (i32, i64), owed: Sides, left: Sides, entries: Entries },
    Begin { old: String, epoch: Box<NewEpoch> },
}

struct Batch {
    generation: u64,
    epoch: String,
    slices: BTreeMap<i32, Slice>,
    payload: Payload,
    targets: BTreeMap<i32, i64>,
    owed: Vec<Owed>,
    begin: Option<Boundary>,
}

struct Lane {
    number: usize,
    alive: bool,
    paused: bool,
    starting: bool,
    pipeline: Pipeline,
    generation: u64,
    partitions: BTreeMap<i32, Progress>,
    channel: Vec<Batch>,
    epoch: Option<String>,
    boundary: Option<Boundary>,
    /// The run of Redis that the connection is to.
    connection: Option<u32>,
    todo: Option<Call>,
    assigned: Option<Vec<i32>>,
}

impl Lane {
    fn new(number: usize) -> Self {
        Self {
            number,
            alive: false,
            paused: false,
            starting: true,
            pipeline: Pipeline::A,
            generation: 0,
            partitions: BTreeMap::new(),
            channel: Vec::new(),
            epoch: None,
            boundary: None,
            connection: None,
            todo: None,
            assigned: None,
        }
    }

    fn start(&mut self, pipeline: Pipeline) {
        *self = Self { alive: true, pipeline, ..Self::new(self.number) };
    }

    fn stop(&mut self) {
        (self.alive, self.paused) = (false, false);
    }
}

const KEYS: [&str; 14] = [
    "k",
    "{k}:state",
    "{k}:a",
    "{k}:a:totals",
    "{k}:a:buckets",
    "{k}:a:expiry",
    "{k}:a:ranking",
    "{k}:a:owed",
    "{k}:b",
    "{k}:b:totals",
    "{k}:b:buckets",
    "{k}:b:expiry",
    "{k}:b:ranking",
    "{k}:b:owed",
];

/// Everything that Redis holds, as DUMP gives it.
type Dump = Vec<Option<Vec<u8>>>;

struct Attack<'a> {
    world: World,
    connection: &'a mut Connection,
    runtime: &'a Runtime,
    lanes: Vec<Lane>,
    pipeline: Pipeline,
    quiet: bool,
    run: u32,
    skew: i64,
    history: Vec<Dump>,
    network: Vec<(u32, Call)>,
    /// The high watermarks at the moment when an epoch was planned.
    high_at_begin: BTreeMap<String, BTreeMap<i32, i64>>,
    high_seen: BTreeMap<i32, i64>,
    trusted: bool,
    swaps: usize,
    /// Some rows fail.
    broken: bool,
    /// The dead-letter topic.
    letters: BTreeSet<(i32, i64)>,
    /// Every replay that was ever tried.
    replays: Vec<Call>,
    replayed: usize,
}

type Violation = String;

impl Attack<'_> {
    fn functions(&self) -> Functions {
        Functions::new("k").at((self.world.now + self.skew) * SECOND_MS)
    }

    fn run_id(&self) -> String {
        if holds(Protection::RunId) { format!("run {}", self.run) } else { String::new() }
    }

    fn state(&mut self) -> State {
        self.functions().state().query(self.connection).unwrap()
    }

    fn dump(&mut self) -> Dump {
        let mut pipe = redis::pipe();
        for key in KEYS {
            pipe.cmd("DUMP").arg(key);
        }
        pipe.query(self.connection).unwrap()
    }

    fn restore(&mut self, dump: &Dump) {
        let mut pipe = redis::pipe();
        pipe.cmd("FLUSHALL").ignore();
        for (key, value) in KEYS.iter().zip(dump) {
            if let Some(value) = value {
                pipe.cmd("RESTORE").arg(*key).arg(0).arg(value.as_slice()).ignore();
            }
        }
        pipe.exec(self.connection).unwrap();
    }

    // -- One call -------------------------------------------------------------------------------------------------------------------

    fn execute(&mut self, call: &Call) -> Result<Reply, Violation> {
        let functions = self.functions();
        let command: Cmd = match call {
            Call::Tick => functions.tick(),
            Call::Replay { epoch, record, owed, left, entries } => {
                functions.replay(epoch, *record, *owed, *left, entries.iter().map(|(b, member, sum)| (*b, member.as_str(), *sum)))
            }
            Call::Apply { epoch, slices, targets, owed, entries } => {
                functions.apply(epoch, slices, targets, owed, entries.iter().map(|(b, member, sum)| (*b, member.as_str(), *sum)))
            }
            Call::Begin { old, epoch } => functions.begin(old, epoch),
        };
        let dump = self.dump();
        self.history.push(dump);
        if self.history.len() > 8 {
            self.history.remove(0);
        }
        let reply: Reply = command.query(self.connection).unwrap();
        self.replayed += usize::from(matches!((call, &reply), (Call::Replay { .. }, Reply::Done(_))));
        if let Reply::Done(Done { swapped: true, epoch, .. }) = &reply {
            self.swapped(epoch)?;
        }
        self.check_readers()?;
        Ok(reply)
    }

    /// Over a network that loses requests, loses replies and delivers late. No reply: what is said about it.
    fn transmit(&mut self, rng: &mut StdRng, call: Call) -> Result<Result<Reply, &'static str>, Violation> {
        let fate: f64 = if self.quiet { 1.0 } else { rng.random() };
        Ok(if fate >= 0.14 {
            Ok(self.execute(&call)?)
        } else if fate < 0.05 {
            Err("the request was lost")
        } else if fate < 0.1 {
            self.execute(&call)?;
            Err("applied, then the reply was lost")
        } else {
            self.network.push((self.run, call));
            Err("delayed")
        })
    }

    /// A lane's call. No reply: the connection is gone.
    fn call(&mut self, lane: usize, rng: &mut StdRng, call: Call) -> Result<Option<Reply>, Violation> {
        let what = match self.transmit(rng, call)? {
            Ok(reply) => return Ok(Some(reply)),
            Err(what) => what,
        };
        self.lanes[lane].connection = None;
        self.world.say(format!("lane {lane}: {what}"));
        if rng.random_bool(0.3) {
            self.world.say(format!("lane {lane} crashes"));
            self.lanes[lane].stop();
        }
        Ok(None)
    }

    // -- Dead letters ---------------------------------------------------------------------------------------------------------------

    /// Somebody replays one: computes what is owed of it, and often says it twice, or says again what was said long ago.
    fn replay(&mut self, rng: &mut StdRng) -> Result<(), Violation> {
        if !self.replays.is_empty() && rng.random_bool(0.3) {
            let call = self.replays[rng.random_range(0..self.replays.len())].clone();
            self.world.say("an old replay is sent again".to_owned());
            return self.transmit(rng, call).map(drop);
        }
        let letters: Vec<_> = self.letters.iter().copied().collect();
        let owing: Owing = self.functions().owed(&letters).query(self.connection).unwrap();
        // Mostly one that is owed; the topic has the others too.
        let likely = rng.random_bool(0.8);
        let choice = letters.iter().zip(&owing.owed).filter(|(_, owed)| owed.is_some() || !likely).choose(rng);
        let Some((&record, _)) = choice else { return Ok(()) };
        let Some(call) = self.plan_replay(record) else { return Ok(()) };
        for _ in 0..one(rng, &[1, 1, 2]) {
            self.transmit(rng, call.clone())?.err().into_iter().for_each(|what| self.world.say(format!("replay: {what}")));
        }
        Ok(())
    }

    /// What is to be said about a dead letter; nothing where nothing is owed or it still fails.
    fn plan_replay(&mut self, record: (i32, i64)) -> Option<Call> {
        let (state, layout) = (self.state(), self.pipeline.layout());
        let mine = Identity { run_id: self.run_id(), fingerprint: layout.fingerprint.clone(), topic: "topic".to_owned() };
        if epoch::decide(state.current.as_ref(), &mine, false) != Decision::Adopt {
            return None;
        }
        let owing: Owing = self.functions().owed(&[record]).query(self.connection).unwrap();
        let owed = owing.owed[0]?;
        let sent = self.record(record);
        let selected = Selected::new(self.pipeline, &sent, self.broken);
        let due = Due::new(&layout, owed, selected.rows(), selected.failed.clone());
        if due.left == owed {
            return None;
        }
        self.world.say(format!("replay of {record:?}, {owed:?} owed, {:?} stay", due.left));
        let call = Call::Replay { epoch: owing.epoch, record, owed, left: due.left, entries: entries(&due.payload) };
        self.replays.push(call.clone());
        Some(call)
    }

    fn record(&self, (partition, offset): (i32, i64)) -> Sent {
        self.world.logs[usize::try_from(partition).unwrap()].records[usize::try_from(offset).unwrap()].clone().unwrap()
    }

    // -- Engines and Redis ----------------------------------------------------------------------------------------------------------

    /// Partitions go to the live lanes; a paused one may be left out, and goes on believing in what it had.
    fn rebalance(&mut self, rng: &mut StdRng) {
        let quiet = self.quiet;
        let members: Vec<usize> =
            self.lanes.iter().filter(|l| l.alive && !(l.paused && (quiet || rng.random_bool(0.7)))).map(|l| l.number).collect();
        for (n, lane) in members.iter().enumerate() {
            let mine = |p: &i32| usize::try_from(*p).unwrap() % members.len() == n;
            self.lanes[*lane].assigned = Some((0..i32::try_from(self.world.logs.len()).unwrap()).filter(mine).collect());
        }
    }

    fn start_engine(&mut self, rng: &mut StdRng) {
        let n = rng.random_range(0..self.lanes.len());
        if !self.lanes[n].alive {
            self.lanes[n].start(self.pipeline);
            self.world.say(format!("lane {n} starts with pipeline {:?}", self.pipeline));
            self.rebalance(rng);
        }
    }

    /// An edited pipeline is started beside the old one; from now on every start is of the new one.
    fn edit(&mut self, rng: &mut StdRng) {
        let Some(free) = self.lanes.iter().position(|lane| !lane.alive) else { return };
        if self.pipeline == Pipeline::A {
            self.pipeline = Pipeline::B;
            self.world.say("edited pipeline started beside the old one".to_owned());
            self.lanes[free].start(self.pipeline);
            self.rebalance(rng);
        }
    }

    /// A restart or a promotion: the last calls are lost; after two crashes half of one may be replayed.
    fn restart_redis(&mut self, rng: &mut StdRng) {
        let torn = rng.random_bool(0.4);
        let now = self.dump();
        self.history.push(now);
        let at = (self.history.len() - 1).saturating_sub(one(rng, &[0, 1, 1, 2, 4]));
        let (mut state, newer) = (self.history[at].clone(), self.history[(at + 1).min(self.history.len() - 1)].clone());
        if torn {
            // The writes before the progress, without the progress.
            let mut id = |dump: &Dump, meta: &str| -> Option<String> {
                self.restore(dump);
                run(self.connection, &["HGET", meta, "id"])
            };
            for meta in [2, 8] {
                let same = id(&state, KEYS[meta]).is_some_and(|old| Some(old) == id(&newer, KEYS[meta]));
                if same {
                    (1..6).for_each(|k| state[meta + k].clone_from(&newer[meta + k]));
                }
            }
        }
        self.restore(&state);
        self.history.clear();
        self.run += 1;
        self.skew += one(rng, &[0, 0, 0, -15, 15]);
        (self.trusted, self.high_seen) = (false, BTreeMap::new());
        self.world.say(format!("Redis restarts or is promoted{}", if torn { ", torn" } else { "" }));
    }

    fn flush_all(&mut self) {
        run::<()>(self.connection, &["FLUSHALL"]);
        (self.trusted, self.high_seen) = (false, BTreeMap::new());
        self.world.say("FLUSHALL".to_owned());
    }

    fn deliver(&mut self, rng: &mut StdRng) -> Result<(), Violation> {
        if !self.network.is_empty() {
            let (run, call) = self.network.remove(rng.random_range(0..self.network.len()));
            if run == self.run {
                self.world.say("a delayed call arrives".to_owned());
                self.execute(&call)?;
            }
        }
        Ok(())
    }

    /// Starts an engine when none of the newest pipeline runs.
    fn supervise(&mut self) {
        if !self.lanes.iter().any(|lane| lane.alive && lane.pipeline == self.pipeline) {
            self.lanes[0].start(self.pipeline);
        }
    }

    fn attack(&mut self, name: &str, rng: &mut StdRng) -> Result<(), Violation> {
        match name {
            "write" => self.world.write(rng),
            "commit" => self.world.commit(rng, None),
            "rollback" => self.world.rollback(rng),
            "truncate" => self.world.truncate(rng),
            "stream" => self.world.stream(rng),
            "flush" => self.world.flush(rng),
            "connector_crash" => self.world.crash_connector(),
            "recreate" => self.world.recreate(rng),
            "incremental" => self.world.incremental(rng),
            "control" => self.world.control(rng),
            "retention" => self.world.retention(),
            "clock" => self.world.now += one(rng, &[1, 2, 3, 5, 12, 30]),
            "engine" => self.step(rng.random_range(0..3), rng)?,
            "engine_start" => self.start_engine(rng),
            "engine_crash" => self.lanes[rng.random_range(0..3)].stop(),
            "pause" => {
                let lane = &mut self.lanes[rng.random_range(0..3)];
                lane.paused = lane.alive && !lane.paused;
            }
            "rebalance" => self.rebalance(rng),
            "edit" => self.edit(rng),
            "redis_restart" => self.restart_redis(rng),
            "flushall" => self.flush_all(),
            "deliver" => self.deliver(rng)?,
            "mend" => {
                self.broken = !self.broken;
                self.world.say(format!("broken: {}", self.broken));
            }
            "replay" => self.replay(rng)?,
            other => panic!("{other}"),
        }
        Ok(())
    }
}

/// Steps and how often each comes.
const STEPS: [(&str, u32); 23] = [
    ("write", 22),
    ("commit", 8),
    ("rollback", 1),
    ("truncate", 1),
    ("stream", 26),
    ("flush", 5),
    ("connector_crash", 3),
    ("recreate", 2),
    ("incremental", 1),
    ("control", 2),
    ("retention", 2),
    ("clock", 8),
    ("engine", 60),
    ("engine_start", 3),
    ("engine_crash", 2),
    ("pause", 3),
    ("rebalance", 3),
    ("edit", 1),
    ("redis_restart", 2),
    ("flushall", 1),
    ("deliver", 3),
    ("mend", 3),
    ("replay", 16),
];

fn attack(connection: &mut Connection, runtime: &Runtime, seed: u64) -> Result<(usize, usize), String> {
    run::<()>(connection, &["FLUSHALL"]);
    let mut plan = StdRng::seed_from_u64(seed);
    let mut attack = Attack {
        world: World::new(),
        connection,
        runtime,
        lanes: (0..3).map(Lane::new).collect(),
        pipeline: Pipeline::A,
        quiet: false,
        run: 1,
        skew: 0,
        history: Vec::new(),
        network: Vec::new(),
        high_at_begin: BTreeMap::new(),
        high_seen: BTreeMap::new(),
        trusted: true,
        swaps: 0,
        broken: !seed.is_multiple_of(4),
        letters: BTreeSet::new(),
        replays: Vec::new(),
        replayed: 0,
    };
    attack.lanes[0].start(Pipeline::A);
    attack.rebalance(&mut plan);
    let mut result = Ok(());
    for _ in 0..plan.random_range(30..190) {
        let (name, _) = STEPS.choose_weighted(&mut plan, |(_, weight)| *weight).unwrap();
        attack.world.say(format!("* {name}"));
        result = attack.attack(name, &mut StdRng::seed_from_u64(plan.random()));
        if result.is_err() {
            break;
        }
    }
    attack.world.say("* faults stop".to_owned());
    match result.and_then(|()| attack.finish()) {
        Ok(()) => Ok((attack.swaps, attack.replayed)),
        Err(violation) => Err(format!("seed {seed}: {violation}\n{}", attack.world.trace.join("\n"))),
    }
}

/// GIVEN everything that goes wrong
/// WHEN lanes go on
/// THEN readers see the log up to the stored progress after every call, and the table in the end.
#[test]
fn readers_see_the_truth_whatever_goes_wrong() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (first, seeds) = (number("HIGHWATER_ATTACK_FIRST", 0), number("HIGHWATER_ATTACK_SEEDS", 300));
    let server = RedisServer::start();
    let mut connection = server.loaded();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut swaps, mut replayed) = (0, 0);
    for seed in first..first + seeds {
        match attack(&mut connection, &runtime, seed) {
            Ok((more, again)) => (swaps, replayed) = (swaps + more, replayed + again),
            Err(violation) => panic!("{violation}"),
        }
        if (seed + 1 - first).is_multiple_of(5_000) {
            println!("  seeds {first} to {seed}: clean");
        }
    }
    let least = usize::try_from(seeds).unwrap();
    assert!(swaps > least && replayed > least, "{swaps} swaps and {replayed} replays in {seeds} seeds test nothing");
}

//! The Redis half of the ranking protocol, ported from the executable specification (its `Redis` class), and the library beside it: the same
//! random calls, the same state after each.
//!
//! Two things are said more strictly than in the specification, where they make no difference to rows that were added before they are
//! withdrawn: totals *are* the sums of the buckets, and readers see members with rows.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use redis::Connection;

use super::redis_server::{RedisServer, run};
use crate::progress::Boundary;
use crate::progress::Mark;
use crate::sink::ranking::function::{Clock, Functions, Identity, NewEpoch, Reply, Role, State, Sum};
use crate::sink::{Owed, Progress, Sides, Slice};

const DRAIN_MAX: usize = 500;

#[derive(Clone, Debug, PartialEq)]
struct Epoch {
    id: String,
    identity: Identity,
    boundary: Option<Boundary>,
    window: i64,
    bucket: i64,
    scale: u8,
    floor: i64,
    next: BTreeMap<i32, i64>,
    target: BTreeMap<i32, i64>,
    buckets: BTreeMap<(i64, String), (i128, i64)>,
    owed: BTreeMap<(i32, i64), Sides>,
}

impl Epoch {
    fn window_start(&self, now: i64) -> i64 {
        (now - self.window).div_euclid(self.bucket) * self.bucket
    }

    fn advance(&mut self, now: i64, budget: &mut usize) {
        self.floor = self.floor.max(self.window_start(now));
        while *budget > 0 && self.buckets.first_key_value().is_some_and(|((bucket, _), _)| *bucket < self.floor) {
            self.buckets.pop_first();
            *budget -= 1;
        }
    }

    /// While it `owes` rows, what is left without rows may be theirs.
    fn add(&mut self, bucket: i64, member: &str, sum: Sum, owes: bool) -> u64 {
        if bucket < self.floor {
            return sum.came;
        }
        let entry = self.buckets.entry((bucket, member.to_owned())).or_default();
        *entry = (entry.0 + sum.amount, entry.1 + sum.rows);
        if entry.1 == 0 && (entry.0 == 0 || !owes) {
            self.buckets.remove(&(bucket, member.to_owned()));
        }
        0
    }

    fn totals(&self) -> BTreeMap<String, (i128, i64)> {
        let mut totals: BTreeMap<String, (i128, i64)> = BTreeMap::new();
        for ((_, member), (amount, rows)) in &self.buckets {
            let total = totals.entry(member.clone()).or_default();
            *total = (total.0 + amount, total.1 + rows);
        }
        totals.retain(|_, total| *total != (0, 0));
        totals
    }

    fn ranking(&self) -> BTreeMap<String, f64> {
        let unit = [1.0, 10.0, 100.0, 1000.0][usize::from(self.scale)];
        self.totals().into_iter().filter(|(_, (_, rows))| *rows > 0).map(|(member, (amount, _))| (member, amount as f64 / unit)).collect()
    }

    fn is_complete(&self) -> bool {
        self.boundary.as_ref().is_none_or(|b| b.ended) && self.target.iter().all(|(p, target)| self.next.get(p) >= Some(target))
    }
}

#[derive(Clone, Debug, Default)]
struct Model {
    served: Option<Epoch>,
    building: Option<Epoch>,
}

/// What a call came to: `None` is moved; else late rows, whether there was a swap, whether the whole budget of expired entries was used.
type Outcome = Option<(u64, bool, bool)>;

impl Model {
    fn current(&self) -> Option<&Epoch> {
        self.building.as_ref().or(self.served.as_ref())
    }

    fn roll(&mut self, now: i64, late: u64) -> Outcome {
        let mut budget = DRAIN_MAX;
        for epoch in [&mut self.served, &mut self.building].into_iter().flatten() {
            epoch.advance(now, &mut budget);
        }
        let due = self.building.as_ref().is_some_and(Epoch::is_complete);
        if due {
            self.served = self.building.take();
        }
        Some((late, due, budget == 0))
    }

    fn apply(
        &mut self,
        now: i64,
        id: &str,
        slices: &BTreeMap<i32, Slice>,
        targets: &BTreeMap<i32, i64>,
        owed: &[Owed],
        entries: &[(i64, String, Sum)],
    ) -> Outcome {
        let epoch = self.building.as_mut().or(self.served.as_mut()).filter(|epoch| epoch.id == id)?;
        if slices.iter().any(|(p, slice)| epoch.next.get(p).copied().unwrap_or(0) != slice.token) {
            return None;
        }
        epoch.floor = epoch.floor.max(epoch.window_start(now));
        let owes = !owed.is_empty() || !epoch.owed.is_empty();
        let late = entries.iter().map(|(bucket, member, sum)| epoch.add(*bucket, member, *sum, owes)).sum();
        epoch.owed.extend(owed.iter().map(|owed| ((owed.partition, owed.offset), owed.sides)));
        epoch.next.extend(slices.iter().map(|(p, slice)| (*p, slice.progress.next)));
        if let Some(boundary) = epoch.boundary.as_mut().filter(|b| !b.ended && !targets.is_empty()) {
            boundary.ended = true;
            for (p, target) in &mut epoch.target {
                *target = targets.get(p).map_or(*target, |high| *high.max(target));
            }
        }
        self.roll(now, late)
    }

    fn replay(&mut self, now: i64, id: &str, record: (i32, i64), owed: Sides, left: Sides, entries: &[(i64, String, Sum)]) -> Outcome {
        let epoch = self.building.as_mut().or(self.served.as_mut()).filter(|epoch| epoch.id == id)?;
        if epoch.owed.get(&record) != Some(&owed) {
            return None;
        }
        epoch.owed.remove(&record);
        if !left.is_empty() {
            epoch.owed.insert(record, left);
        }
        epoch.floor = epoch.floor.max(epoch.window_start(now));
        let owes = !epoch.owed.is_empty();
        let late = entries.iter().map(|(bucket, member, sum)| epoch.add(*bucket, member, *sum, owes)).sum();
        self.roll(now, late)
    }

    fn begin(&mut self, now: i64, old: &str, new: &NewEpoch) -> Outcome {
        let current = self.current();
        if current.map_or("", |current| &current.id) != old {
            return None;
        }
        let mut epoch = Epoch {
            id: new.id.clone(),
            identity: new.identity.clone(),
            boundary: new.boundary.clone(),
            window: new.window_ms.try_into().unwrap(),
            bucket: new.bucket_ms.try_into().unwrap(),
            scale: new.scale,
            floor: i64::MIN,
            next: new.partitions.iter().map(|(p, (start, _))| (*p, *start)).collect(),
            target: new.partitions.iter().map(|(p, (_, target))| (*p, *target)).collect(),
            buckets: BTreeMap::new(),
            owed: BTreeMap::new(),
        };
        epoch.floor = epoch.window_start(now);
        if let Some(current) = current.filter(|current| current.identity.fingerprint == new.identity.fingerprint) {
            epoch.floor = epoch.floor.max(current.floor);
        }
        for old in [&self.served, &self.building].into_iter().flatten().filter(|old| old.identity.topic == new.identity.topic) {
            for (p, target) in &mut epoch.target {
                *target = (*target).max(old.next.get(p).copied().unwrap_or(0));
            }
        }
        self.building = Some(epoch);
        self.roll(now, 0)
    }
}

// -- Reading everything back --------------------------------------------------------------------------------------------------------

fn pair(text: &str) -> (i128, i64) {
    let (amount, rows) = text.split_once(' ').unwrap();
    // Text that is not canonical would be a number that Redis or Lua may read as another one.
    assert_eq!(amount, amount.parse::<i128>().unwrap().to_string());
    assert_eq!(rows, rows.parse::<i64>().unwrap().to_string());
    (amount.parse().unwrap(), rows.parse().unwrap())
}

fn sorted_set(connection: &mut Connection, key: &str) -> BTreeMap<String, f64> {
    let list: Vec<String> = run(connection, &["ZRANGE", key, "0", "-1", "WITHSCORES"]);
    list.chunks(2).map(|pair| (pair[0].clone(), pair[1].parse().unwrap())).collect()
}

fn compare_epoch(connection: &mut Connection, epoch: &Epoch, letter: &str, ranking: &str) {
    let key = |name: &str| format!("{{k}}:{letter}{name}");
    let meta: BTreeMap<String, String> = run(connection, &["HGETALL", &key("")]);
    let field = |name: &str| meta[name].as_str();
    assert_eq!(field("id"), epoch.id);
    assert_eq!((field("run_id"), field("fingerprint")), (epoch.identity.run_id.as_str(), epoch.identity.fingerprint.as_str()));
    assert_eq!(field("floor"), epoch.floor.to_string(), "floor");
    let ended = epoch.boundary.as_ref().is_some_and(|b| b.ended);
    assert_eq!(field("ended") == "1", ended, "ended");
    let numbers = |prefix: &str| -> BTreeMap<i32, i64> {
        meta.iter().filter_map(|(field, v)| Some((field.strip_prefix(prefix)?.parse().ok()?, v.parse().ok()?))).collect()
    };
    assert_eq!(numbers("next:"), epoch.next, "next");
    assert_eq!(numbers("target:"), epoch.target, "target");

    let owed: BTreeMap<String, String> = run(connection, &["HGETALL", &key(":owed")]);
    let sides = |sides: &Sides| ["", "-", "+", "-+"][usize::from(sides.before) + 2 * usize::from(sides.after)].to_owned();
    let expected: BTreeMap<_, _> = epoch.owed.iter().map(|((p, offset), owed)| (format!("{p}:{offset}"), sides(owed))).collect();
    assert_eq!((owed, field("unkept")), (expected, "0"), "owed");
    let buckets: BTreeMap<String, String> = run(connection, &["HGETALL", &key(":buckets")]);
    let split = |field: &str| field.split_once(':').map(|(b, m)| (b.parse::<i64>().unwrap(), m.to_owned())).unwrap();
    let stored: BTreeMap<_, _> = buckets.iter().map(|(field, value)| (split(field), pair(value))).collect();
    assert_eq!(stored, epoch.buckets, "buckets");
    let expiry = sorted_set(connection, &key(":expiry"));
    assert!(expiry.keys().eq(buckets.keys()), "expiry");
    expiry.iter().for_each(|(field, score)| assert_eq!(split(field).0 as f64, *score));
    let totals: BTreeMap<String, String> = run(connection, &["HGETALL", &key(":totals")]);
    let totals: BTreeMap<_, _> = totals.iter().map(|(member, value)| (member.clone(), pair(value))).collect();
    assert_eq!(totals, epoch.totals(), "totals");
    assert_eq!(sorted_set(connection, ranking), epoch.ranking(), "ranking");
}

fn compare(connection: &mut Connection, model: &Model) {
    let letters: BTreeMap<String, String> = run(connection, &["HGETALL", "{k}:state"]);
    assert_eq!(letters.contains_key("served"), model.served.is_some(), "served");
    assert_eq!(letters.contains_key("building"), model.building.is_some(), "building");
    let mut expected = BTreeSet::from(["{k}:state".to_owned(), "k".to_owned()]);
    for (name, epoch, ranking) in [("served", &model.served, "k"), ("building", &model.building, "")] {
        let (Some(epoch), Some(letter)) = (epoch, letters.get(name)) else { continue };
        let own = format!("{{k}}:{letter}:ranking");
        compare_epoch(connection, epoch, letter, if ranking.is_empty() { &own } else { ranking });
        expected.extend(["", ":totals", ":buckets", ":expiry", ":owed"].map(|key| format!("{{k}}:{letter}{key}")));
        if ranking.is_empty() {
            expected.insert(own);
        }
    }
    if let Some(served) = &model.served {
        let ttl: i64 = run(connection, &["PTTL", "k"]);
        assert!(ttl == -2 && served.ranking().is_empty() || ttl > 0 && ttl <= served.window, "ttl {ttl}");
    } else {
        expected.remove("k");
    }
    let keys: BTreeSet<String> = run(connection, &["KEYS", "*"]);
    assert!(keys.is_subset(&expected), "left behind: {:?}", keys.difference(&expected));
    let only_public = keys.iter().filter(|key| run::<i64>(connection, &["PTTL", key]) >= 0).all(|key| key == "k");
    assert!(only_public, "only the public key has a TTL");
}

// -- Random calls -------------------------------------------------------------------------------------------------------------------

struct Chance {
    rng: StdRng,
    now: i64,
    epochs: u32,
    spread: usize,
}

impl Chance {
    fn often(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.rng).unwrap()
    }

    fn entries(&mut self) -> Vec<(i64, String, Sum)> {
        let many = self.often(if self.spread > DRAIN_MAX { 60 } else { 5 });
        let count = if many { self.rng.random_range(300..=500) } else { self.rng.random_range(0..8) };
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let bucket = (self.now - self.rng.random_range(-20_000..80_000)).div_euclid(1000) * 1000;
            let member = match self.rng.random_range(0..self.spread) {
                0 => "ключ:with blank".to_owned(),
                1 => String::new(),
                n => format!("m{n}"),
            };
            let amount = match self.rng.random_range(0..10) {
                0 => 0,
                1 => self.rng.random_range(-1_000_000_000_000_000..=1_000_000_000_000_000),
                _ => self.rng.random_range(-20_000..20_000),
            };
            entries.insert((bucket, member), Sum { amount, rows: self.rng.random_range(-2..5), came: self.rng.random_range(1..4) });
        }
        entries.into_iter().map(|((bucket, member), sum)| (bucket, member, sum)).collect()
    }

    fn slices(&mut self, model: &Model) -> BTreeMap<i32, Slice> {
        let mut slices = BTreeMap::new();
        for p in 0..self.rng.random_range(1..4) {
            let stored = model.current().and_then(|epoch| epoch.next.get(&p).copied()).unwrap_or(0);
            let token = if self.often(3) { stored + self.one(&[-1, 1, 5]) } else { stored };
            slices.insert(p, Slice { token, progress: Progress { next: token + self.rng.random_range(0..20), mark: Mark::default() } });
        }
        slices
    }

    fn sides(&mut self) -> Sides {
        self.one(&[Sides::BEFORE, Sides::AFTER, Sides::BOTH])
    }

    /// Records that a batch parks.
    fn owed(&mut self) -> Vec<Owed> {
        let count = if self.often(25) { self.rng.random_range(1..4) } else { 0 };
        (0..count)
            .map(|n| Owed { partition: self.rng.random_range(0..3), offset: n * 20 + self.rng.random_range(0..20), sides: self.sides() })
            .collect()
    }

    /// A record, what is thought to be owed of it, and what stays so.
    fn replay(&mut self, model: &Model) -> ((i32, i64), Sides, Sides) {
        let owed: Vec<_> = model.current().map(|epoch| epoch.owed.iter().map(|(at, sides)| (*at, *sides)).collect()).unwrap_or_default();
        let (record, owed) = owed.choose(&mut self.rng).copied().unwrap_or(((0, 0), Sides::AFTER));
        let left = if owed == Sides::BOTH { self.one(&[Sides::NONE, Sides::BEFORE, Sides::AFTER]) } else { Sides::NONE };
        (record, if self.often(15) { self.sides() } else { owed }, left)
    }

    fn new_epoch(&mut self) -> NewEpoch {
        self.epochs += 1;
        let pipeline = self.one(&[0, 0, 0, 1, 2]);
        let fingerprint = format!("pipeline {pipeline}");
        let topic = self.one(&["t1", "t1", "t1", "t2"]).to_owned();
        let boundary = self.often(40).then_some(Boundary { lsn: 7, run_tx: Some(3), arrived_ms: 0, commit_us: 0, ended: false });
        let partitions = self.rng.random_range(1..4);
        let mut offsets = || {
            let start = self.rng.random_range(0..30);
            (start, start + self.rng.random_range(0..60))
        };
        NewEpoch {
            id: format!("epoch {}", self.epochs),
            identity: Identity { run_id: "r".to_owned(), fingerprint, topic },
            boundary,
            window_ms: [60_000, 30_000, 60_000][pipeline],
            bucket_ms: [1000, 1000, 10_000][pipeline],
            scale: [3, 3, 1][pipeline],
            partitions: (0..partitions).map(|p| (p, offsets())).collect(),
        }
    }
}

fn outcome(connection: &mut Connection, call: &redis::Cmd) -> Outcome {
    match call.query::<Reply>(connection).unwrap() {
        Reply::Done(done) => Some((done.late, done.swapped, done.more)),
        Reply::Moved => None,
    }
}

fn attack(connection: &mut Connection, seed: u64, calls: usize) -> [usize; 5] {
    let mut rng = StdRng::seed_from_u64(seed);
    let spread = [4, 12, 900][rng.random_range(0..3)];
    let mut chance = Chance { rng, now: 1_700_000_000_000, epochs: 0, spread };
    let (mut model, mut functions, mut seen) = (Model::default(), Functions::new("k"), [0; 5]);
    run::<()>(connection, &["FLUSHALL"]);
    for n in 0..calls {
        chance.now += chance.one(&[0, 1, 40, 999, 5000, 5000, 30_000, -20_000]);
        functions.clock = Clock::Fixed(chance.now);
        let (got, want) = match chance.rng.random_range(0..100) {
            0..4 if chance.spread <= DRAIN_MAX => {
                // The TTL of the public key ran out.
                run::<()>(connection, &["DEL", "k"]);
                (outcome(connection, &functions.tick()), model.roll(chance.now, 0))
            }
            0..20 => (outcome(connection, &functions.tick()), model.roll(chance.now, 0)),
            20..32 => {
                let new = chance.new_epoch();
                let current = model.current().map_or(String::new(), |epoch| epoch.id.clone());
                let old = if chance.often(8) { "another".to_owned() } else { current };
                (outcome(connection, &functions.begin(&old, &new)), model.begin(chance.now, &old, &new))
            }
            32..46 => {
                let (record, owed, left) = chance.replay(&model);
                let mut entries = chance.entries();
                entries.truncate(2);
                let id = model.current().map_or(String::new(), |epoch| epoch.id.clone());
                let id = if chance.often(3) { "another".to_owned() } else { id };
                let call = functions.replay(&id, record, owed, left, entries.iter().map(|(b, m, s)| (*b, m.as_str(), *s)));
                let want = model.replay(chance.now, &id, record, owed, left, &entries);
                seen[4] += usize::from(want.is_some());
                (outcome(connection, &call), want)
            }
            _ => {
                let owed = chance.owed();
                let (entries, slices) = (chance.entries(), chance.slices(&model));
                let highs = (0..chance.rng.random_range(1..4)).map(|p| (p, chance.rng.random_range(0..90))).collect();
                let targets: BTreeMap<i32, i64> = if chance.often(15) { highs } else { BTreeMap::new() };
                let id = model.current().map_or(String::new(), |epoch| epoch.id.clone());
                let id = if chance.often(3) { "another".to_owned() } else { id };
                let call = functions.apply(&id, &slices, &targets, &owed, entries.iter().map(|(b, m, s)| (*b, m.as_str(), *s)));
                (outcome(connection, &call), model.apply(chance.now, &id, &slices, &targets, &owed, &entries))
            }
        };
        assert_eq!(got, want, "reply of call {n} of seed {seed}");
        match want {
            None => seen[0] += 1,
            Some((late, swapped, full)) => {
                seen[1] += usize::from(late > 0);
                seen[2] += usize::from(swapped);
                seen[3] += usize::from(full);
            }
        }
        let state: State = functions.state().query(connection).unwrap();
        assert_eq!(state.now_ms, chance.now);
        let role = if model.building.is_some() { Role::Building } else { Role::Served };
        assert_eq!(state.current.as_ref().map(|e| (&e.id, e.role)), model.current().map(|e| (&e.id, role)));
        compare(connection, &model);
    }
    seen
}

/// GIVEN random calls, some fenced, some late, some after the public key was lost
/// WHEN each is made to the library and to the model
/// THEN reply, keys, buckets, totals, ranking, progress and floor are the same after every one.
#[test]
fn the_library_does_what_the_model_does() {
    let server = RedisServer::start();
    let mut connection = server.loaded();
    let mut seen = [0; 5];
    for seed in 0..24 {
        let one = attack(&mut connection, seed, 120);
        (0..5).for_each(|n| seen[n] += one[n]);
    }
    // What never happened was not tested.
    let [moved, late, swaps, full_drains, replays] = seen;
    assert!(moved > 100 && late > 300 && swaps > 30 && full_drains > 10 && replays > 30, "{seen:?}");
}

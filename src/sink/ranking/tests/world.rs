//! What the ranking lives in, ported from part 4 of the executable specification: Postgres with transactions, slots and snapshot runs;
//! Debezium, which sends again what it sent since its last flush; a Kafka topic with control records and retention. Time is in
//! seconds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, RngExt};

use crate::change::{Change, Op, Position, Snapshot};

pub const BUCKET: i64 = 10;
pub const AHEAD: i64 = 20;
const RETENTION: i64 = 120;
const PARTITIONS: usize = 3;

/// member, score, time
pub type Row = (Option<&'static str>, Option<i64>, i64);

/// A record of the topic; what follows `arrived` only the oracle reads.
#[derive(Clone, Debug)]
pub struct Sent {
    pub op: Op,
    pub key: Option<i64>,
    pub before: Option<Row>,
    pub after: Option<Row>,
    pub first: Option<u64>,
    pub own: u64,
    /// (S, txId) of a snapshot run's row.
    pub run: Option<(u64, u64)>,
    pub incremental: bool,
    pub last: bool,
    pub commit_time: i64,
    pub arrived: i64,
    pub life: i64,
    pub order: (usize, i64),
}

impl Sent {
    /// As the lane sees it.
    pub fn change(&self) -> Change {
        let snapshot = match (self.incremental, self.run, self.last) {
            (true, ..) => Snapshot::Incremental,
            (_, None, _) => Snapshot::No,
            (_, Some(_), last) => {
                if last {
                    Snapshot::Last
                } else {
                    Snapshot::Row
                }
            }
        };
        let key = self.key.map(|key| Bytes::from(format!("{{\"id\":{key}}}")));
        let position = Position { first: self.first, own: self.own };
        let (before, after) = (None, None);
        Change { op: self.op, position, commit_us: self.commit_time, snapshot, run: self.run.unwrap_or_default(), key, before, after }
    }
}

/// One partition; none is an offset without a record.
#[derive(Clone, Debug, Default)]
pub struct Partition {
    pub records: Vec<Option<Sent>>,
    pub times: Vec<i64>,
    pub start: usize,
}

impl Partition {
    pub fn at_or_after(&self, moment: i64) -> usize {
        self.times.iter().position(|at| *at >= moment).unwrap_or(self.times.len())
    }
}

#[derive(Clone, Debug)]
struct Event {
    lsn: u64,
    op: Op,
    key: Option<i64>,
    before: Option<Row>,
    after: Option<Row>,
}

#[derive(Clone, Debug)]
struct Commit {
    lsn: u64,
    time: i64,
    events: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connector {
    Creating,
    Snapshot,
    Stream,
}

/// (transaction, event, last commit LSN)
type Reading = (usize, usize, Option<u64>);

pub struct World {
    pub now: i64,
    pub trace: Vec<String>,
    lsn: u64,
    commits: i64,
    xid: u64,
    table: BTreeMap<i64, Row>,
    /// What Postgres holds.
    pub committed: BTreeMap<i64, Row>,
    open: BTreeMap<u64, Vec<Event>>,
    wal: Vec<Commit>,
    pub connector: Connector,
    waiting: BTreeSet<u64>,
    life: i64,
    resume: Option<Reading>,
    sent: BTreeMap<(usize, usize), i64>,
    reading: Reading,
    pub rows: Vec<i64>,
    pub run: (u64, u64),
    view: BTreeMap<i64, Row>,
    emitted: usize,
    pub logs: Vec<Partition>,
    /// What the log's current life says, by key.
    logged: BTreeMap<i64, Row>,
    /// Rows that no event withdraws.
    pub ghosts: Vec<Row>,
    /// Lives of which there are records.
    pub has_rows: BTreeSet<i64>,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            now: 1000,
            trace: Vec::new(),
            lsn: 100,
            commits: 0,
            xid: 500,
            table: BTreeMap::new(),
            committed: BTreeMap::new(),
            open: BTreeMap::new(),
            wal: Vec::new(),
            connector: Connector::Creating,
            waiting: BTreeSet::new(),
            life: 0,
            resume: None,
            sent: BTreeMap::new(),
            reading: (0, 0, None),
            rows: Vec::new(),
            run: (0, 0),
            view: BTreeMap::new(),
            emitted: 0,
            logs: vec![Partition::default(); PARTITIONS],
            logged: BTreeMap::new(),
            ghosts: Vec::new(),
            has_rows: BTreeSet::new(),
        };
        world.create_slot();
        world
    }

    pub fn say(&mut self, text: String) {
        self.trace.push(format!("  t={} {text}", self.now));
    }

    // -- Postgres -------------------------------------------------------------------------------------------------------------------

    fn next_lsn(&mut self, rng: &mut StdRng) -> u64 {
        self.lsn += rng.random_range(1..=9_u64);
        self.lsn
    }

    fn row(&self, rng: &mut StdRng) -> Row {
        let offset = one(rng, &[0, 0, -5, -20, -45, -59, -61, -75, 5, AHEAD, AHEAD]);
        let member = one(rng, &[Some("a"), Some("b"), Some("c"), Some("c"), None]);
        (member, one(rng, &[None, Some(1), Some(2), Some(3), Some(5), Some(7)]), self.now + offset)
    }

    pub fn write(&mut self, rng: &mut StdRng) {
        if self.open.is_empty() || self.open.len() < 3 && rng.random_bool(0.4) {
            self.xid += 1;
            self.open.insert(self.xid, Vec::new());
        }
        let Some(xid) = self.open.keys().copied().choose(rng) else { return };
        let others = self.open.iter().filter(|(other, _)| **other != xid);
        let locked: BTreeSet<i64> = others.flat_map(|(_, events)| events.iter().filter_map(|e| e.key)).collect();
        let there: Vec<i64> = self.table.keys().copied().filter(|key| !locked.contains(key)).collect();
        let free: Vec<i64> = (0..7).filter(|key| !self.table.contains_key(key) && !locked.contains(key)).collect();
        let (kind, lsn) = (one(rng, &['i', 'i', 'i', 'u', 'u', 'u', 'd', 'p', 'C']), self.next_lsn(rng));
        match kind {
            'i' if !free.is_empty() => {
                let row = self.row(rng);
                self.change(xid, lsn, Op::Create, one(rng, &free), None, Some(row));
            }
            // COPY: several records at one position.
            'C' if free.len() > 1 => {
                for key in free.iter().copied().sample(rng, 2) {
                    let row = self.row(rng);
                    self.change(xid, lsn, Op::Create, key, None, Some(row));
                }
            }
            'u' | 'd' if !there.is_empty() => {
                let key = one(rng, &there);
                let after = (kind == 'u').then(|| self.row(rng));
                self.change(xid, lsn, if kind == 'u' { Op::Update } else { Op::Delete }, key, self.table.get(&key).copied(), after);
            }
            // A primary-key change: both at one position.
            'p' if !there.is_empty() && !free.is_empty() => {
                let (old, new) = (one(rng, &there), one(rng, &free));
                let before = self.table[&old];
                self.change(xid, lsn, Op::Delete, old, Some(before), None);
                let after = if rng.random_bool(0.5) { before } else { self.row(rng) };
                self.change(xid, lsn, Op::Create, new, None, Some(after));
            }
            _ => {}
        }
        if rng.random_bool(0.5) {
            self.commit(rng, Some(xid));
        }
    }

    fn change(&mut self, xid: u64, lsn: u64, op: Op, key: i64, before: Option<Row>, after: Option<Row>) {
        self.open.entry(xid).or_default().push(Event { lsn, op, key: Some(key), before, after });
        match after {
            None => self.table.remove(&key),
            Some(row) => self.table.insert(key, row),
        };
        self.say(format!("tx {xid} {} key {key} {before:?} -> {after:?} at lsn {lsn}", op.as_str()));
    }

    pub fn commit(&mut self, rng: &mut StdRng, xid: Option<u64>) {
        let Some(xid) = xid.or_else(|| self.open.keys().copied().choose(rng)) else { return };
        let events = self.open.remove(&xid).unwrap_or_default();
        self.waiting.remove(&xid);
        if !events.is_empty() {
            for event in &events {
                match (event.key, event.after) {
                    (None, _) => self.committed.clear(),
                    (Some(key), None) => {
                        self.committed.remove(&key);
                    }
                    (Some(key), Some(row)) => {
                        self.committed.insert(key, row);
                    }
                }
            }
            self.commits += 1;
            let lsn = self.next_lsn(rng);
            self.wal.push(Commit { lsn, time: self.commits, events });
            self.say(format!("tx {xid} commits at lsn {lsn}"));
        }
        self.slot_ready();
    }

    pub fn rollback(&mut self, rng: &mut StdRng) {
        let Some(xid) = self.open.keys().copied().choose(rng) else { return };
        for event in self.open.remove(&xid).unwrap_or_default().into_iter().rev() {
            let Some(key) = event.key else { continue };
            match event.before {
                None => self.table.remove(&key),
                Some(row) => self.table.insert(key, row),
            };
        }
        self.waiting.remove(&xid);
        self.say(format!("tx {xid} rolls back"));
        self.slot_ready();
    }

    pub fn truncate(&mut self, rng: &mut StdRng) {
        if self.open.values().any(|events| !events.is_empty()) || self.connector == Connector::Snapshot {
            return; // the lock would wait
        }
        self.xid += 1;
        let xid = self.xid;
        self.open.insert(xid, Vec::new());
        let free: Vec<i64> = (0..7).filter(|key| !self.table.contains_key(key)).collect();
        if !free.is_empty() && rng.random_bool(0.5) {
            let (lsn, row) = (self.next_lsn(rng), self.row(rng));
            self.change(xid, lsn, Op::Create, one(rng, &free), None, Some(row));
        }
        let lsn = self.next_lsn(rng);
        self.open.entry(xid).or_default().push(Event { lsn, op: Op::Truncate, key: None, before: None, after: None });
        self.table.clear();
        self.say(format!("tx {xid} truncates at lsn {lsn}"));
        if rng.random_bool(0.5) {
            let (lsn, row) = (self.next_lsn(rng), self.row(rng));
            self.change(xid, lsn, Op::Create, rng.random_range(0..7), None, Some(row));
        }
        self.commit(rng, Some(xid));
    }

    // -- Debezium -------------------------------------------------------------------------------------------------------------------

    /// A new slot waits for the transactions that are open; those begun meanwhile are streamed whole when they commit.
    fn create_slot(&mut self) {
        (self.connector, self.waiting) = (Connector::Creating, self.open.keys().copied().collect());
        self.say(format!("slot creation begins, waits for {:?}", self.waiting));
        self.slot_ready();
    }

    fn slot_ready(&mut self) {
        if self.connector == Connector::Creating && self.waiting.is_empty() {
            self.begin_run();
        }
    }

    /// S is the current LSN, the view what is committed now; streaming starts with the next commit.
    fn begin_run(&mut self) {
        self.xid += 1;
        self.now += 1;
        self.life += 1;
        (self.run, self.rows) = ((self.lsn, self.xid), self.committed.keys().copied().collect());
        (self.view, self.emitted, self.resume) = (self.committed.clone(), 0, None);
        self.reading = (self.wal.len(), 0, None);
        self.connector = if self.rows.is_empty() { Connector::Stream } else { Connector::Snapshot };
        self.say(format!("snapshot run {:?} of {} rows, life {}", self.run, self.rows.len(), self.life));
        if self.rows.is_empty() {
            // No record says that the older rows are gone.
            self.ghosts.extend(std::mem::take(&mut self.logged).into_values());
        }
    }

    fn emit(&mut self, rng: &mut StdRng, sent: Sent) {
        let partitions = i64::try_from(self.logs.len()).unwrap();
        let any = rng.random_range(0..partitions);
        let p = usize::try_from(sent.key.map_or(any, |key| key.rem_euclid(partitions))).unwrap();
        let text = format!("{} key {:?} [{:?},{}]", sent.op.as_str(), sent.key, sent.first, sent.own);
        self.say(format!(
            "partition {p} offset {}: {text} run {:?} {:?} -> {:?}",
            self.logs[p].records.len(),
            sent.run,
            sent.before,
            sent.after
        ));
        self.logs[p].records.push(Some(sent));
        self.logs[p].times.push(self.now);
    }

    fn begin_life(&mut self, life: i64) {
        self.logged.clear();
        self.ghosts.clear();
        self.has_rows.insert(life);
    }

    pub fn is_streamed(&self) -> bool {
        self.connector == Connector::Stream && self.reading.0 >= self.wal.len()
    }

    pub fn stream(&mut self, rng: &mut StdRng) {
        for _ in 0..rng.random_range(1..=4) {
            match self.connector {
                Connector::Snapshot => self.stream_row(rng),
                Connector::Stream if self.reading.0 < self.wal.len() => self.stream_event(rng),
                _ => {}
            }
        }
    }

    fn stream_row(&mut self, rng: &mut StdRng) {
        let key = self.rows.remove(0);
        if self.emitted == 0 {
            self.begin_life(self.life);
        }
        self.emitted += 1;
        let row = self.view[&key];
        self.logged.insert(key, row);
        let last = self.rows.is_empty();
        let sent = Sent { run: Some(self.run), last, order: (self.reading.0, -1), ..self.sent(Op::Read, Some(key), None, self.run.0) };
        self.emit(rng, Sent { after: Some(row), ..sent });
        if last {
            self.connector = Connector::Stream;
        }
    }

    fn sent(&self, op: Op, key: Option<i64>, first: Option<u64>, own: u64) -> Sent {
        Sent {
            op,
            key,
            before: None,
            after: None,
            first,
            own,
            run: None,
            incremental: false,
            last: false,
            commit_time: 0,
            arrived: self.now,
            life: self.life,
            order: (0, 0),
        }
    }

    fn stream_event(&mut self, rng: &mut StdRng) {
        let (at, n, first) = self.reading;
        let (lsn, time, events) = (self.wal[at].lsn, self.wal[at].time, self.wal[at].events.len());
        let event = self.wal[at].events[n].clone();
        if !self.sent.contains_key(&(at, n)) {
            match (event.key, event.after) {
                (None, _) => {
                    self.life += 1;
                    self.begin_life(self.life);
                }
                (Some(key), None) => {
                    self.logged.remove(&key);
                }
                (Some(key), Some(row)) => {
                    self.logged.insert(key, row);
                }
            }
            self.sent.insert((at, n), self.life);
        }
        let (life, order) = (self.sent[&(at, n)], (at, i64::try_from(n).unwrap()));
        let sent = Sent { commit_time: time, life, order, ..self.sent(event.op, event.key, first, event.lsn) };
        self.emit(rng, Sent { before: event.before, after: event.after, ..sent });
        self.reading = if n + 1 < events { (at, n + 1, first) } else { (at + 1, 0, Some(lsn)) };
    }

    /// Connect stores the position of something it sent: the last, or an earlier one.
    pub fn flush(&mut self, rng: &mut StdRng) {
        if self.connector == Connector::Stream {
            self.resume = [Some(self.reading), self.resume].into_iter().flatten().choose(rng);
        }
    }

    pub fn crash_connector(&mut self) {
        match (self.connector, self.resume) {
            (Connector::Stream, Some(resume)) => {
                self.say(format!("connector crashes at {:?}, goes on from {resume:?}", self.reading));
                self.reading = resume;
                self.now += 1;
            }
            (Connector::Creating, _) => {}
            _ => {
                self.say("connector crashes before its offsets were stored: snapshots again on its slot".to_owned());
                self.begin_run();
            }
        }
    }

    /// Connector deleted and created again: with a new slot, or on the old one.
    pub fn recreate(&mut self, rng: &mut StdRng) {
        if self.connector == Connector::Creating {
            return;
        }
        if rng.random_bool(0.35) {
            self.say("connector recreated, slot kept".to_owned());
            return self.begin_run();
        }
        self.say("connector and slot deleted, created again".to_owned());
        if rng.random_bool(0.4) && self.open.values().all(Vec::is_empty) && !self.table.is_empty() {
            for (key, row) in self.table.clone() {
                let lsn = self.next_lsn(rng);
                self.change(0, lsn, Op::Delete, key, Some(row), None);
            }
            self.commit(rng, Some(0));
        }
        self.create_slot();
    }

    pub fn incremental(&mut self, rng: &mut StdRng) {
        if let (Connector::Stream, Some((key, row))) = (self.connector, self.committed.clone().into_iter().choose(rng)) {
            let sent = Sent { incremental: true, after: Some(row), ..self.sent(Op::Read, Some(key), Some(1), self.lsn) };
            self.emit(rng, sent);
        }
    }

    // -- Kafka ----------------------------------------------------------------------------------------------------------------------

    pub fn control(&mut self, rng: &mut StdRng) {
        let p = rng.random_range(0..self.logs.len());
        self.logs[p].records.push(None);
        self.logs[p].times.push(self.now);
    }

    pub fn retention(&mut self) {
        for log in &mut self.logs {
            log.start = log.start.max(log.at_or_after(self.now - RETENTION));
        }
    }

    /// The rest of the log is written.
    pub fn finish(&mut self, rng: &mut StdRng) {
        while !self.open.is_empty() {
            self.commit(rng, None);
        }
        while !self.is_streamed() {
            self.stream(rng);
        }
        if self.view.is_empty() && self.table.is_empty() {
            // A run cut off, then one of no rows: the next change ends it.
            self.xid += 1;
            let (xid, lsn) = (self.xid, self.next_lsn(rng));
            self.change(xid, lsn, Op::Create, 0, None, Some((Some("a"), Some(1), self.now)));
            self.commit(rng, Some(xid));
            while !self.is_streamed() {
                self.stream(rng);
            }
        }
    }
}

pub fn one<T: Copy>(rng: &mut impl Rng, of: &[T]) -> T {
    *of.choose(rng).unwrap()
}

//! The truth: what readers must see after every call, and what must be there in the end. It reads Redis behind the functions' back, and the world's own table.

use super::*;

impl Attack<'_> {
    /// Everything that was in the log when the epoch began is in it, and the whole of its snapshot run.
    pub(super) fn swapped(&mut self, id: &str) -> Result<(), Violation> {
        let Some(served) = self.served() else { return Err("a swap to nothing".to_owned()) };
        let next = |p: &i32| served.progress.get(p).map_or(0, |progress| progress.next);
        if let Some(high) = self.high_at_begin[id].iter().find(|(p, high)| next(p) < **high) {
            return Err(format!("readers see a half-built ranking: partition {} before {}", high.0, high.1));
        }
        let run = served.boundary.as_ref().and_then(|b| Some((b.lsn, b.run_tx?)));
        if run == Some(self.world.run) && self.world.connector == Connector::Snapshot {
            return Err(format!("readers see a half-built ranking: snapshot run {run:?} has rows to come"));
        }
        self.world.say(format!("epoch {id} is served"));
        self.trusted = true;
        self.swaps += 1;
        Ok(())
    }

    /// The epoch that readers see, read behind the functions' back.
    fn served(&mut self) -> Option<Served> {
        let letter: Option<String> = run(self.connection, &["HGET", "{k}:state", "served"]);
        let meta: BTreeMap<String, String> = run(self.connection, &["HGETALL", &format!("{{k}}:{}", letter?)]);
        let letter: String = run(self.connection, &["HGET", "{k}:state", "served"]);
        let buckets: BTreeMap<String, String> = run(self.connection, &["HGETALL", &format!("{{k}}:{letter}:buckets")]);
        let owed: BTreeMap<String, String> = run(self.connection, &["HGETALL", &format!("{{k}}:{letter}:owed")]);
        let coordinates = |text: &str| text.split_once(':').map(|(p, offset)| (p.parse().unwrap(), offset.parse().unwrap())).unwrap();
        let sides = |text: &str| Sides { before: text.contains('-'), after: text.contains('+') };
        let progress = meta.iter().filter_map(|(field, next)| Some((field.strip_prefix("next:")?.parse().ok()?, next)));
        let boundary = Boundary::decode(&meta["boundary"]).map(|b| Boundary { ended: meta["ended"] == "1", ..b });
        Some(Served {
            pipeline: if meta["fingerprint"] == "A" { Pipeline::A } else { Pipeline::B },
            floor: meta["floor"].parse::<i64>().unwrap() / SECOND_MS,
            progress: progress.map(|(p, next)| (p, Progress { next: next.parse().unwrap(), mark: Mark::default() })).collect(),
            boundary,
            buckets,
            owed: owed.iter().map(|(at, owed)| (coordinates(at), sides(owed))).collect(),
        })
    }

    /// The served ranking is exactly the log up to its progress, and never goes back.
    pub(super) fn check_readers(&mut self) -> Result<(), Violation> {
        if !self.trusted {
            return Ok(());
        }
        let Some(served) = self.served() else { return Ok(()) };
        let next: BTreeMap<i32, i64> = served.progress.iter().map(|(p, progress)| (*p, progress.next)).collect();
        for (p, seen) in &self.high_seen {
            if next.get(p).copied().unwrap_or(0) < *seen {
                return Err(format!("readers see an older ranking: partition {p} at {:?} after {seen}", next.get(p)));
            }
        }
        self.high_seen.clone_from(&next);
        let read: Vec<_> = (0..)
            .zip(&self.world.logs)
            .flat_map(|(p, log)| log.records.iter().take(usize::try_from(next.get(&p).copied().unwrap_or(0)).unwrap()))
            .flatten()
            .filter(|sent| !sent.incremental)
            .collect();
        let mut least = 0;
        if let Some(boundary) = &served.boundary {
            for sent in &read {
                let of_run = sent.run.is_some() && sent.run == boundary.run_tx.map(|tx| (boundary.lsn, tx));
                if of_run || sent.op == Op::Truncate && sent.own == boundary.lsn {
                    least = least.max(sent.life);
                }
            }
        }
        let mut rows: BTreeMap<(i64, Option<i64>), _> = BTreeMap::new();
        for sent in read.iter().filter(|sent| sent.op != Op::Truncate && sent.life >= least) {
            if (least + 1..=sent.life).any(|life| self.world.has_rows.contains(&life)) {
                return Ok(()); // a later life is in it already: its boundary is yet to be read
            }
            let newest = rows.entry((sent.life, sent.key)).or_insert((sent.order, sent.after));
            if newest.0 <= sent.order {
                *newest = (sent.order, sent.after);
            }
        }
        let mut want = aggregate(rows.values().filter_map(|(_, row)| *row), served.pipeline, served.floor);
        // What a row that is owed would add is missing, and what it would take away is still there.
        for (record, sides) in &served.owed {
            let sent = self.record(*record);
            for (row, sign) in [(sent.before.filter(|_| sides.before), 1), (sent.after.filter(|_| sides.after), -1)] {
                for (member, (sum, rows)) in aggregate(row.into_iter(), served.pipeline, served.floor) {
                    let total = want.entry(member).or_default();
                    *total = (total.0 + sign * sum, total.1 + sign * rows);
                }
            }
        }
        let mut have = served.sums();
        [&mut want, &mut have].into_iter().for_each(|sums| sums.retain(|_, sum| *sum != (0, 0)));
        if want != have {
            Err(format!("readers: ranking {have:?}, log up to {next:?} says {want:?}, floor {}", served.floor))
        } else {
            Ok(())
        }
    }

    /// Faults stop; the rest of the log is written; every partition must be read within bounded steps; then compare.
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        let mut rng = StdRng::seed_from_u64(1);
        self.quiet = true;
        self.world.finish(&mut rng);
        while !self.network.is_empty() {
            self.deliver(&mut rng)?;
        }
        self.lanes.iter_mut().for_each(|lane| lane.paused = false);
        self.supervise();
        self.rebalance(&mut rng);
        for round in 0..3000 {
            for n in 0..self.lanes.len() {
                self.step(n, &mut rng)?;
            }
            if self.lanes.iter().all(|lane| !lane.alive) {
                self.lanes[0].start(self.pipeline);
            }
            if round % 100 == 99 {
                self.supervise();
                self.rebalance(&mut rng);
            }
            if round % 10 == 9 && self.is_done() {
                break;
            }
        }
        self.execute(&Call::Tick)?;
        if !self.is_done() {
            return Err(format!("stuck: {:?}, log {:?}", self.state(), Moment::of(&self.world.logs).watermarks));
        }
        self.broken = false;
        for record in self.letters.clone() {
            for call in self.plan_replay(record).into_iter().chain(self.replays.last().cloned()) {
                self.execute(&call)?;
            }
        }
        let served = self.served().unwrap();
        if !served.owed.is_empty() {
            return Err(format!("owed after everything was replayed: {:?}", served.owed));
        }
        let floor = self.served().unwrap().floor;
        let rows: Vec<Row> = self.world.committed.values().chain(&self.world.ghosts).copied().collect();
        let want: BTreeMap<_, _> = aggregate(rows.into_iter(), self.pipeline, floor).into_iter().map(|(m, (sum, _))| (m, sum)).collect();
        let list: Vec<String> = run(self.connection, &["ZRANGE", "k", "0", "-1", "WITHSCORES"]);
        let have: BTreeMap<_, _> = list.chunks(2).map(|pair| (pair[0].clone(), pair[1].parse::<i64>().unwrap())).collect();
        if want != have { Err(format!("ranking {have:?}, truth {want:?}, floor {floor}")) } else { Ok(()) }
    }

    fn is_done(&mut self) -> bool {
        let state = self.state();
        let Some(current) = state.current else { return false };
        let building = current.role == Role::Building;
        let waits = building && current.boundary.as_ref().is_none_or(|b| b.ended);
        let next = |p: i32, current: &Epoch| current.progress.get(&p).map_or(0, |progress| progress.next);
        let read = (0..).zip(&self.world.logs).all(|(p, log)| next(p, &current) == offset(log.records.len()));
        read && !waits && current.identity.fingerprint == self.pipeline.layout().fingerprint && self.served().is_some()
    }
}

struct Served {
    pipeline: Pipeline,
    floor: i64,
    progress: BTreeMap<i32, Progress>,
    boundary: Option<Boundary>,
    buckets: BTreeMap<String, String>,
    owed: BTreeMap<(i32, i64), Sides>,
}

impl Served {
    fn sums(&self) -> BTreeMap<String, (i64, i64)> {
        let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for (field, value) in &self.buckets {
            let ((bucket, member), (amount, rows)) = (field.split_once(':').unwrap(), value.split_once(' ').unwrap());
            if bucket.parse::<i64>().unwrap() / SECOND_MS >= self.floor {
                let sum = sums.entry(member.to_owned()).or_default();
                *sum = (sum.0 + amount.parse::<i64>().unwrap(), sum.1 + rows.parse::<i64>().unwrap());
            }
        }
        sums
    }
}

fn aggregate(rows: impl Iterator<Item = Row>, pipeline: Pipeline, floor: i64) -> BTreeMap<String, (i64, i64)> {
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (member, score, at) in rows {
        if let (Some(member), Some(score), true) = (member, score, at >= floor) {
            let sum = sums.entry(member.to_owned()).or_default();
            *sum = (sum.0 + score * pipeline.factor(), sum.1 + 1);
        }
    }
    sums
}

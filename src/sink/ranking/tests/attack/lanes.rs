//! The lanes: adopt, begin or stop; read into batches and judge with the engine's own functions; send what was read. All that a lane decides is here, on the mark that travels with
//! the reading.

use super::*;

impl Attack<'_> {
    pub(super) fn step(&mut self, n: usize, rng: &mut StdRng) -> Result<(), Violation> {
        let lane = &mut self.lanes[n];
        if !lane.alive || lane.paused {
            return Ok(());
        }
        if lane.connection != Some(self.run) || lane.epoch.is_none() && lane.todo.is_none() {
            self.connect(n);
            return Ok(());
        }
        if let Some(call) = lane.todo.take() {
            self.call(n, rng, call)?;
            if self.lanes[n].alive {
                self.connect(n);
            }
            return Ok(());
        }
        let choice: f64 = rng.random();
        if choice < 0.1 {
            self.call(n, rng, Call::Tick)?;
            return Ok(());
        }
        if choice < 0.55 || self.lanes[n].channel.is_empty() { self.poll(n, rng) } else { self.send(n, rng) }
    }

    /// After start, a lost connection, a conflict or a rebalance: adopt, begin or stop.
    pub(super) fn connect(&mut self, n: usize) {
        let state = self.state();
        let (run, run_id) = (self.run, self.run_id());
        let lane = &mut self.lanes[n];
        (lane.connection, lane.todo) = (Some(run), None);
        let mine = Identity { run_id, fingerprint: lane.pipeline.layout().fingerprint, topic: "topic".to_owned() };
        match epoch::decide(state.current.as_ref(), &mine, lane.starting) {
            Decision::Begin(_) => {
                let boundary = epoch::carried(state.current.as_ref(), "topic");
                self.plan(n, &state, boundary);
            }
            Decision::FencedByPipeline | Decision::FencedByTopic => {
                lane.stop();
                self.world.say(format!("lane {n} stops: fenced by another pipeline"));
            }
            Decision::Adopt => {
                let current = state.current.unwrap();
                lane.starting = false;
                lane.generation += 1;
                for (p, progress) in &mut lane.partitions {
                    *progress = current.progress.get(p).cloned().unwrap_or_default();
                }
                (lane.epoch, lane.boundary) = (Some(current.id), current.boundary);
            }
        }
    }

    /// The call itself is a later step, so everything may happen between.
    fn plan(&mut self, n: usize, state: &State, boundary: Option<Boundary>) {
        let layout = self.lanes[n].pipeline.layout();
        let identity = Identity { run_id: self.run_id(), fingerprint: layout.fingerprint.clone(), topic: "topic".to_owned() };
        let moment = Moment::of(&self.world.logs);
        let (epoch, _) = self.runtime.block_on(epoch::plan(&moment, &layout, state, identity, boundary, None)).unwrap();
        self.world.say(format!("lane {n} plans an epoch: {epoch:?}"));
        self.high_at_begin.insert(epoch.id.clone(), epoch.partitions.iter().map(|(p, (_, high))| (*p, *high)).collect());
        let old = state.current.as_ref().map_or(String::new(), |current| current.id.clone());
        self.lanes[n].todo = Some(Call::Begin { old, epoch: Box::new(epoch) });
    }

    /// Reads records of some partitions into a batch; all decisions are taken here, on the mark that travels with the reading.
    fn poll(&mut self, n: usize, rng: &mut StdRng) -> Result<(), Violation> {
        if let Some(assigned) = self.lanes[n].assigned.take() {
            self.lanes[n].partitions = assigned.into_iter().map(|p| (p, Progress::default())).collect();
            self.connect(n);
            return Ok(());
        }
        let lane = &self.lanes[n];
        let (pipeline, boundary, epoch) = (lane.pipeline, lane.boundary.clone(), lane.epoch.clone().unwrap_or_default());
        let mut batch = Batch {
            generation: lane.generation,
            epoch,
            slices: BTreeMap::new(),
            payload: Payload::default(),
            targets: BTreeMap::new(),
            owed: Vec::new(),
            begin: None,
        };
        let (mut ended, mut read) = (false, Vec::new());
        for (p, progress) in &lane.partitions {
            if batch.begin.is_some() || rng.random_bool(0.3) {
                continue;
            }
            let log = &self.world.logs[usize::try_from(*p).unwrap()];
            let (from, mut mark) = (usize::try_from(progress.next).unwrap(), progress.mark.clone());
            if from < log.start {
                let state = self.state();
                self.world.say(format!("lane {n}: partition out of range, replay"));
                let boundary = epoch::carried(state.current.as_ref(), "topic");
                self.plan(n, &state, boundary);
                return Ok(());
            }
            let mut position = from;
            for at in from..log.records.len().min(from + rng.random_range(1..=4)) {
                if let Some(sent) = &log.records[at] {
                    let change = sent.change();
                    match decide(&change, sent.arrived * SECOND_MS, Policy::Boundaries, boundary.as_ref(), &mut mark) {
                        Verdict::WentBack => return Err(format!("false alarm: LSNs went back at partition {p} offset {at}")),
                        Verdict::Begin(found) => {
                            batch.begin = Some(found);
                            break;
                        }
                        Verdict::Count | Verdict::BeganAnew => {
                            ended |= change.op != Op::Read || change.snapshot == Snapshot::Last;
                            let selected = Selected::new(pipeline, sent, self.broken);
                            let (before, after) = selected.rows();
                            batch.payload.add(&pipeline.layout(), before, after).unwrap();
                            batch.owed.extend(selected.failed.map(|f| Owed { partition: *p, offset: offset(at), sides: f.sides }));
                        }
                        Verdict::Ignored | Verdict::Duplicate => {}
                    }
                }
                position = at + 1;
            }
            if position > from {
                let progress = Progress { next: offset(position), mark };
                batch.slices.insert(*p, Slice { token: offset(from), progress: progress.clone() });
                read.push((*p, progress));
            }
        }
        if ended {
            batch.targets = Seen(&self.world.logs).each(|log| offset(log.records.len()));
        }
        self.lanes[n].partitions.extend(read);
        if !batch.slices.is_empty() || batch.begin.is_some() {
            self.lanes[n].channel.push(batch);
        }
        Ok(())
    }

    fn send(&mut self, n: usize, rng: &mut StdRng) -> Result<(), Violation> {
        let mut batch = self.lanes[n].channel.remove(0);
        if batch.generation != self.lanes[n].generation {
            if holds(Protection::Token) {
                return Ok(());
            }
            // As if it had been read after the seek.
            let at = &self.lanes[n].partitions;
            batch.slices.retain(|p, _| at.contains_key(p));
            for (p, slice) in &mut batch.slices {
                slice.token = at[p].next;
            }
            batch.epoch = self.lanes[n].epoch.clone().unwrap_or_default();
        }
        if !batch.slices.is_empty() {
            self.letters.extend(batch.owed.iter().map(|owed| (owed.partition, owed.offset)));
            let (epoch, entries) = (batch.epoch.clone(), entries(&batch.payload));
            let call = Call::Apply { epoch, slices: batch.slices, targets: batch.targets, owed: batch.owed, entries };
            match self.call(n, rng, call)? {
                None => return Ok(()),
                Some(Reply::Moved) => {
                    self.world.say(format!("lane {n}: conflict, seeks"));
                    self.connect(n);
                    return Ok(());
                }
                Some(Reply::Done(_)) => {}
            }
        }
        let Some(begin) = batch.begin else { return Ok(()) };
        let state = self.state();
        let ours = state.current.as_ref().filter(|current| current.id == batch.epoch);
        if ours.is_some_and(|current| begin.exceeds(current.boundary.as_ref())) {
            self.plan(n, &state, Some(begin));
        } else {
            self.connect(n);
        }
        Ok(())
    }
}

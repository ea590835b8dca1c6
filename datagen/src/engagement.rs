//! The run: at each step of the schedule one change is written, until the time is over or somebody says stop.

use crate::args::Settings;
use crate::pace::Pace;
use crate::postgres::{Database, Outcome};
use crate::progress::{Counts, Progress};
use crate::session::{Audience, Content};
use anyhow::Context;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::pin::Pin;
use tokio::time::{Instant, sleep_until};

/// Corrections and deletions choose among this many events, mostly recent ones.
const RECENT_EVENTS_MAX: usize = 1_000;

/// Writes until `stop` is ready or the time is over, then sums up. An `Err` is what waiting does not heal.
pub async fn run(settings: &Settings, mut stop: Pin<&mut impl Future<Output = ()>>) -> anyhow::Result<()> {
    let seed = settings.seed.unwrap_or_else(|| rand::rng().random());
    let mut generator = tokio::select! {
        generator = Generator::start(settings, seed) => generator?,
        () = &mut stop => {
            let now = Instant::now();
            Progress::new(now).finish(now, Counts::default());
            return Ok(());
        }
    };
    println!("engagement: {} changes/s, seed {seed}", settings.rate);

    let began = Instant::now();
    let end = settings.duration.map(|duration| began + duration);
    let mut pace = Pace::new(began, settings.rate);
    let mut progress = Progress::new(began);
    loop {
        let due = pace.next();
        if end.is_some_and(|end| due >= end) {
            break;
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = sleep_until(due) => {}
        }
        if let Outcome::Outage = generator.change().await? {
            tokio::select! {
                back = generator.database.reconnect() => back?,
                () = &mut stop => break,
            }
            pace.resume(Instant::now());
        }
        progress.show(Instant::now(), generator.counts);
    }
    progress.finish(Instant::now(), generator.counts);
    Ok(())
}

struct Generator<'a> {
    settings: &'a Settings,
    database: Database,
    audience: Audience,
    /// Decides between insert, update and delete; apart from the audience's, so that the events do not depend on the shares.
    rng: StdRng,
    recent: Vec<i64>,
    counts: Counts,
}

impl<'a> Generator<'a> {
    async fn start(settings: &'a Settings, seed: u64) -> anyhow::Result<Self> {
        let mut database = Database::connect(&settings.database_url).await?;
        let content = content(&mut database).await?;
        let audience = Audience::new(content, seed).context("the table content is empty; apply init-db/*.sql first")?;
        let rng = StdRng::seed_from_u64(!seed);
        Ok(Self { settings, database, audience, rng, recent: Vec::new(), counts: Counts::default() })
    }

    /// One change in one transaction.
    async fn change(&mut self) -> anyhow::Result<Outcome<()>> {
        let Settings { updates, deletes, .. } = *self.settings;
        let draw: f64 = self.rng.random();
        if self.recent.is_empty() || draw >= updates + deletes {
            return self.insert().await;
        }
        let index = self.rng.random_range(0..self.recent.len());
        let (counted, outcome) = if draw < updates {
            let duration_ms = self.rng.random_range(1_000..600_000);
            (&mut self.counts.updates, self.database.update(self.recent[index], duration_ms).await?)
        } else {
            let id = self.recent.swap_remove(index);
            (&mut self.counts.deletes, self.database.delete(id).await?)
        };
        let Outcome::Done(rows) = outcome else {
            return Ok(Outcome::Outage);
        };
        *counted += rows;
        Ok(Outcome::Done(()))
    }

    async fn insert(&mut self) -> anyhow::Result<Outcome<()>> {
        let event = self.audience.next_event();
        let Outcome::Done(id) = self.database.insert(&event).await? else {
            return Ok(Outcome::Outage);
        };
        if self.recent.len() == RECENT_EVENTS_MAX {
            let replaced = self.rng.random_range(0..RECENT_EVENTS_MAX);
            self.recent.swap_remove(replaced);
        }
        self.recent.push(id);
        self.counts.inserts += 1;
        Ok(Outcome::Done(()))
    }
}

async fn content(database: &mut Database) -> anyhow::Result<Vec<Content>> {
    loop {
        match database.content().await? {
            Outcome::Done(content) => return Ok(content),
            Outcome::Outage => database.reconnect().await?,
        }
    }
}

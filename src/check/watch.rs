//! Whether the tables still are what a plan was made for, and the database still the one whose changes were read.
//!
//! Postgres is asked again every [`TABLES_EVERY`], and at once when a record contradicts the plan or fails under it: a column that is gone, a value of
//! another type, an old row that is missing, an overflow that another type would not have. What this promises: no record is given up while its
//! table is another one than the plan's. The lane holds it back until Postgres has said, after the record was read, that nothing changed; if something
//! did, the lanes end before it and start again with a new plan, or wait until the contradiction is mended. A change that was taken back before Postgres was
//! asked is not seen: records of the time between are given up.
//!
//! A database that was restored from an older copy writes its WAL anew from there. A connector that keeps its offsets skips all of it until it is past
//! them, so that no record ever tells. Postgres does: its WAL ends before what was read from it, which is asked every [`WAL_EVERY`]. That it ended there is not seen any more once it
//! has grown past that; another cluster is known by its system identifier. Both are kept for the engines to come, see [`origin`](super::origin).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater_sql::catalog::Table;
use highwater_sql::{Lookup, Plan};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::origin::{self, Kept, Origin};
use super::{State, check_tables};
use crate::catalog::{self, Database, Wal};
use crate::config::PipelineConfig;

/// How often Postgres is asked for its tables when no lane asks.
const TABLES_EVERY: Duration = Duration::from_secs(10);
/// How often it is asked where its WAL ends: a restored database may soon have written past the place where it was read.
const WAL_EVERY: Duration = Duration::from_secs(1);
/// How soon it is asked again when it does not answer and a lane waits.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// The SQLSTATE of a role that may not call a function.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// How long after what it has found an engine looks whether another one has not overwritten it at that moment.
const KEEP_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Questions that wait for the same answer; one lane has one at a time.
const QUESTIONS_MAX: usize = 256;

/// What Postgres says when the tables did not change: the transaction that last defined the source table, see [`catalog::Definition::source_by`].
type Answer = Option<u32>;

/// The lanes' end: asks, and tells how far the WAL was read.
#[derive(Clone, Debug)]
pub struct Witness {
    questions: Questions,
    read_lsn: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
enum Questions {
    Asked(mpsc::Sender<oneshot::Sender<Answer>>),
    Answered(Answer),
}

/// The pipeline's end: reads the catalog, and answers.
#[derive(Debug)]
pub struct Watch {
    questions: mpsc::Receiver<oneshot::Sender<Answer>>,
    /// The highest position in the WAL that any lane has read.
    read_lsn: Arc<AtomicU64>,
    /// What Postgres told when nothing had changed.
    known: Option<String>,
    /// What is known of the database.
    origin: Origin,
    /// Where that is kept; none until Kafka has told what is.
    kept: Option<Kept>,
    /// It was said that Kafka does not tell or keep it.
    unkept: bool,
    /// It was said that Postgres does not let us ask.
    unasked: bool,
}

/// Why the lanes cannot go on as they are.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The tables are not what the plan was made for: they may start again.
    Changed(String),
    /// The database is not the one whose changes were read: going on would be wrong.
    WentBack(String),
}

/// What Postgres says.
enum Look {
    Same(Answer),
    Ended(Found),
    Unknown(String),
}

/// Both ends.
pub fn watch() -> (Witness, Watch) {
    let (asks, questions) = mpsc::channel(QUESTIONS_MAX);
    let read_lsn = Arc::new(AtomicU64::new(0));
    (
        Witness { questions: Questions::Asked(asks), read_lsn: Arc::clone(&read_lsn) },
        Watch { questions, read_lsn, known: None, origin: Origin::default(), kept: None, unkept: false, unasked: false },
    )
}

impl Witness {
    /// For a command: Postgres was asked before it began, and is not asked again.
    pub fn that_asked(source_defined_by: Option<u32>) -> Self {
        Self { questions: Questions::Answered(source_defined_by), read_lsn: Arc::default() }
    }

    /// Returns when Postgres has said, after this call, that the tables did not change, and which transaction last defined the source. Waits while it
    /// does not answer, and does not return when they did change: the lane is being ended, and drops this.
    pub async fn unchanged(&self) -> Option<u32> {
        let asks = match &self.questions {
            Questions::Asked(asks) => asks,
            Questions::Answered(answer) => return *answer,
        };
        let (question, answered) = oneshot::channel();
        if asks.send(question).await.is_ok()
            && let Ok(answer) = answered.await
        {
            return answer;
        }
        std::future::pending().await
    }

    /// The WAL was read up to here.
    pub fn read(&self, lsn: u64) {
        self.read_lsn.fetch_max(lsn, Ordering::Relaxed);
    }
}

impl Watch {
    /// Returns when the tables are not what `plan` was made for, or the database is another one.
    pub async fn until_ended(mut self, config: &PipelineConfig, plan: &Plan) -> Found {
        let database = match Database::new(&config.source.postgres) {
            Ok(database) => database,
            Err(error) => return Found::Changed(error.to_string()),
        };
        let (mut asked, mut silent) = (Vec::new(), false);
        let (mut next, mut told): (Instant, Option<Instant>) = (Instant::now(), None);
        let ended = loop {
            let until = if asked.is_empty() { next } else { Instant::now() + RETRY_EVERY };
            match timeout_at(until, self.questions.recv()).await {
                Ok(Some(question)) => asked.push(question),
                // No lane is left to ask: their end is what ends this too.
                Ok(None) => tokio::time::sleep_until(until).await,
                Err(_) => {}
            }
            // Those that asked meanwhile get the same answer: it is read after they asked.
            while let Ok(question) = self.questions.try_recv() {
                asked.push(question);
            }
            asked.retain(|question| !question.is_closed());
            next = Instant::now() + WAL_EVERY;
            let due = told.is_none_or(|told| told.elapsed() >= TABLES_EVERY);
            match self.look(config, plan, &database, due || !asked.is_empty()).await {
                Look::Ended(ended) => {
                    if let Found::WentBack(what) = &ended {
                        self.origin.went_back.get_or_insert_with(|| what.clone());
                        self.keep(config).await;
                        tokio::time::sleep(KEEP_AGAIN_AFTER).await;
                        self.keep(config).await;
                    }
                    break ended;
                }
                Look::Same(answer) => {
                    if due {
                        told = Some(Instant::now());
                    }
                    if std::mem::take(&mut silent) {
                        info!(pipeline = config.name, "postgres says again whether the tables changed");
                    }
                    for question in asked.drain(..) {
                        let _ = question.send(answer);
                    }
                }
                Look::Unknown(why) if !asked.is_empty() && !silent => {
                    warn!(pipeline = config.name, "records that fail wait until postgres says whether their table changed: {why}");
                    silent = true;
                }
                Look::Unknown(_) => {}
            }
            if due {
                self.keep(config).await;
            }
        };
        database.close().await;
        ended
    }

    async fn look(&mut self, config: &PipelineConfig, plan: &Plan, database: &Database, at_tables: bool) -> Look {
        let Ok(names) = highwater_sql::parse::tables(&config.select.sql) else { return Look::Same(None) };
        self.open(config, plan).await;
        if let Some(what) = self.noticed_before() {
            return Look::Ended(Found::WentBack(what));
        }
        // Before the server is asked: its WAL only grows.
        let read_lsn = self.read_lsn.load(Ordering::Relaxed);
        match database.within(catalog::wal(database)).await {
            Ok(wal) => {
                if let Some(what) = self.went_back(read_lsn, &wal) {
                    return Look::Ended(Found::WentBack(what));
                }
            }
            // A role that may not ask goes without.
            Err(catalog::Error::Refused(why)) => {
                if why.contains(INSUFFICIENT_PRIVILEGE) && !std::mem::replace(&mut self.unasked, true) {
                    warn!(
                        pipeline = config.name,
                        "a restored database or another cluster will not be noticed: {why}; let the role call pg_control_system() and pg_current_wal_flush_lsn()"
                    );
                }
            }
            Err(error) => return Look::Unknown(error.to_string()),
        }
        if !at_tables {
            return Look::Same(None);
        }
        // Read before the check, so that what changes in between is looked at again.
        let told = match database.within(catalog::definition(database, &names, &plan.source)).await {
            Ok(told) if self.known.as_ref() == Some(&told.text) => return Look::Same(told.source_by),
            Ok(told) => told,
            Err(error) => return Look::Unknown(error.to_string()),
        };
        let report = check_tables(config).await;
        match (report.state(), &report.plan) {
            (State::Failed, _) => {
                let said = report.of(State::Failed).map(|fact| format!("{}: {}", fact.subject, fact.text));
                Look::Ended(Found::Changed(said.collect::<Vec<_>>().join("; ")))
            }
            (State::Ok | State::Warning, Some(now)) => match difference(plan, now) {
                Some(what) => Look::Ended(Found::Changed(format!("{what} changed"))),
                None => {
                    self.known = Some(told.text);
                    Look::Same(told.source_by)
                }
            },
            _ => Look::Unknown(report.waiting_for()),
        }
    }

    /// Finds out what earlier engines kept. While Kafka does not tell, no lane reads.
    async fn open(&mut self, config: &PipelineConfig, plan: &Plan) {
        if self.kept.is_none() {
            let topic = config.topic(&plan.source.schema, &plan.source.name);
            let opened = async {
                let kept = Kept::open(&config.source.kafka, &config.name, &topic).await?;
                let origin = kept.read().await?;
                Ok((kept, origin))
            };
            match opened.await {
                Ok((kept, origin)) => {
                    self.kept = Some(kept);
                    self.origin = Origin { cluster: origin.cluster.or(self.origin.cluster), went_back: origin.went_back };
                }
                Err(error) => self.say_unkept(config, &error),
            }
        }
    }

    /// For engines to come, and learns what others have found.
    async fn keep(&mut self, config: &PipelineConfig) {
        let Some(kept) = &mut self.kept else { return };
        match kept.keep(&self.origin).await {
            Ok(origin) => (self.origin, self.unkept) = (origin, false),
            Err(error) => self.say_unkept(config, &error),
        }
    }

    /// Once per outage, and each time when it is about a database that went back: the next engine will not know.
    fn say_unkept(&mut self, config: &PipelineConfig, error: &crate::source::Error) {
        if !std::mem::replace(&mut self.unkept, true) || self.origin.went_back.is_some() {
            warn!(
                pipeline = config.name,
                %error,
                "the group {} cannot be read or written: an engine that starts after this one may not know that the database went back",
                origin::group(&config.name)
            );
        }
    }

    /// What an engine before this one, or beside it, has found.
    fn noticed_before(&self) -> Option<String> {
        self.origin.went_back.as_ref().map(|found| format!("an engine noticed before that {found}"))
    }

    /// What shows that the database is another one than was read up to `read_lsn`, or showed it to an engine before. A standby may lag: its position says
    /// nothing.
    fn went_back(&mut self, read_lsn: u64, wal: &Wal) -> Option<String> {
        if let Some(found) = self.noticed_before() {
            return Some(found);
        }
        if let Some(was) = self.origin.cluster.replace(wal.cluster).filter(|was| *was != wal.cluster) {
            return Some(format!("it is another cluster, {} and not {was}: its LSNs are others", wal.cluster));
        }
        let end = wal.end_lsn.filter(|end| *end < read_lsn)?;
        Some(format!("the WAL ends at {}, before the last change that was read, {}: LSNs went back", lsn(end), lsn(read_lsn)))
    }
}

/// As Postgres writes it.
fn lsn(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// What differs of what a plan needs; columns that it does not name do not matter.
fn difference(was: &Plan, is: &Plan) -> Option<String> {
    let table = |table: &Table| format!("{}.{}", table.schema, table.name);
    if identity(&was.source) != identity(&is.source) || was.source_columns != is.source_columns {
        return Some(table(&was.source));
    }
    let lookup = |l: &Lookup| (l.key_columns.clone(), l.columns.clone());
    let mut lookups = was.lookups.iter().zip(&is.lookups);
    if let Some((was, _)) = lookups.find(|(was, is)| identity(&was.table) != identity(&is.table) || lookup(was) != lookup(is)) {
        return Some(table(&was.table));
    }
    (was.outputs != is.outputs).then(|| "the result's columns".to_owned())
}

fn identity(table: &Table) -> impl PartialEq + use<> {
    (table.schema.clone(), table.name.clone(), table.primary_key.clone(), table.replica_identity)
}

#[cfg(test)]
mod tests {
    use highwater_sql::catalog::{Catalog, Column, ReplicaIdentity};
    use highwater_sql::{Type, check::check};
    use tokio::time::timeout;

    use super::*;

    fn plan(columns: &[(&str, Type)], replica_identity: ReplicaIdentity) -> Plan {
        let column = |(name, ty): &(&str, Type)| Column {
            name: (*name).into(),
            ty: ty.clone(),
            not_null: false,
            has_default: false,
            collation_is_c: true,
        };
        let table = Table {
            schema: "public".into(),
            name: "readings".into(),
            columns: columns.iter().map(column).collect(),
            primary_key: vec!["id".into()],
            unique_keys: vec![vec!["id".into()]],
            replica_identity,
        };
        let catalog = Catalog { tables: vec![table], default_collation_is_c: true };
        check("SELECT id, value FROM readings", &catalog).unwrap()
    }

    #[test]
    fn only_what_the_select_names_matters() {
        let was = plan(&[("id", Type::Int8), ("value", Type::Int4)], ReplicaIdentity::Full);
        let added = plan(&[("id", Type::Int8), ("note", Type::Text), ("value", Type::Int4)], ReplicaIdentity::Full);
        assert_eq!(difference(&was, &added), None);
        let widened = plan(&[("id", Type::Int8), ("value", Type::Int8)], ReplicaIdentity::Full);
        assert_eq!(difference(&was, &widened).as_deref(), Some("public.readings"));
        let keys_only = plan(&[("id", Type::Int8), ("value", Type::Int4)], ReplicaIdentity::Default);
        assert_eq!(difference(&was, &keys_only).as_deref(), Some("public.readings"));
    }

    #[tokio::test]
    async fn a_lane_waits_for_the_answer_and_for_nothing_else() {
        let (witness, mut watch) = watch();
        let patience = Duration::from_millis(100);
        assert!(timeout(patience, witness.unchanged()).await.is_err(), "nobody has answered");
        let asks = tokio::spawn(async move { witness.unchanged().await });
        // The first question is the one that was given up.
        while let Some(question) = watch.questions.recv().await {
            if !question.is_closed() {
                question.send(Some(7)).unwrap();
                break;
            }
        }
        assert_eq!(timeout(patience, asks).await.unwrap().unwrap(), Some(7));
    }

    #[test]
    fn a_wal_that_ends_before_what_was_read_is_another_databases() {
        let (witness, mut watch) = watch();
        let mut look = |end_lsn, cluster| watch.went_back(watch.read_lsn.load(Ordering::Relaxed), &Wal { end_lsn, cluster });
        assert_eq!(look(Some(5), 7), None, "nothing was read yet");
        witness.read(0x1_0000_0020);
        witness.read(0x10);
        assert_eq!(look(Some(0x1_0000_0020), 7), None);
        assert_eq!(look(None, 7), None, "a standby may lag");
        let said = "the WAL ends at 1/1F, before the last change that was read, 1/20: LSNs went back";
        assert_eq!(look(Some(0x1_0000_001f), 7).as_deref(), Some(said));
        let said = "it is another cluster, 8 and not 7: its LSNs are others";
        assert_eq!(look(Some(0x2_0000_0000), 8).as_deref(), Some(said), "however far its WAL is");
    }

    #[test]
    fn what_an_engine_noticed_before_holds_however_far_the_wal_has_grown() {
        let (witness, mut watch) = watch();
        witness.read(0x10);
        watch.origin = Origin { cluster: Some(7), went_back: Some("LSNs went back".to_owned()) };
        for end in [0x20, 0x2_0000_0000] {
            let found = watch.went_back(0x10, &Wal { end_lsn: Some(end), cluster: 7 });
            assert_eq!(found.as_deref(), Some("an engine noticed before that LSNs went back"));
        }
        watch.origin = Origin { cluster: Some(7), went_back: None };
        assert!(watch.went_back(0x10, &Wal { end_lsn: Some(0x20), cluster: 8 }).is_some(), "it is another cluster since");
    }

    #[tokio::test]
    async fn when_the_watch_is_over_so_is_the_lane() {
        let (witness, watch) = watch();
        drop(watch);
        assert!(timeout(Duration::from_millis(100), witness.unchanged()).await.is_err());
    }
}

//! Whether the tables still are what a plan was made for.
//!
//! Postgres is asked again every [`READ_EVERY`], and at once when a record contradicts the plan or fails under it: a column that is gone, a value of
//! another type, an old row that is missing, an overflow that another type would not have. What this promises: no record is given up while its
//! table is another one than the plan's. The lane holds it back until Postgres has said, after the record was read, that nothing changed; if something
//! did, the lanes end before it and start again with a new plan, or wait until the contradiction is mended. A change that was taken back before Postgres was
//! asked is not seen: records of the time between are given up.

use std::time::Duration;

use highwater_sql::catalog::Table;
use highwater_sql::{Lookup, Plan};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::{State, check_tables};
use crate::catalog::session::within;
use crate::catalog::{self, Database};
use crate::config::PipelineConfig;

/// How often Postgres is asked when no lane asks.
const READ_EVERY: Duration = Duration::from_secs(10);
/// How soon it is asked again when it does not answer and a lane waits.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// Questions that wait for the same answer; one lane has one at a time.
const QUESTIONS_MAX: usize = 256;

/// The lanes' end: asks.
#[derive(Clone, Debug)]
pub struct Witness(mpsc::Sender<oneshot::Sender<()>>);

/// The pipeline's end: reads the catalog, and answers.
#[derive(Debug)]
pub struct Watch {
    questions: mpsc::Receiver<oneshot::Sender<()>>,
    /// What Postgres told when nothing had changed.
    known: Option<String>,
}

/// What Postgres says.
enum Look {
    Same,
    Changed(String),
    Unknown(String),
}

/// Both ends.
pub fn watch() -> (Witness, Watch) {
    let (asks, questions) = mpsc::channel(QUESTIONS_MAX);
    (Witness(asks), Watch { questions, known: None })
}

impl Witness {
    /// Returns when Postgres has said, after this call, that the tables did not change. Waits while it does not answer, and does not return
    /// when they did change: the lane is being ended, and drops this.
    pub async fn unchanged(&self) {
        let (answer, answered) = oneshot::channel();
        let said = self.0.send(answer).await.is_ok() && answered.await.is_ok();
        if !said {
            std::future::pending::<()>().await;
        }
    }
}

impl Watch {
    /// Returns when the tables are not what `plan` was made for, with what changed.
    pub async fn until_changed(mut self, config: &PipelineConfig, plan: &Plan) -> String {
        let database = match Database::new(&config.source.postgres) {
            Ok(database) => database,
            Err(error) => return error.to_string(),
        };
        let (mut asked, mut silent) = (Vec::new(), false);
        let changed = loop {
            let until = Instant::now() + if asked.is_empty() { READ_EVERY } else { RETRY_EVERY };
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
            match self.look(config, plan, &database).await {
                Look::Changed(what) => break what,
                Look::Same => {
                    if std::mem::take(&mut silent) {
                        info!(pipeline = config.name, "postgres says again whether the tables changed");
                    }
                    for question in asked.drain(..) {
                        let _ = question.send(());
                    }
                }
                Look::Unknown(why) if !asked.is_empty() && !silent => {
                    warn!(pipeline = config.name, "records that fail wait until postgres says whether their table changed: {why}");
                    silent = true;
                }
                Look::Unknown(_) => {}
            }
        };
        database.close().await;
        changed
    }

    async fn look(&mut self, config: &PipelineConfig, plan: &Plan, database: &Database) -> Look {
        let Ok(names) = highwater_sql::parse::tables(&config.select.sql) else { return Look::Same };
        // Read before the check, so that what changes in between is looked at again.
        let told = match within(catalog::fingerprint(database, &names)).await {
            Ok(told) if self.known.as_ref() == Some(&told) => return Look::Same,
            Ok(told) => told,
            Err(error) => return Look::Unknown(error.to_string()),
        };
        let report = check_tables(config).await;
        match (report.state(), &report.plan) {
            (State::Failed, _) => {
                let said = report.of(State::Failed).map(|fact| format!("{}: {}", fact.subject, fact.text));
                Look::Changed(said.collect::<Vec<_>>().join("; "))
            }
            (State::Ok | State::Warning, Some(now)) => match difference(plan, now) {
                Some(what) => Look::Changed(format!("{what} changed")),
                None => {
                    self.known = Some(told);
                    Look::Same
                }
            },
            _ => Look::Unknown(report.waiting_for()),
        }
    }
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
        let column = |(name, ty): &(&str, Type)| Column { name: (*name).into(), ty: ty.clone(), not_null: false, collation_is_c: true };
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
                question.send(()).unwrap();
                break;
            }
        }
        timeout(patience, asks).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn when_the_watch_is_over_so_is_the_lane() {
        let (witness, watch) = watch();
        drop(watch);
        assert!(timeout(Duration::from_millis(100), witness.unchanged()).await.is_err());
    }
}

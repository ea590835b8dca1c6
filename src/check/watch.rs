//! Whether the tables still are what a plan was made for.
//!
//! Postgres is asked again every [`READ_EVERY`], and at once when a record contradicts the plan: a column that is gone, a value of another type, an
//! old row that is missing. What this promises: no record is given up as unreadable because its table changed while the pipeline ran. The lane
//! holds it back until Postgres has said, after the record was read, that nothing changed; if something did, the lanes end before it
//! and start again with a new plan, or wait until the contradiction is mended.

use std::time::Duration;

use highwater_sql::catalog::Table;
use highwater_sql::{Lookup, Plan};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::{State, check_tables};
use crate::config::PipelineConfig;

/// How often Postgres is asked when no lane asks.
const READ_EVERY: Duration = Duration::from_secs(10);
/// How long a lane waits for an answer: a Postgres that is away must not hold up what does not need it.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Questions that wait for the same answer; one lane has one at a time.
const QUESTIONS_MAX: usize = 256;

/// The lanes' end: asks.
#[derive(Clone, Debug)]
pub struct Witness(mpsc::Sender<oneshot::Sender<()>>);

/// The pipeline's end: reads the catalog, and answers.
#[derive(Debug)]
pub struct Watch(mpsc::Receiver<oneshot::Sender<()>>);

/// Both ends.
pub fn watch() -> (Witness, Watch) {
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    (Witness(questions), Watch(asked))
}

impl Witness {
    /// Returns when Postgres has said, after this call, that the tables did not change, or when it does not answer for [`ANSWER_MAX`]. Does
    /// not return when they did: the lane is being ended.
    pub async fn unchanged(&self) {
        self.unchanged_within(ANSWER_MAX).await;
    }

    async fn unchanged_within(&self, answer_max: Duration) {
        let (answer, answered) = oneshot::channel();
        let asked = async { self.0.send(answer).await.is_ok() && answered.await.is_ok() };
        // False when the watch is over, because it saw a change or because the pipeline ends.
        if timeout(answer_max, asked).await == Ok(false) {
            std::future::pending::<()>().await;
        }
    }
}

impl Watch {
    /// Returns when the tables are not what `plan` was made for, with what changed.
    pub async fn until_changed(mut self, config: &PipelineConfig, plan: &Plan) -> String {
        let mut asked = Vec::new();
        loop {
            let until = Instant::now() + READ_EVERY;
            match timeout_at(until, self.0.recv()).await {
                Ok(Some(question)) => asked.push(question),
                // No lane is left to ask: their end is what ends this too.
                Ok(None) => tokio::time::sleep_until(until).await,
                Err(_) => {}
            }
            // Those that asked meanwhile get the same answer: it is read after they asked.
            while let Ok(question) = self.0.try_recv() {
                asked.push(question);
            }
            let report = check_tables(config).await;
            match (report.state(), &report.plan) {
                (State::Failed, _) => {
                    let said = report.of(State::Failed).map(|f| format!("{}: {}", f.subject, f.text));
                    return said.collect::<Vec<_>>().join("; ");
                }
                (State::Ok | State::Warning, Some(now)) => match difference(plan, now) {
                    Some(what) => return format!("{what} changed"),
                    None => asked.drain(..).for_each(|question| {
                        let _ = question.send(());
                    }),
                },
                // Postgres does not say: who asked waits, for a while.
                _ => asked.retain(|question| !question.is_closed()),
            }
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
    async fn an_answer_that_does_not_come_is_waited_for_only_so_long() {
        let (witness, watch) = watch();
        let wait = Duration::from_millis(20);
        let patience = Duration::from_millis(500);
        assert!(timeout(patience, witness.unchanged_within(wait)).await.is_ok(), "Postgres is away: the lane goes on");
        drop(watch);
        assert!(timeout(patience, witness.unchanged_within(wait)).await.is_err(), "the watch is over: so is the lane");
    }
}

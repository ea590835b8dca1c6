//! `highwater eval`: a pipeline's SELECT over records from a file, without any server.
//!
//! Types come from a schema file, lookup rows from files, and the rest is what a lane does: the same decoder, the same rules for what a record
//! must have, the same lookups and SELECT, with the two sides of a change standing alone as in a ranking. What is not here: positions (a
//! record that comes twice counts twice), snapshot boundaries, sinks.
//!
//! One line comes out for each result row, in order, and one for each dead letter:
//!
//! ```text
//! {"record": 1, "op": "+", "row": {"id": 7, "amount": 1.50}}
//! {"record": 2, "error": {"sqlstate": "22012", "message": "division by zero", "column": "amount"}}
//! ```

mod expect;

mod line;

mod lines;

mod record;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_sql::ddl::{self, SCHEMA_BYTES_MAX};
use highwater_sql::{Plan, RowError};
use tokio::runtime::Handle;

use crate::catalog::{Reading, Refused, Unsupported};
use crate::change::Change;
use crate::check::watch::Witness;
use crate::check::{Fact, Report, State, plan_over, refused, tables};
use crate::config::{self, Selection};
use crate::decode::{self, Decoded, RecordDecoder};
use crate::lane::Select;
use crate::lookup::{Given, JsonRow, Rows};
use crate::metrics::{LaneMetrics, Metrics};
use crate::sink::Policy;
use line::Line;
use lines::Lines;

/// Records that go through the SELECT together.
const BATCH_RECORDS: usize = 500;
/// Bytes of their lines; one line may exceed it alone.
const BATCH_BYTES: usize = 16 << 20;

/// What to run, over what.
#[derive(Clone, Debug)]
pub struct Files {
    /// The pipeline file.
    pub pipeline: PathBuf,
    /// CREATE TABLE statements.
    pub schema: PathBuf,
    /// Debezium envelopes, or Kafka records `{"key": ..., "value": ...}`, one on each line.
    pub records: PathBuf,
    /// Rows of lookup tables: `[schema.]table`, and a file with one row on each line.
    pub lookups: Vec<(String, PathBuf)>,
    /// The lines that should come out.
    pub expect: Option<PathBuf>,
}

/// It cannot be run at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline file.
    #[error("{0}")]
    Pipeline(#[from] config::Error),
    /// A file that cannot be read.
    #[error("{}: {message}; name a file that can be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// A line of a file that is not what it should be.
    #[error("{}:{line}: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, and what to do.
        message: String,
    },
    /// The SELECT over these tables: facts with remedies.
    #[error("{0}")]
    Select(String),
    /// A table was given that is not joined.
    #[error("the SELECT joins no table {table}; {remedy}")]
    NotJoined {
        /// The name that was given.
        table: String,
        /// What there is.
        remedy: String,
    },
    /// The output cannot be written.
    #[error("the result cannot be written: {0}")]
    Output(#[from] io::Error),
    /// What should not happen.
    #[error("{0}")]
    Internal(String),
}

/// Runs it. The result goes to `out`: the lines, or with `expect` how they differ. `note` is told what an operator should know. Returns whether
/// the result is what was expected.
pub async fn eval(files: &Files, out: &mut dyn Write, colour: bool, note: &mut dyn FnMut(String)) -> Result<bool, Error> {
    let pipeline = Selection::load(&files.pipeline)?;
    let plan = Arc::new(plan(&pipeline, &files.schema, note)?);
    let given = given(&plan, &files.lookups, note)?;
    // Before the work: what is wrong with the file is known at once.
    let expected = files.expect.as_deref().map(expect::read).transpose()?;
    let metrics = Metrics::new().map_err(|error| Error::Internal(error.to_string()))?;
    let select = Select {
        plan: Arc::clone(&plan),
        lookups: Rows::Given(given),
        policy: Policy::Boundaries,
        // The tables are those of the file.
        witness: Witness::that_asked(None),
        shared: Handle::current(),
        metrics: Arc::new(LaneMetrics::new(metrics, "eval", "eval")),
    };
    let mut evaluation = Evaluation { decoder: RecordDecoder::new(&plan.source_columns, &pipeline.prefix), pipeline, select };
    let mut records = Lines::open(&files.records)?;
    let mut all = Vec::new();
    let mut first = 1;
    loop {
        let batch = evaluation.read(&mut records, first)?;
        if batch.is_empty() {
            break;
        }
        let count = batch.len();
        for line in evaluation.run(batch, first).await {
            match expected {
                Some(_) => all.push(line),
                None => writeln!(out, "{}", line.text())?,
            }
        }
        first += count;
    }
    let Some(expected) = expected else { return Ok(true) };
    let comparison = expect::compare(&expected, &all);
    write!(out, "{}", comparison.render(colour))?;
    Ok(comparison.is_equal())
}

/// The checked SELECT over the tables of the schema file.
fn plan(pipeline: &Selection, schema: &Path, note: &mut dyn FnMut(String)) -> Result<Plan, Error> {
    let text = read(schema, SCHEMA_BYTES_MAX)?;
    let schema = ddl::read(&text).map_err(|error| {
        let before = error.position.and_then(|at| text.get(..at)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Error::Wrong { path: schema.to_owned(), line, message: format!("schema\n{}", error.render(&text)) }
    })?;
    let select = pipeline.select_text();
    let mut facts = Vec::new();
    let named = highwater_sql::parse::tables(select.sql).map_err(|error| rendered(vec![refused(select, &error, None)]))?;
    let is_named = |table: &str| named.iter().any(|n| format!("{}.{}", n.schema.as_deref().unwrap_or("public"), n.name) == table);
    let unusable = schema.unusable.into_iter().filter(|(table, ..)| is_named(table));
    let reading = Reading {
        catalog: schema.catalog,
        refused: unusable.map(|(name, why, remedy)| Refused { name, message: why.to_owned(), remedy: remedy.to_owned() }).collect(),
        unsupported: schema.unsupported.into_iter().map(|(table, column, ty)| Unsupported { table, column, ty }).collect(),
        access: Vec::new(),
    };
    let Some(plan) = plan_over(select, &reading, &mut facts) else { return Err(rendered(facts)) };
    tables::check(pipeline.append_only, &plan, &reading, &mut facts);
    for fact in facts.iter().filter(|fact| fact.state == State::Failed) {
        note(format!("`run` would refuse this: {}; {}", fact.text, fact.remedy.as_deref().unwrap_or_default()));
    }
    Ok(plan)
}

fn rendered(facts: Vec<Fact>) -> Error {
    Error::Select(Report { facts, ..Report::default() }.render(false).trim_end().to_owned())
}

fn read(path: &Path, bytes_max: usize) -> Result<String, Error> {
    let unreadable = |message: String| Error::Unreadable { path: path.to_owned(), message };
    let bytes = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if bytes > bytes_max as u64 {
        return Err(unreadable(format!("is longer than {bytes_max} bytes")));
    }
    fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

/// The lookup rows of the files.
fn given(plan: &Plan, files: &[(String, PathBuf)], note: &mut dyn FnMut(String)) -> Result<Given, Error> {
    let mut given = Given::new(plan);
    let full = |name: &str| if name.contains('.') { name.to_owned() } else { format!("public.{name}") };
    let joined: Vec<_> = plan.lookups.iter().map(|lookup| format!("{}.{}", lookup.table.schema, lookup.table.name)).collect();
    for (table, path) in files {
        if !joined.contains(&full(table)) {
            let remedy = if joined.is_empty() { "it joins none".to_owned() } else { format!("it joins {}", joined.join(", ")) };
            return Err(Error::NotJoined { table: table.clone(), remedy });
        }
        let mut lines = Lines::open(path)?;
        while let Some((number, text)) = lines.next()? {
            let wrong = |message: String| Error::Wrong { path: path.clone(), line: number, message };
            let row: JsonRow<'_> = serde_json::from_str(&text).map_err(|error| wrong(format!("not a JSON object: {error}")))?;
            let same_table = plan.lookups.iter().zip(&joined).enumerate().filter(|(_, (_, joined))| **joined == full(table));
            for (n, (lookup, _)) in same_table {
                given.add(n, lookup, &row).map_err(|error| wrong(named(&error)))?;
            }
        }
    }
    for table in joined.iter().filter(|joined| !files.iter().any(|(table, _)| full(table) == **joined)) {
        note(format!("no rows of {table} are given, so none is found; --lookup {table}=ROWS.jsonl gives them"));
    }
    Ok(given)
}

fn named(error: &RowError) -> String {
    error.column.as_ref().map_or_else(|| error.message.clone(), |column| format!("column {column}: {}", error.message))
}

struct Evaluation {
    pipeline: Selection,
    decoder: RecordDecoder,
    select: Select,
}

/// What a record is, before the SELECT.
enum Judged {
    Change(Box<Change>),
    Nothing,
    DeadLetter(RowError),
}

impl Evaluation {
    /// The next records, judged; none at the end. `first`: the number of the first one.
    fn read(&self, records: &mut Lines, first: usize) -> Result<Vec<Judged>, Error> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            let Some((line, text)) = records.next()? else { break };
            bytes += text.len();
            let judged = self.judge(&text, first + batch.len());
            batch.push(judged.map_err(|message| Error::Wrong { path: records.path().to_owned(), line, message })?);
        }
        Ok(batch)
    }

    /// As a lane does it, without a mark.
    fn judge(&self, text: &str, number: usize) -> Result<Judged, String> {
        let source = &self.select.plan.source;
        let record = record::read(text, number, [&self.pipeline.prefix, &source.schema, &source.name])?;
        let change = match self.decoder.decode(&record) {
            Ok(Decoded::Change(change)) => change,
            Ok(Decoded::Tombstone) => return Ok(Judged::Nothing),
            Ok(Decoded::Foreign(name)) => {
                return Err(format!(
                    "the change is of source {name:?}, but source.prefix is {:?}; correct one of them",
                    self.pipeline.prefix
                ));
            }
            Err(error) => return Ok(Judged::DeadLetter(RowError::new("22P02", error.to_string()))),
        };
        Ok(match decode::complete(&change, self.pipeline.append_only) {
            Ok(()) => Judged::Change(change),
            Err((_, error)) => Judged::DeadLetter(error),
        })
    }

    async fn run(&mut self, mut batch: Vec<Judged>, first: usize) -> Vec<Line> {
        let changes = batch.iter_mut().filter_map(|judged| if let Judged::Change(change) = judged { Some(&mut **change) } else { None });
        let mut computed = self.select.compute(changes).await.into_iter();
        let mut lines = Vec::new();
        for (n, judged) in batch.into_iter().enumerate() {
            let record = first + n;
            match judged {
                Judged::Nothing => {}
                Judged::DeadLetter(error) => lines.push(Line::of_error(record, &error)),
                Judged::Change(_) => {
                    let computed = computed.next().unwrap_or_default();
                    let mut error = computed.unreadable.or(computed.failed.map(|failed| failed.error));
                    for (op, row) in [('-', computed.before), ('+', computed.after)] {
                        let Some(row) = row else { continue };
                        match Line::of_row(record, op, &self.select.plan.outputs, &row) {
                            Ok(line) => lines.push(line),
                            Err(wrong) => {
                                error.get_or_insert(wrong);
                            }
                        }
                    }
                    lines.extend(error.map(|error| Line::of_error(record, &error)));
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests;

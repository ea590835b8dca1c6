//! Everything that can be verified before a pipeline runs.
//!
//! It asks Postgres, Kafka, Redis and Kafka Connect, changes nothing anywhere, and finds as much as it can in one go. It tells apart what
//! contradicts (`Failed`: the SELECT, types, replica identity, settings that would corrupt data) and what is not there yet (`Waiting`:
//! a server that does not answer, a topic that was not created). Webhook endpoints are not called.

mod connect;

mod connector;

mod kafka;

pub mod origin;

mod redis;

mod report;

pub(crate) mod tables;

pub mod watch;

use std::sync::Arc;

use highwater_sql::error::SelectError;
use highwater_sql::{Plan, Type};

use crate::catalog::{self, Database, Reading};
use crate::config::{PipelineConfig, Problem, SelectText, SinkConfig};

pub use report::{Fact, Report, State};

const VERSION_MIN: i32 = 150_000;

/// Verifies one pipeline.
pub async fn check(config: &PipelineConfig) -> Report {
    let mut report = Report::default();
    let names: Vec<_> = config.sinks.iter().map(SinkConfig::name).collect();
    report.facts.push(Fact::ok("config", format!("{}: pipeline {}, sinks: {}", config.path.display(), config.name, names.join(", "))));
    check_select(config, &mut report).await;
    let plan = report.plan.clone();
    kafka::check(config, plan.as_deref(), &mut report.facts).await;
    connect::check(config, plan.as_deref(), &mut report.facts).await;
    redis::check(config, &mut report.facts).await;
    report
}

/// Verifies only what the tables decide: the SELECT, their replica identities, and what the sinks make of its columns.
pub async fn check_tables(config: &PipelineConfig) -> Report {
    let mut report = Report::default();
    check_select(config, &mut report).await;
    report
}

/// Postgres, its tables and the SELECT over them.
async fn check_select(config: &PipelineConfig, report: &mut Report) {
    let database = match Database::new(&config.source.postgres) {
        Ok(database) => database,
        Err(error) => return report.facts.push(from_postgres(config, &error)),
    };
    match plan(config, &database, &mut report.facts).await {
        Ok(Some((plan, reading))) => {
            tables::check(config.source.append_only, &plan, &reading, &mut report.facts);
            check_sinks(config, &plan, &mut report.facts);
            report.plan = Some(Arc::new(plan));
            report.catalog = Some(reading.catalog);
        }
        Ok(None) => {}
        Err(error) => report.facts.push(from_postgres(config, &error)),
    }
    database.close().await;
}

/// The plan, if the SELECT means the same here and in Postgres; why not is in the facts.
async fn plan(config: &PipelineConfig, database: &Database, facts: &mut Vec<Fact>) -> Result<Option<(Plan, Reading)>, catalog::Error> {
    facts.extend(server_facts(&database.within(catalog::server(database)).await?));
    let select = config.select_text();
    let names = match highwater_sql::parse::tables(select.sql) {
        Ok(names) => names,
        Err(error) => {
            facts.push(refused(select, &error, None));
            return Ok(None);
        }
    };
    let reading = database.within(catalog::read(database, &names)).await?;
    let Some(plan) = plan_over(select, &reading, facts) else { return Ok(None) };
    let wrong = match database.within(catalog::describe(database, select.sql)).await? {
        Ok(columns) => difference(&plan, &columns),
        Err(error) => Some(refused(select, &error, None)),
    };
    if let Some(wrong) = wrong {
        facts.push(wrong);
        return Ok(None);
    }
    facts.push(Fact::ok("select", format!("{} columns, types as Postgres prepares them", plan.outputs.len())));
    Ok(Some((plan, reading)))
}

/// The plan over tables that are known, if there can be one; why not is in the facts.
pub(crate) fn plan_over(select: SelectText<'_>, reading: &Reading, facts: &mut Vec<Fact>) -> Option<Plan> {
    if !reading.refused.is_empty() {
        let fact = |table: &catalog::Refused| Fact::failed("table", format!("{} {}", table.name, table.message), table.remedy.clone());
        facts.extend(reading.refused.iter().map(fact));
        return None;
    }
    let plan = match highwater_sql::check::check(select.sql, &reading.catalog) {
        Ok(plan) => plan,
        Err(error) => {
            facts.push(refused(select, &error, Some(reading)));
            return None;
        }
    };
    let lost = plan.source_columns.iter().filter_map(|column| Some((&column.name, highwater_sql::decode::lost(&column.ty)?)));
    let lost: Vec<_> =
        lost.map(|(name, why)| Fact::failed("select", format!("column {name}: {why}"), "leave the column out of the SELECT")).collect();
    if !lost.is_empty() {
        facts.extend(lost);
        return None;
    }
    Some(plan)
}

fn from_postgres(config: &PipelineConfig, error: &catalog::Error) -> Fact {
    let text = format!("{error} ({})", config.source.postgres);
    match error {
        catalog::Error::Unavailable(_) => Fact::waiting("postgres", text, "start it, or correct source.postgres"),
        catalog::Error::Refused(_) => Fact::failed("postgres", text, "correct source.postgres, or what it names in the database"),
    }
}

fn server_facts(server: &catalog::Server) -> Vec<Fact> {
    let mut facts = Vec::new();
    if server.version_number < VERSION_MIN {
        facts.push(Fact::failed("postgres", format!("version {} is too old", server.version), "upgrade to 15 or newer"));
    }
    if server.wal_level != "logical" {
        let text = format!("wal_level is {}, so Debezium cannot read changes", server.wal_level);
        facts.push(Fact::failed("postgres", text, "set wal_level = logical and restart the server"));
    }
    if server.standby {
        let text = "this is a standby: a row loaded from it may be older than a change that was already read";
        facts.push(Fact::failed("postgres", text, "let source.postgres name the primary"));
    }
    if facts.is_empty() {
        facts.push(Fact::ok("postgres", format!("version {}, wal_level {}", server.version, server.wal_level)));
    }
    facts
}

/// A SELECT that cannot be used, shown with the place in its text.
pub(crate) fn refused(select: SelectText<'_>, error: &SelectError, reading: Option<&Reading>) -> Fact {
    let text = format!("{}:{}: select.sql\n{}", select.path.display(), select.line, error.render(select.sql));
    // A column of an unknown type is not in the catalog, so to the SELECT it does not exist.
    let unsupported =
        reading.into_iter().flat_map(|reading| &reading.unsupported).find(|column| names_column(&error.message, &column.column));
    match unsupported {
        Some(column) if error.sqlstate == "42703" => {
            let text = format!("{text}\ncolumn {} of {} has the type {}, which is not supported", column.column, column.table, column.ty);
            Fact::failed("select", text, "leave the column out of the SELECT")
        }
        _ => Fact::failed("select", text, "correct the SELECT: it must be one that psql accepts too"),
    }
}

/// Whether a message of Postgres' form `column "x" does not exist` or `column t.x does not exist` is about this column.
fn names_column(message: &str, column: &str) -> bool {
    let Some(named) = message.strip_prefix("column ").and_then(|rest| rest.strip_suffix(" does not exist")) else { return false };
    let last = named.rsplit('.').next().unwrap_or(named);
    last.trim_matches('"') == column
}

/// The first column where our types are not Postgres'.
fn difference(plan: &Plan, columns: &[catalog::ResultColumn]) -> Option<Fact> {
    let remedy = "report this with the SELECT and the table: until then a cast to the type you want may avoid it";
    if plan.outputs.len() != columns.len() {
        let text = format!("has {} columns, but Postgres returns {}", plan.outputs.len(), columns.len());
        return Some(Fact::failed("select", text, "name the columns instead of *: one may have a type that is not supported"));
    }
    for (ours, theirs) in plan.outputs.iter().zip(columns) {
        let ty = base_name(&ours.ty);
        if ours.name != theirs.name || ty != theirs.ty {
            let text = format!("returns {} {ty}, but Postgres returns {} {}", ours.name, theirs.name, theirs.ty);
            return Some(Fact::failed("select", text, remedy));
        }
    }
    None
}

/// `format_type(type, NULL)`: the name without modifiers.
fn base_name(ty: &Type) -> String {
    match ty {
        Type::Numeric(_) => Type::Numeric(None).name(),
        Type::Varchar(_) => Type::Varchar(None).name(),
        Type::Bpchar(_) => "character".to_owned(),
        Type::Time(_) => Type::Time(None).name(),
        Type::Timetz(_) => Type::Timetz(None).name(),
        Type::Timestamp(_) => Type::Timestamp(None).name(),
        Type::Timestamptz(_) => Type::Timestamptz(None).name(),
        Type::Array(element) => format!("{}[]", base_name(element)),
        other => other.name(),
    }
}

/// What the sinks say about their own sections, now that the SELECT is known.
fn check_sinks(config: &PipelineConfig, plan: &Plan, facts: &mut Vec<Fact>) {
    for sink in &config.sinks {
        let result = match sink {
            SinkConfig::RedisRanking(ranking) => ranking.validate(plan, config.source.append_only),
            SinkConfig::Webhook(webhook) => webhook.validate(plan),
        };
        let problems = result.err().unwrap_or_default();
        for mut problem in problems {
            let separator = if problem.key.is_empty() { "" } else { "." };
            problem.key = format!("sink.{}{separator}{}", sink.name(), problem.key);
            let located = config.locate(problem);
            let Problem { key, message, remedy } = located.problem;
            facts.push(Fact::failed("sink", format!("{}:{}: {key}: {message}", config.path.display(), located.line), remedy));
        }
    }
}

#[cfg(test)]
mod tests;

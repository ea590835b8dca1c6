//! The pipeline file, typed and strict.
//!
//! Whatever is unknown, missing, of the wrong type or impossible is refused before anything runs; each error names the file, the line, the
//! key and the remedy, and all of them are found in one go. Strings may hold `${NAME}` and `${NAME:-default}`. Passwords are never printed.
//! What needs the SELECT to be known (does the ranking's member exist?) is the business of [`crate::check`].

mod document;

mod duration;

mod selection;

mod url;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use document::{Environment, Index};
pub use duration::Duration;
pub use selection::Selection;
pub use url::SecretUrl;

use crate::sink::ranking::RankingConfig;
use crate::sink::webhook::WebhookConfig;
use document::Document;

const FILE_BYTES_MAX: u64 = 1 << 20;
const NAME_CHARS_MAX: usize = 60;
const SINKS_MAX: usize = 16;
const START_DEFAULT: Start = Start::Earliest;

/// One pipeline: one file.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// Its name: part of consumer groups, topics and labels.
    pub name: String,
    /// Where changes come from.
    pub source: SourceConfig,
    /// What is computed.
    pub select: SelectConfig,
    /// Where rows go; at least one.
    pub sinks: Vec<SinkConfig>,
    /// The file.
    pub path: PathBuf,
    index: Index,
}

/// `[source]`: a table's Debezium topic, and the database behind it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Kafka's bootstrap servers, `host:port,host:port`.
    pub kafka: String,
    /// Debezium's `topic.prefix`; table `t` of schema `public` is read from the topic `<prefix>.public.t`.
    pub prefix: String,
    /// URL of the database: column types at start, lookup rows on a cache miss.
    pub postgres: SecretUrl,
    /// URL of Kafka Connect's REST interface; lets `check` read the connector's settings.
    pub connect: Option<SecretUrl>,
    /// Where a lane without progress begins.
    #[serde(default = "start_default")]
    pub start: Start,
    /// The table only gets inserts, which lets a ranking read lookup columns; an update or delete is a dead letter then.
    #[serde(default)]
    pub append_only: bool,
    /// Kafka's `group.instance.id`, different for every engine: a restart keeps its partitions.
    pub instance: Option<String>,
}

/// Where a lane without progress begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the first record of the topic.
    Earliest,
    /// After the last record of the topic.
    Latest,
}

fn start_default() -> Start {
    START_DEFAULT
}

/// `[select]`: the one SELECT.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectConfig {
    /// Its text, as psql would take it.
    pub sql: String,
}

/// The SELECT's text and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct SelectText<'a> {
    /// The file.
    pub path: &'a Path,
    /// The line of its key, from 1.
    pub line: usize,
    /// The text.
    pub sql: &'a str,
}

/// `[[sink]]`, by `type`.
#[derive(Clone, Debug)]
pub enum SinkConfig {
    /// `type = "redis_ranking"`
    RedisRanking(RankingConfig),
    /// `type = "webhook"`
    Webhook(WebhookConfig),
}

impl SinkConfig {
    /// Its name, unique in the pipeline: as configured, else `ranking` or `webhook`.
    pub fn name(&self) -> &str {
        match self {
            Self::RedisRanking(sink) => sink.name.as_deref().unwrap_or(RANKING.1),
            Self::Webhook(sink) => sink.name.as_deref().unwrap_or(WEBHOOK.1),
        }
    }
}

/// The types of sinks with their default names.
const RANKING: (&str, &str) = ("redis_ranking", "ranking");
const WEBHOOK: (&str, &str) = ("webhook", "webhook");

fn default_sink_name(kind: &str) -> Option<&'static str> {
    [RANKING, WEBHOOK].into_iter().find(|(name, _)| *name == kind).map(|(_, default)| default)
}

/// What is wrong with the value of a key, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, from the top of the file (`source.kafka`); from its own table where a sink reports it.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

/// A problem with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// From 1.
    pub line: usize,
    /// The problem.
    pub problem: Problem,
}

/// A pipeline file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{}: {message}; {remedy}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        message: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It has problems: one line each.
    #[error("{}", lines(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// In the order of lines, at least one.
        problems: Vec<Located>,
    },
}

fn lines(path: &Path, problems: &[Located]) -> String {
    let lines: Vec<_> = problems.iter().map(|located| format!("{}:{located}", path.display())).collect();
    lines.join("\n")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.key.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}; {}", self.key, self.message, self.remedy)
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.problem)
    }
}

/// Reads pipeline files with the environment of the process. Names must differ.
pub fn load(paths: &[PathBuf]) -> Result<Vec<PipelineConfig>, Error> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut pipelines: Vec<PipelineConfig> = Vec::new();
    for path in paths {
        let pipeline = PipelineConfig::parse(path, &read(path)?, &environment)?;
        if let Some(other) = pipelines.iter().find(|other| other.name == pipeline.name) {
            let problem = Problem {
                key: "name".to_owned(),
                message: format!("{:?} is also the name in {}", pipeline.name, other.path.display()),
                remedy: "give each pipeline its own name".to_owned(),
            };
            let located = pipeline.locate(problem);
            return Err(Error::Invalid { path: pipeline.path, problems: vec![located] });
        }
        pipelines.push(pipeline);
    }
    Ok(pipelines)
}

fn read(path: &Path) -> Result<String, Error> {
    let unreadable = |message: String, remedy| Error::Unreadable { path: path.to_owned(), message, remedy };
    let file = |error: std::io::Error| unreadable(error.to_string(), "name a pipeline file that can be read");
    if std::fs::metadata(path).map_err(file)?.len() > FILE_BYTES_MAX {
        return Err(unreadable("is larger than 1 MiB".to_owned(), "name a pipeline file"));
    }
    let bytes = std::fs::read(path).map_err(file)?;
    String::from_utf8(bytes).map_err(|_| unreadable("is not UTF-8".to_owned(), "save it as UTF-8"))
}

impl PipelineConfig {
    /// Reads the text of a file. All problems that can be found without a server are in the error.
    pub fn parse(path: &Path, text: &str, environment: Environment<'_>) -> Result<Self, Error> {
        let invalid = |problems| Error::Invalid { path: path.to_owned(), problems };
        let mut document = Document::parse(text, environment).map_err(invalid)?;
        let name: Option<String> = document.take("name");
        let source: Option<SourceConfig> = document.take("source");
        let select: Option<SelectConfig> = document.take("select");
        let tables = document.take_tables("sink");
        let count = tables.len();
        let sinks: Vec<_> = tables.into_iter().filter_map(|(key, table)| sink(&mut document, &key, table)).collect();
        if let Some(name) = &name {
            check_name(&mut document, "name", name);
        }
        if let Some(source) = &source {
            source.problems().into_iter().for_each(|problem| document.report(problem));
        }
        if select.as_ref().is_some_and(|select| select.sql.trim().is_empty()) {
            document.report(problem("select.sql", "is empty", "write a SELECT"));
        }
        check_sinks(&mut document, &sinks, count);
        let index = document.finish("`name`, `source`, `select`, `sink`").map_err(invalid)?;
        let (Some(name), Some(source), Some(select)) = (name, source, select) else { return Err(invalid(Vec::new())) };
        Ok(Self { name, source, select, sinks, path: path.to_owned(), index })
    }

    /// Finds the line of a problem that came up later.
    pub fn locate(&self, problem: Problem) -> Located {
        Located { line: self.index.line(&problem.key), problem }
    }

    /// The SELECT and where it stands.
    pub fn select_text(&self) -> SelectText<'_> {
        SelectText { path: &self.path, line: self.index.line("select.sql"), sql: &self.select.sql }
    }

    /// The topic of a table.
    pub fn topic(&self, schema: &str, table: &str) -> String {
        format!("{}.{schema}.{table}", self.source.prefix)
    }
}

/// Reads one `[[sink]]`: `type` decides what the other keys are.
fn sink<'i>(document: &mut Document<'i>, key: &str, table: Spanned<DeTable<'i>>) -> Option<SinkConfig> {
    let span = table.span();
    let mut table = table.into_inner();
    let Some(kind) = table.remove("type") else {
        document.report(problem(&format!("{key}.type"), "is required and missing", "add type = \"redis_ranking\" or \"webhook\""));
        return None;
    };
    let kind: String = document.read(&format!("{key}.type"), kind)?;
    let value = Spanned::new(span, DeValue::Table(table));
    match kind.as_str() {
        "redis_ranking" => document.read(key, value).map(SinkConfig::RedisRanking),
        "webhook" => document.read(key, value).map(SinkConfig::Webhook),
        other => {
            let message = format!("there is no sink of type {other:?}");
            document.report(problem(&format!("{key}.type"), &message, "write \"redis_ranking\" or \"webhook\""));
            None
        }
    }
}

fn check_sinks(document: &mut Document<'_>, sinks: &[SinkConfig], count: usize) {
    if count == 0 && !document.has_problems() {
        document.report(problem("sink", "there is none", "add a [[sink]] table"));
    }
    if count > SINKS_MAX {
        document.report(problem("sink", &format!("there are {count}"), &format!("at most {SINKS_MAX} are allowed; split the pipeline")));
    }
    for (n, sink) in sinks.iter().enumerate() {
        let name = sink.name();
        check_name(document, &format!("sink.{name}.name"), name);
        if sinks[..n].iter().any(|other| other.name() == name) {
            let message = format!("two sinks are called {name:?}");
            document.report(problem(&format!("sink.{name}.name"), &message, "give each [[sink]] its own name"));
        }
    }
}

fn check_name(document: &mut Document<'_>, key: &str, name: &str) {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(allowed) {
        let remedy = format!("use 1 to {NAME_CHARS_MAX} of a to z, 0 to 9, - and _: it becomes part of topics and consumer groups");
        document.report(problem(key, &format!("{name:?} cannot be a name"), &remedy));
    }
}

fn problem(key: &str, message: &str, remedy: &str) -> Problem {
    Problem { key: key.to_owned(), message: message.to_owned(), remedy: remedy.to_owned() }
}

impl SourceConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(server) = self.kafka.split(',').find(|server| !is_host_port(server.trim())) {
            let remedy = "write host:port, several separated by commas";
            problems.push(problem("source.kafka", &format!("{server:?} is not a Kafka server"), remedy));
        }
        let topic_chars = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.prefix.is_empty() || self.prefix.len() > 100 || !self.prefix.chars().all(topic_chars) {
            let remedy = "write the connector's topic.prefix: 1 to 100 of letters, digits, . _ and -";
            problems.push(problem("source.prefix", &format!("{:?} cannot begin the name of a topic", self.prefix), remedy));
        }
        if !matches!(self.postgres.scheme(), Some("postgres" | "postgresql")) {
            let remedy = "write postgres://user:password@host:port/database";
            problems.push(problem("source.postgres", "is not a URL of Postgres", remedy));
        }
        if self.connect.as_ref().is_some_and(|url| !matches!(url.scheme(), Some("http" | "https"))) {
            problems.push(problem("source.connect", "is not an HTTP URL", "write http://host:8083 or leave it out"));
        }
        if self.instance.as_ref().is_some_and(|id| id.is_empty() || id.len() > 100 || !id.chars().all(topic_chars)) {
            let remedy = "use 1 to 100 of letters, digits, . _ and -, different for every engine";
            problems.push(problem("source.instance", "cannot be a group.instance.id", remedy));
        }
        problems
    }
}

fn is_host_port(server: &str) -> bool {
    let Some((host, port)) = server.rsplit_once(':') else { return false };
    let plain = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@');
    plain && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests;

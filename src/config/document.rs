//! A TOML document that remembers where everything stood: variables expanded, sections read one by one, errors with line and key.
//!
//! Variables are expanded in string values after TOML was parsed, so that what is in the environment can never become syntax. A value that
//! came from the environment is never repeated in an error: the text with its `${NAME}` is.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{Located, Problem};

/// The environment, as a parameter.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where the keys of a document stand.
#[derive(Clone, Debug, Default)]
pub struct Index {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    line: usize,
    /// From the key to the end of the value.
    span: Range<usize>,
}

/// A string that held variables.
#[derive(Debug)]
struct Expanded {
    span: Range<usize>,
    written: String,
    value: String,
}

/// A document being read.
pub struct Document<'i> {
    text: &'i str,
    root: DeTable<'i>,
    index: Index,
    expanded: Vec<Expanded>,
    problems: Vec<Located>,
}

impl Index {
    /// The line of a key, or of the nearest table around it; 1 if nothing is known.
    pub fn line(&self, key: &str) -> usize {
        let mut key = key;
        loop {
            if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
                return entry.line;
            }
            match key.rsplit_once('.') {
                Some((outer, _)) => key = outer,
                None => return 1,
            }
        }
    }

    fn key_at(&self, at: usize) -> Option<&Entry> {
        self.entries.iter().filter(|entry| entry.span.contains(&at)).min_by_key(|entry| entry.span.len())
    }

    fn add(&mut self, text: &str, key: String, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let line = line_of(text, span.start);
        self.entries.push(Entry { key: key.clone(), line, span: span.start..value.span().end.max(span.end) });
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(text, &key, table),
            DeValue::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    if let DeValue::Table(table) = item.get_ref() {
                        let key = format!("{key}.{}", item_name(table, n));
                        self.add(text, key, item.span(), item);
                    }
                }
            }
            _ => {}
        }
    }

    fn add_table(&mut self, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            self.add(text, key, name.span(), value);
        }
    }
}

/// How messages call an element of `[[sink]]`: its name or, until it is known, its number.
fn item_name(table: &DeTable<'_>, n: usize) -> String {
    let text = |key: &str| table.get(key).and_then(|value| value.get_ref().as_str());
    let default = text("type").and_then(super::default_sink_name);
    text("name").or(default).map_or_else(|| (n + 1).to_string(), str::to_owned)
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

impl<'i> Document<'i> {
    /// Parses and expands; an unset variable is a problem that [`Document::finish`] returns.
    pub fn parse(text: &'i str, environment: Environment<'_>) -> Result<Self, Vec<Located>> {
        let root = DeTable::parse(text).map_err(|error| {
            let line = line_of(text, error.span().map_or(0, |span| span.start));
            vec![Located { line, problem: problem("", error.message()) }]
        })?;
        let mut document = Self { text, root: root.into_inner(), index: Index::default(), expanded: Vec::new(), problems: Vec::new() };
        let mut root = std::mem::take(&mut document.root);
        // Twice: messages need keys before the values are known, and sinks may have expanded names.
        document.index.add_table(text, "", &root);
        document.expand_table(&mut root, environment);
        document.index = Index::default();
        document.index.add_table(text, "", &root);
        document.root = root;
        Ok(document)
    }

    fn expand_table(&mut self, table: &mut DeTable<'i>, environment: Environment<'_>) {
        for (_, value) in table.iter_mut() {
            self.expand_value(value, environment);
        }
    }

    fn expand_value(&mut self, value: &mut Spanned<DeValue<'i>>, environment: Environment<'_>) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(table) => self.expand_table(table, environment),
            DeValue::Array(items) => {
                for item in items.iter_mut() {
                    self.expand_value(item, environment);
                }
            }
            DeValue::String(text) if text.contains("${") => match expand(text, environment) {
                Ok(value) => {
                    let written = std::mem::replace(text, value.clone().into()).into_owned();
                    self.expanded.push(Expanded { span, written, value });
                }
                Err(message) => self.problem_at(span.start, &message),
            },
            _ => {}
        }
    }

    fn problem_at(&mut self, at: usize, message: &str) {
        let key = self.index.key_at(at).map_or_else(String::new, |entry| entry.key.clone());
        self.problems.push(Located { line: line_of(self.text, at), problem: problem(&key, message) });
    }

    /// Adds what a check found, unless the key has a problem already.
    pub fn report(&mut self, problem: Problem) {
        if self.problems.iter().any(|located| located.problem.key == problem.key) {
            return;
        }
        let line = self.index.line(&problem.key);
        self.problems.push(Located { line, problem });
    }

    /// Takes a section or value of the top level out of the document and reads it.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let Some(value) = self.root.remove(key) else {
            self.report(missing(key));
            return None;
        };
        self.read(key, value)
    }

    /// Takes the tables of `[[key]]`, each with the name messages call it by.
    pub fn take_tables(&mut self, key: &str) -> Vec<(String, Spanned<DeTable<'i>>)> {
        let Some(value) = self.root.remove(key) else { return Vec::new() };
        let at = value.span().start;
        let DeValue::Array(items) = value.into_inner() else {
            self.problem_at(at, &format!("expected a list of tables; write [[{key}]]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (n, item) in items.into_iter().enumerate() {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => tables.push((format!("{key}.{}", item_name(&table, n)), Spanned::new(span, table))),
                _ => self.problem_at(span.start, &format!("expected a table; write [[{key}]]")),
            }
        }
        tables
    }

    /// Reads one value as what `key` holds.
    pub fn read<T: DeserializeOwned>(&mut self, key: &str, value: Spanned<DeValue<'i>>) -> Option<T> {
        let start = value.span().start;
        let error = match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        if let Some(name) = error.message().strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            let problem = missing(&format!("{key}.{name}"));
            self.report(problem);
            return None;
        }
        let at = error.span().map_or(start, |span| span.start);
        let mut message = error.message().to_owned();
        for expanded in self.expanded.iter().filter(|e| e.span.contains(&at) && !e.value.is_empty()) {
            message = message.replace(&format!("{:?}", expanded.value), &format!("{:?}", expanded.written));
            message = message.replace(&expanded.value, &expanded.written);
        }
        self.problem_at(at, &message);
        None
    }

    /// What is left is unknown; any problem is an error.
    pub fn finish(mut self, known: &str) -> Result<Index, Vec<Located>> {
        let unknown: Vec<_> = self.root.keys().map(|key| (key.span().start, key.get_ref().to_string())).collect();
        for (at, key) in unknown {
            self.problem_at(at, &format!("unknown field `{key}`, expected one of {known}"));
        }
        if self.problems.is_empty() {
            return Ok(self.index);
        }
        self.problems.sort_by_key(|located| located.line);
        Err(self.problems)
    }

    /// Only problems of these keys, and of what lies below them, are errors; the rest of the file is not looked at.
    pub fn finish_only(mut self, keys: &[&str]) -> Result<Index, Vec<Located>> {
        let below = |key: &str, outer: &str| key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.problems.retain(|located| keys.iter().any(|key| below(&located.problem.key, key)) || located.problem.key == "source");
        self.root.clear();
        self.finish("")
    }

    /// Whether reading failed already, so that checks of the whole make no sense.
    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }
}

fn missing(key: &str) -> Problem {
    let name = key.rsplit('.').next().unwrap_or(key);
    Problem { key: key.to_owned(), message: "is required and missing".to_owned(), remedy: format!("add {name}") }
}

/// A problem from a message of serde or of a value's own reader, which separates its remedy by a semicolon.
fn problem(key: &str, message: &str) -> Problem {
    let message = message.trim().lines().next().unwrap_or_default();
    let (message, remedy) = if let Some(rest) = message.strip_prefix("unknown field ") {
        let known = rest.split_once(", expected ").map_or("", |(_, known)| known.trim_start_matches("one of "));
        let known = if known.starts_with('`') { format!("the keys here are {}", known.replace('`', "")) } else { "remove it".to_owned() };
        ("is not a key that exists here".to_owned(), known)
    } else if let Some((message, remedy)) = message.split_once("; ") {
        (message.to_owned(), remedy.to_owned())
    } else if let Some((message, expected)) = message.split_once(", expected ") {
        (message.to_owned(), format!("expected {}", expected.replace('`', "")))
    } else {
        (message.to_owned(), "correct it".to_owned())
    };
    Problem { key: key.to_owned(), message, remedy }
}

/// Replaces `${NAME}` and `${NAME:-default}`; `$${` stands for `${`. As in a shell, the default also stands in for an empty variable.
fn expand(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some((inner, after)) = rest[at + 2..].split_once('}') else {
            return Err("${ has no closing }; close it, or write $${ for the characters themselves".to_owned());
        };
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let valid = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') && !name.starts_with(|c: char| c.is_ascii_digit());
        if name.is_empty() || !valid {
            return Err(format!(
                "{name:?} is not the name of a variable; write ${{NAME}} or ${{NAME:-default}}, or $${{ for the characters themselves"
            ));
        }
        match (environment(name), default) {
            (Some(value), None) => out.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => {
                return Err(format!("the environment variable {name} is not set; set it, or write ${{{name}:-default}}"));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db".to_owned()),
            "EMPTY" => Some(String::new()),
            "INNER" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_expanded_once() {
        for (text, expected) in [
            ("${HOST}:5432", "db:5432"),
            ("a${HOST}b${HOST}c", "adbbdbc"),
            ("${NONE:-x y}", "x y"),
            ("${NONE:-}", ""),
            ("${EMPTY:-x}", "x"),
            ("[${EMPTY}]", "[]"),
            ("${NONE:-http://h:1/p?a=b}", "http://h:1/p?a=b"),
            ("$${HOST} ${HOST}", "${HOST} db"),
            ("$HOST $1", "$HOST $1"),
            ("${INNER}", "${HOST}"),
        ] {
            assert_eq!(expand(text, &environment), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_expanded_says_what_to_write() {
        for (text, expected) in [
            ("${NONE}", "the environment variable NONE is not set; set it, or write ${NONE:-default}"),
            ("${HOST", "${ has no closing }; close it, or write $${ for the characters themselves"),
            ("${}", "\"\" is not the name of a variable; write ${NAME} or ${NAME:-default}, or $${ for the characters themselves"),
            ("${a-b}", "\"a-b\" is not the name of a variable; write ${NAME} or ${NAME:-default}, or $${ for the characters themselves"),
            ("${1A}", "\"1A\" is not the name of a variable; write ${NAME} or ${NAME:-default}, or $${ for the characters themselves"),
        ] {
            assert_eq!(expand(text, &environment), Err(expected.to_owned()), "{text}");
        }
    }
}

//! Fixed cases: `row | expression | type | answer`, as Postgres 15 answered.
//!
//! A row is `column=value ...`, columns that are not named are NULL (`-`: all); a value with blanks is quoted like an SQL string. The type is
//! `pg_typeof`'s, `-` when Postgres refuses the expression. An answer is a text, `NULL`, or `!` and an SQLSTATE; a text that could
//! be mistaken is quoted. A case ending in `?` has not been asked yet (`HIGHWATER_TEST_WRITE=1` asks).

use std::path::PathBuf;

use crate::oracle::{self, Oracle};
use crate::samples::{Answer, Row, our_answers, our_type};

pub struct Case {
    pub file: String,
    pub line: usize,
    pub row: Row,
    pub expression: String,
    pub ty: String,
    pub answer: Option<Answer>,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/select/cases")
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    files.sort();
    files
}

pub fn all() -> Vec<Case> {
    files().iter().flat_map(|path| parse_file(path)).collect()
}

fn parse_file(path: &std::path::Path) -> Vec<Case> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate().filter(|(_, line)| is_case(line));
    lines.map(|(index, line)| parse_line(&name, index + 1, line)).collect()
}

fn is_case(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with('#')
}

fn parse_line(file: &str, line_number: usize, line: &str) -> Case {
    let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let [row, expression, rest @ ..] = fields.as_slice() else { panic!("{file}:{line_number}: {line}") };
    let (ty, answer) = match rest {
        ["?"] | [] => ("", None),
        [ty, answer] => (*ty, Some(parse_answer(answer))),
        _ => panic!("{file}:{line_number}: {line}"),
    };
    Case { file: file.into(), line: line_number, row: parse_row(row), expression: (*expression).into(), ty: ty.into(), answer }
}

fn parse_row(text: &str) -> Row {
    let mut row = Row::new();
    let mut rest = text.trim().trim_start_matches('-');
    while let Some((name, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('\'') {
            Some(quoted) => unquote(quoted),
            None => after.split_once(' ').map_or((after.to_owned(), ""), |(value, left)| (value.to_owned(), left)),
        };
        row.insert(name.trim().to_owned(), value);
        rest = left.trim_start();
    }
    row
}

/// The string up to its closing quote, and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some((part, after)) = rest.split_once('\'') {
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return (escapes(&value, false), after),
        }
    }
    panic!("unterminated value in {text}")
}

/// Line breaks and tabs in a table of lines.
fn escapes(text: &str, write: bool) -> String {
    if write { text.replace('\n', "␊").replace('\t', "␉") } else { text.replace('␊', "\n").replace('␉', "\t") }
}

fn parse_answer(text: &str) -> Answer {
    match text.as_bytes() {
        b"NULL" => Answer::Null,
        [b'!', ..] => Answer::Error(text[1..].to_owned()),
        [b'\'', ..] => Answer::Text(unquote(&text[1..]).0),
        _ => Answer::Text(text.to_owned()),
    }
}

fn quoted(text: &str) -> String {
    let plain =
        !text.is_empty() && !text.contains(['\'', '\n', '\t', '|', ' ', '=']) && text != "NULL" && !text.starts_with('!') && text != "?";
    if plain { text.to_owned() } else { format!("'{}'", escapes(text, true).replace('\'', "''")) }
}

pub fn show_row(row: &Row) -> String {
    row.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect::<Vec<_>>().join(" ")
}

pub fn show_case(row: &Row, expression: &str, ty: &str, answer: &Answer) -> String {
    let answer = match answer {
        Answer::Null => "NULL".to_owned(),
        Answer::Error(state) => format!("!{state}"),
        Answer::Text(text) => quoted(text),
    };
    let row = show_row(row);
    format!("{} | {expression} | {ty} | {answer}", if row.is_empty() { "-" } else { &row })
}

/// Type and answer by Highwater; a refusal at start is its SQLSTATE.
pub fn ours(row: &Row, expression: &str) -> (String, Answer) {
    match (our_type(expression), our_answers(expression, std::slice::from_ref(row))) {
        (Ok(ty), Ok(mut answers)) => (ty, answers.remove(0)),
        (Err(error), _) | (_, Err(error)) => ("-".to_owned(), Answer::Error(error.sqlstate.to_owned())),
    }
}

/// Type and answer by Postgres. What fails while it is planned has no type there.
pub fn theirs(oracle: &mut Oracle, row: &Row, expression: &str) -> (String, Answer) {
    oracle.set_rows(std::slice::from_ref(row));
    let ty = oracle.type_of(expression);
    match ty.strip_prefix('!') {
        Some(error) => ("-".to_owned(), Answer::Error(error[..5].to_owned())),
        None => (ty, oracle.answers(expression).remove(0)),
    }
}

#[test]
fn fixed_cases_hold_without_a_server() {
    let cases = all();
    assert!(!cases.is_empty());
    let mut wrong = Vec::new();
    for case in &cases {
        let Some(expected) = &case.answer else { continue };
        let (ty, answer) = ours(&case.row, &case.expression);
        // What cannot be planned in Postgres fails here for the row that reaches it.
        let same_type = ty == case.ty || case.ty == "-";
        if !same_type || answer != *expected {
            wrong.push(format!(
                "{}:{}: {} is {ty} {answer:?}, Postgres says {} {expected:?}",
                case.file, case.line, case.expression, case.ty
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// A function or operator that is added without a case fails here.
#[test]
fn each_accepted_row_has_a_fixed_case() {
    let mut missing = highwater_sql::function::accepted();
    for case in all() {
        let select = format!("SELECT {} FROM samples", case.expression);
        let called = highwater_sql::check::called(&select, &crate::samples::catalog()).unwrap_or_default();
        missing.retain(|row| !called.contains(row));
    }
    let missing: Vec<String> = missing.iter().map(|row| format!("{}({}) -> {}", row.name, row.arguments.join(", "), row.result)).collect();
    assert!(missing.is_empty(), "{} have no fixed case:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn fixed_cases_are_what_postgres_says() {
    let url = oracle::url();
    let mut oracle = Oracle::connect(&url);
    let write = std::env::var("HIGHWATER_TEST_WRITE").is_ok();
    let mut wrong = Vec::new();
    for path in files() {
        let mut lines: Vec<String> = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        for case in parse_file(&path) {
            let (ty, answer) = theirs(&mut oracle, &case.row, &case.expression);
            if write {
                lines[case.line - 1] = show_case(&case.row, &case.expression, &ty, &answer);
            } else if case.answer.as_ref() != Some(&answer) || case.ty != ty {
                wrong.push(format!("{}:{}: {} is {ty} {answer:?} in Postgres", case.file, case.line, case.expression));
            }
        }
        if write {
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! Generated expressions, asked of Highwater and of Postgres.

use std::time::{Duration, Instant};

use crate::cases::{show_case, theirs};
use crate::generator::Generator;
use crate::oracle::{self, Oracle};
use crate::samples::{Answer, Row, our_answers, our_json, our_type};

/// Rows that each expression is computed for.
const ROWS: usize = 12;
/// Time of a normal run, in seconds; at least each accepted function and operator is drawn a few times.
const SECONDS: u64 = 20;
const DRAWS_MIN: usize = 3;
const DISAGREEMENTS_MAX: usize = 40;

#[test]
fn generated_expressions_agree_with_postgres() {
    let url = oracle::url();
    let number = |name: &str, otherwise: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seed = number("HIGHWATER_TEST_SEED", clock);
    let until = Instant::now() + Duration::from_secs(number("HIGHWATER_TEST_SECONDS", SECONDS));
    let mut oracle = Oracle::connect(&url);
    let mut generator = Generator::new(seed);
    let mut tally = Tally::default();
    // HIGHWATER_TEST_NAMES: only calls of these functions and operators.
    let names = std::env::var("HIGHWATER_TEST_NAMES").unwrap_or_default();
    let chosen = generator.rows_named(&names);
    let mut round = 0;
    while tally.wrong.len() < DISAGREEMENTS_MAX && (round < generator.count() * DRAWS_MIN || Instant::now() < until) {
        if round % 40 == 0 {
            let rows: Vec<Row> = (0..ROWS).map(|_| generator.row()).collect();
            oracle.set_rows(&rows);
            tally.rows = rows;
        }
        let only = (!chosen.is_empty()).then(|| chosen[round % chosen.len().max(1)]);
        let any = (round % 2 == 0 || round < generator.count() * DRAWS_MIN).then_some(round % generator.count());
        let expression = generator.expression(only.or(any));
        tally.compare(&mut oracle, &expression);
        round += 1;
    }
    eprintln!(
        "seed {seed}: {} expressions, {} values compared ({} errors, {} NULLs), {} refused by Postgres, {} refused by Highwater alone, {} rows refused",
        tally.expressions, tally.values, tally.errors, tally.nulls, tally.refused_by_both, tally.refused_here, tally.refused_rows
    );
    let missing: Vec<String> = (0..generator.count()).filter(|i| generator.drawn[*i] == 0).map(|i| generator.describe(i)).collect();
    assert!(tally.wrong.is_empty(), "seed {seed}: {} disagreements:\n{}", tally.wrong.len(), tally.fixed_cases(&mut oracle));
    assert!(missing.is_empty() || !chosen.is_empty(), "never drawn: {missing:?}");
    assert!(tally.values > 10_000, "only {} values were compared", tally.values);
}

#[derive(Default)]
struct Tally {
    rows: Vec<Row>,
    expressions: usize,
    values: usize,
    errors: usize,
    nulls: usize,
    refused_by_both: usize,
    refused_here: usize,
    refused_rows: usize,
    wrong: Vec<(Row, String, String)>,
}

impl Tally {
    fn compare(&mut self, oracle: &mut Oracle, expression: &str) {
        self.expressions += 1;
        let their_type = oracle.type_of(expression);
        let ours = our_type(expression);
        let none = Row::new();
        match (their_type.strip_prefix('!'), ours) {
            (Some(state), Err(error)) if state.starts_with(error.sqlstate) || error.sqlstate == "0A000" => self.refused_by_both += 1,
            (None, Err(error)) if error.sqlstate == "0A000" => self.refused_here += 1,
            (Some(state), Err(error)) => {
                self.wrong.push((none, expression.into(), format!("refused with {} {error}, Postgres: {state}", error.sqlstate)))
            }
            (None, Err(error)) => self.wrong.push((none, expression.into(), format!("refused with {} {error}", error.sqlstate))),
            (Some(state), Ok(_)) if state.starts_with("42") => {
                self.wrong.push((none, expression.into(), format!("accepted, Postgres: {state}")))
            }
            (None, Ok(ours)) if ours != their_type => {
                self.wrong.push((none, expression.into(), format!("type {ours}, Postgres: {their_type}")))
            }
            // A constant that fails in the plan of Postgres fails here when a row reaches it.
            (Some(_), Ok(_)) => {}
            (None, Ok(_)) => self.compare_values(oracle, expression),
        }
    }

    fn compare_values(&mut self, oracle: &mut Oracle, expression: &str) {
        let theirs = oracle.answers(expression);
        let ours = match our_answers(expression, &self.rows) {
            Ok(ours) => ours,
            Err(error) => {
                self.wrong.push((Row::new(), expression.into(), format!("::text refused: {error}")));
                return;
            }
        };
        for ((ours, theirs), row) in ours.iter().zip(&theirs).zip(&self.rows) {
            self.values += 1;
            self.errors += usize::from(matches!(theirs, Answer::Error(_)));
            self.nulls += usize::from(*theirs == Answer::Null);
            // numeric has no NaN and no infinities here, and texts are shorter: such a row is a dead letter.
            if matches!(ours, Answer::Error(state) if matches!(state.as_str(), "0A000" | "54000")) && ours != theirs {
                self.refused_rows += 1;
                continue;
            }
            if ours != theirs {
                self.wrong.push((used(row, expression), expression.into(), format!("{ours:?}")));
                return;
            }
        }
        self.compare_json(oracle, expression);
    }

    /// The same values as the outputs of a webhook have them.
    fn compare_json(&mut self, oracle: &mut Oracle, expression: &str) {
        let theirs = oracle.json(expression);
        let ours = our_json(expression, &self.rows).unwrap_or_default();
        for ((ours, theirs), row) in ours.iter().zip(&theirs).zip(&self.rows) {
            self.values += 1;
            if ours != theirs && *ours != Answer::Error("0A000".into()) {
                self.wrong.push((used(row, expression), format!("to_jsonb({expression})"), format!("as an output {ours:?}")));
                return;
            }
        }
    }

    /// The disagreements as lines for a file of fixed cases.
    fn fixed_cases(&self, oracle: &mut Oracle) -> String {
        let mut text = String::new();
        for (row, expression, what) in &self.wrong {
            let (ty, answer) = theirs(oracle, row, expression);
            text += &format!("{}\n    # {what}\n", show_case(row, expression, &ty, &answer));
        }
        text
    }
}

/// The columns of the row that the expression names.
fn used(row: &Row, expression: &str) -> Row {
    let words: Vec<&str> = expression.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    row.iter().filter(|(name, _)| words.contains(&name.as_str())).map(|(name, value)| (name.clone(), value.clone())).collect()
}

//! What `check` found: facts, one line each, with a remedy where something is wrong.

use std::fmt::Write as _;
use std::sync::Arc;

use highwater_sql::{Catalog, Plan};

/// What a fact means for running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and an operator should know.
    Warning,
    /// Something does not answer, or is not there yet: `run` waits for it.
    Waiting,
    /// A contradiction that no waiting heals: `run` ends with exit code 2.
    Failed,
}

/// One thing that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it means.
    pub state: State,
    /// What it is about: `config`, `postgres`, `select`, `table`, `kafka`, `connect`, `sink`.
    pub subject: &'static str,
    /// What was found; may have several lines.
    pub text: String,
    /// What to do about it; always there when `Failed`.
    pub remedy: Option<String>,
}

impl Fact {
    /// As it should be.
    pub fn ok(subject: &'static str, text: impl Into<String>) -> Self {
        Self { state: State::Ok, subject, text: text.into(), remedy: None }
    }

    /// It works, and an operator should know.
    pub fn warning(subject: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Warning, subject, text: text.into(), remedy: Some(remedy.into()) }
    }

    /// `run` waits for it.
    pub fn waiting(subject: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Waiting, subject, text: text.into(), remedy: Some(remedy.into()) }
    }

    /// A contradiction.
    pub fn failed(subject: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Failed, subject, text: text.into(), remedy: Some(remedy.into()) }
    }
}

/// Everything that was found about one pipeline.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the path of a change.
    pub facts: Vec<Fact>,
    /// The checked SELECT, when Postgres answered and it is right.
    pub plan: Option<Arc<Plan>>,
    /// The tables it was checked against.
    pub catalog: Option<Catalog>,
}

impl Report {
    /// The worst of the facts.
    pub fn state(&self) -> State {
        self.facts.iter().map(|fact| fact.state).max().unwrap_or(State::Ok)
    }

    /// What `highwater check` ends with: 0 when it can run now, 1 when it would wait, 2 when it would refuse.
    pub fn exit_code(&self) -> u8 {
        match self.state() {
            State::Ok | State::Warning => 0,
            State::Waiting => 1,
            State::Failed => 2,
        }
    }

    /// What stands in the way, in one line for the log; `run` logs it when it changes. With the remedy where waiting alone does not heal it.
    pub fn waiting_for(&self) -> String {
        let said = |fact: &Fact| match (&fact.remedy, fact.state) {
            (Some(remedy), State::Failed) => format!("{}: {} -> {remedy}", fact.subject, fact.text),
            _ => format!("{}: {}", fact.subject, fact.text),
        };
        self.facts.iter().filter(|fact| fact.state >= State::Waiting).map(said).collect::<Vec<_>>().join("; ")
    }

    /// The facts of one state.
    pub fn of(&self, state: State) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(move |fact| fact.state == state)
    }

    /// The report for people: facts, then the columns of the result. `colour`: for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for fact in &self.facts {
            let (word, code) = match fact.state {
                State::Ok => ("ok", "32"),
                State::Warning => ("warning", "33"),
                State::Waiting => ("waiting", "36"),
                State::Failed => ("FAILED", "1;31"),
            };
            let word = if colour { format!("\x1b[{code}m{word:<7}\x1b[0m") } else { format!("{word:<7}") };
            let text = fact.text.replace('\n', &format!("\n{:19}", ""));
            let _ = writeln!(out, "{word}  {:<8}  {text}", fact.subject);
            if let Some(remedy) = &fact.remedy {
                let _ = writeln!(out, "{:19}-> {remedy}", "");
            }
        }
        if let Some(plan) = &self.plan {
            out.push_str(&columns(plan));
        }
        out
    }
}

/// The result's columns with their types, marking what is as of arrival because it comes from a lookup.
fn columns(plan: &Plan) -> String {
    let mut out = String::from("\ncolumns of the result\n");
    let rows: Vec<_> = plan.outputs.iter().map(|output| (&output.name, output.ty.name(), output.reads_lookup)).collect();
    let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let names = width(&mut rows.iter().map(|(name, _, _)| name.chars().count()));
    let types = width(&mut rows.iter().map(|(_, ty, _)| ty.chars().count()));
    for (name, ty, reads_lookup) in rows {
        let mark = if reads_lookup { "  reads a lookup" } else { "" };
        let line = format!("  {name:<names$}  {ty:<types$}{mark}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_aligned_and_carry_their_remedies() {
        let facts = vec![
            Fact::ok("config", "orders.toml"),
            Fact::waiting("kafka", "topic a.b.c does not exist", "create it"),
            Fact::failed("select", "ERROR:  x\nLINE 1: y", "correct it"),
        ];
        let report = Report { facts, ..Report::default() };
        let expected = "\
ok       config    orders.toml
waiting  kafka     topic a.b.c does not exist
                   -> create it
FAILED   select    ERROR:  x
                   LINE 1: y
                   -> correct it
";
        assert_eq!(report.render(false), expected);
        assert_eq!(
            report.render(true).replace("\x1b[32m", "").replace("\x1b[36m", "").replace("\x1b[1;31m", "").replace("\x1b[0m", ""),
            expected
        );
        assert_eq!((report.state(), report.exit_code()), (State::Failed, 2));
        assert_eq!(report.waiting_for(), "kafka: topic a.b.c does not exist; select: ERROR:  x\nLINE 1: y -> correct it");
    }
}

//! What can go wrong: with a row while running (a dead letter), and with a SELECT at start (a refusal).

use std::fmt;

/// An error of one row, in Postgres' words: the row becomes a dead letter and the lane goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RowError {
    /// The five characters of Postgres' appendix A, for example `22012`.
    pub sqlstate: &'static str,
    /// Postgres' primary message where it has one, for example `division by zero`.
    pub message: String,
    /// The column (of the table or of the result) that was being computed.
    pub column: Option<String>,
}

impl RowError {
    /// An error that does not know its column yet.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), column: None }
    }

    /// The same error, naming the column unless it names one already.
    #[must_use]
    pub fn in_column(mut self, column: &str) -> Self {
        self.column.get_or_insert_with(|| column.to_owned());
        self
    }
}

/// A SELECT that is refused at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectError {
    /// Postgres' code where Postgres would refuse it too; `0A000` for what only Highwater refuses.
    pub sqlstate: &'static str,
    /// What is wrong, in Postgres' words where it has them.
    pub message: String,
    /// Byte offset in the text of the SELECT.
    pub position: Option<usize>,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SelectError {}

impl SelectError {
    /// The error as psql shows it: message, the line of `sql` with a caret under the position, and the hint.
    pub fn render(&self, sql: &str) -> String {
        let mut text = format!("ERROR:  {}", self.message);
        if let Some(at) = self.position.filter(|at| sql.is_char_boundary(*at)) {
            let start = sql[..at].rfind('\n').map_or(0, |n| n + 1);
            let end = sql[at..].find('\n').map_or(sql.len(), |n| at + n);
            let prefix = format!("LINE {}: ", sql[..start].matches('\n').count() + 1);
            let column = prefix.chars().count() + sql[start..at].chars().count();
            text += &format!("\n{prefix}{}\n{}^", &sql[start..end], " ".repeat(column));
        }
        if let Some(hint) = &self.hint {
            text += &format!("\nHINT:  {hint}");
        }
        text
    }
}

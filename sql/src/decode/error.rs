//! Why a record or one of its rows could not be read.

use crate::error::RowError;

/// A record that is not a change event. It is a dead letter: reading it again gives the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or JSON of another shape; with the parser's words.
    #[error("malformed record: {0}")]
    Malformed(String),
    /// JSON, but no change event: what is missing.
    #[error("not a debezium envelope: {0}")]
    NotAnEnvelope(String),
    /// An `op` that no version known here writes.
    #[error("unknown op \"{0}\"")]
    UnknownOp(String),
    /// A `source` without a usable position.
    #[error("no usable position in source: {0}")]
    Position(String),
    /// Longer than [`super::VALUE_BYTES_MAX`].
    #[error("record of {bytes} bytes is too large")]
    TooLarge {
        /// The record's length.
        bytes: usize,
    },
}

impl DecodeError {
    /// A short fixed name for metrics and headers.
    pub fn class(&self) -> &'static str {
        match self {
            DecodeError::Malformed(_) => "malformed",
            DecodeError::NotAnEnvelope(_) => "not_an_envelope",
            DecodeError::UnknownOp(_) => "unknown_op",
            DecodeError::Position(_) => "no_position",
            DecodeError::TooLarge { .. } => "too_large",
        }
    }
}

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        DecodeError::Malformed(error.to_string())
    }
}

/// A value whose encoding contradicts the type of its column.
pub(super) fn contradiction(ty: &crate::value::Type, found: &str) -> RowError {
    RowError::new("22P03", format!("record has {found} for type {}", ty.name()))
}

/// A value that the connector could not encode without loss.
pub(super) fn lossy(message: impl Into<String>) -> RowError {
    RowError::new("0A000", message)
}

pub(super) fn unavailable() -> RowError {
    RowError::new("22P03", "value is not in the record: unchanged TOAST value of a table without REPLICA IDENTITY FULL")
}

pub(super) fn missing(column: &str) -> RowError {
    RowError::new("42703", "column is not in the record").in_column(column)
}

pub(super) fn null_in_not_null(column: &str) -> RowError {
    RowError::new("23502", "null in a NOT NULL column: is the table's REPLICA IDENTITY FULL?").in_column(column)
}

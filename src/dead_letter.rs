//! skeleton
use crate::sink;
use crate::source::Record;

/// A record that can never be delivered, and why.
#[derive(Debug)]
pub struct DeadLetter {
    /// The record as it was.
    pub record: Record,
    /// The error class, for the metric and the header: `decode`, `null_key`, `row`, `rejected`, ...
    pub class: &'static str,
    /// The SQLSTATE of a row error.
    pub sqlstate: Option<&'static str>,
    /// What is wrong, without secrets.
    pub message: String,
}

/// The topic `highwater.<pipeline>.<sink>.dead-letters` of one lane.
pub struct DeadLetters {}

impl DeadLetters {
    /// Writes them with acks=all; returns when they are durable. Written twice they are the same entries (same coordinates).
    pub async fn write(&self, _letters: &[DeadLetter]) -> Result<(), sink::Error> {
        Ok(())
    }
}

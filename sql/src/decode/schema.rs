//! What the envelope's schema says about the encoding of each column.

use std::sync::Arc;

use super::{DecodeError, Decoder};

/// How a column is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// No schema, or a schema that adds nothing: the catalog type decides.
    Unknown,
}

/// A schema's text, and what it says.
#[derive(Debug)]
pub(super) struct Schema {
    text: Box<str>,
    wires: Box<[Wire]>,
}

impl Schema {
    /// skeleton
    pub(super) fn cached(
        _decoder: &Decoder,
        _text: &str,
    ) -> Result<Option<Arc<Schema>>, DecodeError> {
        Ok(None)
    }

    pub(super) fn wires(&self) -> &[Wire] {
        &self.wires
    }
}

//! JSON as Postgres has it: what `json` accepts, and the normal form of `jsonb`.
//!
//! `json` keeps its text, so it is only validated. `jsonb` is a tree: numbers are [`Numeric`] (all digits kept, no exponents), object
//! keys are unique (the last duplicate wins) and ordered by length, then bytes. Printed, this is the text that `jsonb_out`
//! gives (`src/backend/utils/adt/jsonb.c`, `src/common/jsonapi.c`).
//!
//! Nesting is limited to [`DEPTH_MAX`] levels; Postgres goes deeper, as far as its stack allows.

mod change;
mod find;
mod parse;
mod write;

use std::cmp::Ordering;

pub use find::{Step, find_json, find_jsonb, unquoted};
pub use write::push_string;

use crate::error::RowError;
use crate::function::VALUE_BYTES_MAX;
use crate::numeric::Numeric;

/// Deepest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 512;

/// A `jsonb` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number with all its digits
    Number(Numeric),
    /// A string, escapes resolved
    String(String),
    /// An array
    Array(Vec<Json>),
    /// An object: unique keys in `jsonb` order
    Object(Vec<(String, Json)>),
}

/// Whether `json_in` takes the text. Fails with 22P02.
pub fn validate(text: &str) -> Result<(), RowError> {
    parse::skip(text)
}

/// The text that `jsonb_out(jsonb_in(text))` prints. Fails with 22P02, 22P05 (`\u0000`), 22003 (a number that numeric cannot hold),
/// 54000 (longer than [`VALUE_BYTES_MAX`]).
pub fn normalize(text: &str) -> Result<String, RowError> {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    Json::parse(text)?.write(&mut out);
    check_length(&out)?;
    Ok(out)
}

/// Fails with 54000 when JSON text is longer than [`VALUE_BYTES_MAX`].
pub fn check_length(text: &str) -> Result<(), RowError> {
    if text.len() > VALUE_BYTES_MAX {
        return Err(RowError::new("54000", format!("a json value is longer than {VALUE_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// JSON text that an expression made, unless it is longer than [`VALUE_BYTES_MAX`] (54000) or nested deeper than [`DEPTH_MAX`] (54001).
pub fn bounded(text: String) -> Result<String, RowError> {
    check_length(&text)?;
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(RowError::new("54001", "stack depth limit exceeded"));
        }
    }
    Ok(text)
}

/// How many elements the array has that is the whole text; `None`: it is not an array. Escapes are not looked at.
pub fn array_length(text: &str) -> Result<Option<i64>, RowError> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r']);
    if text.starts_with('[') { parse::elements(text).map(Some) } else { Ok(None) }
}

/// `json_typeof` of valid JSON text.
pub fn type_name(text: &str) -> &'static str {
    match text.trim_start_matches([' ', '\t', '\n', '\r']).as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// `jsonb_cmp` of two texts in normal form; text that is not JSON sorts first.
pub fn compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    match (Json::parse(a), Json::parse(b)) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (a, b) => a.is_ok().cmp(&b.is_ok()),
    }
}

impl Json {
    /// `jsonb_in`. Fails as [`normalize`] does.
    pub fn parse(text: &str) -> Result<Json, RowError> {
        parse::tree(text)
    }

    /// Appends the normal form: what `jsonb_out` prints.
    pub fn write(&self, out: &mut String) {
        write::push(self, out);
    }

    /// An object of these pairs: sorted, the last of equal keys kept.
    pub fn object(mut pairs: Vec<(String, Json)>) -> Json {
        pairs.sort_by(|(a, _), (b, _)| key_order(a, b));
        // The sort is stable, so the last of a run of equal keys is the last one written.
        pairs.reverse();
        pairs.dedup_by(|(a, _), (b, _)| a == b);
        pairs.reverse();
        Json::Object(pairs)
    }

    /// The value of a key, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Json> {
        let Json::Object(pairs) = self else { return None };
        let at = pairs.binary_search_by(|(k, _)| key_order(k, key)).ok()?;
        pairs.get(at).map(|(_, value)| value)
    }

    /// `jbvType`: Object > Array > Boolean > Number > String > Null.
    fn rank(&self) -> u8 {
        match self {
            Json::Null => 0,
            Json::String(_) => 1,
            Json::Number(_) => 2,
            Json::Bool(_) => 3,
            Json::Array(_) => 4,
            Json::Object(_) => 5,
        }
    }

    fn compare_nested(&self, other: &Json) -> Ordering {
        match (self, other) {
            (Json::String(a), Json::String(b)) => a.cmp(b),
            (Json::Number(a), Json::Number(b)) => a.cmp(b),
            (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
            (Json::Array(a), Json::Array(b)) => a
                .len()
                .cmp(&b.len())
                .then_with(|| a.iter().zip(b).map(|(x, y)| x.compare_nested(y)).find(|o| *o != Ordering::Equal).unwrap_or(Ordering::Equal)),
            (Json::Object(a), Json::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
                let pairs = a.iter().zip(b).map(|((ka, va), (kb, vb))| ka.cmp(kb).then_with(|| va.compare_nested(vb)));
                pairs.into_iter().find(|o| *o != Ordering::Equal).unwrap_or(Ordering::Equal)
            }),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Ord for Json {
    /// `compareJsonbContainers`. At the top a scalar is stored as an array of one element, which makes it greater than the
    /// empty array; that is how Postgres orders them, too.
    fn cmp(&self, other: &Json) -> Ordering {
        match (self, other) {
            (Json::Array(a), scalar) if a.is_empty() && scalar.rank() < 4 => Ordering::Less,
            (scalar, Json::Array(b)) if b.is_empty() && scalar.rank() < 4 => Ordering::Greater,
            _ => self.compare_nested(other),
        }
    }
}

impl PartialOrd for Json {
    fn partial_cmp(&self, other: &Json) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `lengthCompareJsonbStringValue`: shorter keys first.
fn key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

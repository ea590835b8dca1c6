//! Lookup rows that were given beforehand, as `to_jsonb` writes them: for running a SELECT without a server.
//!
//! It promises the rows that the table would give if it held these rows: each value goes through the input function of its column's type.

use std::collections::HashMap;

use highwater_sql::{Column, Lookup, LookupKey, LookupRow, Plan, RowError, Type, Value};
use serde_json::value::RawValue;

use super::Found;

/// The rows of each of a plan's lookups.
#[derive(Debug)]
pub struct Given {
    rows: Vec<HashMap<LookupKey, LookupRow>>,
}

/// A row as JSON: the columns with their values, unread.
pub type JsonRow<'a> = HashMap<String, &'a RawValue>;

impl Given {
    /// No rows yet.
    pub fn new(plan: &Plan) -> Self {
        Self { rows: plan.lookups.iter().map(|_| HashMap::new()).collect() }
    }

    /// Adds a row of the table of `lookup`, the plan's with that number. A row whose key has a NULL is matched by nothing.
    ///
    /// # Errors
    /// A column is missing or holds what its type does not take; there is a row with this key already.
    pub fn add(&mut self, number: usize, lookup: &Lookup, row: &JsonRow<'_>) -> Result<(), RowError> {
        let read = |columns: &[Column]| columns.iter().map(|column| value_of(column, row)).collect::<Result<Vec<_>, _>>();
        let (key, values) = (read(&lookup.key_columns)?, read(&lookup.columns)?);
        let Some(key) = lookup.key_of(&key) else { return Ok(()) };
        let parts = key.parts().join(", ");
        match self.rows.get_mut(number).and_then(|rows| rows.insert(key, values.into())) {
            None => Ok(()),
            Some(_) => {
                let columns: Vec<_> = lookup.key_columns.iter().map(|column| column.name.as_str()).collect();
                Err(RowError::new("23505", format!("there are two rows with ({}) = ({parts})", columns.join(", "))))
            }
        }
    }

    /// The rows of these keys; every key is in the answer.
    pub(super) fn fetch(&self, lookup: usize, keys: &[LookupKey]) -> HashMap<LookupKey, Found> {
        let row = |key: &LookupKey| self.rows.get(lookup).and_then(|rows| rows.get(key)).cloned();
        keys.iter().map(|key| (key.clone(), Ok(row(key)))).collect()
    }
}

fn value_of(column: &Column, row: &JsonRow<'_>) -> Result<Value, RowError> {
    let Some(json) = row.get(&column.name) else {
        return Err(RowError::new("42703", "column is not in the row").in_column(&column.name));
    };
    let value = read(&column.ty, json.get()).map_err(|error| error.in_column(&column.name))?;
    if value.is_null() && column.not_null {
        return Err(RowError::new("23502", "null in a NOT NULL column").in_column(&column.name));
    }
    Ok(value)
}

/// A value as `to_jsonb` writes it: numbers and booleans as themselves, arrays as arrays, json and jsonb as they are, all else as text.
fn read(ty: &Type, json: &str) -> Result<Value, RowError> {
    let wrong = || RowError::new("22P02", format!("{json} is no value of type {}", ty.name()));
    match (ty, json.as_bytes().first()) {
        (_, Some(b'n')) => Ok(Value::Null),
        (Type::Json | Type::Jsonb, _) => Value::from_text(ty, json),
        (Type::Array(element), Some(b'[')) => {
            let items: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| wrong())?;
            Ok(Value::Array(items.iter().map(|item| read(element, item.get())).collect::<Result<_, _>>()?))
        }
        (Type::Array(_), _) | (_, None | Some(b'[' | b'{')) => Err(wrong()),
        (Type::Bool, Some(b't' | b'f')) => Ok(Value::Bool(json == "true")),
        (_, Some(b'"')) => {
            let text: String = serde_json::from_str(json).map_err(|_| wrong())?;
            Value::from_text(ty, &text)
        }
        (ty, Some(b'-' | b'0'..=b'9')) if ty.is_number() => Value::from_text(ty, json),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_read_as_to_jsonb_writes_them() {
        let numeric = Type::Numeric(Some((9, 2)));
        let cases = [
            (Type::Int4, "7", "7"),
            (numeric.clone(), "1.5", "1.50"),
            (numeric, "\"1.5\"", "1.50"),
            (Type::Bool, "true", "true"),
            (Type::Text, "\"a\\u00e9\"", "aé"),
            (Type::Bpchar(Some(3)), "\"a\"", "a  "),
            (Type::Timestamptz(None), "\"2026-02-28T10:34:56.5+02:00\"", "2026-02-28 08:34:56.5+00"),
            (Type::Date, "\"2026-02-28\"", "2026-02-28"),
            (Type::Interval, "\"1 day 02:00:00\"", "1 day 02:00:00"),
            (Type::Bytea, "\"\\\\xdead\"", "\\xdead"),
            (Type::Jsonb, "{\"b\": 1, \"a\": [1.50]}", "{\"a\": [1.50], \"b\": 1}"),
            (Type::Jsonb, "\"text\"", "\"text\""),
            (Type::Array(Box::new(Type::Text)), "[\"a b\", null]", "{\"a b\",NULL}"),
        ];
        for (ty, json, text) in cases {
            assert_eq!(read(&ty, json).unwrap().to_text(&ty), text, "{json}");
        }
        for (ty, json) in [(Type::Int4, "1.5"), (Type::Int4, "true"), (Type::Text, "7"), (Type::Bool, "1"), (Type::Uuid, "{}")] {
            assert!(read(&ty, json).is_err(), "{json}");
        }
        assert!(read(&Type::Int4, "null").unwrap().is_null());
    }
}

//! A row object into slots.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use super::Row;
use super::column::ValueSeed;
use super::error::{missing, null_in_not_null};
use super::schema::Wire;
use super::source::Text;
use crate::catalog::Column;
use crate::error::RowError;
use crate::value::Value;

/// The columns to fill.
#[derive(Debug)]
pub(super) struct Columns(Box<[Column]>);

impl Columns {
    pub(super) fn new(columns: &[Column]) -> Columns {
        Columns(columns.into())
    }

    pub(super) fn as_slice(&self) -> &[Column] {
        &self.0
    }

    /// The slot of a column. Looks from `start` onwards and around, because records list columns in much the same order as
    /// SELECTs use them.
    fn slot(&self, name: &str, start: usize) -> Option<usize> {
        let (before, after) = self.0.split_at(start.min(self.0.len()));
        let after = after.iter().position(|c| c.name == name).map(|i| start + i);
        after.or_else(|| before.iter().position(|c| c.name == name))
    }
}

/// Reads a row, or null.
pub(super) struct RowSeed<'d> {
    pub(super) columns: &'d Columns,
    /// How each column is encoded, where a schema says so.
    pub(super) wires: Option<&'d [Wire]>,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Option<Row>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Option<Row>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Option<Row>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row or null")
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<Row>, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<Row>, E> {
        Ok(None)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Option<Row>, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Row>, A::Error> {
        let columns = self.columns.as_slice();
        let mut row: Vec<Option<Value>> = columns.iter().map(|_| None).collect();
        let mut error: Option<RowError> = None;
        let next = Cell::new(0);
        while let Some(slot) = map.next_key_seed(Text(|key: &str| Ok(self.columns.slot(key, next.get()))))? {
            let Some(slot) = slot else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            next.set(slot + 1);
            let column = &columns[slot];
            let wire = self.wires.and_then(|w| w.get(slot)).unwrap_or(&Wire::Unknown);
            match map.next_value_seed(ValueSeed { ty: &column.ty, wire })? {
                Ok(Value::Null) if column.not_null => {
                    error.get_or_insert_with(|| null_in_not_null(&column.name));
                }
                Ok(value) => {
                    if row[slot].replace(value).is_some() {
                        return Err(de::Error::custom(format_args!("duplicate column `{}`", column.name)));
                    }
                }
                Err(e) => {
                    error.get_or_insert_with(|| e.in_column(&column.name));
                }
            }
        }
        if let Some(error) = error {
            return Ok(Some(Err(error)));
        }
        if let Some((_, column)) = row.iter().zip(columns).find(|(value, _)| value.is_none()) {
            return Ok(Some(Err(missing(&column.name))));
        }
        // Every slot is filled; collected this way the row keeps its one allocation.
        Ok(Some(Ok(row.into_iter().map(|value| value.unwrap_or(Value::Null)).collect())))
    }
}

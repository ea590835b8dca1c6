//! Containment, concatenation and deletion of `jsonb` (`jsonb_util.c`, `JsonbDeepContains`; `jsonfuncs.c`).
//!
//! A scalar at the top counts as an array of one element where Postgres stores it as one.

use super::Json;
use crate::error::RowError;

impl Json {
    /// `self @> other`
    pub fn contains(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Object(_), Json::Object(_)) | (Json::Array(_), Json::Array(_)) => self.contains_nested(other),
            (Json::Array(items), scalar) if scalar.is_scalar() => items.contains(scalar),
            (a, b) => a.is_scalar() && a == b,
        }
    }

    /// Below the top a scalar only contains itself, and an array is no scalar.
    fn contains_nested(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Object(own), Json::Object(wanted)) => {
                own.len() >= wanted.len() && wanted.iter().all(|(key, value)| self.get(key).is_some_and(|v| v.contains_nested(value)))
            }
            (Json::Array(own), Json::Array(wanted)) => wanted.iter().all(|value| own.iter().any(|v| v.contains_nested(value))),
            (a, b) => a.is_scalar() && a == b,
        }
    }

    /// `self ? key`: a key of an object, or a string of an array.
    pub fn has(&self, key: &str) -> bool {
        match self {
            Json::Object(_) => self.get(key).is_some(),
            Json::Array(items) => items.iter().any(|item| item.is_string(key)),
            scalar => scalar.is_string(key),
        }
    }

    /// `self || other`
    pub fn concat(self, other: Json) -> Json {
        match (self, other) {
            (Json::Object(mut own), Json::Object(more)) => {
                own.extend(more);
                Json::object(own)
            }
            (own, more) => {
                let mut items = own.into_items();
                items.extend(more.into_items());
                Json::Array(items)
            }
        }
    }

    fn into_items(self) -> Vec<Json> {
        match self {
            Json::Array(items) => items,
            other => vec![other],
        }
    }

    /// `self - keys`: without these keys, or without these strings in an array. Fails with 22023 for a scalar.
    pub fn without(self, keys: &[&str]) -> Result<Json, RowError> {
        match self {
            Json::Object(mut pairs) => {
                pairs.retain(|(key, _)| !keys.contains(&key.as_str()));
                Ok(Json::Object(pairs))
            }
            Json::Array(mut items) => {
                items.retain(|item| !keys.iter().any(|key| item.is_string(key)));
                Ok(Json::Array(items))
            }
            _ => Err(invalid("cannot delete from scalar")),
        }
    }

    /// `self - index`: without that element, negative from the end. Fails with 22023 for what is not an array.
    pub fn without_index(self, index: i64) -> Result<Json, RowError> {
        match self {
            Json::Array(mut items) => {
                let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let at = if index < 0 { count + index } else { index };
                if let Some(at) = usize::try_from(at).ok().filter(|at| *at < items.len()) {
                    items.remove(at);
                }
                Ok(Json::Array(items))
            }
            Json::Object(_) => Err(invalid("cannot delete from object using integer index")),
            _ => Err(invalid("cannot delete from scalar")),
        }
    }

    /// `jsonb_strip_nulls`: no field of an object is null; nulls in arrays stay.
    pub fn strip_nulls(self) -> Json {
        match self {
            Json::Object(pairs) => {
                let kept = pairs.into_iter().filter(|(_, value)| *value != Json::Null);
                Json::Object(kept.map(|(key, value)| (key, value.strip_nulls())).collect())
            }
            Json::Array(items) => Json::Array(items.into_iter().map(Json::strip_nulls).collect()),
            scalar => scalar,
        }
    }

    /// Neither an array nor an object.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Json::Array(_) | Json::Object(_))
    }

    fn is_string(&self, text: &str) -> bool {
        matches!(self, Json::String(own) if own == text)
    }
}

fn invalid(message: &str) -> RowError {
    RowError::new("22023", message)
}

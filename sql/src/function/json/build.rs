//! Documents made from values: `to_jsonb`, `jsonb_build_object` and their siblings.

use super::super::argument::mismatch;
use crate::error::RowError;
use crate::function::{Argument, Outcome};
use crate::json;
use crate::value::{Type, Value};

fn only<'a, 'b>(arguments: &'b [Argument<'a>]) -> Result<&'b Argument<'a>, RowError> {
    arguments.first().ok_or_else(|| mismatch(&Value::Null, "an argument"))
}

pub(super) fn to_jsonb(arguments: &[Argument<'_>]) -> Outcome {
    let (ty, value) = only(arguments)?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    let mut out = String::new();
    value.write_json(ty, &mut out)?;
    Ok(Value::Jsonb(json::bounded(out)?.into()))
}

pub(super) fn to_json(arguments: &[Argument<'_>]) -> Outcome {
    let (ty, value) = only(arguments)?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    let mut out = String::new();
    push_json(ty, value, &mut out)?;
    Ok(Value::Json(json::bounded(out)?.into()))
}

pub(super) fn jsonb_object(arguments: &[Argument<'_>]) -> Outcome {
    let mut pairs = Vec::with_capacity(arguments.len() / 2);
    for (number, (key, (ty, value))) in pairs_of(arguments)? {
        let key = key_text(key, || format!("argument {number}: key must not be null"))?;
        let mut out = String::new();
        value.write_json(ty, &mut out)?;
        json::check_length(&out)?;
        pairs.push((key, out));
    }
    // As in `Json::object`: by length, then bytes; the last of equal keys counts.
    pairs.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    let mut out = String::from("{");
    for (at, (key, value)) in pairs.iter().enumerate() {
        if pairs.get(at + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if out.len() > 1 {
            out.push_str(", ");
        }
        json::push_string(&mut out, key);
        out.push_str(": ");
        out.push_str(value);
        json::check_length(&out)?;
    }
    out.push('}');
    Ok(Value::Jsonb(json::bounded(out)?.into()))
}

pub(super) fn jsonb_array(arguments: &[Argument<'_>]) -> Outcome {
    let mut out = String::from("[");
    for (at, (ty, value)) in arguments.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        value.write_json(ty, &mut out)?;
        json::check_length(&out)?;
    }
    out.push(']');
    Ok(Value::Jsonb(json::bounded(out)?.into()))
}

pub(super) fn json_object(arguments: &[Argument<'_>]) -> Outcome {
    let mut out = String::from("{");
    for (number, (key, (ty, value))) in pairs_of(arguments)? {
        if out.len() > 1 {
            out.push_str(", ");
        }
        json::push_string(&mut out, &key_text(key, || format!("argument {number} cannot be null"))?);
        out.push_str(" : ");
        push_json(ty, value, &mut out)?;
        json::check_length(&out)?;
    }
    out.push('}');
    Ok(Value::Json(json::bounded(out)?.into()))
}

pub(super) fn json_array(arguments: &[Argument<'_>]) -> Outcome {
    let mut out = String::from("[");
    for (at, (ty, value)) in arguments.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        push_json(ty, value, &mut out)?;
        json::check_length(&out)?;
    }
    out.push(']');
    Ok(Value::Json(json::bounded(out)?.into()))
}

type Pair<'b, 'a> = (usize, (&'b Argument<'a>, &'b Argument<'a>));

/// Keys with their values, each with the number of the key's argument. Fails with 22023 for a key without value.
fn pairs_of<'b, 'a>(arguments: &'b [Argument<'a>]) -> Result<impl Iterator<Item = Pair<'b, 'a>>, RowError> {
    if !arguments.len().is_multiple_of(2) {
        return Err(RowError::new("22023", "argument list must have even number of elements"));
    }
    let pairs = arguments.chunks_exact(2).enumerate();
    Ok(pairs.filter_map(|(at, pair)| if let [key, value] = pair { Some((at * 2 + 1, (key, value))) } else { None }))
}

/// A value as a key: its text, dates and times as in JSON. Fails with 22023.
fn key_text((ty, value): &Argument<'_>, null: impl Fn() -> String) -> Result<String, RowError> {
    match &**value {
        Value::Null => Err(RowError::new("22023", null())),
        Value::Array(_) | Value::Json(_) | Value::Jsonb(_) => {
            Err(RowError::new("22023", "key value must be scalar, not array, composite, or json"))
        }
        Value::Date(_) | Value::Timestamp(_) => {
            let mut out = String::new();
            value.write_json(ty, &mut out)?;
            Ok(out.trim_matches('"').to_owned())
        }
        other => Ok(other.to_text(ty).into_owned()),
    }
}

/// `datum_to_json`: numbers and documents keep their text, arrays have no blanks.
fn push_json(ty: &Type, value: &Value, out: &mut String) -> Result<(), RowError> {
    match value {
        Value::Json(_) | Value::Jsonb(_) | Value::Int(_) | Value::Numeric(_) => value.push_text(ty, out),
        Value::Float4(v) if v.is_finite() => value.push_text(ty, out),
        Value::Float8(v) if v.is_finite() => value.push_text(ty, out),
        Value::Array(items) => {
            let element = if let Type::Array(element) = ty { element } else { &Type::Unknown };
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_json(element, item, out)?;
            }
            out.push(']');
        }
        other => other.write_json(ty, out)?,
    }
    Ok(())
}

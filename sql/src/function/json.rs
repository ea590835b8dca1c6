//! json and jsonb: finding, testing, changing, building.
//!
//! `json` is its text: what is found is a slice of it, duplicates and order kept. `jsonb` is the text of its normal form, of which a
//! slice is in normal form, too, so only what compares or changes whole documents builds a tree. Sources: `jsonfuncs.c`,
//! `jsonb_op.c`, `jsonb.c`, `json.c`.

mod build;

use super::Base::*;
use super::argument::{int, mismatch, text};
use super::{Function, Outcome, Run, row};
use crate::error::RowError;
use crate::json::{self, Json as Tree, Step};
use crate::numeric::Numeric as Decimal;
use crate::value::Value;

const TO_CHANGE: &str = "build the object anew with jsonb_build_object, or use || and -";
const JSONPATH: &str = "jsonpath is not supported: write -> and ->> along the path";
const ONE_ROW: &str = "each change of the source gives one row: name the elements one by one (document -> 0)";

const OPERATORS: &[Function] = &[
    row("->", &[Json, Text], Json, Run::Two(|d, k| part(d, find(d, &mut [Step::key(text(k)?)])?))),
    row("->", &[Json, Int4], Json, Run::Two(|d, i| part(d, element(d, int(i)?)?))),
    row("->", &[Jsonb, Text], Jsonb, Run::Two(|d, k| part(d, find(d, &mut [Step::key(text(k)?)])?))),
    row("->", &[Jsonb, Int4], Jsonb, Run::Two(|d, i| part(d, element(d, int(i)?)?))),
    row("->>", &[Json, Text], Text, Run::Two(|d, k| plain(find(d, &mut [Step::key(text(k)?)])?))),
    row("->>", &[Json, Int4], Text, Run::Two(|d, i| plain(element(d, int(i)?)?))),
    row("->>", &[Jsonb, Text], Text, Run::Two(|d, k| plain(find(d, &mut [Step::key(text(k)?)])?))),
    row("->>", &[Jsonb, Int4], Text, Run::Two(|d, i| plain(element(d, int(i)?)?))),
    row("#>", &[Json, TextArray], Json, Run::Two(|d, p| part(d, along(d, p)?))),
    row("#>", &[Jsonb, TextArray], Jsonb, Run::Two(|d, p| part(d, along(d, p)?))),
    row("#>>", &[Json, TextArray], Text, Run::Two(|d, p| plain(along(d, p)?))),
    row("#>>", &[Jsonb, TextArray], Text, Run::Two(|d, p| plain(along(d, p)?))),
    row("@>", &[Jsonb, Jsonb], Bool, Run::Two(|a, b| Ok(Value::Bool(tree(a)?.contains(&tree(b)?))))),
    row("<@", &[Jsonb, Jsonb], Bool, Run::Two(|a, b| Ok(Value::Bool(tree(b)?.contains(&tree(a)?))))),
    row("?", &[Jsonb, Text], Bool, Run::Two(|d, k| Ok(Value::Bool(tree(d)?.has(text(k)?))))),
    row("?|", &[Jsonb, TextArray], Bool, Run::Two(|d, k| has(d, k, false))),
    row("?|", &[Foreign, Foreign], Bool, Run::Refused("geometric types are not supported")),
    row("?&", &[Jsonb, TextArray], Bool, Run::Two(|d, k| has(d, k, true))),
    row("||", &[Jsonb, Jsonb], Jsonb, Run::Two(concat)),
    row("-", &[Jsonb, Text], Jsonb, Run::Two(|d, k| document(&tree(d)?.without(&[text(k)?])?))),
    row("-", &[Jsonb, Int4], Jsonb, Run::Two(|d, i| document(&tree(d)?.without_index(int(i)?)?))),
    row("-", &[Jsonb, TextArray], Jsonb, Run::Two(|d, k| document(&tree(d)?.without(&texts(k)?)?))),
    row("#-", &[Jsonb, TextArray], Jsonb, Run::Refused(TO_CHANGE)),
    row("@?", &[Jsonb, Foreign], Bool, Run::Refused(JSONPATH)),
    row("@@", &[Jsonb, Foreign], Bool, Run::Refused(JSONPATH)),
];

const FUNCTIONS: &[Function] = &[
    row("json_typeof", &[Json], Text, Run::One(|d| Ok(Value::Text(json::type_name(source(d)?).into())))),
    row("jsonb_typeof", &[Jsonb], Text, Run::One(|d| Ok(Value::Text(json::type_name(source(d)?).into())))),
    row("json_array_length", &[Json], Int4, Run::One(array_length)),
    row("jsonb_array_length", &[Jsonb], Int4, Run::One(array_length)),
    row("json_extract_path", &[Json, Texts], Json, Run::Variadic(|d, p| part(d, along(d, p)?))),
    row("jsonb_extract_path", &[Jsonb, Texts], Jsonb, Run::Variadic(|d, p| part(d, along(d, p)?))),
    row("json_extract_path_text", &[Json, Texts], Text, Run::Variadic(|d, p| plain(along(d, p)?))),
    row("jsonb_extract_path_text", &[Jsonb, Texts], Text, Run::Variadic(|d, p| plain(along(d, p)?))),
    row("jsonb_strip_nulls", &[Jsonb], Jsonb, Run::One(|d| document(&tree(d)?.strip_nulls()))),
    row("jsonb_set", &[Jsonb, TextArray, Jsonb], Jsonb, Run::Refused(TO_CHANGE)),
    row("jsonb_set", &[Jsonb, TextArray, Jsonb, Bool], Jsonb, Run::Refused(TO_CHANGE)),
    row("jsonb_insert", &[Jsonb, TextArray, Jsonb], Jsonb, Run::Refused(TO_CHANGE)),
    row("jsonb_insert", &[Jsonb, TextArray, Jsonb, Bool], Jsonb, Run::Refused(TO_CHANGE)),
    row("json_strip_nulls", &[Json], Json, Run::Refused("cast to jsonb: jsonb_strip_nulls(document::jsonb)")),
    row("jsonb_pretty", &[Jsonb], Text, Run::Refused("leave the layout to the reader of the result")),
    row("jsonb_object_keys", &[Jsonb], Text, Run::Refused(ONE_ROW)),
    row("json_object_keys", &[Json], Text, Run::Refused(ONE_ROW)),
    row("jsonb_array_elements", &[Jsonb], Jsonb, Run::Refused(ONE_ROW)),
    row("json_array_elements", &[Json], Json, Run::Refused(ONE_ROW)),
    row("jsonb_array_elements_text", &[Jsonb], Text, Run::Refused(ONE_ROW)),
    row("json_array_elements_text", &[Json], Text, Run::Refused(ONE_ROW)),
    row("jsonb_each", &[Jsonb], Any, Run::Refused(ONE_ROW)),
    row("json_each", &[Json], Any, Run::Refused(ONE_ROW)),
    row("jsonb_each_text", &[Jsonb], Any, Run::Refused(ONE_ROW)),
    row("json_each_text", &[Json], Any, Run::Refused(ONE_ROW)),
    row("jsonb_path_query_first", &[Jsonb, Foreign], Jsonb, Run::Refused(JSONPATH)),
    row("jsonb_path_exists", &[Jsonb, Foreign], Bool, Run::Refused(JSONPATH)),
    row("to_jsonb", &[AnyElement], Jsonb, Run::StrictTyped(build::to_jsonb)).stable(),
    row("to_json", &[AnyElement], Json, Run::StrictTyped(build::to_json)).stable(),
    row("jsonb_build_object", &[], Jsonb, Run::Typed(build::jsonb_object)).stable(),
    row("jsonb_build_object", &[Any], Jsonb, Run::Typed(build::jsonb_object)).stable(),
    row("jsonb_build_array", &[], Jsonb, Run::Typed(build::jsonb_array)).stable(),
    row("jsonb_build_array", &[Any], Jsonb, Run::Typed(build::jsonb_array)).stable(),
    row("json_build_object", &[], Json, Run::Typed(build::json_object)).stable(),
    row("json_build_object", &[Any], Json, Run::Typed(build::json_object)).stable(),
    row("json_build_array", &[], Json, Run::Typed(build::json_array)).stable(),
    row("json_build_array", &[Any], Json, Run::Typed(build::json_array)).stable(),
];

pub(super) fn operators() -> Vec<Function> {
    OPERATORS.to_vec()
}

pub(super) fn functions() -> Vec<Function> {
    FUNCTIONS.to_vec()
}

/// The text of a document.
fn source(document: &Value) -> Result<&str, RowError> {
    match document {
        Value::Json(text) | Value::Jsonb(text) => Ok(text),
        other => Err(mismatch(other, "a json document")),
    }
}

fn tree(document: &Value) -> Result<Tree, RowError> {
    Tree::parse(source(document)?)
}

/// A tree as a jsonb value.
fn document(tree: &Tree) -> Outcome {
    let mut text = String::new();
    tree.write(&mut text);
    Ok(Value::Jsonb(json::bounded(text)?.into()))
}

fn find<'d>(document: &'d Value, path: &mut [Step<'_>]) -> Result<Option<&'d str>, RowError> {
    match document {
        Value::Json(text) => json::find_json(text, path),
        Value::Jsonb(text) => json::find_jsonb(text, path),
        other => Err(mismatch(other, "a json document")),
    }
}

fn element(document: &Value, index: i64) -> Result<Option<&str>, RowError> {
    match document {
        // A jsonb scalar is stored as an array of one element, and `->` does not look whether it is one.
        Value::Jsonb(text) if !text.starts_with(['[', '{']) => Ok(matches!(index, 0 | -1).then_some(&**text)),
        _ => find(document, &mut [Step::index(index)]),
    }
}

/// What a `text[]` path leads to; nothing when a step is NULL.
fn along<'d>(document: &'d Value, path: &Value) -> Result<Option<&'d str>, RowError> {
    let Value::Array(items) = path else { return Err(mismatch(path, "a path")) };
    let steps = items.iter().map(|item| if item.is_null() { Ok(None) } else { text(item).map(|t| Some(Step::text(t))) });
    match steps.collect::<Result<Option<Vec<_>>, _>>()? {
        Some(mut steps) => find(document, &mut steps),
        None => Ok(None),
    }
}

/// What was found, as a value of the document's type.
fn part(document: &Value, found: Option<&str>) -> Outcome {
    Ok(match (found, document) {
        (None, _) => Value::Null,
        (Some(text), Value::Json(_)) => Value::Json(text.into()),
        (Some(text), _) => Value::Jsonb(text.into()),
    })
}

/// What was found, as text.
fn plain(found: Option<&str>) -> Outcome {
    let Some(found) = found else { return Ok(Value::Null) };
    Ok(json::unquoted(found)?.map_or(Value::Null, |text| Value::Text(text.into())))
}

/// The elements that are not NULL.
fn texts(array: &Value) -> Result<Vec<&str>, RowError> {
    let Value::Array(items) = array else { return Err(mismatch(array, "an array")) };
    items.iter().filter(|item| !item.is_null()).map(text).collect()
}

fn has(document: &Value, keys: &Value, all: bool) -> Outcome {
    let (document, keys) = (tree(document)?, texts(keys)?);
    let has = |key: &&str| document.has(key);
    Ok(Value::Bool(if all { keys.iter().all(has) } else { keys.iter().any(has) }))
}

fn concat(a: &Value, b: &Value) -> Outcome {
    document(&tree(a)?.concat(tree(b)?))
}

fn array_length(value: &Value) -> Outcome {
    let text = source(value)?;
    match json::array_length(text)? {
        Some(length) => Ok(Value::Int(length)),
        None if json::type_name(text) == "object" => Err(RowError::new("22023", "cannot get array length of a non-array")),
        None => Err(RowError::new("22023", "cannot get array length of a scalar")),
    }
}

/// A jsonb number, for the cast to that type. Fails with 22023 (`cannotCastJsonbValue`).
pub(super) fn number(value: &Value, wanted: &str) -> Result<Decimal, RowError> {
    let text = source(value)?;
    match json::type_name(text) {
        "number" => Decimal::parse(text),
        other => Err(no_cast(other, wanted)),
    }
}

/// A jsonb boolean, for the cast to boolean.
pub(super) fn truth(value: &Value) -> Outcome {
    match source(value)? {
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        other => Err(no_cast(json::type_name(other), "boolean")),
    }
}

fn no_cast(found: &str, wanted: &str) -> RowError {
    let found = if found == "number" { "numeric" } else { found };
    RowError::new("22023", format!("cannot cast jsonb {found} to type {wanted}"))
}

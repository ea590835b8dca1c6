//! One-dimensional arrays that begin at 1; the empty array has no dimension (`arrayfuncs.c`, `array_userfuncs.c`).
//!
//! Elements are equal by their type's `=`, and NULL equals nothing, except where the text of Postgres' manual says that NULL is
//! found (`array_position`, `array_remove`).

use std::borrow::Cow;

use super::Base::{self, *};
use super::argument::{int, mismatch, text};
use super::{Argument, Function, Outcome, Run, VALUE_BYTES_MAX, order, row};
use crate::error::RowError;
use crate::value::{Type, Value};

/// Elements that an expression may put into one array.
const ITEMS_MAX: usize = 1024 * 1024;

const ANY: &[Base] = &[AnyArray];
const BOTH: &[Base] = &[AnyArray, AnyArray];
const WITH_ELEMENT: &[Base] = &[AnyCompatibleArray, AnyCompatible];
const ONE_ROW: &str = "each change of the source gives one row: name the elements one by one (a[1], a[2])";
const BOUNDED: &str = "write the elements one by one: ARRAY[a[1], a[2]]";

const OPERATORS: &[Function] = &[
    row("||", &[AnyCompatibleArray, AnyCompatibleArray], AnyCompatibleArray, Run::Typed(concatenate)),
    row("||", &[AnyCompatible, AnyCompatibleArray], AnyCompatibleArray, Run::Typed(prepend)),
    row("||", WITH_ELEMENT, AnyCompatibleArray, Run::Typed(append)),
    row("@>", BOTH, Bool, Run::StrictTyped(contains)),
    row("<@", BOTH, Bool, Run::StrictTyped(contained)),
    row("&&", BOTH, Bool, Run::StrictTyped(overlap)),
    row("&&", &[Inet, Inet], Bool, Run::Refused("compare the addresses themselves")),
];

const FUNCTIONS: &[Function] = &[
    row("array_length", &[AnyArray, Int4], Int4, Run::Two(|a, d| dimension(a, d, |len| len))),
    row("array_upper", &[AnyArray, Int4], Int4, Run::Two(|a, d| dimension(a, d, |len| len))),
    row("array_lower", &[AnyArray, Int4], Int4, Run::Two(|a, d| dimension(a, d, |_| 1))),
    row("array_ndims", ANY, Int4, Run::One(|a| dimension(a, &Value::Int(1), |_| 1))),
    row("cardinality", ANY, Int4, Run::One(|a| count(items(a)?.len()))),
    row("array_append", WITH_ELEMENT, AnyCompatibleArray, Run::Typed(append)),
    row("array_prepend", &[AnyCompatible, AnyCompatibleArray], AnyCompatibleArray, Run::Typed(prepend)),
    row("array_cat", &[AnyCompatibleArray, AnyCompatibleArray], AnyCompatibleArray, Run::Typed(concatenate)),
    row("array_position", WITH_ELEMENT, Int4, Run::Typed(position)),
    row("array_position", &[AnyCompatibleArray, AnyCompatible, Int4], Int4, Run::Typed(position)),
    row("array_remove", WITH_ELEMENT, AnyCompatibleArray, Run::Typed(remove)),
    row("array_to_string", &[AnyArray, Text], Text, Run::StrictTyped(to_string)).stable(),
    row("array_to_string", &[AnyArray, Text, Text], Text, Run::Typed(to_string)).stable(),
    row("array_positions", WITH_ELEMENT, AnyCompatibleArray, Run::Refused("array_position gives the first one")),
    row("array_replace", &[AnyCompatibleArray, AnyCompatible, AnyCompatible], AnyCompatibleArray, Run::Refused(BOUNDED)),
    row("array_dims", ANY, Text, Run::Refused("cardinality gives the number of elements")),
    row("trim_array", &[AnyArray, Int4], AnyArray, Run::Refused(BOUNDED)),
    row("array_to_json", ANY, Json, Run::Refused("write to_json")),
    row("unnest", ANY, AnyElement, Run::Refused(ONE_ROW)),
    row("generate_subscripts", &[AnyArray, Int4], Int4, Run::Refused(ONE_ROW)),
];

pub(super) fn operators() -> Vec<Function> {
    OPERATORS.to_vec()
}

pub(super) fn functions() -> Vec<Function> {
    FUNCTIONS.to_vec()
}

fn items(array: &Value) -> Result<&[Value], RowError> {
    if let Value::Array(items) = array { Ok(items) } else { Err(mismatch(array, "an array")) }
}

fn count(n: usize) -> Outcome {
    i64::try_from(n).map(Value::Int).map_err(|_| too_large())
}

fn too_large() -> RowError {
    RowError::new("54000", format!("array size exceeds the maximum allowed ({ITEMS_MAX})"))
}

/// Something about a dimension: there is one, the first, and none when the array is empty.
fn dimension(array: &Value, wanted: &Value, of: fn(usize) -> usize) -> Outcome {
    let len = items(array)?.len();
    if int(wanted)? == 1 && len > 0 { count(of(len)) } else { Ok(Value::Null) }
}

fn element(ty: &Type) -> &Type {
    if let Type::Array(element) = ty { element } else { &Type::Unknown }
}

/// The values of exactly that many arguments.
fn all<'b, const COUNT: usize>(arguments: &'b [Argument<'_>]) -> Result<[&'b Value; COUNT], RowError> {
    let values: Vec<&Value> = arguments.iter().map(|(_, value)| &**value).collect();
    <[&Value; COUNT]>::try_from(values).map_err(|_| RowError::new("XX000", "another number of arguments"))
}

fn built(items: Vec<Value>) -> Outcome {
    if items.len() > ITEMS_MAX { Err(too_large()) } else { Ok(Value::Array(items.into())) }
}

/// A NULL array is like no array.
fn concatenate(arguments: &[Argument<'_>]) -> Outcome {
    match all(arguments)? {
        [Value::Null, other] | [other, Value::Null] => Ok(other.clone()),
        [a, b] => built([items(a)?, items(b)?].concat()),
    }
}

fn append(arguments: &[Argument<'_>]) -> Outcome {
    let [array, element] = all(arguments)?;
    let mut list = if array.is_null() { Vec::new() } else { items(array)?.to_vec() };
    list.push(element.clone());
    built(list)
}

fn prepend(arguments: &[Argument<'_>]) -> Outcome {
    let [element, array] = all(arguments)?;
    let mut list = vec![element.clone()];
    if !array.is_null() {
        list.extend_from_slice(items(array)?);
    }
    built(list)
}

fn equal(a: &Value, b: &Value, ty: &Type) -> bool {
    !a.is_null() && !b.is_null() && order(a, b, ty).is_eq()
}

/// Whether all (or any) of the first are among the second; NULL when one of them is.
fn among(few: &Value, many: &Value, ty: &Type, all: bool) -> Outcome {
    if few.is_null() || many.is_null() {
        return Ok(Value::Null);
    }
    let many = items(many)?;
    let found = |item: &Value| many.iter().any(|other| equal(item, other, element(ty)));
    let few = items(few)?;
    Ok(Value::Bool(if all { few.iter().all(found) } else { few.iter().any(found) }))
}

fn array_type<'a>(arguments: &[Argument<'a>]) -> &'a Type {
    arguments.first().map_or(&Type::Unknown, |(ty, _)| ty)
}

fn contains(arguments: &[Argument<'_>]) -> Outcome {
    let [whole, part] = all(arguments)?;
    among(part, whole, array_type(arguments), true)
}

fn contained(arguments: &[Argument<'_>]) -> Outcome {
    let [part, whole] = all(arguments)?;
    among(part, whole, array_type(arguments), true)
}

fn overlap(arguments: &[Argument<'_>]) -> Outcome {
    let [a, b] = all(arguments)?;
    among(a, b, array_type(arguments), false)
}

/// Here NULL is found, too.
fn same(a: &Value, b: &Value, ty: &Type) -> bool {
    (a.is_null() && b.is_null()) || equal(a, b, ty)
}

/// Where the element first is, counted from 1, at or after an optional position; NULL when it is not there.
fn position(arguments: &[Argument<'_>]) -> Outcome {
    let ty = element(array_type(arguments));
    let (array, wanted, from) = match arguments {
        [(_, array), (_, wanted)] => (array, wanted, None),
        [(_, array), (_, wanted), (_, from)] => (array, wanted, Some(from)),
        _ => return Err(RowError::new("XX000", "another number of arguments")),
    };
    if array.is_null() {
        return Ok(Value::Null);
    }
    let items = items(array)?;
    // Before the position is looked at: nothing can be found.
    if items.is_empty() || wanted.is_null() && !items.iter().any(Value::is_null) {
        return Ok(Value::Null);
    }
    let from = match from.map(|from| &**from) {
        Some(Value::Null) => return Err(RowError::new("22004", "initial position must not be null")),
        Some(from) => usize::try_from(int(from)?.max(1)).unwrap_or(usize::MAX),
        None => 1,
    };
    match (from..=items.len()).find(|at| same(&items[at - 1], wanted, ty)) {
        Some(at) => count(at),
        None => Ok(Value::Null),
    }
}

fn remove(arguments: &[Argument<'_>]) -> Outcome {
    let [array, unwanted] = all(arguments)?;
    if array.is_null() {
        return Ok(Value::Null);
    }
    let ty = element(array_type(arguments));
    Ok(Value::Array(items(array)?.iter().filter(|item| !same(item, unwanted, ty)).cloned().collect()))
}

/// `array_to_text_internal`: NULLs are left out unless there is a text for them.
fn to_string(arguments: &[Argument<'_>]) -> Outcome {
    let (array, delimiter, null) = match arguments {
        [(_, array), (_, delimiter)] => (array, delimiter, None),
        [(_, array), (_, delimiter), (_, null)] => (array, delimiter, Some(null).filter(|null| !null.is_null())),
        _ => return Err(RowError::new("XX000", "another number of arguments")),
    };
    if array.is_null() || delimiter.is_null() {
        return Ok(Value::Null);
    }
    let (delimiter, null) = (text(delimiter)?, null.map(|null| text(null)).transpose()?);
    let ty = element(array_type(arguments));
    let mut out = String::new();
    let mut first = true;
    for item in items(array)? {
        let shown = match item {
            Value::Null => match null {
                Some(null) => Cow::Borrowed(null),
                None => continue,
            },
            // The output function, not the cast to text.
            Value::Bool(b) => Cow::Borrowed(if *b { "t" } else { "f" }),
            item => item.to_text(ty),
        };
        if !first {
            out.push_str(delimiter);
        }
        first = false;
        out.push_str(&shown);
        if out.len() > VALUE_BYTES_MAX {
            return Err(RowError::new("54000", format!("requested length too large (more than {VALUE_BYTES_MAX} bytes)")));
        }
    }
    Ok(Value::Text(out.into()))
}

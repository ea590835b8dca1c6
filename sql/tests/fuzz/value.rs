//! Input functions of all types. The first byte chooses the type, the rest is the text.
//!
//! What is read is printed, read again as the same value and printed the same; its JSON is JSON in normal form.

use std::cmp::Ordering;

use highwater_sql::{Type, Value, json};

use super::tables;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Some(ty) = tables::types().nth(usize::from(*choice) % tables::COLUMNS.len()) else { return };
    if let Ok(value) = Value::from_text(ty, text) {
        is_sound(ty, &value);
    }
    let _ = Value::Text(text.into()).to_scaled(3);
}

/// Panics unless the value keeps its promises.
pub fn is_sound(ty: &Type, value: &Value) {
    if value.is_null() {
        return;
    }
    let printed = value.to_text(ty).into_owned();
    match Value::from_text(ty, &printed) {
        Ok(again) => {
            assert_eq!(again.to_text(ty), printed, "{}", ty.name());
            assert_eq!(value.compare(&again, ty), Ordering::Equal, "{}: {printed}", ty.name());
        }
        Err(error) => panic!("{}: {printed:?} is printed and not read: {error}", ty.name()),
    }
    let mut written = String::new();
    if value.write_json(ty, &mut written).is_ok() {
        assert_eq!(json::normalize(&written).as_deref(), Ok(written.as_str()), "{}", ty.name());
    }
    let _ = (value.to_scaled(3), value.unix_micros());
}

//! A record's value, and the same bytes as its key.
//!
//! Whatever the bytes: a row has all its columns, each value is one that its type can print and read again, and what is wrong has a class.

use std::sync::LazyLock;

use highwater_sql::Decoder;
use highwater_sql::decode::{Row, TimePrecision, decode_key, key_payload};

use super::{tables, value};

static DECODERS: LazyLock<Vec<Decoder>> = LazyLock::new(|| {
    let columns = &tables::CATALOG.tables[0].columns;
    let mut decoders = vec![Decoder::new(columns), Decoder::new(&columns[..0])];
    // Most records lack most columns: alone, a column is read from every record that has it.
    decoders.extend(columns.iter().map(|column| Decoder::new(std::slice::from_ref(column))));
    let modes = [TimePrecision::Connect, TimePrecision::IsoString, TimePrecision::Microseconds, TimePrecision::Nanoseconds];
    decoders.extend(modes.map(|mode| Decoder::new(columns).with_time_precision(mode)));
    decoders
});

/// Runs one input.
pub fn run(data: &[u8]) {
    let columns = &tables::CATALOG.tables[0].columns;
    for (n, decoder) in DECODERS.iter().enumerate() {
        let alone = n.checked_sub(2).and_then(|n| columns.get(n)).map(std::slice::from_ref);
        let columns = if n == 1 { &[] } else { alone.unwrap_or(columns) };
        match decoder.decode(data) {
            Ok(envelope) => [envelope.before, envelope.after].into_iter().flatten().for_each(|row| is_sound(columns, row)),
            Err(error) => assert!(!error.class().is_empty() && !error.to_string().is_empty()),
        }
    }
    if let Ok(Some(row)) = decode_key(&DECODERS[0], data) {
        is_sound(columns, row);
    }
    if let Ok(Some(key)) = key_payload(data) {
        // The key of a key is itself, unless it looks like a wrapped one.
        assert!(key.len() <= data.len());
    }
}

fn is_sound(columns: &[highwater_sql::Column], row: Row) {
    let Ok(row) = row else { return };
    assert_eq!(row.len(), columns.len());
    for (column, value) in columns.iter().zip(&row) {
        value::is_sound(&column.ty, value);
    }
}

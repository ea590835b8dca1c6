//! The text of a SELECT, or of an expression in one.
//!
//! What is accepted is evaluated, over a row of NULLs and over a row of ordinary values; what is refused is shown with its place.

use std::sync::{Arc, LazyLock};

use highwater_sql::check::check;
use highwater_sql::{LookupRow, Plan, Value, parse};

use super::tables;

/// A text that most types read, for each column.
static SAMPLES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let texts =
        ["7", "true", "a", "2024-02-29", "12:34:56", "1 day", "{}", "sad", "10.0.0.1", "00000000-0000-4000-8000-00000000000a", "[1]"];
    let value = |ty| texts.iter().find_map(|text| Value::from_text(ty, text).ok()).unwrap_or(Value::Null);
    tables::types().map(value).collect()
});

/// Runs one input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    statement(text);
    statement(&format!("SELECT {text} FROM samples LEFT JOIN l ON l.id = i4"));
    statement(&format!("SELECT 1 FROM samples s JOIN l ON l.t = u AND {text} WHERE {text}"));
}

fn statement(sql: &str) {
    let _ = parse::tables(sql);
    match check(sql, &tables::CATALOG) {
        Ok(plan) => {
            let nulls: Vec<_> = plan.source_columns.iter().map(|_| Value::Null).collect();
            evaluate(&plan, &nulls);
            let sample = |name: &str| tables::COLUMNS.iter().position(|(column, _)| *column == name).map(|n| SAMPLES[n].clone());
            let samples: Vec<_> = plan.source_columns.iter().map(|column| sample(&column.name).unwrap_or(Value::Int(1))).collect();
            evaluate(&plan, &samples);
        }
        Err(error) => {
            assert!(error.position.is_none_or(|at| sql.is_char_boundary(at)), "{:?} in {sql:?}", error.position);
            assert!(!error.render(sql).is_empty());
        }
    }
}

fn evaluate(plan: &Plan, row: &[Value]) {
    let mut found: Vec<Option<LookupRow>> = Vec::new();
    for (n, lookup) in plan.lookups.iter().enumerate() {
        let key = plan.lookup_key(n, row, &found);
        let nulls: Arc<[Value]> = lookup.columns.iter().map(|_| Value::Null).collect();
        found.push(key.ok().flatten().map(|_| nulls));
    }
    if let Ok(Some(values)) = plan.evaluate(row, &found) {
        assert_eq!(values.len(), plan.outputs.len());
        for (value, output) in values.iter().zip(&plan.outputs) {
            let mut json = String::new();
            let _ = value.write_json(&output.ty, &mut json);
        }
    }
}

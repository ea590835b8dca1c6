//! A schema file: what is read is a catalog without contradictions, what is refused is shown with its place.

use highwater_sql::ddl;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ddl::read(text) {
        Ok(schema) => {
            for table in &schema.catalog.tables {
                let named = |column: &String| {
                    let of = format!("{}.{}", table.schema, table.name);
                    table.column(column).is_some() || schema.unsupported.iter().any(|(table, name, _)| *table == of && name == column)
                };
                assert!(table.primary_key.iter().all(named), "{table:?}");
            }
        }
        Err(error) => {
            assert!(error.position.is_none_or(|at| text.is_char_boundary(at)), "{:?} in {text:?}", error.position);
            assert!(!error.render(text).is_empty());
        }
    }
}

//! The tables: do their change events carry what the sinks and the cache need?

use highwater_sql::catalog::{ReplicaIdentity, Table};
use highwater_sql::{Lookup, Plan};

use super::Fact;
use crate::catalog::{Access, Reading};

pub(crate) fn check(append_only: bool, plan: &Plan, reading: &Reading, facts: &mut Vec<Fact>) {
    source(append_only, &plan.source, facts);
    for lookup in &plan.lookups {
        let mut tables = reading.catalog.tables.iter().zip(&reading.access);
        let found = tables.find(|(table, _)| table.schema == lookup.table.schema && table.name == lookup.table.name);
        check_lookup(lookup, found.map(|(_, access)| *access), facts);
    }
}

fn source(append_only: bool, table: &Table, facts: &mut Vec<Fact>) {
    let name = name(table);
    let before = facts.len();
    if table.primary_key.is_empty() {
        let text = format!("{name} has no primary key: its changes come without a key");
        facts.push(Fact::failed("table", text, format!("add one: ALTER TABLE {name} ADD PRIMARY KEY (...)")));
    }
    if table.replica_identity != ReplicaIdentity::Full && !append_only {
        let text = format!("{name} has {}: updates and deletes come without the old row", identity(table));
        let remedy =
            format!("run ALTER TABLE {name} REPLICA IDENTITY FULL, or set append_only = true in [source] if rows are only inserted");
        facts.push(Fact::failed("table", text, remedy));
    }
    if facts.len() == before {
        facts.push(Fact::ok("table", format!("{name}: primary key ({}), {}", table.primary_key.join(", "), identity(table))));
    }
}

fn check_lookup(lookup: &Lookup, access: Option<Access>, facts: &mut Vec<Fact>) {
    let table = &lookup.table;
    let (name, before) = (name(table), facts.len());
    let key: Vec<_> = lookup.key_columns.iter().map(|column| column.name.as_str()).collect();
    let is_primary = key.len() == table.primary_key.len() && key.iter().all(|column| table.primary_key.iter().any(|k| k == column));
    let followed = match table.replica_identity {
        ReplicaIdentity::Full => true,
        ReplicaIdentity::Default => is_primary,
        ReplicaIdentity::Index | ReplicaIdentity::Nothing => false,
    };
    if !followed {
        let text =
            format!("{name} is joined by ({}) and has {}: its changes do not say which cached row is old", key.join(", "), identity(table));
        facts.push(Fact::failed("table", text, format!("run ALTER TABLE {name} REPLICA IDENTITY FULL, or join by the primary key")));
    }
    if access.is_some_and(|access| !access.readable) {
        facts.push(Fact::failed(
            "table",
            format!("{name} cannot be read by this role"),
            format!("run GRANT SELECT ON {name} TO the role in source.postgres"),
        ));
    }
    if access.is_some_and(|access| access.row_security) {
        let text = format!("row security hides rows of {name} from this role: they would join as if they did not exist");
        facts.push(Fact::failed("table", text, "use a role with BYPASSRLS in source.postgres"));
    }
    if facts.len() == before {
        facts.push(Fact::ok("table", format!("{name}: joined by its unique ({}), {}", key.join(", "), identity(table))));
    }
}

fn name(table: &Table) -> String {
    format!("{}.{}", table.schema, table.name)
}

fn identity(table: &Table) -> &'static str {
    match table.replica_identity {
        ReplicaIdentity::Full => "REPLICA IDENTITY FULL",
        ReplicaIdentity::Default => "REPLICA IDENTITY DEFAULT",
        ReplicaIdentity::Index => "REPLICA IDENTITY USING INDEX",
        ReplicaIdentity::Nothing => "REPLICA IDENTITY NOTHING",
    }
}

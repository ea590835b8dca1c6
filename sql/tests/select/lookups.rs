//! Random SELECTs with up to three lookups, one through the other, over random rows: every result row is the one Postgres gives.
//!
//! The test does what the engine does: for each row of the source it asks the plan for the key of each lookup, takes the row that has
//! it, and evaluates. Tables, joins, conditions and outputs are drawn with a printed seed (`HIGHWATER_TEST_SEED`).

use std::collections::HashMap;

use highwater_sql::{Catalog, Column, LookupKey, LookupRow, Plan, Type, Value, check::check};

use crate::generator::Random;
use crate::oracle::{self, Oracle};
use crate::samples::{column, table};

/// SELECTs of a normal run, and after how many of them the rows are drawn anew.
const SELECTS: usize = 400;
const SELECTS_PER_ROWS: usize = 20;

struct Source {
    name: &'static str,
    columns: &'static [(&'static str, &'static str, &'static [&'static str])],
    keys: &'static [&'static [&'static str]],
    rows: usize,
}

const WORDS: &[&str] = &["a", "b", "de", "DE", "", "é", "DE "];
/// Columns with types and the values they take; the first column counts from 1 where it has none.
const TABLES: &[Source] = &[
    Source {
        name: "orders",
        columns: &[
            ("id", "bigint", &[]),
            ("customer", "bigint", &["1", "2", "3", "7", "4294967297"]),
            ("shop", "text", WORDS),
            ("sku", "varchar(20)", &["x", "y", "z", "x "]),
            ("amount", "numeric(12,2)", &["1.00", "2.00", "2.50", "-3.00", "100000000.00"]),
            ("code", "char(5)", &["DE", "FR", "de"]),
            ("payload", "jsonb", &["{\"c\": 1, \"a\": 1}", "{\"c\": \"2\"}", "{}", "[1]", "null"]),
            ("tags", "integer[]", &["{}", "{1,2}", "{2,NULL}"]),
        ],
        keys: &[&["id"]],
        rows: 30,
    },
    Source {
        name: "customers",
        columns: &[
            ("id", "integer", &[]),
            ("country", "text", &["DE", "de", "FR", "DE "]),
            ("name", "text", &["a", "hidden", "x", "é"]),
            ("email", "text", WORDS),
            ("parent", "integer", &["1", "2", "3"]),
        ],
        keys: &[&["id"], &["email"]],
        rows: 4,
    },
    Source {
        name: "countries",
        columns: &[("code", "char(2)", &["DE", "FR", "de", ""]), ("label", "text", &["a", "b", "x"]), ("active", "boolean", &["t", "f"])],
        keys: &[&["code"]],
        rows: 4,
    },
    Source {
        name: "products",
        columns: &[
            ("shop", "text", &["a", "b", "de", "x"]),
            ("sku", "text", &["x", "y", "x "]),
            ("price", "numeric", &["1.5", "2", "NaN"]),
            ("active", "boolean", &["t", "f"]),
        ],
        keys: &[&["shop", "sku"]],
        rows: 8,
    },
];

const FROM: &[&str] = &["orders o", "public.orders AS o", "\"orders\" \"o\"", "orders /* the /* source */ */ o -- here\n"];
/// Joins in the order in which they can refer to each other.
const JOINS: &[(&str, &[&str])] = &[
    (
        "customers c",
        &[
            "c.id = o.customer",
            "o.customer = c.id AND c.name <> 'hidden'",
            "c.email = o.shop",
            "c.id = o.amount",
            "c.id = (o.payload ->> 'c')::int",
            "c.id = o.customer AND o.amount > 1",
            "c.id = o.customer AND (c.country IS NOT NULL OR o.shop = 'a')",
            "c.id = 2",
            "c.id = o.customer AND c.email = o.shop",
            "c.id = o.customer AND NULL::boolean",
        ],
    ),
    (
        "public.\"countries\" AS g",
        &[
            "g.code = c.country",
            "g.code = upper(c.country)",
            "c.country = g.code AND g.active",
            "g.code = o.code AND c.id IS NOT NULL",
            "g.code = coalesce(c.country, o.code)",
            "g.code = o.code",
            "g.code = c.country AND g.label IS DISTINCT FROM c.name AND o.id > c.id",
        ],
    ),
    (
        "products p",
        &[
            "p.shop = o.shop AND p.sku = o.sku",
            "(p.sku, p.shop) = (o.sku, g.label)",
            "p.shop = coalesce(g.label, c.name, o.shop) AND o.sku = p.sku AND p.price > o.amount",
            "p.sku = 'x' AND p.shop = c.name AND p.active",
        ],
    ),
    ("customers parent", &["parent.id = c.parent", "parent.id = c.parent AND parent.id <> c.id AND parent.name = c.name"]),
];

const OUTPUTS: &[&str] = &[
    "*",
    "o.*",
    "c.*",
    "g.*",
    "parent.*",
    "public.orders.id",
    "c.name AS \"Customer's name\"",
    "g.label",
    "coalesce(c.name, '-') || '/' || coalesce(g.label, '?')",
    "o.payload ->> 'c' AS c",
    "o.amount * 2 twice",
    "c.id IS NULL AS missing",
    "o.customer = c.id",
    "CASE WHEN g.active THEN p.price END",
    "jsonb_build_object('customer', c.name, 'tags', o.tags, 'price', p.price)",
    "parent.name",
    "o.tags || c.id",
];

const FILTERS: &[&str] = &[
    "true",
    "NULL",
    "c.id IS NOT NULL",
    "g.label = 'a' OR o.amount > 2",
    "o.amount > coalesce(p.price, 0)",
    "o.payload @> '{\"a\": 1}'",
    "c.name IS DISTINCT FROM g.label",
    "o.tags && '{1}'",
    "parent.id IS NULL AND c.id IS NOT NULL",
    "NOT coalesce(g.active, false)",
];

fn type_of(sql_type: &str) -> Type {
    match sql_type {
        "varchar(20)" => Type::Varchar(Some(20)),
        "char(2)" => Type::Bpchar(Some(2)),
        "numeric(12,2)" => Type::Numeric(Some((12, 2))),
        other => crate::samples::type_of(other),
    }
}

fn catalog() -> Catalog {
    let tables = TABLES.iter().map(|source| {
        let columns = source.columns.iter().map(|(name, ty, _)| column(name, type_of(ty))).collect();
        table("public", source.name, columns, source.keys)
    });
    Catalog { tables: tables.collect(), default_collation_is_c: true }
}

type TextRow = Vec<Option<String>>;

/// Rows of a table with unique keys; NULLs only outside of the first key.
fn draw(random: &mut Random, source: &Source) -> Vec<TextRow> {
    let mut rows: Vec<TextRow> = Vec::new();
    for number in 1..=source.rows {
        let row: TextRow = source
            .columns
            .iter()
            .map(|(name, _, values)| match values.len() {
                0 => Some(number.to_string()),
                _ if random.chance(15) && !source.keys[0].contains(name) => None,
                _ => Some((*random.pick(values)).to_owned()),
            })
            .collect();
        let at = |name: &str| source.columns.iter().position(|(column, ..)| *column == name).unwrap();
        let clashes = |other: &TextRow| {
            source.keys.iter().any(|key| key.iter().all(|name| row[at(name)].is_some() && row[at(name)] == other[at(name)]))
        };
        if !rows.iter().any(clashes) && !row.contains(&Some("NaN".to_owned())) {
            rows.push(row);
        }
    }
    rows
}

fn create(oracle: &mut Oracle) {
    for source in TABLES {
        let collated = |ty: &str| if ty.contains("char") || ty == "text" { " COLLATE \"C\"" } else { "" };
        let columns: Vec<String> = source.columns.iter().map(|(name, ty, _)| format!("{name} {ty}{}", collated(ty))).collect();
        let keys: String = source.keys.iter().map(|key| format!(", UNIQUE ({})", key.join(", "))).collect();
        oracle.execute(&format!("CREATE TEMP TABLE {} ({}{keys})", source.name, columns.join(", ")));
    }
}

fn fill(oracle: &mut Oracle, rows: &HashMap<&str, Vec<TextRow>>) {
    for (name, rows) in rows {
        let mut sql = format!("TRUNCATE {name};");
        for row in rows {
            let values: Vec<String> =
                row.iter().map(|v| v.as_ref().map_or("NULL".to_owned(), |v| format!("'{}'", v.replace('\'', "''")))).collect();
            sql += &format!("INSERT INTO {name} VALUES ({});", values.join(", "));
        }
        oracle.execute(&sql);
    }
}

/// A SELECT whose first output is the key of the source, and how many lookups it has.
fn draw_select(random: &mut Random) -> String {
    let joined = 1 + random.below(JOINS.len());
    let mut from = (*random.pick(FROM)).to_owned();
    for (table, conditions) in &JOINS[..joined] {
        let kind = random.pick(&["LEFT JOIN", "left outer join", "LEFT JOIN", "JOIN", "INNER JOIN"]);
        from += &format!(" {kind} {table} ON {}", random.pick(conditions));
    }
    let names = ["c.", "g.", "p.", "parent."];
    let missing = |text: &&&str| names[joined..].iter().all(|name| !text.contains(name)) && !text.contains("public.");
    let outputs: Vec<&str> = OUTPUTS.iter().filter(missing).copied().collect();
    let filters: Vec<&str> = FILTERS.iter().filter(missing).copied().collect();
    let list: Vec<&str> = (0..1 + random.below(3)).map(|_| *random.pick(&outputs)).collect();
    let filter = if random.chance(60) { format!(" WHERE {}", random.pick(&filters)) } else { String::new() };
    format!("SELECT o.id, {} FROM {from}{filter}", list.join(", "))
}

fn values(columns: &[Column], source: &Source, row: &TextRow) -> Vec<Value> {
    let value = |column: &Column| {
        let at = source.columns.iter().position(|(name, ..)| *name == column.name).unwrap();
        row[at].as_ref().map_or(Value::Null, |text| Value::from_text(&column.ty, text).unwrap())
    };
    columns.iter().map(value).collect()
}

/// The result rows as the engine makes them, as text by output functions.
fn ours(plan: &Plan, rows: &HashMap<&str, Vec<TextRow>>) -> Vec<TextRow> {
    let source = &TABLES[0];
    let indexes: Vec<HashMap<LookupKey, LookupRow>> = plan
        .lookups
        .iter()
        .map(|lookup| {
            let source = TABLES.iter().find(|s| s.name == lookup.table.name).unwrap();
            let keyed = rows[source.name].iter().filter_map(|row| {
                let key = lookup.key_of(&values(&lookup.key_columns, source, row))?;
                Some((key, LookupRow::from(values(&lookup.columns, source, row))))
            });
            keyed.collect()
        })
        .collect();
    let mut results = Vec::new();
    for row in &rows[source.name] {
        let row = values(&plan.source_columns, source, row);
        let mut found: Vec<Option<LookupRow>> = Vec::new();
        for (lookup, index) in indexes.iter().enumerate() {
            let key = plan.lookup_key(lookup, &row, &found).unwrap();
            found.push(key.and_then(|key| index.get(&key).cloned()));
        }
        let Some(result) = plan.evaluate(&row, &found).unwrap() else { continue };
        let text = |(value, output): (&Value, &highwater_sql::Output)| match value {
            Value::Null => None,
            Value::Bool(b) => Some(if *b { "t" } else { "f" }.to_owned()),
            value => Some(value.to_text(&output.ty).into_owned()),
        };
        results.push(result.iter().zip(&plan.outputs).map(text).collect());
    }
    results
}

#[test]
fn lookups_find_what_postgres_joins() {
    let url = oracle::url();
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seed = std::env::var("HIGHWATER_TEST_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or(clock);
    let mut random = Random(seed);
    let mut oracle = Oracle::connect(&url);
    create(&mut oracle);
    let catalog = catalog();
    let mut rows = HashMap::new();
    let (mut compared, mut nulls) = (0, 0);
    for round in 0..SELECTS {
        if round % SELECTS_PER_ROWS == 0 {
            rows = TABLES.iter().map(|source| (source.name, draw(&mut random, source))).collect();
            fill(&mut oracle, &rows);
        }
        let sql = draw_select(&mut random);
        let plan = check(&sql, &catalog).unwrap_or_else(|e| panic!("seed {seed}: {}", e.render(&sql)));
        // The tables are temporary ones there.
        let their_sql = sql.replace("public.", "pg_temp.");
        let mut theirs = oracle.rows(&their_sql);
        let mut ours = ours(&plan, &rows);
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs, "seed {seed}: {sql}\nrows: {rows:?}");
        let names: Vec<String> = oracle.columns(&their_sql).into_iter().map(|(name, _)| name).collect();
        assert_eq!(plan.outputs.iter().map(|o| o.name.clone()).collect::<Vec<_>>(), names, "{sql}");
        compared += ours.len();
        nulls += ours.iter().filter(|row| row.iter().any(Option::is_none)).count();
    }
    eprintln!("seed {seed}: {SELECTS} SELECTs, {compared} rows compared, {nulls} with NULLs");
    assert!(compared > SELECTS && nulls > SELECTS, "only {compared} rows were compared");
}

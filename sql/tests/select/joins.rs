//! Lookups: keys, conditions, chains.

use std::sync::Arc;

use highwater_sql::{Catalog, Join, LookupRow, Plan, Type, Value, check::check};

use crate::samples::{column, table};

fn catalog() -> Catalog {
    let orders = vec![
        column("id", Type::Int8),
        column("customer", Type::Int8),
        column("shop", Type::Text),
        column("sku", Type::Varchar(Some(20))),
        column("amount", Type::Numeric(Some((12, 2)))),
        column("code", Type::Bpchar(Some(5))),
    ];
    let customers = vec![column("id", Type::Int4), column("country", Type::Text), column("name", Type::Text), column("email", Type::Text)];
    let products =
        vec![column("shop", Type::Text), column("sku", Type::Text), column("price", Type::Numeric(None)), column("active", Type::Bool)];
    let countries = vec![column("code", Type::Bpchar(Some(2))), column("label", Type::Text)];
    Catalog {
        tables: vec![
            table("public", "orders", orders, &[&["id"]]),
            table("public", "customers", customers, &[&["id"], &["email"]]),
            table("public", "products", products, &[&["shop", "sku"]]),
            table("geo", "countries", countries, &[&["code"]]),
        ],
        default_collation_is_c: true,
    }
}

fn plan(sql: &str) -> Plan {
    check(sql, &catalog()).unwrap_or_else(|e| panic!("{}", e.render(sql)))
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn parts(plan: &Plan, lookup: usize, source: &[Value], found: &[Option<LookupRow>]) -> Option<Vec<String>> {
    plan.lookup_key(lookup, source, found).unwrap().map(|key| key.parts().iter().map(|part| part.to_string()).collect())
}

fn shown(plan: &Plan, row: &[Value]) -> Vec<String> {
    plan.outputs.iter().zip(row).map(|(o, v)| if v.is_null() { "NULL".into() } else { v.to_text(&o.ty).into_owned() }).collect()
}

#[test]
fn a_left_join_finds_its_row_or_gives_nulls() {
    let plan = plan("SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON c.id = o.customer");
    assert_eq!(plan.lookups[0].join, Join::Left);
    assert!(!plan.filter_reads_lookup);
    assert_eq!(plan.lookups[0].key_columns[0].name, "id");
    assert_eq!(plan.lookups[0].columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["name"]);
    assert_eq!([plan.outputs[0].reads_lookup, plan.outputs[1].reads_lookup], [false, true]);

    assert_eq!(plan.source_columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["customer", "id"]);
    let source = [Value::Int(7), Value::Int(1)];
    assert_eq!(parts(&plan, 0, &source, &[]), Some(vec!["7".to_owned()]));
    // Beyond the column's int4 nothing can match; NULL matches nothing.
    assert_eq!(parts(&plan, 0, &[Value::Int(1 << 40), Value::Int(1)], &[]), None);
    assert_eq!(parts(&plan, 0, &[Value::Null, Value::Int(1)], &[]), None);
    let key = plan.lookup_key(0, &source, &[]).unwrap();
    assert_eq!(plan.lookups[0].key_of(&[Value::Int(7)]), key);
    assert_eq!(plan.lookups[0].key_of(&[Value::Null]), None);

    let found: LookupRow = Arc::from([text("Ada")]);
    assert_eq!(shown(&plan, &plan.evaluate(&source, &[Some(found)]).unwrap().unwrap()), ["1", "Ada"]);
    assert_eq!(shown(&plan, &plan.evaluate(&source, &[None]).unwrap().unwrap()), ["1", "NULL"]);
}

#[test]
fn an_inner_join_removes_rows_without_a_match() {
    let plan = plan("SELECT o.id FROM orders o JOIN customers c ON o.customer = c.id");
    assert_eq!(plan.lookups[0].join, Join::Inner);
    assert!(plan.filter_reads_lookup);
    let source = [Value::Int(7), Value::Int(1)];
    assert!(plan.evaluate(&source, &[None]).unwrap().is_none());
    assert!(plan.evaluate(&source, &[Some(Arc::from([]))]).unwrap().is_some());
}

#[test]
fn composite_keys_in_any_order_and_with_sides_swapped() {
    for on in [
        "p.shop = o.shop AND p.sku = o.sku",
        "o.sku = p.sku AND p.shop = o.shop",
        "(p.sku, p.shop) = (o.sku, o.shop)",
        "p.sku = lower(o.sku) AND (o.shop = p.shop)",
    ] {
        let plan = plan(&format!("SELECT o.shop, o.sku, p.price FROM orders o LEFT JOIN products p ON {on}"));
        let keys: Vec<&str> = plan.lookups[0].key_columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(keys, ["shop", "sku"], "{on}");
        let source: Vec<Value> = plan.source_columns.iter().map(|c| text(if c.name == "shop" { "S1" } else { "k" })).collect();
        assert_eq!(parts(&plan, 0, &source, &[]), Some(vec!["S1".to_owned(), "k".to_owned()]), "{on}");
    }
}

#[test]
fn conditions_beside_the_key_decide_whether_the_row_counts() {
    let plan =
        plan("SELECT o.id, p.price FROM orders o LEFT JOIN products p ON p.shop = o.shop AND p.sku = o.sku AND p.active AND o.amount > 0");
    let at = |name: &str| plan.source_columns.iter().position(|c| c.name == name).unwrap();
    let mut source = vec![Value::Null; plan.source_columns.len()];
    source[at("id")] = Value::Int(1);
    source[at("shop")] = text("S");
    source[at("sku")] = text("k");
    source[at("amount")] = Value::from_text(&Type::Numeric(None), "5").unwrap();
    assert!(parts(&plan, 0, &source, &[]).is_some());
    let slot = |name: &str| plan.lookups[0].columns.iter().position(|c| c.name == name).unwrap();
    let row = |active: Value| {
        let mut row = vec![Value::Null; plan.lookups[0].columns.len()];
        row[slot("active")] = active;
        row[slot("price")] = Value::from_text(&Type::Numeric(None), "9.50").unwrap();
        Some(LookupRow::from(row))
    };
    assert_eq!(shown(&plan, &plan.evaluate(&source, &[row(Value::Bool(true))]).unwrap().unwrap()), ["1", "9.50"]);
    assert_eq!(shown(&plan, &plan.evaluate(&source, &[row(Value::Bool(false))]).unwrap().unwrap()), ["1", "NULL"]);
    assert_eq!(shown(&plan, &plan.evaluate(&source, &[row(Value::Null)]).unwrap().unwrap()), ["1", "NULL"]);
    // A condition on the source alone is decided before anything is looked up.
    source[at("amount")] = Value::from_text(&Type::Numeric(None), "0").unwrap();
    assert_eq!(parts(&plan, 0, &source, &[]), None);
}

#[test]
fn a_lookup_can_join_through_an_earlier_one() {
    let plan = plan(
        "SELECT o.id, g.label FROM orders o LEFT JOIN customers c ON c.id = o.customer AND c.name <> 'hidden' \
         LEFT JOIN geo.countries g ON g.code = upper(c.country) WHERE g.label IS NOT NULL",
    );
    assert!(plan.filter_reads_lookup);
    let source = [Value::Int(7), Value::Int(1)];
    let row = |name: &str| {
        let values = plan.lookups[0].columns.iter().map(|c| text(if c.name == "name" { name } else { "de" }));
        Some(LookupRow::from(values.collect::<Vec<_>>()))
    };
    assert_eq!(parts(&plan, 1, &source, &[row("Ada")]), Some(vec!["DE".to_owned()]));
    // A row that its own ON refuses is not there for those that join through it.
    assert_eq!(parts(&plan, 1, &source, &[row("hidden")]), None);
    assert_eq!(parts(&plan, 1, &source, &[None]), None);
    let label: LookupRow = Arc::from([text("Germany")]);
    assert_eq!(shown(&plan, &plan.evaluate(&source, &[row("Ada"), Some(label)]).unwrap().unwrap()), ["1", "Germany"]);
    assert!(plan.evaluate(&source, &[row("Ada"), None]).unwrap().is_none());
}

#[test]
fn equal_values_have_one_key() {
    let numeric = |digits: &str| Value::from_text(&Type::Numeric(None), digits).unwrap();
    let of = |sql: &str, value: Value| parts(&plan(sql), 0, &[value], &[]);
    // int4 column, numeric value: only whole numbers match.
    let by_amount = "SELECT 1 FROM orders o LEFT JOIN customers c ON c.id = o.amount";
    assert_eq!(of(by_amount, numeric("7.00")), Some(vec!["7".to_owned()]));
    assert_eq!(of(by_amount, numeric("7.50")), None);
    assert_eq!(of(by_amount, numeric("99999999999")), None);
    // char(n): padding does not count when both sides are padded, and does when the other side is text.
    let by_code = "SELECT 1 FROM orders o LEFT JOIN geo.countries g ON g.code = o.code";
    assert_eq!(of(by_code, text("DE   ")), Some(vec!["DE".to_owned()]));
    let by_shop = "SELECT 1 FROM orders o LEFT JOIN geo.countries g ON g.code = o.shop";
    assert_eq!(of(by_shop, text("DE")), Some(vec!["DE".to_owned()]));
    assert_eq!(of(by_shop, text("DE ")), None);
    assert_eq!(plan(by_code).lookups[0].key_of(&[text("DE")]), plan(by_code).lookup_key(0, &[text("DE   ")], &[]).unwrap());
    // A constant key.
    assert_eq!(
        parts(&plan("SELECT o.id FROM orders o LEFT JOIN customers c ON c.id = '5'"), 0, &[Value::Int(1)], &[]),
        Some(vec!["5".to_owned()])
    );
}

#[test]
fn the_other_unique_key_and_extra_equalities() {
    let plan = plan("SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON c.country = o.shop AND c.email = o.sku");
    assert_eq!(plan.lookups[0].key_columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["email"]);
    // country = shop remains as a condition on the row.
    assert!(plan.lookups[0].columns.iter().any(|c| c.name == "country"));
}

#[test]
fn a_join_that_finds_more_than_one_row_is_refused() {
    for (on, message) in [
        ("c.name = o.shop", "the join columns (name) of \"customers\" are not a unique key of it"),
        ("c.id > o.customer", "ON does not compare a column of \"customers\" with = to columns of the tables before it"),
        ("c.id = c.id", "ON does not compare a column of \"customers\" with = to columns of the tables before it"),
        ("c.id = o.customer OR c.id = 1", "ON does not compare a column of \"customers\" with = to columns of the tables before it"),
        ("c.id = o.customer::float8", "a lookup key of type integer cannot be compared with type double precision"),
    ] {
        let sql = format!("SELECT 1 FROM orders o LEFT JOIN customers c ON {on}");
        let error = check(&sql, &catalog()).unwrap_err();
        assert_eq!((error.sqlstate, error.message.as_str()), ("0A000", message), "{on}");
        assert!(error.hint.is_some() && error.position.is_some(), "{on}");
    }
}

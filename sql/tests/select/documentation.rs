//! `docs/select.md` says what is accepted and what is refused: its examples, its list of refusals, and its completeness.

use highwater_sql::function::{accepted, refused};
use highwater_sql::{Catalog, Type, check::check};

use crate::samples::{column, table};

fn page() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/select.md");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The tables of the page's examples.
fn tables() -> Catalog {
    let customers = [
        ("id", Type::Int8),
        ("name", Type::Text),
        ("email", Type::Varchar(Some(100))),
        ("region", Type::Text),
        ("since", Type::Date),
        ("account", Type::Int4),
    ];
    let orders = [
        ("id", Type::Int8),
        ("customer_id", Type::Int8),
        ("amount", Type::Numeric(Some((12, 2)))),
        ("weight", Type::Float8),
        ("note", Type::Text),
        ("code", Type::Bpchar(Some(8))),
        ("paid", Type::Bool),
        ("placed_on", Type::Date),
        ("placed_at", Type::Timestamptz(None)),
        ("shipped_at", Type::Timestamp(None)),
        ("took", Type::Interval),
        ("digest", Type::Bytea),
        ("origin", Type::Inet),
        ("tags", Type::Array(Box::new(Type::Text))),
        ("details", Type::Jsonb),
    ];
    let columns = |list: &[(&str, Type)]| list.iter().map(|(name, ty)| column(name, ty.clone())).collect();
    let tables =
        vec![table("public", "customers", columns(&customers), &[&["id"]]), table("public", "orders", columns(&orders), &[&["id"]])];
    Catalog { tables, default_collation_is_c: true }
}

/// The texts in backticks, with `\|` of table cells as `|`.
fn code(page: &str) -> Vec<String> {
    let spans = page.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.map(|span| span.replace("\\|", "|")).collect()
}

/// The rows of tables whose header is `| SELECT | message | instead |`.
fn refusals(page: &str) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line == "| SELECT | message | instead |" {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("|---") {
            let line = line.replace("\\|", "\u{0}");
            let cells: Vec<String> = line.trim_matches('|').split('|').map(|c| c.trim().trim_matches('`').replace('\u{0}', "|")).collect();
            rows.push(cells.try_into().unwrap_or_else(|cells| panic!("three cells: {cells:?}")));
        }
    }
    rows
}

#[test]
fn the_page_names_every_accepted_function_and_operator() {
    let code = code(&page());
    let function =
        |name: &str| code.iter().any(|span| span.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name));
    let operator = |name: &str| code.iter().any(|span| span.split_whitespace().any(|word| word == name));
    let missing: Vec<&str> =
        accepted().iter().filter(|row| !if row.operator { operator(row.name) } else { function(row.name) }).map(|row| row.name).collect();
    assert!(missing.is_empty(), "docs/select.md does not name {missing:?}");
}

#[test]
fn the_examples_are_accepted() {
    let page = page();
    let fences = page.split("```sql\n").skip(1).map(|after| after.split("```").next().unwrap_or_default());
    let examples: Vec<&str> = fences.flat_map(str::lines).filter(|line| !line.is_empty()).collect();
    assert!(examples.len() > 5);
    for example in examples {
        check(example, &tables()).unwrap_or_else(|e| panic!("{example}\n{}", e.render(example)));
    }
}

#[test]
fn the_list_of_refusals_is_what_is_said_at_start() {
    let (page, tables) = (page(), tables());
    let rows = refusals(&page);
    assert!(rows.len() > 50, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for [select, message, instead] in &rows {
        let select =
            if select.contains(" FROM ") || select.starts_with("WITH") { select.clone() } else { format!("SELECT {select} FROM orders") };
        match check(&select, &tables) {
            Ok(_) => wrong.push(format!("accepted: {select}")),
            Err(error) if error.message != *message || error.hint.as_deref() != Some(instead) => {
                let hint = error.hint.unwrap_or_default();
                wrong.push(format!(
                    "| `{}` | {} | {} |",
                    select.replace('|', "\\|"),
                    error.message.replace('|', "\\|"),
                    hint.replace('|', "\\|")
                ));
            }
            Err(error) => assert!(error.position.is_some(), "{select}: no position"),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What Postgres has under an accepted name or operator, and Highwater has not, is in a list of refusals.
#[test]
fn every_refused_row_is_on_the_page() {
    let rows = refusals(&page());
    // Those of json and arrays are written out in their sections; no SELECT can have a value of a foreign type.
    let elsewhere = |ty: &String| ty.starts_with("json") || ty.contains("array") || ty.ends_with("[]") || ty == "foreign";
    let missing: Vec<String> = refused()
        .iter()
        .filter(|row| {
            !row.arguments.iter().any(elsewhere)
                && !rows.iter().any(|[select, _, instead]| instead == row.instead && select.contains(row.called()))
        })
        .map(|row| format!("{}({}): {}", row.name, row.arguments.join(", "), row.instead))
        .collect();
    assert!(missing.is_empty(), "not in a list of refusals of docs/select.md:\n{}", missing.join("\n"));
}

//! The section of the pipeline file against a real SELECT.

use highwater_sql::{Catalog, Column, Plan, ReplicaIdentity, Table, Type};

use crate::config::Problem;
use crate::sink::ranking::RankingConfig;

const SQL: &str = "SELECT o.id, o.customer, o.amount, o.amount::numeric(9,2) AS exact, o.at, o.free, o.note, o.document, c.region, c.factor, c.since \
    FROM orders o LEFT JOIN customers c ON c.id = o.customer";

fn table(name: &str, columns: &[(&str, Type)]) -> Table {
    let column = |(name, ty): &(&str, Type)| Column {
        name: (*name).to_owned(),
        ty: ty.clone(),
        not_null: *name == "id",
        has_default: false,
        collation_is_c: true,
    };
    Table {
        schema: "public".to_owned(),
        name: name.to_owned(),
        columns: columns.iter().map(column).collect(),
        primary_key: vec!["id".to_owned()],
        unique_keys: vec![vec!["id".to_owned()]],
        replica_identity: ReplicaIdentity::Full,
    }
}

fn plan(sql: &str) -> Plan {
    let orders = [
        ("id", Type::Int8),
        ("customer", Type::Int8),
        ("amount", Type::Numeric(Some((12, 4)))),
        ("at", Type::Timestamptz(None)),
        ("free", Type::Numeric(None)),
        ("note", Type::Text),
        ("document", Type::Jsonb),
    ];
    let customers = [("id", Type::Int8), ("region", Type::Text), ("factor", Type::Int4), ("since", Type::Date)];
    highwater_sql::check::check(
        sql,
        &Catalog { tables: vec![table("orders", &orders), table("customers", &customers)], default_collation_is_c: true },
    )
    .unwrap()
}

fn section(changes: &str) -> RankingConfig {
    let good = "redis = \"redis://127.0.0.1\"\nkey = \"top\"\nmember = \"customer\"\nscore = \"amount\"\ntime = \"at\"\nwindow = \"10m\"\nbucket = \"10s\"\n";
    let changed = |line: &&str| !changes.lines().any(|change| change.split(' ').next() == line.split(' ').next());
    let lines: Vec<_> = good.lines().filter(changed).chain(changes.lines()).collect();
    toml::from_str(&lines.join("\n")).unwrap()
}

fn problems(changes: &str, append_only: bool) -> Vec<String> {
    let found = section(changes).validate(&plan(SQL), append_only);
    found.err().unwrap_or_default().iter().map(Problem::to_string).collect()
}

#[test]
fn a_good_section_has_no_problems_and_documented_defaults() {
    let config = section("");
    assert_eq!(config.validate(&plan(SQL), false), Ok(()));
    assert_eq!((config.scale, config.ahead.as_millis()), (3, 600_000));
    for good in ["member = \"note\"", "member = \"exact\"", "score = \"exact\"", "score = \"id\"", "window = \"10s\"", "bucket = \"1ms\""] {
        assert_eq!(problems(good, false), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_a_remedy() {
    for (changes, expected) in [
        (
            "member = \"custom\"",
            "member: the SELECT has no column custom; name one of id, customer, amount, exact, at, free, note, document, region, factor, since",
        ),
        (
            "member = \"free\"",
            "member: free is of type numeric, whose equal values can have different texts; write free::text in the SELECT",
        ),
        (
            "member = \"document\"",
            "member: document is of type jsonb, whose equal values can have different texts; write document::text in the SELECT",
        ),
        ("score = \"note\"", "score: note is of type text; name a column that is a number"),
        ("time = \"id\"", "time: id is of type bigint; name a column that is a timestamp or a date"),
        ("bucket = \"7s\"", "window: 10m is not a multiple of bucket, 7s; choose a bucket that divides the window"),
        ("bucket = \"20m\"", "window: 10m is not a multiple of bucket, 20m; choose a bucket that divides the window"),
        ("bucket = \"0s\"", "bucket: is nothing; write at least \"1ms\""),
        ("window = \"0s\"", "window: 0s is not a multiple of bucket, 10s; choose a bucket that divides the window"),
        ("scale = 16", "scale: 16 digits are too many; write 0 to 15"),
        (
            "key = \"a{b}\"",
            "key: \"a{b}\" cannot be the key of a ranking; write 1 to 512 bytes without braces: the internal keys put it in braces to share its slot",
        ),
        ("redis = \"http://user:hunter2@db\"", "redis: is not a URL of Redis; write redis://user:password@host:port/db (without TLS)"),
    ] {
        assert_eq!(problems(changes, false), [expected], "{changes}");
    }
}

/// GIVEN a ranking that reads a lookup table, in a column or in what decides whether there is a row
/// WHEN the source gets updates
/// THEN it is refused: a row would be withdrawn with another value than it was added with.
#[test]
fn rankings_that_read_lookups_need_an_append_only_source() {
    for changes in ["member = \"region\"", "score = \"factor\"", "time = \"since\""] {
        let [problem] = &problems(changes, false)[..] else { panic!("{changes}") };
        assert!(
            problem.contains("reads a lookup table, whose rows change; rank by columns of the FROM table, or set source.append_only"),
            "{problem}"
        );
        assert_eq!(problems(changes, true), Vec::<String>::new());
    }
    for sql in [SQL.replace("LEFT JOIN", "JOIN"), format!("{SQL} WHERE c.region = 'north'")] {
        assert_eq!(section("").validate(&plan(&sql), true), Ok(()));
        let [problem] = &section("").validate(&plan(&sql), false).unwrap_err()[..] else { panic!("{sql}") };
        assert!(problem.message.contains("WHERE or an INNER JOIN reads a lookup table"), "{problem}");
    }
}

#[test]
fn the_fingerprint_covers_what_decides_the_contents_and_nothing_else() {
    let fingerprint = |changes: &str, sql: &str| section(changes).layout(&plan(sql), sql).unwrap().fingerprint;
    let first = fingerprint("", SQL);
    assert!(first.len() == 64 && first.bytes().all(|c| c.is_ascii_hexdigit()));
    for other in ["member = \"id\"", "score = \"exact\"", "scale = 2", "window = \"20m\"", "bucket = \"5s\""] {
        assert_ne!(fingerprint(other, SQL), first, "{other}");
    }
    assert_ne!(fingerprint("", &format!("{SQL} WHERE o.id > 0")), first);
    for same in ["ahead = \"1h\"", "key = \"other\"", "redis = \"redis://elsewhere\"", "name = \"other\""] {
        assert_eq!(fingerprint(same, SQL), first, "{same}");
    }
}

#[test]
fn comparing_on_a_schedule_is_off_until_it_is_asked_for_and_has_limits() {
    assert!(section("").verify.is_none());
    let verify = section("verify = { every = \"5m\" }").verify.unwrap();
    assert_eq!((verify.every.as_millis(), verify.timeout.as_millis()), (300_000, 10_000));
    let wrong = problems("verify = { every = \"10ms\", timeout = \"2h\" }", false);
    assert!(wrong.len() == 2 && wrong[0].contains("verify.every") && wrong[1].contains("verify.timeout"), "{wrong:?}");
    assert_eq!(problems("verify = { every = \"1s\", timeout = \"100ms\" }", false), Vec::<String>::new());
    let same = |changes: &str| section(changes).layout(&plan(SQL), SQL).unwrap().fingerprint;
    assert_eq!(same(""), same("verify = { every = \"5m\" }"), "it is no other ranking");
}

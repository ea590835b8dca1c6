//! Pipelines that the end-to-end suite runs: tables, SELECT, sinks, and the statements that writers choose from.
//!
//! The first is the shipped one, its own SELECT over its own schema, with a window of 30 seconds. The others share no table, column, type
//! or key with it.

use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt;
use rand::rngs::StdRng;

use super::stack::root;

/// A ranking sink as the oracle sees it.
#[derive(Clone, Debug)]
pub struct RankingSink {
    /// The sorted set.
    pub key: String,
    /// Result columns.
    pub member: &'static str,
    /// Summed.
    pub score: &'static str,
    /// Decides about the window.
    pub time: &'static str,
    /// Decimal digits.
    pub scale: u32,
}

/// A pipeline over tables of its own.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name of the pipeline, and prefix of the connector's topics.
    pub name: String,
    /// The FROM table.
    pub source: String,
    /// Its primary key.
    pub key: Vec<&'static str>,
    /// The joined tables.
    pub lookups: Vec<String>,
    /// Makes the tables.
    pub schema: String,
    /// Rows that are there before the connector is.
    pub first_rows: String,
    /// The pipeline's SELECT.
    pub select: String,
    /// Its ranking, if it has one.
    pub ranking: Option<RankingSink>,
    /// The table only gets inserts, and the pipeline says so.
    pub append_only: bool,
    /// What writers do, with weights.
    pub statements: Vec<(u32, String)>,
    /// Changes of lookup rows, for a quiet moment.
    pub lookup_changes: Vec<String>,
    /// Inserts a few rows that join every changed lookup row.
    pub probe: String,
}

impl Scenario {
    /// One of the statements, by weight.
    pub fn statement(&self, random: &mut StdRng) -> &str {
        let mut at = random.random_range(0..self.statements.iter().map(|(weight, _)| weight).sum());
        for (weight, statement) in &self.statements {
            if at < *weight {
                return statement;
            }
            at -= weight;
        }
        unreachable!("the weights were summed")
    }

    /// The topic of the source table.
    pub fn topic(&self) -> String {
        format!("{}.public.{}", self.name, self.source)
    }

    /// Every captured table, the source first.
    pub fn tables(&self) -> Vec<&str> {
        std::iter::once(&self.source).chain(&self.lookups).map(String::as_str).collect()
    }

    /// The pipeline file. What a test varies is in the environment or appended.
    pub fn pipeline(&self, webhook_url: &str, secret: &str, more: &Extra) -> String {
        let Self { name, select, append_only, .. } = self;
        let mut text = format!(
            "name = \"{name}\"\n[source]\nkafka = \"${{KAFKA_BROKERS}}\"\nprefix = \"{name}\"\npostgres = \"${{DATABASE_URL}}\"\n\
             connect = \"${{CONNECT_URL}}\"\nappend_only = {append_only}\n{}\n[select]\nsql = '''\n{select}\n'''\n",
            more.source
        );
        if let Some(RankingSink { key, member, score, time, scale }) = &self.ranking {
            text += &format!(
                "[[sink]]\ntype = \"redis_ranking\"\nredis = \"${{REDIS_URL}}\"\nkey = \"{key}\"\nmember = \"{member}\"\nscore = \"{score}\"\n\
                 time = \"{time}\"\nscale = {scale}\nwindow = \"30s\"\nbucket = \"1s\"\nahead = \"30s\"\n"
            );
        }
        text + &format!("[[sink]]\ntype = \"webhook\"\nurl = \"{webhook_url}\"\nsecret = \"{secret}\"\n{}\n", more.webhook)
    }
}

/// Lines that a test adds to sections of the pipeline file.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// To `[source]`.
    pub source: String,
    /// To the webhook.
    pub webhook: String,
}

/// A name that nothing before it in the same stack has used: Connect keeps what it stored under a name. It ends with the process, see `sweep`.
fn unique(test: &str) -> String {
    static USED: AtomicUsize = AtomicUsize::new(0);
    format!("{test}_{}_{}", USED.fetch_add(1, Ordering::Relaxed), std::process::id())
}

/// Some rows of a table: about eight of its pages, however large it is.
pub fn sample(table: &str) -> String {
    format!("{table} TABLESAMPLE SYSTEM (least(100, 8 * 100 * 8192.0 / greatest(pg_relation_size('{table}'), 1)))")
}

/// Puts `new` where `old` stands as a whole word.
fn replace_word(text: &str, old: &str, new: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(old) {
        let (before, after) = (&rest[..at], &rest[at + old.len()..]);
        let whole = !before.ends_with(word) && !after.starts_with(word);
        result += before;
        result += if whole { new } else { old };
        rest = after;
    }
    result + rest
}

/// The shipped pipeline: its SELECT from `pipelines/`, its schema from `init-db/`.
pub fn engagement(test: &str) -> Scenario {
    let name = unique(test);
    let (events, content) = (format!("events_{name}"), format!("content_{name}"));
    let renamed = |text: &str| replace_word(&replace_word(text, "engagement_events", &events), "content", &content);
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let pipeline: toml::Table = read("pipelines/engagement.toml").parse().unwrap();
    let select = pipeline["select"]["sql"].as_str().unwrap();
    let any = |n: u32| format!("(SELECT id FROM {} ORDER BY random() LIMIT {n} FOR UPDATE SKIP LOCKED)", sample(&events));
    let item = format!("(SELECT id FROM {content} WHERE random() < 2 ORDER BY random() + 0 * e.n LIMIT 1)");
    let length = "(ARRAY[NULL, 0, 1, 7, 333, 1000, 8000, 59999, 123456])[1 + floor(random() * 9)]::int";
    let moment = "now() + make_interval(secs => random() * 45 - 40)";
    let insert = |count: u32| {
        format!(
            "INSERT INTO {events} (content_id, user_id, event_type, event_ts, duration_ms, device, raw_payload)
             SELECT CASE WHEN random() < 0.9 THEN {item} END, uuid_generate_v4(), (ARRAY['play','pause','finish','click'])[1 + floor(random() * 4)],
                    {moment}, {length}, (ARRAY[NULL, '', 'tv', 'Zürich \"ß\" \\ tab\t𝄞'])[1 + floor(random() * 4)],
                    CASE WHEN random() < 0.3 THEN '{{\"b\": [1, 2.50], \"a\": null}}'::jsonb END
             FROM generate_series(1, {count}) AS e (n)"
        )
    };
    let statements = vec![
        (30, insert(1)),
        (3, insert(12)),
        (14, format!("UPDATE {events} SET duration_ms = {length} WHERE id IN {}", any(1))),
        (
            8,
            format!(
                "UPDATE {events} e SET content_id = i.id FROM (SELECT id FROM {content} ORDER BY random() LIMIT 1) i WHERE e.id IN {}",
                any(1)
            ),
        ),
        (3, format!("UPDATE {events} SET content_id = NULL WHERE id IN {}", any(1))),
        (6, format!("UPDATE {events} SET event_ts = {moment} WHERE id IN {}", any(1))),
        (4, format!("UPDATE {events} SET device = device WHERE id IN {}", any(2))),
        (6, format!("UPDATE {events} SET id = nextval('{events}_id_seq') WHERE id IN {}", any(1))),
        (3, format!("UPDATE {events} SET id = -id WHERE id IN {}", any(1))),
        (6, format!("DELETE FROM {events} WHERE id IN {}", any(1))),
        (2, format!("DELETE FROM {events} WHERE id IN {}", any(4))),
        // The same key dies and is born again.
        (
            3,
            format!(
                "INSERT INTO {events} SELECT * FROM {events} WHERE id IN {} ON CONFLICT (id) DO UPDATE SET duration_ms = EXCLUDED.duration_ms",
                any(1)
            ),
        ),
    ];
    Scenario {
        source: events.clone(),
        key: vec!["id"],
        lookups: vec![content.clone()],
        schema: renamed(&read("init-db/01-schema.sql")),
        first_rows: format!(
            "INSERT INTO {content} (slug, title, content_type, length_seconds, publish_ts)
             SELECT 's' || n, 'Title ' || n, (ARRAY['podcast','newsletter','video'])[1 + n % 3],
                    CASE WHEN n % 5 = 0 THEN NULL WHEN n % 5 = 1 THEN 0 ELSE n * 37 END, '2025-01-01Z' FROM generate_series(1, 40) n;
             {};",
            insert(60)
        ),
        select: renamed(select),
        ranking: Some(RankingSink {
            key: format!("{name}:30s"),
            member: "content_id",
            score: "engagement_seconds",
            time: "event_ts",
            scale: 3,
        }),
        append_only: false,
        statements,
        lookup_changes: vec![
            format!("UPDATE {content} SET length_seconds = 11, content_type = 'video' WHERE slug IN ('s1', 's2', 's5')"),
            format!("UPDATE {content} SET length_seconds = NULL WHERE slug = 's7'"),
        ],
        probe: format!(
            "INSERT INTO {events} (content_id, event_type, duration_ms)
             SELECT id, 'play', 5000 FROM {content}, generate_series(1, 5) WHERE slug IN ('s1', 's2', 's5', 's7')"
        ),
        name,
    }
}

/// What the two sales pipelines have in common: keys and lookup keys of two columns, other types.
fn sales(test: &str) -> Scenario {
    let name = unique(test);
    let (sales, prices) = (format!("sales_{name}"), format!("prices_{name}"));
    let any = |n: u32| format!("(SELECT shop, receipt FROM {} ORDER BY random() LIMIT {n} FOR UPDATE SKIP LOCKED)", sample(&sales));
    let region = "(ARRAY['north', 'south', 'Östen', NULL])[1 + floor(random() * 4)]";
    let quantity = "(ARRAY[NULL, 0, -1, 1, 2.5, 3.333, 1000.001, 99999.999])[1 + floor(random() * 8)]::numeric";
    let moment = "(now() AT TIME ZONE 'UTC') + make_interval(secs => random() * 45 - 40)";
    let insert = |count: u32| {
        format!(
            "INSERT INTO {sales} (shop, receipt, region, sku, quantity, unit_price, sold_at, day, express, note)
             SELECT 9000000000 + floor(random() * 3), 'r' || nextval('{sales}_receipts'), {region}, 1 + floor(random() * 12), {quantity},
                    round((random() * 100)::numeric, 4), {moment}, current_date - floor(random() * 400)::int,
                    (ARRAY[true, false, NULL])[1 + floor(random() * 3)], (ARRAY[NULL, '', 'gift', 'größer'])[1 + floor(random() * 4)]
             FROM generate_series(1, {count})"
        )
    };
    let statements = vec![
        (30, insert(1)),
        (3, insert(10)),
        (12, format!("UPDATE {sales} SET quantity = {quantity} WHERE (shop, receipt) IN {}", any(1))),
        (8, format!("UPDATE {sales} SET region = {region}, sku = 1 + floor(random() * 12) WHERE (shop, receipt) IN {}", any(1))),
        (6, format!("UPDATE {sales} SET sold_at = {moment} WHERE (shop, receipt) IN {}", any(1))),
        (4, format!("UPDATE {sales} SET note = NULL, express = NOT express WHERE (shop, receipt) IN {}", any(2))),
        (5, format!("UPDATE {sales} SET shop = shop + 3 WHERE (shop, receipt) IN {}", any(1))),
        (4, format!("UPDATE {sales} SET receipt = 'm' || nextval('{sales}_receipts') WHERE (shop, receipt) IN {}", any(1))),
        (7, format!("DELETE FROM {sales} WHERE (shop, receipt) IN {}", any(1))),
    ];
    Scenario {
        source: sales.clone(),
        key: vec!["shop", "receipt"],
        lookups: vec![prices.clone()],
        schema: format!(
            "CREATE SEQUENCE {sales}_receipts;
             CREATE TABLE {prices} (region text, sku int, price numeric(12,4), active boolean NOT NULL, valid_from date NOT NULL,
                                    PRIMARY KEY (region, sku));
             CREATE TABLE {sales} (shop bigint, receipt text, region text, sku int NOT NULL, quantity numeric, unit_price numeric(14,4),
                                   sold_at timestamp NOT NULL, day date, express boolean, note varchar(40), PRIMARY KEY (shop, receipt));
             ALTER TABLE {prices} REPLICA IDENTITY FULL; ALTER TABLE {sales} REPLICA IDENTITY FULL;"
        ),
        first_rows: format!(
            "INSERT INTO {prices} SELECT region, sku, nullif(sku - 3, 0) * 1.25, sku % 4 <> 0, date '2024-02-28' + sku
             FROM (VALUES ('north'), ('south')) AS regions (region), generate_series(1, 10) sku; {};",
            insert(60)
        ),
        select: format!(
            "SELECT s.shop, s.receipt, s.region AS area, s.sold_at, s.day, s.express, s.note, p.price, p.valid_from,
                    s.quantity * s.unit_price AS amount,
                    round(s.unit_price / nullif(p.price, 0), 6) AS markup,
                    CASE WHEN s.express THEN 'express' WHEN s.note IS NULL THEN 'plain' ELSE s.note END AS handling,
                    coalesce(s.note, s.region, 'none') AS label, s.quantity::int AS pieces, s.sku % 5 AS shelf,
                    s.express AND p.active AS both
             FROM {sales} s LEFT JOIN {prices} p ON p.region = s.region AND p.sku = s.sku
             WHERE s.quantity IS NULL OR s.quantity >= 0"
        ),
        ranking: Some(RankingSink { key: format!("{name}:30s"), member: "area", score: "amount", time: "sold_at", scale: 2 }),
        append_only: false,
        statements,
        lookup_changes: vec![
            format!("UPDATE {prices} SET price = price * 3 WHERE region = 'north'"),
            format!("DELETE FROM {prices} WHERE region = 'south' AND sku < 4"),
            format!("INSERT INTO {prices} VALUES ('Östen', 2, 0.0001, true, '2025-06-01')"),
            format!("UPDATE {prices} SET sku = sku + 20 WHERE region = 'south' AND sku = 9"),
        ],
        probe: format!(
            "INSERT INTO {sales} (shop, receipt, region, sku, quantity, unit_price, sold_at)
             SELECT 1, 'p' || nextval('{sales}_receipts'), region, sku, 1, 10, now() AT TIME ZONE 'UTC'
             FROM (VALUES ('north', 1), ('south', 2), ('Östen', 2), ('south', 9)) AS changed (region, sku), generate_series(1, 5)"
        ),
        name,
    }
}

/// Other tables, types and keys, WHERE on the source, a ranking with retraction.
pub fn sales_left(test: &str) -> Scenario {
    sales(test)
}

/// The same tables; an INNER JOIN with a further condition removes rows, so that updates become inserts and deletes. Webhook alone.
pub fn sales_inner(test: &str) -> Scenario {
    let mut scenario = sales(test);
    let (source, prices) = (&scenario.source, &scenario.lookups[0]);
    scenario.select = format!(
        "SELECT s.shop, s.receipt, p.price * s.quantity AS worth, (p.price * 100)::bigint AS cents, p.valid_from, s.day,
                s.day < p.valid_from AS early
         FROM {source} s INNER JOIN {prices} p ON p.region = s.region AND p.sku = s.sku AND p.active
         WHERE NOT coalesce(s.express, false) OR s.quantity > 2"
    );
    scenario.ranking = None;
    scenario
}

/// The same tables, inserts alone: a ranking whose member and score read the lookup table.
pub fn sales_append_only(test: &str) -> Scenario {
    let mut scenario = sales(test);
    let (source, prices) = (&scenario.source, &scenario.lookups[0]);
    scenario.select = format!(
        "SELECT s.shop, s.receipt, s.sold_at, p.valid_from::text AS since, p.price * s.quantity AS worth
         FROM {source} s INNER JOIN {prices} p ON p.region = s.region AND p.sku = s.sku WHERE p.active"
    );
    scenario.ranking = Some(RankingSink { member: "since", score: "worth", scale: 4, ..scenario.ranking.take().unwrap() });
    scenario.append_only = true;
    scenario.statements.retain(|(_, statement)| statement.trim_start().starts_with("INSERT"));
    scenario.lookup_changes.clear();
    scenario
}

/// The SELECT and the schema of an example, over tables with names of the test's own.
fn example(directory: &str, tables: &[(&str, &str)]) -> (String, String) {
    let read = |file: &str| std::fs::read_to_string(root().join("examples").join(directory).join(file)).unwrap();
    let renamed = |text: &str| tables.iter().fold(text.to_owned(), |text, (old, new)| replace_word(&text, old, new));
    let pipeline: toml::Table = read("pipeline.toml").parse().unwrap();
    (renamed(pipeline["select"]["sql"].as_str().unwrap()), renamed(&read("schema.sql")))
}

/// `examples/pages`: fields of a jsonb payload.
pub fn pages(test: &str) -> Scenario {
    let name = unique(test);
    let events = format!("page_events_{name}");
    let (select, schema) = example("pages", &[("page_events", &events)]);
    let payload = "(SELECT jsonb_strip_nulls(jsonb_build_object(
        'path', (ARRAY[NULL, '/', '/Pricing', '/docs/Ä', '/blog/1', '/blog/2'])[1 + floor(random() * 6 + 0 * e.n)],
        'ms', (ARRAY[NULL, '0', '1', '999', '5300.5', '\"12\"', '-7', '1e3'])[1 + floor(random() * 8 + 0 * e.n)]::jsonb,
        'agent', (ARRAY[NULL, 'Mozilla', 'GoogleBOT/2', ''])[1 + floor(random() * 4 + 0 * e.n)],
        'user', (ARRAY['null', '{\"id\": \"u1\", \"plan\": \"team\"}', '{\"id\": 7}', '[1]', '\"x\"'])[1 + floor(random() * 5 + 0 * e.n)]::jsonb,
        'tags', (ARRAY['[]', '[\"new\", \"mobile\"]', '[\"mobile\"]', '[null, {\"a\": 1}]', '[1.50]'])[1 + floor(random() * 5 + 0 * e.n)]::jsonb)))";
    let any = |n: u32| format!("(SELECT id FROM {} ORDER BY random() LIMIT {n} FOR UPDATE SKIP LOCKED)", sample(&events));
    let moment = "now() + make_interval(secs => random() * 45 - 40)";
    let insert =
        |count: u32| format!("INSERT INTO {events} (at, payload) SELECT {moment}, {payload} FROM generate_series(1, {count}) AS e (n)");
    let statements = vec![
        (30, insert(1)),
        (3, insert(10)),
        (
            15,
            format!("UPDATE {events} e SET payload = {payload} FROM (SELECT 1) o (n) WHERE id IN {}", any(1))
                .replace("0 * e.n", "0 * e.id"),
        ),
        (6, format!("UPDATE {events} SET payload = payload - 'ms' WHERE id IN {}", any(1))),
        (5, format!("UPDATE {events} SET at = {moment} WHERE id IN {}", any(1))),
        (4, format!("UPDATE {events} SET id = -id WHERE id IN {}", any(1))),
        (7, format!("DELETE FROM {events} WHERE id IN {}", any(1))),
    ];
    Scenario {
        source: events.clone(),
        key: vec!["id"],
        lookups: Vec::new(),
        schema,
        first_rows: insert(60),
        select,
        ranking: Some(RankingSink { key: format!("{name}:30s"), member: "path", score: "seconds", time: "at", scale: 3 }),
        append_only: false,
        statements,
        lookup_changes: Vec::new(),
        probe: String::new(),
        name,
    }
}

/// `examples/payments`: two lookups, the second through the first.
pub fn payments(test: &str) -> Scenario {
    let name = unique(test);
    let (payments, accounts, regions) = (format!("payments_{name}"), format!("accounts_{name}"), format!("regions_{name}"));
    let (select, schema) = example("payments", &[("payments", &payments), ("accounts", &accounts), ("regions", &regions)]);
    let any = |n: u32| format!("(SELECT id FROM {} ORDER BY random() LIMIT {n} FOR UPDATE SKIP LOCKED)", sample(&payments));
    let account = format!("(SELECT id FROM {accounts} ORDER BY random() + 0 * e.n LIMIT 1)");
    let amount = "(ARRAY[0, 0.01, -5, 12.5, 99.99, 1000, 123456789.01])[1 + floor(random() * 7)]::numeric";
    let moment = "now() + make_interval(secs => random() * 45 - 40)";
    let insert = |count: u32| {
        format!(
            "INSERT INTO {payments} (account, amount, made_at)
             SELECT CASE WHEN random() < 0.9 THEN {account} WHEN random() < 0.5 THEN gen_random_uuid() END, {amount}, {moment}
             FROM generate_series(1, {count}) AS e (n)"
        )
    };
    let state = "(ARRAY['made', 'settled', 'returned'])[1 + floor(random() * 3)]";
    let statements = vec![
        (30, insert(1)),
        (3, insert(10)),
        (14, format!("UPDATE {payments} SET state = {state} WHERE id IN {}", any(1))),
        (8, format!("UPDATE {payments} SET amount = {amount} WHERE id IN {}", any(1))),
        (4, format!("UPDATE {payments} SET account = NULL WHERE id IN {}", any(1))),
        (5, format!("UPDATE {payments} SET made_at = {moment} WHERE id IN {}", any(1))),
        (4, format!("UPDATE {payments} SET id = -id WHERE id IN {}", any(1))),
        (7, format!("DELETE FROM {payments} WHERE id IN {}", any(1))),
    ];
    Scenario {
        source: payments.clone(),
        key: vec!["id"],
        lookups: vec![accounts.clone(), regions.clone()],
        schema,
        first_rows: format!(
            "INSERT INTO {regions} VALUES ('DE', 'Germany', 'EUR', 0.19), ('CH', 'Schweiz', 'CHF', 0.081), ('XX', 'High Seas', 'SDR', NULL);
             INSERT INTO {accounts} SELECT gen_random_uuid(), 'Owner ' || n, (ARRAY['DE', 'CH', 'XX', NULL])[1 + n % 4], date '2020-02-29' + n
             FROM generate_series(1, 30) n; {};",
            insert(60)
        ),
        select,
        ranking: Some(RankingSink { key: format!("{name}:30s"), member: "account", score: "amount", time: "made_at", scale: 2 }),
        append_only: false,
        statements,
        lookup_changes: vec![
            format!("UPDATE {regions} SET tax = 0.2 WHERE code = 'DE'"),
            format!("UPDATE {regions} SET name = 'Suisse' WHERE code = 'CH'"),
            format!("UPDATE {accounts} SET region = 'DE' WHERE region IS NULL"),
        ],
        probe: format!("INSERT INTO {payments} (account, amount) SELECT id, 12.34 FROM {accounts}"),
        name,
    }
}

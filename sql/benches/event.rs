//! What one event costs: decoding, lookup key, SELECT; nanoseconds by criterion, and allocations counted exactly.
//!
//! `cargo bench -p highwater-sql --bench event`. Compare runs on the same machine only. The lookup row is at hand, as on a cache hit: the
//! cache itself is not measured. The allocations are printed first, for the steps and in total.

#![allow(clippy::unwrap_used, unsafe_code, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, Throughput};
use highwater_sql::{Decoder, LookupKey, LookupRow, Plan, Value, check::check, ddl};

/// The system's allocator, counting. Growing in place is an allocation, too.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SOURCE: &str = r#"{"version":"3.6.1.Final","connector":"postgresql","name":"shop","ts_ms":1795239080518,"snapshot":null,"db":"shop","sequence":"[\"51287936\",\"51288304\"]","ts_us":1795239080518303,"ts_ns":1795239080518303000,"schema":"public","table":"events","txId":8880,"lsn":51288304,"xmin":null,"origin":null,"origin_lsn":null}"#;

/// One kind of event with everything that is needed to run it.
struct Case {
    name: &'static str,
    decoder: Decoder,
    plan: Plan,
    found: Vec<Option<LookupRow>>,
    record: String,
}

impl Case {
    /// `row` is the JSON of the new row, `schema` the converter's schema around the record where it is enabled.
    fn new(name: &'static str, tables: &str, select: &str, row: &str, lookup: &[(&str, &str)], fields: Option<&str>) -> Self {
        let plan = check(select, &ddl::read(tables).unwrap().catalog).unwrap();
        let value = |column: &highwater_sql::Column| {
            let text = lookup.iter().find(|(name, _)| *name == column.name).unwrap().1;
            Value::from_text(&column.ty, text).unwrap()
        };
        let found = plan.lookups.iter().map(|lookup| Some(lookup.columns.iter().map(value).collect())).collect();
        let plain = format!(
            r#"{{"before":null,"after":{row},"source":{SOURCE},"transaction":null,"op":"c","ts_ms":1795239080538,"ts_us":1795239080538412,"ts_ns":1795239080538412308}}"#
        );
        let record = match fields {
            None => plain,
            Some(fields) => format!(
                r#"{{"schema":{{"type":"struct","fields":[{{"type":"struct","fields":[{fields}],"optional":true,"name":"shop.public.events.Value","field":"before"}},{{"type":"struct","fields":[{fields}],"optional":true,"name":"shop.public.events.Value","field":"after"}},{{"type":"string","optional":false,"field":"op"}}],"optional":false,"name":"shop.public.events.Envelope","version":2}},"payload":{plain}}}"#
            ),
        };
        Self { name, decoder: Decoder::new(&plan.source_columns), plan, found, record }
    }

    fn decode(&self) -> Box<[Value]> {
        self.decoder.decode(black_box(self.record.as_bytes())).unwrap().after.unwrap().unwrap()
    }

    fn key(&self, row: &[Value]) -> Option<LookupKey> {
        if self.plan.lookups.is_empty() { None } else { self.plan.lookup_key(0, row, &[]).unwrap() }
    }

    fn event(&self) -> Vec<Value> {
        let row = self.decode();
        black_box(self.key(&row));
        self.plan.evaluate(&row, &self.found).unwrap().unwrap()
    }

    /// Allocations of a step, after one run that fills what is kept.
    fn allocations<T>(step: impl Fn() -> T) -> u64 {
        black_box(step());
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        black_box(step());
        ALLOCATIONS.load(Ordering::Relaxed) - before
    }

    fn print_allocations(&self) {
        let row = self.decode();
        println!(
            "{}: {} bytes, allocations: decode {}, key {}, select {}, in all {}",
            self.name,
            self.record.len(),
            Self::allocations(|| self.decode()),
            Self::allocations(|| self.key(&row)),
            Self::allocations(|| self.plan.evaluate(&row, &self.found)),
            Self::allocations(|| self.event())
        );
    }
}

/// A joined event with text, ids, a time, a division and a rounding.
fn engagement(name: &'static str, with_schema: bool) -> Case {
    let field = |ty: &str, name: &str, field: &str| format!(r#"{{"type":"{ty}","optional":true{name},"field":"{field}"}}"#);
    let fields = [
        field("int64", "", "id"),
        field("string", r#","name":"io.debezium.data.Uuid","version":1"#, "content_id"),
        field("string", r#","name":"io.debezium.data.Uuid","version":1"#, "user_id"),
        field("string", "", "event_type"),
        field("string", r#","name":"io.debezium.time.ZonedTimestamp","version":1"#, "event_ts"),
        field("int32", "", "duration_ms"),
        field("string", "", "device"),
        field("string", r#","name":"io.debezium.data.Json","version":1"#, "raw_payload"),
    ];
    Case::new(
        name,
        "CREATE TABLE content (id uuid PRIMARY KEY, slug text, title text, content_type text, length_seconds int);
         CREATE TABLE events (id bigserial PRIMARY KEY, content_id uuid, user_id uuid, event_type text NOT NULL, event_ts timestamptz NOT NULL,
           duration_ms int, device text, raw_payload jsonb)",
        "SELECT e.id, e.content_id, e.user_id, e.event_type, e.event_ts, e.device, c.content_type, c.length_seconds,
                e.duration_ms / 1000.0 AS engagement_seconds,
                round(e.duration_ms / 1000.0 / nullif(c.length_seconds, 0), 4) AS engagement_pct
         FROM events e LEFT JOIN content c ON c.id = e.content_id",
        r#"{"id":123456,"content_id":"7c3de8ee-654a-4e41-9635-22a7fbba92ac","user_id":"329e5a80-1ebb-4a91-8550-2fb7deea5486","event_type":"play","event_ts":"2026-11-21T05:29:04.621336Z","duration_ms":8012,"device":"ios","raw_payload":"{\"a\": 1}"}"#,
        &[("id", "7c3de8ee-654a-4e41-9635-22a7fbba92ac"), ("content_type", "podcast"), ("length_seconds", "1800")],
        with_schema.then(|| fields.join(",")).as_deref(),
    )
}

/// A hundred columns, of which three are read.
fn wide(name: &'static str, with_schema: bool) -> Case {
    let columns: Vec<_> = (0..97).map(|n| format!("column_{n} text")).collect();
    let cells: Vec<_> = (0..97).map(|n| format!(r#""column_{n}":"value of column {n}""#)).collect();
    let mut fields: Vec<_> = (0..97).map(|n| format!(r#"{{"type":"string","optional":true,"field":"column_{n}"}}"#)).collect();
    fields.push(r#"{"type":"string","optional":true,"field":"amount"}"#.to_owned());
    fields.push(r#"{"type":"int64","optional":true,"name":"io.debezium.time.MicroTimestamp","version":1,"field":"at"}"#.to_owned());
    fields.push(r#"{"type":"int32","optional":true,"field":"n"}"#.to_owned());
    Case::new(
        name,
        &format!("CREATE TABLE events ({}, amount numeric(10, 2), at timestamp, n int PRIMARY KEY)", columns.join(", ")),
        "SELECT column_50, amount, at FROM events",
        &format!(r#"{{{},"amount":"12.50","at":1795239080518303,"n":5}}"#, cells.join(",")),
        &[],
        with_schema.then(|| fields.join(",")).as_deref(),
    )
}

fn main() {
    let cases = [
        engagement("joined event, plain", false),
        engagement("joined event, with schema", true),
        wide("3 of 100 columns, plain", false),
        wide("3 of 100 columns, with schema", true),
    ];
    cases.iter().for_each(Case::print_allocations);
    let mut criterion = Criterion::default().configure_from_args();
    for case in &cases {
        let mut group = criterion.benchmark_group(case.name);
        group.throughput(Throughput::Bytes(case.record.len() as u64));
        group.bench_function("decode", |bencher| bencher.iter(|| case.decode()));
        let row = case.decode();
        if !case.plan.lookups.is_empty() {
            group.bench_function("key", |bencher| bencher.iter(|| case.key(&row)));
        }
        group.bench_function("select", |bencher| bencher.iter(|| case.plan.evaluate(&row, &case.found)));
        group.bench_function("event", |bencher| bencher.iter(|| case.event()));
        group.finish();
    }
    criterion.final_summary();
}

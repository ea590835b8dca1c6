//! What it costs to decode one change event: nanoseconds and allocations, for a narrow row and for a wide one of which little is read.
//!
//! `cargo bench -p highwater-sql --bench decode`. Compare runs on the same machine only; each figure is the median of several rounds.

#![allow(clippy::unwrap_used, unsafe_code, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use highwater_sql::decode::Decoder;
use highwater_sql::{Column, Type};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SOURCE: &str = r#"{"version":"3.6.1.Final","connector":"postgresql","name":"shop","ts_ms":1795239080518,"snapshot":null,"db":"shop","sequence":"[\"51287936\",\"51288304\"]","ts_us":1795239080518303,"ts_ns":1795239080518303000,"schema":"public","table":"orders","txId":8880,"lsn":51288304,"xmin":null,"origin":null,"origin_lsn":null}"#;

fn record(row: &str) -> String {
    format!(
        r#"{{"before":null,"after":{row},"source":{SOURCE},"transaction":null,"op":"c","ts_ms":1795239080538,"ts_us":1795239080538412,"ts_ns":1795239080538412308}}"#
    )
}

fn column(name: &str, ty: Type) -> Column {
    Column { name: name.into(), ty, not_null: false, collation_is_c: true }
}

fn measure(name: &str, decoder: &Decoder, record: &str) {
    const EVENTS: u32 = 50_000;
    let mut rounds = Vec::new();
    let mut allocations = 0;
    for _ in 0..11 {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let start = Instant::now();
        for _ in 0..EVENTS {
            let envelope = decoder.decode(black_box(record.as_bytes())).unwrap();
            assert!(envelope.after.as_ref().is_some_and(Result::is_ok));
            black_box(envelope);
        }
        rounds.push(start.elapsed().as_nanos() / u128::from(EVENTS));
        allocations = (ALLOCATIONS.load(Ordering::Relaxed) - before) / u64::from(EVENTS);
    }
    rounds.sort_unstable();
    println!("{name}: {} bytes, {} ns, {allocations} allocations", record.len(), rounds[rounds.len() / 2]);
}

fn main() {
    let row = r#"{"id":123456,"product_id":"7c3de8ee-654a-4e41-9635-22a7fbba92ac","customer_id":"329e5a80-1ebb-4a91-8550-2fb7deea5486","kind":"online","placed_at":"2026-11-21T05:29:04.621336Z","cents":8012,"channel":"phone","payload":"{\"a\": 1}"}"#;
    let columns = [
        column("id", Type::Int8),
        column("product_id", Type::Uuid),
        column("customer_id", Type::Uuid),
        column("kind", Type::Text),
        column("placed_at", Type::Timestamptz(None)),
        column("cents", Type::Int4),
        column("channel", Type::Text),
    ];
    let narrow = record(row);
    measure("seven columns of eight", &Decoder::new(&columns), &narrow);
    measure("three columns of eight", &Decoder::new(&[columns[1].clone(), columns[4].clone(), columns[5].clone()]), &narrow);
    measure("position only", &Decoder::new(&[]), &narrow);

    let cells: Vec<String> = (0..100).map(|i| format!(r#""column_{i}":"value of column {i}""#)).collect();
    let wide = record(&format!(r#"{{{},"amount":"12.50","at":1795239080518303}}"#, cells.join(",")));
    let wanted = [column("column_50", Type::Text), column("amount", Type::Numeric(Some((10, 2)))), column("at", Type::Timestamp(None))];
    measure("three columns of a hundred", &Decoder::new(&wanted), &wide);

    let fields: Vec<String> = columns.iter().map(|c| format!(r#"{{"type":"string","optional":true,"field":"{}"}}"#, c.name)).collect();
    let schema = format!(
        r#"{{"type":"struct","fields":[{{"type":"struct","fields":[{0}],"field":"before"}},{{"type":"struct","fields":[{0}],"field":"after"}}]}}"#,
        fields.join(",").replace(
            r#""string","optional":true,"field":"placed_at""#,
            r#""string","name":"io.debezium.time.ZonedTimestamp","field":"placed_at""#
        )
    );
    let with_schema = format!(r#"{{"schema":{schema},"payload":{}}}"#, record(row));
    measure("seven columns with a schema", &Decoder::new(&columns), &with_schema);
}

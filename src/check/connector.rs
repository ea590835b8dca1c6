//! Which settings of the Debezium connector would change values, lose changes or mix up their order.
//!
//! A setting that is left out counts with Debezium's default (3.x). A value taken from a configuration provider (`${file:...}`) is not known
//! and not judged.

use std::collections::BTreeMap;

use highwater_sql::{Column, Plan, Type};

use super::Fact;
use crate::config::{PipelineConfig, SinkConfig};

const POLL_MS_MAX: u64 = 100;
/// What JSON numbers of double precision keep.
const DOUBLE_DIGITS: u16 = 15;

/// The settings of one connector.
struct Settings<'a> {
    name: &'a str,
    all: &'a BTreeMap<String, String>,
    facts: Vec<Fact>,
}

/// The facts that are not as they should be.
pub(super) fn judge(config: &PipelineConfig, plan: Option<&Plan>, name: &str, all: &BTreeMap<String, String>) -> Vec<Fact> {
    let mut settings = Settings { name, all, facts: Vec::new() };
    settings.delivery(config);
    settings.envelope();
    if let Some(plan) = plan {
        settings.values(plan);
        settings.keys(plan);
        settings.tables(plan);
    }
    settings.facts
}

impl Settings<'_> {
    /// The setting, or Debezium's default; none if a provider fills it in.
    fn get<'s>(&'s self, key: &str, default: &'s str) -> Option<&'s str> {
        let value = self.all.get(key).map_or(default, |value| value.trim());
        (!value.contains("${")).then_some(value)
    }

    fn is(&self, key: &str, default: &str, wanted: &[&str]) -> bool {
        self.get(key, default).is_none_or(|value| wanted.iter().any(|wanted| value.eq_ignore_ascii_case(wanted)))
    }

    fn said(&self, key: &str, why: &str) -> String {
        // `column.mask.hash.ALGORITHM.with.salt.SALT` has a secret in its name.
        let shown = key.split_once(".with.salt.").map_or_else(|| key.to_owned(), |(name, _)| format!("{name}.with.salt.***"));
        let value = self.all.get(key).map_or_else(|| format!("{shown} is not set"), |value| format!("{shown}={value}"));
        format!("connector {}: {value}: {why}", self.name)
    }

    fn fail(&mut self, key: &str, why: &str, remedy: &str) {
        let fact = Fact::failed("connect", self.said(key, why), remedy);
        self.facts.push(fact);
    }

    fn warn(&mut self, key: &str, why: &str, remedy: &str) {
        let fact = Fact::warning("connect", self.said(key, why), remedy);
        self.facts.push(fact);
    }

    /// Is every change delivered, in order, soon?
    fn delivery(&mut self, config: &PipelineConfig) {
        let key = "producer.override.enable.idempotence";
        if !self.is(key, "false", &["true"]) {
            self.fail(key, "a retry of the producer could change the order of changes", &format!("set {key}=true"));
        }
        let key = "skipped.operations";
        let skipped = self.get(key, "t").unwrap_or("none").to_owned();
        let skips = |op: &str| skipped.split(',').any(|part| part.trim() == op);
        let rankings = config.sinks.iter().any(|sink| matches!(sink, SinkConfig::RedisRanking(_)));
        if skips("c") || skips("u") || skips("d") {
            self.fail(key, "changes are left out", "set skipped.operations=none");
        } else if skips("t") && rankings {
            self.fail(key, "a ranking would keep the rows of a truncated table", "set skipped.operations=none");
        } else if skips("t") {
            self.warn(key, "a truncated table sends no event, and cached lookup rows of it live on", "set skipped.operations=none");
        }
        if !self.is("event.processing.failure.handling.mode", "fail", &["fail"]) {
            self.fail("event.processing.failure.handling.mode", "changes that fail are left out", "set it to fail");
        }
        if !self.is("plugin.name", "decoderbufs", &["pgoutput"]) {
            self.warn("plugin.name", "only pgoutput is tested", "set plugin.name=pgoutput");
        }
        if !self.is("snapshot.mode", "initial", &["initial", "when_needed"]) {
            let why = "not every row that exists is read once: a ranking may miss rows, or be built again at each start of the connector";
            self.warn("snapshot.mode", why, "set snapshot.mode=initial unless you mean it");
        }
        let key = "poll.interval.ms";
        if self.get(key, "500").and_then(|value| value.parse::<u64>().ok()).is_some_and(|ms| ms > POLL_MS_MAX) {
            self.warn(key, "changes wait up to that long in the connector", "set poll.interval.ms=5");
        }
    }

    /// Is a record the plain envelope, under the name and key that are expected?
    fn envelope(&mut self) {
        const KEEPS: [&str; 2] = ["org.apache.kafka.connect.transforms.InsertHeader", "org.apache.kafka.connect.transforms.DropHeaders"];
        let transforms = self.get("transforms", "").unwrap_or_default().to_owned();
        for transform in transforms.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let key = format!("transforms.{transform}.type");
            if !self.is(&key, "", &KEEPS) {
                self.fail(&key, "records must arrive as Debezium makes them, in their envelope", "remove the transform");
            }
        }
        for key in ["key.converter", "value.converter"] {
            if !self.is(key, "org.apache.kafka.connect.json.JsonConverter", &["org.apache.kafka.connect.json.JsonConverter"]) {
                self.fail(key, "only JSON is read", &format!("set {key}=org.apache.kafka.connect.json.JsonConverter"));
            }
        }
        let key = "value.converter.replace.null.with.default";
        if self.all.contains_key("value.converter") && !self.is(key, "true", &["false"]) {
            self.fail(key, "NULL would arrive as the column's default", &format!("set {key}=false"));
        } else if !self.all.contains_key("value.converter") {
            let why = "the worker's converter decides; NULL arrives as the column's default unless it has replace.null.with.default=false";
            self.warn(
                "value.converter",
                why,
                "set value.converter=org.apache.kafka.connect.json.JsonConverter and value.converter.replace.null.with.default=false",
            );
        }
        for (key, default) in [
            ("topic.delimiter", "."),
            ("topic.naming.strategy", "io.debezium.schema.SchemaTopicNamingStrategy"),
            ("unavailable.value.placeholder", "__debezium_unavailable_value"),
            ("field.name.adjustment.mode", "none"),
        ] {
            if !self.is(key, default, &[default]) {
                self.fail(key, "topics, columns or missing values would not be recognized", &format!("remove it, or set {key}={default}"));
            }
        }
    }

    /// Does the encoding keep the values of the columns that the SELECT reads?
    fn values(&mut self, plan: &Plan) {
        let columns: Vec<&Column> = plan.source_columns.iter().chain(plan.lookups.iter().flat_map(|lookup| &lookup.key_columns)).collect();
        let has = |test: &dyn Fn(&Type) -> bool| columns.iter().any(|column| any_type(&column.ty, test));
        let schemaless = self.all.contains_key("value.converter") && self.is("value.converter.schemas.enable", "true", &["false"]);
        let key = "decimal.handling.mode";
        let is_long = |ty: &Type| matches!(ty, Type::Numeric(digits) if digits.is_none_or(|(digits, _)| digits > DOUBLE_DIGITS));
        if self.is(key, "precise", &["double"]) && self.get(key, "").is_some() && has(&is_long) {
            self.fail(key, "numeric values would lose digits", "set decimal.handling.mode=string");
        }
        let is_numeric = |ty: &Type| matches!(ty, Type::Numeric(_));
        if self.is(key, "precise", &["precise"]) && self.get(key, "").is_some() && schemaless && has(&is_numeric) {
            self.fail(key, "numeric values arrive as bytes without their scale", "set decimal.handling.mode=string");
        }
        // Debezium says an unconstrained numeric as its digits without trailing zeros, whose number decides the scale of a division.
        let is_unconstrained = |ty: &Type| matches!(ty, Type::Numeric(None));
        if self.is(key, "precise", &["precise"]) && self.get(key, "").is_some() && !schemaless && has(&is_unconstrained) {
            self.fail(key, "values of numeric without a scale lose their trailing zeros", "set decimal.handling.mode=string");
        }
        let key = "time.precision.mode";
        let is_time = |ty: &Type| matches!(ty, Type::Date | Type::Time(_) | Type::Timestamp(_));
        if has(&is_time) && !self.is(key, "adaptive", &["adaptive", "adaptive_time_microseconds", "isostring"]) {
            if self.is(key, "adaptive", &["connect"]) {
                self.fail(key, "microseconds would be cut off", "set time.precision.mode=adaptive");
            } else if schemaless {
                self.fail(key, "without a schema times cannot be told from it", "set time.precision.mode=adaptive");
            }
        }
        if has(&|ty| matches!(ty, Type::Time(_))) && self.get(key, "").is_some() && self.is(key, "adaptive", &["isostring"]) {
            self.fail(key, "24:00 arrives as 00:00", "set time.precision.mode=adaptive");
        }
        let is_nanos = !schemaless && self.get(key, "").is_some() && self.is(key, "adaptive", &["nanoseconds"]);
        if is_nanos && has(&|ty| matches!(ty, Type::Timestamp(_))) {
            self.fail(key, "timestamps before 1677 and after 2262 arrive as NULL", "set time.precision.mode=adaptive");
        }
        let is_short_time = |ty: &Type| matches!(ty, Type::Time(Some(0..=3)));
        if has(&is_short_time) && schemaless && self.get(key, "").is_some() && self.is(key, "adaptive", &["adaptive_time_microseconds"]) {
            self.fail(key, "without a schema time(0) to time(3) would be read as milliseconds", "set time.precision.mode=adaptive");
        }
        let key = "interval.handling.mode";
        if has(&|ty| matches!(ty, Type::Interval)) && !self.is(key, "numeric", &["string"]) {
            self.fail(key, "intervals would lose their months and days", "set interval.handling.mode=string");
        }
        let key = "binary.handling.mode";
        if has(&|ty| matches!(ty, Type::Bytea)) && !self.is(key, "bytes", &["bytes"]) {
            self.fail(key, "records do not say how bytea is encoded", "set binary.handling.mode=bytes");
        }
        let changed: Vec<_> =
            self.all.keys().filter(|key| ["column.mask", "column.truncate"].iter().any(|p| key.starts_with(p))).cloned().collect();
        for key in changed {
            self.warn(&key, "values are altered before they arrive", "see that it names no column of the SELECT");
        }
        for key in ["column.include.list", "column.exclude.list"] {
            if self.all.contains_key(key) {
                self.warn(key, "columns are left out", "see that it keeps every column of the SELECT");
            }
        }
    }

    /// Is the record key a unique key of the row? Rows that share a key would be taken for one.
    fn keys(&mut self, plan: &Plan) {
        let key = "message.key.columns";
        let Some(value) = self.get(key, "").map(str::to_owned) else { return };
        let table = &plan.source;
        let name = format!("{}.{}", table.schema, table.name);
        for entry in value.split(';').filter_map(|entry| entry.split_once(':')) {
            let (tables, columns) = (entry.0.trim().replace('\\', ""), entry.1.split(',').map(str::trim).collect::<Vec<_>>());
            // A pattern may stand for this table: only a plain name of another is surely not meant.
            let plain = !tables.contains(['*', '+', '(', '[', '|', '?', '^', '$']);
            if plain && tables != name {
                continue;
            }
            let not_null = |column: &&str| table.column(column).is_some_and(|column| column.not_null);
            let unique = table.unique_keys.iter().any(|unique| unique.iter().all(|column| columns.contains(&column.as_str())));
            if !unique || !columns.iter().all(not_null) {
                let why = format!("({}) is not a unique key without NULLs of {name}", columns.join(", "));
                self.fail(key, &why, "leave it out: the primary key is the default");
            }
        }
    }

    /// Are the tables captured?
    fn tables(&mut self, plan: &Plan) {
        let key = "table.include.list";
        let Some(list) = self.get(key, "").map(str::to_owned).filter(|list| !list.is_empty()) else { return };
        let entries: Vec<String> = list.split(',').map(|entry| entry.trim().replace('\\', "")).collect();
        if entries.iter().any(|entry| entry.contains(['*', '+', '(', '[', '|', '?', '^', '$'])) {
            return;
        }
        let tables = std::iter::once(&plan.source).chain(plan.lookups.iter().map(|lookup| &lookup.table));
        let names: Vec<String> = tables.map(|table| format!("{}.{}", table.schema, table.name)).collect();
        for name in names.iter().filter(|name| !entries.iter().any(|entry| entry.eq_ignore_ascii_case(name))) {
            self.fail(key, &format!("changes of {name} are not captured"), &format!("add {name}"));
        }
    }
}

/// Arrays hold what their elements hold.
fn any_type(ty: &Type, test: &dyn Fn(&Type) -> bool) -> bool {
    match ty {
        Type::Array(element) => any_type(element, test),
        other => test(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::State::{self, Failed, Warning};
    use super::super::tests::{config, plan, plan_of};
    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("plugin.name", "pgoutput"),
        ("skipped.operations", "none"),
        ("decimal.handling.mode", "string"),
        ("interval.handling.mode", "string"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter.schemas.enable", "false"),
        ("value.converter.replace.null.with.default", "false"),
        ("producer.override.enable.idempotence", "true"),
        ("poll.interval.ms", "5"),
        ("table.include.list", "public.t,public.l"),
        ("tombstones.on.delete", "false"),
    ];

    /// The facts with some settings changed; an empty value removes one.
    fn facts(changes: &[(&str, &str)]) -> Vec<(State, String)> {
        facts_of(&plan(), changes)
    }

    fn facts_of(plan: &Plan, changes: &[(&str, &str)]) -> Vec<(State, String)> {
        let mut all: BTreeMap<String, String> = GOOD.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        for (key, value) in changes {
            if value.is_empty() {
                all.remove(*key);
            } else {
                all.insert((*key).to_owned(), (*value).to_owned());
            }
        }
        judge(&config(), Some(plan), "c", &all).into_iter().map(|fact| (fact.state, fact.text)).collect()
    }

    #[test]
    fn each_setting_that_corrupts_is_refused_and_each_that_slows_is_warned_of() {
        assert_eq!(facts(&[]), []);
        let idempotence = "producer.override.enable.idempotence";
        let defaults = "value.converter.replace.null.with.default";
        for (key, value, state, expected) in [
            (
                idempotence,
                "",
                Failed,
                "producer.override.enable.idempotence is not set: a retry of the producer could change the order of changes",
            ),
            (
                idempotence,
                "false",
                Failed,
                "producer.override.enable.idempotence=false: a retry of the producer could change the order of changes",
            ),
            ("skipped.operations", "", Failed, "skipped.operations is not set: a ranking would keep the rows of a truncated table"),
            ("skipped.operations", "t, d", Failed, "skipped.operations=t, d: changes are left out"),
            (
                "event.processing.failure.handling.mode",
                "warn",
                Failed,
                "event.processing.failure.handling.mode=warn: changes that fail are left out",
            ),
            ("plugin.name", "", Warning, "plugin.name is not set: only pgoutput is tested"),
            (
                "snapshot.mode",
                "no_data",
                Warning,
                "snapshot.mode=no_data: not every row that exists is read once: a ranking may miss rows, or be built again at each start of the connector",
            ),
            ("poll.interval.ms", "", Warning, "poll.interval.ms is not set: changes wait up to that long in the connector"),
            (
                "value.converter",
                "io.confluent.connect.avro.AvroConverter",
                Failed,
                "value.converter=io.confluent.connect.avro.AvroConverter: only JSON is read",
            ),
            (defaults, "", Failed, "value.converter.replace.null.with.default is not set: NULL would arrive as the column's default"),
            ("topic.delimiter", "_", Failed, "topic.delimiter=_: topics, columns or missing values would not be recognized"),
            ("decimal.handling.mode", "double", Failed, "decimal.handling.mode=double: numeric values would lose digits"),
            ("decimal.handling.mode", "", Failed, "decimal.handling.mode is not set: numeric values arrive as bytes without their scale"),
            ("time.precision.mode", "connect", Failed, "time.precision.mode=connect: microseconds would be cut off"),
            (
                "time.precision.mode",
                "nanoseconds",
                Failed,
                "time.precision.mode=nanoseconds: without a schema times cannot be told from it",
            ),
            ("interval.handling.mode", "", Failed, "interval.handling.mode is not set: intervals would lose their months and days"),
            ("binary.handling.mode", "hex", Failed, "binary.handling.mode=hex: records do not say how bytea is encoded"),
            (
                "column.mask.with.5.chars",
                "public.t.a",
                Warning,
                "column.mask.with.5.chars=public.t.a: values are altered before they arrive",
            ),
            (
                "column.mask.hash.SHA-256.with.salt.S4LT",
                "public.t.a",
                Warning,
                "column.mask.hash.SHA-256.with.salt.***=public.t.a: values are altered before they arrive",
            ),
            ("column.exclude.list", "public.t.a", Warning, "column.exclude.list=public.t.a: columns are left out"),
            (
                "message.key.columns",
                "public.t:b",
                Failed,
                "message.key.columns=public.t:b: (b) is not a unique key without NULLs of public.t",
            ),
            (
                "message.key.columns",
                r"public\.t:b",
                Failed,
                r"message.key.columns=public\.t:b: (b) is not a unique key without NULLs of public.t",
            ),
            (
                "message.key.columns",
                ".*:id,b",
                Failed,
                "message.key.columns=.*:id,b: (id, b) is not a unique key without NULLs of public.t",
            ),
            ("table.include.list", "public.t", Failed, "table.include.list=public.t: changes of public.l are not captured"),
        ] {
            assert_eq!(facts(&[(key, value)]), [(state, format!("connector c: {expected}"))], "{key}={value}");
        }
        let unwrap = [
            ("transforms", "a, b"),
            ("transforms.a.type", "org.apache.kafka.connect.transforms.InsertHeader"),
            ("transforms.b.type", "io.debezium.transforms.ExtractNewRecordState"),
        ];
        let expected = "connector c: transforms.b.type=io.debezium.transforms.ExtractNewRecordState: records must arrive as Debezium makes them, in their envelope";
        assert_eq!(facts(&unwrap), [(Failed, expected.to_owned())]);
    }

    /// What each does to values is seen through the real Debezium in `tests/encodings.rs`.
    #[test]
    fn modes_that_lose_a_value_of_one_type_are_refused_for_that_type_alone() {
        let (schemas, numeric, time) = (("value.converter.schemas.enable", ""), "decimal.handling.mode", "time.precision.mode");
        for (ty, changes, expected) in [
            (
                "numeric",
                &[schemas, (numeric, "precise")][..],
                "decimal.handling.mode=precise: values of numeric without a scale lose their trailing zeros",
            ),
            ("time", &[(time, "isostring")], "time.precision.mode=isostring: 24:00 arrives as 00:00"),
            (
                "timestamp",
                &[schemas, (time, "nanoseconds")],
                "time.precision.mode=nanoseconds: timestamps before 1677 and after 2262 arrive as NULL",
            ),
            (
                "bytea",
                &[schemas, ("binary.handling.mode", "base64")],
                "binary.handling.mode=base64: records do not say how bytea is encoded",
            ),
        ] {
            let plan_with = |ty: &str| plan_of(&format!("CREATE TABLE t (id int PRIMARY KEY, c {ty})"), "SELECT id, c FROM t");
            assert_eq!(facts_of(&plan_with(ty), changes), [(Failed, format!("connector c: {expected}"))]);
            assert_eq!(facts_of(&plan_with("text"), changes), [], "{ty}");
        }
    }

    #[test]
    fn what_keeps_every_value_is_not_complained_of() {
        for changes in [
            &[("message.key.columns", "public.t:id,c")][..],
            &[("message.key.columns", "public.other:b")],
            &[("decimal.handling.mode", "precise"), ("value.converter.schemas.enable", "")],
            &[("time.precision.mode", "isostring")],
            &[("table.include.list", "public\\.t,PUBLIC.L")],
            &[("table.include.list", "public.*")],
            &[("skipped.operations", "${file:/x:y}"), ("decimal.handling.mode", "${file:/x:z}")],
        ] {
            assert_eq!(facts(changes), [], "{changes:?}");
        }
    }
}

//! What one record of a lookup table's topic does to the cache.

use highwater_sql::decode::{Decoder, Envelope, Row, Snapshot};
use highwater_sql::{Lookup, LookupKey, Op};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// No row changed.
    Nothing,
    /// Rows with these join keys changed.
    Remove(Vec<LookupKey>),
    /// Any row may have changed; the reason is a label of the metric.
    Clear(&'static str),
}

/// Reads the records of one lookup, as far as its join key needs it.
pub(super) struct Watch {
    lookup: Lookup,
    decoder: Decoder,
    /// An update that leaves the join key alone may come without `before`: the join key is the primary key, and a change of that is
    /// a delete and an insert.
    key_is_primary: bool,
    /// The last snapshot run that was seen.
    run: Option<(u64, u64)>,
}

impl Watch {
    pub(super) fn new(lookup: &Lookup) -> Self {
        let decoder = Decoder::new(&lookup.key_columns);
        let primary = &lookup.table.primary_key;
        let key_is_primary =
            primary.len() == lookup.key_columns.len() && lookup.key_columns.iter().all(|column| primary.contains(&column.name));
        Self { lookup: lookup.clone(), decoder, key_is_primary, run: None }
    }

    /// Judges one record's value; none is a tombstone.
    pub(super) fn effect(&mut self, value: Option<&[u8]>) -> Effect {
        let Some(value) = value else { return Effect::Nothing };
        let Ok(Envelope { op, before, after, source }) = self.decoder.decode(value) else { return Effect::Clear("undecodable") };
        match op {
            Op::Message => Effect::Nothing,
            Op::Truncate => Effect::Clear("truncate"),
            Op::Create => self.remove([after]),
            Op::Delete => self.remove([before]),
            Op::Update if before.is_none() && self.key_is_primary => self.remove([after]),
            Op::Update => self.remove([before, after]),
            Op::Read => {
                // A run begins after a gap whose changes may be in no record.
                let run = (source.lsn.unwrap_or(source.sequence.1), source.tx_id.unwrap_or_default());
                if source.snapshot != Snapshot::Incremental && self.run != Some(run) {
                    self.run = Some(run);
                    return Effect::Clear("snapshot");
                }
                self.remove([after])
            }
        }
    }

    fn remove<const N: usize>(&self, rows: [Option<Row>; N]) -> Effect {
        let mut keys = Vec::with_capacity(N);
        for row in rows {
            let Some(Ok(row)) = row else { return Effect::Clear("undecodable") };
            // A row with a NULL in its key was never found, so it is not cached.
            if let Some(key) = self.lookup.key_of(&row).filter(|key| !keys.contains(key)) {
                keys.push(key);
            }
        }
        Effect::Remove(keys)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use highwater_sql::catalog::{Catalog, Column, ReplicaIdentity, Table};
    use highwater_sql::{Type, Value};

    use super::*;

    fn column(name: &str, ty: Type, not_null: bool) -> Column {
        Column { name: name.into(), ty, not_null, has_default: false, collation_is_c: true }
    }

    /// A table with the primary key `id` and the unique, nullable `code`, joined by either.
    fn lookup(by: &str) -> Lookup {
        let table = |name: &str| Table {
            schema: "public".into(),
            name: name.into(),
            columns: vec![column("id", Type::Int4, true), column("code", Type::Text, false), column("x", Type::Text, false)],
            primary_key: vec!["id".into()],
            unique_keys: vec![vec!["id".into()], vec!["code".into()]],
            replica_identity: ReplicaIdentity::Full,
        };
        let catalog = Catalog { tables: vec![table("s"), table("l")], ..Catalog::default() };
        let sql = format!("SELECT s.id, l.x FROM s LEFT JOIN l ON l.{by} = s.{by}");
        highwater_sql::check::check(&sql, &catalog).unwrap().lookups.remove(0)
    }

    fn record(op: &str, before: &str, after: &str, snapshot: &str, lsn: u64, tx: u64) -> String {
        format!(
            r#"{{"before":{before},"after":{after},"op":"{op}","ts_ms":1,"source":{{"name":"p","schema":"public","table":"l","snapshot":{snapshot},
                "sequence":"[\"1\",\"{lsn}\"]","lsn":{lsn},"txId":{tx},"ts_us":1}}}}"#
        )
    }

    struct Tester {
        watch: Watch,
    }

    impl Tester {
        fn new(by: &str) -> Self {
            Self { watch: Watch::new(&lookup(by)) }
        }

        fn effect(&mut self, op: &str, before: &str, after: &str) -> String {
            self.show(&record(op, before, after, "null", 5, 1))
        }

        fn show(&mut self, record: &str) -> String {
            match self.watch.effect(Some(record.as_bytes())) {
                Effect::Nothing => "nothing".to_owned(),
                Effect::Clear(reason) => format!("clear {reason}"),
                Effect::Remove(keys) => keys.iter().map(|key| key.parts().join(",")).collect::<Vec<_>>().join(" "),
            }
        }
    }

    #[test]
    fn a_change_removes_by_the_old_and_by_the_new_key() {
        let mut by_code = Tester::new("code");
        let (a, b) = (r#"{"id":1,"code":"a","x":null}"#, r#"{"id":1,"code":"b","x":null}"#);
        assert_eq!(by_code.effect("c", "null", a), "a");
        assert_eq!(by_code.effect("u", a, b), "a b");
        assert_eq!(by_code.effect("u", a, a), "a");
        assert_eq!(by_code.effect("d", b, "null"), "b");
        assert_eq!(by_code.effect("u", r#"{"id":1,"code":null}"#, b), "b", "a row with a NULL key was never found");
    }

    #[test]
    fn without_the_old_row_only_the_primary_key_is_known_to_be_the_same() {
        let after = r#"{"id":1,"code":"a","x":null}"#;
        assert_eq!(Tester::new("id").effect("u", "null", after), "1");
        assert_eq!(Tester::new("code").effect("u", "null", after), "clear undecodable");
        assert_eq!(Tester::new("id").effect("d", r#"{"id":1,"code":null,"x":null}"#, "null"), "1");
        assert_eq!(Tester::new("id").effect("d", "null", "null"), "clear undecodable");
    }

    #[test]
    fn what_cannot_be_understood_clears() {
        let mut by_id = Tester::new("id");
        for bad in ["", "{", "null", "[]", r#"{"op":"x"}"#, "\u{0}"] {
            assert_eq!(by_id.show(bad), "clear undecodable", "{bad}");
        }
        for row in [r#"{"id":"x"}"#, r#"{"code":"a"}"#, r#"{"id":null}"#, r#"{"id":99999999999}"#] {
            assert_eq!(by_id.effect("c", "null", row), "clear undecodable", "{row}");
        }
        assert_eq!(Tester::new("code").effect("c", "null", r#"{"id":1,"code":"__debezium_unavailable_value"}"#), "clear undecodable");
        assert_eq!(by_id.watch.effect(None), Effect::Nothing, "a tombstone");
    }

    #[test]
    fn a_truncate_and_the_first_row_of_each_snapshot_run_clear() {
        let mut by_id = Tester::new("id");
        let row = r#"{"id":1,"code":"a"}"#;
        assert_eq!(by_id.effect("t", "null", "null"), "clear truncate");
        let read = |snapshot: &str, lsn, tx| record("r", "null", row, snapshot, lsn, tx);
        assert_eq!(by_id.show(&read("\"first\"", 10, 7)), "clear snapshot");
        assert_eq!(by_id.show(&read("\"true\"", 10, 7)), "1");
        assert_eq!(by_id.show(&read("\"last\"", 10, 7)), "1");
        assert_eq!(by_id.show(&read("\"true\"", 10, 8)), "clear snapshot", "started again at the same LSN");
        assert_eq!(by_id.show(&read("\"incremental\"", 99, 9)), "1");
        assert_eq!(by_id.show(&read("\"true\"", 10, 8)), "1");
    }

    #[test]
    fn keys_are_spelled_as_the_select_spells_them() {
        let lookup = lookup("id");
        let key = lookup.key_of(&[Value::from_text(&Type::Int4, "7").unwrap()]).unwrap();
        let effect = Watch::new(&lookup).effect(Some(record("c", "null", r#"{"id":7}"#, "null", 1, 1).as_bytes()));
        assert_eq!(effect, Effect::Remove(vec![key]));
    }
}

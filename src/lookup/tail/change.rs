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

//! What must be in the sinks, computed by Postgres with the pipeline's own SELECT, and compared by Postgres too.
//!
//! A ledger beside the source table holds both versions of every changed row, written by a trigger in the same transaction under the
//! row's lock: per key its sequence is the order of commits. The pipeline's SELECT is applied to a stored version by giving the source
//! table's name to that one row (`WITH table AS (...) SELECT ...`). No value here comes from the engine.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::database::Database;
use super::ranking::Seen;
use super::receiver::Receiver;
use super::scenario::{RankingSink, Scenario};

/// Differences that a failed test shows.
const SHOWN_MAX: usize = 12;

impl Scenario {
    fn ledger(&self) -> String {
        format!("ledger_{}", self.source)
    }

    /// Begins to note down every change of the source table.
    pub async fn open_ledger(&self, database: &Database) {
        let (source, ledger) = (&self.source, self.ledger());
        database
            .run(&format!(
                "CREATE TABLE {ledger} (seq bigserial PRIMARY KEY, op text NOT NULL, prior {source}, later {source});
                 CREATE FUNCTION {ledger}() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN INSERT INTO {ledger} (op, prior, later) VALUES (TG_OP, OLD, NEW); RETURN NULL; END $$;
                 CREATE TRIGGER {ledger} AFTER INSERT OR UPDATE OR DELETE ON {source} FOR EACH ROW EXECUTE FUNCTION {ledger}();
                 CREATE TABLE received_{source} (n bigint PRIMARY KEY, id text UNIQUE, type text, subject jsonb, before jsonb, after jsonb);"
            ))
            .await;
    }

    /// Forgets everything, and notes nothing down any more.
    pub async fn close_ledger(&self, database: &Database) {
        let (source, ledger) = (&self.source, self.ledger());
        database.run(&format!("DROP TRIGGER {ledger} ON {source}; DROP FUNCTION {ledger}; DROP TABLE {ledger}, received_{source}")).await;
    }

    /// Row changes that the ledger holds.
    pub async fn noted(&self, database: &Database) -> u64 {
        database.value(&format!("SELECT count(*) FROM {}", self.ledger())).await.parse().unwrap()
    }

    /// The same as Debezium tells them: a change of the key is a delete and an insert.
    pub async fn noted_changes(&self, database: &Database) -> u64 {
        let same: Vec<_> = self.key.iter().map(|column| format!("(prior).{column} = (later).{column}")).collect();
        let (same, ledger) = (same.join(" AND "), self.ledger());
        let changes = format!("SELECT coalesce(sum(CASE WHEN op <> 'UPDATE' OR {same} THEN 1 ELSE 2 END), 0) FROM {ledger}");
        database.value(&changes).await.parse().unwrap()
    }

    /// Forgets what was noted, so that the next comparison is about what comes.
    pub async fn clear_ledger(&self, database: &Database) {
        database.run(&format!("TRUNCATE {}", self.ledger())).await;
    }

    /// The SELECT's result row, as jsonb, for one stored version; NULL where WHERE or a join removes it.
    fn result_of(&self, version: &str) -> String {
        let (source, select) = (&self.source, &self.select);
        format!("(SELECT to_jsonb(q) FROM (WITH {source} AS (SELECT ({version}).*) {select}) q)")
    }

    /// A query for the events that the webhook owes: `subject, place` (of the event in its key's order), `type, before, after`.
    fn expected_events(&self) -> String {
        let key = |version: &str| {
            let parts: Vec<_> = self.key.iter().map(|column| format!("'{column}', ({version}).{column}")).collect();
            format!("jsonb_build_object({})", parts.join(", "))
        };
        let (old_key, new_key, ledger) = (key("prior"), key("later"), self.ledger());
        let (old_row, new_row) = (self.result_of("prior"), self.result_of("later"));
        format!(
            // A change of the key is a delete and an insert.
            "WITH parts AS (
               SELECT seq, 1 AS part, {old_key} AS subject, {old_row} AS before, NULL::jsonb AS after FROM {ledger}
               WHERE op = 'DELETE' OR op = 'UPDATE' AND {old_key} <> {new_key}
               UNION ALL
               SELECT seq, 2, {new_key}, NULL, {new_row} FROM {ledger} WHERE op = 'INSERT' OR op = 'UPDATE' AND {old_key} <> {new_key}
               UNION ALL
               SELECT seq, 3, {new_key}, {old_row}, {new_row} FROM {ledger} WHERE op = 'UPDATE' AND {old_key} = {new_key})
             SELECT subject, row_number() OVER (PARTITION BY subject ORDER BY seq, part) AS place,
                    'highwater.row.' || CASE WHEN before IS NULL THEN 'insert' WHEN after IS NULL THEN 'delete' ELSE 'update' END AS type,
                    before, after
             FROM parts WHERE before IS NOT NULL OR after IS NOT NULL"
        )
    }

    /// How many events the webhook owes.
    pub async fn expected_count(&self, database: &Database) -> u64 {
        database.value(&format!("SELECT count(*) FROM ({}) expected", self.expected_events())).await.parse().unwrap()
    }

    /// Every owed event is at the receiver once, under an id of its own, with exactly these rows, per key in the order of commits; and
    /// nothing else is. `skip` leaves out the events that arrived first, of an earlier comparison.
    pub async fn assert_received(&self, database: &Database, receiver: &Receiver, skip: usize) {
        let differences = self.differences(database, receiver, skip).await;
        assert!(differences.is_empty(), "{} events differ:\n{}", differences.len(), shown(&differences));
    }

    /// The events that are not as [`Scenario::assert_received`] wants them.
    pub async fn differences(&self, database: &Database, receiver: &Receiver, skip: usize) -> Vec<Vec<Option<String>>> {
        let (source, export) = (&self.source, receiver.export().await);
        let lines: Vec<String> = export.lines().skip(skip).map(str::to_owned).collect();
        let load = format!(
            "INSERT INTO received_{source} SELECT n, line->>'id', line->>'type', (line->>'subject')::jsonb,
               nullif(line->'before', 'null'), nullif(line->'after', 'null') FROM unnest($1::text[]::jsonb[]) WITH ORDINALITY AS lines (line, n)"
        );
        database.run(&format!("TRUNCATE received_{source}")).await;
        sqlx::query(sqlx::AssertSqlSafe(load)).bind(&lines).execute(&database.pool).await.unwrap();
        // As text: jsonb equality knows no trailing zeros.
        let query = format!(
            "WITH expected AS ({}), received AS (SELECT *, row_number() OVER (PARTITION BY subject ORDER BY n) AS place FROM received_{source})
             SELECT subject::text, place::text, e.type, e.before::text, e.after::text, r.type, r.before::text, r.after::text
             FROM expected e FULL JOIN received r USING (subject, place)
             WHERE (e.type, e.before::text, e.after::text) IS DISTINCT FROM (r.type, r.before::text, r.after::text) ORDER BY 1, 2",
            self.expected_events()
        );
        database.rows(&query).await
    }

    /// The ranking, at this floor, from the table as it is: member -> total in units of 10^-scale.
    pub async fn expected_ranking(&self, database: &Database, sink: &RankingSink, floor_ms: i64) -> BTreeMap<String, i64> {
        let RankingSink { member, score, time, scale, .. } = sink;
        let rows = database
            .rows(&format!(
                "SELECT {member}::text, (sum(round({score}::numeric, {scale})) * 10::numeric ^ {scale})::bigint::text FROM ({}) q
                 WHERE extract(epoch FROM {time}) * 1000 >= {floor_ms} AND {member} IS NOT NULL GROUP BY 1 HAVING count({score}) > 0",
                self.select
            ))
            .await;
        let entry = |row: Vec<Option<String>>| {
            let mut row = row.into_iter().flatten();
            (row.next().unwrap(), row.next().unwrap().parse().unwrap())
        };
        rows.into_iter().map(entry).collect()
    }

    /// What users read, and the totals behind it, equal the oracle at the stored floor, every member.
    pub async fn assert_ranking(&self, database: &Database, sink: &RankingSink, seen: &Seen) -> usize {
        let expected = self.expected_ranking(database, sink, seen.floor_ms).await;
        assert!(seen.public == expected, "the ranking differs at floor {}:\n{}", seen.floor_ms, differing(&expected, &seen.public));
        assert!(seen.totals == expected, "the totals differ at floor {}:\n{}", seen.floor_ms, differing(&expected, &seen.totals));
        expected.len()
    }
}

fn shown(rows: &[Vec<Option<String>>]) -> String {
    let names = ["subject", "place", "expected type", "before", "after", "received type", "before", "after"];
    let mut text = String::new();
    for row in rows.iter().take(SHOWN_MAX) {
        for (name, value) in names.iter().zip(row) {
            let _ = writeln!(text, "  {name}: {}", value.as_deref().unwrap_or("-").chars().take(500).collect::<String>());
        }
        text.push('\n');
    }
    text
}

fn differing(expected: &BTreeMap<String, i64>, seen: &BTreeMap<String, i64>) -> String {
    let mut text = String::new();
    let members: std::collections::BTreeSet<_> = expected.keys().chain(seen.keys()).collect();
    for member in members.into_iter().filter(|m| expected.get(*m) != seen.get(*m)).take(SHOWN_MAX) {
        let _ = writeln!(text, "  {member}: expected {:?}, seen {:?}", expected.get(member), seen.get(member));
    }
    text
}

//! What a batch means to a ranking: the Z-set of its rows, summed by bucket and member.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use highwater_sql::{RowError, Value};

use super::config::Layout;
use super::function::{AMOUNT_MAX, ENTRIES_MAX, Sum};
use crate::sink::{Failed, Sides};

/// Members are text; a longer one is a dead letter.
const MEMBER_BYTES_MAX: usize = 16 << 10;

/// Rows of a batch, summed by bucket and member. Each row was rounded before it was added.
#[derive(Debug, Default)]
pub struct Payload {
    buckets: BTreeMap<i64, HashMap<Box<str>, Sum>>,
    entries: usize,
}

/// What one row adds or withdraws.
struct Contribution<'a> {
    bucket_ms: i64,
    member: Cow<'a, str>,
    amount: i64,
}

impl Payload {
    /// No other record must be added: an update may bring two new entries.
    pub fn is_full(&self) -> bool {
        self.entries + 2 > ENTRIES_MAX
    }

    /// Distinct (bucket, member) entries, with what they add.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (i64, &str, Sum)> {
        let each = self.buckets.iter().flat_map(|(bucket_ms, members)| members.iter().map(|(member, sum)| (*bucket_ms, &**member, *sum)));
        Counted { each, left: self.entries }
    }

    /// Of these entries; for tests.
    #[cfg(test)]
    pub(super) fn of<'a>(entries: impl IntoIterator<Item = (i64, &'a str, Sum)>) -> Self {
        let mut payload = Self::default();
        for (bucket_ms, member, sum) in entries {
            payload.buckets.entry(bucket_ms).or_default().insert(member.into(), sum);
            payload.entries += 1;
        }
        payload
    }

    /// Withdraws the row before and adds the row after. A row that cannot be counted adds nothing, and takes away nothing when it goes:
    /// each side stands alone, or a row that was bad for a while would be withdrawn without having been added.
    pub fn add(&mut self, layout: &Layout, before: Option<&[Value]>, after: Option<&[Value]>) -> Result<(), Failed> {
        let failed = |sides| move |error| Failed { sides, error };
        let withdrawn = self.side(layout, before, -1).map_err(failed(Sides::BEFORE)).err();
        let added = self.side(layout, after, 1).map_err(failed(Sides::AFTER)).err();
        Failed::either(withdrawn, added).map_or(Ok(()), Err)
    }

    fn side(&mut self, layout: &Layout, row: Option<&[Value]>, sign: i64) -> Result<(), RowError> {
        let row = row.map(|row| contribution(layout, row)).transpose()?.flatten();
        row.into_iter().for_each(|row| self.sum(row, sign));
        Ok(())
    }

    fn sum(&mut self, row: Contribution<'_>, sign: i64) {
        let members = self.buckets.entry(row.bucket_ms).or_default();
        if !members.contains_key(&*row.member) {
            members.insert(row.member.as_ref().into(), Sum::default());
            self.entries += 1;
        }
        if let Some(sum) = members.get_mut(&*row.member) {
            sum.amount += i128::from(sign) * i128::from(row.amount);
            sum.rows += sign;
            sum.came += 1;
        }
    }
}

/// An iterator that knows how many are left.
struct Counted<I> {
    each: I,
    left: usize,
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.left = self.left.saturating_sub(1);
        self.each.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}

/// What a result row adds; nothing where member, score or time is NULL.
fn contribution<'a>(layout: &Layout, row: &'a [Value]) -> Result<Option<Contribution<'a>>, RowError> {
    let (member, score, time) = (&row[layout.member.index], &row[layout.score.index], &row[layout.time.index]);
    if member.is_null() || score.is_null() || time.is_null() {
        return Ok(None);
    }
    let amount = score.to_scaled(layout.scale).map_err(|error| error.in_column(&layout.score.name))?;
    if amount.unsigned_abs() > AMOUNT_MAX.unsigned_abs() {
        let message = format!("score out of range: it must be within 2^53 units of 10^-{}", layout.scale);
        return Err(RowError::new("22003", message).in_column(&layout.score.name));
    }
    let bucket_ms = time
        .unix_micros()
        .and_then(|us| bucket_ms(us, layout.bucket_ms))
        .ok_or_else(|| RowError::new("22008", "timestamp out of range: it is in no window").in_column(&layout.time.name))?;
    let member = member.to_text(&layout.member.ty);
    if member.len() > MEMBER_BYTES_MAX {
        let message = format!("member of {} bytes is longer than {MEMBER_BYTES_MAX}", member.len());
        return Err(RowError::new("54000", message).in_column(&layout.member.name));
    }
    Ok(Some(Contribution { bucket_ms, member, amount }))
}

/// The first millisecond of the bucket; none beyond what the function library's doubles hold.
fn bucket_ms(unix_us: i64, bucket_ms: u64) -> Option<i64> {
    let width_ms = i64::try_from(bucket_ms).ok()?;
    let start_ms = unix_us.div_euclid(1000).div_euclid(width_ms) * width_ms;
    (start_ms.abs() <= AMOUNT_MAX).then_some(start_ms)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use highwater_sql::Type;

    use super::*;
    use crate::sink::ranking::config::Slot;

    const AT_US: i64 = 1_700_000_012_345_678;
    const BUCKET_MS: i64 = 1_700_000_010_000;

    fn layout() -> Layout {
        let slot = |index, name: &str, ty| Slot { index, name: name.to_owned(), ty };
        Layout {
            member: slot(0, "member", Type::Text),
            score: slot(1, "score", Type::Float8),
            time: slot(2, "at", Type::Timestamptz(None)),
            scale: 3,
            window_ms: 60_000,
            bucket_ms: 10_000,
            ahead_ms: 0,
            fingerprint: String::new(),
        }
    }

    fn row(member: &str, score: f64, at_us: i64) -> Vec<Value> {
        vec![Value::Text(member.into()), Value::Float8(score), Value::Timestamp(at_us)]
    }

    fn sums(payload: &Payload) -> Vec<(i64, String, i128, i64, u64)> {
        let mut list: Vec<_> = payload.entries().map(|(b, member, sum)| (b, member.to_owned(), sum.amount, sum.rows, sum.came)).collect();
        list.sort();
        list
    }

    #[test]
    fn each_row_is_rounded_before_it_is_added() {
        let mut payload = Payload::default();
        for _ in 0..3 {
            payload.add(&layout(), None, Some(&row("a", 0.0006, AT_US))).unwrap();
        }
        payload.add(&layout(), None, Some(&row("b", -0.0005, AT_US))).unwrap();
        assert_eq!(sums(&payload), [(BUCKET_MS, "a".to_owned(), 3, 3, 3), (BUCKET_MS, "b".to_owned(), -1, 1, 1)]);
    }

    #[test]
    fn an_update_withdraws_the_row_before_and_adds_the_row_after() {
        let mut payload = Payload::default();
        payload.add(&layout(), Some(&row("a", 2.0, AT_US)), Some(&row("a", 3.5, AT_US + 10_000_000))).unwrap();
        payload.add(&layout(), Some(&row("a", 3.5, AT_US + 10_000_000)), None).unwrap();
        assert_eq!(sums(&payload), [(BUCKET_MS, "a".to_owned(), -2000, -1, 1), (BUCKET_MS + 10_000, "a".to_owned(), 0, 0, 2)]);
    }

    #[test]
    fn null_members_scores_and_times_count_nothing() {
        let mut payload = Payload::default();
        for slot in 0..3 {
            let mut row = row("a", 1.0, AT_US);
            row[slot] = Value::Null;
            payload.add(&layout(), Some(&row), Some(&row)).unwrap();
        }
        assert!(sums(&payload).is_empty());
    }

    #[test]
    fn a_row_that_is_bad_for_a_while_is_withdrawn_as_often_as_it_was_added() {
        let mut payload = Payload::default();
        let good = row("a", 1.0, AT_US);
        let long = "x".repeat(MEMBER_BYTES_MAX + 1);
        for (bad, sqlstate, column) in [
            (row("a", 1.0, i64::MAX), "22008", "at"),
            (row("a", 1.0, i64::MIN), "22008", "at"),
            (row("a", 1.0, i64::MAX - 1), "22008", "at"),
            (row("a", 9_007_199_254_741.0, AT_US), "22003", "score"),
            (row("a", -9_007_199_254_741.0, AT_US), "22003", "score"),
            (row(&long, 1.0, AT_US), "54000", "member"),
        ] {
            for (before, after) in [(None, Some(&bad)), (Some(&bad), Some(&good)), (Some(&good), Some(&bad)), (Some(&bad), None)] {
                let failed = payload.add(&layout(), before.map(|row| &**row), after.map(|row| &**row)).unwrap_err();
                let is_bad = |row: Option<&Vec<Value>>| row.is_some_and(|row| std::ptr::eq(row, &bad));
                assert_eq!(failed.sides, Sides { before: is_bad(before), after: is_bad(after) });
                let error = failed.error;
                assert_eq!((error.sqlstate, error.column.as_deref()), (sqlstate, Some(column)));
            }
        }
        let left: Vec<_> = sums(&payload).into_iter().map(|(_, _, amount, rows, came)| (amount, rows, came)).collect();
        assert_eq!(left, [(0, 0, 12)], "the good row came and went six times, the bad ones never");
        payload.add(&layout(), None, Some(&row("a", 9_007_199_254_740.0, AT_US))).unwrap();
    }

    #[test]
    fn the_smallest_integer_is_out_of_range_too() {
        let layout = Layout { scale: 0, ..layout() };
        for (score, fits) in [(i64::MIN, false), (i64::MAX, false), (-AMOUNT_MAX, true), (-AMOUNT_MAX - 1, false)] {
            let row = vec![Value::Text("a".into()), Value::Int(score), row("a", 1.0, AT_US)[2].clone()];
            let added = Payload::default().add(&layout, None, Some(&row));
            assert_eq!(added.map_err(|failed| failed.error.sqlstate).err(), (!fits).then_some("22003"), "{score}");
        }
    }

    #[test]
    fn a_payload_is_full_while_an_update_might_exceed_the_limit() {
        let mut payload = Payload::default();
        for n in 0..499_i64 {
            assert!(!payload.is_full(), "{n}");
            payload.add(&layout(), None, Some(&row(&n.to_string(), 1.0, AT_US))).unwrap();
            payload.add(&layout(), None, Some(&row(&n.to_string(), 1.0, AT_US))).unwrap();
        }
        assert!(payload.is_full());
        assert_eq!(payload.entries().len(), 499);
        assert_eq!(payload.entries().count(), 499);
    }

    #[test]
    fn buckets_begin_at_multiples_of_their_width_before_1970_too() {
        assert_eq!(bucket_ms(-1, 1000), Some(-1000));
        assert_eq!(bucket_ms(0, 1000), Some(0));
        assert_eq!(bucket_ms(999_999, 1000), Some(0));
        assert_eq!(bucket_ms(1_000_000, 1000), Some(1000));
        assert_eq!(bucket_ms(-1_000_001, 1000), Some(-2000));
    }
}

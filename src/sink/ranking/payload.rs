//! What a batch means to a ranking: the Z-set of its rows, summed by bucket and member.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use highwater_sql::{RowError, Value};

use super::config::Layout;
use super::function::{AMOUNT_MAX, ENTRIES_MAX, Sum};

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

    /// Withdraws the row before and adds the row after: both, or on an error neither.
    pub fn add(&mut self, layout: &Layout, before: Option<&[Value]>, after: Option<&[Value]>) -> Result<(), RowError> {
        let before = before.map(|row| contribution(layout, row)).transpose()?.flatten();
        let after = after.map(|row| contribution(layout, row)).transpose()?.flatten();
        before.into_iter().for_each(|row| self.sum(row, -1));
        after.into_iter().for_each(|row| self.sum(row, 1));
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
    if amount.abs() > AMOUNT_MAX {
        let message = format!("score out of range: it must be within 2^53 units of 10^-{}", layout.scale);
        return Err(RowError::new("22003", message).in_column(&layout.score.name));
    }
    let bucket_ms = time.unix_micros().and_then(|us| bucket_ms(us, layout.bucket_ms)).ok_or_else(|| {
        RowError::new("22008", "timestamp out of range: it is in no window").in_column(&layout.time.name)
    })?;
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

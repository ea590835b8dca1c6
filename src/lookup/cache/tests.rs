//! Every order in which loads, writes and late changes can meet, against a table that is a number.
//!
//! One key. Its row is the number of writes so far; none before the first and after a delete. A write is visible to readers at once and
//! its change reaches the cache later, in order. The rule: once every change has arrived, the cache holds the table's row or nothing.

#![allow(clippy::unwrap_used)]

use super::*;

const KEY: u8 = 7;
const NO_KEYS: [u8; 0] = [];

const LIMITS: Limits = Limits { entries_max: 100, bytes_max: 10_000, age_max: Duration::from_secs(3600) };

fn cache() -> Cache<u8, u32> {
    let cache = Cache::new(LIMITS, |_, _| 1);
    cache.follow();
    cache
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A transaction commits: an update or insert, or a delete.
    Write,
    Delete,
    /// The oldest change that did not arrive yet arrives.
    Arrive,
    /// Load 0 or 1 registers, reads, is stored.
    Begin(usize),
    Read(usize),
    Finish(usize),
}

/// What the cache under test does about changes and absent rows.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// The one that is promised.
    RemoveAndDiscard,
    /// A change writes its row into the cache.
    UpdateInPlace,
    /// A change removes, loads in flight do not notice.
    RemoveOnly,
}

struct World<'a> {
    rule: Rule,
    cache: &'a Cache<u8, u32>,
    writes: u32,
    row: Option<u32>,
    late: std::collections::VecDeque<Option<u32>>,
    loads: [Option<Load<'a, u8, u32>>; 2],
    read: [Option<Option<u32>>; 2],
}

impl<'a> World<'a> {
    fn new(rule: Rule, cache: &'a Cache<u8, u32>) -> Self {
        Self { rule, cache, writes: 0, row: None, late: std::collections::VecDeque::new(), loads: [None, None], read: [None, None] }
    }

    /// False if the step cannot be taken now.
    fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Write | Step::Delete => {
                self.writes += 1;
                self.row = (step == Step::Write).then_some(self.writes);
                self.late.push_back(self.row);
            }
            Step::Arrive => {
                let Some(row) = self.late.pop_front() else { return false };
                match (self.rule, row) {
                    (Rule::UpdateInPlace, Some(row)) => {
                        self.cache.rows.insert(KEY, Kept { generation: self.cache.generation.load(Ordering::Acquire), row })
                    }
                    (Rule::UpdateInPlace | Rule::RemoveOnly, _) => drop(self.cache.rows.remove(&KEY)),
                    (Rule::RemoveAndDiscard, _) => drop(self.cache.remove(&KEY)),
                }
            }
            Step::Begin(n) => {
                if self.cache.get(&KEY).is_some() {
                    return false;
                }
                self.loads[n] = Some(self.cache.begin(&[KEY]));
            }
            Step::Read(n) => {
                if self.loads[n].is_none() {
                    return false;
                }
                self.read[n] = Some(self.row);
            }
            Step::Finish(n) => {
                let (Some(load), Some(read)) = (self.loads[n].take(), self.read[n].take()) else { return false };
                load.finish(|_| read);
            }
        }
        true
    }

    fn is_right(&self) -> bool {
        let kept = self.cache.get(&KEY);
        !self.late.is_empty() || kept.is_none() || kept == self.row
    }
}

/// Runs all orders of the steps that keep the order within each list; returns (orders that ran, orders that went wrong).
fn all_orders(rule: Rule, lists: &[&[Step]]) -> (usize, usize) {
    fn extend(lists: &[&[Step]], taken: &mut Vec<usize>, order: &mut Vec<Step>, orders: &mut Vec<Vec<Step>>) {
        let mut last = true;
        for n in 0..lists.len() {
            if let Some(step) = lists[n].get(taken[n]) {
                last = false;
                taken[n] += 1;
                order.push(*step);
                extend(lists, taken, order, orders);
                order.pop();
                taken[n] -= 1;
            }
        }
        if last {
            orders.push(order.clone());
        }
    }
    let mut orders = Vec::new();
    extend(lists, &mut vec![0; lists.len()], &mut Vec::new(), &mut orders);
    let (mut ran, mut wrong) = (0, 0);
    let cache = cache();
    for order in orders {
        cache.rows.invalidate(&KEY);
        let mut world = World::new(rule, &cache);
        if order.iter().all(|step| world.take(*step)) {
            ran += 1;
            wrong += usize::from(!world.is_right());
            drop(world);
            assert!(cache.lock().in_flight.is_empty(), "{order:?}");
        }
    }
    (ran, wrong)
}

const LOAD_0: &[Step] = &[Step::Begin(0), Step::Read(0), Step::Finish(0)];
const LOAD_1: &[Step] = &[Step::Begin(1), Step::Read(1), Step::Finish(1)];

#[test]
fn in_every_order_of_two_loads_and_two_changes_the_cache_ends_with_the_row_or_nothing() {
    use Step::{Arrive, Delete, Write};
    for writes in [[Write, Write], [Write, Delete], [Delete, Write]] {
        let (ran, wrong) = all_orders(Rule::RemoveAndDiscard, &[&writes, &[Arrive, Arrive], LOAD_0, LOAD_1]);
        assert!(ran > 1000, "{ran}");
        assert_eq!(wrong, 0);
    }
}

#[test]
fn the_rules_it_replaces_go_wrong_in_the_same_orders() {
    use Step::{Arrive, Write};
    for rule in [Rule::UpdateInPlace, Rule::RemoveOnly] {
        let (ran, wrong) = all_orders(rule, &[&[Write, Write], &[Arrive, Arrive], LOAD_0, LOAD_1]);
        assert!(ran > 1000 && wrong > 100, "{wrong} of {ran}");
    }
}

/// The smallest trace of the design: a lagging change writes an older row over a newer load.
#[test]
fn an_update_in_place_puts_an_older_row_over_a_newer_load() {
    use Step::{Arrive, Begin, Finish, Read, Write};
    let trace = [Write, Write, Begin(0), Read(0), Finish(0), Arrive];
    for (rule, kept) in [(Rule::UpdateInPlace, Some(1)), (Rule::RemoveAndDiscard, None)] {
        let cache = cache();
        let mut world = World::new(rule, &cache);
        assert!(trace.iter().all(|step| world.take(*step)));
        assert_eq!((cache.get(&KEY), world.row), (kept, Some(2)));
    }
}

#[test]
fn a_load_is_discarded_for_the_keys_that_changed_and_only_for_these() {
    let cache = cache();
    let load = cache.begin(&[1, 2, 3]);
    assert!(!cache.remove(&2));
    assert_eq!(load.finish(|key| (*key != 3).then_some(u32::from(*key) * 10)), [2]);
    assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(10), None, None));
    assert!(cache.remove(&1));
    assert_eq!(cache.get(&1), None);
}

#[test]
fn a_change_before_a_load_began_does_not_discard_it() {
    let cache = cache();
    let first = cache.begin(&[1]);
    cache.remove(&1);
    let second = cache.begin(&[1]);
    assert_eq!(second.finish(|_| Some(5)), NO_KEYS);
    assert_eq!(first.finish(|_| Some(4)), [1]);
    assert_eq!(cache.get(&1), Some(5));
}

#[test]
fn clearing_forgets_rows_and_discards_loads_in_flight() {
    let cache = cache();
    cache.begin(&[1]).finish(|_| Some(1));
    let load = cache.begin(&[2]);
    cache.clear();
    assert_eq!(load.finish(|_| Some(2)), [2]);
    assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
    assert_eq!(cache.begin(&[2]).finish(|_| Some(3)), NO_KEYS);
    assert_eq!(cache.get(&2), Some(3));
}

#[test]
fn nothing_is_kept_before_changes_are_followed() {
    let cache = Cache::new(LIMITS, |_: &u8, _: &u32| 1);
    assert_eq!(cache.begin(&[1]).finish(|_| Some(1)), NO_KEYS);
    assert_eq!(cache.get(&1), None);
    let load = cache.begin(&[1]);
    cache.follow();
    assert_eq!(load.finish(|_| Some(1)), [1], "it began before changes were read");
    cache.begin(&[1]).finish(|_| Some(2));
    assert_eq!(cache.get(&1), Some(2));
}

#[test]
fn a_load_that_is_given_up_leaves_nothing_behind() {
    let cache = cache();
    drop(cache.begin(&[1, 2]));
    assert!(cache.lock().in_flight.is_empty());
}

#[test]
fn entries_bytes_and_age_are_bounded() {
    let fill = |limits: Limits, bytes: u64| {
        let cache: Cache<u32, u32> = Cache::new(limits, move |_, _| bytes);
        cache.follow();
        for key in 0..1000 {
            cache.begin(&[key]).finish(|_| Some(key));
        }
        cache.rows.run_pending_tasks();
        cache
    };
    assert_eq!(fill(LIMITS, 1).len(), 100);
    assert_eq!(fill(LIMITS, 1000).len(), 10);
    let cache = fill(Limits { age_max: Duration::from_millis(1), ..LIMITS }, 1);
    std::thread::sleep(Duration::from_millis(5));
    assert!((0..1000).all(|key| cache.get(&key).is_none()));
}

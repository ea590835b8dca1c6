//! The function library by itself: each promise of `redis/highwater.lua` on a real Redis.

use std::collections::BTreeMap;

use redis::{Cmd, Connection, RedisError};

use super::redis_server::{RedisServer, run};
use crate::progress::{Boundary, Mark};
use crate::sink::ranking::function::{
    Clock, Done, Functions, Identity, LIBRARY, NewEpoch, OWED_MAX, Owing, Reply, Role, State, Sum, VERSION,
};
use crate::sink::{Owed, Progress, Sides, Slice};

const NOW: i64 = 1_700_000_000_000;
const WINDOW: i64 = 60_000;

/// One ranking, called with a clock of the test's own.
struct Bench {
    server: RedisServer,
    connection: Connection,
    functions: Functions,
}

impl Bench {
    fn start() -> Self {
        let server = RedisServer::start();
        let connection = server.loaded();
        Self { server, connection, functions: Functions::new("top").at(NOW) }
    }

    /// With an epoch of one partition that is served from the start.
    fn served() -> Self {
        let mut bench = Self::start();
        assert!(bench.begin("", &epoch("one")).unwrap().swapped);
        bench
    }

    fn at(&mut self, now: i64) -> &mut Self {
        self.functions.clock = Clock::Fixed(now);
        self
    }

    fn call(&mut self, call: &Cmd) -> Result<Reply, RedisError> {
        call.query(&mut self.connection)
    }

    fn done(&mut self, call: &Cmd) -> Option<Done> {
        match self.call(call).unwrap() {
            Reply::Done(done) => Some(done),
            Reply::Moved => None,
        }
    }

    fn begin(&mut self, old: &str, new: &NewEpoch) -> Option<Done> {
        self.done(&self.functions.begin(old, new))
    }

    fn tick(&mut self) -> Done {
        self.done(&self.functions.tick()).unwrap()
    }

    fn batch(&self, epoch: &str, from: i64, to: i64, entries: &[(i64, &str, i128, i64)]) -> Cmd {
        let slices = BTreeMap::from([(0, slice(from, to))]);
        self.functions.apply(epoch, &slices, &BTreeMap::new(), &[], sums(entries).into_iter())
    }

    fn apply(&mut self, epoch: &str, from: i64, to: i64, entries: &[(i64, &str, i128, i64)]) -> Option<Done> {
        self.done(&self.batch(epoch, from, to, entries))
    }

    /// A batch that parks these records.
    fn park(&mut self, from: i64, to: i64, owed: &[(i64, Sides)], entries: &[(i64, &str, i128, i64)]) -> Option<Done> {
        let owed: Vec<_> = owed.iter().map(|&(offset, sides)| Owed { partition: 0, offset, sides }).collect();
        let slices = BTreeMap::from([(0, slice(from, to))]);
        let call = self.functions.apply("one", &slices, &BTreeMap::new(), &owed, sums(entries).into_iter());
        self.done(&call)
    }

    fn replay(&mut self, epoch: &str, offset: i64, owed: Sides, left: Sides, entries: &[(i64, &str, i128, i64)]) -> Option<Done> {
        let call = self.functions.replay(epoch, (0, offset), owed, left, sums(entries).into_iter());
        self.done(&call)
    }

    fn owed(&mut self, offsets: &[i64]) -> Vec<Option<Sides>> {
        let records: Vec<_> = offsets.iter().map(|offset| (0, *offset)).collect();
        let owing: Owing = self.functions.owed(&records).query(&mut self.connection).unwrap();
        owing.owed
    }

    /// What a reader sees, in units of the scale: redis-cli prints 17 digits, for example `8.0030000000000001`.
    fn top(&mut self) -> Vec<(String, i64)> {
        let list: Vec<String> = run(&mut self.connection, &["ZRANGE", "top", "0", "-1", "WITHSCORES"]);
        list.chunks(2).map(|pair| (pair[0].clone(), thousandths(&pair[1]))).collect()
    }

    fn state(&mut self) -> State {
        self.functions.state().query(&mut self.connection).unwrap()
    }

    fn ask<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        run(&mut self.connection, words)
    }

    /// Everything that is stored, as bytes.
    fn dump(&mut self) -> BTreeMap<String, Vec<u8>> {
        let keys: Vec<String> = self.ask(&["KEYS", "*"]);
        keys.into_iter().map(|key| (key.clone(), self.ask(&["DUMP", &key]))).collect()
    }
}

#[allow(clippy::cast_possible_truncation)]
fn thousandths(score: &str) -> i64 {
    (score.parse::<f64>().unwrap() * 1000.0).round() as i64
}

fn sums<'a>(entries: &[(i64, &'a str, i128, i64)]) -> Vec<(i64, &'a str, Sum)> {
    entries.iter().map(|&(bucket, member, amount, rows)| (bucket, member, Sum { amount, rows, came: rows.unsigned_abs() })).collect()
}

fn slice(token: i64, next: i64) -> Slice {
    Slice { token, progress: Progress { next, mark: Mark::default() } }
}

fn epoch(id: &str) -> NewEpoch {
    let identity = Identity { run_id: "run".to_owned(), fingerprint: "pipeline".to_owned(), topic: "topic".to_owned() };
    let partitions = BTreeMap::from([(0, (0, 0))]);
    NewEpoch { id: id.to_owned(), identity, boundary: None, window_ms: 60_000, bucket_ms: 1000, scale: 3, partitions }
}

fn until(id: &str, target: i64) -> NewEpoch {
    NewEpoch { partitions: BTreeMap::from([(0, (0, target))]), ..epoch(id) }
}

fn run_boundary() -> Boundary {
    Boundary { lsn: 100, run_tx: Some(7), arrived_ms: NOW, commit_us: NOW * 1000, ended: false }
}

#[test]
fn the_library_has_the_version_that_the_engine_expects() {
    let mut bench = Bench::start();
    assert!(LIBRARY.contains(&format!("local VERSION = '{VERSION}'")));
    assert_eq!(Functions::version().query::<u32>(&mut bench.connection).unwrap(), VERSION);
}

/// GIVEN a batch that was applied
/// WHEN it arrives again
/// THEN nothing changes and the reply says so.
#[test]
fn a_batch_counts_once() {
    let mut bench = Bench::served();
    assert_eq!(bench.apply("one", 0, 10, &[(NOW, "a", 8003, 2), (NOW, "b", 5, 1)]).unwrap().late, 0);
    let before = bench.dump();
    assert_eq!(bench.apply("one", 0, 10, &[(NOW, "a", 8003, 2), (NOW, "b", 5, 1)]), None);
    assert_eq!(bench.dump(), before);
    assert_eq!(bench.top(), [("b".to_owned(), 5), ("a".to_owned(), 8003)]);
}

/// GIVEN two partitions, one token right and one wrong, or another epoch
/// WHEN the batch arrives
/// THEN nothing of it is applied.
#[test]
fn one_foreign_token_or_another_epoch_changes_nothing() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 10, &[(NOW, "a", 1, 1)]).unwrap();
    let before = bench.dump();
    let slices = BTreeMap::from([(0, slice(10, 20)), (1, slice(5, 6))]);
    let call = bench.functions.apply("one", &slices, &BTreeMap::new(), &[], sums(&[(NOW, "a", 1, 1)]).into_iter());
    assert_eq!(bench.done(&call), None);
    assert_eq!(bench.apply("two", 10, 20, &[(NOW, "a", 1, 1)]), None);
    assert_eq!(bench.dump(), before);
}

#[test]
fn a_partition_that_the_epoch_does_not_know_starts_at_zero() {
    let mut bench = Bench::served();
    let at = |from, to| BTreeMap::from([(9, slice(from, to))]);
    let call = bench.functions.apply("one", &at(0, 4), &BTreeMap::new(), &[], sums(&[]).into_iter());
    assert!(bench.done(&call).is_some());
    assert_eq!(bench.state().current.unwrap().progress[&9].next, 4);
}

#[test]
fn updates_and_deletes_withdraw_what_was_added_and_a_member_without_rows_leaves() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 1, &[(NOW, "a", 5000, 2), (NOW - 2000, "a", 700, 1), (NOW, "b", 1, 1)]).unwrap();
    bench.apply("one", 1, 2, &[(NOW, "a", -1000, 0), (NOW, "b", -1, -1)]).unwrap();
    assert_eq!(bench.top(), [("a".to_owned(), 4700)]);
    // What is left when the rows are gone is lost with them, in the total too.
    bench.apply("one", 2, 3, &[(NOW, "a", -3999, -2)]).unwrap();
    assert_eq!(bench.top(), [("a".to_owned(), 700)]);
    bench.apply("one", 3, 4, &[(NOW - 2000, "a", -700, -1)]).unwrap();
    assert!(bench.top().is_empty());
    assert_eq!(bench.ask::<Vec<String>>(&["KEYS", "*:*:*"]), Vec::<String>::new(), "nothing is kept of members that left");
}

/// GIVEN a stored floor
/// WHEN rows below it are added or withdrawn, and the clock goes back
/// THEN they are ignored and counted, and the floor stays.
#[test]
fn the_floor_only_moves_forward_and_rows_below_it_are_late() {
    let mut bench = Bench::served();
    let floor = NOW - WINDOW;
    let done = bench.apply("one", 0, 1, &[(floor - 1000, "late", 9, 3), (floor, "in", 1, 1)]).unwrap();
    assert_eq!((done.late, done.floor_ms), (3, floor));
    assert_eq!(bench.top(), [("in".to_owned(), 1)]);
    let done = bench.at(NOW - 30_000).apply("one", 1, 2, &[(floor - 1000, "late", -9, -2)]).unwrap();
    assert_eq!((done.late, done.floor_ms), (2, floor));
    // A millisecond before the next bucket the floor is still there.
    assert_eq!(bench.at(NOW + 999).tick().floor_ms, floor);
    assert_eq!(bench.at(NOW + 1000).tick().floor_ms, floor + 1000);
    assert!(bench.top().is_empty());
}

#[test]
fn rows_dated_ahead_count_at_once() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 1, &[(NOW + 86_400_000, "a", 1000, 1)]).unwrap();
    bench.at(NOW + 86_400_000).tick();
    assert_eq!(bench.top(), [("a".to_owned(), 1000)]);
}

/// GIVEN 1,200 entries that expire at once
/// WHEN calls are made
/// THEN each drains 500 at most, and says whether there are more.
#[test]
fn expired_entries_are_drained_in_chunks() {
    let mut bench = Bench::served();
    let names: Vec<String> = (0..1200).map(|n| format!("m{n}")).collect();
    for (n, names) in names.chunks(400).enumerate() {
        let entries: Vec<_> = names.iter().map(|name| (NOW, name.as_str(), 1, 1)).collect();
        let from = i64::try_from(n).unwrap();
        bench.apply("one", from, from + 1, &entries).unwrap();
    }
    bench.at(NOW + WINDOW + 1000);
    for (left, more) in [(700, true), (200, true), (0, false)] {
        assert_eq!(bench.tick().more, more);
        assert_eq!(bench.ask::<usize>(&["ZCARD", "top"]), left);
    }
}

#[test]
fn only_the_public_key_expires_one_window_after_the_last_call() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 1, &[(NOW, "a", 1, 1)]).unwrap();
    let ttl: i64 = bench.ask(&["PTTL", "top"]);
    assert!((WINDOW - 5000..=WINDOW).contains(&ttl), "{ttl}");
    for key in bench.ask::<Vec<String>>(&["KEYS", "{top}:*"]) {
        assert_eq!(bench.ask::<i64>(&["PTTL", &key]), -1, "{key}");
    }
}

#[test]
fn a_lost_public_key_is_written_again_from_the_totals() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 1, &[(NOW, "a", 1, 1), (NOW, "b", 2, 1)]).unwrap();
    bench.ask::<()>(&["DEL", "top"]);
    bench.apply("one", 1, 2, &[(NOW, "b", 3, 1)]).unwrap();
    assert_eq!(bench.top(), [("a".to_owned(), 1), ("b".to_owned(), 5)]);
}

/// GIVEN a lost public key of a ranking with 3,000 members
/// WHEN it is written again while batches change, add and remove members
/// THEN readers see nothing until all of it is there, and then the truth.
#[test]
fn a_large_public_key_is_written_again_in_chunks_and_never_served_half() {
    let mut bench = Bench::served();
    let names: Vec<String> = (0..3000).map(|n| format!("m{n:04}")).collect();
    let mut offset = 0;
    for names in names.chunks(500) {
        let entries: Vec<_> = names.iter().map(|name| (NOW, name.as_str(), 1000, 1)).collect();
        bench.apply("one", offset, offset + 1, &entries).unwrap();
        offset += 1;
    }
    bench.ask::<()>(&["DEL", "top"]);
    let mut truth: BTreeMap<String, i64> = names.iter().map(|name| (name.clone(), 1000)).collect();
    let mut calls = 0;
    loop {
        let (gone, new) = (names[2999 - calls].clone(), format!("new{calls}"));
        let changes = [(NOW, gone.as_str(), -1000, -1), (NOW, &names[calls], 7, 1), (NOW, &new, 3, 1)];
        let more = bench.apply("one", offset, offset + 1, &changes).unwrap().more;
        (offset, calls) = (offset + 1, calls + 1);
        truth.remove(&gone);
        truth.insert(names[calls - 1].clone(), 1007);
        truth.insert(new, 3);
        if !more {
            break;
        }
        assert_eq!(bench.ask::<usize>(&["EXISTS", "top"]), 0, "half a ranking is served");
    }
    assert!(calls >= 3, "{calls} calls are no chunks");
    assert_eq!(bench.top().into_iter().collect::<BTreeMap<_, _>>(), truth);
    assert!(!bench.ask::<Vec<String>>(&["HKEYS", "{top}:a"]).contains(&"rewrite".to_owned()));
}

/// GIVEN a cursor from before a restart, which means nothing to the new process
/// WHEN the public key is written again
/// THEN it begins at the beginning.
#[test]
fn a_cursor_of_another_process_is_not_continued() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 1, &[(NOW, "a", 1, 1), (NOW, "b", 2, 1)]).unwrap();
    bench.ask::<()>(&["DEL", "top"]);
    bench.ask::<()>(&["HSET", "{top}:a", "rewrite", "0123456789abcdef 7"]);
    bench.ask::<()>(&["ZADD", "{top}:a:ranking", "99", "stale"]);
    bench.tick();
    assert_eq!(bench.top(), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
}

/// GIVEN a served ranking and a greater need
/// WHEN an epoch is begun and filled
/// THEN readers see the old ranking until the last partition is at its target, and then the whole new one.
#[test]
fn the_call_that_brings_the_last_partition_to_its_target_swaps() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 1, &[(NOW, "old", 1, 1)]).unwrap();
    let two = NewEpoch { partitions: BTreeMap::from([(0, (0, 6)), (1, (3, 5))]), ..epoch("two") };
    assert_eq!(bench.begin("one", &two).unwrap().role, Role::Building);
    assert!(!bench.apply("two", 0, 6, &[(NOW, "new", 2, 1)]).unwrap().swapped);
    assert_eq!(bench.top(), [("old".to_owned(), 1)]);
    // The epoch that is served gets nothing more.
    assert_eq!(bench.apply("one", 1, 2, &[(NOW, "old", 1, 1)]), None);
    let last = BTreeMap::from([(1, slice(3, 5))]);
    let call = bench.functions.apply("two", &last, &BTreeMap::new(), &[], sums(&[(NOW, "more", 3, 1)]).into_iter());
    let done = bench.done(&call).unwrap();
    assert!(done.swapped && done.role == Role::Served);
    assert_eq!(bench.top(), [("new".to_owned(), 2), ("more".to_owned(), 3)]);
    assert_eq!(bench.ask::<Vec<String>>(&["KEYS", "{top}:a*"]), Vec::<String>::new(), "the old epoch is removed");
}

#[test]
fn the_old_ranking_slides_on_while_the_new_one_is_built() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 1, &[(NOW, "old", 1, 1), (NOW + 5000, "late", 1, 1)]).unwrap();
    bench.begin("one", &until("two", 9)).unwrap();
    bench.at(NOW + WINDOW + 1000).tick();
    assert_eq!(bench.top(), [("late".to_owned(), 1)]);
}

#[test]
fn an_empty_ranking_swapped_in_removes_the_public_key() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 1, &[(NOW, "old", 1, 1)]).unwrap();
    bench.begin("one", &until("two", 5)).unwrap();
    assert!(bench.apply("two", 0, 5, &[]).unwrap().swapped);
    assert_eq!(bench.ask::<usize>(&["EXISTS", "top"]), 0);
}

#[test]
fn an_epoch_begins_only_over_the_one_that_its_beginner_saw() {
    let mut bench = Bench::served();
    assert_eq!(bench.begin("", &epoch("two")), None);
    assert_eq!(bench.begin("another", &epoch("two")), None);
    assert_eq!(bench.state().current.unwrap().id, "one");
    bench.begin("one", &until("two", 5)).unwrap();
    // A second engine that saw the same need.
    assert_eq!(bench.begin("one", &until("three", 5)), None);
    assert_eq!(bench.state().current.unwrap().id, "two");
}

#[test]
fn beginning_another_epoch_discards_the_one_being_built() {
    let mut bench = Bench::served();
    bench.begin("one", &until("two", 5)).unwrap();
    bench.apply("two", 0, 1, &[(NOW, "discarded", 1, 1)]).unwrap();
    bench.begin("two", &until("three", 5)).unwrap();
    assert!(bench.apply("three", 0, 5, &[(NOW, "kept", 1, 1)]).unwrap().swapped);
    assert_eq!(bench.top(), [("kept".to_owned(), 1)]);
}

/// GIVEN a ranking whose clock was ahead
/// WHEN an epoch of the same pipeline begins, and one of another
/// THEN the first inherits the floor, the second has one of its own.
#[test]
fn the_same_pipeline_inherits_the_floor() {
    let mut bench = Bench::served();
    bench.at(NOW + 20_000).tick();
    assert_eq!(bench.at(NOW).begin("one", &until("two", 5)).unwrap().floor_ms, NOW + 20_000 - WINDOW);
    let mut other = until("three", 5);
    other.identity.fingerprint = "other".to_owned();
    assert_eq!(bench.begin("two", &other).unwrap().floor_ms, NOW - WINDOW);
}

/// GIVEN readers who have seen offset 10
/// WHEN an epoch begins whose targets were looked up before
/// THEN its targets are what readers have seen; offsets of another topic say nothing.
#[test]
fn targets_are_raised_to_the_progress_already_served() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 10, &[]).unwrap();
    assert!(!bench.begin("one", &until("two", 5)).unwrap().swapped);
    assert!(!bench.apply("two", 0, 9, &[]).unwrap().swapped);
    assert!(bench.apply("two", 9, 10, &[]).unwrap().swapped);
    let mut recreated = until("three", 5);
    recreated.identity.topic = "recreated".to_owned();
    bench.begin("two", &recreated).unwrap();
    assert!(bench.apply("three", 0, 5, &[]).unwrap().swapped);
}

/// GIVEN an epoch begun by a snapshot run
/// WHEN its targets are reached before the end of the run was read
/// THEN it is not served until then, and until the log as it was at that moment is read.
#[test]
fn after_a_snapshot_run_the_swap_waits_for_its_end() {
    let mut bench = Bench::served();
    let two = NewEpoch { boundary: Some(run_boundary()), ..until("two", 5) };
    assert!(!bench.begin("one", &two).unwrap().ended);
    assert!(!bench.apply("two", 0, 8, &[(NOW, "a", 1, 1)]).unwrap().swapped);
    let highs = BTreeMap::from([(0, 12), (7, 99)]);
    let call = bench.functions.apply("two", &BTreeMap::from([(0, slice(8, 9))]), &highs, &[], sums(&[]).into_iter());
    let done = bench.done(&call).unwrap();
    assert!(done.ended && !done.swapped);
    // Said again, later: the end is known already.
    let highs = BTreeMap::from([(0, 50)]);
    let call = bench.functions.apply("two", &BTreeMap::from([(0, slice(9, 12))]), &highs, &[], sums(&[]).into_iter());
    assert!(bench.done(&call).unwrap().swapped);
    assert_eq!(bench.state().current.unwrap().boundary, Some(Boundary { ended: true, ..run_boundary() }));
}

/// GIVEN sums near 2^53
/// WHEN a batch would exceed it, in the bucket or in the total or on its way
/// THEN the call is refused and nothing of it is applied.
#[test]
fn sums_beyond_two_to_the_53_are_refused_whole() {
    let mut bench = Bench::served();
    let max = (1_i128 << 53) - 1;
    let both = [(NOW, "both", max - 5, 1), (NOW + 1000, "both", 5 - max, 1)];
    bench.apply("one", 0, 1, &[(NOW, "a", max - 5, 1), (NOW, "low", 5 - max, 1), both[0], both[1]]).unwrap();
    let before = bench.dump();
    let total = [(NOW, "a", 6), (NOW + 1000, "a", 6), (NOW, "new", max + 1), (NOW, "new", i128::MAX / 2), (NOW, "low", -6)];
    // 2^53 + 1 reads as 2^53: the sum would fit, and be wrong by one.
    let (bucket, on_its_way) = ((NOW, "both", 6), (NOW, "low", max + 2));
    for (bucket, member, amount) in total.into_iter().chain([bucket, on_its_way]) {
        let call = bench.batch("one", 1, 2, &[(NOW, "bystander", 1, 1), (bucket, member, amount, 1)]);
        let error = bench.call(&call).unwrap_err();
        assert_eq!(error.code(), Some("OVERFLOW"), "{error}");
        assert_eq!(bench.dump(), before);
    }
    bench.apply("one", 1, 2, &[(NOW, "a", 5, 1)]).unwrap();
    assert_eq!(bench.ask::<String>(&["HGET", "{top}:a:totals", "a"]), "9007199254740991 2");
}

#[test]
fn integers_are_written_as_integers_whatever_their_size_or_sign() {
    let mut bench = Bench::served();
    let entries =
        [(NOW, "big", 1_000_000_000_000_001, 1), (NOW, "minus", -1_000_000_000_000_000, 1), (NOW, "zero", 0, 1), (NOW, "back", 7, 1)];
    bench.apply("one", 0, 1, &entries).unwrap();
    bench.apply("one", 1, 2, &[(NOW, "back", -7, 1), (NOW, "zero", 0, 1)]).unwrap();
    for (member, stored) in [("big", "1000000000000001 1"), ("minus", "-1000000000000000 1"), ("zero", "0 2"), ("back", "0 2")] {
        assert_eq!(bench.ask::<String>(&["HGET", "{top}:a:totals", member]), stored);
    }
    assert_eq!(bench.ask::<String>(&["ZSCORE", "top", "back"]), "0");
    let score: f64 = bench.ask::<String>(&["ZSCORE", "top", "big"]).parse().unwrap();
    assert_eq!(score, 1_000_000_000_000.001);
    // Withdrawing the zero of a drained entry must not become "-0".
    bench.at(NOW + WINDOW + 1000).tick();
    assert!(bench.top().is_empty());
}

#[test]
fn members_are_any_text_and_times_may_lie_before_1970() {
    let mut bench = Bench::start();
    bench.at(-500).begin("", &epoch("one")).unwrap();
    let members = ["", " ", "a:b", "0:1", "Ünïcode 😀", "line\nbreak", "nul\0byte", "-1", "1e3"];
    let entries: Vec<_> = members.iter().map(|member| (-1000, *member, 5, 1)).collect();
    bench.apply("one", 0, 1, &entries).unwrap();
    let mut seen: Vec<_> = bench.top().into_iter().map(|(member, _)| member).collect();
    seen.sort();
    let mut expected = members.map(str::to_owned);
    expected.sort();
    assert_eq!(seen, expected);
    bench.at(-1000 + WINDOW).tick();
    assert_eq!(bench.top().len(), members.len());
    bench.at(WINDOW).tick();
    assert!(bench.top().is_empty());
}

#[test]
fn a_call_has_at_most_500_entries() {
    let mut bench = Bench::served();
    let names: Vec<String> = (0..501).map(|n| format!("m{n}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (NOW, name.as_str(), 1, 1)).collect();
    bench.apply("one", 0, 1, &entries[..500]).unwrap();
    assert_eq!(bench.top().len(), 500);
    let call = bench.batch("one", 1, 2, &entries);
    assert_eq!(bench.call(&call).unwrap_err().code(), Some("LIMIT"));
}

/// GIVEN records that a batch parked
/// WHEN they are replayed, in part, again, as somebody saw them before, and in another epoch
/// THEN each row of them counts once.
#[test]
fn what_is_owed_counts_once() {
    let mut bench = Bench::served();
    bench.park(0, 9, &[(3, Sides::AFTER), (5, Sides::BOTH), (7, Sides::NONE)], &[(NOW, "a", 10, 1)]).unwrap();
    assert_eq!(bench.owed(&[3, 5, 7, 4]), [Some(Sides::AFTER), Some(Sides::BOTH), Some(Sides::NONE), None]);
    let before = bench.dump();
    for (epoch, offset, owed) in [("two", 3, Sides::AFTER), ("one", 3, Sides::BOTH), ("one", 4, Sides::AFTER), ("one", 7, Sides::BOTH)] {
        assert_eq!(bench.replay(epoch, offset, owed, Sides::NONE, &[(NOW, "a", 1, 1)]), None, "{epoch} {offset}");
    }
    assert_eq!(bench.dump(), before);

    bench.replay("one", 3, Sides::AFTER, Sides::NONE, &[(NOW, "a", 7, 1)]).unwrap();
    assert_eq!((bench.owed(&[3]), bench.top()), (vec![None], vec![("a".to_owned(), 17)]));
    bench.replay("one", 5, Sides::BOTH, Sides::BEFORE, &[(NOW, "b", 5, 1)]).unwrap();
    assert_eq!(bench.owed(&[5]), [Some(Sides::BEFORE)]);
    let before = bench.dump();
    assert_eq!(bench.replay("one", 3, Sides::AFTER, Sides::NONE, &[(NOW, "a", 7, 1)]), None);
    assert_eq!(bench.replay("one", 5, Sides::BOTH, Sides::BEFORE, &[(NOW, "b", 5, 1)]), None);
    assert_eq!(bench.dump(), before);
    bench.replay("one", 5, Sides::BEFORE, Sides::NONE, &[(NOW, "a", -10, -1)]).unwrap();
    assert_eq!(bench.top(), [("b".to_owned(), 5), ("a".to_owned(), 7)]);
    assert_eq!(bench.state().current.unwrap().progress[&0].next, 9, "a replay is no progress");
}

#[test]
fn what_is_owed_from_an_expired_bucket_is_late_and_owed_no_more() {
    let mut bench = Bench::served();
    bench.park(0, 9, &[(3, Sides::AFTER)], &[]).unwrap();
    let done = bench.replay("one", 3, Sides::AFTER, Sides::NONE, &[(NOW - WINDOW - 1000, "a", 7, 1)]).unwrap();
    assert_eq!((done.late, bench.top(), bench.owed(&[3])), (1, vec![], vec![None]));
}

/// GIVEN a row that was parked, and another one in its bucket
/// WHEN the first is withdrawn before it was ever added
/// THEN what is left in the bucket is not lost, and it comes out right when the row is replayed.
#[test]
fn a_bucket_without_rows_keeps_what_is_left_while_rows_are_owed() {
    let mut bench = Bench::served();
    bench.park(0, 1, &[(0, Sides::AFTER)], &[(NOW, "a", 3, 1)]).unwrap();
    bench.apply("one", 1, 2, &[(NOW, "a", -7, -1)]).unwrap();
    assert!(bench.top().is_empty());
    bench.replay("one", 0, Sides::AFTER, Sides::NONE, &[(NOW, "a", 7, 1)]).unwrap();
    assert_eq!(bench.top(), [("a".to_owned(), 3)]);
    // All at once: parked and withdrawn by one batch.
    bench.park(2, 3, &[(2, Sides::AFTER)], &[(NOW, "a", -7, -1)]).unwrap();
    bench.replay("one", 2, Sides::AFTER, Sides::NONE, &[(NOW, "a", 7, 1)]).unwrap();
    assert_eq!(bench.top(), [("a".to_owned(), 3)]);
}

#[test]
fn what_is_owed_dies_with_its_epoch() {
    let mut bench = Bench::served();
    bench.park(0, 9, &[(3, Sides::AFTER)], &[]).unwrap();
    bench.begin("one", &until("two", 9)).unwrap();
    assert_eq!(bench.owed(&[3]), [None], "the new epoch has not parked it yet");
    assert_eq!(bench.replay("one", 3, Sides::AFTER, Sides::NONE, &[(NOW, "a", 1, 1)]), None);
    assert!(bench.apply("two", 0, 9, &[]).unwrap().swapped);
    assert_eq!(bench.ask::<Vec<String>>(&["KEYS", "*:owed"]), Vec::<String>::new());
}

/// GIVEN an epoch that keeps as many dead letters as it may
/// WHEN more are parked
/// THEN they are counted, and room is made by a replay.
#[test]
fn dead_letters_without_room_are_counted() {
    let mut bench = Bench::served();
    let max = i64::try_from(OWED_MAX).unwrap();
    for from in (0..max).step_by(1000) {
        let owed: Vec<_> = (from..from + 1000).map(|offset| (offset, Sides::AFTER)).collect();
        assert_eq!(bench.park(from, from + 1000, &owed, &[]).unwrap().unkept, 0);
    }
    let more: Vec<_> = (max..max + 3).map(|offset| (offset, Sides::AFTER)).collect();
    assert_eq!(bench.park(max, max + 3, &more, &[]).unwrap().unkept, 3);
    assert_eq!(bench.state().current.unwrap().unkept, Some(3));
    assert_eq!(bench.owed(&[0, max - 1, max, max + 2]), [Some(Sides::AFTER), Some(Sides::AFTER), None, None]);
    bench.replay("one", 0, Sides::AFTER, Sides::NONE, &[]).unwrap();
    assert_eq!(bench.park(max + 3, max + 5, &[(max + 3, Sides::AFTER), (max + 4, Sides::AFTER)], &[]).unwrap().unkept, 4);
    assert_eq!(bench.owed(&[max + 3, max + 4]), [Some(Sides::AFTER), None]);
}

#[test]
fn somebody_elses_key_is_not_overwritten() {
    let mut bench = Bench::start();
    bench.ask::<()>(&["SET", "top", "precious"]);
    for call in [bench.functions.begin("", &epoch("one")), bench.functions.tick()] {
        assert_eq!(bench.call(&call).unwrap_err().code(), Some("KEYTYPE"));
    }
    assert_eq!(bench.ask::<String>(&["GET", "top"]), "precious");
    assert_eq!(bench.ask::<usize>(&["DBSIZE"]), 1);
}

#[test]
fn a_call_of_another_version_is_refused() {
    let mut bench = Bench::served();
    let before = bench.dump();
    let keys: Vec<String> = bench.ask(&["KEYS", "*"]);
    let error =
        redis::cmd("FCALL").arg("highwater_tick").arg(keys.len()).arg(keys).arg(VERSION + 1).arg("").query::<()>(&mut bench.connection);
    assert_eq!(error.unwrap_err().code(), Some("VERSION"));
    assert_eq!(bench.dump(), before);
}

#[test]
fn without_a_clock_of_the_caller_it_is_the_servers() {
    let mut bench = Bench::start();
    bench.functions.clock = Clock::Server;
    let floor = bench.begin("", &epoch("one")).unwrap().floor_ms;
    let time: Vec<i64> = bench.ask(&["TIME"]);
    let expected = time[0] * 1000 - WINDOW;
    assert!((expected - 5000..=expected).contains(&floor), "{floor} {expected}");
    assert!((time[0] * 1000..time[0] * 1000 + 5000).contains(&bench.state().now_ms));
}

/// GIVEN a Redis in cluster mode
/// WHEN all functions run
/// THEN no key is of another slot.
#[test]
fn all_keys_share_a_slot() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let mut connection = server.loaded();
    run::<()>(&mut connection, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    while !run::<String>(&mut connection, &["CLUSTER", "INFO"]).contains("cluster_state:ok") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let functions = Functions::new("a ranking:10min").at(NOW);
    let mut bench = Bench { server, connection, functions };
    bench.begin("", &epoch("one")).unwrap();
    bench.apply("one", 0, 1, &[(NOW, "a", 1, 1)]).unwrap();
    bench.begin("one", &until("two", 1)).unwrap();
    assert!(bench.apply("two", 0, 1, &[(NOW, "b", 1, 1)]).unwrap().swapped);
    bench.ask::<()>(&["DEL", "a ranking:10min"]);
    assert_eq!((bench.replay("two", 1, Sides::AFTER, Sides::NONE, &[]), bench.owed(&[1])), (None, vec![None]));
    bench.tick();
    assert_eq!(bench.ask::<Vec<String>>(&["ZRANGE", "a ranking:10min", "0", "-1"]), ["b"]);
}

/// GIVEN an applied batch
/// WHEN Redis is killed and started again
/// THEN the batch is there, and still counts once.
#[test]
fn what_was_applied_survives_a_restart_and_counts_once() {
    let mut bench = Bench::served();
    bench.apply("one", 0, 10, &[(NOW, "a", 8003, 1)]).unwrap();
    bench.server.kill();
    bench.server.restart();
    bench.connection = bench.server.connection();
    assert_eq!(Functions::version().query::<u32>(&mut bench.connection).unwrap(), VERSION, "the library is in the append-only file");
    assert_eq!(bench.apply("one", 0, 10, &[(NOW, "a", 8003, 1)]), None);
    assert_eq!(bench.top(), [("a".to_owned(), 8003)]);
}

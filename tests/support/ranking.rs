//! A ranking as it stands in Redis: what users read, and beside it the floor at which it is compared.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;

use super::redis_server::connect;
use super::scenario::RankingSink;
use super::{eventually, kafka, seconds};

/// Reads everything at one moment. KEYS[1] is the public key.
const READ: &str = r"
local letter = redis.call('HGET', '{' .. KEYS[1] .. '}:state', 'served')
local building = redis.call('HGET', '{' .. KEYS[1] .. '}:state', 'building')
if not letter then return {'none'} end
local epoch = '{' .. KEYS[1] .. '}:' .. letter
local floor = redis.call('HGET', epoch, 'floor')
return {building and 'building' or 'served', floor, redis.call('ZCOUNT', epoch .. ':expiry', '-inf', '(' .. floor),
  redis.call('HGETALL', epoch), redis.call('HGETALL', epoch .. ':totals'), redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'),
  redis.call('PTTL', KEYS[1])}
";

/// One look at a ranking.
#[derive(Debug)]
pub struct Seen {
    /// The stored window start, Unix milliseconds.
    pub floor_ms: i64,
    /// Entries that expired and are not drained yet.
    pub undrained: i64,
    /// Fields of the epoch's hash.
    pub epoch: BTreeMap<String, String>,
    /// Totals by member: amount in units of 10^-scale.
    pub totals: BTreeMap<String, i64>,
    /// The sorted set that users read, its scores in units of 10^-scale.
    pub public: BTreeMap<String, i64>,
    /// What is left of the public key's life.
    pub ttl_ms: i64,
    /// Another epoch is being built.
    pub building: bool,
}

/// A connection, and the ranking that is looked at.
pub struct Ranking {
    connection: MultiplexedConnection,
    sink: RankingSink,
}

type Reply = (String, Option<i64>, Option<i64>, BTreeMap<String, String>, BTreeMap<String, String>, Vec<(String, f64)>, i64);

impl Ranking {
    /// Connects.
    pub async fn open(url: &str, sink: &RankingSink) -> Self {
        Self { connection: connect(url).await, sink: sink.clone() }
    }

    /// What is there; none before the first epoch is served.
    pub async fn look(&self) -> Option<Seen> {
        let mut connection = self.connection.clone();
        let value: redis::Value = redis::cmd("EVAL").arg(READ).arg(1).arg(&self.sink.key).query_async(&mut connection).await.unwrap();
        if let redis::Value::Array(parts) = &value
            && parts.len() == 1
        {
            return None;
        }
        let (state, floor, undrained, epoch, totals, public, ttl_ms): Reply = redis::from_redis_value(value).unwrap();
        let amount = |pair: &str| pair.split(' ').next().unwrap().parse().unwrap();
        let unit = 10f64.powi(i32::try_from(self.sink.scale).unwrap());
        #[allow(clippy::cast_possible_truncation, reason = "totals stay below 2^53")]
        let scaled = |score: f64| (score * unit).round() as i64;
        Some(Seen {
            floor_ms: floor.unwrap(),
            undrained: undrained.unwrap(),
            epoch,
            totals: totals.iter().map(|(member, pair)| (member.clone(), amount(pair))).collect(),
            public: public.into_iter().map(|(member, score)| (member, scaled(score))).collect(),
            ttl_ms,
            building: state == "building",
        })
    }

    /// Waits until a served epoch, and no other, has read the topic to its end and drained what expired.
    pub async fn wait_read(&self, kafka: &str, topic: &str) -> Seen {
        eventually(&format!("the ranking has read {topic} to its end"), seconds(90), async || {
            let ends = kafka::ends(kafka, topic);
            let seen = self.look().await.ok_or("no epoch is served")?;
            let next: BTreeMap<i32, i64> = ends.keys().map(|p| (*p, seen.next(*p))).collect();
            match () {
                () if seen.building => Err("an epoch is being built".to_owned()),
                () if next != ends => Err(format!("progress {next:?}, ends {ends:?}")),
                () if seen.undrained > 0 => Err(format!("{} expired entries", seen.undrained)),
                () => Ok(seen),
            }
        })
        .await
    }
}

impl Seen {
    /// The stored progress of a partition; zero before there is any.
    pub fn next(&self, partition: i32) -> i64 {
        self.epoch.get(&format!("next:{partition}")).map_or(0, |next| next.parse().unwrap())
    }
}

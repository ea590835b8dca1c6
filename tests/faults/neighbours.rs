//! Everything that the engines of a trial talk to, each behind a proxy, and a Redis of the trial's own.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};

use super::proxy::Proxy;
use crate::support::redis_server::RedisServer;
use crate::support::stack::lock_file;
use crate::support::stage::Stage;

/// The proxies; transparent at first.
pub struct Neighbours {
    /// Before the trial's own server.
    pub redis: Proxy,
    /// Before the broker.
    pub kafka: Proxy,
    /// Before the database, for the engines alone: writers and Debezium do not come this way.
    pub postgres: Proxy,
    /// Before the receiver.
    pub receiver: Proxy,
    /// That no other trial takes the same listener of the broker.
    _place: File,
}

/// That port on loopback.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Neighbours {
    /// Puts a proxy before each; the pipeline file leads the engines there.
    pub fn stand_between(stage: &Stage, redis: &RedisServer) -> Self {
        let stack = &stage.stack;
        let (user, place) = stack.postgres.split_once('@').unwrap();
        let (server, database) = place.split_once('/').unwrap();
        let ((listener, advertised), place) = stack.kafka_proxied.iter().find_map(|pair| Some((pair, free_place(&pair.1)?))).unwrap();
        let neighbours = Self {
            redis: Proxy::start(loopback(redis.port())),
            kafka: Proxy::start_on(advertised.parse().unwrap(), listener.parse().unwrap()),
            postgres: Proxy::start(server.parse().unwrap()),
            receiver: Proxy::start(loopback(stage.receiver.port())),
            _place: place,
        };
        let mut pipeline = std::fs::read_to_string(&stage.pipeline).unwrap();
        for (old, new) in [
            ("${REDIS_URL}", format!("redis://{}", neighbours.redis.address())),
            ("${KAFKA_BROKERS}", advertised.clone()),
            ("${DATABASE_URL}", format!("{user}@{}/{database}", neighbours.postgres.address())),
            (stage.receiver.url().as_str(), format!("http://{}/webhook", neighbours.receiver.address())),
        ] {
            assert!(pipeline.contains(old), "no {old} in {pipeline}");
            pipeline = pipeline.replace(old, &new);
        }
        std::fs::write(&stage.pipeline, pipeline).unwrap();
        neighbours
    }
}

/// A lock on an address where the broker tells its clients to come; none when another trial has it, which need not be listening there just now.
fn free_place(advertised: &str) -> Option<File> {
    let lock = lock_file(&format!("proxy-{advertised}"));
    lock.try_lock().ok().map(|()| lock)
}

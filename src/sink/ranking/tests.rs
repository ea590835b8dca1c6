//! The ranking against a real Redis: the function library by itself, beside a model of it, and the sink with a log in memory.
#![allow(clippy::unwrap_used)]

mod attack;

mod config;

mod library;

mod model;

mod redis_server;

mod sink;

mod world;

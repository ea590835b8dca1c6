//! The receiver over real HTTP on loopback: in this process where that is enough, as a process of its own where it is killed.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

mod webhook;

mod storage;

mod reading;

mod crash;

mod dashboard;

mod interoperability;

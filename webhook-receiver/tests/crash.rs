//! kill -9 while requests pour in: what was acknowledged is there, once, and the counters agree with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::process::Process;
use crate::support::temp_dir::TempDir;
use crate::support::{Sender, event, row};

const LIVES: u64 = 8;
const SENDERS: u64 = 12;
const EVENTS_PER_REQUEST: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_event_is_lost_by_kill_9() {
    let directory = TempDir::new("kill");
    let db = directory.path().join("r.sqlite");
    let (mut acknowledged, mut sent) = (BTreeSet::new(), BTreeSet::new());
    let next = Arc::new(AtomicU64::new(0));
    for life in 0..LIVES {
        let process = Process::start(&db);
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(send_until_it_dies(Sender::to(process.address), Arc::clone(&next)));
        }
        tokio::time::sleep(Duration::from_millis(150 + 40 * life)).await;
        process.kill();
        for (of_sender, sent_by) in senders.join_all().await {
            acknowledged.extend(of_sender);
            sent.extend(sent_by);
        }
    }
    assert!(acknowledged.len() > 200, "only {} events were acknowledged", acknowledged.len());

    let process = Process::start(&db);
    let sender = Sender::to(process.address);
    let lines = sender.export().await;
    let stored: BTreeSet<u64> = lines.iter().map(|line| line["id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(stored.len(), lines.len(), "an id is stored twice");
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "{} acknowledged events are lost: {lost:?}", lost.len());
    assert!(stored.is_subset(&sent));
    // A request is stored whole or not at all.
    let mut requests: Vec<u64> = stored.iter().map(|id| id / EVENTS_PER_REQUEST).collect();
    requests.dedup();
    assert_eq!(requests.len() as u64 * EVENTS_PER_REQUEST, stored.len() as u64);
    let stats = sender.stats().await;
    assert_eq!(stats["unique"], stored.len());
    assert_eq!(stats["per_event_type"], json!({ "play": stored.len() }));
    println!("{} acknowledged, {} stored, {} sent in {LIVES} lives", acknowledged.len(), stored.len(), sent.len());

    // Everything again, as a sender that did not hear the answers would do it.
    let ids: Vec<u64> = sent.iter().copied().collect();
    let (mut new, mut repeated) = (0, 0);
    for ids in ids.chunks(500) {
        let events: Vec<Value> = ids.iter().map(|id| numbered(*id)).collect();
        let (stored, duplicates, conflicts) = sender.deliver(&events).await;
        assert_eq!(conflicts, 0);
        new += stored;
        repeated += duplicates;
    }
    assert_eq!((new, repeated), ((sent.len() - stored.len()) as u64, stored.len() as u64));
    assert_eq!(sender.export().await.len(), sent.len());
    let (status, _) = process.terminate();
    assert_eq!(status.code(), Some(0));
}

/// The ids that were acknowledged, and all that were sent.
async fn send_until_it_dies(sender: Sender, next: Arc<AtomicU64>) -> (Vec<u64>, Vec<u64>) {
    let (mut acknowledged, mut sent) = (Vec::new(), Vec::new());
    loop {
        let first = next.fetch_add(1, Ordering::Relaxed) * EVENTS_PER_REQUEST;
        let ids = first..first + EVENTS_PER_REQUEST;
        let events: Vec<Value> = ids.clone().map(numbered).collect();
        sent.extend(ids.clone());
        let body = serde_json::to_vec(&events).unwrap();
        match sender.signed(body).send().await {
            Ok(response) if response.status() == 200 => acknowledged.extend(ids),
            Ok(response) => panic!("{}", response.status()),
            Err(_) => return (acknowledged, sent),
        }
    }
}

fn numbered(id: u64) -> Value {
    event(&id.to_string(), "insert", row("c-1", "play", "web"))
}

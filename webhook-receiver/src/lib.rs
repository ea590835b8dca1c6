//! An external system for Highwater's webhooks: verifies them, stores every event once, and shows what came in.
//!
//! In the order in which a request meets them: [`server`] (connections), [`http`] (routes), [`signature`] (who sent it),
//! [`cloudevent`] (what it says), [`store`] (SQLite, one writer, durable before it is acknowledged), [`tally`] (the numbers).
//!
//! Promised: a request that was answered 200 is stored, also after `kill -9` and a power failure, each event id once; a request
//! that was answered anything else left no event behind, or (after a time-out) is recognised when it is sent again. Not done:
//! TLS, authentication of readers, and deleting old events.

pub mod server;

pub mod http;

pub mod signature;

pub mod cloudevent;

pub mod store;

pub mod tally;

pub mod rejection;
pub mod series;
pub mod settings;
pub mod timestamp;

#[cfg(test)]
#[allow(clippy::unwrap_used, missing_docs)]
#[path = "../tests/support/temp_dir.rs"]
mod testing;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use settings::Settings;
use store::Store;

/// How long requests that are under way may go on after the order to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Screens are told about changes at most this often, ...
const LIVE_INTERVAL: Duration = Duration::from_millis(250);
/// ... and at least this often, because the rate changes also when nothing comes in.
const LIVE_IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Counters of rejected requests are written at most this often.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Why the receiver ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened, or its writer is gone.
    #[error("the event store failed")]
    Store(#[from] store::Error),
    /// The listener has no address.
    #[error("the listener failed")]
    Listener(#[from] std::io::Error),
}

/// Serves `listener` until `shutdown` ends; then finishes the requests under way, saves everything and returns.
///
/// # Errors
/// The file cannot be used, or can no longer be written by this process.
pub async fn run(listener: TcpListener, settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let (db, db_bytes_max) = (settings.db.clone(), settings.db_bytes_max);
    let opened = tokio::task::spawn_blocking(move || Store::open(&db, db_bytes_max)).await;
    let store = opened.map_err(|_| store::Error::Stopped)??;
    let address = listener.local_addr()?;
    tracing::info!(%address, db = %settings.db.display(), events = store.stats().unique, "listening");

    let (live, screens) = watch::channel(http::LiveJson::default());
    let router = http::router(store.clone(), &settings, screens);
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(server::serve(listener, router, stopped, DRAIN_TIMEOUT));
    let pulse = tokio::spawn(pulse(store.clone(), live));
    let saver = tokio::spawn(save_rejections(store.clone()));

    let outcome = tokio::select! {
        () = shutdown => Ok(()),
        () = store.stopped() => Err(store::Error::Stopped.into()),
    };
    // Ends the streams to screens, which would otherwise be requests without end.
    pulse.abort();
    saver.abort();
    stop.send_replace(true);
    if server.await.is_err() {
        tracing::warn!("the server ended early");
    }
    store.close().await;
    tracing::info!(events = store.stats().unique, "stopped");
    outcome
}

/// Builds what the screens show once for all of them, and only while somebody looks.
async fn pulse(store: Store, live: watch::Sender<http::LiveJson>) {
    loop {
        let _ = tokio::time::timeout(LIVE_IDLE_INTERVAL, store.changed()).await;
        if live.receiver_count() > 1 {
            live.send_replace(http::live_json(&store));
        }
        tokio::time::sleep(LIVE_INTERVAL).await;
    }
}

async fn save_rejections(store: Store) {
    loop {
        tokio::time::sleep(SAVE_INTERVAL).await;
        store.save_rejections().await;
    }
}

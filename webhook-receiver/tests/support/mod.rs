//! A receiver to talk to, a sender that signs, and events to send.

pub mod browser;
pub mod process;
pub mod temp_dir;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use webhook_receiver::settings::Settings;
use webhook_receiver::signature::Secret;

use temp_dir::TempDir;

pub const SECRET: &str = "whsec_dGhpcnR5LXR3byBieXRlcyBvZiBub3QgcmFuZG9tISE=";
pub const BATCH: &str = "application/cloudevents-batch+json";
pub const SINGLE: &str = "application/cloudevents+json";

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A receiver in this process, on a free port and a new file.
pub struct Receiver {
    pub address: SocketAddr,
    pub settings: Settings,
    pub directory: TempDir,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), webhook_receiver::Error>>,
}

impl Receiver {
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, |_| ()).await
    }

    pub async fn start_with(name: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let directory = TempDir::new(name);
        let mut settings = Settings::new(directory.path().join("receiver.sqlite"), SECRET.parse().unwrap());
        change(&mut settings);
        Self::open(directory, settings).await
    }

    async fn open(directory: TempDir, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let run = webhook_receiver::run(listener, settings.clone(), async {
            let _ = stopped.await;
        });
        let ended = tokio::spawn(run);
        Self { address, settings, directory, stop, ended }
    }

    /// Stops it in good order; the file stays.
    pub async fn stop(self) -> (TempDir, Settings) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
        (self.directory, self.settings)
    }

    pub async fn restart(self) -> Self {
        let (directory, settings) = self.stop().await;
        Self::open(directory, settings).await
    }

    pub fn sender(&self) -> Sender {
        Sender::to(self.address)
    }
}

/// Sends as Highwater does.
#[derive(Clone)]
pub struct Sender {
    pub base: String,
    pub client: Client,
    secret: Secret,
}

impl Sender {
    pub fn to(address: SocketAddr) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { base: format!("http://{address}"), client, secret: SECRET.parse().unwrap() }
    }

    pub fn signed(&self, body: impl Into<Vec<u8>>) -> RequestBuilder {
        self.signed_at(now_s(), body)
    }

    pub fn signed_at(&self, sent_s: u64, body: impl Into<Vec<u8>>) -> RequestBuilder {
        let (body, sent) = (body.into(), sent_s.to_string());
        self.client
            .post(format!("{}/webhook", self.base))
            .header("content-type", BATCH)
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", &sent)
            .header("webhook-signature", self.secret.sign("msg_1", &sent, &body))
            .body(body)
    }

    pub async fn send(&self, events: &[Value]) -> Response {
        self.signed(serde_json::to_vec(events).unwrap()).send().await.unwrap()
    }

    /// Sends events that must be acknowledged; returns (stored, duplicates, conflicts).
    pub async fn deliver(&self, events: &[Value]) -> (u64, u64, u64) {
        let response = self.send(events).await;
        assert_eq!(response.status(), 200);
        let receipt: Value = parse(response).await;
        let number = |name: &str| receipt[name].as_u64().unwrap();
        (number("stored"), number("duplicates"), number("conflicts"))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    pub async fn get_json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        parse(response).await
    }

    pub async fn stats(&self) -> Value {
        self.get_json("/stats").await
    }

    /// Every line of the export.
    pub async fn export(&self) -> Vec<Value> {
        let text = self.get("/export").await.text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub async fn parse(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// An event of the demo pipeline.
pub fn event(id: &str, op: &str, after: Value) -> Value {
    let (before, after) = if op == "delete" { (after, Value::Null) } else { (Value::Null, after) };
    json!({
        "specversion": "1.0", "id": id, "source": "highwater/engagement", "type": format!("highwater.row.{op}"),
        "subject": id, "time": "2026-01-15T10:30:00.000001Z", "datacontenttype": "application/json",
        "data": { "op": op, "before": before, "after": after },
    })
}

/// A row of the demo pipeline.
pub fn row(content_id: &str, event_type: &str, device: &str) -> Value {
    json!({
        "id": 1, "content_id": content_id, "user_id": "u-1", "event_type": event_type,
        "event_ts": "2026-01-15T10:30:00+00:00", "device": device, "content_type": "podcast",
        "length_seconds": 1800, "engagement_seconds": 8.003, "engagement_pct": 0.0044,
    })
}

pub fn insert(id: &str) -> Value {
    event(id, "insert", row("c-1", "play", "web"))
}

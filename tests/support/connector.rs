//! A Debezium connector of a test's own, with the settings of the one in `connectors/`.

use std::path::Path;

use reqwest::Method;
use serde_json::{Map, Value};

use super::database::Database;
use super::stack::{Stack, root};
use super::{eventually, http, seconds};

/// The connector that the stack registers for the demo.
const SHIPPED: &str = "engagement-events-connector";

/// One connector with a slot, a publication and a prefix of its own, all named alike.
pub struct Connector {
    url: String,
    name: String,
    settings: Map<String, Value>,
}

/// What failed tests left behind: connectors, which cost time, and slots, which keep the WAL. Those of other processes that live stay.
pub async fn sweep(stack: &Stack, database: &Database) {
    let list =
        eventually("Connect lists its connectors", seconds(60), async || http::get(&format!("{}/connectors", stack.connect)).await).await;
    for name in serde_json::from_str::<Vec<String>>(&list).unwrap() {
        let owner = name.rsplit('_').next().and_then(|pid| pid.parse::<u32>().ok());
        let of_another = owner.is_some_and(|pid| pid != std::process::id() && Path::new(&format!("/proc/{pid}")).exists());
        if name != SHIPPED && !of_another {
            Connector { url: format!("{}/connectors/{name}", stack.connect), name, settings: Map::new() }.clean_up(database).await;
        }
    }
}

impl Connector {
    /// Captures these tables of `public`. `settings` are put over those of the repository's connector.
    pub fn new(stack: &Stack, name: &str, tables: &[&str], settings: &[(&str, &str)]) -> Self {
        let shipped = std::fs::read_to_string(root().join(format!("connectors/{SHIPPED}.json"))).unwrap();
        let mut all: Map<String, Value> = serde_json::from_str(&shipped).unwrap();
        let tables: Vec<_> = tables.iter().map(|table| format!("public.{table}")).collect();
        // Where many connectors share the worker, each looks less often for what it has to send.
        if let Ok(interval) = std::env::var("HIGHWATER_TEST_POLL_MS") {
            all.insert("poll.interval.ms".to_owned(), Value::from(interval));
        }
        let own = [("topic.prefix", name), ("slot.name", name), ("publication.name", name), ("table.include.list", &tables.join(","))];
        for (key, value) in own.iter().chain(settings) {
            all.insert((*key).to_owned(), Value::from(*value));
        }
        Self { url: format!("{}/connectors/{name}", stack.connect), name: name.to_owned(), settings: all }
    }

    /// Puts settings over those it has; they hold when it is created again.
    pub fn set(&mut self, settings: &[(&str, &str)]) {
        for (key, value) in settings {
            self.settings.insert((*key).to_owned(), Value::from(*value));
        }
    }

    /// Creates it and waits until its task runs.
    pub async fn create(&self) {
        let settings = Value::from(self.settings.clone()).to_string();
        // 409 while the worker rebalances.
        eventually("Connect takes the connector", seconds(60), async || {
            match http::request(Method::PUT, &format!("{}/config", self.url), Some(settings.clone())).await? {
                (200 | 201, _) => Ok(()),
                (status, body) => Err(format!("{status} {body}")),
            }
        })
        .await;
        self.wait_running().await;
    }

    /// Waits until the connector and its task run.
    pub async fn wait_running(&self) {
        eventually("the connector runs", seconds(60), async || {
            let status = http::get(&format!("{}/status", self.url)).await?;
            if status.contains("FAILED") {
                let restart = format!("{}/restart?includeTasks=true&onlyFailed=true", self.url);
                drop(http::request(Method::POST, &restart, None).await);
            }
            let parsed: Value = serde_json::from_str(&status).map_err(|error| error.to_string())?;
            let running = parsed["connector"]["state"] == "RUNNING" && parsed["tasks"][0]["state"] == "RUNNING";
            if running { Ok(()) } else { Err(status.chars().take(800).collect()) }
        })
        .await;
    }

    /// Has its task end and start again.
    pub async fn restart(&self) {
        self.ask(Method::POST, "restart?includeTasks=true", &[200, 202, 204]).await;
    }

    /// Has its task end in good order.
    pub async fn stop(&self) {
        self.ask(Method::PUT, "stop", &[204]).await;
        eventually("the task has ended", seconds(60), async || {
            let status = http::get(&format!("{}/status", self.url)).await?;
            if status.contains("\"tasks\":[]") { Ok(()) } else { Err(status) }
        })
        .await;
    }

    /// Has it go on after a stop.
    pub async fn resume(&self) {
        self.ask(Method::PUT, "resume", &[202]).await;
        self.wait_running().await;
    }

    async fn ask(&self, method: Method, path: &str, wanted: &[u16]) {
        eventually(path, seconds(60), async || match http::request(method.clone(), &format!("{}/{path}", self.url), None).await? {
            (status, _) if wanted.contains(&status) => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        })
        .await;
    }

    /// Deletes it; slot, publication and Connect's stored offsets for it stay.
    pub async fn delete(&self) {
        eventually("the connector is deleted", seconds(60), async || match http::request(Method::DELETE, &self.url, None).await? {
            (204 | 404, _) => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        })
        .await;
    }

    /// Deletes it with its stored offsets, its slot and its publication, so that the next one begins with a snapshot.
    pub async fn delete_wholly(&self, database: &Database) {
        self.ask(Method::PUT, "stop", &[204]).await;
        // Refused until the tasks have ended.
        self.ask(Method::DELETE, "offsets", &[200]).await;
        self.delete().await;
        self.drop_slot(database).await;
    }

    async fn drop_slot(&self, database: &Database) {
        let drop_slot =
            format!("SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE slot_name = '{}'", self.name);
        // In use until the walsender has noticed.
        eventually("the slot is dropped", seconds(30), async || database.try_value(&drop_slot).await).await;
        database.run(&format!("DROP PUBLICATION IF EXISTS {}", self.name)).await;
    }

    /// Best effort, at the end of a test: a slot that nobody reads keeps the WAL.
    pub async fn clean_up(&self, database: &Database) {
        self.delete().await;
        self.drop_slot(database).await;
    }
}

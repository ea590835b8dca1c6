//! `[sink.verify]`: the ranking is compared with SQL now and then while it is live, and the metrics tell.
//!
//! It runs in the background on the pipeline's runtime, never on a lane's thread, and touches nothing that a lane uses: connections, sessions and statements are its
//! own, and all have limits. Engines that share a ranking take turns: an advisory lock of Postgres lets one comparison of a ranking run at a time. A difference is
//! logged when it appears and when it is gone; what merely is on its way is no difference ([`super::verify`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::config::{Layout, VerifyConfig};
use super::server::Session;
use super::verify::{Failure, Verified, Verifier};
use crate::catalog::{self, Database};
use crate::config::SecretUrl;
use crate::metrics::LaneMetrics;

/// Members that a log line names.
const NAMED_MAX: usize = 5;
/// How soon to ask again whether another engine's comparison is over.
const TURN_WAIT: Duration = Duration::from_millis(250);

/// One ranking, compared on a schedule.
pub struct Schedule {
    /// When, and for how long.
    pub verify: VerifyConfig,
    /// The Redis that holds it.
    pub redis: SecretUrl,
    /// The key that users read.
    pub key: String,
    /// How rows become amounts.
    pub layout: Layout,
    /// The pipeline's SELECT.
    pub sql: String,
    /// Where the rows are.
    pub postgres: SecretUrl,
    /// The lane's metrics.
    pub metrics: Arc<LaneMetrics>,
}

/// What was logged last.
#[derive(Default)]
struct Said {
    differs: bool,
    fails: bool,
}

impl Schedule {
    /// Until `shutdown`, or until whoever could say so is gone.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        tokio::select! {
            () = self.compare_for_ever() => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }

    async fn compare_for_ever(&self) {
        let every = self.verify.every.get();
        let mut said = Said::default();
        loop {
            // Between two of its own, so that other engines have their turn however long one takes.
            sleep(every).await;
            match self.compare_in_turn().await {
                Ok(found) => self.tell(&found, &mut said),
                // Before the first epoch, or while an edited pipeline's is being built.
                Err(Failure::NoRanking(_)) => {}
                Err(failure) => {
                    self.metrics.verify_failed();
                    if !std::mem::replace(&mut said.fails, true) {
                        let (pipeline, sink) = self.names();
                        warn!(pipeline, sink, %failure, "the ranking cannot be compared with SQL; trying again each time it is due");
                    }
                }
            }
        }
    }

    fn names(&self) -> (&str, &str) {
        (&self.metrics.pipeline, &self.metrics.sink)
    }

    /// Compares when no other engine does. The lock ends with its session, whatever happens.
    async fn compare_in_turn(&self) -> Result<Verified, Failure> {
        let (pipeline, sink) = self.names();
        let lock = self.database()?;
        let mut connection = lock.connection().await?;
        loop {
            let take = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1, 0))";
            let taken = sqlx::query_scalar(take).bind(format!("highwater.verify.{pipeline}.{sink}")).fetch_one(&mut *connection);
            let ours: bool = lock.within(async { taken.await.map_err(catalog::Error::from) }).await?;
            if ours {
                break;
            }
            sleep(TURN_WAIT).await;
        }
        let result = self.compare().await;
        drop(connection);
        lock.close().await;
        result
    }

    async fn compare(&self) -> Result<Verified, Failure> {
        let session = Session::open_to_read(&self.redis).await?;
        let database = self.database()?;
        Verifier { session, key: &self.key, layout: &self.layout, database, sql: &self.sql }.verify().await
    }

    fn database(&self) -> Result<Database, catalog::Error> {
        Database::with_timeout(&self.postgres, self.verify.timeout.get())
    }

    fn tell(&self, found: &Verified, said: &mut Said) {
        let largest = as_score(found.largest(), self.layout.scale);
        let differing: Vec<_> = found.differing().collect();
        self.metrics.verified(found.members, differing.len(), largest);
        let (pipeline, sink) = self.names();
        if std::mem::take(&mut said.fails) {
            info!(pipeline, sink, "the ranking can be compared with SQL again");
        }
        match (differing.is_empty(), said.differs) {
            (false, false) => {
                let first = differing[..differing.len().min(NAMED_MAX)].join(", ");
                warn!(pipeline, sink, members = differing.len(), largest, first, "the ranking differs from SQL; see `highwater verify`");
            }
            (true, true) => info!(pipeline, sink, members = found.members, "the ranking equals SQL again"),
            _ => {}
        }
        said.differs = !differing.is_empty();
    }
}

/// Units of 10^-scale as a score.
#[allow(clippy::cast_precision_loss, reason = "a gauge")]
fn as_score(units: i128, scale: u8) -> f64 {
    units as f64 / 10_f64.powi(i32::from(scale))
}

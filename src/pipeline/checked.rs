//! For commands beside the engines: a pipeline whose check is fine, and its SELECT as a lane has it.

use std::fmt::Display;
use std::sync::Arc;

use highwater_sql::{Plan, parse};
use tokio::runtime::Handle;

use crate::catalog::{self, Database};
use crate::check::watch::Witness;
use crate::check::{self, State};
use crate::config::PipelineConfig;
use crate::lane::Select;
use crate::lookup::{Lookups, Rows};
use crate::metrics::{LaneMetrics, Metrics};
use crate::sink::Policy;

/// A pipeline whose check is fine.
pub struct Checked<'c> {
    /// Its file.
    pub config: &'c PipelineConfig,
    /// Its SELECT over the tables as they are.
    pub plan: Arc<Plan>,
    /// The topic of its source.
    pub topic: String,
    /// Metrics that nobody reads.
    pub metrics: Metrics,
    database: Database,
    witness: Witness,
}

impl<'c> Checked<'c> {
    /// Checks it. An error says what is not fine.
    pub async fn new(config: &'c PipelineConfig) -> Result<Self, String> {
        let text = |error: &dyn Display| error.to_string();
        let report = check::check(config).await;
        let fine = report.facts.iter().all(|fact| fact.state <= State::Warning);
        let Some(plan) = report.plan.filter(|_| fine) else {
            return Err("its check is not fine; see `highwater check`".to_owned());
        };
        let topic = config.topic(&plan.source.schema, &plan.source.name);
        let database = Database::new(&config.source.postgres).map_err(|e| text(&e))?;
        let names = parse::tables(&config.select.sql).map_err(|e| text(&e))?;
        let defined = database.within(catalog::definition(&database, &names, &plan.source)).await.map_err(|e| text(&e))?;
        // What the check saw is what this run is over: nobody asks again.
        let witness = Witness::that_asked(defined.source_by);
        Ok(Self { config, plan, topic, metrics: Metrics::new().map_err(|e| text(&e))?, database, witness })
    }

    /// The lane's metrics.
    pub fn lane(&self, sink: &str) -> Arc<LaneMetrics> {
        Arc::new(LaneMetrics::new(self.metrics.clone(), &self.config.name, sink))
    }

    /// The lane's SELECT. Nobody follows the changes of lookup rows: they are read from Postgres for each batch, as they are then.
    pub fn select(&self, policy: Policy, sink: &str) -> Select {
        let lookups = Lookups::new(&self.config.name, &self.plan, self.database.clone(), &self.metrics);
        Select {
            plan: Arc::clone(&self.plan),
            lookups: Rows::Live(Arc::new(lookups)),
            policy,
            witness: self.witness.clone(),
            shared: Handle::current(),
            metrics: self.lane(sink),
        }
    }
}

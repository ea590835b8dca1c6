//! One life of a ranking's state: whether it can be continued, and how another begins.

use std::collections::BTreeMap;

use tracing::warn;

use super::config::Layout;
use super::function::{Epoch, Identity, NewEpoch, State};
use crate::progress::Boundary;
use crate::sink::Error;
use crate::sink::webhook::time::rfc3339;
use crate::source::{self, Log};

/// Why an epoch begins; a label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no state.
    Missing,
    /// The pipeline was edited.
    Edited,
    /// The topic was created again.
    Recreated,
    /// Redis restarted or was promoted: its log may have been cut in the middle of a call.
    Restarted,
    /// A snapshot run.
    Snapshot,
    /// A truncate.
    Truncate,
    /// An operator asked for it.
    Replay,
}

impl Reason {
    /// The value of the label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Edited => "edited",
            Self::Recreated => "topic_recreated",
            Self::Restarted => "redis_restarted",
            Self::Snapshot => "snapshot",
            Self::Truncate => "truncate",
            Self::Replay => "replay",
        }
    }
}

/// What to do about the stored epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on with it.
    Adopt,
    /// Begin another.
    Begin(Reason),
    /// It is another pipeline's, begun after this engine started.
    FencedByPipeline,
    /// It is of another topic, begun or created after this engine started.
    FencedByTopic,
}

/// Whether the stored epoch is ours to continue. Only a starting engine replaces what another pipeline or topic left: two that
/// run would replace each other for ever.
pub fn decide(current: Option<&Epoch>, mine: &Identity, starting: bool) -> Decision {
    let Some(current) = current else { return Decision::Begin(Reason::Missing) };
    match (&current.identity, starting) {
        (stored, false) if stored.fingerprint != mine.fingerprint => Decision::FencedByPipeline,
        (stored, true) if stored.fingerprint != mine.fingerprint => Decision::Begin(Reason::Edited),
        (stored, false) if stored.topic != mine.topic => Decision::FencedByTopic,
        (stored, true) if stored.topic != mine.topic => Decision::Begin(Reason::Recreated),
        (stored, _) if stored.run_id != mine.run_id => Decision::Begin(Reason::Restarted),
        _ => Decision::Adopt,
    }
}

/// The boundary that a new epoch keeps of the one before: none of another topic, whose records are not in this one.
pub fn carried(current: Option<&Epoch>, topic: &str) -> Option<Boundary> {
    current.filter(|epoch| epoch.identity.topic == topic)?.boundary.clone()
}

/// The window's start that the function will store for a new epoch, or an earlier one, Unix milliseconds.
pub fn floor_ms(layout: &Layout, state: &State, fingerprint: &str) -> i64 {
    let start_ms = state.now_ms.saturating_sub(signed(layout.window_ms));
    let floor_ms = start_ms - start_ms.rem_euclid(signed(layout.bucket_ms));
    let current = state.current.as_ref().filter(|current| current.identity.fingerprint == fingerprint);
    current.map_or(floor_ms, |current| floor_ms.max(current.floor_ms))
}

/// From when on records are read for a window that starts at this floor; `from_ms` may only be earlier. Unix milliseconds.
pub fn since_ms(layout: &Layout, floor_ms: i64, from_ms: Option<i64>) -> Result<i64, Error> {
    let needed_ms = floor_ms.saturating_sub(signed(layout.ahead_ms));
    match from_ms {
        Some(from_ms) if from_ms > needed_ms => {
            let moment = |ms: i64| rfc3339(ms.saturating_mul(1000)).unwrap_or_else(|| ms.to_string());
            let message = format!(
                "the ranking's window needs the records since {} (window and ahead): begun at {} it would lack rows, or withdraw some that were not added",
                moment(needed_ms),
                moment(from_ms)
            );
            Err(Error::Stop { message, remedy: "choose an earlier --from, or leave it out".to_owned() })
        }
        from_ms => Ok(from_ms.unwrap_or(needed_ms)),
    }
}

/// What is to be read of a topic.
#[derive(Debug, Default)]
pub struct Spans {
    /// The first offset of each partition, and the one after its last.
    pub partitions: BTreeMap<i32, (i64, i64)>,
    /// Partitions that are read from their beginning, where records were removed before it: those may have been wanted too.
    pub cut: BTreeMap<i32, i64>,
}

impl Spans {
    /// Says so.
    pub fn warn_of_cuts(&self) {
        for (partition, low) in &self.cut {
            warn!(partition, "the topic begins at offset {low}: rows of changes that were removed before it are not in the ranking");
        }
    }
}

/// What each partition holds since then.
pub async fn spans<L: Log>(log: &L, since_ms: i64) -> Result<Spans, source::Error> {
    let since = log.offsets_at(since_ms.max(0)).await?;
    let watermarks = log.watermarks().await?;
    let mut spans = Spans::default();
    for (partition, (low, high)) in watermarks {
        let start = since.get(&partition).map_or(low, |at| low.max(*at));
        spans.partitions.insert(partition, (start, high));
        if start == low && low > 0 {
            spans.cut.insert(partition, low);
        }
    }
    Ok(spans)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Looks up where each partition starts and how far it must be before readers see the epoch.
///
/// The floor is the one that the function will store or an earlier one, so nothing is missed; the boundary is dropped when all that will be
/// read came after it. `from_ms` reaches further back than the floor asks for.
pub async fn plan<L: Log>(
    log: &L,
    layout: &Layout,
    state: &State,
    identity: Identity,
    boundary: Option<Boundary>,
    from_ms: Option<i64>,
) -> Result<(NewEpoch, Spans), source::Error> {
    let needed_ms = floor_ms(layout, state, &identity.fingerprint).saturating_sub(signed(layout.ahead_ms));
    let since_ms = from_ms.map_or(needed_ms, |from_ms| needed_ms.min(from_ms));
    let boundary = boundary.filter(|boundary| boundary.arrived_ms >= since_ms);
    let spans = spans(log, since_ms).await?;
    let partitions = spans.partitions.clone();
    let id = format!("{:032x}", rand::random::<u128>());
    let (window_ms, bucket_ms, scale) = (layout.window_ms, layout.bucket_ms, layout.scale);
    Ok((NewEpoch { id, identity, boundary, window_ms, bucket_ms, scale, partitions }, spans))
}

//! Who does what, in which order: people choose something by its popularity, click, play, pause, go on, finish, or lose interest.
//!
//! Pure: events follow from the seed and the content, and from nothing else.

use crate::zipf::Zipf;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;

/// Sessions that are open at the same time.
const OPEN_SESSIONS: usize = 40;
/// People that there are.
const USERS: usize = 2_000;
/// How steeply popularity falls.
const POPULARITY_EXPONENT: f64 = 1.1;
/// Devices, each as often as it is listed.
const DEVICES: [&str; 20] = [
    "ios", "ios", "ios", "ios", "ios", "ios", "ios", "android", "android", "android", "android", "android", "android", "web", "web", "web",
    "web", "tv", "tv", "speaker",
];

/// A row of `content`, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Content {
    /// Its id, a uuid as text.
    pub id: String,
    /// Whether it is read rather than played: then most people click and few stay.
    pub is_text: bool,
    /// How long it is, where that is known.
    pub length_ms: Option<i32>,
}

/// What happened, as the column `event_type` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// A stretch was played, and playing goes on.
    Play,
    /// A stretch was played, then paused.
    Pause,
    /// The last stretch was played.
    Finish,
    /// Somebody looked: nothing was played.
    Click,
}

impl EventType {
    /// The column's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Play => "play",
            Self::Pause => "pause",
            Self::Finish => "finish",
            Self::Click => "click",
        }
    }
}

/// One row to insert; its time is the transaction's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which content, a uuid as text.
    pub content_id: String,
    /// Who, a uuid as text.
    pub user_id: String,
    /// What.
    pub event_type: EventType,
    /// How long the stretch was; none for a click.
    pub duration_ms: Option<i32>,
    /// On what.
    pub device: &'static str,
    /// What the player sent, a JSON text.
    pub raw_payload: String,
}

/// All open sessions.
pub struct Audience {
    rng: StdRng,
    content: Vec<Content>,
    popularity: Zipf,
    users: Vec<String>,
    sessions: Vec<Session>,
    sessions_begun: u64,
}

struct Session {
    number: u64,
    content: Content,
    user_id: String,
    device: &'static str,
    phase: Phase,
    events: u32,
    position_ms: i32,
    /// Where it is finished: the length, or a guess where that is unknown.
    end_ms: i32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Browsing,
    Stopped,
    Playing,
}

impl Audience {
    /// An audience for this content; none if there is no content. Which of it is popular follows from the seed.
    pub fn new(mut content: Vec<Content>, seed: u64) -> Option<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        content.shuffle(&mut rng);
        let popularity = Zipf::new(content.len(), POPULARITY_EXPONENT)?;
        let users = (0..USERS).map(|_| uuid::Builder::from_random_bytes(rng.random()).into_uuid().to_string()).collect();
        let mut audience = Self { rng, content, popularity, users, sessions: Vec::new(), sessions_begun: 0 };
        for _ in 0..OPEN_SESSIONS {
            let session = audience.begin_session();
            audience.sessions.push(session);
        }
        Some(audience)
    }

    /// The next event of any of the sessions.
    pub fn next_event(&mut self) -> Event {
        let index = self.rng.random_range(0..self.sessions.len());
        let (event, next) = self.sessions[index].advance(&mut self.rng);
        match next {
            Some(phase) => self.sessions[index].phase = phase,
            None => self.sessions[index] = self.begin_session(),
        }
        event
    }

    fn begin_session(&mut self) -> Session {
        let content = self.content[self.popularity.sample(&mut self.rng)].clone();
        let browses = self.rng.random_bool(if content.is_text { 0.8 } else { 0.3 });
        self.sessions_begun += 1;
        Session {
            number: self.sessions_begun,
            user_id: self.users[self.rng.random_range(0..USERS)].clone(),
            device: DEVICES[self.rng.random_range(0..DEVICES.len())],
            phase: if browses { Phase::Browsing } else { Phase::Stopped },
            events: 0,
            position_ms: 0,
            end_ms: content.length_ms.filter(|length| *length > 0).unwrap_or_else(|| self.rng.random_range(60_000..3_600_000)),
            content,
        }
    }
}

impl Session {
    /// One event, and where the session is then; none when it is over.
    fn advance(&mut self, rng: &mut impl Rng) -> (Event, Option<Phase>) {
        let (event_type, duration_ms, next) = match self.phase {
            Phase::Browsing => {
                let stays = rng.random_bool(if self.content.is_text { 0.3 } else { 0.7 });
                (EventType::Click, None, stays.then_some(Phase::Stopped))
            }
            Phase::Stopped => self.play(rng, EventType::Play, Some(Phase::Playing)),
            Phase::Playing if rng.random_bool(0.6) => self.play(rng, EventType::Play, Some(Phase::Playing)),
            Phase::Playing => {
                let returns = rng.random_bool(0.7);
                self.play(rng, EventType::Pause, returns.then_some(Phase::Stopped))
            }
        };
        self.events += 1;
        let raw_payload = json!({
            "session": format!("s{:07}", self.number),
            "event": self.events,
            "position_ms": self.position_ms,
        });
        let event = Event {
            content_id: self.content.id.clone(),
            user_id: self.user_id.clone(),
            event_type,
            duration_ms,
            device: self.device,
            raw_payload: raw_payload.to_string(),
        };
        (event, next)
    }

    /// Plays a stretch of a fortieth to a quarter of the whole; reaching the end finishes, whatever was meant.
    fn play(&mut self, rng: &mut impl Rng, event_type: EventType, next: Option<Phase>) -> (EventType, Option<i32>, Option<Phase>) {
        let remaining_ms = self.end_ms - self.position_ms;
        let stretch_ms = rng.random_range(self.end_ms / 40..=self.end_ms / 4).max(1);
        if stretch_ms >= remaining_ms {
            self.position_ms = self.end_ms;
            return (EventType::Finish, Some(remaining_ms), None);
        }
        self.position_ms += stretch_ms;
        (event_type, Some(stretch_ms), next)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashMap;

    const LENGTH_MS: i32 = 600_000;

    fn content() -> Vec<Content> {
        (0..12)
            .map(|number| Content {
                id: format!("content-{number}"),
                is_text: number % 3 == 0,
                length_ms: (number % 4 != 0).then_some(LENGTH_MS),
            })
            .collect()
    }

    fn events(seed: u64, count: usize) -> Vec<Event> {
        let mut audience = Audience::new(content(), seed).unwrap();
        (0..count).map(|_| audience.next_event()).collect()
    }

    fn by_session(events: Vec<Event>) -> Vec<Vec<Event>> {
        let mut sessions: HashMap<String, Vec<Event>> = HashMap::new();
        for event in events {
            let payload: serde_json::Value = serde_json::from_str(&event.raw_payload).unwrap();
            sessions.entry(payload["session"].as_str().unwrap().into()).or_default().push(event);
        }
        sessions.into_values().collect()
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(events(7, 500), events(7, 500));
        assert_ne!(events(7, 500), events(8, 500));
        assert!(Audience::new(Vec::new(), 7).is_none());
    }

    #[test]
    fn a_session_keeps_its_user_device_and_content() {
        for session in by_session(events(1, 5_000)) {
            let first = &session[0];
            for event in &session {
                assert_eq!((&event.user_id, event.device, &event.content_id), (&first.user_id, first.device, &first.content_id));
            }
        }
    }

    #[test]
    fn a_session_clicks_first_or_never_plays_before_it_pauses_and_ends_with_its_finish() {
        for session in by_session(events(2, 5_000)) {
            let types: Vec<_> = session.iter().map(|event| event.event_type).collect();
            assert!(types[1..].iter().all(|kind| *kind != EventType::Click), "{types:?}");
            assert!(types[..types.len() - 1].iter().all(|kind| *kind != EventType::Finish), "{types:?}");
            for pair in types.windows(2) {
                assert!(pair[1] != EventType::Pause || pair[0] == EventType::Play, "{types:?}");
            }
        }
    }

    #[test]
    fn only_clicks_have_no_duration_and_nobody_plays_more_than_there_is() {
        let lengths: HashMap<_, _> = content().into_iter().map(|content| (content.id, content.length_ms)).collect();
        for session in by_session(events(3, 5_000)) {
            for event in &session {
                assert_eq!(event.duration_ms.is_none(), event.event_type == EventType::Click);
                assert!(event.duration_ms.is_none_or(|duration| duration > 0));
            }
            let played: i32 = session.iter().filter_map(|event| event.duration_ms).sum();
            if let Some(length) = lengths[&session[0].content_id] {
                let finished = session.iter().any(|event| event.event_type == EventType::Finish);
                assert!(if finished { played == length } else { played < length }, "{played} of {length}");
            }
        }
    }

    #[test]
    fn every_event_type_and_device_occurs() {
        let events = events(4, 5_000);
        for event_type in [EventType::Play, EventType::Pause, EventType::Finish, EventType::Click] {
            assert!(events.iter().any(|event| event.event_type == event_type), "{event_type:?}");
        }
        for device in DEVICES {
            assert!(events.iter().any(|event| event.device == device), "{device}");
        }
    }
}

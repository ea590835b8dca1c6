//! An HTTP server before the receiver, for answers that the receiver itself does not give.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Parts in which a slow body comes.
const SLOW_PARTS: u32 = 20;

/// What a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What the receiver answers.
    Receivers,
    /// The receiver's status, with a body that takes that long.
    Slowly(Duration),
    /// This status, and the receiver never hears of it.
    Status(u16),
    /// 429 and how many seconds to wait; the receiver never hears of it.
    Later(u64),
    /// 422 where the body holds this text, otherwise what the receiver answers.
    Refuse(String),
}

/// A server that passes requests on, or answers them as it was told. Dropping it ends it.
pub struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    target: String,
    answer: Mutex<Answer>,
    /// When requests came, and what they were answered.
    answered: Mutex<Vec<(Instant, u16)>>,
    client: reqwest::Client,
}

impl Front {
    /// Listens on a free port and passes on to that URL.
    pub async fn start(target: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (answer, answered) = (Mutex::new(Answer::Receivers), Mutex::default());
        let shared = Arc::new(Shared { target: target.to_owned(), answer, answered, client });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn set(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// When requests came, in order of their answers, and what they were answered.
    pub fn answered(&self) -> Vec<(Instant, u16)> {
        self.shared.answered.lock().unwrap().clone()
    }

    /// How often that was the answer.
    pub fn count(&self, status: u16) -> usize {
        self.shared.answered.lock().unwrap().iter().filter(|(_, answer)| *answer == status).count()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let came = Instant::now();
    let answer = shared.answer.lock().unwrap().clone();
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let response = match answer {
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Later(seconds) => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response(),
        Answer::Refuse(text) if String::from_utf8_lossy(&body).contains(&text) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "not this one").into_response()
        }
        Answer::Receivers | Answer::Refuse(_) => pass_on(&shared, &parts, body).await.into_response(),
        Answer::Slowly(wait) => (pass_on(&shared, &parts, body).await, slow_body(wait)).into_response(),
    };
    shared.answered.lock().unwrap().push((came, response.status().as_u16()));
    response
}

/// The receiver's status; 502 when it gives none.
async fn pass_on(shared: &Shared, parts: &axum::http::request::Parts, body: Bytes) -> StatusCode {
    let mut request = shared.client.request(parts.method.clone(), &shared.target).body(body);
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name == "content-type" || name.as_str().starts_with("webhook-")) {
        request = request.header(name, value);
    }
    request.send().await.map_or(StatusCode::BAD_GATEWAY, |response| response.status())
}

fn slow_body(wait: Duration) -> Body {
    let part = move |n| async move {
        sleep(wait / SLOW_PARTS).await;
        (n < SLOW_PARTS).then_some((Ok::<_, Infallible>(Bytes::from_static(b".")), n + 1))
    };
    Body::from_stream(stream::unfold(0, part))
}

//! An endpoint that follows a script: it answers, fails, hangs, cuts the connection, before or after it applied the request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    pub body: String,
    pub at: Instant,
    /// How many came before.
    pub number: usize,
}

/// What the endpoint does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with a status, headers (lines that end in `\r\n`) and a body. The events are applied if the status is 2xx.
    Status(u16, String, String),
    /// Applies the events and cuts the connection.
    AppliedThenCut,
    /// Cuts the connection.
    Cut,
    /// Applies the events and never answers.
    AppliedThenHang,
    /// Never answers.
    Hang,
    /// Applies the events and begins an answer with status 200 that never ends.
    Endless,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Status(status, String::new(), String::new())
    }
}

type Script = Box<dyn Fn(&Request) -> Reply + Send + Sync>;

pub struct Server {
    port: u16,
    script: Script,
    /// How long a request takes.
    delay: Duration,
    pub requests: Mutex<Vec<Request>>,
    /// The events of requests that were applied, in order of arrival, repeats too.
    pub applied: Mutex<Vec<Json>>,
    pub connections: AtomicUsize,
    in_flight: AtomicUsize,
    pub in_flight_highest: AtomicUsize,
}

impl Request {
    pub fn events(&self) -> Vec<Json> {
        serde_json::from_str(&self.body).unwrap()
    }

    /// `data.after.id` of each event.
    pub fn row_ids(&self) -> Vec<i64> {
        self.events().iter().map(row_id).collect()
    }
}

pub fn row_id(event: &Json) -> i64 {
    event["data"]["after"]["id"].as_i64().unwrap()
}

impl Server {
    pub async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        Self::start_at(0, Duration::ZERO, script).await
    }

    pub async fn start_at(port: u16, delay: Duration, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let server = Arc::new(Self {
            port: listener.local_addr().unwrap().port(),
            script: Box::new(script),
            delay,
            requests: Mutex::default(),
            applied: Mutex::default(),
            connections: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_highest: AtomicUsize::new(0),
        });
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.connections.fetch_add(1, SeqCst);
                let server = accepting.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while server.serve(&mut stream).await.is_some() {}
                });
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The applied events, each id once, in order of first arrival.
    pub fn distinct(&self) -> Vec<Json> {
        let mut seen = std::collections::HashSet::new();
        let applied = self.applied.lock().unwrap();
        applied.iter().filter(|event| seen.insert(event["id"].to_string())).cloned().collect()
    }

    /// One request of a connection; none when the connection ends.
    async fn serve(&self, stream: &mut BufReader<TcpStream>) -> Option<()> {
        let request = self.read(stream).await?;
        let reply = (self.script)(&request);
        let highest = self.in_flight.fetch_add(1, SeqCst) + 1;
        self.in_flight_highest.fetch_max(highest, SeqCst);
        self.requests.lock().unwrap().push(request.clone());
        sleep(self.delay).await;
        let applies = match &reply {
            Reply::Status(status, ..) => (200..300).contains(status),
            Reply::AppliedThenCut | Reply::AppliedThenHang | Reply::Endless => true,
            Reply::Cut | Reply::Hang => false,
        };
        if applies {
            self.applied.lock().unwrap().extend(request.events());
        }
        self.in_flight.fetch_sub(1, SeqCst);
        match reply {
            Reply::Status(status, headers, body) => {
                let head = format!("HTTP/1.1 {status} Scripted\r\n{headers}content-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.ok()
            }
            Reply::AppliedThenCut | Reply::Cut => None,
            Reply::Endless => {
                let begin = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n{}", "x".repeat(10_000));
                stream.write_all(begin.as_bytes()).await.ok()?;
                let _ = stream.read(&mut [0]).await;
                None
            }
            Reply::AppliedThenHang | Reply::Hang => {
                // Until the client gives up.
                let mut byte = [0];
                let _ = stream.read(&mut byte).await;
                None
            }
        }
    }

    async fn read(&self, stream: &mut BufReader<TcpStream>) -> Option<Request> {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = HashMap::new();
        loop {
            line.clear();
            stream.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
                None => break,
            };
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        stream.read_exact(&mut body).await.ok()?;
        let number = self.requests.lock().unwrap().len();
        Some(Request { path, headers, body: String::from_utf8(body).ok()?, at: Instant::now(), number })
    }
}

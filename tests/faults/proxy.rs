//! A TCP proxy with the faults of networks, between an engine and one neighbour.
//!
//! It promises: bytes pass both ways, complete and in order; what happens to them can be changed at any moment and then holds for every
//! connection; while nothing passes, no end of a connection passes either. It does not lose or change bytes within a connection: TCP does not.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes that are read at once.
const PIECE_BYTES_MAX: usize = 16 << 10;
/// Pieces under way in one direction of one connection; then its sender has to wait.
const PIECES_MAX: usize = 64;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 256;

/// What happens to what passes. The default is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// Everything arrives that much later, in each direction.
    pub latency: Duration,
    /// And by up to that much more, at random.
    pub jitter: Duration,
    /// Of each direction of each connection; as fast as it goes without.
    pub bytes_per_second: Option<u32>,
    /// Connections stay, or are accepted, and nothing passes.
    pub stalled: bool,
    /// Requests pass; the first byte of a reply resets its connection instead.
    pub replies_lost: bool,
}

#[derive(Clone, Copy)]
struct State {
    target: SocketAddr,
    conditions: Conditions,
    listening: bool,
    /// Of connections that are accepted now.
    generation: u64,
    /// Connections of an earlier generation end,
    ended_before: u64,
    /// with RST instead of FIN;
    by_reset: bool,
    /// and those of an earlier one than this stay and pass nothing.
    forsaken_before: u64,
}

/// One address that leads to another one. Dropping it closes everything.
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    acceptor: JoinHandle<()>,
    /// Bound and never listening: keeps the port while connections are refused.
    _reserved: TcpSocket,
}

impl Proxy {
    /// Listens on a free port of loopback.
    pub fn start(target: SocketAddr) -> Self {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), target)
    }

    /// Listens on that address.
    pub fn start_on(address: SocketAddr, target: SocketAddr) -> Self {
        let reserved = bound(address);
        let address = reserved.local_addr().unwrap();
        let (conditions, generation) = (Conditions::default(), 0);
        let first = State { target, conditions, listening: true, generation, ended_before: 0, by_reset: false, forsaken_before: 0 };
        let (state, seen) = watch::channel(first);
        let acceptor = tokio::spawn(accept(address, listen(address), seen));
        Self { address, state, acceptor, _reserved: reserved }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// These conditions from now on, and connections are accepted.
    pub fn set(&self, conditions: Conditions) {
        self.state.send_modify(|state| {
            state.conditions = conditions;
            state.listening = true;
        });
    }

    /// Nothing is wrong any more.
    pub fn pass(&self) {
        self.set(Conditions::default());
    }

    /// Closes every connection and refuses new ones.
    pub fn cut(&self) {
        self.end(false, |state| state.listening = false);
    }

    /// Resets every connection; new ones are accepted.
    pub fn reset(&self) {
        self.end(true, |_| {});
    }

    /// Nothing passes on the connections there are, ever again; neither end is told. New ones work.
    pub fn forsake(&self) {
        self.state.send_modify(|state| {
            state.generation += 1;
            state.forsaken_before = state.generation;
        });
    }

    /// Leads elsewhere from now on; connections to where it led are reset.
    pub fn lead_to(&self, target: SocketAddr) {
        self.end(true, |state| state.target = target);
    }

    fn end(&self, by_reset: bool, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| {
            state.generation += 1;
            state.ended_before = state.generation;
            state.by_reset = by_reset;
            change(state);
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// A socket that has the address. Several may, as long as one at most listens.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    bound(address).listen(BACKLOG).unwrap_or_else(|error| panic!("{address}: {error}"))
}

async fn accept(address: SocketAddr, listener: TcpListener, mut state: watch::Receiver<State>) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    for number in 0.. {
        let client = loop {
            match (state.borrow_and_update().listening, &listener) {
                (false, Some(_)) => listener = None,
                (true, None) => listener = Some(listen(address)),
                _ => {}
            }
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                client = next(listener.as_ref()) => break client,
                Some(_) = connections.join_next() => {}
            }
        };
        connections.spawn(connection(client, state.clone(), number));
    }
}

async fn next(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        if let Ok((client, _)) = listener.accept().await {
            return client;
        }
    }
}

async fn connection(mut client: TcpStream, mut state: watch::Receiver<State>, number: u64) {
    let State { target, generation, .. } = *state.borrow();
    let Ok(mut server) = TcpStream::connect(target).await else {
        // Nobody is there: as near to a refusal as an accepted connection can come.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let seen = state.clone();
    let passing = relay(&mut client, &mut server, Road { state: seen, generation }, number);
    let by_reset = tokio::select! {
        relayed = passing => relayed.is_err(),
        ended = state.wait_for(|state| generation < state.ended_before) => ended.map_or(true, |state| state.by_reset),
    };
    if by_reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// What holds for one connection.
#[derive(Clone)]
struct Road {
    state: watch::Receiver<State>,
    generation: u64,
}

impl Road {
    /// Waits until something passes; the conditions then.
    async fn open(&mut self) -> Conditions {
        let generation = self.generation;
        let open = self.state.wait_for(|state| !state.conditions.stalled && generation >= state.forsaken_before).await;
        match open.map(|state| state.conditions) {
            Ok(conditions) => conditions,
            // The proxy is gone, and this task with it.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Both directions, until both have ended or one is broken.
async fn relay(client: &mut TcpStream, server: &mut TcpStream, road: Road, number: u64) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let requests = carry(from_client, to_server, road.clone(), false, StdRng::seed_from_u64(2 * number));
    let replies = carry(from_server, to_client, road, true, StdRng::seed_from_u64(2 * number + 1));
    tokio::try_join!(requests, replies).map(drop)
}

/// One direction, until its sender ended it.
async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut road: Road, is_reply: bool, mut random: StdRng) -> io::Result<()> {
    let (under_way, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let mut road_of_sender = road.clone();
    let reads = async move {
        let mut due = Instant::now();
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES_MAX);
            let read = from.read_buf(&mut piece).await;
            let Conditions { latency, jitter, .. } = road_of_sender.open().await;
            due = due.max(Instant::now() + latency + jitter.mul_f64(random.random_range(0.0..=1.0)));
            let ended = read? == 0;
            if under_way.send((due, piece)).await.is_err() || ended {
                return Ok(());
            }
        }
    };
    let writes = async {
        while let Some((due, piece)) = arriving.recv().await {
            sleep_until(due).await;
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                let Conditions { bytes_per_second, replies_lost, .. } = road.open().await;
                if is_reply && replies_lost {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                // Small parts, so that other conditions hold soon.
                let part = bytes_per_second.map_or(rest.len(), |rate| rest.len().min(rate as usize / 20 + 1));
                to.write_all(&rest[..part]).await?;
                rest = &rest[part..];
                if let Some(rate) = bytes_per_second {
                    sleep(Duration::from_secs_f64(part as f64 / f64::from(rate))).await;
                }
            }
        }
        road.open().await;
        to.shutdown().await
    };
    tokio::try_join!(reads, writes).map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::support::{eventually, seconds};

    /// A server that sends back what it gets, and a proxy before it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    drop(tokio::io::copy(&mut reader, &mut writer).await);
                    drop(writer.shutdown().await);
                });
            }
        });
        Proxy::start(address)
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.unwrap()
    }

    /// Sends and gets back.
    async fn ask(stream: &mut TcpStream, text: &[u8]) -> io::Result<()> {
        stream.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        assert_eq!(answer, text);
        Ok(())
    }

    #[tokio::test]
    async fn everything_passes_in_order_and_so_does_the_end() {
        let proxy = echo().await;
        proxy.set(Conditions { jitter: Duration::from_millis(3), ..Conditions::default() });
        let (mut reader, mut writer) = connect(&proxy).await.into_split();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
    }

    #[tokio::test]
    async fn latency_is_added_in_each_direction_and_a_slow_reader_is_slow() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        proxy.set(Conditions { latency: Duration::from_millis(40), ..Conditions::default() });
        let began = Instant::now();
        ask(&mut stream, b"far").await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(80), "{:?}", began.elapsed());
        proxy.set(Conditions { bytes_per_second: Some(10_000), ..Conditions::default() });
        let began = Instant::now();
        ask(&mut stream, &[7; 3_000]).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(240), "{:?}", began.elapsed());
        proxy.pass();
        let began = Instant::now();
        ask(&mut stream, &[7; 60_000]).await.unwrap();
        assert!(began.elapsed() < seconds(5), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn what_stalls_passes_nothing_and_no_end_and_goes_on() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        ask(&mut stream, b"before").await.unwrap();
        proxy.set(Conditions { stalled: true, ..Conditions::default() });
        // Neither on the old connection nor on a new one.
        for stream in [&mut stream, &mut connect(&proxy).await] {
            stream.write_all(b"held").await.unwrap();
            stream.shutdown().await.unwrap();
            assert!(timeout(Duration::from_millis(200), stream.read_u8()).await.is_err());
        }
        proxy.pass();
        let mut late = String::new();
        stream.read_to_string(&mut late).await.unwrap();
        assert_eq!(late, "held");
    }

    #[tokio::test]
    async fn a_forsaken_connection_never_answers_and_a_new_one_does() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        ask(&mut stream, b"before").await.unwrap();
        proxy.forsake();
        assert!(timeout(Duration::from_millis(200), ask(&mut stream, b"never")).await.is_err());
        proxy.pass();
        assert!(timeout(Duration::from_millis(200), ask(&mut stream, b"never")).await.is_err());
        ask(&mut connect(&proxy).await, b"new").await.unwrap();
        // It can still be reset.
        proxy.reset();
        assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_cut_closes_and_refuses_until_it_passes_again() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        ask(&mut stream, b"before").await.unwrap();
        for _ in 0..3 {
            proxy.cut();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "a cut is an end, not a reset");
            let refused = async || match TcpStream::connect(proxy.address()).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                other => Err(format!("{other:?}")),
            };
            eventually("connections are refused", seconds(5), refused).await;
            proxy.pass();
            stream = eventually("connections are accepted", seconds(5), async || {
                TcpStream::connect(proxy.address()).await.map_err(|error| error.to_string())
            })
            .await;
            ask(&mut stream, b"after").await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_reset_is_one_and_another_target_is_reached() {
        let (proxy, other) = (echo().await, echo().await);
        let mut stream = connect(&proxy).await;
        ask(&mut stream, b"before").await.unwrap();
        proxy.reset();
        assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut stream = connect(&proxy).await;
        ask(&mut stream, b"again").await.unwrap();
        // Leads to the other one, which then is cut: only those that went there notice.
        other.cut();
        proxy.lead_to(other.address());
        assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(connect(&proxy).await.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_reply_is_lost_after_its_request_has_passed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap());
        proxy.set(Conditions { replies_lost: true, ..Conditions::default() });
        let mut client = connect(&proxy).await;
        client.write_all(b"request").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut request = [0; 7];
        server.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"request");
        server.write_all(b"reply").await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

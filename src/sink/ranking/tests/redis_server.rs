//! A Redis of its own for one test, on a free port, in a directory that is removed with it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use redis::{Client, Connection, FromRedisValue, cmd};

use crate::sink::ranking::function::LIBRARY;

static SERVERS: AtomicU32 = AtomicU32::new(0);

/// A running `redis-server`; killed when dropped.
pub struct RedisServer {
    child: Child,
    directory: PathBuf,
    port: u16,
    arguments: Vec<String>,
}

impl RedisServer {
    /// A server with an append-only file.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more settings, `--name value`.
    pub fn start_with(arguments: &[&str]) -> Self {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("highwater-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        for _ in 0..5 {
            // Somebody else may take the port in between; then another one is tried.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = spawn(&directory, port, &arguments);
            let mut server = Self { child, directory: directory.clone(), port, arguments: arguments.clone() };
            if server.answers() {
                return server;
            }
        }
        panic!("redis-server does not start; it is a required package");
    }

    fn answers(&mut self) -> bool {
        for _ in 0..500 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let pong = Client::open(self.url()).unwrap().get_connection().and_then(|mut c| cmd("PING").query::<String>(&mut c));
            if pong.is_ok() {
                return true;
            }
            sleep(Duration::from_millis(10));
        }
        false
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn connection(&self) -> Connection {
        Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// A connection to a server that holds the library.
    pub fn loaded(&self) -> Connection {
        let mut connection = self.connection();
        run::<String>(&mut connection, &["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
        connection
    }

    /// Stops it in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on its data.
    pub fn restart(&mut self) {
        self.child = spawn(&self.directory, self.port, &self.arguments);
        assert!(self.answers(), "redis-server does not start again");
    }
}

fn spawn(directory: &PathBuf, port: u16, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--daemonize", "no"])
        // Written before each reply, and the kernel keeps it when the process is killed; `everysec` puts writes off while it syncs.
        .args(["--appendfsync", "no"])
        .arg("--dir")
        .arg(directory)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is a required package (apt-get install redis-server)")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Runs one command.
pub fn run<T: FromRedisValue>(connection: &mut Connection, words: &[&str]) -> T {
    let mut command = cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query(connection).unwrap()
}

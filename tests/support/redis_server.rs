//! A Redis server of a test's own, with the settings that the product ships.

use std::path::{Path, PathBuf};
use std::process::Command;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, cmd};

use super::process::{Process, free_port};
use super::stack::root;
use super::{eventually, seconds};

/// One server, with its data in a directory of its own. Dropping it kills it.
pub struct RedisServer {
    process: Process,
    logs: PathBuf,
    directory: PathBuf,
    port: u16,
}

impl RedisServer {
    /// Starts it and waits until it answers. Its data is in `NAME` below that directory.
    pub async fn start(directory: &Path, name: &str) -> Self {
        let data = directory.join(name);
        std::fs::create_dir_all(&data).unwrap();
        Self::start_on(directory, &data).await
    }

    /// The same with its data in that directory, and its log in another.
    pub async fn start_on(logs: &Path, directory: &Path) -> Self {
        let (logs, directory, port) = (logs.to_owned(), directory.to_owned(), free_port());
        let server = Self { process: run(&logs, &directory, port), logs, directory, port };
        server.wait_answers().await;
        server
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM: what it holds is written out.
    pub async fn stop(&mut self) {
        self.process.terminate(seconds(20)).await;
    }

    /// Starts it again, after it ended, with what its directory holds.
    pub async fn restart(&mut self) {
        self.process = run(&self.logs, &self.directory, self.port);
        self.wait_answers().await;
    }

    /// Where its data is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What was written since the append-only file was rewritten last.
    pub fn append_only_file(&self) -> PathBuf {
        let files = std::fs::read_dir(self.directory.join("appendonlydir")).unwrap();
        let mut files: Vec<_> =
            files.map(|file| file.unwrap().path()).filter(|path| path.to_str().unwrap().ends_with(".incr.aof")).collect();
        // appendonly.aof.N.incr.aof
        let number = |path: &PathBuf| path.to_str().unwrap().rsplit('.').nth(2).unwrap().parse::<u64>().unwrap();
        files.sort_by_key(number);
        files.pop().expect("an append-only file")
    }

    /// A connection to it.
    pub async fn connection(&self) -> MultiplexedConnection {
        connect(&self.url()).await
    }

    /// One command on a connection of its own.
    pub async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connection().await).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    async fn wait_answers(&self) {
        let client = Client::open(self.url()).unwrap();
        eventually("redis answers", seconds(20), async || {
            // LOADING while it reads the append-only file.
            let mut connection =
                client.get_multiplexed_async_connection_with_config(&patient()).await.map_err(|error| error.to_string())?;
            cmd("PING").query_async::<String>(&mut connection).await.map_err(|error| error.to_string())
        })
        .await;
    }
}

/// A connection to any server.
pub async fn connect(url: &str) -> MultiplexedConnection {
    Client::open(url).unwrap().get_multiplexed_async_connection_with_config(&patient()).await.unwrap()
}

/// On a busy machine a command may take longer than the client's half a second.
fn patient() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(seconds(20))).set_response_timeout(Some(seconds(20)))
}

fn run(logs: &Path, directory: &Path, port: u16) -> Process {
    let mut command = Command::new("redis-server");
    command.arg(root().join("redis/redis.conf")).args(["--port", &port.to_string()]).arg("--dir").arg(directory);
    Process::start(logs, &format!("redis-{port}"), &mut command)
}

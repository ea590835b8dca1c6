//! A Postgres of the test's own: a cluster in a temporary directory, on a free port of loopback, gone when the test process is.
//!
//! The server is the child of a shell that waits for the end of its standard input, so that even a test that is killed leaves neither a
//! process nor a directory behind. Postgres refuses to run as root: then it runs as the user `postgres`.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

static SHARED: LazyLock<Arc<Postgres>> = LazyLock::new(|| Arc::new(Postgres::start()));
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A running cluster; dropping it stops and deletes it.
pub struct Postgres {
    bin: PathBuf,
    directory: PathBuf,
    port: u16,
    shell: Mutex<Option<Child>>,
}

impl Postgres {
    /// The one that all tests of this process share.
    pub fn shared() -> Arc<Self> {
        Arc::clone(&SHARED)
    }

    /// A new one.
    pub fn start() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("highwater-postgres-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { bin: bin(), directory, port, shell: Mutex::new(None) };
        if let Some((user, group)) = unprivileged() {
            std::os::unix::fs::chown(&server.directory, Some(user), Some(group)).unwrap();
        }
        server.initdb();
        server.resume();
        server
    }

    fn initdb(&self) {
        let data = self.data();
        let initdb = ["-D", data.to_str().unwrap(), "-U", "test", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"];
        let output = self.command("initdb").args(initdb).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Stops the server and keeps its data.
    pub fn suspend(&self) {
        let Some(mut shell) = self.shell.lock().unwrap().take() else { return };
        std::fs::write(self.data().join("keep"), "").unwrap();
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }

    /// Starts the server, again.
    pub fn resume(&self) {
        let script = r#""$0" -D "$1" -p "$2" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c wal_level=logical \
            -c max_connections=50 >"$1/server.log" 2>&1 </dev/null & server=$!; read -r _; kill -INT $server; wait $server
            [ -e "$1/keep" ] || rm -rf "$3""#;
        let mut shell = self.command("sh");
        shell.args(["-c", script]).arg(self.bin.join("postgres")).arg(self.data()).arg(self.port.to_string()).arg(&self.directory);
        let _ = std::fs::remove_file(self.data().join("keep"));
        *self.shell.lock().unwrap() = Some(shell.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() || self.try_psql("postgres", "SELECT 1").is_err() {
            let log = || std::fs::read_to_string(self.data().join("server.log"));
            assert!(begun.elapsed() < Duration::from_secs(30), "postgres does not start: {:?}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Keeps a copy of the data under that name, taken while the server is stopped; it runs again after.
    pub fn copy(&self, name: &str) {
        self.suspend();
        self.put(&self.data(), &self.directory.join(name));
        self.resume();
    }

    /// Puts that copy in place of the data: the server goes on from there.
    pub fn restore(&self, name: &str) {
        self.suspend();
        std::fs::remove_dir_all(self.data()).unwrap();
        self.put(&self.directory.join(name), &self.data());
        self.resume();
    }

    /// Makes the cluster anew at the same address, with the contents of one database: another system identifier, other LSNs.
    pub fn replace(&self, database: &str) {
        let name = database.rsplit('/').next().unwrap();
        let dump = self.command("pg_dump").arg(self.url(name)).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        self.suspend();
        std::fs::remove_dir_all(self.data()).unwrap();
        self.initdb();
        self.resume();
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        self.psql(name, &String::from_utf8(dump.stdout).unwrap());
    }

    fn put(&self, from: &Path, to: &Path) {
        assert!(self.command("cp").arg("-a").args([from, to]).status().unwrap().success());
    }

    /// Creates a database, runs `sql` in it and returns its URL. `options` go to CREATE DATABASE.
    pub fn database(&self, options: &str, sql: &str) -> String {
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0 {options}"));
        let url = self.url(&name);
        self.psql(&name, sql);
        url
    }

    /// The URL of a database of this cluster.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://test:secret-word@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL in a database, named or by URL, and returns what it prints, unaligned.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database.rsplit('/').next().unwrap(), sql).unwrap()
    }

    fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]).arg(self.url(database));
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A psql that could not connect has closed its end already.
        let _ = child.stdin.take().unwrap().write_all(sql.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// A command as a user that Postgres accepts, in a directory that this user can enter.
    fn command(&self, program: &str) -> Command {
        let path = self.bin.join(program);
        let mut command = if path.exists() { Command::new(path) } else { Command::new(program) };
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        command.current_dir(&self.directory).env("HOME", &self.directory);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.suspend();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The newest server that Debian installed, or whatever the path has.
fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let version = |path: &Path| path.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.filter(|path| path.join("initdb").exists()).max_by_key(|path| version(path)).unwrap_or_default()
}

/// User and group to run as when this process is root's.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("the user postgres exists")
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

//! The connection to Redis, and what must be true of the server behind it.
//!
//! It promises: a session is a connection to a master of at least 7.0 that holds this engine's function library, and knows the `run_id` of
//! that process. It never connects again by itself: what was read on a connection is only as good as the connection, so after any
//! trouble the session is dropped and the next one reads everything again. Passwords are in no message.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value, cmd};

use super::function::{Functions, LIBRARY, NAME, VERSION};
use crate::config::SecretUrl;
use crate::sink::Error;

const CONNECT_WAIT: Duration = Duration::from_secs(3);
const RESPONSE_WAIT: Duration = Duration::from_secs(5);

/// One connection to one Redis process.
pub struct Session {
    connection: MultiplexedConnection,
    /// Identifies the process; another one after a restart or a promotion.
    pub run_id: String,
}

impl Session {
    /// Connects and checks the server, to read only: whatever library is loaded stays.
    pub async fn open_to_read(url: &SecretUrl) -> Result<Self, Error> {
        let mut session = Self::connect(url, true).await?;
        session.check_server(true).await?;
        Ok(session)
    }

    /// Connects, checks the server and loads the library. `starting`: what an operator must correct is a stop, not an outage.
    pub async fn open(url: &SecretUrl, starting: bool) -> Result<Self, Error> {
        let mut session = Self::connect(url, starting).await?;
        session.check_server(starting).await?;
        session.load_library(starting).await?;
        Ok(session)
    }

    async fn connect(url: &SecretUrl, starting: bool) -> Result<Self, Error> {
        let client = Client::open(url.expose()).map_err(|_| stop(format!("{url} is not a URL of redis"), "correct the sink's redis"))?;
        let settings = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_WAIT)).set_response_timeout(Some(RESPONSE_WAIT));
        let connection = client.get_multiplexed_async_connection_with_config(&settings).await.map_err(|error| decide(&error, starting))?;
        Ok(Self { connection, run_id: String::new() })
    }

    /// One call.
    pub async fn call<T: FromRedisValue>(&mut self, call: &Cmd) -> Result<T, Error> {
        call.query_async(&mut self.connection).await.map_err(|error| decide(&error, false))
    }

    async fn ask<T: FromRedisValue>(&mut self, question: &Cmd, starting: bool) -> Result<T, Error> {
        question.query_async(&mut self.connection).await.map_err(|error| decide(&error, starting))
    }

    async fn check_server(&mut self, starting: bool) -> Result<(), Error> {
        let info: String = self.ask(cmd("INFO").arg("server"), starting).await?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
        let version = field("redis_version");
        let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < 7 {
            return Err(stop(format!("redis is version {version:?}, which has no functions"), "run redis 7.0 or newer"));
        }
        field("run_id").clone_into(&mut self.run_id);
        let role: Vec<Value> = self.ask(&cmd("ROLE"), starting).await?;
        match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(()),
            _ => Err(Error::Retry("redis is a replica, waiting for it to be a master".to_owned())),
        }
    }

    /// Loads the library where it is missing, older, or of this version with another text; a failed load keeps the old one without a word.
    async fn load_library(&mut self, starting: bool) -> Result<(), Error> {
        let loaded = self.library_version(starting).await?;
        if loaded > VERSION {
            let message = format!("redis holds version {loaded} of the function library {NAME}, this engine has version {VERSION}");
            return Err(stop(message, "run the newer engine"));
        }
        if loaded == VERSION && self.library_text(starting).await?.as_deref() == Some(LIBRARY) {
            return Ok(());
        }
        let _: Value = self.ask(cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(LIBRARY), starting).await?;
        let loaded = self.library_version(starting).await?;
        if loaded == VERSION {
            return Ok(());
        }
        Err(Error::Retry(format!("redis holds version {loaded} of the function library after version {VERSION} was loaded")))
    }

    async fn library_version(&mut self, starting: bool) -> Result<u32, Error> {
        match Functions::version().query_async::<u32>(&mut self.connection).await {
            Ok(version) => Ok(version),
            Err(error) if is_function_missing(&error) => Ok(0),
            Err(error) => Err(decide(&error, starting)),
        }
    }

    async fn library_text(&mut self, starting: bool) -> Result<Option<String>, Error> {
        let list: Vec<Vec<Value>> = self.ask(cmd("FUNCTION").arg("LIST").arg("LIBRARYNAME").arg(NAME).arg("WITHCODE"), starting).await?;
        let name = Value::BulkString(b"library_code".to_vec());
        let code = list.into_iter().flatten().skip_while(|field| *field != name).nth(1);
        Ok(code.and_then(|code| if let Value::BulkString(text) = code { String::from_utf8(text).ok() } else { None }))
    }
}

fn is_function_missing(error: &RedisError) -> bool {
    error.code() == Some("ERR") && error.detail().is_some_and(|detail| detail.contains("unction not found"))
}

fn stop(message: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Stop { message: message.into(), remedy: remedy.into() }
}

/// What an error of Redis makes the lane do. Nothing that can heal is a stop.
fn decide(error: &RedisError, starting: bool) -> Error {
    let message = format!("redis: {error}");
    match error.code() {
        Some("OVERFLOW") => return stop(message, "lower the ranking's scale, or correct the rows; a changed scale rebuilds the ranking"),
        Some("KEYTYPE") => return stop(message, "choose another key, or delete that one if nobody needs it"),
        Some("LIMIT" | "WRONGTYPE") => return stop(message, "report this; deleting the ranking's internal keys rebuilds it"),
        Some("WRONGPASS" | "NOAUTH") if starting => return stop(message, "correct user and password in the sink's redis"),
        _ => {}
    }
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoPerm) if starting => {
            stop(message, "let the user run FCALL, FCALL_RO, FUNCTION, INFO and ROLE, and the commands on the ranking's keys")
        }
        ErrorKind::AuthenticationFailed if starting => stop(message, "correct user and password in the sink's redis"),
        ErrorKind::InvalidClientConfig => stop(message, "correct the sink's redis"),
        _ => Error::Retry(message),
    }
}

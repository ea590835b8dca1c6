//! The Redis of each ranking: does it answer, and would it keep what it is given?

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind, cmd};

use super::Fact;
use crate::config::{PipelineConfig, SecretUrl, SinkConfig};

const CONNECT_WAIT: Duration = Duration::from_secs(3);
const VERSION_MIN: u32 = 7;

pub(super) async fn check(config: &PipelineConfig, facts: &mut Vec<Fact>) {
    for sink in &config.sinks {
        if let SinkConfig::RedisRanking(ranking) = sink {
            match look(&ranking.redis, facts).await {
                Ok(()) => {}
                Err(error) => facts.push(refusal(&ranking.redis, &error)),
            }
        }
    }
}

async fn look(url: &SecretUrl, facts: &mut Vec<Fact>) -> Result<(), RedisError> {
    let client = Client::open(url.expose())?;
    let settings = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_WAIT)).set_response_timeout(Some(CONNECT_WAIT));
    let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
    let info: String = cmd("INFO").query_async(&mut connection).await?;
    let policy = policy(&mut connection, &info).await;
    facts.extend(judge(url, &info, policy.as_deref()));
    Ok(())
}

/// From INFO, else from CONFIG, which a managed Redis may not allow.
async fn policy(connection: &mut MultiplexedConnection, info: &str) -> Option<String> {
    if let Some(policy) = field(info, "maxmemory_policy") {
        return Some(policy.to_owned());
    }
    let answer: Result<Vec<String>, _> = cmd("CONFIG").arg("GET").arg("maxmemory-policy").query_async(connection).await;
    answer.ok()?.into_iter().nth(1)
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn judge(url: &SecretUrl, info: &str, policy: Option<&str>) -> Vec<Fact> {
    let mut facts = Vec::new();
    let version = field(info, "redis_version").unwrap_or("unknown");
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < VERSION_MIN {
        facts.push(Fact::failed("redis", format!("{url} is version {version}, which has no functions"), "run Redis 7.0 or newer"));
    }
    if field(info, "role") != Some("master") {
        let role = field(info, "role").unwrap_or("unknown");
        facts.push(Fact::waiting("redis", format!("{url} is a {role}"), "promote it, or name the master"));
    }
    if field(info, "loading") == Some("1") {
        facts.push(Fact::waiting("redis", format!("{url} is loading its data"), "wait"));
    }
    match policy {
        Some(policy) if policy.starts_with("allkeys") => {
            let text = format!("{url} has maxmemory-policy {policy}: when memory is short it would delete parts of a ranking");
            facts.push(Fact::failed("redis", text, "run CONFIG SET maxmemory-policy noeviction, and put it into redis.conf"));
        }
        Some(_) => {}
        None => {
            let text = format!("{url} does not say its maxmemory-policy");
            facts.push(Fact::warning("redis", text, "see that it is noeviction: allkeys-* would delete parts of a ranking"));
        }
    }
    if facts.is_empty() {
        facts.push(Fact::ok("redis", format!("{url}: version {version}, master, {}", policy.unwrap_or_default())));
    }
    facts
}

fn refusal(url: &SecretUrl, error: &RedisError) -> Fact {
    let text = format!("{url}: {error}");
    let denied = matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm))
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"));
    if denied {
        Fact::failed("redis", text, "correct user and password in the sink's redis, and let the user run INFO")
    } else if error.kind() == ErrorKind::InvalidClientConfig {
        Fact::failed("redis", text, "write redis://user:password@host:port/database")
    } else {
        Fact::waiting("redis", text, "start it, or correct the sink's redis")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\n# Persistence\r\nloading:0\r\n# Replication\r\nrole:master\r\n";

    fn texts(info: &str, policy: Option<&str>) -> Vec<(super::super::State, String)> {
        let url = SecretUrl::new("redis://:secret-word@h:1");
        judge(&url, info, policy).into_iter().map(|fact| (fact.state, fact.text)).collect()
    }

    #[test]
    fn what_would_lose_data_fails_and_what_passes_is_waited_for() {
        use super::super::State::{Failed, Ok, Waiting, Warning};
        let url = "redis://:***@h:1";
        assert_eq!(texts(GOOD, Some("noeviction")), [(Ok, format!("{url}: version 7.0.15, master, noeviction"))]);
        assert_eq!(
            texts(GOOD, Some("allkeys-lru")),
            [(Failed, format!("{url} has maxmemory-policy allkeys-lru: when memory is short it would delete parts of a ranking"))]
        );
        assert_eq!(texts(GOOD, None), [(Warning, format!("{url} does not say its maxmemory-policy"))]);
        let old = GOOD.replace("7.0.15", "6.2.1");
        assert_eq!(texts(&old, Some("noeviction")), [(Failed, format!("{url} is version 6.2.1, which has no functions"))]);
        let replica = GOOD.replace("role:master", "role:slave");
        assert_eq!(texts(&replica, Some("volatile-ttl")), [(Waiting, format!("{url} is a slave"))]);
        let loading = GOOD.replace("loading:0", "loading:1");
        assert_eq!(texts(&loading, Some("noeviction")), [(Waiting, format!("{url} is loading its data"))]);
    }
}

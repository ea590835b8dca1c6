//! What can be set, by flag or by environment variable, and its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::signature::{Secret, SecretError};

/// Receives signed webhooks, stores every event once and shows what came in.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Arguments {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, env = "RECEIVER_LISTEN", default_value = "127.0.0.1:5001")]
    listen: SocketAddr,

    /// SQLite file; created if it is missing.
    #[arg(long, env = "RECEIVER_DB", default_value = "receiver.sqlite")]
    db: PathBuf,

    // A plain string, because clap repeats values that it cannot parse.
    /// Signing secret of the sender: whsec_ and base64. Rather set the variable than the flag, which other users can see.
    #[arg(long, env = "WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: String,

    /// Largest body that is read, in bytes.
    #[arg(long, env = "RECEIVER_BODY_BYTES_MAX", default_value_t = Settings::BODY_BYTES_MAX)]
    body_bytes_max: u32,

    /// How far webhook-timestamp may be from this machine's clock, in seconds.
    #[arg(long, env = "RECEIVER_TOLERANCE_S", default_value_t = Settings::TOLERANCE_S)]
    tolerance_s: u32,

    /// How long a request may take from its first byte to its answer, in seconds.
    #[arg(long, env = "RECEIVER_REQUEST_S_MAX", default_value_t = Settings::REQUEST_S_MAX,
          value_parser = clap::value_parser!(u16).range(1..))]
    request_s_max: u16,

    /// Size at which the SQLite file is full and requests are answered 503, in bytes; 0 sets no limit.
    #[arg(long, env = "RECEIVER_DB_BYTES_MAX", default_value_t = 0)]
    db_bytes_max: u64,
}

/// The same, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// SQLite file.
    pub db: PathBuf,
    /// Signing secret of the sender.
    pub secret: Secret,
    /// Largest body that is read.
    pub body_bytes_max: u32,
    /// How far a request's timestamp may be from this machine's clock.
    pub tolerance_s: u32,
    /// How long a request may take.
    pub request_s_max: u16,
    /// Size at which the file is full; 0 sets no limit.
    pub db_bytes_max: u64,
}

impl Settings {
    /// A record of 16 MiB, and room for the envelope and for text that grows when it is escaped.
    pub const BODY_BYTES_MAX: u32 = 20 * 1024 * 1024;
    /// What the reference implementations of Standard Webhooks use.
    pub const TOLERANCE_S: u32 = 300;
    /// Shorter than the time-outs that senders commonly use.
    pub const REQUEST_S_MAX: u16 = 30;

    /// Defaults for everything that has one.
    #[must_use]
    pub fn new(db: PathBuf, secret: Secret) -> Self {
        Self {
            db,
            secret,
            body_bytes_max: Self::BODY_BYTES_MAX,
            tolerance_s: Self::TOLERANCE_S,
            request_s_max: Self::REQUEST_S_MAX,
            db_bytes_max: 0,
        }
    }
}

impl Arguments {
    /// The address to listen on, and the settings.
    ///
    /// # Errors
    /// The secret is not one; the message does not repeat it.
    pub fn check(self) -> Result<(SocketAddr, Settings), SecretError> {
        let settings = Settings {
            db: self.db,
            secret: self.webhook_secret.parse()?,
            body_bytes_max: self.body_bytes_max,
            tolerance_s: self.tolerance_s,
            request_s_max: self.request_s_max,
            db_bytes_max: self.db_bytes_max,
        };
        Ok((self.listen, settings))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_wrong_secret_is_not_repeated() {
        let arguments = ["webhook-receiver", "--webhook-secret", "whsec_do-not-print-me"];
        let error = Arguments::try_parse_from(arguments).unwrap().check().unwrap_err();
        assert!(!error.to_string().contains("print"), "{error}");
    }
}

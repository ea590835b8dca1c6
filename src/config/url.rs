//! A URL that may carry a password: usable, never printable with it.

use std::fmt;

use serde::Deserialize;

/// A URL from the pipeline file. What prints it (`Debug`, `Display`) leaves out the password and everything after `?`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL as written, for the client library that connects.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole URL with its password; not for logs or errors.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Scheme, without `://`; none if there is no such thing.
    pub fn scheme(&self) -> Option<&str> {
        self.0.split_once("://").map(|(scheme, _)| scheme)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A text without a scheme may be anything, a password too.
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str("***") };
        let known = scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
        if !known {
            return f.write_str("***");
        }
        // A password may hold `/` and `?` unescaped: everything before the last `@` counts as user and password.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user.split(':').next().unwrap_or_default()), rest),
            None => (None, rest),
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        match user {
            Some(user) => write!(f, "{scheme}://{user}:***@{rest}"),
            None => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_printing_shows_the_password() {
        for (url, shown) in [
            ("postgres://user:pass-word@db:5432/shop", "postgres://user:***@db:5432/shop"),
            ("postgres://user:pa/ss@wo?rd@db/shop?password=x", "postgres://user:***@db/shop"),
            ("postgres://db/shop?user=u&password=pass-word", "postgres://db/shop"),
            ("redis://:pass-word@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
            ("host=db password=pass-word", "***"),
            ("pass word://x", "***"),
        ] {
            let url = SecretUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
        }
    }
}

//! Plain HTTP to servers on loopback.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::{Client, Method};

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    // The TLS library wants to know its cryptography even for connections without TLS.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
});

/// One request; status and body, or why there was no answer.
pub async fn request(method: Method, url: &str, body: Option<String>) -> Result<(u16, String), String> {
    let mut request = CLIENT.request(method, url);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body);
    }
    let answer = request.send().await.map_err(|error| format!("{url}: {error}"))?;
    let status = answer.status().as_u16();
    let text = answer.text().await.map_err(|error| format!("{url}: {error}"))?;
    Ok((status, text))
}

/// The body of a GET that was answered 200.
pub async fn get(url: &str) -> Result<String, String> {
    match request(Method::GET, url, None).await? {
        (200, body) => Ok(body),
        (status, body) => Err(format!("{url}: {status} {body}")),
    }
}

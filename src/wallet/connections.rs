//! The HTTP clients: one for each time that connections may rest. A client closes what has rested longer before it is used again,
//! but for all operators alike; operators differ, and a request on a connection that its operator is just closing has an unknown
//! outcome. So each call goes through the client whose connections rest no longer than its operator allows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Client;
use reqwest::header::HeaderMap;

use super::WalletSettings;
use super::address::PublicAddresses;

/// How long a connection may rest where the operator names no time.
const REST_UNNAMED: Duration = Duration::from_millis(900);
/// So much less than the operator names, because the request still has to arrive.
const MARGIN: Duration = Duration::from_millis(500);

/// The clients of one runtime.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<HashMap<Duration, Client>>>);

impl Connections {
    /// The client for an operator whose latest answer named this time; `spare` where another one cannot be made.
    pub fn resting(&self, named: Option<Duration>, settings: &WalletSettings, spare: &Client) -> Client {
        let rest = rest(named, settings);
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients
            .entry(rest)
            .or_insert_with(|| client(settings, rest).unwrap_or_else(|_| spare.clone()))
            .clone()
    }
}

/// How long a connection may rest and still be used, in whole seconds' steps: a client for each step is enough.
fn rest(named: Option<Duration>, settings: &WalletSettings) -> Duration {
    let longest = Duration::from_millis(settings.idle_connection_ms);
    let allowed = named.map_or(REST_UNNAMED, |named| Duration::from_secs(named.as_secs()).saturating_sub(MARGIN));
    allowed.min(longest)
}

/// `Keep-Alive: timeout=5, max=100`, as far as it names a time.
pub(super) fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("keep-alive")?.to_str().ok()?;
    text.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let is_time = name.trim().eq_ignore_ascii_case("timeout");
        is_time.then(|| value.trim().parse().ok()).flatten().map(Duration::from_secs)
    })
}

/// A client without proxy, redirects and retries, whose connections rest no longer than this. Without root certificates it can still
/// call plain http.
///
/// # Errors
/// When it cannot be built either way.
pub(super) fn client(settings: &WalletSettings, rest: Duration) -> reqwest::Result<Client> {
    builder(settings, rest).build().or_else(|error| {
        tracing::warn!(%error, "no root certificates were found: https callbacks will fail");
        builder(settings, rest).tls_certs_only([]).build()
    })
}

fn builder(settings: &WalletSettings, rest: Duration) -> reqwest::ClientBuilder {
    let kept = if rest.is_zero() {
        0
    } else {
        settings.concurrent_calls_per_agent as usize
    };
    Client::builder()
        .user_agent(concat!("faircross/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(Duration::from_millis(settings.connect_timeout_ms))
        .tcp_user_timeout(Duration::from_millis(settings.unacknowledged_ms))
        .pool_idle_timeout(rest)
        .pool_max_idle_per_host(kept)
        .tcp_nodelay(true)
        .dns_resolver(Arc::new(PublicAddresses {
            allow_private: settings.allow_private_callbacks,
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_rests_less_than_its_operator_names() {
        let settings = WalletSettings::default();
        for (header, expected_ms) in [
            (None, 900),
            (Some("timeout=0"), 0),
            (Some("timeout=1"), 500),
            (Some("max=100, Timeout = 2"), 1_500),
            (Some("timeout=5, max=100"), 4_000),
            (Some("timeout=18446744073709551615"), 4_000),
            (Some("timeout=soon"), 900),
            (Some("max=3"), 900),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert("keep-alive", header.parse().expect("a header"));
            }
            let rest = rest(keep_alive(&headers), &settings);
            assert_eq!(rest, Duration::from_millis(expected_ms), "{header:?}");
        }
    }
}

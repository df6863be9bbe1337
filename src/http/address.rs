//! Whose address a request comes from. The peer of the connection is known for certain; `X-Forwarded-For` is only as good as
//! whoever wrote it, so it is believed from proxies that the settings name and read from the right, where they append.

use std::net::IpAddr;

use actix_web::{HttpRequest, http::header::HeaderMap};
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The caller's address. `None` where it cannot be known: then no address list admits it.
pub fn client_address(request: &HttpRequest, trusted_proxies: &[IpNet]) -> Option<IpAddr> {
    forwarded_address(request.peer_addr()?.ip(), request.headers(), trusted_proxies)
}

/// The same for what only machines of the house may see. A request that a proxy passed on, which the settings do not name, may
/// come from anywhere: to it the caller is unknown, although the proxy's own address is known.
pub fn direct_address(request: &HttpRequest, trusted_proxies: &[IpNet]) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip().to_canonical();
    let is_passed_on = ["x-forwarded-for", "x-real-ip", "forwarded", "via"]
        .iter()
        .any(|name| request.headers().contains_key(*name));
    let is_named = trusted_proxies.iter().any(|network| network.contains(&peer));
    (is_named || !is_passed_on)
        .then(|| client_address(request, trusted_proxies))
        .flatten()
}

/// The right-most address that is not a trusted proxy's, starting with the peer itself. An entry of a trusted proxy that is
/// no address makes the caller unknown; where all are trusted, the first one is the caller.
fn forwarded_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Option<IpAddr> {
    let is_trusted = |address: &IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
    let mut nearest = peer.to_canonical();
    let lines: Vec<_> = headers.get_all(FORWARDED_FOR).collect();
    for line in lines.into_iter().rev() {
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            if !is_trusted(&nearest) {
                return Some(nearest);
            }
            nearest = address(std::str::from_utf8(entry).ok()?.trim())?;
        }
    }
    Some(nearest)
}

/// `192.0.2.1`, `192.0.2.1:8080`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:8080`; IPv4 in IPv6 is taken as IPv4.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let with_port = || Some(entry.parse::<std::net::SocketAddr>().ok()?.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    /// The address seen from `peer` with these header lines; 10.0.0.0/8 and ::1 are proxies.
    fn seen(peer: &str, lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                HeaderName::from_static(FORWARDED_FOR),
                HeaderValue::from_str(line).expect("a header value"),
            );
        }
        let proxies = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().expect("a network"));
        forwarded_address(peer.parse().expect("an address"), &headers, &proxies).map(|address| address.to_string())
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(seen("203.0.113.9", &["10.1.1.1"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(seen("203.0.113.9", &["not an address"]).as_deref(), Some("203.0.113.9"));
    }

    #[test]
    fn a_proxy_is_believed_and_only_what_it_appended() {
        assert_eq!(seen("10.0.0.1", &["198.51.100.7"]).as_deref(), Some("198.51.100.7"));
        assert_eq!(seen("10.0.0.1", &["192.0.2.1, 198.51.100.7"]).as_deref(), Some("198.51.100.7"));
        assert_eq!(
            seen("10.0.0.1", &["192.0.2.1", "198.51.100.7, 10.2.2.2"]).as_deref(),
            Some("198.51.100.7")
        );
        assert_eq!(
            seen("10.0.0.1", &["192.0.2.1, 10.2.2.2", "198.51.100.7"]).as_deref(),
            Some("198.51.100.7")
        );
        assert_eq!(seen("::1", &["2001:db8::5"]).as_deref(), Some("2001:db8::5"));
    }

    #[test]
    fn a_proxy_alone_is_the_caller() {
        assert_eq!(seen("10.0.0.1", &[]).as_deref(), Some("10.0.0.1"));
        assert_eq!(seen("10.0.0.1", &["10.9.9.9, 10.8.8.8"]).as_deref(), Some("10.9.9.9"));
    }

    #[test]
    fn what_a_proxy_cannot_tell_is_unknown() {
        assert_eq!(seen("10.0.0.1", &["unknown"]), None);
        assert_eq!(seen("10.0.0.1", &["198.51.100.7, "]), None);
        assert_eq!(seen("10.0.0.1", &["rubbish, 198.51.100.7"]).as_deref(), Some("198.51.100.7"));
    }

    #[test]
    fn every_spelling_is_read() {
        for spelling in [
            "198.51.100.7:4711",
            "::ffff:198.51.100.7",
            "[::ffff:198.51.100.7]:80",
            " 198.51.100.7 ",
        ] {
            assert_eq!(seen("::ffff:10.0.0.1", &[spelling]).as_deref(), Some("198.51.100.7"), "{spelling}");
        }
        assert_eq!(seen("10.0.0.1", &["[2001:db8::5]"]).as_deref(), Some("2001:db8::5"));
        assert_eq!(seen("10.0.0.1", &["[2001:db8::5]:443"]).as_deref(), Some("2001:db8::5"));
    }
}

//! Which addresses a callback may go to. A callback URL comes from outside, and without this check it could point our
//! server at itself or at its neighbours (server-side request forgery). Literal addresses are checked in the URL, names
//! are checked after the lookup whose result is then connected to, so that a name cannot change its mind in between.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use url::{Host, Url};

/// Why a URL cannot be a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CallbackUrlError {
    /// Neither http nor https.
    #[error("a callback URL starts with http:// or https://")]
    Scheme,
    /// No host to call.
    #[error("a callback URL names a host")]
    Host,
    /// `user:password@` would end up in logs.
    #[error("a callback URL carries no user name and no password")]
    Credentials,
    /// Loopback, private, link-local, shared, reserved, multicast.
    #[error("the callback address is not a public one (FAIRCROSS__WALLET__ALLOW_PRIVATE_CALLBACKS=true permits it)")]
    PrivateAddress,
}

/// Checks a callback URL without looking its name up; names are checked again at every connection.
///
/// # Errors
/// The first rule that the URL breaks.
pub fn check_callback_url(url: &Url, allow_private: bool) -> Result<(), CallbackUrlError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(CallbackUrlError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(CallbackUrlError::Credentials);
    }
    let is_public_host = match url.host().ok_or(CallbackUrlError::Host)? {
        Host::Ipv4(address) => is_public(IpAddr::V4(address)),
        Host::Ipv6(address) => is_public(IpAddr::V6(address)),
        Host::Domain(name) => !is_local_name(name),
    };
    if is_public_host || allow_private {
        Ok(())
    } else {
        Err(CallbackUrlError::PrivateAddress)
    }
}

/// `localhost` and everything below it is this machine by definition, whatever a name server says.
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address belongs to the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol_assignments = a == 192 && b == 0 && c == 0;
    let benchmarking = a == 198 && (b == 18 || b == 19);
    let this_network_or_reserved = a == 0 || a >= 240;
    !(address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || shared
        || protocol_assignments
        || benchmarking
        || this_network_or_reserved)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if let Some(inner) = embedded_v4(address) {
        return is_public_v4(inner);
    }
    let global_unicast = (0x2000..0x4000).contains(&segments[0]);
    let documentation = (segments[0] == 0x2001 && segments[1] == 0x0db8) || (0x3fff..0x4000).contains(&segments[0]);
    let special_purpose = segments[0] == 0x2001 && segments[1] < 0x0200;
    global_unicast && !documentation && !special_purpose
}

/// The IPv4 address that a mapped, translated (NAT64) or 6to4 address leads to.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// A name that leads only to addresses that we do not call.
#[derive(Debug, Error)]
#[error("the callback's host name leads to no public address")]
pub(super) struct AddressRefused;

/// The system's name lookup, without the addresses that are not allowed.
pub(super) struct PublicAddresses {
    pub allow_private: bool,
}

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the callback's host name has no address").into());
            }
            let allowed: Vec<SocketAddr> = found.into_iter().filter(|found| allow_private || is_public(found.ip())).collect();
            if allowed.is_empty() {
                return Err(AddressRefused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> Result<(), CallbackUrlError> {
        check_callback_url(&Url::parse(url).expect(url), false)
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "localhost",
            "LOCALHOST",
            "api.localhost",
            "localhost.",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd12::1]",
            "[ff02::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:db8::1]",
            "[2001::1]",
            "[::127.0.0.1]",
        ] {
            let url = format!("https://{host}:8443/callback");
            assert_eq!(check(&url), Err(CallbackUrlError::PrivateAddress), "{url}");
            assert_eq!(check_callback_url(&Url::parse(&url).expect("a URL"), true), Ok(()), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_after_its_lookup() {
        let look_up = |allow_private| PublicAddresses { allow_private }.resolve("localhost".parse().expect("a name"));
        assert!(look_up(false).await.err().is_some_and(|error| error.is::<AddressRefused>()));
        assert!(look_up(true).await.is_ok_and(|mut addresses| addresses.next().is_some()));
    }

    #[test]
    fn public_addresses_and_names_are_accepted() {
        for host in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "192.1.0.1",
            "[2606:4700::1111]",
            "[64:ff9b::808:808]",
            "wallet.example.com",
        ] {
            assert_eq!(check(&format!("https://{host}/callback")), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_schemes_and_credentials_are_refused_even_where_private_addresses_are_allowed() {
        for (url, expected) in [
            ("file:///etc/passwd", CallbackUrlError::Scheme),
            ("redis://wallet.example.com", CallbackUrlError::Scheme),
            ("https://user@wallet.example.com", CallbackUrlError::Credentials),
            ("https://:password@wallet.example.com", CallbackUrlError::Credentials),
        ] {
            assert_eq!(check_callback_url(&Url::parse(url).expect("a URL"), true), Err(expected), "{url}");
        }
    }
}

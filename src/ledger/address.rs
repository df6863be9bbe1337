//! Where PostgreSQL is: one host, or several of which one at a time takes writes, as libpq writes them
//! (`postgres://user:password@first:5432,second:5432/name?target_session_attrs=read-write`). The library reads one host only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use url::Url;
use url::form_urlencoded::parse;

use super::limits::{self, Limits, Session};

/// Why a url names no PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("cannot be read: it must look like postgres://user:password@host:5432/name")]
    Unreadable,
    #[error("target_session_attrs must be any, read-write or primary: a server has to write")]
    Target,
}

/// The hosts of one record. Clones share which of them answered last.
#[derive(Clone)]
pub struct Address {
    hosts: Vec<PgConnectOptions>,
    /// Whether a host that takes no writes is passed over.
    must_write: bool,
    last_good: Arc<AtomicUsize>,
}

impl Address {
    /// Reads a url with one host or several, each with its own port or with one for all.
    ///
    /// # Errors
    /// When it cannot be read, or asks for a host that takes no writes.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::Unreadable)?;
        if !matches!(scheme, "postgres" | "postgresql") {
            return Err(AddressError::Unreadable);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, named) = authority.rsplit_once('@').map_or(("", authority), |(login, hosts)| (login, hosts));
        let login = if login.is_empty() { String::new() } else { format!("{login}@") };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let asked = |name: &str| {
            parse(query.as_bytes())
                .filter(|(key, _)| key == name)
                .last()
                .map(|(_, value)| value.into_owned())
        };
        let must_write = match asked("target_session_attrs").as_deref() {
            None | Some("any") => false,
            Some("read-write" | "primary") => true,
            Some(_) => return Err(AddressError::Target),
        };
        // As with libpq, hosts and ports may stand in the query too, where directories of sockets do.
        let (hosts, ports) = (asked("host").unwrap_or_default(), asked("port").unwrap_or_default());
        let (hosts, ports) = (list(&hosts), list(&ports));
        let named = list(named);
        let count = named.len().max(hosts.len());
        let options = (0..count).map(|place| {
            let authority = named.get(place).or(named.first()).copied().unwrap_or("localhost");
            let mut one = Url::parse(&format!("{scheme}://{login}{authority}{path}")).map_err(|_| AddressError::Unreadable)?;
            let kept = parse(query.as_bytes()).filter(|(key, _)| !matches!(&**key, "host" | "port" | "target_session_attrs"));
            let kept: Vec<_> = kept.collect();
            let mut pairs = one.query_pairs_mut();
            pairs.extend_pairs(kept);
            if let Some(host) = hosts.get(place).or(hosts.first()) {
                pairs.append_pair("host", host);
            }
            if let Some(port) = ports.get(place).or(ports.first()) {
                pairs.append_pair("port", port);
            }
            drop(pairs);
            // libpq, and the library with it, reads a plus sign as itself.
            let options: PgConnectOptions = one.as_str().parse().map_err(|_| AddressError::Unreadable)?;
            Ok(options.application_name("faircross").disable_statement_logging())
        });
        let hosts: Vec<PgConnectOptions> = options.collect::<Result<_, AddressError>>()?;
        Ok(Self {
            must_write: must_write || hosts.len() > 1,
            hosts,
            last_good: Arc::default(),
        })
    }

    /// The same hosts, whose sessions PostgreSQL shows under this name instead of a server's.
    #[must_use]
    pub fn named(mut self, application: &str) -> Self {
        self.hosts = self.hosts.into_iter().map(|host| host.application_name(application)).collect();
        self
    }

    /// A new session with our limits, on the first host that answers in time, from the one that did last time on. Of several
    /// hosts only one that takes writes will do. `patience` is shared out among them.
    ///
    /// # Errors
    /// When no host will do, or a limit cannot be put in force.
    pub async fn open(&self, limits: Limits, patience: Duration) -> Result<Session, sqlx::Error> {
        let first = self.last_good.load(Ordering::Relaxed);
        let patience = patience / u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1);
        let mut refused = sqlx::Error::PoolTimedOut;
        for place in (0..self.hosts.len()).map(|number| (first + number) % self.hosts.len()) {
            let Some(host) = self.hosts.get(place) else { continue };
            match tokio::time::timeout(patience, open(host, limits)).await {
                Ok(Ok(session)) if session.takes_writes || !self.must_write => {
                    self.last_good.store(place, Ordering::Relaxed);
                    return Ok(session);
                }
                Ok(Ok(_)) => refused = sqlx::Error::Io(std::io::Error::other("no host takes writes")),
                Ok(Err(error)) => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

async fn open(host: &PgConnectOptions, limits: Limits) -> Result<Session, sqlx::Error> {
    let connection: PgConnection = host.connect().await?;
    limits::impose(connection, limits).await
}

/// The parts of a list that is separated by commas; an empty text has one part where a host belongs.
fn list(text: &str) -> Vec<&str> {
    text.split(',').filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(url: &str) -> Vec<(String, u16, Option<std::path::PathBuf>)> {
        let address = Address::parse(url).expect("an address");
        let told = |host: &PgConnectOptions| (host.get_host().to_owned(), host.get_port(), host.get_socket().cloned());
        address.hosts.iter().map(told).collect()
    }

    #[test]
    fn one_host_or_several_are_read_as_libpq_does() {
        let host = |name: &str, port: u16| (name.to_owned(), port, None);
        assert_eq!(hosts("postgres://u:p@h:7/d"), [host("h", 7)]);
        assert_eq!(
            hosts("postgresql://u:p%40@a:1,b:2,c/d?sslmode=disable"),
            [host("a", 1), host("b", 2), host("c", 5432)]
        );
        assert_eq!(hosts("postgres://u@/d?host=a,b&port=5,6"), [host("a", 5), host("b", 6)]);
        let sockets = hosts("postgres://u@localhost/d?host=/one%20dir,/two&target_session_attrs=read-write");
        let sockets: Vec<_> = sockets.iter().map(|host| host.2.as_deref()).collect();
        assert_eq!(
            sockets,
            [Some(std::path::Path::new("/one dir")), Some(std::path::Path::new("/two"))]
        );
    }

    #[test]
    fn several_hosts_need_one_that_takes_writes() {
        let must_write = |url: &str| Address::parse(url).expect("an address").must_write;
        assert!(!must_write("postgres://u@h/d"));
        assert!(must_write("postgres://u@h/d?target_session_attrs=primary"));
        assert!(must_write("postgres://u@h,i/d"));
        for url in [
            "mysql://u@h/d",
            "h/d",
            "postgres://u@h:x/d",
            "postgres://u@h/d?target_session_attrs=standby",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}

//! How an address of Redis becomes a client: plain, over a unix socket, or with TLS (`rediss://`), where a private server's certificate
//! is usually signed by an authority of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, RedisError, TlsCertificates};

use super::LiveError;

/// A connection on which nothing is heard is asked for a sign of life after so long, and again at this pace ...
const KEEPALIVE: Duration = Duration::from_secs(10);
/// ... and is closed by the kernel when what was sent stays without one for so long. Our own deadline comes first.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Files in PEM format for `rediss://`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that signs Redis's certificate. `None`: those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, where Redis asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A client of the address, with our settings for its socket.
///
/// # Errors
/// [`LiveError::Unreachable`] when the address cannot be understood or a file cannot be read. The address is not repeated: it may hold a
/// password.
pub fn client(url: &str, tls: &TlsFiles) -> Result<Client, LiveError> {
    let not_understood = |error: RedisError| LiveError::Unreachable(format!("the address is not understood: {}", error.category()));
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let socket = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(USER_TIMEOUT);
    let info = url.into_connection_info().map_err(not_understood)?.set_tcp_settings(socket);
    if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Client::open(info).map_err(not_understood);
    }
    let certificates = TlsCertificates {
        client_tls: match &tls.client {
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: read(certificate)?,
                client_key: read(key)?,
            }),
            None => None,
        },
        root_cert: tls.ca.as_deref().map(read).transpose()?,
    };
    Client::build_with_tls(info, certificates)
        .map_err(|error| LiveError::Unreachable(format!("the certificates for TLS are not understood: {error}")))
}

fn read(file: &Path) -> Result<Vec<u8>, LiveError> {
    std::fs::read(file).map_err(|error| LiveError::Unreachable(format!("{} cannot be read: {error}", file.display())))
}

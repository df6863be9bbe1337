//! Which reign of Redis a connection was made to. A reign begins when a server starts and when a replica becomes the primary: from then on
//! what an earlier one wrote may be a second old. The run of the process (`run_id`) and the history that it writes (`master_replid`)
//! name it together: a server that lost its role and has it again is the same run, and another reign.
//!
//! A connection is told its reign when it is made. Redis does not close connections when its role changes, so each asks again
//! once a second and ends when the answer is another one. A history that got another name for no reason costs a rebuild of the sessions, and
//! nothing else.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, InfoDict, RedisError, ServerErrorKind, cmd};
use sha2::{Digest as _, Sha256};

use super::LiveError;
use super::fitness::{Unfit, error_of, is_recent};

/// How often a connection asks whether its reign still goes on.
pub(super) const ASKED_EVERY: Duration = Duration::from_secs(1);

/// So many bytes tell a reign from the others.
const BYTES: usize = 4;

/// The reign at the other end, if it is one that serves.
///
/// # Errors
/// [`LiveError::Unfit`] when it is too old, a replica or part of a cluster, or we may not ask; [`LiveError::Unreachable`].
pub(super) async fn ask(connection: &mut MultiplexedConnection) -> Result<Arc<str>, LiveError> {
    let asked: Result<InfoDict, RedisError> = cmd("INFO").arg("server").arg("replication").query_async(connection).await;
    let about = match asked {
        Ok(about) => about,
        // Before 7.0 one section can be asked for at a time.
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError) && error.code() == Some("ERR") => {
            let about: InfoDict = cmd("INFO").query_async(connection).await.map_err(|error| error_of(&error))?;
            about
        }
        Err(error) => return Err(error_of(&error)),
    };
    let text = |name: &str| about.get::<String>(name).unwrap_or_default();
    let version = text("redis_version");
    if !is_recent(&version) {
        return Err(LiveError::Unfit(Unfit::TooOld { version }));
    }
    if text("redis_mode") == "cluster" {
        return Err(LiveError::Unfit(Unfit::Cluster));
    }
    if text("role") != "master" {
        return Err(LiveError::Unfit(Unfit::Replica));
    }
    let name = Sha256::digest(format!("{} {}", text("run_id"), text("master_replid")));
    Ok(hex::encode(&name[..BYTES]).into())
}

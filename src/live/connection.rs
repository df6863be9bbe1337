//! One pipelined connection to Redis for each runtime (a worker of the HTTP server is one, the jobs' thread another), made on its first
//! command and made again whenever it is lost.
//!
//! The library's own connection manager tries a few times and then keeps the failure until somebody asks again, so the first command
//! after an outage would fail although Redis is back. This one goes on in the background, at once and then after 50, 100, 150 ... at
//! most 500 ms. A command waits for it while the outage is young, so that a restart goes unnoticed, and fails at once when it is not, and in any
//! case when its deadline is over. A command that ran into its deadline may still have run; what follows from that is the scripts' matter.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tokio::sync::watch;

use super::fitness::{Unfit, error_of};
use super::{LiveError, reign};
use crate::per_runtime::PerRuntime;

/// The wait before each further attempt to connect grows by this much ...
const RECONNECT_STEP_MS: u64 = 50;
/// ... up to this much.
const RECONNECT_MAX_MS: u64 = 500;
/// After so many failed attempts in a row (about 300 ms) commands stop waiting for Redis to come back.
const PATIENT_ATTEMPTS: u32 = 4;

/// So many commands may be on their way at once before the next one waits for its turn.
const COMMANDS_IN_FLIGHT: usize = 1_024;

/// Where the shared connection stands.
enum State {
    /// Nobody has asked yet.
    Idle,
    /// A task is at it; so many attempts have failed, the last one for this reason.
    Connecting { failed_attempts: u32, reason: LiveError },
    /// In use. The number tells a lost connection from the one that replaced it.
    Up {
        number: u64,
        connection: MultiplexedConnection,
        run_of_redis: Arc<str>,
    },
}

/// One connection, and the task that makes it again.
struct Shared {
    client: redis::Client,
    deadline: Duration,
    state: watch::Sender<State>,
    connections: AtomicU64,
    /// Of all connections together.
    round_trips: Arc<AtomicU64>,
    /// The same as a metric.
    round_trips_total: metrics::Counter,
}

/// The connections of all runtimes.
struct Shares {
    client: redis::Client,
    deadline: Duration,
    round_trips: Arc<AtomicU64>,
    of_runtimes: PerRuntime<Arc<Shared>>,
}

/// A handle on the connections; clones share them.
#[derive(Clone)]
pub(super) struct Connection(Arc<Shares>);

impl Connection {
    /// Prepares without connecting.
    pub(super) fn prepare(client: redis::Client, deadline: Duration) -> Self {
        Self(Arc::new(Shares {
            client,
            deadline,
            round_trips: Arc::default(),
            of_runtimes: PerRuntime::default(),
        }))
    }

    /// Round trips issued since it was prepared.
    pub(super) fn round_trips(&self) -> u64 {
        self.0.round_trips.load(Ordering::Relaxed)
    }

    fn of_this_runtime(&self) -> Arc<Shared> {
        self.0.of_runtimes.here(|| {
            Arc::new(Shared {
                client: self.0.client.clone(),
                deadline: self.0.deadline,
                state: watch::Sender::new(State::Idle),
                connections: AtomicU64::new(0),
                round_trips: Arc::clone(&self.0.round_trips),
                round_trips_total: metrics::counter!("faircross_redis_round_trips_total"),
            })
        })
    }

    /// Sends one command; see [`Connection::run`].
    pub(super) async fn query<T: FromRedisValue>(&self, key: &str, command: &Cmd) -> Result<T, LiveError> {
        self.run(key, |mut counted| async move { command.query_async(&mut counted).await })
            .await
    }

    /// Runs one piece of work under the deadline. `key` names what it touches, in case the value there is of another type.
    /// If the connection breaks under it, it runs once more on the next one: everything sent to Redis may be sent twice.
    pub(super) async fn run<T, Work, Running>(&self, key: &str, work: Work) -> Result<T, LiveError>
    where
        Work: Fn(CountedConnection) -> Running,
        Running: Future<Output = RedisResult<T>>,
    {
        let shared = self.of_this_runtime();
        let used = AtomicU64::new(0);
        let answered = tokio::time::timeout(shared.deadline, async {
            let mut again = true;
            loop {
                let (number, counted) = shared.connected().await?;
                used.store(number, Ordering::Relaxed);
                match work(counted).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) if again && error.is_unrecoverable_error() => shared.lose(number, error_of(&error)),
                    Err(error) => return Err(shared.refused(number, key, &error)),
                }
                again = false;
            }
        });
        match answered.await {
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                // A connection that does not answer may be one whose other end is gone for good; a new one tells.
                shared.lose(used.load(Ordering::Relaxed), no_answer());
                Err(no_answer())
            }
        }
    }
}

impl Shared {
    /// The connection in use, or the one that is being made.
    async fn connected(self: &Arc<Self>) -> Result<(u64, CountedConnection), LiveError> {
        if let State::Up {
            number,
            connection,
            run_of_redis,
        } = &*self.state.borrow()
        {
            return Ok((*number, self.counted(connection, run_of_redis)));
        }
        let was_idle = self.state.send_if_modified(|state| {
            let idle = matches!(state, State::Idle);
            if idle {
                *state = State::Connecting {
                    failed_attempts: 0,
                    reason: LiveError::Unreachable("not connected yet".to_owned()),
                };
            }
            idle
        });
        if was_idle {
            self.start_connecting();
        }
        let mut watching = self.state.subscribe();
        let settled = watching
            .wait_for(|state| match state {
                State::Idle => true,
                State::Connecting { failed_attempts, reason } => *failed_attempts >= PATIENT_ATTEMPTS || stays(reason),
                State::Up { .. } => true,
            })
            .await;
        match settled.as_deref() {
            Ok(State::Up {
                number,
                connection,
                run_of_redis,
            }) => Ok((*number, self.counted(connection, run_of_redis))),
            Ok(State::Connecting { reason, .. }) => Err(reason.clone()),
            Ok(State::Idle) | Err(_) => Err(LiveError::Unreachable("the connection is being shut down".to_owned())),
        }
    }

    fn counted(self: &Arc<Self>, connection: &MultiplexedConnection, run_of_redis: &Arc<str>) -> CountedConnection {
        CountedConnection {
            shared: Arc::clone(self),
            connection: connection.clone(),
            run_of_redis: Arc::clone(run_of_redis),
        }
    }

    /// Turns a failed command into our error, and replaces the connection if it is to blame.
    fn refused(self: &Arc<Self>, number: u64, key: &str, error: &RedisError) -> LiveError {
        if error.code() == Some("WRONGTYPE") {
            return super::unreadable(key);
        }
        let refused = error_of(error);
        if error.is_unrecoverable_error() || refused == LiveError::Unfit(Unfit::Replica) {
            self.lose(number, refused.clone());
        }
        refused
    }

    /// Gives up connection `number`, unless it has been replaced already, and starts making another.
    fn lose(self: &Arc<Self>, number: u64, reason: LiveError) {
        let lost = self.state.send_if_modified(|state| {
            let current = matches!(state, State::Up { number: in_use, .. } if *in_use == number);
            if current {
                *state = State::Connecting {
                    failed_attempts: 0,
                    reason: reason.clone(),
                };
            }
            current
        });
        if lost {
            tracing::warn!(%reason, "connection to Redis lost");
            metrics::counter!("faircross_redis_connections_lost_total").increment(1);
            self.start_connecting();
        }
    }

    fn start_connecting(self: &Arc<Self>) {
        tokio::spawn(connect_until_up(
            Arc::downgrade(self),
            self.state.clone(),
            self.client.clone(),
            self.deadline,
        ));
    }
}

/// Tries to connect until it works or nobody is left who would use it.
async fn connect_until_up(shared: Weak<Shared>, state: watch::Sender<State>, client: redis::Client, deadline: Duration) {
    // Deadlines are ours: they cover waiting for the connection, the script and its reload.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(deadline))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(COMMANDS_IN_FLIGHT);
    let mut failed_attempts = 0_u32;
    loop {
        let Some(alive) = shared.upgrade() else { return };
        let attempt = async {
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            let mut connection = connection.map_err(|error| error_of(&error))?;
            let run_of_redis = reign::ask(&mut connection).await?;
            Ok::<_, LiveError>((connection, run_of_redis))
        };
        let reason = match tokio::time::timeout(deadline, attempt).await {
            Ok(Ok((connection, run_of_redis))) => {
                let number = alive.connections.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::spawn(watch_reign(
                    Arc::downgrade(&alive),
                    number,
                    connection.clone(),
                    Arc::clone(&run_of_redis),
                ));
                state.send_replace(State::Up {
                    number,
                    connection,
                    run_of_redis,
                });
                return;
            }
            Ok(Err(error)) => error,
            Err(_elapsed) => LiveError::Unreachable("no connection in time".to_owned()),
        };
        drop(alive);
        failed_attempts = failed_attempts.saturating_add(1);
        if failed_attempts == PATIENT_ATTEMPTS {
            tracing::warn!(%reason, "no connection to Redis");
        }
        state.send_replace(State::Connecting { failed_attempts, reason });
        let wait_ms = RECONNECT_STEP_MS.saturating_mul(u64::from(failed_attempts)).min(RECONNECT_MAX_MS);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
}

/// Asks once a second whether the reign that the connection was made to still goes on, and gives the connection up when it does not. Ends
/// with the connection.
async fn watch_reign(shared: Weak<Shared>, number: u64, mut connection: MultiplexedConnection, made_to: Arc<str>) {
    loop {
        tokio::time::sleep(reign::ASKED_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        if !matches!(&*shared.state.borrow(), State::Up { number: in_use, .. } if *in_use == number) {
            return;
        }
        let reason = match tokio::time::timeout(shared.deadline, reign::ask(&mut connection)).await {
            Ok(Ok(reign)) if reign == made_to => continue,
            Ok(Ok(_)) => LiveError::Unreachable("another reign of Redis has begun".to_owned()),
            Ok(Err(error)) => error,
            Err(_elapsed) => no_answer(),
        };
        return shared.lose(number, reason);
    }
}

fn no_answer() -> LiveError {
    LiveError::Unreachable("no answer in time".to_owned())
}

/// Whether the next attempts will fail for the same reason, so that nobody needs to wait for them.
fn stays(reason: &LiveError) -> bool {
    matches!(reason, LiveError::Unfit(unfit) if !unfit.may_pass_soon())
}

/// The connection as one piece of work sees it: every request that goes out is counted.
pub(super) struct CountedConnection {
    shared: Arc<Shared>,
    connection: MultiplexedConnection,
    run_of_redis: Arc<str>,
}

impl CountedConnection {
    /// The run of Redis at the other end.
    pub(super) fn run_of_redis(&self) -> &str {
        &self.run_of_redis
    }

    fn count(&self) {
        self.shared.round_trips.fetch_add(1, Ordering::Relaxed);
        self.shared.round_trips_total.increment(1);
    }
}

impl ConnectionLike for CountedConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.count();
        self.connection.req_packed_command(command)
    }

    fn req_packed_commands<'a>(&'a mut self, pipeline: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        self.count();
        self.connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

//! The bare server's ways to Redis, PostgreSQL and the operator, set up as the product's are.

use std::sync::Arc;
use std::time::Duration;

use faircross::chance::Chance;
use faircross::clock::Clock;
use faircross::game::money::Amount;
use faircross::per_runtime::PerRuntime;
use faircross::wallet::message::{BetFacts, GamePayload, SettleFacts, bet_message, settle_message};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Script};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{Failure, Options};

/// As many as the product opens by default.
const CONNECTIONS: u32 = 16;
const COMMANDS_IN_FLIGHT: usize = 1_024;
const OPERATOR_CONNECTIONS: usize = 64;
const OPERATOR_ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const STAKE_MINOR: u64 = 1_000;
const DECIMAL_PLACES: u8 = 2;
const UTC_OFFSET_MINUTES: i32 = 480;
const ROUND_LIVES_S: u32 = 90_000;
/// A bet's row has about so many bytes besides its message.
const ROW_BYTES: usize = 600;

/// Reads the whole value and writes one field, as a step does.
const TOUCH: &str = "local value = redis.call('HGETALL', KEYS[1]) redis.call('HSET', KEYS[1], 'currentStep', ARGV[1]) return value";
/// Writes a whole value, as the end of a bet does.
const WRITE: &str = "redis.call('DEL', KEYS[1]) \
    redis.call('HSET', KEYS[1], 'sequence', '1', 'roundId', ARGV[1], 'round', ARGV[2], 'firstCollision', '-1', 'maxLane', '29', \
    'currentStep', '-1', 'restored', '0', 'isActive', '1', 'isWin', '0', 'run', '00000000') redis.call('EXPIRE', KEYS[1], ARGV[3]) return {}";
const TABLE: &str = "create table bare_bets (bet_id uuid primary key, sequence bigint generated always as identity unique, user_id text not null, \
    state text not null, message text not null, rest text not null, created_at timestamptz not null default now(), ended_at timestamptz)";
const INDEX: &str = "create index bare_bets_user on bare_bets (user_id, sequence)";

/// Shared by all workers.
pub struct Stores {
    redis: redis::Client,
    /// Each worker has a connection of its own to Redis and its own to the operator, like the product's.
    connections: PerRuntime<Arc<OnceCell<MultiplexedConnection>>>,
    operators: PerRuntime<reqwest::Client>,
    operator: reqwest::Client,
    postgres: PgPool,
    options: Options,
    touch: Script,
    write: Script,
    payload: GamePayload,
    row: String,
    round: String,
    /// The product's answer behind its fields that change, up to the closing brace.
    pub answer: String,
}

impl Stores {
    pub async fn connect(options: Options) -> Result<Self, Failure> {
        let postgres = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect(&options.database_url)
            .await?;
        sqlx::query(TABLE).execute(&postgres).await?;
        sqlx::query(INDEX).execute(&postgres).await?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answer = unchanging(&std::fs::read(&options.answer)?)?;
        Ok(Self {
            redis: redis::Client::open(options.redis_url.as_str())?,
            connections: PerRuntime::default(),
            operators: PerRuntime::default(),
            operator: operator()?,
            postgres,
            touch: Script::new(TOUCH),
            write: Script::new(WRITE),
            payload: GamePayload::default(),
            row: "x".repeat(ROW_BYTES),
            round: "x".repeat(options.round_bytes),
            answer,
            options,
        })
    }

    async fn redis(&self) -> Result<MultiplexedConnection, Failure> {
        let here = self.connections.here(Arc::default);
        let connect = async || {
            let config = AsyncConnectionConfig::new()
                .set_response_timeout(None)
                .set_pipeline_buffer_size(COMMANDS_IN_FLIGHT);
            self.redis.get_multiplexed_async_connection_with_config(&config).await
        };
        Ok(here.get_or_try_init(connect).await?.clone())
    }

    /// One script: reads a value and writes a field of it.
    pub async fn touch(&self, key: &str, lane: i16) -> Result<Vec<Vec<u8>>, Failure> {
        let mut redis = self.redis().await?;
        Ok(self.touch.key(key).arg(lane).invoke_async(&mut redis).await?)
    }

    /// One script: writes a value.
    pub async fn write(&self, key: &str, bet: Uuid) -> Result<(), Failure> {
        let mut redis = self.redis().await?;
        let mut script = self.write.key(key);
        script.arg(bet.to_string()).arg(&self.round).arg(ROUND_LIVES_S);
        let _: Vec<Vec<u8>> = script.invoke_async(&mut redis).await?;
        Ok(())
    }

    /// One commit: a row.
    pub async fn insert(&self, bet: Uuid, user: &str, message: &str) -> Result<(), Failure> {
        let sql = "insert into bare_bets (bet_id, user_id, state, message, rest) values ($1, $2, 'PENDING', $3, $4)";
        sqlx::query(sql)
            .bind(bet)
            .bind(user)
            .bind(message)
            .bind(&self.row)
            .execute(&self.postgres)
            .await?;
        Ok(())
    }

    /// One commit: a row's new state.
    pub async fn update(&self, bet: Uuid, state: &str) -> Result<(), Failure> {
        let sql = "update bare_bets set state = $2, ended_at = now() where bet_id = $1";
        sqlx::query(sql).bind(bet).bind(state).execute(&self.postgres).await?;
        Ok(())
    }

    /// The text that takes the stake.
    pub fn bet_message(&self, bet: Uuid, user: &str) -> Result<String, Failure> {
        let id = bet.to_string();
        Ok(bet_message(&self.facts(&id, user)?))
    }

    /// The text that ends a bet.
    pub fn settle_message(&self, bet: Uuid, user: &str) -> Result<String, Failure> {
        let id = bet.to_string();
        Ok(settle_message(&SettleFacts {
            bet: self.facts(&id, user)?,
            payout: Amount::ZERO,
            settled_at: Clock::default().now(),
        }))
    }

    fn facts<'a>(&'a self, id: &'a str, user: &'a str) -> Result<BetFacts<'a>, Failure> {
        Ok(BetFacts {
            platform_tx_id: id,
            user_id: user,
            currency: &self.options.currency,
            stake: Amount::from_minor(STAKE_MINOR)?,
            decimal_places: DECIMAL_PLACES,
            round_id: id,
            placed_at: Clock::default().now(),
            payload: &self.payload,
            utc_offset_minutes: UTC_OFFSET_MINUTES,
        })
    }

    /// One call to the operator.
    pub async fn call(&self, message: &str) -> Result<(), Failure> {
        let form = [("key", self.options.certificate.as_str()), ("message", message)];
        let operator = self.operators.here(|| operator().unwrap_or_else(|_| self.operator.clone()));
        let answer = operator
            .post(self.options.operator_url.clone())
            .form(&form)
            .send()
            .await?
            .bytes()
            .await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        match answer["status"].as_str() {
            Some("0000") => Ok(()),
            status => Err(format!("the operator answered {status:?}").into()),
        }
    }

    pub fn new_bet() -> Uuid {
        Chance.identifier()
    }
}

fn operator() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .tcp_nodelay(true)
        .timeout(OPERATOR_ANSWERS_WITHIN)
        .pool_max_idle_per_host(OPERATOR_CONNECTIONS)
        .build()
}

/// All of an answer but the fields that a request changes and the braces.
fn unchanging(answer: &[u8]) -> Result<String, Failure> {
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(answer)?;
    for changing in ["roundId", "betId", "lineNumber", "isFinished"] {
        fields.remove(changing).ok_or("the product's answer lacks a field")?;
    }
    let text = serde_json::to_string(&fields)?;
    Ok(text.trim_start_matches('{').trim_end_matches('}').to_owned())
}

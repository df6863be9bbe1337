//! Every key of Redis with its value, whatever its type, a batch at a time by SCAN. It is read as bytes, because the audit
//! looks for what should not be there.

use std::time::Duration;

use futures::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, Value, cmd};

/// Keys asked for at once.
const BATCH: usize = 500;
/// A large sorted set on a busy machine may take a while; an audit can wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// One key and all texts in its value: for a hash its fields and their values in turn.
pub struct Entry {
    pub key: Vec<u8>,
    pub texts: Vec<Vec<u8>>,
}

/// A batch, and Redis's clock after it was read.
pub struct Batch {
    pub entries: Vec<Entry>,
    pub now_unix_ms: u64,
}

/// A connection that walks over all keys.
pub struct RedisScan {
    connection: MultiplexedConnection,
    /// `None` before the first batch.
    cursor: Option<u64>,
}

impl RedisScan {
    /// Connects.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn connect(client: &redis::Client) -> Result<Self, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        Ok(Self {
            connection: client.get_multiplexed_async_connection_with_config(&config).await?,
            cursor: None,
        })
    }

    /// The next batch; `None` when all keys were seen. A key may come twice.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn next(&mut self) -> Result<Option<Batch>, RedisError> {
        if self.cursor == Some(0) {
            return Ok(None);
        }
        let mut scan = cmd("SCAN");
        scan.arg(self.cursor.unwrap_or_default()).arg("COUNT").arg(BATCH);
        let (cursor, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut self.connection).await?;
        self.cursor = Some(cursor);
        let entries = join_all(keys.into_iter().map(|key| read(self.connection.clone(), key))).await;
        Ok(Some(Batch {
            entries: entries.into_iter().collect::<Result<_, _>>()?,
            now_unix_ms: self.now_unix_ms().await?,
        }))
    }

    /// Removes these keys; returns how many were there.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn remove(&mut self, keys: &[&[u8]]) -> Result<u64, RedisError> {
        if keys.is_empty() {
            return Ok(0);
        }
        cmd("DEL").arg(keys).query_async(&mut self.connection).await
    }

    /// Redis's clock, by which a hazard epoch begins.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn now_unix_ms(&mut self) -> Result<u64, RedisError> {
        let (seconds, microseconds): (u64, u64) = cmd("TIME").query_async(&mut self.connection).await?;
        Ok(seconds.saturating_mul(1000).saturating_add(microseconds / 1000))
    }
}

async fn read(mut connection: MultiplexedConnection, key: Vec<u8>) -> Result<Entry, RedisError> {
    let kind: String = cmd("TYPE").arg(&key).query_async(&mut connection).await?;
    let mut texts = Vec::new();
    let asked = match kind.as_str() {
        "string" => Some(cmd("GET").arg(&key).to_owned()),
        "hash" => Some(cmd("HGETALL").arg(&key).to_owned()),
        "set" => Some(cmd("SMEMBERS").arg(&key).to_owned()),
        "list" => Some(cmd("LRANGE").arg(&key).arg(0).arg(-1).to_owned()),
        "zset" => Some(cmd("ZRANGE").arg(&key).arg(0).arg(-1).to_owned()),
        "stream" => Some(cmd("XRANGE").arg(&key).arg("-").arg("+").to_owned()),
        // It is gone since.
        _ => None,
    };
    if let Some(asked) = asked {
        flatten(asked.query_async(&mut connection).await?, &mut texts);
    }
    Ok(Entry { key, texts })
}

fn flatten(value: Value, texts: &mut Vec<Vec<u8>>) {
    match value {
        Value::BulkString(text) => texts.push(text),
        Value::SimpleString(text) => texts.push(text.into_bytes()),
        Value::Array(values) | Value::Set(values) => values.into_iter().for_each(|value| flatten(value, texts)),
        Value::Map(pairs) => pairs.into_iter().for_each(|(field, value)| {
            flatten(field, texts);
            flatten(value, texts);
        }),
        _ => {}
    }
}

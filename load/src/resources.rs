//! What the processes use: CPU time and memory from /proc, commands and memory of Redis, transactions of PostgreSQL.
//!
//! A process counts with its descendants (PostgreSQL has one per connection) and with those of them that have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::Failure;

/// The unit of CPU times in /proc, fixed by Linux for programs: hundredths of a second.
const TICKS_PER_S: f64 = 100.0;
/// PostgreSQL's processes tell their counts once a second at most.
const COUNTS_ARRIVE_WITHIN: Duration = Duration::from_millis(1_200);
/// So many sessions are weighed.
const WEIGHED_SESSIONS: usize = 50;

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Names and process ids.
    pub processes: Vec<(String, u32)>,
    pub redis_url: Option<String>,
    pub database_url: Option<String>,
}

/// Counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    cpu_s: BTreeMap<String, f64>,
    memory_bytes: BTreeMap<String, u64>,
    redis: Option<RedisCounts>,
    transactions: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct RedisCounts {
    commands: i64,
    scripts: i64,
    memory_bytes: u64,
    keys: u64,
}

/// What a stage used.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub processes: Vec<ProcessUsage>,
    pub redis: Option<RedisUsage>,
    pub postgres_transactions_per_round: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessUsage {
    pub name: String,
    pub cpu_s: f64,
    /// Of one core.
    pub cpu_percent: f64,
    /// The same number as milliseconds per round.
    pub cpu_s_per_1000_rounds: Option<f64>,
    /// Resident memory at the end; of several processes the sum of their fair shares.
    pub memory_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisUsage {
    /// Redis counts what a script calls too.
    pub commands_per_round: Option<f64>,
    /// Calls of scripts, each one round trip.
    pub scripts_per_round: Option<f64>,
    pub memory_bytes: u64,
    pub keys: u64,
    /// What one session occupies, with its key.
    pub session_bytes_mean: Option<u64>,
    pub session_bytes_most: Option<u64>,
}

/// Reads the counters.
pub struct Meter {
    sources: Sources,
    redis: Option<MultiplexedConnection>,
    postgres: Option<PgConnection>,
}

impl Meter {
    /// Connects to what is named in the sources.
    ///
    /// # Errors
    /// When a named store cannot be reached.
    pub async fn new(sources: Sources) -> Result<Self, Failure> {
        let redis = match &sources.redis_url {
            Some(url) => Some(redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?),
            None => None,
        };
        let postgres = match &sources.database_url {
            Some(url) => Some(PgConnection::connect(url).await?),
            None => None,
        };
        Ok(Self { sources, redis, postgres })
    }

    /// The counters now. (Waits a moment for those of PostgreSQL.)
    pub async fn sample(&mut self) -> Result<Sample, Failure> {
        let mut sample = Sample::default();
        let table = process_table();
        let named: BTreeSet<u32> = self.sources.processes.iter().map(|(_, pid)| *pid).collect();
        for (name, pid) in &self.sources.processes {
            let family = family(*pid, &table, &named);
            let cpu_s: f64 = family
                .iter()
                .filter_map(|member| table.get(member))
                .map(|process| process.cpu_s)
                .sum();
            *sample.cpu_s.entry(name.clone()).or_default() += cpu_s;
            *sample.memory_bytes.entry(name.clone()).or_default() += memory_bytes(&family);
        }
        if let Some(redis) = &mut self.redis {
            sample.redis = Some(redis_counts(redis).await?);
        }
        if let Some(postgres) = &mut self.postgres {
            tokio::time::sleep(COUNTS_ARRIVE_WITHIN).await;
            let sql = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
            sample.transactions = Some(sqlx::query_scalar(sql).fetch_one(postgres).await?);
        }
        Ok(sample)
    }

    /// What was used between two samples; `users` are players whose sessions are weighed.
    pub async fn usage(
        &mut self,
        before: &Sample,
        after: &Sample,
        rounds: u64,
        lasted: Duration,
        agent_id: &str,
        users: &[String],
    ) -> Result<Usage, Failure> {
        let per_round = |count: i64| (rounds > 0).then(|| count as f64 / rounds as f64);
        let processes = after.cpu_s.iter().map(|(name, cpu_s)| {
            let used = cpu_s - before.cpu_s.get(name).copied().unwrap_or(0.0);
            ProcessUsage {
                name: name.clone(),
                cpu_s: used,
                cpu_percent: used / lasted.as_secs_f64() * 100.0,
                cpu_s_per_1000_rounds: (rounds > 0).then(|| used / rounds as f64 * 1_000.0),
                memory_bytes: after.memory_bytes.get(name).copied().unwrap_or(0),
            }
        });
        let weights = self.session_weights(agent_id, users).await?;
        let redis = before.redis.zip(after.redis).map(|(before, after)| RedisUsage {
            commands_per_round: per_round(after.commands - before.commands),
            scripts_per_round: per_round(after.scripts - before.scripts),
            memory_bytes: after.memory_bytes,
            keys: after.keys,
            session_bytes_mean: weights.iter().sum::<u64>().checked_div(weights.len() as u64),
            session_bytes_most: weights.iter().max().copied(),
        });
        let transactions = before.transactions.zip(after.transactions);
        Ok(Usage {
            processes: processes.collect(),
            redis,
            postgres_transactions_per_round: transactions.and_then(|(before, after)| per_round(after - before)),
        })
    }

    /// An ended round's session stays for a minute, so that those of the stage are still there.
    async fn session_weights(&mut self, agent_id: &str, users: &[String]) -> Result<Vec<u64>, Failure> {
        let Some(redis) = &mut self.redis else { return Ok(Vec::new()) };
        // All fields are weighed: of a sample of them the one long field may be in it or not.
        let mut weights = Vec::new();
        for user in users.iter().take(WEIGHED_SESSIONS) {
            let key = format!("gameSession:{user}-{agent_id}");
            let weight: Option<u64> = redis::cmd("MEMORY")
                .arg("USAGE")
                .arg(key)
                .arg("SAMPLES")
                .arg(0)
                .query_async(redis)
                .await?;
            weights.extend(weight);
        }
        Ok(weights)
    }
}

async fn redis_counts(redis: &mut MultiplexedConnection) -> Result<RedisCounts, Failure> {
    let text: String = redis::cmd("INFO").arg("everything").query_async(redis).await?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|value| value.trim().parse::<u64>().ok())
    };
    let calls = |command: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(":calls="))
            .and_then(|rest| rest.split(',').next()?.parse::<i64>().ok())
            .unwrap_or(0)
    };
    Ok(RedisCounts {
        commands: i64::try_from(field("total_commands_processed").ok_or("INFO without total_commands_processed")?)?,
        scripts: calls("evalsha") + calls("eval"),
        memory_bytes: field("used_memory").ok_or("INFO without used_memory")?,
        keys: redis::cmd("DBSIZE").query_async(redis).await?,
    })
}

/// What /proc says of a process.
#[derive(Clone, Copy, Debug)]
struct Process {
    parent: u32,
    /// Its own and that of its descendants that have ended.
    cpu_s: f64,
}

fn process_table() -> BTreeMap<u32, Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// Reads a line of /proc/PID/stat. The name in parentheses may contain anything, so the fields are counted from its end.
fn parse_stat(line: &str) -> Option<Process> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields
        .get(11..15)?
        .iter()
        .map(|field| field.parse::<u64>().ok())
        .sum::<Option<u64>>()?;
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        cpu_s: ticks as f64 / TICKS_PER_S,
    })
}

/// A process and its descendants, but for those that have a name of their own.
fn family(root: u32, table: &BTreeMap<u32, Process>, named: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut family = BTreeSet::from([root]);
    loop {
        let children: Vec<u32> = table
            .iter()
            .filter(|(pid, process)| family.contains(&process.parent) && !family.contains(pid) && !named.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if children.is_empty() {
            return family;
        }
        family.extend(children);
    }
}

fn memory_bytes(family: &BTreeSet<u32>) -> u64 {
    let kib = |path: String, field: &str| -> Option<u64> {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let resident = |pid: &u32| kib(format!("/proc/{pid}/status"), "VmRSS:").unwrap_or(0);
    let sum: u64 = if family.len() == 1 {
        family.iter().map(resident).sum()
    } else {
        let share = |pid: &u32| kib(format!("/proc/{pid}/smaps_rollup"), "Pss:").unwrap_or_else(|| resident(pid));
        family.iter().map(share).sum()
    };
    sum * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_from_behind_the_name() {
        let line = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 0 0 0 150 50 25 25 20 0 4 0 100 1 1";
        let process = parse_stat(line).expect("a stat line");
        assert_eq!(process.parent, 7);
        assert!((process.cpu_s - 2.5).abs() < 1e-9);
    }

    #[test]
    fn a_family_has_grandchildren() {
        let process = |parent| Process { parent, cpu_s: 0.0 };
        let table = BTreeMap::from([(2, process(1)), (3, process(2)), (4, process(1)), (5, process(3))]);
        assert_eq!(family(2, &table, &BTreeSet::from([2])), BTreeSet::from([2, 3, 5]));
        assert_eq!(family(2, &table, &BTreeSet::from([2, 3])), BTreeSet::from([2]));
    }
}

//! Putting a PostgreSQL right that was restored from an older copy, before anybody plays on it.
//!
//! What happened after the copy was made is known to others: the operators hold the money, Redis holds rounds and nonces, players have
//! seen seeds that the copy believes unseen. So nothing that the copy has in force stays in force, every open bet is closed, and what
//! only an operator knows is cancelled there. The order makes it safe to be killed: the record says from the first step on that
//! a restore is under way, which no server starts on, and each step can be done again.

pub mod bill;
mod closings;
mod endings;
mod in_redis;
pub mod ledgers;
mod open_bets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::audit::{AuditError, LedgerBet, LedgerState};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::failpoint;
use crate::game::fairness::ServerSeed;
use crate::game::player::{AgentId, PlayerId, UserId};
use crate::ledger::restore::{self, FoundPlayer, LostPlayer, Rotation, Stranger};
use crate::ledger::sealing::{Sealing, server_seed_row};
use crate::ledger::{LedgerError, agents, closings as rows};
use crate::live::{Live, LiveError};
use crate::play::record_mark;
use crate::play::round::RoundFacts;
use crate::wallet::message::{BetFacts, GamePayload, cancel_message};
use bill::Bill;
use in_redis::InRedis;
use ledgers::Ledgers;

/// Rows that one statement writes.
const BATCH: i64 = 500;
/// So many nonces more than are known to be used are passed over: a bet that never left us is known to nobody, and without a ledger
/// none is. A player who bets a hundred times a second needs more than a year for them, and there are two million times as many.
const NONCES_IN_RESERVE: i64 = 1 << 32;
/// So many fencing numbers likewise.
const SEQUENCES_IN_RESERVE: i64 = 1_000_000;
/// So many sign-ins of a player likewise.
const GENERATIONS_IN_RESERVE: i64 = 1_000_000;

/// So often, and so far apart, servers' connections are looked for before they count: five seconds in all.
const LOOKS_AT_CONNECTIONS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Why a restore stopped. It can be run again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("the record: {0}")]
    Ledger(#[from] LedgerError),
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("Redis: {0}")]
    Live(#[from] LiveError),
    #[error("{0}")]
    Operator(#[from] AuditError),
    #[error(
        "{connections} connections of servers (or other commands) to this database: stop them first (behind a pooler, close its idle connections too)"
    )]
    ServersRun { connections: i64 },
    #[error("another restore is at work on this database")]
    AnotherRuns,
    #[error("no ledger speaks for {agents}: name one by --operator-ledger AGENT=URL|FILE, or say --without-ledger AGENT")]
    NoLedger { agents: String },
    #[error("the record does not have {agents}, which ledgers, options or Redis name: `faircross agent add` it, then run this again")]
    UnknownAgents { agents: String },
    #[error(
        "the secrets of {agents} cannot be opened: SEALING_KEY has to be the one of the servers (`faircross agent add` replaces what is damaged)"
    )]
    Sealed { agents: String },
}

/// What a restore works with.
pub struct Restore<'a> {
    pub connection: PgConnection,
    pub live: &'a Live,
    pub redis: &'a redis::Client,
    pub sealing: &'a Sealing,
    pub chance: Chance,
    pub clock: Clock,
    pub payload: &'a GamePayload,
    /// When the second cancel of a bet is due, in seconds after the bet.
    pub second_cancel_after_bet_s: i64,
    pub ledgers: &'a Ledgers,
    /// Agents of which no ledger can be had.
    pub without_ledger: &'a BTreeSet<String>,
}

/// Whether a restore may begin, before anything is changed.
///
/// # Errors
/// When it may not, or PostgreSQL cannot be asked.
pub async fn check(restore: &mut Restore<'_>) -> Result<(), RestoreError> {
    refuse_beside_servers(&mut restore.connection).await?;
    let named = restore.ledgers.agents().chain(restore.without_ledger.iter().map(String::as_str));
    let known = refuse_unknown_agents(&mut restore.connection, named).await?;
    let silent: Vec<String> = known
        .iter()
        .filter(|agent_id| !restore.ledgers.speak_for(agent_id) && !restore.without_ledger.contains(*agent_id))
        .cloned()
        .collect();
    if !silent.is_empty() {
        return Err(RestoreError::NoLedger { agents: silent.join(", ") });
    }
    refuse_sealed(&mut restore.connection, restore.sealing, &known).await
}

/// The bets of an agent that was added after the copy was made would be passed over. Returns the agents that are known.
async fn refuse_unknown_agents(connection: &mut PgConnection, named: impl Iterator<Item = &str>) -> Result<BTreeSet<String>, RestoreError> {
    let known: BTreeSet<String> = restore::agents(connection).await?.into_iter().map(|agent| agent.agent_id).collect();
    let unknown: BTreeSet<&str> = named.filter(|agent_id| !known.contains(*agent_id)).collect();
    if unknown.is_empty() {
        Ok(known)
    } else {
        let agents = unknown.into_iter().collect::<Vec<_>>().join(", ");
        Err(RestoreError::UnknownAgents { agents })
    }
}

/// With another key no road can be computed, and new seeds would be sealed for nobody.
async fn refuse_sealed(connection: &mut PgConnection, sealing: &Sealing, known: &BTreeSet<String>) -> Result<(), RestoreError> {
    let mut sealed = Vec::new();
    for agent_id in known {
        match agents::find(connection, sealing, agent_id).await {
            Ok(_) => {}
            Err(LedgerError::Unreadable { .. }) => sealed.push(agent_id.clone()),
            Err(error) => return Err(error.into()),
        }
    }
    if sealed.is_empty() {
        Ok(())
    } else {
        Err(RestoreError::Sealed { agents: sealed.join(", ") })
    }
}

/// A connection whose owner has just gone, this command's own look at the schema among them, counts for a moment.
async fn refuse_beside_servers(connection: &mut PgConnection) -> Result<(), RestoreError> {
    let mut looks_left = LOOKS_AT_CONNECTIONS;
    loop {
        match restore::connections_of_servers(connection).await? {
            0 => return Ok(()),
            _ if looks_left > 0 => looks_left -= 1,
            connections => return Err(RestoreError::ServersRun { connections }),
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Puts the record right.
///
/// # Errors
/// When a store cannot be used; the restore is then run again.
pub async fn run(mut restore: Restore<'_>) -> Result<Bill, RestoreError> {
    let Some(begun) = restore::begin(&mut restore.connection).await? else {
        return Err(RestoreError::AnotherRuns);
    };
    let restore_id = begun.restore_id;
    let (in_redis, lost) = match restore.look_around().await {
        Ok(found) => found,
        Err(error) => {
            // Nothing was changed, so the servers are not held back.
            if begun.is_new
                && let Err(error) = restore::withdraw(&mut restore.connection, restore_id).await
            {
                tracing::error!(%error, "this restore was not taken back; servers start when one has come to its end");
            }
            return Err(error);
        }
    };
    let mut bill = Bill {
        sequence: restore.move_sequence(&in_redis, lost.len()).await?,
        ..Bill::default()
    };
    restore.close_open_bets(restore_id, &in_redis, &mut bill).await?;
    rows::doubt_unsent(&mut restore.connection).await?;
    failpoint::reach("R1");
    restore.keep_lost_bets(restore_id, &lost, &in_redis, &mut bill).await?;
    failpoint::reach("R2");
    restore.rotate_all(restore_id, &lost, &in_redis, &mut bill).await?;
    bill.launch_links_burned = restore::burn_launch_links(&mut restore.connection).await?;
    failpoint::reach("R4");
    bill.redis_keys_removed = in_redis::remove(restore.redis).await?;
    failpoint::reach("R5");
    let (_, mark) = record_mark::compare(&mut restore.connection, None).await?;
    restore.live.keep_record_mark(&mark).await?;
    let kept = serde_json::to_value(&bill).unwrap_or_default();
    restore::finish(&mut restore.connection, restore_id, &kept).await?;
    Ok(bill)
}

impl<'a> Restore<'a> {
    /// All that is known elsewhere, read before anything is changed.
    async fn look_around(&mut self) -> Result<(InRedis, Vec<&'a LedgerBet>), RestoreError> {
        // One may have started while people were asked; since the restore was begun none does.
        refuse_beside_servers(&mut self.connection).await?;
        let in_redis = InRedis::read(self.redis).await?;
        let named = in_redis.players.keys().map(|player| player.agent_id.as_str());
        refuse_unknown_agents(&mut self.connection, named).await?;
        let lost = self.lost_bets().await?;
        Ok((in_redis, lost))
    }

    /// The bets that only the operators know.
    async fn lost_bets(&mut self) -> Result<Vec<&'a LedgerBet>, RestoreError> {
        let ledgers = self.ledgers;
        let mut lost = Vec::new();
        for agent in restore::agents(&mut self.connection).await? {
            let bets: Vec<&'a LedgerBet> = ledgers.bets(&agent.agent_id);
            for batch in bets.chunks(usize::try_from(BATCH).unwrap_or(1)) {
                // The record has UUIDs alone. A bet with another id is looked for nowhere and counts as lost.
                let by_id: HashMap<Uuid, &'a LedgerBet> = batch
                    .iter()
                    .filter_map(|bet| Some((bet.platform_tx_id.parse().ok()?, *bet)))
                    .collect();
                let ids: Vec<Uuid> = by_id.keys().copied().collect();
                for id in restore::unknown_among(&mut self.connection, &agent.agent_id, &ids).await? {
                    lost.extend(by_id.get(&id).copied());
                }
                lost.extend(batch.iter().copied().filter(|bet| bet.platform_tx_id.parse::<Uuid>().is_err()));
            }
        }
        Ok(lost)
    }

    /// Later bets get numbers that no bet before had, and that no session or lost bet has.
    async fn move_sequence(&mut self, in_redis: &InRedis, lost: usize) -> Result<i64, RestoreError> {
        let latest = crate::ledger::mark::standing(&mut self.connection)
            .await?
            .sequence
            .unwrap_or_default();
        let past = latest.max(in_redis.highest_sequence) + i64::try_from(lost).unwrap_or_default() + SEQUENCES_IN_RESERVE;
        Ok(restore::move_sequence(&mut self.connection, past).await?)
    }

    async fn keep_lost_bets(
        &mut self,
        restore_id: i64,
        lost: &[&LedgerBet],
        in_redis: &InRedis,
        bill: &mut Bill,
    ) -> Result<(), RestoreError> {
        for batch in lost.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let strangers: Vec<Stranger> = batch.iter().map(|bet| self.stranger(bet)).collect();
            restore::keep_strangers(&mut self.connection, restore_id, &strangers).await?;
            for (bet, stranger) in batch.iter().zip(&strangers) {
                match stranger.cancel {
                    Some(_) => bill.lost_bets_cancelled += 1,
                    None => bill.lost_bets_closed += 1,
                }
                if let Some(won) = decided_win(in_redis, bet) {
                    let detail = format!("its player {} was shown a win of {won}, and gets the stake back", bet.user_id);
                    bill.remark(format!("bet {}", bet.platform_tx_id), detail);
                }
            }
        }
        self.add_lost_players(lost, in_redis, bill).await
    }

    /// Players of the lost bets, and those of whom Redis alone tells.
    async fn add_lost_players(&mut self, lost: &[&LedgerBet], in_redis: &InRedis, bill: &mut Bill) -> Result<(), RestoreError> {
        let of_bets = lost.iter().filter_map(|bet| {
            let (agent_id, user_id) = (AgentId::parse(&bet.agent_id).ok()?, UserId::parse(&bet.user_id).ok()?);
            Some((PlayerId { agent_id, user_id }, bet.currency.clone()))
        });
        let of_redis = in_redis
            .players
            .iter()
            .map(|(player, traces)| (player.clone(), traces.currency.clone()));
        let mut currencies: BTreeMap<PlayerId, Option<String>> = BTreeMap::new();
        for (player, currency) in of_redis.chain(of_bets) {
            let told = currencies.entry(player).or_default();
            *told = told.take().or(currency);
        }
        let players: Vec<LostPlayer> = currencies
            .into_iter()
            .map(|(player, currency)| LostPlayer {
                pseudonym: self.sealing.pseudonym(&player).to_vec(),
                agent_id: player.agent_id.as_str().to_owned(),
                user_id: player.user_id.as_str().to_owned(),
                currency,
            })
            .collect();
        for batch in players.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            bill.lost_players += restore::add_players(&mut self.connection, batch, NONCES_IN_RESERVE).await?;
        }
        Ok(())
    }

    /// The operator took the stake and we know nothing of the bet any more: that is what `cancelBet` is for. (A `voidBet` would have to
    /// say more of it than a ledger tells.)
    fn stranger(&self, bet: &LedgerBet) -> Stranger {
        let is_open = bet.state == LedgerState::Bet;
        let cancel = is_open.then(|| {
            cancel_message(&BetFacts {
                platform_tx_id: &bet.platform_tx_id,
                user_id: &bet.user_id,
                currency: "",
                stake: crate::game::money::Amount::ZERO,
                decimal_places: 0,
                round_id: &bet.round_id,
                placed_at: self.clock.now(),
                payload: self.payload,
                utc_offset_minutes: 0,
            })
        });
        Stranger {
            agent_id: bet.agent_id.clone(),
            platform_tx_id: bet.platform_tx_id.clone(),
            user_id: bet.user_id.clone(),
            operator_state: bet.state.as_str().to_owned(),
            currency: bet.currency.clone(),
            stake: bet.bet_amount,
            win: bet.win_amount,
            decision: if is_open { "cancelled" } else { "closed there before" },
            cancel,
        }
    }

    async fn rotate_all(&mut self, restore_id: i64, lost: &[&LedgerBet], in_redis: &InRedis, bill: &mut Bill) -> Result<(), RestoreError> {
        let mut bets_of: HashMap<(&str, &str), i64> = HashMap::new();
        for bet in lost {
            *bets_of.entry((&bet.agent_id, &bet.user_id)).or_default() += 1;
        }
        let mut after = (String::new(), String::new());
        loop {
            let players = restore::players_after(&mut self.connection, (&after.0, &after.1), BATCH).await?;
            let Some(last) = players.last() else { return Ok(()) };
            after = (last.agent_id.clone(), last.user_id.clone());
            let rotations: Vec<Rotation> = players
                .iter()
                .filter_map(|player| {
                    let lost = bets_of
                        .get(&(player.agent_id.as_str(), player.user_id.as_str()))
                        .copied()
                        .unwrap_or_default();
                    self.rotation(player, lost, in_redis)
                })
                .collect();
            restore::rotate(&mut self.connection, restore_id, &rotations).await?;
            bill.pairs_rotated += u64::try_from(rotations.len()).unwrap_or_default();
            bill.players_signed_out += restore::sign_out(&mut self.connection, &players, GENERATIONS_IN_RESERVE).await?;
            failpoint::reach("R3");
        }
    }

    /// A new pair, at a nonce beyond all that may have been used. A player without a pair may have got one since the copy was made.
    fn rotation(&self, player: &FoundPlayer, lost: i64, in_redis: &InRedis) -> Option<Rotation> {
        let id = PlayerId {
            agent_id: AgentId::parse(&player.agent_id).ok()?,
            user_id: UserId::parse(&player.user_id).ok()?,
        };
        let seen = in_redis.nonce_of(&id);
        let used = player.free_nonce.max(seen.map_or(0, |nonce| nonce.saturating_add(1)));
        let row = server_seed_row(&id);
        let (current, next) = (
            ServerSeed::from_bytes(self.chance.bytes_32()),
            ServerSeed::from_bytes(self.chance.bytes_32()),
        );
        Some(Rotation {
            agent_id: player.agent_id.clone(),
            user_id: player.user_id.clone(),
            free_nonce: player.free_nonce,
            nonce: used.saturating_add(lost).saturating_add(NONCES_IN_RESERVE),
            user_seed: player.user_seed.clone().unwrap_or_else(|| self.chance.token()),
            server_seed_sealed: self.sealing.seal(&row, current.reveal()),
            commitment: current.commitment().as_str().to_owned(),
            next_server_seed_sealed: self.sealing.seal(&row, next.reveal()),
            next_commitment: next.commitment().as_str().to_owned(),
        })
    }
}

/// What the player of a lost bet was shown as the win, where its session in Redis had ended and the operator was not told.
fn decided_win(in_redis: &InRedis, bet: &LedgerBet) -> Option<String> {
    let session = in_redis.ended.get(&bet.platform_tx_id).filter(|_| bet.state == LedgerState::Bet)?;
    let facts = RoundFacts::of_session(session).ok()?;
    let ended = facts.terms().ok()?.end(session.end?, session.current_step).ok()?;
    ended.is_win().then(|| ended.payout.format(facts.decimal_places))
}

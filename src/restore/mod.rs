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

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::audit::{AuditError, LedgerBet, LedgerState};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::failpoint;
use crate::game::configuration::GameConfiguration;
use crate::game::fairness::ServerSeed;
use crate::game::player::{AgentId, PlayerId, UserId};
use crate::game::round::Terms;
use crate::ledger::history::BetRow;
use crate::ledger::restore::{self, Closing, FoundPlayer, LostPlayer, Rotation, Stranger};
use crate::ledger::sealing::{Sealing, server_seed_row};
use crate::ledger::{LedgerError, configurations};
use crate::live::{Live, LiveError};
use crate::play::context::Configuration;
use crate::play::record_mark;
use crate::play::round::{RoundFacts, stake_of};
use crate::wallet::message::{BetFacts, GamePayload, cancel_message};
use bill::Bill;
use endings::{Ending, Void, decide};
use in_redis::InRedis;
use ledgers::Ledgers;

/// Rows that one statement writes.
const BATCH: i64 = 500;
/// So many nonces more than are known to be used are passed over: a bet that never left us is known to nobody.
const NONCES_IN_RESERVE: i64 = 10_000;
/// So many fencing numbers likewise.
const SEQUENCES_IN_RESERVE: i64 = 1_000_000;
/// So many sign-ins of a player likewise.
const GENERATIONS_IN_RESERVE: i64 = 1_000_000;

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
    let agents = restore::agents(&mut restore.connection).await?;
    let silent: Vec<String> = agents
        .into_iter()
        .map(|agent| agent.agent_id)
        .filter(|agent_id| !restore.ledgers.speak_for(agent_id) && !restore.without_ledger.contains(agent_id))
        .collect();
    if silent.is_empty() {
        Ok(())
    } else {
        Err(RestoreError::NoLedger { agents: silent.join(", ") })
    }
}

async fn refuse_beside_servers(connection: &mut PgConnection) -> Result<(), RestoreError> {
    match restore::connections_of_servers(connection).await? {
        0 => Ok(()),
        connections => Err(RestoreError::ServersRun { connections }),
    }
}

/// Puts the record right.
///
/// # Errors
/// When a store cannot be used; the restore is then run again.
pub async fn run(mut restore: Restore<'_>) -> Result<Bill, RestoreError> {
    let Some(restore_id) = restore::begin(&mut restore.connection).await? else {
        return Err(RestoreError::AnotherRuns);
    };
    // One may have started while people were asked; from here on none does.
    refuse_beside_servers(&mut restore.connection).await?;
    let mut bill = Bill::default();
    let in_redis = InRedis::read(restore.redis).await?;
    let lost = restore.lost_bets().await?;
    bill.sequence = restore.move_sequence(&in_redis, lost.len()).await?;
    restore.close_open_bets(restore_id, &in_redis, &mut bill).await?;
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
    /// The bets that only the operators know.
    async fn lost_bets(&mut self) -> Result<Vec<&'a LedgerBet>, RestoreError> {
        let ledgers = self.ledgers;
        let mut lost = Vec::new();
        for agent in restore::agents(&mut self.connection).await? {
            let bets: Vec<&'a LedgerBet> = ledgers.bets(&agent.agent_id);
            for batch in bets.chunks(usize::try_from(BATCH).unwrap_or(1)) {
                // An id that is none of ours in form is none of ours.
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

    async fn close_open_bets(&mut self, restore_id: i64, in_redis: &InRedis, bill: &mut Bill) -> Result<(), RestoreError> {
        let agents = restore::agents(&mut self.connection).await?;
        let offsets: HashMap<String, i32> = agents.into_iter().map(|agent| (agent.agent_id, agent.utc_offset_minutes)).collect();
        let mut configurations = HashMap::new();
        loop {
            let bets = restore::open_bets(&mut self.connection, BATCH).await?;
            if bets.is_empty() {
                return Ok(());
            }
            let mut closings: Vec<Closing> = Vec::new();
            for bet in &bets {
                let terms = self.terms(bet, &mut configurations).await?;
                let is_covered = self.ledgers.speak_for(&bet.agent_id);
                let entry = self.ledgers.bet(&bet.agent_id, &bet.bet_id.to_string());
                let session = in_redis.ended.get(&bet.bet_id.to_string());
                let ending = decide(bet, terms.as_ref(), is_covered, entry, session);
                let offset = offsets.get(&bet.agent_id).copied().unwrap_or_default();
                let platform_tx_id = bet.bet_id.to_string();
                let facts = self.facts_of(bet, &platform_tx_id, offset)?;
                let closing = match ending {
                    Ending::Cancelled => closings::cancelled(bet, &facts, self.second_cancel_after_bet_s),
                    Ending::Ended { ended, told } => closings::ended(bet, facts, &ended, told, self.clock.now()),
                    Ending::Voided(void) => closings::voided(bet, &facts, void, self.clock.now()),
                };
                closings.push(Closing {
                    operator_state: entry.map(|entry| entry.state.as_str().to_owned()),
                    ..closing
                });
                note(bill, bet, ending, entry);
            }
            restore::close(&mut self.connection, restore_id, &closings).await?;
        }
    }

    /// The road and the terms of a bet; `None` where its seed cannot be opened, so that nothing can be computed from it.
    async fn terms(&mut self, bet: &BetRow, known: &mut HashMap<i32, Option<Configuration>>) -> Result<Option<Terms>, RestoreError> {
        let version = bet.configuration_version;
        if let Entry::Vacant(unread) = known.entry(version) {
            let content = configurations::content(&mut self.connection, version).await?;
            let game = content.and_then(|bytes| GameConfiguration::parse(&bytes).ok());
            unread.insert(game.map(|game| Configuration { version, game }));
        }
        let Some(Some(configuration)) = known.get(&version) else {
            return Ok(None);
        };
        let facts = RoundFacts::of_bet(bet, configuration, self.sealing);
        Ok(facts.ok().and_then(|facts| facts.terms().ok()))
    }

    /// What every message about a bet says of it.
    fn facts_of<'b>(&'b self, bet: &'b BetRow, platform_tx_id: &'b str, utc_offset_minutes: i32) -> Result<BetFacts<'b>, LedgerError> {
        Ok(BetFacts {
            platform_tx_id,
            user_id: &bet.user_id,
            currency: &bet.currency,
            stake: stake_of(bet)?,
            decimal_places: u8::try_from(bet.decimal_places).unwrap_or_default(),
            round_id: platform_tx_id,
            placed_at: bet.placed_at,
            payload: self.payload,
            utc_offset_minutes,
        })
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
        let players: BTreeSet<LostPlayer> = lost
            .iter()
            .filter(|bet| UserId::parse(&bet.user_id).is_ok())
            .filter_map(|bet| {
                Some(LostPlayer {
                    agent_id: bet.agent_id.clone(),
                    user_id: bet.user_id.clone(),
                    currency: bet.currency.clone()?,
                })
            })
            .collect();
        let players: Vec<LostPlayer> = players.into_iter().collect();
        for batch in players.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            bill.lost_players += restore::add_players(&mut self.connection, batch).await?;
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

    /// A new pair, at a nonce beyond all that may have been used. `None`: a player who never had one.
    fn rotation(&self, player: &FoundPlayer, lost: i64, in_redis: &InRedis) -> Option<Rotation> {
        let id = PlayerId {
            agent_id: AgentId::parse(&player.agent_id).ok()?,
            user_id: UserId::parse(&player.user_id).ok()?,
        };
        let seen = in_redis.nonce_of(&id);
        if player.user_seed.is_none() && lost == 0 && seen.is_none() {
            return None;
        }
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

fn note(bill: &mut Bill, bet: &BetRow, ending: Ending, entry: Option<&LedgerBet>) {
    let counted = match ending {
        Ending::Cancelled => &mut bill.cancelled,
        Ending::Ended { told: true, .. } | Ending::Voided(Void::Told) => &mut bill.closed_by_operator,
        Ending::Ended { told: false, .. } => &mut bill.closed_by_session,
        Ending::Voided(Void::Owed) => &mut bill.voided,
        Ending::Voided(Void::Contradicted) => &mut bill.left_to_people,
    };
    *counted += 1;
    if ending == Ending::Voided(Void::Contradicted) {
        let won = entry.map(LedgerBet::won).unwrap_or_default();
        bill.remark(
            format!("bet {}", bet.bet_id),
            format!("the operator has settled it with {won}, which no lane of its road pays"),
        );
    }
}

/// What the player of a lost bet was shown as the win, where its session in Redis had ended and the operator was not told.
fn decided_win(in_redis: &InRedis, bet: &LedgerBet) -> Option<String> {
    let session = in_redis.ended.get(&bet.platform_tx_id).filter(|_| bet.state == LedgerState::Bet)?;
    let facts = RoundFacts::of_session(session).ok()?;
    let ended = facts.terms().ok()?.end(session.end?, session.current_step).ok()?;
    ended.is_win().then(|| ended.payout.format(facts.decimal_places))
}

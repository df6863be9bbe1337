//! The real record of a player, as two servers use it: each has a connection of its own.

use std::collections::HashMap;

use faircross::chance::Chance;
use faircross::clock::Clock;
use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::{ServerSeed, UserSeed};
use faircross::game::money::{Amount, Coefficient, payout};
use faircross::game::player::{AgentId, PlayerId, UserId};
use faircross::game::round::{EndReason, Ended};
use faircross::ledger::bets::{self, CancelPlan, EndOfRound, Intent, NextSeed};
use faircross::ledger::calls::CallRecord;
use faircross::ledger::outbox::{self, Again, Claimed, Queue, Resolution, Selection, Trace};
use faircross::ledger::sealing::Sealing;
use faircross::ledger::{LedgerError, archive, configurations, players, sweep};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::calls::{Call, Decision, Reply, Tampering};
use super::model::{MAX_LANE, Record};

/// Longer than a test runs, in seconds: what is not due does not fall due by itself.
const LONG_S: i64 = 100_000;
const STAKE_MINOR: u64 = 1_000;

const CALL: CallRecord<'static> = CallRecord {
    agent_id: "demo",
    action: "settle",
    message: "a message",
    outcome: "unknown",
    status: None,
    http_status: None,
    answer: None,
    duration_ms: 1,
};

/// One player and their rows.
pub struct RealRecord {
    servers: [PgConnection; 2],
    player: PlayerId,
    sealing: Sealing,
    configuration_version: i32,
    /// The pair that is in force.
    current: ServerSeed,
    next: ServerSeed,
    /// How many bets have ended.
    ended: usize,
    /// What the numbers of the model are here.
    sequences: Vec<i64>,
    rows: Vec<i64>,
}

impl RealRecord {
    /// A new player of the agent `demo`.
    pub async fn new(database_url: &str, user: u32) -> Self {
        let mut servers = [connect(database_url).await, connect(database_url).await];
        let connection = &mut servers[0];
        let game = GameConfiguration::embedded_default();
        let configuration_version = configurations::ensure(connection, game.bytes(), game.hash())
            .await
            .expect("a version");
        run(
            connection,
            "insert into agents (agent_id, certificate_sealed, callback_url, allowed_addresses, currencies)
             values ('demo', '', 'http://127.0.0.1/', '{}', '{INR}') on conflict do nothing"
                .to_owned(),
        )
        .await
        .expect("an agent");
        let player = PlayerId {
            agent_id: AgentId::parse("demo").expect("an agent's id"),
            user_id: UserId::parse(&format!("user{user}")).expect("a user's id"),
        };
        let sealing = Sealing::new(&[7; 32], Chance);
        let (current, next) = (seed(), seed());
        let new = players::NewPlayer {
            id: &player,
            currency: "INR",
            bet_limit_minor: None,
            language: None,
            user_name: None,
        };
        assert!(players::create(connection, &sealing, &new).await.expect("a player"));
        let seeds = players::FirstSeeds {
            current: &current,
            next: &next,
            user_seed: "first",
        };
        players::ensure_seeds(connection, &sealing, &player, &seeds).await.expect("seeds");
        Self {
            servers,
            player,
            sealing,
            configuration_version,
            current,
            next,
            ended: 0,
            sequences: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Makes the call through one server and asserts the answer that the model gives.
    pub async fn make(&mut self, server: usize, call: Call, model: &Record) {
        if model.reply == Reply::NotMade {
            return;
        }
        let new_seed = seed();
        let answered = self.answer(server, call, model, &new_seed).await;
        let reply = match answered {
            Ok(reply) => reply,
            Err(error) => Reply::Refused(known(error.constraint().unwrap_or_else(|| panic!("{call:?}: {error}")))),
        };
        assert_eq!(reply, model.reply, "{call:?}");
        // The pair rotates when a bet ends, once, and never else.
        if model.ended_bets() > self.ended {
            self.ended = model.ended_bets();
            self.current = std::mem::replace(&mut self.next, new_seed);
        }
        let expected = [&self.current, &self.next].map(|seed| seed.commitment().as_str().to_owned());
        assert_eq!(self.pair().await, expected, "{call:?}");
        assert_eq!(self.revealed().await, self.ended, "{call:?}");
        self.learn_new_rows().await;
    }

    async fn answer(&mut self, server: usize, call: Call, model: &Record, new_seed: &ServerSeed) -> Result<Reply, LedgerError> {
        let next = NextSeed::seal(&self.sealing, &self.player, new_seed);
        let sequence = |bet: usize| model.bet(bet).map_or(0, |bet| self.sequences[bet]);
        let row = |row: usize| model.row(row).map_or(0, |row| self.rows[row]);
        let connection = &mut self.servers[server];
        Ok(match call {
            Call::Intent {
                commitment_is_stale,
                key,
                user_seed,
            } => {
                let expected = if commitment_is_stale { &self.next } else { &self.current }.commitment();
                let user_seed = user_seed.then(|| UserSeed::parse(&Chance.token()).expect("a seed"));
                let key = key.map(|key| format!("key-{key}"));
                let game_facts = (expected.as_str().to_owned(), user_seed, key);
                let version = self.configuration_version;
                let recorded = record_intent(connection, &self.player, version, &game_facts).await?;
                Reply::Moved(recorded)
            }
            Call::Placed { bet } => Reply::State(bets::record_placed(connection, sequence(bet), &CALL, "cancel").await?),
            Call::Rejected { bet } => Reply::Moved(bets::record_rejected(connection, sequence(bet), &CALL, &next).await?),
            Call::Cancelling { bet, has_call } => {
                let plan = CancelPlan {
                    message: "cancel",
                    debit_within_ms: 2_000,
                    second_cancel_after_s: LONG_S,
                };
                let audited = has_call.then_some(&CALL);
                Reply::Moved(bets::record_cancelling(connection, sequence(bet), audited, &plan, &next).await?)
            }
            Call::End {
                bet,
                reason,
                lane,
                payout_is_wrong,
            } => {
                let ended = ended(reason, lane, payout_is_wrong);
                let lease_token = format!("claim-{}", model.claims);
                let end = EndOfRound {
                    sequence: sequence(bet),
                    ended: &ended,
                    message: "settle",
                    debit: "bet",
                    next: &next,
                    lease_token: &lease_token,
                    lease_s: LONG_S,
                };
                Reply::Moved(bets::commit_end(connection, &end).await?.is_some())
            }
            Call::Claim => {
                let token = format!("claim-{}", model.claims);
                let mut claimed = Vec::new();
                for of_cancels in [true, false] {
                    let queue = Queue {
                        agent_id: "demo".to_owned(),
                        of_cancels,
                    };
                    claimed.extend(outbox::claim_due(connection, &queue, &token, LONG_S, 1_000).await?);
                }
                let number = |claimed: &Claimed| {
                    self.rows
                        .iter()
                        .position(|id| *id == claimed.outbox_id)
                        .expect("a row of this player")
                };
                let mut numbers: Vec<usize> = claimed.iter().map(number).collect();
                numbers.sort_unstable();
                Reply::Claimed(numbers)
            }
            Call::Complete { row: number } => {
                let bet = model.row(number).map_or(0, |row| model.rows[row].bet);
                Reply::Moved(outbox::complete(connection, row(number), self.sequences[bet], &CALL).await?)
            }
            Call::PutOff {
                row: number,
                holds_lease,
                for_people,
            } => {
                let (id, sequence) = (row(number), self.sequences[0]);
                let holder = self.holder(server, id).await;
                let token = if holds_lease { holder } else { "another".to_owned() };
                let again = if for_people {
                    Again::NeedsHuman
                } else {
                    Again::After { delay_ms: LONG_S * 1_000 }
                };
                let claimed = claimed(id, sequence);
                outbox::put_off(&mut self.servers[server], &claimed, &token, &CALL, Trace::MayHaveLeft, again).await?;
                Reply::Moved(true)
            }
            Call::Resolve { row: number, decision } => {
                let (confirmed_by, reason) = match decision {
                    Decision::Whole => ("Ben", "settled by hand, see ticket 7"),
                    Decision::OnePersonTwice => ("ANNA", "settled by hand, see ticket 7"),
                    Decision::WithoutReason => ("Ben", "ok       "),
                };
                let resolution = Resolution {
                    decided_by: "Anna",
                    confirmed_by,
                    reason,
                };
                Reply::Moved(outbox::resolve(connection, &only(row(number)), &resolution).await? == 1)
            }
            Call::RetryNow { row: number } => Reply::Moved(outbox::retry_now(connection, &only(row(number))).await? == 1),
            Call::LeaseRunsOut { row: number } => {
                let id = row(number);
                run(
                    connection,
                    format!("update outbox set leased_until = now() where outbox_id = {id} and lease_token is not null"),
                )
                .await?;
                Reply::Moved(true)
            }
            Call::FallsDue { row: number } => {
                let id = row(number);
                run(connection, format!("update outbox set due_at = now() where outbox_id = {id}")).await?;
                Reply::Moved(true)
            }
            Call::KeepProgress { bet, lane } => Reply::Moved(sweep::keep_progress(connection, &[sequence(bet)], &[lane]).await? == 1),
            Call::ChangeUserSeed => {
                let change = players::change_user_seed(connection, &self.player, &Chance.token()).await?;
                Reply::Moved(change == players::SeedChange::Changed)
            }
            Call::Archive => {
                archive::archive_bets(connection, 0, 1_000, None).await?;
                Reply::Moved(true)
            }
            Call::Tamper { with, bet, row: number } => {
                let sql = tampering(with, sequence(bet), row(number), self.player.user_id.as_str());
                run(connection, sql).await?;
                Reply::Moved(true)
            }
        })
    }

    async fn holder(&mut self, server: usize, row: i64) -> String {
        let sql = format!("select coalesce((select lease_token from outbox where outbox_id = {row}), 'nobody')");
        ask(&mut self.servers[server], sql).await
    }

    async fn revealed(&mut self) -> usize {
        let sql = format!(
            "select count(*)::text from revealed_commitments where commitment in
             (select commitment from bets where user_id = '{0}' union select commitment from bets_archive where user_id = '{0}')",
            self.player.user_id
        );
        ask(&mut self.servers[0], sql).await.parse().expect("a number")
    }

    async fn pair(&mut self) -> [String; 2] {
        let pair = players::seed_pair(&mut self.servers[1], &self.player)
            .await
            .expect("a pair")
            .expect("seeds");
        [pair.commitment, pair.next_commitment]
    }

    /// Bets and rows that the call has made get the next numbers.
    async fn learn_new_rows(&mut self) {
        let user = self.player.user_id.clone();
        let sequences = format!("select coalesce(json_agg(sequence order by sequence), '[]')::text from bets where user_id = '{user}'");
        for sequence in numbers(&ask(&mut self.servers[0], sequences).await) {
            if !self.sequences.contains(&sequence) {
                self.sequences.push(sequence);
            }
        }
        let sequences: Vec<String> = self.sequences.iter().map(ToString::to_string).collect();
        if sequences.is_empty() {
            return;
        }
        let rows = format!(
            "select coalesce(json_agg(outbox_id order by outbox_id), '[]')::text from outbox where sequence in ({})",
            sequences.join(", ")
        );
        for row in numbers(&ask(&mut self.servers[0], rows).await) {
            if !self.rows.contains(&row) {
                self.rows.push(row);
            }
        }
    }

    /// The whole record of the player, in the model's words.
    pub async fn snapshot(&mut self) -> Value {
        let user = self.player.user_id.clone();
        let sql = format!(
            "with mine as (select sequence, state, last_lane, payout_minor, nonce, history_states, false as archived from bets where user_id = '{user}'
                           union all select sequence, state, last_lane, payout_minor, nonce, history_states, true from bets_archive where user_id = '{user}')
             select json_build_object(
                 'bets', (select coalesce(json_agg(json_build_object('state', state, 'lane', last_lane, 'pays', payout_minor > 0, 'archived', archived,
                     'nonce', nonce, 'history', history_states)
                     order by sequence), '[]') from mine),
                 'rows', (select coalesce(json_agg(json_build_object('sequence', sequence, 'action', action, 'state', state, 'claim', lease_token)
                     order by outbox_id), '[]') from outbox where sequence in (select sequence from mine)),
                 'audited', (select count(*) from wallet_audit where sequence in (select sequence from mine)),
                 'nonce', (select nonce + (select count(*) from bets where user_id = '{user}' and bets.nonce = player_seeds.nonce and is_open)
                     from player_seeds where user_id = '{user}'),
                 'open', (select count(*) from bets where user_id = '{user}' and state in ('PENDING', 'PLACED'))
             )::text"
        );
        let text = ask(&mut self.servers[1], sql).await;
        let mut value: Value = serde_json::from_str(&text).expect("JSON");
        let numbers: HashMap<i64, usize> = self
            .sequences
            .iter()
            .enumerate()
            .map(|(number, sequence)| (*sequence, number))
            .collect();
        for row in value["rows"].as_array_mut().expect("rows") {
            row["bet"] = numbers[&row["sequence"].as_i64().expect("a number")].into();
            row.as_object_mut().expect("a row").remove("sequence");
        }
        value
    }

    /// What is left over is nobody's: the next player's servers do not find it.
    pub async fn close(mut self) {
        let sql = format!("update outbox set due_at = now() + interval '{LONG_S} seconds' where state = 'open'");
        run(&mut self.servers[0], sql).await.expect("a statement");
    }
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("PostgreSQL answers")
}

/// Runs one statement in a database, as its owner.
pub async fn run_statement(database_url: &str, sql: &str) {
    run(&mut connect(database_url).await, sql.to_owned()).await.expect("a statement");
}

async fn run(connection: &mut PgConnection, sql: String) -> Result<(), LedgerError> {
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

async fn ask(connection: &mut PgConnection, sql: String) -> String {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.expect("a query")
}

fn numbers(text: &str) -> Vec<i64> {
    serde_json::from_str(text).expect("numbers")
}

fn seed() -> ServerSeed {
    ServerSeed::from_bytes(Chance.bytes_32())
}

/// The name as the model has it.
fn known(constraint: &str) -> &'static str {
    Box::leak(constraint.to_owned().into_boxed_str())
}

async fn record_intent(
    connection: &mut PgConnection,
    player: &PlayerId,
    configuration_version: i32,
    (expected_commitment, user_seed, idempotency_key): &(String, Option<UserSeed>, Option<String>),
) -> Result<bool, LedgerError> {
    let intent = Intent {
        bet_id: Chance.identifier(),
        player,
        generation: 0,
        game_code: "chicken-road-two",
        currency: "INR",
        decimal_places: 2,
        difficulty: Difficulty::Easy,
        stake: Amount::from_minor(STAKE_MINOR).expect("an amount"),
        configuration_version,
        max_lane: u8::try_from(MAX_LANE).expect("a lane"),
        user_seed: user_seed.as_ref(),
        expected_commitment: Some(expected_commitment),
        hazard_epoch: 1,
        hazard_seed: "00",
        idempotency_key: idempotency_key.as_deref(),
        message: "bet",
        placed_at: Clock::default().now(),
        session_ttl_s: 3_600,
    };
    Ok(bets::record_intent(connection, &intent).await?.is_some())
}

fn ended(reason: EndReason, lane: i16, payout_is_wrong: bool) -> Ended {
    let coefficient = Coefficient::from_hundredths(110)
        .ok()
        .filter(|_| !matches!(reason, EndReason::Hazard | EndReason::Void));
    let stake = Amount::from_minor(STAKE_MINOR).expect("an amount");
    let paid = coefficient.map_or(Amount::ZERO, |coefficient| payout(stake, coefficient).expect("an amount"));
    let wrong = Amount::from_minor(paid.minor() + 1).expect("an amount");
    Ended {
        reason,
        lane,
        coefficient,
        payout: if payout_is_wrong { wrong } else { paid },
    }
}

fn only(outbox_id: i64) -> Selection {
    Selection {
        outbox_id: Some(outbox_id),
        ..Selection::default()
    }
}

fn claimed(outbox_id: i64, sequence: i64) -> Claimed {
    Claimed {
        outbox_id,
        sequence,
        bet_id: None,
        agent_id: "demo".to_owned(),
        action: "settle".to_owned(),
        message: "settle".to_owned(),
        attempts: 1,
        age_s: 0,
        lapsed: false,
        may_have_left: false,
        is_repeat: false,
        unfounded_successes: 0,
        debit_is_over: false,
    }
}

/// A statement that must be refused.
fn tampering(with: Tampering, sequence: i64, row: i64, user: &str) -> String {
    match with {
        Tampering::JumpTo(state) => format!("update bets set state = '{}' where sequence = {sequence}", state.as_str()),
        Tampering::Stake => format!("update bets set stake_minor = stake_minor + 1 where sequence = {sequence}"),
        Tampering::LaneBack => format!("update bets set last_lane = last_lane - 1 where sequence = {sequence}"),
        Tampering::PayoutAfterTheEnd => format!("update bets set payout_minor = payout_minor + 1 where sequence = {sequence}"),
        Tampering::DeleteBet => format!("delete from bets where sequence = {sequence}"),
        Tampering::SkipNonce => format!(
            "insert into player_seeds select agent_id, user_id, nonce + 2, server_seed_sealed, 'c', next_server_seed_sealed, 'n', user_seed
             from player_seeds where user_id = '{user}'"
        ),
        Tampering::ReuseSeed => {
            format!(
                "insert into player_seeds select agent_id, user_id, nonce + 1, server_seed_sealed,
                     (select commitment from bets where sequence = {sequence}), next_server_seed_sealed, 'n', user_seed
                 from player_seeds where user_id = '{user}'"
            )
        }
        Tampering::Message => format!("update outbox set message = message || ' ' where outbox_id = {row}"),
        Tampering::Reopen => format!("update outbox set state = 'open' where outbox_id = {row}"),
        Tampering::SecondSettlement => {
            format!("insert into outbox (sequence, agent_id, action, message) values ({sequence}, 'demo', 'settle', 'settle')")
        }
        Tampering::History => format!("update bets set history_times[1] = now() where sequence = {sequence}"),
        Tampering::Audit => format!(
            "update wallet_audit set status = '0000' where sequence in
             (select sequence from bets where user_id = '{user}' union select sequence from bets_archive where user_id = '{user}')"
        ),
    }
}

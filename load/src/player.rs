//! A player: created and launched through the operator's endpoints, then on a connection of their own. Each request here is
//! measured, and each answer is held to the rules.

use std::sync::Arc;
use std::time::Instant;

use faircross::game::configuration::GameConfiguration;
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::answers::{Bet, Config, History, Problem, Round, Seeds};
use crate::checks::{self, Asked};
use crate::connection::{Answer, Connection, NoAnswer, Question};
use crate::draws::Draws;
use crate::recorder::Action;
use crate::scenario::Plan;
use crate::world::World;

/// Why an action did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}")]
pub struct Trouble {
    /// The server's code, an operator's status, or how the connection failed.
    pub code: String,
    /// 0 where there was no answer.
    pub status: u16,
    pub retry_after_s: Option<u64>,
}

impl Trouble {
    pub fn of(code: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            status: 0,
            retry_after_s: None,
        }
    }

    /// A request that was answered with an error which says what is wrong.
    fn refused(answer: &Answer) -> Self {
        let problem = serde_json::from_slice::<Problem>(&answer.body);
        Self {
            code: problem.map_or_else(|_| format!("http_{}", answer.status), |problem| problem.code),
            status: answer.status,
            retry_after_s: answer.retry_after_s,
        }
    }
}

/// What makes a bet the same bet when it is sent again.
pub struct Ticket {
    /// Both the Idempotency-Key and the fresh user seed.
    token: String,
    /// Whether it was sent before.
    pub is_repeat: bool,
}

impl Ticket {
    pub fn new(draws: &mut Draws) -> Self {
        Self {
            token: draws.token(),
            is_repeat: false,
        }
    }
}

/// One player.
pub struct Player {
    pub world: Arc<World>,
    pub user_id: String,
    pub draws: Draws,
    server: usize,
    pub connection: Connection,
    /// The session token.
    pub token: String,
    /// The open round, or the last one after its end, as the player was last told.
    pub round: Option<Round>,
    /// The user seed of that round, where this player made it.
    user_seed: Option<String>,
    announced_commitment: Option<String>,
    last_nonce: Option<u64>,
}

impl Player {
    /// A player who exists at the operator and is signed in.
    pub async fn join(world: Arc<World>, number: usize) -> Result<Self, Trouble> {
        let server = number % world.servers.len();
        let mut player = Self {
            user_id: format!("{}n{number}", world.run),
            draws: Draws::new(world.seed, number as u64),
            connection: Connection::new(world.servers[server]),
            server,
            world,
            token: String::new(),
            round: None,
            user_seed: None,
            announced_commitment: None,
            last_nonce: None,
        };
        player.create().await?;
        player.launch().await?;
        Ok(player)
    }

    /// Reads the rules in force, so that no first bet waits for them.
    pub async fn read_rules(&mut self) -> Result<(), Trouble> {
        let question = Question::get("/api/game/config", Some(&self.token));
        let answer = self
            .connection
            .ask(question)
            .await
            .map_err(|error| Trouble::of(error.to_string()))?;
        let config: Config = serde_json::from_slice(&answer.body).map_err(|_| Trouble::refused(&answer))?;
        self.rules(config.config_version).await.map(drop)
    }

    async fn rules(&self, version: i32) -> Result<Arc<GameConfiguration>, Trouble> {
        let rules = self.world.configuration(version).await;
        rules.map_err(|error| Trouble::of(format!("rules_unreadable: {error}")))
    }

    /// Places a bet; afterwards the round is open.
    pub async fn bet(&mut self, plan: &Plan, ticket: &Ticket, begun: Instant) -> Result<(), Trouble> {
        let hazard_epoch = self.world.epoch();
        let body = json!({
            "betAmount": plan.stake,
            "difficulty": plan.difficulty.as_str(),
            "currency": self.world.operator.currency,
            "hazardEpoch": hazard_epoch,
            "userSeed": ticket.token,
        });
        let question = Question {
            idempotency_key: Some(&ticket.token),
            ..Question::send(Method::POST, "/api/game/bet", Some(&self.token), &body)
        };
        let answer: Result<Round, Trouble> = ask(&mut self.connection, &self.world, Action::Bet, begun, question).await;
        // A bet that failed may have used up the announced seed and a nonce.
        let announced = self.announced_commitment.take();
        let round = answer?;
        let asked = Asked {
            stake: &plan.stake,
            difficulty: plan.difficulty,
            hazard_epoch,
            announced: announced.as_deref(),
            is_repeat: ticket.is_repeat,
            last_nonce: self.last_nonce,
        };
        let rules = self.rules(round.config_version).await?;
        self.world.note(checks::new_round(&asked, &round, &rules), &self.user_id);
        self.last_nonce = Some(round.nonce);
        self.user_seed = Some(ticket.token.clone());
        self.told("bet", round);
        Ok(())
    }

    /// Steps onto the next lane.
    pub async fn step(&mut self, begun: Instant) -> Result<(), Trouble> {
        let before = self.open_round()?;
        let lane = before.line_number + 1;
        let body = json!({ "lineNumber": lane, "roundId": before.round_id });
        let question = Question::send(Method::POST, "/api/game/step", Some(&self.token), &body);
        let answer: Result<Round, Trouble> = read(self.connection.ask(question).await);
        let ended = answer.as_ref().is_ok_and(|round| round.is_finished);
        let action = if ended { Action::EndingStep } else { Action::SafeStep };
        note(&self.world, action, begun, &answer);
        let round = answer?;
        let rules = self.rules(round.config_version).await?;
        self.world.note(checks::step(&before, lane, &round, &rules), &self.user_id);
        self.moved(round);
        Ok(())
    }

    /// Cashes out where the player stands.
    pub async fn cash_out(&mut self, begun: Instant) -> Result<(), Trouble> {
        let before = self.open_round()?;
        let round = self.ask_to_cash_out(&before, Action::CashOut, begun).await?;
        let rules = self.rules(round.config_version).await?;
        self.world.note(checks::cash_out(&before, &round, &rules), &self.user_id);
        self.moved(round);
        Ok(())
    }

    /// Cashes out of a round that has ended, which must change nothing.
    pub async fn repeat_the_end(&mut self) -> Result<(), Trouble> {
        let Some(ended) = self.round.clone() else { return Ok(()) };
        let again = self.ask_to_cash_out(&ended, Action::RepeatedEnd, Instant::now()).await?;
        self.world.note(checks::same_end(&ended, &again), &self.user_id);
        self.world
            .transcript
            .add("repeat", &self.world.operator.agent_id, &self.user_id, &again);
        Ok(())
    }

    async fn ask_to_cash_out(&mut self, round: &Round, action: Action, begun: Instant) -> Result<Round, Trouble> {
        let body = json!({ "lineNumber": round.line_number, "roundId": round.round_id });
        let question = Question::send(Method::POST, "/api/game/cashout", Some(&self.token), &body);
        ask(&mut self.connection, &self.world, action, begun, question).await
    }

    /// Drops the connection, takes one to the next server, and finds the round where it was left.
    pub async fn reconnect(&mut self) -> Result<(), Trouble> {
        self.server = (self.server + 1) % self.world.servers.len();
        self.connection = Connection::new(self.world.servers[self.server]);
        let left = self.open_round()?;
        let found = self.find_round().await?;
        let rules = self.rules(found.config_version).await?;
        self.world.note(checks::found_again(&left, &found, &rules), &self.user_id);
        self.moved(found);
        Ok(())
    }

    /// Where the player's round stands, whatever the player believes.
    pub async fn find_round(&mut self) -> Result<Round, Trouble> {
        let question = Question::get("/api/game/session", Some(&self.token));
        ask(&mut self.connection, &self.world, Action::Session, Instant::now(), question).await
    }

    /// Looks at the public road, because a bet named another epoch.
    pub async fn look_at_road(&mut self) {
        self.world.look_at_road(&mut self.connection).await;
    }

    pub async fn look_at_balance(&mut self) -> Result<(), Trouble> {
        let question = Question::get("/api/game/balance", Some(&self.token));
        let answer: Result<serde_json::Value, Trouble> =
            ask(&mut self.connection, &self.world, Action::Balance, Instant::now(), question).await;
        answer.map(drop)
    }

    /// The last round stands first in the history, as the player was told of it.
    pub async fn look_at_history(&mut self) -> Result<(), Trouble> {
        let question = Question::get("/api/game/bets?limit=30", Some(&self.token));
        let page: History = ask(&mut self.connection, &self.world, Action::History, Instant::now(), question).await?;
        if let Some((ended, newest)) = self.round.as_ref().zip(page.bets.first()) {
            self.world.note(checks::history(ended, newest), &self.user_id);
        }
        Ok(())
    }

    /// Recomputes the last round from what is revealed of it.
    pub async fn check_proof(&mut self) -> Result<(), Trouble> {
        let Some(ended) = &self.round else { return Ok(()) };
        let path = format!("/api/game/bets/{}", ended.bet_id);
        let question = Question::get(&path, Some(&self.token));
        let bet: Bet = ask(&mut self.connection, &self.world, Action::Proof, Instant::now(), question).await?;
        let rules = self.rules(ended.config_version).await?;
        let link_is_known = self.world.knows_link(&bet.fairness);
        let checked = checks::proof(ended, self.user_seed.as_deref(), &bet, &rules, link_is_known);
        if checked.is_ok() {
            self.world.remember_link(&bet.fairness);
        }
        self.world.note(checked, &self.user_id);
        Ok(())
    }

    pub async fn change_seed(&mut self) -> Result<(), Trouble> {
        let user_seed = self.draws.token();
        let body = json!({ "userSeed": user_seed });
        let question = Question::send(Method::PUT, "/api/game/seeds", Some(&self.token), &body);
        let seeds: Seeds = ask(&mut self.connection, &self.world, Action::ChangeSeed, Instant::now(), question).await?;
        let announced = self.announced_commitment.as_ref();
        self.world
            .note(checks::changed_seeds(&user_seed, announced, self.last_nonce, &seeds), &self.user_id);
        self.announced_commitment = Some(seeds.hashed_server_seed);
        Ok(())
    }

    /// Takes over a round that the player did not know to be open.
    pub fn resume(&mut self, round: Round) {
        self.last_nonce = Some(round.nonce);
        self.user_seed = None;
        self.moved(round);
    }

    fn moved(&mut self, round: Round) {
        if round.is_finished {
            self.announced_commitment = Some(round.next_hashed_server_seed.clone());
            self.world.recorder().note_round();
            self.told("end", round);
        } else {
            self.round = Some(round);
        }
    }

    fn told(&mut self, what: &'static str, round: Round) {
        self.world
            .transcript
            .add(what, &self.world.operator.agent_id, &self.user_id, &round);
        self.round = Some(round);
    }

    fn open_round(&self) -> Result<Round, Trouble> {
        let open = self.round.as_ref().filter(|round| !round.is_finished);
        open.cloned().ok_or_else(|| Trouble::of("no_open_round"))
    }

    pub fn has_open_round(&self) -> bool {
        self.open_round().is_ok()
    }
}

/// Asks, notes how long it took, and reads the answer.
pub async fn ask<T: DeserializeOwned>(
    connection: &mut Connection,
    world: &World,
    action: Action,
    begun: Instant,
    question: Question<'_>,
) -> Result<T, Trouble> {
    let answer = read(connection.ask(question).await);
    note(world, action, begun, &answer);
    answer
}

/// Notes an answer.
pub fn note<T>(world: &World, action: Action, begun: Instant, answer: &Result<T, Trouble>) {
    let error = answer.as_ref().err().map(|trouble| trouble.code.as_str());
    world.recorder().note(action, begun, error);
}

/// Reads an answer, or why there is none.
pub fn read<T: DeserializeOwned>(answer: Result<Answer, NoAnswer>) -> Result<T, Trouble> {
    let answer = answer.map_err(|error| Trouble::of(error.to_string()))?;
    if answer.status != 200 {
        return Err(Trouble::refused(&answer));
    }
    serde_json::from_slice(&answer.body).map_err(|error| Trouble::of(format!("unreadable_answer: {error}")))
}

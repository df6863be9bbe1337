//! A right set-up, made once by the product's own functions: bets that came to every end there is and bets on their way, in
//! a database that is only copied, with the operator's ledger as it then was.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::DateTime;
use faircross::chance::Chance;
use faircross::clock::Clock;
use faircross::game::bet_state::BetState;
use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::ServerSeed;
use faircross::game::hazards::{Chain, Epoch};
use faircross::game::money::Amount;
use faircross::game::player::{AgentId, PlayerId, UserId};
use faircross::game::round::EndReason;
use faircross::ledger::agents::{self, Agent};
use faircross::ledger::bets::{self, CancelPlan, EndOfRound, Intent, NextSeed};
use faircross::ledger::history::BetRow;
use faircross::ledger::outbox::{self, Queue};
use faircross::ledger::players::{self, FirstSeeds, NewPlayer};
use faircross::ledger::sealing::Sealing;
use faircross::ledger::{MIGRATIONS, archive, chains, configurations};
use faircross::play::context::Configuration;
use faircross::play::deliver::record_of;
use faircross::play::round::RoundFacts;
use faircross::wallet::message::{GamePayload, SettleFacts, bet_message, cancel_message, settle_message, void_message};
use faircross::wallet::{Action, AgentEndpoint, AnswerForm, Attempt, Call, Outcome, UnknownReason, WalletClient};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::operator::Simulator;
use crate::stores::CLUSTER;
use crate::wallet::{agent, client, settings};

/// The database that is only copied.
pub const TEMPLATE: &str = "audit_right";

/// Built by the first test that wants it, on a thread of its own, because that test is inside a runtime.
pub static RIGHT: LazyLock<Right> = LazyLock::new(|| {
    let build = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(Builder::build())
    };
    std::thread::scope(|scope| scope.spawn(build).join().expect("a right set-up"))
});

/// What the tests know of it.
pub struct Right {
    pub sealing_key: [u8; 32],
    /// The operator's ledger.
    pub ledger: Value,
    /// A bet of each kind, by the kind's name.
    pub bets: BTreeMap<&'static str, RoundFacts>,
    pub sequences: BTreeMap<&'static str, i64>,
    /// The secret of the open round.
    pub open_seed: String,
    /// A link of tomorrow.
    pub future_link: String,
}

impl Right {
    pub fn sealing(&self) -> Sealing {
        Sealing::new(&self.sealing_key, Chance)
    }

    pub fn id(&self, kind: &str) -> String {
        self.bets[kind].round_id.to_string()
    }
}

struct Builder {
    connection: PgConnection,
    sealing: Sealing,
    configuration: Configuration,
    epoch: Epoch,
    chain: Chain,
    operator: Simulator,
    wallet: WalletClient,
    endpoint: AgentEndpoint,
    payload: GamePayload,
    bets: BTreeMap<&'static str, RoundFacts>,
    sequences: BTreeMap<&'static str, i64>,
}

fn player(user_id: &str) -> PlayerId {
    PlayerId {
        agent_id: AgentId::parse("demo").expect("an agent id"),
        user_id: UserId::parse(user_id).expect("a user id"),
    }
}

fn seed() -> ServerSeed {
    ServerSeed::from_bytes(Chance.bytes_32())
}

impl Builder {
    async fn build() -> Right {
        let sealing_key = Chance.bytes_32();
        let mut builder = Self::new(Sealing::new(&sealing_key, Chance)).await;
        let tomorrow = builder.tomorrow().await;
        builder.finished_bets().await;
        let open_seed = builder.bets_on_their_way().await;
        let right = Right {
            sealing_key,
            ledger: builder.operator.ledger().await,
            open_seed,
            // Of the last epoch, so that it is still to come when this is looked at after midnight.
            future_link: tomorrow.link(17_279).expect("a link").as_str().to_owned(),
            bets: builder.bets,
            sequences: builder.sequences,
        };
        // A database to which somebody is connected cannot be copied.
        builder.connection.close().await.expect("closed");
        right
    }

    async fn new(sealing: Sealing) -> Self {
        let url = CLUSTER.create_database(TEMPLATE, None).expect("a database");
        let mut connection = PgConnection::connect(&url).await.expect("connected");
        MIGRATIONS.run_direct(None, &mut connection, false).await.expect("migrated");
        let game = GameConfiguration::embedded_default();
        let version = configurations::ensure(&mut connection, game.bytes(), game.hash())
            .await
            .expect("a version");
        let (epoch, chain) = (
            Epoch::at_unix_ms(u64::try_from(Clock::default().now().timestamp_millis()).expect("after 1970")),
            Chain::from_last_link(Chance.bytes_32()),
        );
        chains::offer(&mut connection, &sealing, day_of(epoch), &chain)
            .await
            .expect("a chain");
        let operator = Simulator::start().await;
        let endpoint = agent(&operator.callback_url());
        let row = Agent {
            agent_id: AgentId::parse("demo").expect("an agent id"),
            one_device: false,
            certificate: "demo-cert".into(),
            signature_secret: None,
            callback_url: operator.callback_url(),
            encoding: "form".into(),
            utc_offset_minutes: 480,
            allowed_addresses: Vec::new(),
            currencies: vec!["INR".into()],
            frontend_url: None,
            active: true,
        };
        agents::upsert(&mut connection, &sealing, &row).await.expect("an agent");
        Self {
            connection,
            sealing,
            configuration: Configuration { version, game },
            epoch,
            chain,
            operator,
            wallet: client(settings()),
            endpoint,
            payload: GamePayload::default(),
            bets: BTreeMap::new(),
            sequences: BTreeMap::new(),
        }
    }

    async fn tomorrow(&mut self) -> Chain {
        let chain = Chain::from_last_link(Chance.bytes_32());
        let day = day_of(self.epoch).succ_opt().expect("a tomorrow");
        chains::offer(&mut self.connection, &self.sealing, day, &chain)
            .await
            .expect("a chain");
        chain
    }

    /// Bets that came to each end.
    async fn finished_bets(&mut self) {
        let alice = self.sign_in("alice").await;
        self.ended("archived", &alice, EndReason::Cashout).await;
        // What there is so far goes to the archive: this bet, and those before it whose roads were of no use.
        let all = self.sequences["archived"];
        let moved = archive::archive_bets(&mut self.connection, 0, all, None).await;
        assert_eq!(i64::try_from(moved.expect("archived").rows), Ok(all));
        self.ended("cashed out", &alice, EndReason::Cashout).await;
        self.ended("hit", &alice, EndReason::Hazard).await;
        self.ended("void", &alice, EndReason::Void).await;
        self.cancelled("cancelled", &alice).await;
        let poor = self.sign_in("poor").await;
        self.operator.put_player("poor", json!({"balance": "1.00"})).await;
        self.refused("refused", &poor).await;
    }

    /// Bets that have not come to their end. Returns the secret of the placed one.
    async fn bets_on_their_way(&mut self) -> String {
        let bob = self.sign_in("bob").await;
        let (row, facts) = self.intent("open", &bob).await;
        self.debit(&row, &facts).await;
        let sealed = faircross::play::round::open_server_seed(&row, &bob, &self.sealing).expect("opened");
        let carol = self.sign_in("carol").await;
        self.intent("pending", &carol).await;
        let dora = self.sign_in("dora").await;
        let (row, facts) = self.intent("settling", &dora).await;
        self.debit(&row, &facts).await;
        let lane = facts.collision_columns.first().copied().expect("roads end somewhere");
        self.end(&row, &facts, EndReason::Hazard, i16::from(lane)).await;
        sealed.reveal().to_owned()
    }

    async fn sign_in(&mut self, user_id: &str) -> PlayerId {
        let id = player(user_id);
        let new = NewPlayer {
            id: &id,
            currency: "INR",
            bet_limit_minor: None,
            language: None,
            user_name: None,
        };
        assert!(players::create(&mut self.connection, &self.sealing, &new).await.expect("created"));
        let (current, next) = (seed(), seed());
        let seeds = FirstSeeds {
            current: &current,
            next: &next,
            user_seed: "first",
        };
        players::ensure_seeds(&mut self.connection, &self.sealing, &id, &seeds)
            .await
            .expect("seeds");
        id
    }

    /// Commits an intent whose road has a safe lane and a collision that can be reached; others are cancelled.
    async fn intent(&mut self, kind: &'static str, player: &PlayerId) -> (BetRow, RoundFacts) {
        loop {
            let (row, facts) = self.any_intent(player).await;
            let playable = facts
                .collision_columns
                .first()
                .is_some_and(|first| (1..=facts.max_lane).contains(first));
            if playable {
                self.bets.insert(kind, facts.clone());
                self.sequences.insert(kind, row.sequence);
                return (row, facts);
            }
            self.cancel(&row, &facts).await;
        }
    }

    async fn any_intent(&mut self, player: &PlayerId) -> (BetRow, RoundFacts) {
        let (bet_id, placed_at) = (Chance.identifier(), Clock::default().now());
        let difficulty = Difficulty::Easy;
        let stake = Amount::from_minor(1_000).expect("an amount");
        let rules = self.configuration.game.currency("INR").expect("rupees").max_win;
        let max_lane = self.configuration.game.paytable(difficulty).max_lane(stake, rules).expect("a lane");
        let platform_tx_id = bet_id.to_string();
        let message = bet_message(&faircross::wallet::message::BetFacts {
            platform_tx_id: &platform_tx_id,
            user_id: player.user_id.as_str(),
            currency: "INR",
            stake,
            decimal_places: 2,
            round_id: &platform_tx_id,
            placed_at,
            payload: &self.payload,
            utc_offset_minutes: 480,
        });
        let intent = Intent {
            bet_id,
            player,
            generation: 0,
            game_code: &self.payload.game_code,
            currency: "INR",
            decimal_places: 2,
            difficulty,
            stake,
            configuration_version: self.configuration.version,
            max_lane,
            user_seed: None,
            expected_commitment: None,
            hazard_epoch: self.epoch.number(),
            hazard_seed: self.chain.link(self.epoch.index()).expect("a link").as_str(),
            idempotency_key: None,
            message: &message,
            placed_at,
            session_ttl_s: 3_600,
        };
        let row = bets::record_intent(&mut self.connection, &intent)
            .await
            .expect("recorded")
            .expect("a row");
        let facts = RoundFacts::of_bet(&row, &self.configuration, &self.sealing).expect("facts");
        (row, facts)
    }

    async fn send(&self, action: Action, message: &str) -> Call {
        let attempt = Attempt::first(crate::world::PATIENCE);
        self.wallet.send(&self.endpoint, action, message, attempt).await
    }

    async fn debit_message(&mut self, row: &BetRow) -> String {
        sqlx::query_scalar("select message from bets where sequence = $1")
            .bind(row.sequence)
            .fetch_one(&mut self.connection)
            .await
            .expect("a message")
    }

    fn cancel_text(&self, facts: &RoundFacts) -> String {
        let id = facts.round_id.to_string();
        cancel_message(&facts.bet_facts(&id, &self.payload, 480).expect("facts"))
    }

    fn next(&self, facts: &RoundFacts) -> NextSeed {
        NextSeed::seal(&self.sealing, &facts.player(), &seed())
    }

    async fn debit(&mut self, row: &BetRow, facts: &RoundFacts) {
        let message = self.debit_message(row).await;
        let call = self.send(Action::Bet, &message).await;
        assert!(matches!(call.outcome, Outcome::Applied { .. }), "{call:?}");
        let cancel = self.cancel_text(facts);
        let record = record_of("demo", "bet", &message, &call);
        let placed = bets::record_placed(&mut self.connection, row.sequence, &record, &cancel).await;
        assert_eq!(placed.expect("recorded"), Some(BetState::Placed));
    }

    async fn ended(&mut self, kind: &'static str, player: &PlayerId, reason: EndReason) {
        let (row, facts) = self.intent(kind, player).await;
        self.debit(&row, &facts).await;
        let first_collision = i16::from(facts.collision_columns[0]);
        let lane = match reason {
            EndReason::Hazard => first_collision,
            EndReason::Void => -1,
            _ => first_collision - 1,
        };
        self.end(&row, &facts, reason, lane).await;
        self.deliver().await;
    }

    /// Commits an end, whose call is due at once.
    async fn end(&mut self, row: &BetRow, facts: &RoundFacts, reason: EndReason, lane: i16) {
        let ended = facts.terms().expect("terms").end(reason, lane).expect("an end");
        let (id, now) = (facts.round_id.to_string(), Clock::default().now());
        let bet = facts.bet_facts(&id, &self.payload, 480).expect("facts");
        let message = match reason {
            EndReason::Void => void_message(&bet, now),
            _ => settle_message(&SettleFacts {
                bet,
                payout: ended.payout,
                settled_at: now,
            }),
        };
        let (debit, next) = (self.debit_message(row).await, self.next(facts));
        let end = EndOfRound {
            debit: &debit,
            sequence: row.sequence,
            ended: &ended,
            message: &message,
            next: &next,
            lease_token: "the first",
            lease_s: 0,
        };
        bets::commit_end(&mut self.connection, &end)
            .await
            .expect("committed")
            .expect("a row");
    }

    /// An outcome that nobody knows, although the operator took the stake.
    async fn cancelled(&mut self, kind: &'static str, player: &PlayerId) {
        let (row, facts) = self.intent(kind, player).await;
        let message = self.debit_message(&row).await;
        self.send(Action::Bet, &message).await;
        self.cancel(&row, &facts).await;
    }

    async fn cancel(&mut self, row: &BetRow, facts: &RoundFacts) {
        let message = self.debit_message(row).await;
        let lost = Call {
            outcome: Outcome::Unknown {
                reason: UnknownReason::NotSent,
                status: None,
            },
            sent: false,
            http_status: None,
            answer: None,
            duration_ms: 0,
            form: AnswerForm::default(),
        };
        let (cancel, next) = (self.cancel_text(facts), self.next(facts));
        let plan = CancelPlan {
            message: &cancel,
            debit_within_ms: 0,
            second_cancel_after_s: 0,
        };
        let record = record_of("demo", "bet", &message, &lost);
        assert!(
            bets::record_cancelling(&mut self.connection, row.sequence, Some(&record), &plan, &next)
                .await
                .expect("cancelling")
        );
        self.deliver().await;
    }

    async fn refused(&mut self, kind: &'static str, player: &PlayerId) {
        let (row, facts) = self.intent(kind, player).await;
        let message = self.debit_message(&row).await;
        let call = self.send(Action::Bet, &message).await;
        assert!(matches!(call.outcome, Outcome::Declined { .. }), "{call:?}");
        let (record, next) = (record_of("demo", "bet", &message, &call), self.next(&facts));
        assert!(
            bets::record_rejected(&mut self.connection, row.sequence, &record, &next)
                .await
                .expect("rejected")
        );
    }

    /// Makes every call that is due.
    async fn deliver(&mut self) {
        let mut due = Vec::new();
        for of_cancels in [true, false] {
            let queue = Queue {
                agent_id: "demo".to_owned(),
                of_cancels,
            };
            let claimed = outbox::claim_due(&mut self.connection, &queue, "token", 0, 100).await;
            due.extend(claimed.expect("claimed"));
        }
        assert!(!due.is_empty());
        for row in due {
            let action = Action::parse(&row.action).expect("an action");
            let call = self.send(action, &row.message).await;
            assert!(matches!(call.outcome, Outcome::Applied { .. }), "{call:?}");
            let record = record_of(&row.agent_id, &row.action, &row.message, &call);
            outbox::complete(&mut self.connection, row.outbox_id, row.sequence, &record)
                .await
                .expect("complete");
        }
    }
}

fn day_of(epoch: Epoch) -> chrono::NaiveDate {
    let millis = i64::try_from(epoch.starts_at_unix_ms()).expect("a time");
    DateTime::from_timestamp_millis(millis).expect("a time").date_naive()
}

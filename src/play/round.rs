//! One round as its session pins it: the facts that decide it and never change. They are made once from the intent, kept as
//! the session's immutable JSON, and made again from the bet row when the session is lost; both ways give the same bytes.

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::game::bet_state::BetState;
use crate::game::difficulty::Difficulty;
use crate::game::fairness::{HazardSeed, Nonce, ServerSeed, UserSeed, collision_columns, round_key};
use crate::game::money::{Amount, Coefficient};
use crate::game::player::{AgentId, PlayerId, UserId};
use crate::game::round::{EndReason, Ended, Terms};
use crate::ledger::LedgerError;
use crate::ledger::history::BetRow;
use crate::ledger::sealing::{Sealing, server_seed_row};
use crate::live::Session;
use crate::play::context::{Configuration, Context};
use crate::play::view::{RoundView, Settlement};
use crate::wallet::message::{BetFacts, GamePayload};

/// What a session pins: its `roundId` and its immutable JSON (`round` in Redis), which is kept short, since there is one for
/// every open round. The seed that decides the road is not in it; the road is, which is why access to Redis is restricted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundFacts {
    /// The one identifier of the round, its bet and its `platformTxId`. Scripts compare it, so it has a field of its own in
    /// Redis and is not repeated in the JSON.
    #[serde(skip)]
    pub round_id: Uuid,
    pub user_id: UserId,
    pub agent_id: AgentId,
    pub currency: String,
    pub decimal_places: u8,
    pub difficulty: Difficulty,
    pub user_seed: String,
    pub hashed_server_seed: String,
    pub next_hashed_server_seed: String,
    pub nonce: u64,
    pub hazard_epoch: u64,
    pub hazard_seed: String,
    /// Hundredths, by lane.
    pub coefficients: Vec<u64>,
    /// Minor units.
    pub bet_amount: u64,
    /// Microseconds in the JSON, as exact as the bet row.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub created_at: DateTime<Utc>,
    pub collision_columns: Vec<u8>,
    pub max_lane: u8,
    pub config_version: i32,
}

/// The facts of a round cannot be made sense of.
#[derive(Debug, thiserror::Error)]
#[error("the facts of a round cannot be read: {0}")]
pub struct FactsError(pub &'static str);

impl RoundFacts {
    /// The facts of a bet row. Opens the sealed server seed to compute the road.
    ///
    /// # Errors
    /// When the seed cannot be opened with this server's key, or a stored value is not what this program writes.
    pub fn of_bet(bet: &BetRow, configuration: &Configuration, sealing: &Sealing) -> Result<Self, LedgerError> {
        let player = player_of(bet)?;
        let difficulty: Difficulty = bet.difficulty.parse().map_err(|_| unreadable("bets.difficulty"))?;
        let paytable = configuration.game.paytable(difficulty);
        let nonce = u64::try_from(bet.nonce)
            .ok()
            .and_then(|nonce| Nonce::new(nonce).ok())
            .ok_or(unreadable("bets.nonce"))?;
        let server_seed = open_server_seed(bet, &player, sealing)?;
        let user_seed = UserSeed::parse(&bet.user_seed).map_err(|_| unreadable("bets.user_seed"))?;
        let hazard_seed = HazardSeed::parse(&bet.hazard_seed).map_err(|_| unreadable("bets.hazard_seed"))?;
        let key = round_key(&server_seed, &user_seed, nonce, &hazard_seed);
        Ok(Self {
            round_id: bet.bet_id,
            user_id: player.user_id,
            agent_id: player.agent_id,
            currency: bet.currency.clone(),
            decimal_places: u8::try_from(bet.decimal_places).map_err(|_| unreadable("bets.decimal_places"))?,
            difficulty,
            user_seed: bet.user_seed.clone(),
            hashed_server_seed: bet.commitment.clone(),
            next_hashed_server_seed: bet.next_commitment.clone(),
            nonce: nonce.get(),
            hazard_epoch: u64::try_from(bet.hazard_epoch).map_err(|_| unreadable("bets.hazard_epoch"))?,
            hazard_seed: bet.hazard_seed.clone(),
            coefficients: paytable.coefficients().iter().map(|coefficient| coefficient.hundredths()).collect(),
            bet_amount: u64::try_from(bet.stake_minor).map_err(|_| unreadable("bets.stake_minor"))?,
            created_at: bet.placed_at,
            collision_columns: collision_columns(&key, paytable.thresholds()),
            max_lane: u8::try_from(bet.max_lane).map_err(|_| unreadable("bets.max_lane"))?,
            config_version: bet.configuration_version,
        })
    }

    /// The facts that a session holds.
    ///
    /// # Errors
    /// When they are not what this program writes.
    pub fn of_session(session: &Session) -> Result<Self, FactsError> {
        let round_json = session
            .round_json
            .as_deref()
            .ok_or(FactsError("the session's JSON, which was not asked for"))?;
        let pinned: Self = serde_json::from_str(round_json).map_err(|_| FactsError("the session's JSON"))?;
        let round_id = Uuid::parse_str(&session.round_id).map_err(|_| FactsError("the session's round id"))?;
        Ok(Self { round_id, ..pinned })
    }

    /// The JSON for a session.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers can always be written as JSON")
    }

    /// Whose round it is.
    pub fn player(&self) -> PlayerId {
        PlayerId {
            agent_id: self.agent_id.clone(),
            user_id: self.user_id.clone(),
        }
    }

    /// What the round was begun with and ends under.
    ///
    /// # Errors
    /// When an amount or a coefficient is not one.
    pub fn terms(&self) -> Result<Terms, FactsError> {
        let coefficients = self
            .coefficients
            .iter()
            .map(|hundredths| Coefficient::from_hundredths(*hundredths))
            .collect::<Result<_, _>>();
        Ok(Terms {
            stake: self.stake()?,
            coefficients: coefficients.map_err(|_| FactsError("a coefficient"))?,
            collision_columns: self.collision_columns.clone(),
            max_lane: self.max_lane,
        })
    }

    fn stake(&self) -> Result<Amount, FactsError> {
        Amount::from_minor(self.bet_amount).map_err(|_| FactsError("the stake"))
    }

    /// What the operator is told of the bet. `platform_tx_id` is the bet's id as text, which the caller keeps alive.
    ///
    /// # Errors
    /// When the stake is not an amount.
    pub fn bet_facts<'a>(
        &'a self,
        platform_tx_id: &'a str,
        payload: &'a GamePayload,
        utc_offset_minutes: i32,
    ) -> Result<BetFacts<'a>, FactsError> {
        Ok(BetFacts {
            platform_tx_id,
            user_id: self.user_id.as_str(),
            currency: &self.currency,
            stake: self.stake()?,
            decimal_places: self.decimal_places,
            round_id: platform_tx_id,
            placed_at: self.created_at,
            payload,
            utc_offset_minutes,
        })
    }

    /// An open round whose player stands on `lane`.
    ///
    /// # Errors
    /// When the lane is not one that can be stood on.
    pub fn view_standing(&self, lane: i16) -> Result<RoundView, FactsError> {
        let (coefficient, win_amount) = match usize::try_from(lane) {
            Err(_) => (Coefficient::ZERO, Amount::ZERO),
            Ok(place) => {
                let terms = self.terms()?;
                let coefficient = terms.coefficients.get(place).copied().ok_or(FactsError("the lane"))?;
                (coefficient, terms.winnings_at(lane).map_err(|_| FactsError("the lane"))?)
            }
        };
        Ok(RoundView {
            line_number: lane,
            coefficient,
            win_amount,
            ..self.view_of_stake()?
        })
    }

    /// A round that has just ended, before the operator was told.
    ///
    /// # Errors
    /// When the stake is not an amount.
    pub fn view_ended(&self, ended: &Ended) -> Result<RoundView, FactsError> {
        Ok(RoundView {
            end_reason: Some(ended.reason),
            is_win: ended.is_win(),
            line_number: ended.lane,
            coefficient: ended.coefficient.unwrap_or(Coefficient::ZERO),
            win_amount: ended.payout,
            collision_positions: Some(lane_that_was_hit(ended.reason, ended.lane)),
            settlement: Some(Settlement::Pending),
            ..self.view_of_stake()?
        })
    }

    fn view_of_stake(&self) -> Result<RoundView, FactsError> {
        Ok(RoundView {
            bet_id: self.round_id,
            end_reason: None,
            is_win: false,
            line_number: -1,
            coefficient: Coefficient::ZERO,
            win_amount: Amount::ZERO,
            stake: self.stake()?,
            currency: self.currency.clone(),
            decimal_places: self.decimal_places,
            difficulty: self.difficulty,
            max_lane: self.max_lane,
            hazard_epoch: self.hazard_epoch,
            commitment: self.hashed_server_seed.clone(),
            next_commitment: self.next_hashed_server_seed.clone(),
            nonce: self.nonce,
            configuration_version: self.config_version,
            collision_positions: None,
            balance: None,
            settlement: None,
        })
    }
}

/// The round of a bet that is no longer open, rendered from its row alone: the row is the truth about an end.
///
/// # Errors
/// When the bet is open, or a stored value is not what this program writes.
pub fn view_of_ended_bet(bet: &BetRow) -> Result<RoundView, LedgerError> {
    let reason = end_reason_of(bet)?.ok_or(unreadable("bets.end_reason"))?;
    Ok(RoundView {
        bet_id: bet.bet_id,
        end_reason: Some(reason),
        is_win: matches!(reason, EndReason::Win | EndReason::Cashout | EndReason::Deadline),
        line_number: bet.last_lane,
        coefficient: coefficient_of(bet)?,
        win_amount: payout_of(bet)?,
        stake: stake_of(bet)?,
        currency: bet.currency.clone(),
        decimal_places: u8::try_from(bet.decimal_places).map_err(|_| unreadable("bets.decimal_places"))?,
        difficulty: bet.difficulty.parse().map_err(|_| unreadable("bets.difficulty"))?,
        max_lane: u8::try_from(bet.max_lane).map_err(|_| unreadable("bets.max_lane"))?,
        hazard_epoch: u64::try_from(bet.hazard_epoch).map_err(|_| unreadable("bets.hazard_epoch"))?,
        commitment: bet.commitment.clone(),
        next_commitment: bet.next_commitment.clone(),
        nonce: u64::try_from(bet.nonce).map_err(|_| unreadable("bets.nonce"))?,
        configuration_version: bet.configuration_version,
        collision_positions: Some(lane_that_was_hit(reason, bet.last_lane)),
        balance: None,
        settlement: settlement_of(bet.state),
    })
}

/// The lane that was hit, as the answer after an end shows it; nothing else of the road is in it.
fn lane_that_was_hit(reason: EndReason, lane: i16) -> Vec<u8> {
    if reason == EndReason::Hazard {
        u8::try_from(lane).into_iter().collect()
    } else {
        Vec::new()
    }
}

/// The server seed of a bet. It must not leave the server before the bet is no longer open.
///
/// # Errors
/// When it cannot be opened, or is not the one that the bet was committed to.
pub fn open_server_seed(bet: &BetRow, player: &PlayerId, sealing: &Sealing) -> Result<ServerSeed, LedgerError> {
    opened_seed(&bet.server_seed_sealed, &bet.commitment, player, sealing)
}

/// Opens a sealed server seed and makes sure that it is the committed one.
///
/// # Errors
/// When it cannot be opened, or is another one.
pub fn opened_seed(sealed: &[u8], commitment: &str, player: &PlayerId, sealing: &Sealing) -> Result<ServerSeed, LedgerError> {
    let text = sealing.open(&server_seed_row(player), sealed)?;
    let seed = ServerSeed::parse(text.expose_secret()).map_err(|_| unreadable("bets.server_seed_sealed"))?;
    if seed.commitment().as_str() != commitment {
        return Err(unreadable("bets.server_seed_sealed (another seed than was committed to)"));
    }
    Ok(seed)
}

/// The player of a bet row.
///
/// # Errors
/// When the ids are not ids.
pub fn player_of(bet: &BetRow) -> Result<PlayerId, LedgerError> {
    Ok(PlayerId {
        agent_id: AgentId::parse(&bet.agent_id).map_err(|_| unreadable("bets.agent_id"))?,
        user_id: UserId::parse(&bet.user_id).map_err(|_| unreadable("bets.user_id"))?,
    })
}

/// The stake of a bet row.
///
/// # Errors
/// When it is not an amount.
pub fn stake_of(bet: &BetRow) -> Result<Amount, LedgerError> {
    u64::try_from(bet.stake_minor)
        .ok()
        .and_then(|minor| Amount::from_minor(minor).ok())
        .ok_or(unreadable("bets.stake_minor"))
}

/// What a bet row paid.
///
/// # Errors
/// When it is not an amount.
pub fn payout_of(bet: &BetRow) -> Result<Amount, LedgerError> {
    u64::try_from(bet.payout_minor)
        .ok()
        .and_then(|minor| Amount::from_minor(minor).ok())
        .ok_or(unreadable("bets.payout_minor"))
}

/// The coefficient under which a bet row ended; zero where nothing was paid.
///
/// # Errors
/// When it is not one.
pub fn coefficient_of(bet: &BetRow) -> Result<Coefficient, LedgerError> {
    const UNREADABLE: LedgerError = unreadable("bets.coefficient_hundredths");
    match u64::try_from(bet.coefficient_hundredths).map_err(|_| UNREADABLE)? {
        0 => Ok(Coefficient::ZERO),
        hundredths => Coefficient::from_hundredths(hundredths).map_err(|_| UNREADABLE),
    }
}

/// Why a bet row ended.
///
/// # Errors
/// When the stored reason is not one.
pub fn end_reason_of(bet: &BetRow) -> Result<Option<EndReason>, LedgerError> {
    bet.end_reason
        .as_deref()
        .map(|text| EndReason::parse(text).map_err(|_| unreadable("bets.end_reason")))
        .transpose()
}

/// What the player is told of the operator's part; nothing while the bet is open.
pub fn settlement_of(state: BetState) -> Option<Settlement> {
    match state {
        BetState::Pending | BetState::Placed => None,
        BetState::PendingSettlement | BetState::PendingVoid | BetState::PendingCancel => Some(Settlement::Pending),
        BetState::Won | BetState::Lost | BetState::Voided | BetState::Cancelled | BetState::Rejected => Some(Settlement::Settled),
    }
}

/// The facts of a bet row under the configuration that it was placed under.
///
/// # Errors
/// When the configuration is unknown, or as [`RoundFacts::of_bet`].
pub async fn facts_of_bet(context: &Context, bet: &BetRow) -> Result<RoundFacts, LedgerError> {
    let configuration = context
        .configuration(bet.configuration_version)
        .await?
        .ok_or(unreadable("bets.configuration_version"))?;
    RoundFacts::of_bet(bet, &configuration, &context.sealing)
}

const fn unreadable(what: &'static str) -> LedgerError {
    LedgerError::Unreadable { what }
}

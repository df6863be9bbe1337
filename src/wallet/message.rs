//! The exact message texts. Each is built once, stored with the intent, and sent byte for byte at every attempt.
//!
//! Amounts are JSON number literals with the currency's decimals (ten rupees are `10.00`), written from the exact amount;
//! times carry milliseconds and the agent's own offset, because strict operators refuse `Z`. `gameInfo` never carries a
//! seed: an operator learns nothing about a round that its player does not.

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Action;
use crate::game::money::Amount;

/// How a game names itself to operators.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GamePayload {
    /// The platform, `In-out`.
    pub platform: String,
    /// The kind of game, `CRASH`; at most 10 characters.
    pub game_type: String,
    /// The game, `chicken-road-two`; at most 50 characters.
    pub game_code: String,
    /// The game's name, `chicken-road-2`; at most 50 characters.
    pub game_name: String,
    /// What a settlement refers to, `platformTxId`.
    pub settle_type: String,
}

impl Default for GamePayload {
    fn default() -> Self {
        Self {
            platform: "In-out".into(),
            game_type: "CRASH".into(),
            game_code: "chicken-road-two".into(),
            game_name: "chicken-road-2".into(),
            settle_type: "platformTxId".into(),
        }
    }
}

/// What every message about a bet says of it.
#[derive(Clone, Copy, Debug)]
pub struct BetFacts<'a> {
    /// The bet's identifier at the operator; at most 50 characters.
    pub platform_tx_id: &'a str,
    /// The player at the operator; at most 21 of `[0-9a-z]`.
    pub user_id: &'a str,
    /// The currency's code.
    pub currency: &'a str,
    /// What the player staked.
    pub stake: Amount,
    /// The currency's decimals, at most 4.
    pub decimal_places: u8,
    /// The round's identifier; at most 50 characters.
    pub round_id: &'a str,
    /// When the bet was placed.
    pub placed_at: DateTime<Utc>,
    /// How the game names itself.
    pub payload: &'a GamePayload,
    /// The agent's offset, minutes east of UTC.
    pub utc_offset_minutes: i32,
}

/// What a stored debit says of its bet. Everything that is said of the bet later says the same, whatever the settings have become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debit {
    /// How the game named itself.
    pub payload: GamePayload,
    /// The offset of its times, minutes east of UTC.
    pub utc_offset_minutes: i32,
}

impl Debit {
    /// Reads the text of a debit. What a settlement refers to is no part of it and comes from `settle_type`.
    ///
    /// # Errors
    /// When it is no text that [`bet_message`] wrote.
    pub fn read(message: &str, settle_type: &str) -> Result<Self, DebitError> {
        let stored: StoredBet = serde_json::from_str(message).map_err(|_| DebitError)?;
        let [bet] = stored.txns;
        let bet_time = DateTime::parse_from_rfc3339(&bet.bet_time).map_err(|_| DebitError)?;
        Ok(Self {
            payload: GamePayload {
                platform: bet.platform,
                game_type: bet.game_type,
                game_code: bet.game_code,
                game_name: bet.game_name,
                settle_type: settle_type.to_owned(),
            },
            utc_offset_minutes: bet_time.offset().local_minus_utc() / 60,
        })
    }
}

/// The text is not that of a debit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text of a debit cannot be read")]
pub struct DebitError;

#[derive(Deserialize)]
struct StoredBet {
    txns: [StoredBetTransaction; 1],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredBetTransaction {
    platform: String,
    game_type: String,
    game_code: String,
    game_name: String,
    bet_time: String,
}

/// A bet and its end.
#[derive(Clone, Copy, Debug)]
pub struct SettleFacts<'a> {
    /// The bet as it was placed.
    pub bet: BetFacts<'a>,
    /// What the player is paid; zero for a loss.
    pub payout: Amount,
    /// When the round ended.
    pub settled_at: DateTime<Utc>,
}

/// Asks for a player's balance.
pub fn get_balance_message(user_id: &str) -> String {
    text(&BalanceQuery {
        action: Action::GetBalance.as_str(),
        user_id,
    })
}

/// Takes the stake.
pub fn bet_message(bet: &BetFacts<'_>) -> String {
    transaction(
        Action::Bet,
        BetTransaction {
            platform_tx_id: bet.platform_tx_id,
            user_id: bet.user_id,
            currency: bet.currency,
            platform: &bet.payload.platform,
            game_type: &bet.payload.game_type,
            game_code: &bet.payload.game_code,
            game_name: &bet.payload.game_name,
            bet_type: None,
            bet_amount: literal(bet.stake, bet.decimal_places),
            bet_time: time(bet.placed_at, bet.utc_offset_minutes),
            round_id: bet.round_id,
            game_info: None,
        },
    )
}

/// Returns the stake of a bet whose outcome is unknown.
pub fn cancel_message(bet: &BetFacts<'_>) -> String {
    transaction(
        Action::CancelBet,
        CancelTransaction {
            platform_tx_id: bet.platform_tx_id,
            user_id: bet.user_id,
            platform: &bet.payload.platform,
            game_type: &bet.payload.game_type,
            game_code: &bet.payload.game_code,
            round_id: bet.round_id,
            game_info: None,
        },
    )
}

/// Pays the win, or reports the loss. The turnover is the stake, and the transaction's time is the bet's.
pub fn settle_message(settle: &SettleFacts<'_>) -> String {
    let bet = &settle.bet;
    let bet_time = time(bet.placed_at, bet.utc_offset_minutes);
    transaction(
        Action::Settle,
        SettleTransaction {
            platform_tx_id: bet.platform_tx_id,
            user_id: bet.user_id,
            platform: &bet.payload.platform,
            game_type: &bet.payload.game_type,
            game_code: &bet.payload.game_code,
            game_name: &bet.payload.game_name,
            bet_type: None,
            bet_amount: literal(bet.stake, bet.decimal_places),
            win_amount: literal(settle.payout, bet.decimal_places),
            turnover: literal(bet.stake, bet.decimal_places),
            tx_time: bet_time.clone(),
            bet_time,
            update_time: time(settle.settled_at, bet.utc_offset_minutes),
            round_id: bet.round_id,
            ref_platform_tx_id: None,
            settle_type: &bet.payload.settle_type,
            game_info: GameInfo {
                status: if settle.payout > Amount::ZERO { "WIN" } else { "LOSE" },
            },
        },
    )
}

/// Returns the stake of a confirmed bet whose round is void.
pub fn void_message(bet: &BetFacts<'_>, voided_at: DateTime<Utc>) -> String {
    transaction(
        Action::VoidBet,
        VoidTransaction {
            platform_tx_id: bet.platform_tx_id,
            user_id: bet.user_id,
            platform: &bet.payload.platform,
            game_type: &bet.payload.game_type,
            game_code: &bet.payload.game_code,
            game_name: &bet.payload.game_name,
            bet_amount: literal(bet.stake, bet.decimal_places),
            update_time: time(voided_at, bet.utc_offset_minutes),
            round_id: bet.round_id,
            void_type: 2,
        },
    )
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BalanceQuery<'a> {
    action: &'a str,
    user_id: &'a str,
}

#[derive(Serialize)]
struct Envelope<T> {
    action: &'static str,
    txns: [T; 1],
}

/// A field that operators want to see and that we have nothing to say in.
type Nothing = Option<()>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BetTransaction<'a> {
    platform_tx_id: &'a str,
    user_id: &'a str,
    currency: &'a str,
    platform: &'a str,
    game_type: &'a str,
    game_code: &'a str,
    game_name: &'a str,
    bet_type: Nothing,
    bet_amount: Box<RawValue>,
    bet_time: String,
    round_id: &'a str,
    game_info: Nothing,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CancelTransaction<'a> {
    platform_tx_id: &'a str,
    user_id: &'a str,
    platform: &'a str,
    game_type: &'a str,
    game_code: &'a str,
    round_id: &'a str,
    game_info: Nothing,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SettleTransaction<'a> {
    platform_tx_id: &'a str,
    user_id: &'a str,
    platform: &'a str,
    game_type: &'a str,
    game_code: &'a str,
    game_name: &'a str,
    bet_type: Nothing,
    bet_amount: Box<RawValue>,
    win_amount: Box<RawValue>,
    turnover: Box<RawValue>,
    bet_time: String,
    update_time: String,
    tx_time: String,
    round_id: &'a str,
    ref_platform_tx_id: Nothing,
    settle_type: &'a str,
    game_info: GameInfo,
}

#[derive(Serialize)]
struct GameInfo {
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VoidTransaction<'a> {
    platform_tx_id: &'a str,
    user_id: &'a str,
    platform: &'a str,
    game_type: &'a str,
    game_code: &'a str,
    game_name: &'a str,
    bet_amount: Box<RawValue>,
    update_time: String,
    round_id: &'a str,
    void_type: u8,
}

fn transaction<T: Serialize>(action: Action, transaction: T) -> String {
    text(&Envelope {
        action: action.as_str(),
        txns: [transaction],
    })
}

fn text<T: Serialize>(message: &T) -> String {
    serde_json::to_string(message).expect("texts, numbers and nulls are JSON")
}

/// The amount as a JSON number literal with the currency's decimals.
fn literal(amount: Amount, decimal_places: u8) -> Box<RawValue> {
    RawValue::from_string(amount.format(decimal_places)).expect("a decimal amount is a JSON number")
}

/// The instant in the agent's offset. An offset that no place on earth has falls back to UTC: the text still names the
/// same instant.
fn time(at: DateTime<Utc>, utc_offset_minutes: i32) -> String {
    let offset = utc_offset_minutes.checked_mul(60).and_then(FixedOffset::east_opt);
    let offset = offset.unwrap_or(FixedOffset::east_opt(0).expect("zero is an offset"));
    at.with_timezone(&offset).to_rfc3339_opts(SecondsFormat::Millis, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bet(payload: &GamePayload) -> BetFacts<'_> {
        BetFacts {
            platform_tx_id: "bet-1",
            user_id: "user1",
            currency: "INR",
            stake: Amount::from_minor(1000).expect("an amount"),
            decimal_places: 2,
            round_id: "round-1",
            placed_at: DateTime::from_timestamp_millis(1_590_386_646_115).expect("a time"),
            payload,
            utc_offset_minutes: 480,
        }
    }

    #[test]
    fn the_texts_are_exactly_these() {
        let payload = GamePayload::default();
        let bet = bet(&payload);
        let later = bet.placed_at + chrono::TimeDelta::seconds(61);
        let settle = SettleFacts {
            bet,
            payout: Amount::from_minor(15_050).expect("an amount"),
            settled_at: later,
        };
        assert_eq!(get_balance_message("user1"), r#"{"action":"getBalance","userId":"user1"}"#);
        assert_eq!(
            bet_message(&bet),
            r#"{"action":"bet","txns":[{"platformTxId":"bet-1","userId":"user1","currency":"INR","platform":"In-out","gameType":"CRASH","gameCode":"chicken-road-two","gameName":"chicken-road-2","betType":null,"betAmount":10.00,"betTime":"2020-05-25T14:04:06.115+08:00","roundId":"round-1","gameInfo":null}]}"#
        );
        assert_eq!(
            cancel_message(&bet),
            r#"{"action":"cancelBet","txns":[{"platformTxId":"bet-1","userId":"user1","platform":"In-out","gameType":"CRASH","gameCode":"chicken-road-two","roundId":"round-1","gameInfo":null}]}"#
        );
        assert_eq!(
            settle_message(&settle),
            r#"{"action":"settle","txns":[{"platformTxId":"bet-1","userId":"user1","platform":"In-out","gameType":"CRASH","gameCode":"chicken-road-two","gameName":"chicken-road-2","betType":null,"betAmount":10.00,"winAmount":150.50,"turnover":10.00,"betTime":"2020-05-25T14:04:06.115+08:00","updateTime":"2020-05-25T14:05:07.115+08:00","txTime":"2020-05-25T14:04:06.115+08:00","roundId":"round-1","refPlatformTxId":null,"settleType":"platformTxId","gameInfo":{"status":"WIN"}}]}"#
        );
        assert_eq!(
            void_message(&bet, later),
            r#"{"action":"voidBet","txns":[{"platformTxId":"bet-1","userId":"user1","platform":"In-out","gameType":"CRASH","gameCode":"chicken-road-two","gameName":"chicken-road-2","betAmount":10.00,"updateTime":"2020-05-25T14:05:07.115+08:00","roundId":"round-1","voidType":2}]}"#
        );
    }

    #[test]
    fn a_debit_says_under_which_names_and_in_which_offset_it_was_made() {
        for (game_code, utc_offset_minutes) in [("chicken-road-two", 480), ("ch\u{f6}\"ck", -210), ("x", 0)] {
            let payload = GamePayload {
                game_code: game_code.into(),
                game_name: format!("{game_code}!"),
                ..GamePayload::default()
            };
            let facts = BetFacts {
                utc_offset_minutes,
                ..bet(&payload)
            };
            let debit = Debit::read(&bet_message(&facts), &payload.settle_type);
            let expected = Debit {
                payload: payload.clone(),
                utc_offset_minutes,
            };
            assert_eq!(debit, Ok(expected));
        }
        for text in ["", "{}", r#"{"action":"bet","txns":[]}"#, r#"{"action":"getBalance","userId":"u"}"#] {
            assert_eq!(Debit::read(text, "platformTxId"), Err(DebitError), "{text}");
        }
    }

    #[test]
    fn amounts_are_literals_with_the_currencys_decimals() {
        for (minor, places, expected) in [
            (1000, 2, "10.00"),
            (1, 2, "0.01"),
            (0, 2, "0.00"),
            (10, 0, "10"),
            (12_345, 3, "12.345"),
            (9_007_199_254_740_991, 2, "90071992547409.91"),
        ] {
            assert_eq!(literal(Amount::from_minor(minor).expect("an amount"), places).get(), expected);
        }
    }

    #[test]
    fn times_have_milliseconds_and_a_numeric_offset() {
        let at = DateTime::from_timestamp_millis(1_590_386_646_000).expect("a time");
        for (offset_minutes, expected) in [
            (480, "2020-05-25T14:04:06.000+08:00"),
            (0, "2020-05-25T06:04:06.000+00:00"),
            (-210, "2020-05-25T02:34:06.000-03:30"),
            (i32::MAX, "2020-05-25T06:04:06.000+00:00"),
        ] {
            assert_eq!(time(at, offset_minutes), expected);
        }
    }
}

//! The operator's side of the story: the ledger that `GET /ledger` of the simulated operator gives, read into memory as a
//! whole, because it comes as one document. Amounts are exact decimals.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};

use super::AuditError;

/// How long the operator may say nothing; the whole ledger may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ledger as of one instant.
#[derive(Debug, Default)]
pub struct OperatorLedger {
    pub players: Vec<LedgerPlayer>,
    /// By agent and platformTxId.
    pub bets: HashMap<String, HashMap<String, LedgerBet>>,
    pub violations: Vec<LedgerViolation>,
}

/// The document as it is sent.
#[derive(Deserialize)]
struct Document {
    players: Vec<LedgerPlayer>,
    bets: Vec<LedgerBet>,
    violations: Vec<LedgerViolation>,
}

/// A player's money. The starting balance moves with every change from outside, so the difference is what the bets did.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerPlayer {
    pub user_id: String,
    #[serde(deserialize_with = "decimal")]
    pub balance: Decimal,
    #[serde(deserialize_with = "decimal")]
    pub starting_balance: Decimal,
}

/// What became of a bet at the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerState {
    Refused,
    Bet,
    Cancelled,
    CancelledBeforeBet,
    Settled,
    Voided,
}

impl LedgerState {
    /// As the ledger writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Bet => "bet",
            Self::Cancelled => "cancelled",
            Self::CancelledBeforeBet => "cancelled_before_bet",
            Self::Settled => "settled",
            Self::Voided => "voided",
        }
    }
}

/// A bet with all that was ever said about it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerBet {
    pub agent_id: String,
    pub platform_tx_id: String,
    pub user_id: String,
    pub round_id: String,
    pub currency: Option<String>,
    #[serde(default, deserialize_with = "optional_decimal")]
    pub bet_amount: Option<Decimal>,
    pub state: LedgerState,
    #[serde(default, deserialize_with = "optional_decimal")]
    pub win_amount: Option<Decimal>,
    pub history: Vec<Event>,
}

/// One delivery.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub action: String,
    /// Whether it changed anything.
    pub applied: bool,
    pub message_sha256: String,
}

/// Something that the operator saw and that must never be sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerViolation {
    pub kind: String,
    pub agent_id: String,
    pub platform_tx_id: Option<String>,
    pub detail: String,
}

impl OperatorLedger {
    /// Fetches the ledger. A url without a path means the simulated operator, whose ledger is at `/ledger`.
    ///
    /// # Errors
    /// When the operator does not answer with a ledger.
    pub async fn fetch(url: &Url) -> Result<Self, AuditError> {
        // Whoever makes a client first installs the TLS provider; a second installation changes nothing.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut url = url.clone();
        if url.path() == "/" {
            url.set_path("/ledger");
        }
        let client = match url.scheme() {
            // Plain http needs no root certificates, and a machine may have none.
            "http" => reqwest::Client::builder().no_proxy().tls_certs_only([]),
            _ => reqwest::Client::builder().no_proxy(),
        };
        let client = client.connect_timeout(PATIENCE).read_timeout(PATIENCE);
        let answer = client.build()?.get(url).send().await?.error_for_status()?;
        Self::parse(&answer.bytes().await?)
    }

    /// Reads the document.
    ///
    /// # Errors
    /// When it is not a ledger.
    pub fn parse(document: &[u8]) -> Result<Self, AuditError> {
        let document: Document = serde_json::from_slice(document).map_err(AuditError::LedgerDocument)?;
        let mut ledger = Self {
            players: document.players,
            violations: document.violations,
            ..Self::default()
        };
        for bet in document.bets {
            let of_agent = ledger.bets.entry(bet.agent_id.clone()).or_default();
            of_agent.insert(bet.platform_tx_id.clone(), bet);
        }
        Ok(ledger)
    }

    /// The entry of a bet.
    pub fn bet(&self, agent_id: &str, platform_tx_id: &str) -> Option<&LedgerBet> {
        self.bets.get(agent_id)?.get(platform_tx_id)
    }

    /// What the bets did to each player's balance.
    pub fn changes_by_player(&self) -> BTreeMap<&str, Decimal> {
        let mut changes = BTreeMap::new();
        for bet in self.bets.values().flat_map(HashMap::values) {
            *changes.entry(bet.user_id.as_str()).or_insert(Decimal::ZERO) += bet.won() - bet.taken();
        }
        changes
    }
}

impl LedgerBet {
    /// How many deliveries of an action changed something.
    pub fn applied(&self, action: &str) -> usize {
        self.history.iter().filter(|event| event.applied && event.action == action).count()
    }

    /// The stake that the operator holds, or has kept.
    pub fn taken(&self) -> Decimal {
        match self.state {
            LedgerState::Bet | LedgerState::Settled => self.bet_amount.unwrap_or_default(),
            LedgerState::Refused | LedgerState::Cancelled | LedgerState::CancelledBeforeBet | LedgerState::Voided => Decimal::ZERO,
        }
    }

    /// What the operator has paid for the round.
    pub fn won(&self) -> Decimal {
        match self.state {
            LedgerState::Settled => self.win_amount.unwrap_or_default(),
            _ => Decimal::ZERO,
        }
    }
}

fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    Decimal::from_str(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn optional_decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| Decimal::from_str(&text).map_err(serde::de::Error::custom))
        .transpose()
}

//! The operator over HTTP: what we say to the wallet that holds the player's balance, and what its answer proves.
//!
//! An answer is an outcome, not an error: the money moved, it certainly did not, or nobody can know. Everything that is
//! not proof is [`Outcome::Unknown`], and the caller repairs it by cancelling (a bet) or by sending the same bytes again
//! (everything else). Nothing here touches a database and nothing here retries: `play` records what comes back and decides
//! when to ask again. The message texts are built once ([`message`]), stored, and sent as they are for ever after; only
//! the shared secret, the body encoding and the signature are added at each send.

mod address;
pub mod answer;
mod breaker;
mod client;
mod connections;
mod encoding;
mod guard;
pub mod message;
mod outgoing;
mod signature;
pub mod status;

use std::time::Duration;

use rust_decimal::Decimal;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

pub use address::{CallbackUrlError, check_callback_url};
pub use answer::Defect;
pub use breaker::Retries;
pub use client::{WalletClient, WalletClientError};
pub use encoding::BodyEncoding;
pub use guard::{NoPlace, Place};

/// The most of an operator's answer that is kept for the audit, in bytes.
pub const KEPT_ANSWER_BYTES: usize = 4 * 1024;
/// The most of an operator's answer that is read, in bytes; a longer one is unreadable.
pub const READ_ANSWER_BYTES: usize = 64 * 1024;

/// How the client behaves towards every operator.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalletSettings {
    /// Calls of one kind (bets; settles and voids; cancels; balance enquiries) in flight to one agent. Each kind has places of its
    /// own, and more wait their turn for a while.
    pub concurrent_calls_per_agent: u32,
    /// Name lookup, TCP and TLS together may take this long.
    pub connect_timeout_ms: u64,
    /// A connection unused for this long is closed, also where the operator names a longer `Keep-Alive: timeout`. Where it names none
    /// it is a second at most: a bet that meets a closing connection has an unknown outcome.
    pub idle_connection_ms: u64,
    /// What was sent and not acknowledged for so long is given up by the kernel: no longer than a bet's timeout, so that a debit does not
    /// arrive long after it.
    pub unacknowledged_ms: u64,
    /// Callback addresses on loopback, private and other non-public ranges are refused unless this is set.
    pub allow_private_callbacks: bool,
    /// The breaker looks at this many of the latest calls to an agent...
    pub breaker_calls: u32,
    /// ...opens when at least this share of them, in percent, got no readable answer...
    pub breaker_failures_percent: u8,
    /// ...stays open for this long...
    pub breaker_open_ms: u64,
    /// ...and closes again after this many trial calls of which most were answered.
    pub breaker_trial_calls: u32,
}

impl Default for WalletSettings {
    fn default() -> Self {
        Self {
            concurrent_calls_per_agent: 64,
            connect_timeout_ms: 1_000,
            idle_connection_ms: 4_000,
            unacknowledged_ms: 5_000,
            allow_private_callbacks: false,
            breaker_calls: 20,
            breaker_failures_percent: 60,
            breaker_open_ms: 2_000,
            breaker_trial_calls: 3,
        }
    }
}

/// Where an agent's wallet is and how it wants to be spoken to.
#[derive(Clone)]
pub struct AgentEndpoint {
    /// Names the breaker and the concurrency cap that this agent's calls share.
    pub agent_id: String,
    /// The one URL of all callbacks.
    pub callback_url: Url,
    /// The shared secret, sent as `key`.
    pub certificate: SecretString,
    /// How `key` and `message` are packed.
    pub encoding: BodyEncoding,
    /// When set, each body is signed with it (`X-Signature`).
    pub signature_secret: Option<SecretString>,
    /// The offset in which this agent reads times, minutes east of UTC (+08:00 is 480).
    pub utc_offset_minutes: i32,
}

/// What a callback asks of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Reads the balance; moves nothing.
    GetBalance,
    /// Takes the stake.
    Bet,
    /// Returns the stake of a bet whose outcome is unknown, or makes sure that it is never taken.
    CancelBet,
    /// Pays the win; sent for a loss too, with 0.
    Settle,
    /// Returns the stake of a confirmed, unsettled bet.
    VoidBet,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::GetBalance, Self::Bet, Self::CancelBet, Self::Settle, Self::VoidBet];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GetBalance => "getBalance",
            Self::Bet => "bet",
            Self::CancelBet => "cancelBet",
            Self::Settle => "settle",
            Self::VoidBet => "voidBet",
        }
    }

    /// The action of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

/// The circumstances of one send.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// These very message bytes may have reached the operator before, as its row of the outbox knows. Only then do 1016 and 1038 ("already applied") say
    /// anything about our own message: on a first send they speak of somebody else's, and prove nothing. When in doubt
    /// (a process died with the message in its hands) it is a repeat.
    pub repeat: bool,
    /// One deadline for connecting, sending and reading the whole answer, from the moment the call has its place.
    pub timeout: Duration,
    /// The first byte of the message leaves within this time of the call, or the message is not sent at all.
    pub send_within: Option<Duration>,
}

impl Attempt {
    /// The first send of a message.
    pub fn first(timeout: Duration) -> Self {
        Self {
            repeat: false,
            timeout,
            send_within: None,
        }
    }

    /// A later send of a message that may have arrived before.
    pub fn repeat(timeout: Duration) -> Self {
        Self {
            repeat: true,
            timeout,
            send_within: None,
        }
    }

    /// The same, given up when the message could not leave in time.
    pub fn sent_within(self, limit: Duration) -> Self {
        Self {
            send_within: Some(limit),
            ..self
        }
    }
}

/// One callback, as the audit wants it.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it proves.
    pub outcome: Outcome,
    /// Whether any byte of the message may have left this process. `false` is certain: the operator never saw it.
    pub sent: bool,
    /// The HTTP status, when there was an answer.
    pub http_status: Option<u16>,
    /// The answer's beginning as text that PostgreSQL takes (no NUL), without our certificate should it be echoed.
    pub answer: Option<String>,
    /// From the call of [`WalletClient::send`] to its return, waiting included.
    pub duration_ms: u64,
    /// How the answer came, for people who look for what is wrong with it.
    pub form: AnswerForm,
}

/// How an answer came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerForm {
    /// Its `Content-Type`.
    pub content_type: Option<String>,
    /// Its `Content-Encoding`.
    pub content_encoding: Option<String>,
    pub was_gzip: bool,
    pub had_byte_order_mark: bool,
    /// For how long its connection may rest, as it says.
    pub keep_alive: Option<Duration>,
    /// What makes it unreadable.
    pub defect: Option<Defect>,
}

/// What an answer proves about the operator's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The operator did it, now or at an earlier send of the same message.
    Applied {
        /// The operator's own status: 0000, or another that says the same of this message.
        status: String,
        /// The player's balance afterwards, when the answer carries a readable one.
        balance: Option<Decimal>,
    },
    /// Bets only: the operator says that it took nothing and why.
    Declined {
        /// One of [`status::DEFINITE_REFUSALS`].
        status: String,
    },
    /// Nothing is proven. A bet is cancelled, everything else is sent again.
    Unknown {
        /// What went wrong.
        reason: UnknownReason,
        /// The operator's status, when there was a readable one.
        status: Option<String>,
    },
}

/// Why an outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownReason {
    /// Not sent: the connection could not be made, or the message or address was not sendable.
    NotSent,
    /// Not sent: the callback address is not a public one.
    AddressRefused,
    /// Not sent: too many calls to this agent are in flight, and none ended in time.
    Busy,
    /// Not sent: the latest calls to this agent failed, it is left alone for a moment.
    BreakerOpen,
    /// Not sent: the message could not leave within [`Attempt::send_within`].
    TooLate,
    /// No complete answer before the deadline.
    Timeout,
    /// The connection broke before the answer was complete.
    Broken,
    /// The HTTP status is not 2xx; redirects are not followed.
    HttpStatus,
    /// The answer is too long, not JSON, or has no status.
    Unreadable,
    /// The answer is about another bet or player.
    WrongEcho,
    /// The operator's status is neither success nor, for a bet, a definite refusal.
    Status,
}

impl UnknownReason {
    /// The name in logs, metrics and the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::AddressRefused => "address_refused",
            Self::Busy => "busy",
            Self::BreakerOpen => "breaker_open",
            Self::TooLate => "too_late",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::HttpStatus => "http_status",
            Self::Unreadable => "unreadable",
            Self::WrongEcho => "wrong_echo",
            Self::Status => "status",
        }
    }
}

//! Why a player's request changes nothing. Each variant is one row of the error table in `http::problem`; the texts say
//! what a client developer needs and never what went wrong inside.

/// A named reason for which a request is refused. Nothing has changed, unless the variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{field}: {detail}")]
    ValidationFailed { field: &'static str, detail: String },
    #[error("betAmount: {detail}")]
    InvalidBetAmount { detail: String },
    #[error("difficulty: one of EASY, MEDIUM, HARD, DAREDEVIL")]
    InvalidDifficulty,
    #[error("currency: {detail}")]
    InvalidCurrency { detail: String },
    #[error("userSeed: 1 to 64 characters of [A-Za-z0-9_.-]")]
    InvalidUserSeed,
    #[error("the session token is missing or not valid")]
    Unauthenticated,
    #[error("the session token has expired")]
    TokenExpired,
    #[error("the balance does not cover the stake")]
    InsufficientFunds,
    #[error("the player's account is suspended or locked")]
    AccountSuspended,
    #[error("{detail}")]
    Forbidden { detail: String },
    #[error("there is no open round")]
    NoActiveSession,
    #[error("{what} was not found")]
    NotFound { what: &'static str },
    #[error("a round is open; finish it first")]
    ActiveSessionExists,
    #[error("{detail}")]
    InvalidStepSequence { detail: String },
    #[error("the hazard epoch is no longer, or not yet, in force")]
    StaleHazardEpoch { epoch: u64, hazard_seed: String },
    #[error("the bet names another configuration than version {current}, which is in force")]
    StaleConfig { current: i32 },
    #[error("another server seed's commitment is in force")]
    StaleCommitment,
    #[error("another round is open than the one named")]
    RoundMismatch,
    #[error("a bet of this player is being placed")]
    BetInProgress { retry_after_ms: u64 },
    #[error("there is nothing to cash out before the first safe lane")]
    TooEarlyToCashOut,
    #[error("this Idempotency-Key was used for a bet with other contents")]
    IdempotencyKeyReused,
    #[error("too many requests")]
    RateLimited { retry_after_ms: u64 },
    #[error("the casino refused the bet with status {status}")]
    AgentRejected { status: String },
    #[error("the service is not available right now; nothing was changed that is not completed later")]
    Unavailable,
    /// Redis is full. Nothing was taken; open rounds go on.
    #[error("no new rounds can be opened at the moment; open rounds can be played on")]
    RedisFull,
    #[error("the game is closed at the moment")]
    GameDisabled,
    /// Nothing was sent to the operator, and nothing was taken.
    #[error("the casino cannot be asked right now; nothing was taken")]
    OperatorUnavailable { retry_after_ms: u64 },
    /// The operator did not answer: the stake, if it was taken, is being returned.
    #[error("the casino did not confirm the bet; the stake, if it was taken, is being returned")]
    BetUnconfirmed,
}

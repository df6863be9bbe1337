//! The states of a bet, from its intent to the last answer of the operator. The triggers of the table `bets` and the API have the
//! same names.

/// The states of a bet, as the triggers of the table know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "server",
    derive(sqlx::Type),
    sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")
)]
pub enum BetState {
    Pending,
    Placed,
    PendingSettlement,
    Won,
    Lost,
    PendingVoid,
    Voided,
    PendingCancel,
    Cancelled,
    Rejected,
}

impl BetState {
    /// The name in SQL, in the API and in the documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Placed => "PLACED",
            Self::PendingSettlement => "PENDING_SETTLEMENT",
            Self::Won => "WON",
            Self::Lost => "LOST",
            Self::PendingVoid => "PENDING_VOID",
            Self::Voided => "VOIDED",
            Self::PendingCancel => "PENDING_CANCEL",
            Self::Cancelled => "CANCELLED",
            Self::Rejected => "REJECTED",
        }
    }

    /// Whether the round may still be played, or its debit is still being made.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Placed)
    }

    /// Whether nothing more will happen to the bet.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Won | Self::Lost | Self::Voided | Self::Cancelled | Self::Rejected)
    }
}

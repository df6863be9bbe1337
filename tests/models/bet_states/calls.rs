//! The calls that two servers make of the ledger, and statements that nobody should make.

use faircross::game::bet_state::BetState;
use faircross::game::round::EndReason;
use proptest::prelude::*;

use super::model::MAX_LANE;

/// A call of the ledger, or a statement that nobody of ours would make. Bets and rows are numbered from the first; a number too
/// many means the last.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    Intent {
        commitment_is_stale: bool,
        key: Option<u8>,
        user_seed: bool,
    },
    Placed {
        bet: usize,
    },
    Rejected {
        bet: usize,
    },
    Cancelling {
        bet: usize,
        has_call: bool,
    },
    End {
        bet: usize,
        reason: EndReason,
        lane: i16,
        payout_is_wrong: bool,
    },
    Claim,
    Complete {
        row: usize,
    },
    PutOff {
        row: usize,
        holds_lease: bool,
        for_people: bool,
    },
    Resolve {
        row: usize,
        decision: Decision,
    },
    RetryNow {
        row: usize,
    },
    /// The lease of a row runs out.
    LeaseRunsOut {
        row: usize,
    },
    /// The time of a row comes.
    FallsDue {
        row: usize,
    },
    KeepProgress {
        bet: usize,
        lane: i16,
    },
    ChangeUserSeed,
    Archive,
    Tamper {
        with: Tampering,
        bet: usize,
        row: usize,
    },
}

/// How two people decide.
#[derive(Clone, Copy, Debug)]
pub enum Decision {
    Whole,
    OnePersonTwice,
    WithoutReason,
}

/// What the constraints and triggers are there for.
#[derive(Clone, Copy, Debug)]
pub enum Tampering {
    JumpTo(BetState),
    Stake,
    LaneBack,
    PayoutAfterTheEnd,
    DeleteBet,
    SkipNonce,
    ReuseSeed,
    Message,
    Reopen,
    SecondSettlement,
    History,
    Audit,
}

/// What a call answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Whether anything was moved.
    Moved(bool),
    /// The constraint that refused it.
    Refused(&'static str),
    /// The state in which the bet is now.
    State(Option<BetState>),
    /// The rows that were claimed.
    Claimed(Vec<usize>),
    /// There is nothing that the call could be about: it is not made.
    NotMade,
}

impl Reply {
    /// The kind of answer, to be counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Moved(true) => "moved",
            Self::Moved(false) => "moved nothing",
            Self::Refused(constraint) => constraint,
            Self::State(Some(_)) => "a state",
            Self::State(None) => "no such bet",
            Self::Claimed(_) => "claimed",
            Self::NotMade => "not made",
        }
    }
}

impl Call {
    /// The bet that it is about.
    pub fn bet(self) -> Option<usize> {
        match self {
            Self::Placed { bet }
            | Self::Rejected { bet }
            | Self::Cancelling { bet, .. }
            | Self::End { bet, .. }
            | Self::KeepProgress { bet, .. }
            | Self::Tamper { bet, .. } => Some(bet),
            _ => None,
        }
    }

    /// The row of the outbox that it is about.
    pub fn row(self) -> Option<usize> {
        match self {
            Self::Complete { row }
            | Self::PutOff { row, .. }
            | Self::Resolve { row, .. }
            | Self::RetryNow { row }
            | Self::LeaseRunsOut { row }
            | Self::FallsDue { row }
            | Self::Tamper { row, .. } => Some(row),
            _ => None,
        }
    }
}

/// Any call about one of these bets and rows.
pub fn calls(bet: BoxedStrategy<usize>, row: BoxedStrategy<usize>) -> BoxedStrategy<Call> {
    let (bet, row) = (move || bet.clone(), move || row.clone());
    let key = prop::option::weighted(0.3, 0..3_u8);
    let paid = prop::sample::select(vec![EndReason::Win, EndReason::Cashout, EndReason::Deadline, EndReason::Hazard]);
    let decision = prop_oneof![2 => Just(Decision::Whole), 1 => Just(Decision::OnePersonTwice), 1 => Just(Decision::WithoutReason)];
    prop_oneof![
        8 => (prop::bool::weighted(0.1), key, any::<bool>())
            .prop_map(|(commitment_is_stale, key, user_seed)| Call::Intent { commitment_is_stale, key, user_seed }),
        8 => bet().prop_map(|bet| Call::Placed { bet }),
        2 => bet().prop_map(|bet| Call::Rejected { bet }),
        3 => (bet(), any::<bool>()).prop_map(|(bet, has_call)| Call::Cancelling { bet, has_call }),
        6 => (bet(), paid, 0..=MAX_LANE, prop::bool::weighted(0.1))
            .prop_map(|(bet, reason, lane, payout_is_wrong)| Call::End { bet, reason, lane, payout_is_wrong }),
        1 => bet().prop_map(|bet| Call::End { bet, reason: EndReason::Void, lane: -1, payout_is_wrong: false }),
        4 => Just(Call::Claim),
        6 => row().prop_map(|row| Call::Complete { row }),
        4 => (row(), prop::bool::weighted(0.8), any::<bool>())
            .prop_map(|(row, holds_lease, for_people)| Call::PutOff { row, holds_lease, for_people }),
        3 => (row(), decision).prop_map(|(row, decision)| Call::Resolve { row, decision }),
        1 => row().prop_map(|row| Call::RetryNow { row }),
        2 => row().prop_map(|row| Call::LeaseRunsOut { row }),
        2 => row().prop_map(|row| Call::FallsDue { row }),
        3 => (bet(), 0..=MAX_LANE + 1).prop_map(|(bet, lane)| Call::KeepProgress { bet, lane }),
        1 => Just(Call::ChangeUserSeed),
        1 => Just(Call::Archive),
        5 => (tampering(), bet(), row()).prop_map(|(with, bet, row)| Call::Tamper { with, bet, row }),
    ]
    .boxed()
}

fn tampering() -> impl Strategy<Value = Tampering> {
    use BetState as S;
    let states = vec![
        S::Pending,
        S::Placed,
        S::PendingSettlement,
        S::Won,
        S::Lost,
        S::PendingVoid,
        S::Voided,
        S::PendingCancel,
        S::Cancelled,
        S::Rejected,
    ];
    let others = vec![
        Tampering::Stake,
        Tampering::LaneBack,
        Tampering::PayoutAfterTheEnd,
        Tampering::DeleteBet,
        Tampering::SkipNonce,
        Tampering::ReuseSeed,
        Tampering::Message,
        Tampering::Reopen,
        Tampering::SecondSettlement,
        Tampering::History,
        Tampering::Audit,
    ];
    prop_oneof![
        prop::sample::select(states).prop_map(Tampering::JumpTo),
        prop::sample::select(others)
    ]
}

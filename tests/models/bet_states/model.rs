//! The record of one player's bets as a plain machine: what each call of the ledger does to it, and what it answers.

use faircross::game::bet_state::BetState;
use faircross::game::round::EndReason;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use super::calls::{Call, Decision, Reply, Tampering, calls};

/// The last playable lane of every bet.
pub const MAX_LANE: i16 = 3;

#[derive(Clone, Debug)]
pub struct Bet {
    pub state: BetState,
    pub lane: i16,
    pub pays: bool,
    pub key: Option<u8>,
    pub is_archived: bool,
    /// Every state it was in.
    pub history: Vec<BetState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    Open,
    Done,
    NeedsHuman,
    Resolved,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub bet: usize,
    pub action: &'static str,
    pub state: RowState,
    pub is_due: bool,
    /// The number of the claim that holds it.
    pub claim: Option<u32>,
    pub has_lapsed: bool,
    /// Removed with its bet's archiving.
    pub is_gone: bool,
}

/// Everything of a player in the record, and the answer to the last call.
#[derive(Clone, Debug)]
pub struct Record {
    pub bets: Vec<Bet>,
    pub rows: Vec<Row>,
    pub audited: i64,
    pub claims: u32,
    pub reply: Reply,
}

impl Record {
    pub fn bet(&self, number: usize) -> Option<usize> {
        self.bets.len().checked_sub(1).map(|last| number.min(last))
    }

    pub fn row(&self, number: usize) -> Option<usize> {
        self.rows.len().checked_sub(1).map(|last| number.min(last))
    }

    pub fn open_bets(&self) -> usize {
        self.bets.iter().filter(|bet| bet.state.is_open()).count()
    }

    /// How many bets stopped being open: so often the seeds rotated.
    pub fn ended_bets(&self) -> usize {
        self.bets.len() - self.open_bets()
    }

    fn move_from(&mut self, bet: usize, from: BetState, to: BetState) -> bool {
        let bet = &mut self.bets[bet];
        let moves = bet.state == from && !bet.is_archived;
        if moves {
            bet.state = to;
            bet.history.push(to);
        }
        moves
    }

    fn owe(&mut self, bet: usize, action: &'static str, is_due: bool, claim: Option<u32>) {
        let has_lapsed = false;
        self.rows.push(Row {
            bet,
            action,
            state: RowState::Open,
            is_due,
            claim,
            has_lapsed,
            is_gone: false,
        });
    }

    fn new_claim(&mut self) -> u32 {
        self.claims += 1;
        self.claims
    }

    /// A call was answered or a person decided: the bet of the row comes to its end, unless it has.
    fn bring_to_end(&mut self, row: usize) {
        let (bet, action) = (self.rows[row].bet, self.rows[row].action);
        let pays = self.bets[bet].pays;
        match action {
            "cancelBet" => self.move_from(bet, BetState::PendingCancel, BetState::Cancelled),
            "voidBet" => self.move_from(bet, BetState::PendingVoid, BetState::Voided),
            _ => self.move_from(bet, BetState::PendingSettlement, if pays { BetState::Won } else { BetState::Lost }),
        };
    }

    fn intent(&mut self, commitment_is_stale: bool, key: Option<u8>) -> Reply {
        let key_is_used = |bet: &Bet| !bet.is_archived && key.is_some() && bet.key == key;
        if commitment_is_stale {
            Reply::Moved(false)
        } else if self.open_bets() > 0 {
            Reply::Refused("bets_one_open")
        } else if self.bets.iter().any(key_is_used) {
            Reply::Refused("bets_idempotency_key")
        } else {
            let (state, history) = (BetState::Pending, vec![BetState::Pending]);
            self.bets.push(Bet {
                state,
                lane: -1,
                pays: false,
                key,
                is_archived: false,
                history,
            });
            Reply::Moved(true)
        }
    }

    fn placed(&mut self, bet: usize) -> Reply {
        self.audited += 1;
        if self.bets[bet].is_archived {
            return Reply::State(None);
        }
        self.move_from(bet, BetState::Pending, BetState::Placed);
        let state = self.bets[bet].state;
        if matches!(state, BetState::PendingCancel | BetState::Cancelled | BetState::Rejected) {
            self.owe(bet, "cancelBet", true, None);
        }
        Reply::State(Some(state))
    }

    fn cancelling(&mut self, bet: usize, has_call: bool) -> Reply {
        self.audited += i64::from(has_call);
        let moved = self.move_from(bet, BetState::Pending, BetState::PendingCancel);
        if moved {
            self.owe(bet, "cancelBet", true, None);
            self.owe(bet, "cancelBet", false, None);
        }
        Reply::Moved(moved)
    }

    fn end(&mut self, bet: usize, reason: EndReason, lane: i16, payout_is_wrong: bool) -> Reply {
        if self.bets[bet].state != BetState::Placed {
            return Reply::Moved(false);
        }
        if payout_is_wrong {
            let pays = reason != EndReason::Hazard;
            return Reply::Refused(if pays { "bets_payout_exact" } else { "bets_only_wins_pay" });
        }
        let is_void = reason == EndReason::Void;
        let next = if is_void {
            BetState::PendingVoid
        } else {
            BetState::PendingSettlement
        };
        self.move_from(bet, BetState::Placed, next);
        self.bets[bet].lane = lane;
        self.bets[bet].pays = !matches!(reason, EndReason::Void | EndReason::Hazard);
        let claim = self.new_claim();
        self.owe(bet, if is_void { "voidBet" } else { "settle" }, true, Some(claim));
        Reply::Moved(true)
    }

    fn claim(&mut self) -> Reply {
        let claim = self.new_claim();
        let mut claimed = Vec::new();
        for (number, row) in self.rows.iter_mut().enumerate() {
            if row.state == RowState::Open && row.is_due && (row.claim.is_none() || row.has_lapsed) {
                (row.claim, row.has_lapsed) = (Some(claim), false);
                claimed.push(number);
            }
        }
        Reply::Claimed(claimed)
    }

    fn complete(&mut self, number: usize) -> Reply {
        self.audited += 1;
        let row = &mut self.rows[number];
        let moved = matches!(row.state, RowState::Open | RowState::NeedsHuman);
        if moved {
            (row.state, row.claim) = (RowState::Done, None);
            self.bring_to_end(number);
        }
        Reply::Moved(moved)
    }

    fn put_off(&mut self, number: usize, holds_lease: bool, for_people: bool) -> Reply {
        self.audited += 1;
        let row = &mut self.rows[number];
        if holds_lease && row.claim.is_some() && row.state == RowState::Open {
            row.state = if for_people { RowState::NeedsHuman } else { RowState::Open };
            (row.claim, row.is_due) = (None, for_people);
        }
        // The call does not say whether it moved anything; the record is compared.
        Reply::Moved(true)
    }

    fn resolve(&mut self, number: usize, decision: Decision) -> Reply {
        if self.rows[number].state != RowState::NeedsHuman {
            return Reply::Moved(false);
        }
        match decision {
            Decision::OnePersonTwice => Reply::Refused("queue_resolutions_two_people"),
            Decision::WithoutReason => Reply::Refused("queue_resolutions_reason_given"),
            Decision::Whole => {
                self.rows[number].state = RowState::Resolved;
                self.bring_to_end(number);
                Reply::Moved(true)
            }
        }
    }

    fn retry_now(&mut self, number: usize) -> Reply {
        let row = &mut self.rows[number];
        let moved = matches!(row.state, RowState::Open | RowState::NeedsHuman);
        if moved {
            (row.state, row.is_due) = (RowState::Open, true);
        }
        Reply::Moved(moved)
    }

    fn keep_progress(&mut self, bet: usize, lane: i16) -> Reply {
        let bet = &mut self.bets[bet];
        // A lane that the road does not have is nonsense from Redis, and stands in nobody's way.
        let moves = bet.state == BetState::Placed && bet.lane < lane && lane <= MAX_LANE;
        if moves {
            bet.lane = lane;
        }
        Reply::Moved(moves)
    }

    fn archive(&mut self) -> Reply {
        let is_owed = |number: usize| {
            let mut rows = self.rows.iter().filter(|row| row.bet == number);
            rows.any(|row| matches!(row.state, RowState::Open | RowState::NeedsHuman))
        };
        let finished: Vec<usize> = (0..self.bets.len())
            .filter(|bet| self.bets[*bet].state.is_final() && !is_owed(*bet))
            .collect();
        for bet in finished {
            self.bets[bet].is_archived = true;
            let done = |row: &&mut Row| row.bet == bet && row.state == RowState::Done;
            self.rows.iter_mut().filter(done).for_each(|row| row.is_gone = true);
        }
        Reply::Moved(true)
    }

    /// Which constraint stands against a statement that must not be made; nothing moves.
    fn tamper(&self, with: Tampering, bet: usize, row: Option<usize>) -> Reply {
        use BetState as S;
        let constraint = {
            let row = row.map(|row| &self.rows[row]).filter(|row| !row.is_gone);
            let (number, bet) = (bet, &self.bets[bet]);
            let stands = !bet.is_archived;
            match with {
                Tampering::JumpTo(to) => {
                    let legal = is_legal(Some(bet.state), to) || bet.state == to;
                    (stands && !legal).then_some("bets_legal_transition")
                }
                Tampering::Stake => stands.then_some("bets_terms_immutable"),
                Tampering::LaneBack if bet.state.is_open() => (bet.lane >= 0).then_some("bets_lane_forward"),
                Tampering::LaneBack | Tampering::PayoutAfterTheEnd => (stands && !bet.state.is_open()).then_some("bets_end_immutable"),
                Tampering::DeleteBet if !bet.state.is_final() => Some("bets_delete_only_finished"),
                Tampering::DeleteBet => stands.then_some("bets_delete_only_archived"),
                Tampering::SkipNonce => Some("player_seeds_nonce_by_one"),
                Tampering::ReuseSeed => {
                    (stands && !matches!(bet.state, S::Pending | S::Placed)).then_some("player_seeds_commitment_unrevealed")
                }
                Tampering::Message => row.map(|_| "outbox_message_immutable"),
                Tampering::Reopen => row
                    .filter(|row| matches!(row.state, RowState::Done | RowState::Resolved))
                    .map(|_| "outbox_done_is_final"),
                Tampering::SecondSettlement => {
                    let is_settlement = |row: &Row| row.bet == number && row.action != "cancelBet" && !row.is_gone;
                    self.rows.iter().any(is_settlement).then_some("outbox_one_settlement")
                }
                Tampering::History => stands.then_some("bets_terms_immutable"),
                Tampering::Audit => (self.audited > 0).then_some("wallet_audit_immutable"),
            }
        };
        constraint.map_or(Reply::NotMade, Reply::Refused)
    }

    fn answer(&mut self, call: Call) -> Reply {
        let (bet, row) = (call.bet().map(|bet| self.bet(bet)), call.row().map(|row| self.row(row)));
        if let Call::Tamper { with, .. } = call {
            let Some(Some(bet)) = bet else { return Reply::NotMade };
            return self.tamper(with, bet, row.flatten());
        }
        if bet == Some(None) || row == Some(None) {
            return Reply::NotMade;
        }
        let (bet, row) = (bet.flatten().unwrap_or_default(), row.flatten().unwrap_or_default());
        match call {
            Call::Intent {
                commitment_is_stale, key, ..
            } => self.intent(commitment_is_stale, key),
            Call::Placed { .. } => self.placed(bet),
            Call::Rejected { .. } => {
                self.audited += 1;
                Reply::Moved(self.move_from(bet, BetState::Pending, BetState::Rejected))
            }
            Call::Cancelling { has_call, .. } => self.cancelling(bet, has_call),
            Call::End {
                reason,
                lane,
                payout_is_wrong,
                ..
            } => self.end(bet, reason, lane, payout_is_wrong),
            Call::Claim => self.claim(),
            Call::Complete { .. } => self.complete(row),
            Call::PutOff {
                holds_lease, for_people, ..
            } => self.put_off(row, holds_lease, for_people),
            Call::Resolve { decision, .. } => self.resolve(row, decision),
            Call::RetryNow { .. } => self.retry_now(row),
            Call::LeaseRunsOut { .. } => {
                self.rows[row].has_lapsed = self.rows[row].claim.is_some();
                Reply::Moved(true)
            }
            Call::FallsDue { .. } => {
                self.rows[row].is_due = true;
                Reply::Moved(true)
            }
            Call::KeepProgress { lane, .. } => self.keep_progress(bet, lane),
            Call::ChangeUserSeed => Reply::Moved(self.open_bets() == 0),
            Call::Archive => self.archive(),
            Call::Tamper { .. } => Reply::NotMade,
        }
    }
}

/// The transitions of the published diagram. `None`: the beginning.
pub fn is_legal(from: Option<BetState>, to: BetState) -> bool {
    use BetState as S;
    matches!(
        (from, to),
        (None, S::Pending)
            | (Some(S::Pending), S::Placed | S::Rejected | S::PendingCancel)
            | (Some(S::PendingCancel), S::Cancelled)
            | (Some(S::Placed), S::PendingSettlement | S::PendingVoid)
            | (Some(S::PendingSettlement), S::Won | S::Lost)
            | (Some(S::PendingVoid), S::Voided)
    )
}

/// The calls of one server and the other's, in any order.
impl ReferenceStateMachine for Record {
    type State = Record;
    type Transition = (usize, Call);

    fn init_state() -> BoxedStrategy<Record> {
        let reply = Reply::NotMade;
        Just(Record {
            bets: Vec::new(),
            rows: Vec::new(),
            audited: 0,
            claims: 0,
            reply,
        })
        .boxed()
    }

    fn transitions(state: &Record) -> BoxedStrategy<(usize, Call)> {
        // Mostly the latest bet and row, because that is where something can move; now and then an old one.
        let latest = |count: usize| prop_oneof![4 => Just(count.saturating_sub(1)), 1 => 0..count.max(1)];
        (
            0..2_usize,
            calls(latest(state.bets.len()).boxed(), latest(state.rows.len()).boxed()),
        )
            .boxed()
    }

    fn apply(mut state: Record, (_, call): &(usize, Call)) -> Record {
        state.reply = state.answer(*call);
        state
    }
}

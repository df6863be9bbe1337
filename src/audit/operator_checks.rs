//! Our record against the operator's ledger, bet by bet: who took what, how each debit was closed, and in which bytes it was
//! told. The ledger is read after the record's instant, so it may be ahead of a bet that had not come to its end by then, and
//! must agree exactly with one that had.

use std::collections::{BTreeMap, HashMap, HashSet};

use rust_decimal::Decimal;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::operator_ledger::{LedgerBet, LedgerState, OperatorLedger};
use super::report::Check;
use super::walk::BetInFull;
use super::{AuditError, Scope};
use crate::game::bet_state::BetState;
use crate::ledger::audit_reads::{RestoredBet, bets_by_id};

/// Ids that are looked up at once.
const LOOK_UP_BATCH: usize = 1_000;

/// What was taken and what was paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    taken: Decimal,
    won: Decimal,
}

/// The checks that need the operator's word.
pub struct OperatorChecks<'a> {
    ledger: &'a OperatorLedger,
    scope: &'a Scope,
    /// The ids of the ledger, by agent, for which there is a bet row.
    known: HashMap<String, HashSet<Uuid>>,
    /// What restores have closed and found, by agent and platformTxId.
    restored: HashMap<(String, String), RestoredBet>,
    ours: BTreeMap<(String, String), Sum>,
    theirs: BTreeMap<(String, String), Sum>,
    sums: Check,
    debits: Check,
    credits: Check,
    bytes: Check,
    states: Check,
    amounts: Check,
    balances: Check,
    complaints: Check,
}

impl<'a> OperatorChecks<'a> {
    pub fn new(ledger: &'a OperatorLedger, scope: &'a Scope) -> Self {
        Self {
            ledger,
            scope,
            known: HashMap::new(),
            restored: HashMap::new(),
            ours: BTreeMap::new(),
            theirs: BTreeMap::new(),
            sums: Check::new(
                "sums_agree",
                "stakes kept and wins paid are the same here and at the operator, for each agent and currency",
            ),
            debits: Check::new(
                "debits_closed",
                "every debit has a bet row, and exactly one of settle, cancel and void once the bet has ended",
            ),
            credits: Check::new(
                "nothing_credited_twice",
                "no bet is debited, settled, cancelled or voided more than once",
            ),
            bytes: Check::new(
                "same_bytes",
                "every attempt that reached the operator carried the bytes that are stored for it",
            ),
            states: Check::new(
                "terminal_states_agree",
                "the operator knows every bet that has ended by the same end",
            ),
            amounts: Check::new(
                "amounts_agree",
                "player, round, currency, stake and win of a bet are the same at the operator",
            ),
            balances: Check::new(
                "balances_follow",
                "each balance at the operator changed by exactly what its bets say",
            ),
            complaints: Check::new("operator_has_no_complaint", "the operator received nothing that must never be sent"),
        }
    }

    /// Takes in what restores have closed and found: with that, the record may differ from what the operator was told before.
    pub fn after_restores(&mut self, restored: Vec<RestoredBet>) {
        let key = |bet: &RestoredBet| (bet.agent_id.clone(), bet.platform_tx_id.clone());
        self.restored = restored.into_iter().map(|bet| (key(&bet), bet)).collect();
    }

    fn restored(&self, agent_id: &str, platform_tx_id: &str) -> Option<&RestoredBet> {
        // Without restores there is nothing to look up.
        if self.restored.is_empty() {
            return None;
        }
        self.restored.get(&(agent_id.to_owned(), platform_tx_id.to_owned()))
    }

    /// Looks at one bet of the record.
    pub fn bet(&mut self, bet: &BetInFull) {
        let row = &bet.row;
        if !self.scope.includes(&row.agent_id) {
            return;
        }
        let entry = self.ledger.bet(&row.agent_id, &row.bet_id.to_string());
        if let Some(entry) = entry {
            self.known.entry(row.agent_id.clone()).or_default().insert(row.bet_id);
            self.look_at_bytes(bet, entry);
            self.look_at_amounts(bet, entry);
            self.look_at_credits(entry);
        }
        // Two people declared this bet settled by other means than the protocol: the operator's books need not show how.
        if bet.was_resolved_by_people() {
            return;
        }
        self.look_at_state(bet, entry);
        if let Some(entry) = entry.filter(|entry| entry.applied("bet") > 0) {
            self.debits.look();
            let closings = closings(entry);
            if closings == 0 && row.state.is_final() {
                self.debits.violate(
                    bet,
                    format!("is {}, and its debit is still open at the operator", row.state.as_str()),
                );
            }
        }
        if row.state.is_final() {
            self.add_up(bet, entry);
        }
    }

    fn look_at_bytes(&mut self, bet: &BetInFull, entry: &LedgerBet) {
        let was_closed_by_restore = self.restored(&entry.agent_id, &entry.platform_tx_id).is_some();
        for event in &entry.history {
            // What was sent after the copy was made went with it.
            if was_closed_by_restore && event.action != "bet" {
                continue;
            }
            self.bytes.look();
            let mut stored = bet.messages(&event.action).peekable();
            // A call that was decided on after the record's instant is not in it.
            let may_be_newer = stored.peek().is_none() && !bet.row.state.is_final();
            if !may_be_newer && !stored.any(|message| hex::encode(Sha256::digest(message)) == event.message_sha256) {
                self.bytes.violate(
                    bet,
                    format!("a {} reached the operator in other bytes than are stored", event.action),
                );
            }
        }
    }

    fn look_at_amounts(&mut self, bet: &BetInFull, entry: &LedgerBet) {
        self.amounts.look();
        let row = &bet.row;
        let same_names = entry.user_id == row.user_id && entry.round_id == row.bet_id.to_string();
        let same_currency = entry.currency.as_ref().is_none_or(|currency| *currency == row.currency);
        let same_stake = entry.bet_amount.is_none_or(|amount| amount == bet.stake());
        let same_win = entry.state != LedgerState::Settled || row.state.is_open() || entry.win_amount == Some(bet.payout());
        for (holds, what) in [
            (same_names, "player or round"),
            (same_currency, "currency"),
            (same_stake, "stake"),
            (same_win, "win"),
        ] {
            if !holds {
                self.amounts.violate(bet, format!("has another {what} at the operator"));
            }
        }
    }

    fn look_at_credits(&mut self, entry: &LedgerBet) {
        self.credits.look();
        let subject = format!("bet {}", entry.platform_tx_id);
        for action in ["bet", "settle", "cancelBet", "voidBet"] {
            let times = entry.applied(action);
            // A cancel ahead of its bet changes the entry without money; the late one of a refused bet likewise.
            if times > 1 {
                self.credits.violate(&subject, format!("{action} was applied {times} times"));
            }
        }
        if closings(entry) > 1 {
            self.credits
                .violate(&subject, "was closed by more than one of settle, cancel and void");
        }
        if entry.applied("bet") == 0 && entry.applied("settle") + entry.applied("voidBet") > 0 {
            self.credits.violate(&subject, "was credited without a debit");
        }
        for action in ["voidSettle", "unsettle"] {
            if entry.history.iter().any(|event| event.action == action) {
                self.credits
                    .violate(&subject, format!("{action} was sent, which this product never does"));
            }
        }
    }

    fn look_at_state(&mut self, bet: &BetInFull, entry: Option<&LedgerBet>) {
        self.states.look();
        let state = entry.map(|entry| entry.state);
        let may_meet = may_meet(bet.row.state, state)
            // A debit that never came, as the operator itself says of its cancel.
            || (state.is_none() && bet.row.state == BetState::Cancelled && bet.was_denied())
            // A stake that the operator had given back by a cancel, whatever the copy says of the bet.
            || (bet.row.state == BetState::Voided
                && state == Some(LedgerState::Cancelled)
                && self.restored(&bet.row.agent_id, &bet.row.bet_id.to_string()).is_some());
        if !may_meet {
            let theirs = state.map_or_else(|| "unknown".to_owned(), |state| format!("{state:?}"));
            self.states
                .violate(bet, format!("is {} here and {theirs} at the operator", bet.row.state.as_str()));
        }
    }

    fn add_up(&mut self, bet: &BetInFull, entry: Option<&LedgerBet>) {
        let key = (bet.row.agent_id.clone(), bet.row.currency.clone());
        let ours = self.ours.entry(key.clone()).or_default();
        if matches!(bet.row.state, BetState::Won | BetState::Lost) {
            ours.taken += bet.stake();
            ours.won += bet.payout();
        }
        let theirs = self.theirs.entry(key).or_default();
        theirs.taken += entry.map(LedgerBet::taken).unwrap_or_default();
        theirs.won += entry.map(LedgerBet::won).unwrap_or_default();
    }

    /// What can only be said when all bets were seen. `later` is a connection outside the audit's transaction: an entry whose
    /// bet is not in the record may be of a bet that was placed since, and is looked up once more.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn finish(mut self, later: &mut PgConnection) -> Result<Vec<Check>, AuditError> {
        let strangers: Vec<&LedgerBet> = self
            .ledger
            .bets
            .values()
            .flat_map(HashMap::values)
            .filter(|entry| self.scope.includes(&entry.agent_id) && !self.knows(entry))
            .collect();
        for batch in strangers.chunks(LOOK_UP_BATCH) {
            let ids: Vec<Uuid> = batch.iter().filter_map(|entry| entry.platform_tx_id.parse().ok()).collect();
            let placed_since: HashSet<(String, String)> = bets_by_id(later, &ids)
                .await?
                .into_iter()
                .map(|bet| (bet.agent_id, bet.bet_id.to_string()))
                .collect();
            for entry in batch {
                self.debits.look();
                if !placed_since.contains(&(entry.agent_id.clone(), entry.platform_tx_id.clone())) {
                    self.stranger(entry);
                }
            }
        }
        self.compare_sums();
        self.look_at_balances();
        self.look_at_complaints();
        Ok(vec![
            self.sums,
            self.debits,
            self.credits,
            self.bytes,
            self.states,
            self.amounts,
            self.balances,
            self.complaints,
        ])
    }

    fn knows(&self, entry: &LedgerBet) -> bool {
        let id = entry.platform_tx_id.parse::<Uuid>();
        id.is_ok_and(|id| self.known.get(&entry.agent_id).is_some_and(|ids| ids.contains(&id)))
    }

    fn stranger(&mut self, entry: &LedgerBet) {
        let subject = format!("bet {}", entry.platform_tx_id);
        let key = (entry.agent_id.clone(), entry.currency.clone().unwrap_or_default());
        match self.restored(&entry.agent_id, &entry.platform_tx_id).cloned() {
            // A restore has found it: it is closed as it was then, or by the cancel that was owed for it.
            Some(found) if !found.has_bet => {
                let decimal = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Decimal>().ok()).unwrap_or_default();
                if found.operator_state.as_deref() == Some(LedgerState::Settled.as_str()) {
                    let ours = self.ours.entry(key.clone()).or_default();
                    ours.taken += decimal(&found.stake);
                    ours.won += decimal(&found.win);
                }
                if self.scope.settled && entry.applied("bet") > 0 && closings(entry) == 0 {
                    self.debits
                        .violate(&subject, "was found by a restore, and its debit is still open at the operator");
                }
            }
            _ => self
                .debits
                .violate(&subject, format!("is {:?} at the operator and has no bet row", entry.state)),
        }
        self.look_at_credits(entry);
        let theirs = self.theirs.entry(key).or_default();
        theirs.taken += entry.taken();
        theirs.won += entry.won();
    }

    fn compare_sums(&mut self) {
        let keys: Vec<_> = self
            .ours
            .keys()
            .chain(self.theirs.keys())
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        for key in keys {
            self.sums.look();
            let ours = self.ours.get(&key).copied().unwrap_or_default();
            let theirs = self.theirs.get(&key).copied().unwrap_or_default();
            if ours != theirs {
                let (agent_id, currency) = key;
                self.sums.violate(
                    format!("agent {agent_id}, {currency}"),
                    format!(
                        "stakes {} and wins {} here, {} and {} at the operator",
                        ours.taken, ours.won, theirs.taken, theirs.won
                    ),
                );
            }
        }
    }

    fn look_at_balances(&mut self) {
        let changes = self.ledger.changes_by_player();
        for player in &self.ledger.players {
            self.balances.look();
            let by_bets = changes.get(player.user_id.as_str()).copied().unwrap_or_default();
            let change = player.balance - player.starting_balance;
            if change != by_bets {
                self.balances.violate(
                    format!("player {}", player.user_id),
                    format!("the balance changed by {change}, and the bets say {by_bets}"),
                );
            }
        }
    }

    fn look_at_complaints(&mut self) {
        self.complaints.look_at(self.ledger.bets.values().map(HashMap::len).sum::<usize>());
        for violation in self
            .ledger
            .violations
            .iter()
            .filter(|violation| self.scope.includes(&violation.agent_id))
        {
            let subject = violation
                .platform_tx_id
                .as_ref()
                .map_or_else(|| format!("agent {}", violation.agent_id), |id| format!("bet {id}"));
            self.complaints
                .violate(subject, format!("{}: {}", violation.kind, violation.detail));
        }
    }
}

/// How many of settle, cancel and void closed a debit. A cancel that came when nothing was taken closes none.
fn closings(entry: &LedgerBet) -> usize {
    let cancels = if entry.applied("bet") > 0 { entry.applied("cancelBet") } else { 0 };
    entry.applied("settle") + entry.applied("voidBet") + cancels
}

/// Whether a bet in our state may be in the operator's, whose ledger was read a moment later.
fn may_meet(ours: BetState, theirs: Option<LedgerState>) -> bool {
    use LedgerState::{Bet, Cancelled, CancelledBeforeBet, Refused, Settled, Voided};
    match ours {
        BetState::Pending => true,
        BetState::Placed => matches!(theirs, Some(Bet | Settled | Voided)),
        BetState::PendingSettlement => matches!(theirs, Some(Bet | Settled)),
        BetState::PendingVoid => matches!(theirs, Some(Bet | Voided)),
        BetState::PendingCancel => matches!(theirs, None | Some(Bet | Refused | Cancelled | CancelledBeforeBet)),
        BetState::Won | BetState::Lost => theirs == Some(Settled),
        BetState::Voided => theirs == Some(Voided),
        BetState::Cancelled => matches!(theirs, Some(Cancelled | CancelledBeforeBet)),
        BetState::Rejected => matches!(theirs, None | Some(Refused)),
    }
}

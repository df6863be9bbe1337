//! Closing the bets that are open in the restored record, one batch after the other: each one's terms and what its debit said are
//! looked up, its ending is decided, and the bill says what people should know of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::bill::Bill;
use super::closings;
use super::endings::{Ending, Void, decide};
use super::in_redis::InRedis;
use super::{BATCH, Restore, RestoreError};
use crate::audit::{LedgerBet, LedgerState};
use crate::game::configuration::GameConfiguration;
use crate::game::round::Terms;
use crate::ledger::closings::{self as rows, Closing};
use crate::ledger::history::BetRow;
use crate::ledger::{LedgerError, configurations, restore};
use crate::play::context::Configuration;
use crate::play::round::{RoundFacts, stake_of};
use crate::wallet::message::{BetFacts, Debit};

/// Why the terms of a bet cannot be had, in words for the bill.
type NoTerms = String;

/// What the bets of a restore share.
#[derive(Default)]
struct Shared {
    /// Minutes east of UTC, by agent.
    offsets: HashMap<String, i32>,
    /// By version; `None`: it cannot be read.
    configurations: HashMap<i32, Option<Configuration>>,
}

impl Restore<'_> {
    pub(super) async fn close_open_bets(&mut self, restore_id: i64, in_redis: &InRedis, bill: &mut Bill) -> Result<(), RestoreError> {
        let agents = restore::agents(&mut self.connection).await?;
        let mut shared = Shared {
            offsets: agents.into_iter().map(|agent| (agent.agent_id, agent.utc_offset_minutes)).collect(),
            ..Shared::default()
        };
        loop {
            let bets = rows::open_bets(&mut self.connection, BATCH).await?;
            if bets.is_empty() {
                return Ok(());
            }
            let sequences: Vec<i64> = bets.iter().map(|bet| bet.sequence).collect();
            let debits = rows::debits(&mut self.connection, &sequences).await?;
            let mut closings = Vec::new();
            for bet in &bets {
                let terms = self.terms(bet, &mut shared).await?;
                let debit = self.debit_of(bet, debits.get(&bet.sequence), &shared, bill);
                closings.push(self.closing(bet, &terms, &debit, in_redis, bill)?);
            }
            rows::close(&mut self.connection, restore_id, &closings).await?;
        }
    }

    fn closing(
        &self,
        bet: &BetRow,
        terms: &Result<Terms, NoTerms>,
        debit: &Debit,
        in_redis: &InRedis,
        bill: &mut Bill,
    ) -> Result<Closing, LedgerError> {
        let platform_tx_id = bet.bet_id.to_string();
        let entry = self.ledgers.bet(&bet.agent_id, &platform_tx_id);
        let session = in_redis.ended.get(&platform_tx_id);
        let ending = decide(bet, terms.as_ref().ok(), self.ledgers.speak_for(&bet.agent_id), entry, session);
        let facts = facts_of(bet, &platform_tx_id, debit)?;
        let closing = match ending {
            Ending::Cancelled { told } => closings::cancelled(bet, &facts, told, self.second_cancel_after_bet_s),
            Ending::Ended { ended, told } => closings::ended(bet, facts, &ended, told, self.clock.now()),
            Ending::Voided(void) => closings::voided(bet, &facts, void, self.clock.now()),
        };
        count(bill, ending);
        if let Some(detail) = remark(ending, terms, entry) {
            bill.remark(format!("bet {platform_tx_id}"), detail);
        }
        Ok(Closing {
            operator_state: entry.map(|entry| entry.state.as_str().to_owned()),
            ..closing
        })
    }

    /// The road and the terms of a bet.
    async fn terms(&mut self, bet: &BetRow, shared: &mut Shared) -> Result<Result<Terms, NoTerms>, RestoreError> {
        let version = bet.configuration_version;
        if let Entry::Vacant(unread) = shared.configurations.entry(version) {
            let content = configurations::content(&mut self.connection, version).await?;
            let game = content.and_then(|bytes| GameConfiguration::parse(&bytes).ok());
            unread.insert(game.map(|game| Configuration { version, game }));
        }
        let Some(Some(configuration)) = shared.configurations.get(&version) else {
            return Ok(Err(format!("the configuration {version} cannot be read")));
        };
        let facts = RoundFacts::of_bet(bet, configuration, self.sealing).map_err(|error| error.to_string());
        Ok(facts.and_then(|facts| facts.terms().map_err(|error| error.to_string())))
    }

    /// What the debit of a bet said, which every later message says too, whatever the settings have become.
    fn debit_of(&self, bet: &BetRow, message: Option<&String>, shared: &Shared, bill: &mut Bill) -> Debit {
        let read = message.and_then(|message| Debit::read(message, &self.payload.settle_type).ok());
        read.unwrap_or_else(|| {
            bill.remark(
                format!("bet {}", bet.bet_id),
                "the text of its debit cannot be read; its operator is told the names and times of today's settings",
            );
            Debit {
                payload: self.payload.clone(),
                utc_offset_minutes: shared.offsets.get(&bet.agent_id).copied().unwrap_or_default(),
            }
        })
    }
}

/// What every message about a bet says of it.
fn facts_of<'a>(bet: &'a BetRow, platform_tx_id: &'a str, debit: &'a Debit) -> Result<BetFacts<'a>, LedgerError> {
    Ok(BetFacts {
        platform_tx_id,
        user_id: &bet.user_id,
        currency: &bet.currency,
        stake: stake_of(bet)?,
        decimal_places: u8::try_from(bet.decimal_places).unwrap_or_default(),
        round_id: platform_tx_id,
        placed_at: bet.placed_at,
        payload: &debit.payload,
        utc_offset_minutes: debit.utc_offset_minutes,
    })
}

fn count(bill: &mut Bill, ending: Ending) {
    let counted = match ending {
        Ending::Cancelled { told: false } => &mut bill.cancelled,
        Ending::Cancelled { told: true } | Ending::Ended { told: true, .. } | Ending::Voided(Void::Told) => &mut bill.closed_by_operator,
        Ending::Ended { told: false, .. } => &mut bill.closed_by_session,
        Ending::Voided(Void::Owed) => &mut bill.voided,
        Ending::Voided(Void::Contradicted | Void::Unreadable) => &mut bill.left_to_people,
    };
    *counted += 1;
}

/// What people should know of a bet beyond its count.
fn remark(ending: Ending, terms: &Result<Terms, NoTerms>, entry: Option<&LedgerBet>) -> Option<String> {
    let won = entry.map(LedgerBet::won).unwrap_or_default();
    match (ending, terms) {
        (Ending::Voided(Void::Contradicted), _) => Some(format!("the operator has settled it with {won}, which no lane of its road pays")),
        (Ending::Voided(Void::Unreadable), Ok(_)) => {
            Some("its session in Redis has ended as its road does not allow; people decide".to_owned())
        }
        (Ending::Voided(Void::Unreadable), Err(reason)) => {
            let who = match entry {
                Some(entry) if entry.state == LedgerState::Settled => format!("the operator has settled it with {won}"),
                _ => "its session in Redis has ended".to_owned(),
            };
            Some(format!("{who}, and its road cannot be computed ({reason}); people decide"))
        }
        (_, Err(reason)) => Some(format!("its road cannot be computed ({reason}), and was not needed")),
        (_, Ok(_)) => None,
    }
}

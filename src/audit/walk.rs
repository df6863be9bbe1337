//! The walk over all bets, current and archived, a page at a time: each bet with the calls that were owed for it.

use std::collections::HashMap;
use std::fmt;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::AuditError;
use crate::ledger::audit_reads::{AuditedBet, BetTable, OwedCall, bets_after, owed_calls};

/// Bets that are in memory at once.
const PAGE: i64 = 1_000;

/// A bet with everything that PostgreSQL has about it.
pub struct BetInFull {
    pub row: AuditedBet,
    pub calls: Vec<OwedCall>,
}

/// As it is named in a violation.
impl fmt::Display for BetInFull {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "bet {}", self.row.bet_id)
    }
}

impl BetInFull {
    /// The stake in the currency's unit.
    pub fn stake(&self) -> Decimal {
        self.decimal(self.row.stake_minor)
    }

    /// The payout in the currency's unit.
    pub fn payout(&self) -> Decimal {
        self.decimal(self.row.payout_minor)
    }

    fn decimal(&self, minor: i64) -> Decimal {
        Decimal::new(minor, u32::try_from(self.row.decimal_places).unwrap_or_default())
    }

    /// The texts that are stored for an action.
    pub fn messages<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a str> {
        let debit = (action == "bet").then_some(self.row.message.as_str());
        debit.into_iter().chain(self.calls_of(action).map(|call| call.message.as_str()))
    }

    /// The calls that were owed for an action.
    pub fn calls_of<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a OwedCall> {
        self.calls.iter().filter(move |call| call.action == action)
    }

    /// The operator said of a cancel that it knows no such bet, and that ended it.
    pub fn was_denied(&self) -> bool {
        self.calls_of("cancelBet").any(|call| call.state == "done" && call.is_denied)
    }

    /// Two people have brought it to its end, by other means than an operator's answer.
    pub fn was_resolved_by_people(&self) -> bool {
        self.calls.iter().any(|call| call.state == "resolved")
    }
}

/// Shows every bet of the record to `look`, a page at a time.
///
/// # Errors
/// When PostgreSQL cannot be asked, or `look` fails.
pub async fn over_bets(
    connection: &mut PgConnection,
    mut look: impl AsyncFnMut(&mut PgConnection, &BetInFull) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    for table in [BetTable::Current, BetTable::Archive] {
        let mut after = Uuid::nil();
        loop {
            let page = bets_after(connection, table, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.bet_id;
            for bet in in_full(connection, page).await? {
                look(connection, &bet).await?;
            }
        }
    }
    Ok(())
}

async fn in_full(connection: &mut PgConnection, page: Vec<AuditedBet>) -> Result<Vec<BetInFull>, AuditError> {
    let sequences: Vec<i64> = page.iter().map(|bet| bet.sequence).collect();
    let mut calls: HashMap<i64, Vec<OwedCall>> = HashMap::new();
    for call in owed_calls(connection, &sequences).await? {
        calls.entry(call.sequence).or_default().push(call);
    }
    let with_what_belongs_to_it = |row: AuditedBet| BetInFull {
        calls: calls.remove(&row.sequence).unwrap_or_default(),
        row,
    };
    Ok(page.into_iter().map(with_what_belongs_to_it).collect())
}

//! What PostgreSQL compares by itself, over whole tables: nonces, commitments, the words of calls, and that a player never
//! had two open bets.

use sqlx::PgConnection;

use super::report::Check;
use super::{AuditError, Limits};
use crate::ledger::audit_checks::{self, Finding};

/// Runs the checks.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn check(connection: &mut PgConnection, limits: &Limits) -> Result<Vec<Check>, AuditError> {
    let sizes = audit_checks::sizes(connection).await?;
    let one_open = Check::new("one_open_bet", "a player had at most one open bet at every moment");
    let nonces = Check::new(
        "nonces_without_gap",
        "each player's bets carry the nonces from 0 on, each once (but for those that a restore passed over), and the next is still free",
    );
    let promises = Check::new(
        "commitments_shown_before",
        "each commitment is the one that the player's bet before had shown as the next",
    );
    let pairs = Check::new(
        "pairs_unspent",
        "each player's current and next commitments are unrevealed, nobody else's, and used by no ended bet",
    );
    let revealed = Check::new(
        "seeds_revealed_once",
        "each commitment decided one bet, and is listed as spent exactly since its end",
    );
    let messages = Check::new(
        "calls_as_stored",
        "every attempt of a call carried the bytes that are stored for it",
    );
    let successes = Check::new(
        "successes_founded",
        "no settle, cancel or void counts as done by \"already applied\" before an attempt of it may have left (calls whose bets are archived are not looked at)",
    );
    Ok(vec![
        with(one_open, sizes.bets, audit_checks::overlapping_bets(connection).await?),
        with(
            nonces,
            sizes.players,
            audit_checks::broken_nonces(connection, limits.retention_days).await?,
        ),
        with(promises, sizes.bets, audit_checks::broken_promises(connection).await?),
        with(pairs, sizes.players, audit_checks::spoilt_pairs(connection).await?),
        with(revealed, sizes.bets, audit_checks::wrongly_revealed(connection).await?),
        with(
            messages,
            sizes.calls,
            audit_checks::rewritten_messages(connection, limits.retention_days).await?,
        ),
        with(
            successes,
            sizes.calls_of_the_outbox,
            audit_checks::unfounded_successes(connection).await?,
        ),
    ])
}

/// The examples say how many there are of them in all.
fn with(mut check: Check, examined: i64, findings: Vec<Finding>) -> Check {
    check.look_at(examined);
    let shown = findings.len().saturating_sub(1);
    for (place, finding) in findings.into_iter().enumerate() {
        let total = u64::try_from(finding.total).unwrap_or(u64::MAX);
        let unshown = total.saturating_sub(u64::try_from(shown).unwrap_or_default());
        check.violate_times(finding.subject, finding.detail, if place == 0 { unshown } else { 1 });
    }
    check
}

//! The audit of calls to operators: every call with its answer, written in the statement that acts on the answer.

use sqlx::PgConnection;

use crate::ledger::LedgerError;

/// One call as it is audited. It holds the message, never the certificate or the signature.
#[derive(Clone, Copy, Debug)]
pub struct CallRecord<'a> {
    pub agent_id: &'a str,
    pub action: &'a str,
    pub message: &'a str,
    /// `applied`, `declined` or `unknown`.
    pub outcome: &'a str,
    /// The operator's status, or the reason why there is none.
    pub status: Option<&'a str>,
    pub http_status: Option<i32>,
    pub answer: Option<&'a str>,
    pub duration_ms: i64,
}

/// Audits a call that belongs to no bet.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn record(connection: &mut PgConnection, call: &CallRecord<'_>) -> Result<(), LedgerError> {
    sqlx::query!(
        "insert into wallet_audit (agent_id, action, message, outcome, status, http_status, answer, duration_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        call.agent_id,
        call.action,
        call.message,
        call.outcome,
        call.status,
        call.http_status,
        call.answer,
        call.duration_ms,
    )
    .execute(connection)
    .await?;
    Ok(())
}

//! What players were told, against what is on record. A transcript is a file of JSON lines, as the load tool writes it; every
//! object in a line that has a `betId` and a `roundId` is an answer to a bet, step, cash-out or look at a round, as the client
//! got it. So `{"bet": {...}, "cashout": {...}}` is a line, and a bare answer is one too.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::io::{AsyncBufReadExt, BufReader};
use uuid::Uuid;

use super::AuditError;
use super::report::Check;
use super::rounds::RoundChecks;
use crate::game::configuration::GameConfiguration;
use crate::game::difficulty::Difficulty;
use crate::game::money::{Amount, payout};
use crate::ledger::audit_reads::{AuditedBet, bets_by_id};

/// Answers that are compared at once.
const BATCH: usize = 1_000;

/// A round as a client was told of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    round_id: String,
    bet_id: Uuid,
    is_finished: bool,
    end_reason: Option<String>,
    line_number: i16,
    win_amount: String,
    bet_amount: Option<String>,
    hashed_server_seed: Option<String>,
    nonce: Option<i64>,
}

/// Compares a transcript with the record.
///
/// # Errors
/// When the file cannot be read or holds a line that is not JSON, or PostgreSQL cannot be asked.
pub async fn check(connection: &mut PgConnection, rounds: &mut RoundChecks<'_>, file: &Path) -> Result<Check, AuditError> {
    let mut check = Check::new(
        "players_were_told_the_truth",
        "what clients were told of a round is what its row says",
    );
    let unreadable = |line, why: String| AuditError::Transcript {
        file: file.to_owned(),
        line,
        why,
    };
    let opened = tokio::fs::File::open(file)
        .await
        .map_err(|error| unreadable(0, error.to_string()))?;
    let mut lines = BufReader::new(opened).lines();
    let (mut number, mut answers) = (0_u64, Vec::new());
    while let Some(line) = lines.next_line().await.map_err(|error| unreadable(number, error.to_string()))? {
        number += 1;
        if !line.trim().is_empty() {
            let value = serde_json::from_str(&line).map_err(|error| unreadable(number, error.to_string()))?;
            collect(&value, &mut answers).map_err(|error| unreadable(number, error.to_string()))?;
        }
        if answers.len() >= BATCH {
            compare(connection, rounds, &mut check, &std::mem::take(&mut answers)).await?;
        }
    }
    compare(connection, rounds, &mut check, &answers).await?;
    Ok(check)
}

fn collect(value: &Value, answers: &mut Vec<Answer>) -> Result<(), serde_json::Error> {
    match value {
        Value::Object(fields) if fields.contains_key("betId") && fields.contains_key("roundId") => {
            answers.push(Answer::deserialize(value)?)
        }
        Value::Object(fields) => fields.values().try_for_each(|field| collect(field, answers))?,
        Value::Array(values) => values.iter().try_for_each(|value| collect(value, answers))?,
        _ => {}
    }
    Ok(())
}

async fn compare(
    connection: &mut PgConnection,
    rounds: &mut RoundChecks<'_>,
    check: &mut Check,
    answers: &[Answer],
) -> Result<(), AuditError> {
    let ids: Vec<Uuid> = answers.iter().map(|answer| answer.bet_id).collect();
    let found = bets_by_id(connection, &ids).await?;
    let rows: HashMap<Uuid, AuditedBet> = found.into_iter().map(|row| (row.bet_id, row)).collect();
    for answer in answers {
        check.look();
        let subject = format!("bet {}", answer.bet_id);
        let Some(row) = rows.get(&answer.bet_id) else {
            check.violate(&subject, "a client was told of it, and there is no row");
            continue;
        };
        let configuration = rounds.configuration(connection, row.configuration_version).await?;
        for lie in lies(answer, row, configuration.as_deref()) {
            check.violate(&subject, lie);
        }
    }
    Ok(())
}

/// Everything in an answer that is not so.
fn lies(answer: &Answer, row: &AuditedBet, configuration: Option<&GameConfiguration>) -> Vec<String> {
    let places = u8::try_from(row.decimal_places).unwrap_or_default();
    let minor = |text: &str| Amount::parse(text, places).map(Amount::as_i64).ok();
    let mut lies = Vec::new();
    let mut expect = |holds: bool, lie: String| {
        if !holds {
            lies.push(lie);
        }
    };
    expect(
        answer.round_id == row.bet_id.to_string(),
        format!("was shown as round {}", answer.round_id),
    );
    if let Some(amount) = &answer.bet_amount {
        expect(minor(amount) == Some(row.stake_minor), format!("its stake was shown as {amount}"));
    }
    if let Some(commitment) = &answer.hashed_server_seed {
        expect(*commitment == row.commitment, format!("was shown with the commitment {commitment}"));
    }
    if let Some(nonce) = answer.nonce {
        expect(nonce == row.nonce, format!("was shown with the nonce {nonce}"));
    }
    let lane = answer.line_number;
    if answer.is_finished {
        let told = answer.end_reason.as_deref().unwrap_or("nothing");
        let is_so = row.end_reason.is_some()
            && answer.end_reason == row.end_reason
            && lane == row.last_lane
            && minor(&answer.win_amount) == Some(row.payout_minor);
        expect(
            is_so,
            format!(
                "its end was told as {told} on lane {lane} for {}, and is {} on lane {} for {} minor units",
                answer.win_amount,
                row.end_reason.as_deref().unwrap_or("open"),
                row.last_lane,
                row.payout_minor
            ),
        );
    } else {
        let shown = minor(&answer.win_amount);
        expect(
            shown.is_some() && shown == standing(row, lane, configuration),
            format!("was shown {} on lane {lane}, which the lane does not pay", answer.win_amount),
        );
        expect(
            agrees_with_end(row, lane),
            format!(
                "was shown as safe on lane {lane}, and is {} on lane {}",
                row.end_reason.as_deref().unwrap_or("open"),
                row.last_lane
            ),
        );
    }
    lies
}

/// What stands on a lane.
fn standing(row: &AuditedBet, lane: i16, configuration: Option<&GameConfiguration>) -> Option<i64> {
    if lane == -1 {
        return Some(0);
    }
    let difficulty: Difficulty = row.difficulty.parse().ok()?;
    let coefficient = configuration?.paytable(difficulty).coefficient(u8::try_from(lane).ok()?)?;
    let stake = Amount::from_minor(u64::try_from(row.stake_minor).ok()?).ok()?;
    payout(stake, coefficient).map(Amount::as_i64).ok()
}

/// Whether a round that was shown open on `lane` may have come to its row's end. An end at the deadline, or by a person, pays
/// by the last lane that the record knew where Redis was lost meanwhile: that lane may be behind the one that was shown.
fn agrees_with_end(row: &AuditedBet, lane: i16) -> bool {
    match row.end_reason.as_deref() {
        Some("hazard") => row.last_lane > lane,
        Some("win" | "cashout") => row.last_lane >= lane,
        Some("refused" | "cancelled") => false,
        _ => true,
    }
}

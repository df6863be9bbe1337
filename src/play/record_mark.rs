//! Whether PostgreSQL is the one that was in use, or an older copy of it. Each sweep keeps a mark in Redis, the latest bet of the
//! record, and looks whether the bet that was marked before is still there. One that is gone was lost with its seeds, nonce and
//! debit: nothing may be decided on such a record before `faircross restore` has put it right.
//!
//! A mark that is missing proves nothing, and one of another PostgreSQL says nothing about this one: both are named and no more.
//!
//! A mark of another timeline tells of a promotion or a recovery, which may have lost what came after the mark. The sessions in Redis
//! are then held against the record: each has a bet that was committed before it, so one without a bet proves the loss. Where all
//! have theirs nothing is proven, and the change is named.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::ledger::mark::{self, Standing};
use crate::ledger::{Ledger, LedgerError};
use crate::live::{Live, LiveError, RecordMark};
use crate::play::context::Context;

/// Of so many players the sessions are asked for after a change of the timeline, and of so many by one pipelined read.
const PLAYERS_ASKED_FOR: i64 = 100_000;
const PLAYERS_AT_ONCE: usize = 500;

/// What the comparison says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The bet that was marked is in the record.
    Fits,
    /// There is no mark.
    NoMark,
    /// The mark is of another PostgreSQL.
    OtherSystem { marked: String, found: String },
    /// The bet that was marked is there, but PostgreSQL was promoted or recovered since, and may have lost later ones.
    OtherTimeline { marked: String, found: String },
    /// The record does not have the bet that was marked, or the bet of a session.
    Behind {
        sequence: i64,
        timeline: String,
        found_timeline: String,
    },
    /// `faircross restore` has not come to its end.
    RestoreUnfinished,
}

impl Verdict {
    /// Whether nothing may be decided on this record.
    pub fn forbids_play(&self) -> bool {
        matches!(self, Self::Behind { .. } | Self::RestoreUnfinished)
    }
}

/// As people are told.
impl std::fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fits => write!(formatter, "PostgreSQL has the latest bet that was marked"),
            Self::NoMark => write!(
                formatter,
                "Redis has no mark of how far PostgreSQL had come; if PostgreSQL was restored or failed over, run `faircross restore`"
            ),
            Self::OtherSystem { marked, found } => write!(
                formatter,
                "the mark in Redis is of another PostgreSQL ({marked}, this one is {found}) and says nothing; if PostgreSQL was restored, run `faircross restore`"
            ),
            Self::OtherTimeline { marked, found } => write!(
                formatter,
                "PostgreSQL was promoted or recovered (the mark is of timeline {marked}, this is {found}); it has the latest bet that was marked and those of the sessions that were asked for, which proves no more; if it lost commits, run `faircross restore`"
            ),
            Self::Behind {
                sequence,
                timeline,
                found_timeline,
            } => write!(
                formatter,
                "PostgreSQL is behind: it had a bet with sequence {sequence} (timeline {timeline}) and does not have it any more (timeline {found_timeline}); run `faircross restore`"
            ),
            Self::RestoreUnfinished => write!(formatter, "`faircross restore` has not come to its end; run it again"),
        }
    }
}

/// Compares PostgreSQL with the mark; also returns where PostgreSQL stands, which is the next mark.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn compare(connection: &mut PgConnection, marked: Option<&RecordMark>) -> Result<(Verdict, RecordMark), LedgerError> {
    let standing = mark::standing(&mut *connection).await?;
    let verdict = if standing.restore_is_unfinished {
        Verdict::RestoreUnfinished
    } else {
        match marked {
            None => Verdict::NoMark,
            Some(marked) if marked.system != standing.system => Verdict::OtherSystem {
                marked: marked.system.clone(),
                found: standing.system.clone(),
            },
            Some(marked) if has_marked_bet(connection, marked, &standing).await? => on_timeline(marked, &standing),
            Some(marked) => Verdict::Behind {
                sequence: marked.sequence,
                timeline: marked.timeline.clone(),
                found_timeline: standing.timeline.clone(),
            },
        }
    };
    Ok((verdict, mark_of(standing)))
}

async fn has_marked_bet(connection: &mut PgConnection, marked: &RecordMark, standing: &Standing) -> Result<bool, LedgerError> {
    if marked.sequence == 0 {
        return Ok(true);
    }
    // A mark that names no bet marks one that the record cannot have.
    let Ok(bet_id) = Uuid::parse_str(&marked.bet_id) else {
        return Ok(false);
    };
    if (standing.sequence, standing.bet_id) == (Some(marked.sequence), Some(bet_id)) {
        return Ok(true);
    }
    mark::has_bet(connection, marked.sequence, bet_id).await
}

/// A standby does not tell its timeline.
fn on_timeline(marked: &RecordMark, standing: &Standing) -> Verdict {
    if marked.timeline == standing.timeline || marked.timeline.is_empty() || standing.timeline.is_empty() {
        return Verdict::Fits;
    }
    Verdict::OtherTimeline {
        marked: marked.timeline.clone(),
        found: standing.timeline.clone(),
    }
}

/// Compares PostgreSQL with the mark and, after a change of the timeline, with the sessions in Redis.
///
/// # Errors
/// When a store cannot be used.
pub async fn judge(ledger: &Ledger, live: &Live, marked: Option<&RecordMark>) -> Result<(Verdict, RecordMark), WatchError> {
    let (verdict, standing) = ledger.run_reserved(async |connection| compare(connection, marked).await).await?;
    let Verdict::OtherTimeline { marked, found } = &verdict else {
        return Ok((verdict, standing));
    };
    let players = ledger
        .run_reserved(async |connection| mark::recent_players(connection, PLAYERS_ASKED_FOR).await)
        .await?;
    let mut bets = Vec::new();
    for batch in players.chunks(PLAYERS_AT_ONCE) {
        bets.extend(live.bets_of_sessions(batch).await?);
    }
    // The bet of a session is committed before it, so one that is missing was lost.
    let missing = ledger
        .run_reserved(async |connection| mark::first_missing(connection, &bets).await)
        .await?;
    let verdict = match missing {
        Some(sequence) => Verdict::Behind {
            sequence,
            timeline: marked.clone(),
            found_timeline: found.clone(),
        },
        None => verdict,
    };
    Ok((verdict, standing))
}

fn mark_of(standing: Standing) -> RecordMark {
    RecordMark {
        system: standing.system,
        timeline: standing.timeline,
        sequence: standing.sequence.unwrap_or_default(),
        bet_id: standing.bet_id.map(|bet_id| bet_id.to_string()).unwrap_or_default(),
    }
}

/// Whether this server may decide anything, as its sweep last found.
#[derive(Default)]
pub struct Watch(AtomicBool);

impl Watch {
    /// Whether the record was found behind, or in the middle of a restore: no bet, step or end is decided then.
    pub fn forbids_play(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Live(#[from] LiveError),
}

/// Compares once and, where the record fits, marks how far it has come. What is found holds until the next look.
///
/// # Errors
/// When a store cannot be used; what was found before holds.
pub async fn look(context: &Context) -> Result<Verdict, WatchError> {
    let marked = context.live.record_mark().await?;
    let (verdict, standing) = judge(&context.ledger, &context.live, marked.as_ref()).await?;
    let forbidden = verdict.forbids_play();
    if context.record_watch.0.swap(forbidden, Ordering::AcqRel) != forbidden {
        if forbidden {
            tracing::error!("{verdict}; no bet, step or end is decided meanwhile");
        } else {
            tracing::warn!("{verdict}; rounds go on");
        }
    }
    if let Verdict::OtherSystem { .. } | Verdict::OtherTimeline { .. } = verdict {
        tracing::warn!("{verdict}");
    }
    if !forbidden && marked.as_ref() != Some(&standing) {
        context.live.keep_record_mark(&standing).await?;
    }
    Ok(verdict)
}

/// The look that belongs to a sweep. It is a matter of its own: a sweep goes on without it.
pub async fn watch(context: &Context) {
    if let Err(error) = look(context).await {
        tracing::debug!(%error, "whether the record is behind could not be looked at; the next sweep does it");
    }
}

//! What the sweep asks and writes: open bets with their age by PostgreSQL's clock, by which deadlines count, and the progress
//! of rounds.

use sqlx::PgConnection;

use crate::game::bet_state::BetState;
use crate::ledger::LedgerError;

/// An open bet, as little of it as the sweep needs.
#[derive(Clone, Debug)]
pub struct OpenBet {
    pub sequence: i64,
    pub agent_id: String,
    pub user_id: String,
    pub game_code: String,
    pub state: BetState,
    pub last_lane: i16,
    /// How long the bet has been open, in milliseconds by PostgreSQL's clock. Less than nothing when that clock was set back since.
    pub age_ms: i64,
    /// Its deadline has come.
    pub is_due: bool,
}

/// A bet that is so much younger than now was made before PostgreSQL's clock was set back: its age says nothing.
const MADE_BEFORE_THE_CLOCK_WENT_BACK_MS: i64 = -60_000;

impl OpenBet {
    /// Whether it has been open for so long, or for a time that nobody knows any more.
    pub fn is_older_than(&self, age_ms: u64) -> bool {
        self.age_ms < MADE_BEFORE_THE_CLOCK_WENT_BACK_MS || u64::try_from(self.age_ms).is_ok_and(|own_ms| own_ms >= age_ms)
    }
}

/// At most `limit` open bets, in the order of the index of open bets, by agent, player and game; from the first on, or after
/// the bet that came last.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn open_bets(connection: &mut PgConnection, after: Option<&OpenBet>, limit: i64) -> Result<Vec<OpenBet>, LedgerError> {
    let (agent_id, user_id, game_code) = after.map_or(("", "", ""), |bet| (&bet.agent_id, &bet.user_id, &bet.game_code));
    Ok(sqlx::query_as!(
        OpenBet,
        r#"select sequence, agent_id, user_id, game_code, state as "state: BetState", last_lane,
                  (extract(epoch from now() - created_at) * 1000)::bigint as "age_ms!", deadline_at <= now() as "is_due!"
           from bets where is_open and (agent_id, user_id, game_code) > ($1, $2, $3) order by agent_id, user_id, game_code limit $4"#,
        agent_id,
        user_id,
        game_code,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Keeps how far open rounds have come; a round that has ended meanwhile, or stands further, is left alone.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn keep_progress(connection: &mut PgConnection, sequences: &[i64], lanes: &[i16]) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "update bets set last_lane = seen.lane from unnest($1::bigint[], $2::smallint[]) as seen (sequence, lane)
         where bets.sequence = seen.sequence and bets.state = 'PLACED' and bets.last_lane < seen.lane and seen.lane <= bets.max_lane",
        sequences,
        lanes
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

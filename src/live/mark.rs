//! How far the record had come when a server last saw it. Redis outlives a PostgreSQL that is put back to an older copy, so
//! that what is kept here tells of it. It may be lost like everything here: a missing mark proves nothing.

use redis::{cmd, pipe};
use uuid::Uuid;

use super::{Live, LiveError, keys, scripts};
use crate::game::player::PlayerId;

/// The latest bet of a PostgreSQL, and which PostgreSQL that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMark {
    /// The system identifier that PostgreSQL got when it was initialised, and shares with its copies.
    pub system: String,
    /// Another one after each promotion and each recovery to a point in time.
    pub timeline: String,
    /// The fencing number of the latest bet, 0 before the first.
    pub sequence: i64,
    /// The id of that bet; empty before the first. A number may be given again after a restore, an id is not.
    pub bet_id: String,
}

impl Live {
    /// The mark that is kept. `None`: none, or one that cannot be read, which is reported.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn record_mark(&self) -> Result<Option<RecordMark>, LiveError> {
        let key = keys::RECORD_MARK;
        let mut read = cmd("HMGET");
        read.arg(key).arg("system").arg("timeline").arg("sequence").arg("betId");
        let fields: Vec<Option<String>> = match self.connection.query(key, &read).await {
            Err(LiveError::Unreadable { .. }) => return Ok(None),
            other => other?,
        };
        if fields.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mark = match <[Option<String>; 4]>::try_from(fields) {
            Ok([Some(system), Some(timeline), Some(sequence), Some(bet_id)]) => sequence.parse().ok().map(|sequence| RecordMark {
                system,
                timeline,
                sequence,
                bet_id,
            }),
            _ => None,
        };
        if mark.is_none() {
            super::unreadable(key);
        }
        Ok(mark)
    }

    /// Keeps a mark, unless a later one of the same PostgreSQL is there. `false`: one is.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn keep_record_mark(&self, mark: &RecordMark) -> Result<bool, LiveError> {
        let mut script = scripts::KEEP_MARK.on(&[keys::RECORD_MARK]);
        script.arg(&mark.system).arg(&mark.timeline).arg(mark.sequence).arg(&mark.bet_id);
        let mut reply = self.run_script(keys::RECORD_MARK, &script).await?;
        match reply.text()?.as_str() {
            "written" => Ok(true),
            "kept" => Ok(false),
            _ => Err(reply.unreadable()),
        }
    }
    /// The bets of the sessions that these players have, by fencing number and id.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn bets_of_sessions(&self, players: &[PlayerId]) -> Result<Vec<(i64, Uuid)>, LiveError> {
        if players.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = pipe();
        for player in players {
            pipeline.cmd("HMGET").arg(keys::game_session(player)).arg("sequence").arg("roundId");
        }
        // One session that is not a hash must not hide the others.
        pipeline.ignore_errors();
        let pipeline = &pipeline;
        let asked = self.connection.run("gameSession", |mut counted| async move {
            pipeline
                .query_async::<Vec<redis::RedisResult<Vec<Option<String>>>>>(&mut counted)
                .await
        });
        let bet = |answer: redis::RedisResult<Vec<Option<String>>>| match <[Option<String>; 2]>::try_from(answer.ok()?) {
            Ok([Some(sequence), Some(round_id)]) => Some((sequence.parse().ok()?, round_id.parse().ok()?)),
            _ => None,
        };
        Ok(asked.await?.into_iter().filter_map(bet).collect())
    }
}

//! The session of the round being played. Each move is decided once, inside one script; the fencing number (`sequence`, the bet's identity
//! in PostgreSQL, far below 2^53) keeps an earlier bet's session from ever replacing a later one's.

use redis::pipe;

use super::callers::{Caller, GateRefusal};
use super::reply::Reply;
use super::{Live, LiveError, keys, scripts};
use crate::game::player::PlayerId;
use crate::game::round::EndReason;

/// A session to open, or to rebuild after it was lost.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// Who plays.
    pub player: &'a PlayerId,
    /// The fencing number of the bet.
    pub sequence: i64,
    /// The round's public identifier.
    pub round_id: &'a str,
    /// What the bet pins, as JSON; kept and handed back byte for byte.
    pub round_json: &'a str,
    /// The first lane with a collision, `None` on a clear road.
    pub first_collision: Option<u8>,
    /// The last playable lane.
    pub max_lane: u8,
    /// The last safe lane known, -1 before the first step.
    pub current_step: i16,
    /// Rebuilt from PostgreSQL, which may know an earlier lane than the player was shown.
    pub restored: bool,
    /// Seconds that the session lives in Redis.
    pub ttl_s: u64,
    /// The bet lock to give back.
    pub lock_token: Option<&'a str>,
}

/// What became of a session that was to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenSession {
    /// The session of this sequence stands in Redis. One that stood there already was left as it is, so repeating the call is harmless.
    Opened,
    /// A later bet's session is there.
    Superseded,
}

/// The round that a move is meant for.
#[derive(Clone, Copy, Debug, Default)]
pub struct NamedRound<'a> {
    /// The open one if `None`.
    pub round_id: Option<&'a str>,
    /// Whether the caller knows what the named round pins. Of no other round's session it is told that either, and of a usual
    /// step only that it was safe.
    pub is_known: bool,
}

impl NamedRound<'_> {
    /// The last two ARGV of the scripts that move a round.
    fn add_to(self, script: &mut scripts::ScriptCall) {
        script.arg(self.round_id.unwrap_or_default()).arg(u8::from(self.is_known));
    }
}

/// A session as a script left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The fencing number of the bet.
    pub sequence: i64,
    /// The round's public identifier.
    pub round_id: String,
    /// What the bet pins, as JSON; `None` when it was not asked for.
    pub round_json: Option<String>,
    /// The last safe lane, -1 before the first step; after an end by hazard the lane that was hit.
    pub current_step: i16,
    /// Whether the round goes on.
    pub is_active: bool,
    /// Whether it ended with a payout.
    pub is_win: bool,
    /// How it ended, `None` while it goes on.
    pub end: Option<EndReason>,
    /// The first lane with a collision. Never leaves the server before the end.
    pub first_collision: Option<u8>,
    /// The last playable lane.
    pub max_lane: u8,
    /// Rebuilt from PostgreSQL and not moved since.
    pub restored: bool,
}

/// What became of a step or a cash-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Not let through.
    Refused(GateRefusal),
    /// No session: none open, lost, or unreadable. PostgreSQL knows which, and rebuilds.
    Missing,
    /// The session is of another round than the one that is named.
    RoundMismatch(Session),
    /// The lane that is named is not the one whose turn it is.
    OutOfSequence(Session),
    /// Cash-out before the first lane.
    TooEarly(Session),
    /// Step: the lane is safe, or the player stands on it already.
    Standing(Session),
    /// The same, on the open round that was named as known: its lane is all there is to tell.
    Safe {
        /// The lane that was named.
        lane: u8,
    },
    /// The round has ended, by this call or before it; the session says how.
    Ended(Session),
}

/// What is there to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadSession {
    /// Not let through.
    Refused(GateRefusal),
    /// No session: none open, lost, or unreadable.
    Missing,
    /// The session.
    Found(Session),
}

/// How far an open round has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The fencing number of the bet.
    pub sequence: i64,
    /// The last safe lane while active; an ended session may name the lane that was hit.
    pub current_step: i16,
    /// Whether the round goes on.
    pub is_active: bool,
}

impl Live {
    /// Opens a session, never in place of the same or a later bet's, and gives the bet lock back.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`]; the session may have been opened.
    pub async fn open_session(&self, new: NewSession<'_>) -> Result<OpenSession, LiveError> {
        let key = keys::game_session(new.player);
        let mut script = scripts::OPEN_SESSION.on(&[&key, &keys::bet_lock(new.player)]);
        script.arg(new.sequence).arg(new.round_id).arg(new.round_json);
        script
            .arg(new.first_collision.map_or(-1, i16::from))
            .arg(new.max_lane)
            .arg(new.current_step);
        script
            .arg(u8::from(new.restored))
            .arg(new.ttl_s)
            .arg(new.lock_token.unwrap_or_default());
        let mut reply = self.run_script(&key, &script).await?;
        match reply.text()?.as_str() {
            "opened" => Ok(OpenSession::Opened),
            "superseded" => Ok(OpenSession::Superseded),
            _ => Err(reply.unreadable()),
        }
    }

    /// Steps on a lane. Naming the lane where the player stands changes nothing. What the named round pins is not read again when it is
    /// known: it never changes.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`]; the step may have been taken, and repeating it tells.
    pub async fn step(&self, caller: Caller<'_>, line_number: u8, round: NamedRound<'_>) -> Result<Move, LiveError> {
        let key = keys::game_session(caller.player);
        let mut script = scripts::STEP.on(&[&keys::player(caller.player), &key]);
        caller.add_to(&mut script);
        script.arg(line_number);
        round.add_to(&mut script);
        let reply = self.run_script(&key, &script).await?;
        if reply.is_tagged("safe") {
            return Ok(Move::Safe { lane: line_number });
        }
        self.decode_move(caller.player, round.is_known, reply).await
    }

    /// Cashes out where the player stands, or on the lane that is named. Of the round as in [`Live::step`].
    ///
    /// # Errors
    /// [`LiveError::Unreachable`]; the round may have ended, and repeating the call tells.
    pub async fn cash_out(&self, caller: Caller<'_>, line_number: Option<u8>, round: NamedRound<'_>) -> Result<Move, LiveError> {
        let key = keys::game_session(caller.player);
        let mut script = scripts::CASH_OUT.on(&[&keys::player(caller.player), &key]);
        caller.add_to(&mut script);
        script.arg(line_number.map(|lane| lane.to_string()).unwrap_or_default());
        round.add_to(&mut script);
        let reply = self.run_script(&key, &script).await?;
        self.decode_move(caller.player, round.is_known, reply).await
    }

    /// Ends a round whose time is over: standing on a lane it is cashed out there, never stepped it is void. An ended one is returned as
    /// it is; `None` when there is none, or another bet's.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`]; the round may have ended, and repeating the call tells.
    pub async fn end_at_deadline(&self, player: &PlayerId, sequence: i64) -> Result<Option<Session>, LiveError> {
        let key = keys::game_session(player);
        let mut script = scripts::END_AT_DEADLINE.on(&[&key]);
        script.arg(sequence);
        let reply = self.run_script(&key, &script).await?;
        match self.decode_move(player, false, reply).await? {
            Move::Ended(session) => Ok(Some(session)),
            _ => Ok(None),
        }
    }

    /// The session as it stands.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn read_session(&self, caller: Caller<'_>) -> Result<ReadSession, LiveError> {
        let key = keys::game_session(caller.player);
        let mut script = scripts::READ_SESSION.on(&[&keys::player(caller.player), &key]);
        caller.add_to(&mut script);
        let reply = self.run_script(&key, &script).await?;
        match self.decode_move(caller.player, false, reply).await? {
            Move::Refused(refusal) => Ok(ReadSession::Refused(refusal)),
            Move::Standing(session) => Ok(ReadSession::Found(session)),
            _ => Ok(ReadSession::Missing),
        }
    }

    /// The session as it stands, for the server's own work: no gate. `None`: missing or unreadable.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn session_of(&self, player: &PlayerId) -> Result<Option<Session>, LiveError> {
        let key = keys::game_session(player);
        let reply = self.run_script(&key, &scripts::PEEK_SESSION.on(&[&key])).await?;
        match self.decode_move(player, false, reply).await? {
            Move::Standing(session) => Ok(Some(session)),
            _ => Ok(None),
        }
    }

    /// How far many rounds have come, in the order of `players` and in one round trip. `None`: missing or unreadable.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn progress_of(&self, players: &[PlayerId]) -> Result<Vec<Option<Progress>>, LiveError> {
        if players.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = pipe();
        for player in players {
            pipeline
                .cmd("HMGET")
                .arg(keys::game_session(player))
                .arg("sequence")
                .arg("currentStep")
                .arg("isActive");
        }
        // One session that is not a hash must not hide the others.
        pipeline.ignore_errors();
        let pipeline = &pipeline;
        let asked = self.connection.run("gameSession", |mut counted| async move {
            pipeline
                .query_async::<Vec<redis::RedisResult<Vec<Option<Vec<u8>>>>>>(&mut counted)
                .await
        });
        Ok(asked
            .await?
            .into_iter()
            .zip(players)
            .map(|(answer, player)| progress_from(player, answer))
            .collect())
    }

    /// After the end is committed: cuts the session's life to 60 s if it is this bet's (one that does not know of the end is removed).
    ///
    /// # Errors
    /// [`LiveError::Unreachable`]; nothing depends on it, the session ends by itself later.
    pub async fn retire_session(&self, player: &PlayerId, sequence: i64) -> Result<(), LiveError> {
        let key = keys::game_session(player);
        let mut script = scripts::RETIRE_SESSION.on(&[&key]);
        script.arg(sequence).arg(keys::RETIRED_SESSION_TTL_S);
        self.run_script(&key, &script).await?;
        Ok(())
    }

    /// Removes a session whose pinned JSON turned out to be unreadable, unless a later bet's is there, so that it can be opened again from
    /// PostgreSQL.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn discard_unreadable_session(&self, player: &PlayerId, sequence: i64) -> Result<(), LiveError> {
        let key = keys::game_session(player);
        super::unreadable(&key);
        let mut script = scripts::DISCARD_SESSION.on(&[&key]);
        script.arg(sequence);
        self.run_script(&key, &script).await?;
        Ok(())
    }

    async fn decode_move(&self, player: &PlayerId, round_is_known: bool, mut reply: Reply<'_>) -> Result<Move, LiveError> {
        let tag = reply.text()?;
        let moved: fn(Session) -> Move = match tag.as_str() {
            "missing" => return Ok(Move::Missing),
            "session_unreadable" => {
                // Reported, and then rebuilt like a session that is missing.
                reply.unreadable();
                return Ok(Move::Missing);
            }
            "round_mismatch" => Move::RoundMismatch,
            "out_of_sequence" => Move::OutOfSequence,
            "too_early" => Move::TooEarly,
            "standing" | "found" => Move::Standing,
            "ended" => Move::Ended,
            _ => return GateRefusal::from_reply(player, &tag, &mut reply).map(Move::Refused),
        };
        // What passed the script's own checks and still makes no sense here would pass them again, so it has to go before it can be rebuilt.
        let sequence = reply.parsed()?;
        match Session::from_reply(sequence, round_is_known, &mut reply) {
            Some(session) => Ok(moved(session)),
            None => {
                Box::pin(self.discard_unreadable_session(player, sequence)).await?;
                Ok(Move::Missing)
            }
        }
    }
}

impl Session {
    fn from_reply(sequence: i64, round_is_known: bool, reply: &mut Reply<'_>) -> Option<Self> {
        let round_id = reply.text().ok()?;
        let round_json = Some(reply.text().ok()?).filter(|_| !round_is_known);
        if let Some(round_json) = &round_json {
            serde_json::from_str::<serde::de::IgnoredAny>(round_json).ok()?;
        }
        let current_step = reply.parsed().ok()?;
        let is_active = reply.flag().ok()?;
        let is_win = reply.flag().ok()?;
        let end = match reply.text().ok()?.as_str() {
            "" => None,
            reason => Some(EndReason::parse(reason).ok()?),
        };
        let first_collision = match reply.parsed::<i16>().ok()? {
            -1 => None,
            lane => Some(u8::try_from(lane).ok()?),
        };
        let max_lane = reply.parsed().ok()?;
        let restored = reply.flag().ok()?;
        Some(Self {
            sequence,
            round_id,
            round_json,
            current_step,
            is_active,
            is_win,
            end,
            first_collision,
            max_lane,
            restored,
        })
    }
}

fn progress_from(player: &PlayerId, answer: redis::RedisResult<Vec<Option<Vec<u8>>>>) -> Option<Progress> {
    let fields = answer.unwrap_or_else(|_| vec![Some(Vec::new())]);
    if fields.iter().all(Option::is_none) {
        return None;
    }
    let key = keys::game_session(player);
    let mut reply = Reply::new(&key, fields.into_iter().map(Option::unwrap_or_default).collect());
    let progress = Progress {
        sequence: reply.parsed().ok()?,
        current_step: reply.parsed().ok()?,
        is_active: reply.flag().ok()?,
    };
    Some(progress)
}

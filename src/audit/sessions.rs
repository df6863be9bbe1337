//! The rounds in Redis against their bet rows. Redis and PostgreSQL move on while the audit reads, so a session that does not
//! agree with its row is looked at again, session first and row after it, before it is called wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;

use super::redis_scan::Batch;
use super::report::Check;
use super::{AuditError, Scope};
use crate::game::bet_state::BetState;
use crate::game::configuration::GameConfiguration;
use crate::game::player::{AgentId, PlayerId, UserId};
use crate::ledger::configurations;
use crate::ledger::history::{self, BetRow};
use crate::ledger::sealing::Sealing;
use crate::live::{Live, LiveError, Session, keys};
use crate::play::context::Configuration;
use crate::play::round::RoundFacts;

const PREFIX: &str = "gameSession:";
/// The pause between two looks at a session and a row that do not agree yet.
const PAUSE: Duration = Duration::from_millis(250);
/// An ended session is finished by the sweep at the latest; it has this long, unless everything should have settled.
const LOOKS_UNTIL_FINISHED: u32 = 60;

/// How often Redis may be too slow for the deadline that players' requests have.
const SLOW_ANSWERS: u32 = 20;

/// The check on sessions.
pub struct SessionChecks<'a> {
    live: &'a Live,
    sealing: &'a Sealing,
    scope: &'a Scope,
    configurations: HashMap<i32, Option<Arc<Configuration>>>,
    check: Check,
}

/// What is wrong with a session, and whether time may put it right.
enum Fault {
    Final(String),
    MayPass(String),
}

impl<'a> SessionChecks<'a> {
    pub fn new(live: &'a Live, sealing: &'a Sealing, scope: &'a Scope) -> Self {
        let sentence = "each session in Redis is of the bet that its row says: an active one of a PLACED bet, an ended one of that end";
        Self {
            live,
            sealing,
            scope,
            configurations: HashMap::new(),
            check: Check::new("sessions_agree", sentence),
        }
    }

    /// Looks at the sessions of a batch. `later` is a connection outside the audit's transaction.
    ///
    /// # Errors
    /// When a store cannot be asked.
    pub async fn look_through(&mut self, batch: &Batch, later: &mut PgConnection) -> Result<(), AuditError> {
        for entry in &batch.entries {
            let key = String::from_utf8_lossy(&entry.key);
            if key.starts_with(PREFIX) {
                self.check.look();
                match player_of(&key) {
                    Some(player) => self.look_at(&player, later).await?,
                    None => self.check.violate(&key, "is no player's key"),
                }
            }
        }
        Ok(())
    }

    /// The check.
    pub fn finish(self) -> Check {
        self.check
    }

    async fn look_at(&mut self, player: &PlayerId, later: &mut PgConnection) -> Result<(), AuditError> {
        let looks = if self.scope.settled { 2 } else { LOOKS_UNTIL_FINISHED };
        for look in 1..=looks {
            let Some(fault) = self.fault(player, later).await? else {
                return Ok(());
            };
            let (detail, may_pass) = match fault {
                Fault::Final(detail) => (detail, false),
                Fault::MayPass(detail) => (detail, true),
            };
            // Everything but an end that is being committed is right at the second look or never.
            if look == looks || (look > 1 && !may_pass) {
                self.check.violate(keys::game_session(player), detail);
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn fault(&mut self, player: &PlayerId, later: &mut PgConnection) -> Result<Option<Fault>, AuditError> {
        let Some(session) = self.session(player).await? else {
            // Gone since, or unreadable, which the next request puts right from the row.
            return Ok(None);
        };
        let Some(row) = history::by_sequence(later, session.sequence).await? else {
            return Ok(Some(Fault::Final(format!("is of sequence {}, which no bet has", session.sequence))));
        };
        if let Some(wrong) = self.disagreement(player, &session, &row, later).await? {
            return Ok(Some(Fault::Final(wrong)));
        }
        let state = row.state.as_str();
        Ok(match (session.end, row.state) {
            (None, BetState::Placed) => None,
            (None, _) => Some(Fault::Final(format!("is active, and bet {} is {state}", row.bet_id))),
            (Some(_), BetState::Placed) => Some(Fault::MayPass(format!("has ended, and bet {} is still {state}", row.bet_id))),
            (Some(end), _) if row.end_reason.as_deref() != Some(end.as_str()) || row.last_lane != session.current_step => {
                Some(Fault::Final(format!(
                    "ended by {} on lane {}, and bet {} by {} on lane {}",
                    end.as_str(),
                    session.current_step,
                    row.bet_id,
                    row.end_reason.as_deref().unwrap_or("nothing"),
                    row.last_lane
                )))
            }
            (Some(_), _) => None,
        })
    }

    /// The session. What is too slow for a player is not for an audit, so it asks again.
    async fn session(&self, player: &PlayerId) -> Result<Option<Session>, AuditError> {
        for _ in 0..SLOW_ANSWERS {
            match self.live.session_of(player).await {
                Err(LiveError::Unreachable(_) | LiveError::Unfit(_)) => tokio::time::sleep(PAUSE).await,
                answer => return Ok(answer?),
            }
        }
        Ok(self.live.session_of(player).await?)
    }

    /// What the session pins, against what its row pins.
    async fn disagreement(
        &mut self,
        player: &PlayerId,
        session: &Session,
        row: &BetRow,
        later: &mut PgConnection,
    ) -> Result<Option<String>, AuditError> {
        let Ok(held) = RoundFacts::of_session(session) else {
            return Ok(Some("has a round that cannot be read".to_owned()));
        };
        let Some(configuration) = self.configuration(later, row.configuration_version).await? else {
            return Ok(Some(format!("is of the unreadable configuration {}", row.configuration_version)));
        };
        let Ok(recorded) = RoundFacts::of_bet(row, &configuration, self.sealing) else {
            // The row's own fault, found by the checks on rounds.
            return Ok(None);
        };
        let scripts_see = (session.first_collision, session.max_lane, session.round_id.as_str());
        let row_says = (
            recorded.collision_columns.first().copied(),
            recorded.max_lane,
            &*recorded.round_id.to_string(),
        );
        Ok(if held.player() != *player {
            Some("is under another player's key".to_owned())
        } else if held != recorded {
            Some(format!("has another round than bet {}", row.bet_id))
        } else if scripts_see != row_says {
            Some(format!("has another first collision, last lane or round than bet {}", row.bet_id))
        } else {
            None
        })
    }

    async fn configuration(&mut self, later: &mut PgConnection, version: i32) -> Result<Option<Arc<Configuration>>, AuditError> {
        if let Some(known) = self.configurations.get(&version) {
            return Ok(known.clone());
        }
        let content = configurations::content(later, version).await?;
        let game = content.and_then(|bytes| GameConfiguration::parse(&bytes).ok());
        let configuration = game.map(|game| Arc::new(Configuration { version, game }));
        self.configurations.insert(version, configuration.clone());
        Ok(configuration)
    }
}

fn player_of(key: &str) -> Option<PlayerId> {
    let (user_id, agent_id) = key.strip_prefix(PREFIX)?.split_once('-')?;
    Some(PlayerId {
        agent_id: AgentId::parse(agent_id).ok()?,
        user_id: UserId::parse(user_id).ok()?,
    })
}

//! What operators ask of us about their players: accounts, launches, sign-outs, status and limits. A change that decides who
//! may play is answered when both stores have it.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use url::Url;

use crate::game::bet_state::BetState;
use crate::game::fairness::ServerSeed;
use crate::game::money::Amount;
use crate::game::player::{AgentId, PlayerId, PlayerStatus, UserId};
use crate::ledger::agents::Agent;
use crate::ledger::players::{self, FirstSeeds, LaunchTokenUse, NewPlayer, Standing};
use crate::ledger::{LedgerError, history, restore};
use crate::live::{LiveError, PlayerStanding};
use crate::play::Refusal;
use crate::play::context::{Context, Player};
use crate::play::place_bet::unwritable;

/// Why an operator's request changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    #[error("there is no such account")]
    Absent,
    #[error("the currency is not one of the agent's, or the game is not played in it")]
    Currency,
    #[error("not possible at the moment")]
    Unavailable,
}

impl From<LedgerError> for AccountError {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "an operator's request could not be carried out");
        Self::Unavailable
    }
}

impl From<LiveError> for AccountError {
    fn from(error: LiveError) -> Self {
        tracing::warn!(%error, "an operator's request could not be carried out");
        Self::Unavailable
    }
}

/// A player as the agent creates them.
#[derive(Clone, Debug)]
pub struct NewMember {
    pub user_id: UserId,
    pub currency: String,
    pub bet_limit: Option<Amount>,
    pub language: Option<String>,
    pub user_name: Option<String>,
}

/// What became of a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMember {
    Created,
    Exists,
}

/// The agent of that id, if there is one, open or closed.
///
/// # Errors
/// [`AccountError::Unavailable`] when the record cannot be asked.
pub async fn agent(context: &Context, agent_id: &str) -> Result<Option<Arc<Agent>>, AccountError> {
    match AgentId::parse(agent_id) {
        Ok(agent_id) => Ok(context.agent(&agent_id).await?),
        Err(_) => Ok(None),
    }
}

/// The smallest unit of a currency that the agent's players can play in.
///
/// # Errors
/// [`AccountError::Currency`] when they cannot.
pub fn decimal_places(context: &Context, agent: &Agent, currency: &str) -> Result<u8, AccountError> {
    let rules = context
        .configuration
        .game
        .currency(currency)
        .filter(|_| agent.currencies.iter().any(|known| known == currency));
    rules.map(|rules| rules.decimal_places).ok_or(AccountError::Currency)
}

/// Creates a player; of several at once, one does.
///
/// # Errors
/// [`AccountError::Currency`] or [`AccountError::Unavailable`].
pub async fn create_member(context: &Context, agent: &Agent, member: &NewMember) -> Result<CreateMember, AccountError> {
    decimal_places(context, agent, &member.currency)?;
    let player = PlayerId {
        agent_id: agent.agent_id.clone(),
        user_id: member.user_id.clone(),
    };
    let new = NewPlayer {
        id: &player,
        currency: &member.currency,
        bet_limit_minor: member.bet_limit.map(Amount::as_i64),
        language: member.language.as_deref(),
        user_name: member.user_name.as_deref(),
    };
    let created = context
        .ledger
        .run(async |connection| players::create(connection, &context.sealing, &new).await)
        .await?;
    Ok(if created { CreateMember::Created } else { CreateMember::Exists })
}

/// The launch url of a player, with a token that works once.
///
/// # Errors
/// [`AccountError::Absent`], [`AccountError::Currency`] when the game is no longer played in the player's currency, or [`AccountError::Unavailable`].
pub async fn launch(context: &Context, agent: &Agent, user_id: &UserId, language: Option<&str>) -> Result<String, AccountError> {
    let player = PlayerId {
        agent_id: agent.agent_id.clone(),
        user_id: user_id.clone(),
    };
    let token = hex::encode(context.chance.bytes_32());
    let ttl_s = i64::try_from(context.settings.session.launch_token_ttl_s).unwrap_or(i64::MAX);
    let known = context
        .ledger
        .run(async |connection| {
            let known = players::language(connection, &player).await?;
            // Whoever could not play is not let in half way.
            if known
                .as_ref()
                .is_some_and(|(_, currency)| decimal_places(context, agent, currency).is_ok())
            {
                players::add_launch_token(connection, &player, &hash_of(&token), ttl_s).await?;
            }
            Ok(known)
        })
        .await?;
    let (known_language, currency) = known.ok_or(AccountError::Absent)?;
    decimal_places(context, agent, &currency)?;
    let mut url: Url = match &agent.frontend_url {
        Some(url) => url.parse().map_err(|_| AccountError::Unavailable)?,
        None => context.settings.server.frontend_url.clone(),
    };
    url.query_pairs_mut()
        .append_pair("gameMode", &context.payload.game_code)
        .append_pair("operatorId", agent.agent_id.as_str())
        .append_pair("currency", &currency)
        .append_pair("lang", language.unwrap_or(&known_language))
        .append_pair("authToken", &token);
    Ok(url.into())
}

/// 32 random bytes in hexadecimal.
const LAUNCH_TOKEN_LENGTH: usize = 64;

fn hash_of(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// So many launch tokens are exchanged at a time, and so many more may wait: whoever has no session yet may be anybody.
static SIGN_INS: Semaphore = Semaphore::const_new(8);
static SIGN_IN_PLACES: Semaphore = Semaphore::const_new(2_048);

/// Exchanges a launch token, once, and gives a player who never played a pair of seeds. At an operator whose players have one
/// device, all earlier sessions of the player end.
///
/// # Errors
/// [`Refusal::Unauthenticated`] when the token is unknown, used, expired or another agent's; [`Refusal::InvalidCurrency`] when
/// the player has another, which leaves the token as it is; [`Refusal::Unavailable`].
pub async fn sign_in(context: &Arc<Context>, auth_token: &str, operator: &str, currency: &str) -> Result<Player, Refusal> {
    let agent_id = AgentId::parse(operator).map_err(|_| Refusal::Unauthenticated)?;
    // What cannot be a token of ours is not looked for.
    if auth_token.len() != LAUNCH_TOKEN_LENGTH || !auth_token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refusal::Unauthenticated);
    }
    let agent = context.agent(&agent_id).await.map_err(unwritable)?.filter(|agent| agent.active);
    let agent = agent.ok_or(Refusal::Unauthenticated)?;
    let place = SIGN_IN_PLACES.try_acquire().map_err(|_| Refusal::Unavailable)?;
    let turn = SIGN_INS.acquire().await.map_err(|_| Refusal::Unavailable)?;
    let (shared, token_hash, currency) = (Arc::clone(context), hash_of(auth_token), currency.to_owned());
    // It goes on when the player has hung up: a store that was not told would let the other device play on. The turn is the work's, not
    // the caller's, who could pass it on by hanging up.
    let flow = context.spawn(async move {
        let _held = (place, turn);
        exchange(&shared, &agent, &token_hash, &currency).await
    });
    flow.await.unwrap_or(Err(Refusal::Unavailable))
}

async fn exchange(context: &Context, agent: &Agent, token_hash: &[u8], currency: &str) -> Result<Player, Refusal> {
    let used = context
        .ledger
        .run(async |connection| players::use_launch_token(connection, agent.agent_id.as_str(), token_hash, currency).await)
        .await;
    let (user_id, generation) = match used.map_err(unwritable)? {
        LaunchTokenUse::Used { user_id, generation } => (user_id, generation),
        LaunchTokenUse::OtherCurrency(currency) => {
            let detail = format!("this player plays in {currency}");
            return Err(Refusal::InvalidCurrency { detail });
        }
        LaunchTokenUse::Worthless => return Err(Refusal::Unauthenticated),
    };
    let id = PlayerId {
        agent_id: agent.agent_id.clone(),
        user_id,
    };
    let generation = if agent.one_device {
        let raised = context
            .ledger
            .run(async |connection| players::next_generation(connection, &id).await)
            .await;
        raised.map_err(unwritable)?.ok_or(Refusal::Unauthenticated)?
    } else {
        generation
    };
    let standing = first_seeds(context, &id)
        .await
        .map_err(unwritable)?
        .ok_or(Refusal::Unauthenticated)?;
    let player = Player {
        id,
        currency: standing.currency.clone(),
        generation,
    };
    let written = write_standing(context, &player.id, &standing).await;
    // A copy that could not be written is refilled by the first request; but one that is out of date would let the other
    // device play on.
    if agent.one_device && written.is_err() {
        return Err(Refusal::Unavailable);
    }
    context.note_activity(&player.id);
    Ok(player)
}

async fn first_seeds(context: &Context, player: &PlayerId) -> Result<Option<Standing>, LedgerError> {
    let (current, next) = (
        ServerSeed::from_bytes(context.chance.bytes_32()),
        ServerSeed::from_bytes(context.chance.bytes_32()),
    );
    let user_seed = context.chance.token();
    let seeds = FirstSeeds {
        current: &current,
        next: &next,
        user_seed: &user_seed,
    };
    context
        .ledger
        .run(async |connection| {
            players::ensure_seeds(connection, &context.sealing, player, &seeds).await?;
            players::standing(connection, player).await
        })
        .await
}

async fn write_standing(context: &Context, player: &PlayerId, standing: &Standing) -> Result<(), LiveError> {
    let copy = PlayerStanding {
        player: player.clone(),
        revision: standing.revision,
        generation: standing.generation,
        status: standing.status,
    };
    context.live.write_player(&copy).await
}

/// Signs players out; returns those that there are. An open round goes on and ends at its deadline at the latest.
///
/// # Errors
/// [`AccountError::Unavailable`] when a store cannot be used: the request is repeated until both stores have it.
pub async fn sign_out(context: &Arc<Context>, agent: &Agent, users: &[UserId]) -> Result<Vec<UserId>, AccountError> {
    let (shared, agent_id, users) = (Arc::clone(context), agent.agent_id.clone(), users.to_vec());
    let flow = context.spawn(async move { sign_out_everywhere(&shared, agent_id, &users).await });
    flow.await.unwrap_or(Err(AccountError::Unavailable))
}

/// Goes on when the operator has hung up: a store that was not told would let the player in again.
async fn sign_out_everywhere(context: &Context, agent_id: AgentId, users: &[UserId]) -> Result<Vec<UserId>, AccountError> {
    let ids: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    let signed_out = context
        .ledger
        .run(async |connection| players::sign_out(connection, agent_id.as_str(), &ids).await)
        .await?;
    let mut names = Vec::with_capacity(signed_out.len());
    for (user_id, standing) in signed_out {
        let player = PlayerId {
            agent_id: agent_id.clone(),
            user_id,
        };
        write_standing(context, &player, &standing).await?;
        names.push(player.user_id);
    }
    context.live.remove_users(&agent_id, &names).await?;
    Ok(names)
}

/// Sets a player's status. A suspended or locked player may finish an open round, not begin one.
///
/// # Errors
/// [`AccountError::Absent`], or [`AccountError::Unavailable`] as in [`sign_out`].
pub async fn set_status(context: &Arc<Context>, agent: &Agent, user_id: &UserId, status: PlayerStatus) -> Result<(), AccountError> {
    let player = PlayerId {
        agent_id: agent.agent_id.clone(),
        user_id: user_id.clone(),
    };
    let shared = Arc::clone(context);
    let flow = context.spawn(async move {
        let standing = shared
            .ledger
            .run(async |connection| players::set_status(connection, &player, status).await)
            .await?;
        write_standing(&shared, &player, &standing.ok_or(AccountError::Absent)?).await?;
        Ok(())
    });
    flow.await.unwrap_or(Err(AccountError::Unavailable))
}

/// Sets a player's largest stake.
///
/// # Errors
/// [`AccountError::Absent`] or [`AccountError::Unavailable`].
pub async fn set_bet_limit(context: &Context, agent: &Agent, user_id: &UserId, limit: Amount) -> Result<(), AccountError> {
    let player = PlayerId {
        agent_id: agent.agent_id.clone(),
        user_id: user_id.clone(),
    };
    let known = context
        .ledger
        .run(async |connection| players::set_bet_limit(connection, &player, limit.as_i64()).await)
        .await?;
    if known { Ok(()) } else { Err(AccountError::Absent) }
}

/// A player's largest stake with the decimal places of their currency; `None`: the game's own limit.
///
/// # Errors
/// [`AccountError::Absent`] or [`AccountError::Unavailable`].
pub async fn bet_limit(context: &Context, agent: &Agent, user_id: &UserId) -> Result<Option<(Amount, u8)>, AccountError> {
    let player = PlayerId {
        agent_id: agent.agent_id.clone(),
        user_id: user_id.clone(),
    };
    let (limit, known) = context
        .ledger
        .run(async |connection| {
            Ok((
                players::bet_limit(connection, &player).await?,
                players::standing(connection, &player).await?,
            ))
        })
        .await?;
    let (limit, standing) = limit.zip(known).ok_or(AccountError::Absent)?;
    let places = decimal_places(context, agent, &standing.currency)?;
    Ok(limit
        .and_then(|minor| u64::try_from(minor).ok())
        .and_then(|minor| Amount::from_minor(minor).ok())
        .map(|limit| (limit, places)))
}

/// The currency of a player, with its decimal places: a limit is an amount in it.
///
/// # Errors
/// [`AccountError::Absent`], [`AccountError::Currency`] or [`AccountError::Unavailable`].
pub async fn currency_of(context: &Context, agent: &Agent, user_id: &UserId) -> Result<(String, u8), AccountError> {
    let player = PlayerId {
        agent_id: agent.agent_id.clone(),
        user_id: user_id.clone(),
    };
    let standing = context
        .ledger
        .run(async |connection| players::standing(connection, &player).await)
        .await?;
    let standing = standing.ok_or(AccountError::Absent)?;
    let places = decimal_places(context, agent, &standing.currency)?;
    Ok((standing.currency, places))
}

/// How a transaction stands, in the operator's terms: -1 cancelled, 0 bet, 1 settled, 2 void. `None`: unknown to us.
///
/// # Errors
/// [`AccountError::Unavailable`] when the record cannot be asked.
pub async fn transaction_status(context: &Context, agent: &Agent, platform_tx_id: &str) -> Result<Option<i8>, AccountError> {
    let Ok(bet_id) = platform_tx_id.parse() else { return Ok(None) };
    let bet = context
        .ledger
        .run(async |connection| history::by_agent(connection, agent.agent_id.as_str(), bet_id).await)
        .await?;
    if let Some(bet) = bet {
        return Ok(Some(match bet.state {
            BetState::Pending | BetState::Placed | BetState::PendingSettlement => 0,
            BetState::Won | BetState::Lost => 1,
            BetState::PendingVoid | BetState::Voided => 2,
            BetState::PendingCancel | BetState::Cancelled | BetState::Rejected => -1,
        }));
    }
    // A bet that was lost with a PostgreSQL and found by a restore: as the operator had closed it, else it is being cancelled.
    let found = context
        .ledger
        .run(async |connection| restore::state_of_lost_bet(connection, agent.agent_id.as_str(), platform_tx_id).await)
        .await?;
    Ok(found.map(|state| match state.as_str() {
        "settled" => 1,
        "voided" => 2,
        _ => -1,
    }))
}

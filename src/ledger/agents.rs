//! The casino platforms: who they are, how they are called and from where they may call. Read into a cache by `play`, so
//! that a bet costs no query for its agent.

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;

use crate::game::player::AgentId;
use crate::ledger::LedgerError;
use crate::ledger::sealing::{Sealing, certificate_row, signature_row};

/// One agent as the record has it, its secrets opened.
#[derive(Clone)]
pub struct Agent {
    pub agent_id: AgentId,
    pub certificate: SecretString,
    pub signature_secret: Option<SecretString>,
    pub callback_url: String,
    /// `form`, `json_string` or `json_object`: how the body of a callback is written.
    pub encoding: String,
    /// The offset from UTC in which the operator reads times.
    pub utc_offset_minutes: i32,
    pub allowed_addresses: Vec<IpNet>,
    pub currencies: Vec<String>,
    /// Where a launch url points; `None`: the server's own page.
    pub frontend_url: Option<String>,
    /// Whether a sign-in of a player ends the player's earlier sessions.
    pub one_device: bool,
    pub active: bool,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Agent")
            .field("agent_id", &self.agent_id)
            .finish_non_exhaustive()
    }
}

struct AgentRow {
    agent_id: String,
    certificate_sealed: Vec<u8>,
    signature_secret_sealed: Option<Vec<u8>>,
    callback_url: String,
    encoding: String,
    utc_offset_minutes: i32,
    allowed_addresses: Vec<String>,
    currencies: Vec<String>,
    frontend_url: Option<String>,
    one_device: bool,
    active: bool,
}

impl AgentRow {
    fn open(self, sealing: &Sealing) -> Result<Agent, LedgerError> {
        let certificate = sealing.open(&certificate_row(&self.agent_id), &self.certificate_sealed)?;
        let signature_secret = self
            .signature_secret_sealed
            .map(|sealed| sealing.open(&signature_row(&self.agent_id), &sealed))
            .transpose()?;
        let allowed_addresses = self.allowed_addresses.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        Ok(Agent {
            agent_id: AgentId::parse(&self.agent_id).map_err(|_| LedgerError::Unreadable { what: "agents.agent_id" })?,
            certificate,
            signature_secret,
            callback_url: self.callback_url,
            encoding: self.encoding,
            utc_offset_minutes: self.utc_offset_minutes,
            allowed_addresses: allowed_addresses.map_err(|_| LedgerError::Unreadable {
                what: "agents.allowed_addresses",
            })?,
            currencies: self.currencies,
            frontend_url: self.frontend_url,
            one_device: self.one_device,
            active: self.active,
        })
    }
}

/// Adds an agent, or replaces what is known of it.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn upsert(connection: &mut PgConnection, sealing: &Sealing, agent: &Agent) -> Result<(), LedgerError> {
    let id = agent.agent_id.as_str();
    let certificate = sealing.seal(&certificate_row(id), agent.certificate.expose_secret());
    let signature = agent
        .signature_secret
        .as_ref()
        .map(|secret| sealing.seal(&signature_row(id), secret.expose_secret()));
    let addresses: Vec<String> = agent.allowed_addresses.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "insert into agents (agent_id, certificate_sealed, signature_secret_sealed, callback_url, encoding, utc_offset_minutes,
                             allowed_addresses, currencies, frontend_url, active, one_device)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict (agent_id) do update set certificate_sealed = $2, signature_secret_sealed = $3, callback_url = $4, encoding = $5,
             utc_offset_minutes = $6, allowed_addresses = $7, currencies = $8, frontend_url = $9, active = $10, one_device = $11",
        id,
        certificate,
        signature,
        agent.callback_url,
        agent.encoding,
        agent.utc_offset_minutes,
        &addresses,
        &agent.currencies,
        agent.frontend_url,
        agent.active,
        agent.one_device,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// All agents, by id. One whose secrets cannot be opened with this server's key is left out and reported: the others play on.
///
/// # Errors
/// When they cannot be read, or none of them can be opened: then the key is another database's.
pub async fn all(connection: &mut PgConnection, sealing: &Sealing) -> Result<Vec<Agent>, LedgerError> {
    let rows = sqlx::query_as!(
        AgentRow,
        "select agent_id, certificate_sealed, signature_secret_sealed, callback_url, encoding, utc_offset_minutes, allowed_addresses,
                currencies, frontend_url, one_device, active from agents order by agent_id"
    )
    .fetch_all(connection)
    .await?;
    let (mut opened, mut failure) = (Vec::new(), None);
    for row in rows {
        let agent_id = row.agent_id.clone();
        match row.open(sealing) {
            Ok(agent) => opened.push(agent),
            Err(error) => {
                tracing::error!(%error, agent_id, "an agent cannot be read and is left out");
                failure = Some(error);
            }
        }
    }
    match failure {
        Some(error) if opened.is_empty() => Err(error),
        _ => Ok(opened),
    }
}

/// One agent.
///
/// # Errors
/// When it cannot be read, or its secrets cannot be opened with this server's key.
pub async fn find(connection: &mut PgConnection, sealing: &Sealing, agent_id: &str) -> Result<Option<Agent>, LedgerError> {
    let row = sqlx::query_as!(
        AgentRow,
        "select agent_id, certificate_sealed, signature_secret_sealed, callback_url, encoding, utc_offset_minutes, allowed_addresses,
                currencies, frontend_url, one_device, active from agents where agent_id = $1",
        agent_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| row.open(sealing)).transpose()
}

//! The operators that were added: can they call us, can we call them, and can their answers be used?

use std::net::SocketAddr;
use std::path::Path;

use ipnet::IpNet;
use secrecy::ExposeSecret;
use sqlx::{PgConnection, query_as};
use tokio::time::timeout;
use url::Url;

use super::{PATIENCE, Report};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::commands::agent_enquiry::{NOBODY, enquire};
use crate::game::configuration::GameConfiguration;
use crate::ledger::sealing::{Sealing, certificate_row};
use crate::ledger::{Ledger, agents};
use crate::play::context::{endpoint, ledger_settings, read_configuration, wallet_settings};
use crate::settings::{Environment, Secrets, Settings};
use crate::wallet::{WalletClient, check_callback_url};

pub(super) async fn check(
    report: &mut Report,
    settings: &Settings,
    secrets: Option<&Secrets>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let agents: Vec<AgentRow> = query_as(
        "select agent_id, certificate_sealed, callback_url, allowed_addresses, currencies from agents where active order by agent_id",
    )
    .fetch_all(connection)
    .await?;
    if agents.is_empty() {
        report.warn("agents", "none: nobody can play", "add an operator with `faircross agent add`");
    }
    if let Some(secrets) = secrets {
        check_sealing(report, secrets, &agents);
    }
    // A configuration that cannot be read is told of by itself.
    let game = read_configuration(settings).ok();
    for agent in agents {
        if let Some(game) = &game {
            check_currencies(report, &agent, game);
        }
        check_addresses(report, &agent.agent_id, &agent.allowed_addresses);
        check_callback(
            report,
            &agent.agent_id,
            &agent.callback_url,
            settings.wallet.allow_private_callbacks,
        )
        .await;
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct AgentRow {
    agent_id: String,
    certificate_sealed: Vec<u8>,
    callback_url: String,
    allowed_addresses: Vec<String>,
    currencies: Vec<String>,
}

fn check_currencies(report: &mut Report, agent: &AgentRow, game: &GameConfiguration) {
    let lost: Vec<&str> = agent
        .currencies
        .iter()
        .map(String::as_str)
        .filter(|code| game.currency(code).is_none())
        .collect();
    if !lost.is_empty() {
        report.warn(
            format!("agent {} currencies", agent.agent_id),
            format!(
                "the game is no longer played in {}: launches of its players are refused (1004)",
                lost.join(", ")
            ),
            format!(
                "put it back into the game's configuration, or leave it out: `faircross agent add --agent-id {} ...`",
                agent.agent_id
            ),
        );
    }
}

/// A server with another sealing key than the one that this database was written with can open no seed and call no operator.
fn check_sealing(report: &mut Report, secrets: &Secrets, agents: &[AgentRow]) {
    let sealing = Sealing::new(secrets.sealing_key.expose_secret(), Chance);
    let opens = |agent: &&AgentRow| sealing.open(&certificate_row(&agent.agent_id), &agent.certificate_sealed).is_ok();
    let closed: Vec<&str> = agents
        .iter()
        .filter(|agent| !opens(agent))
        .map(|agent| agent.agent_id.as_str())
        .collect();
    if !closed.is_empty() {
        let remedy = "set FAIRCROSS__SECRETS__SEALING_KEY to the key that this database was written with";
        report.fail(
            "sealing key",
            format!("does not open what was sealed for {}", closed.join(", ")),
            remedy,
        );
    } else if !agents.is_empty() {
        report.ok("sealing key", "opens what is sealed");
    }
}

fn check_addresses(report: &mut Report, agent_id: &str, addresses: &[String]) {
    let name = format!("agent {agent_id} addresses");
    let remedy = format!("name the operator's own addresses: `faircross agent add --agent-id {agent_id} ... --allow-ip ADDRESS`");
    let networks: Result<Vec<IpNet>, _> = addresses.iter().map(|text| text.parse()).collect();
    match networks {
        Ok(networks) if networks.is_empty() => report.fail(name, "none: every request of this operator is refused (1029)", remedy),
        Ok(networks) if networks.iter().any(|network| network.prefix_len() == 0) => {
            report.warn(name, "every address: only the certificate keeps others out", remedy);
        }
        Ok(networks) => report.ok(name, format!("{} allowed", networks.len())),
        Err(_) => report.fail(name, "one of them is no network", remedy),
    }
}

async fn check_callback(report: &mut Report, agent_id: &str, callback_url: &str, allow_private: bool) {
    let name = format!("agent {agent_id} callback");
    let remedy =
        "correct it with `faircross agent add`; for an operator on your own network set FAIRCROSS__WALLET__ALLOW_PRIVATE_CALLBACKS=true";
    let Ok(url) = Url::parse(callback_url) else {
        return report.fail(name, "is no url", remedy);
    };
    if let Err(error) = check_callback_url(&url, allow_private) {
        return report.fail(name, error.to_string(), remedy);
    }
    let addresses = match resolve(&url).await {
        Ok(addresses) => addresses,
        Err(problem) => return report.fail(name, problem, "correct the name with `faircross agent add`, or this machine's DNS"),
    };
    // The name may lead into our network even though it does not look like it.
    let refused = addresses.iter().any(|address| {
        let literal = Url::parse(&format!("http://{address}/"));
        literal.is_ok_and(|literal| check_callback_url(&literal, allow_private).is_err())
    });
    if refused {
        report.fail(name, "its name leads to an address that is not public", remedy);
    } else if url.scheme() == "http" && !addresses.iter().all(|address| address.ip().is_loopback()) {
        report.warn(
            name,
            "is not encrypted: the certificate travels in the clear",
            "let the operator serve https",
        );
    } else {
        report.ok(name, url.host_str().unwrap_or_default());
    }
}

/// Asks each operator for the balance of nobody: whoever answers that can be played with.
pub(super) async fn ask(report: &mut Report, file: Option<&Path>, environment: &Environment) {
    // What keeps this from being done was reported before.
    let (Ok(settings), Ok(secrets)) = (Settings::load(file, environment), Secrets::load(environment)) else {
        return;
    };
    let Some(ledger) = ledger_settings(&settings).ok().and_then(|settings| Ledger::connect(&settings).ok()) else {
        return;
    };
    let sealing = Sealing::new(secrets.sealing_key.expose_secret(), Chance);
    let read = timeout(PATIENCE, ledger.run(async |connection| agents::all(connection, &sealing).await)).await;
    let (Ok(Ok(agents)), Ok(wallet)) = (read, WalletClient::new(wallet_settings(&settings), Clock::default())) else {
        return;
    };
    for agent in agents.iter().filter(|agent| agent.active) {
        let Some(endpoint) = endpoint(agent) else { continue };
        let enquiry = enquire(&wallet, &endpoint, NOBODY, PATIENCE).await;
        let name = format!("agent {} answers", agent.agent_id);
        let remedy = format!("`faircross agent check --agent-id {}` shows how the answer came", agent.agent_id);
        match (enquiry.is_usable(), enquiry.oddities()) {
            (false, _) => report.fail(name, enquiry.in_short(), remedy),
            (true, oddities) if oddities.is_empty() => report.ok(name, enquiry.in_short()),
            (true, oddities) => report.warn(name, oddities.join("; "), remedy),
        }
    }
}

async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, String> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let found = timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(format!("{host} cannot be resolved: {error}")),
        Err(_) => return Err(format!("{host} was not resolved within {} s", PATIENCE.as_secs())),
    };
    if addresses.is_empty() {
        Err(format!("{host} has no address"))
    } else {
        Ok(addresses)
    }
}

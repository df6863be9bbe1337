//! `faircross agent add | list | check`: the casino platforms that may call us and that we call. A running server sees a change
//! within five seconds.

use std::process::ExitCode;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::agent_enquiry::{NOBODY, enquire};
use super::{Failure, SettingsOptions};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::game::player::{AgentId, UserId};
use crate::ledger::Ledger;
use crate::ledger::agents::{self, Agent};
use crate::ledger::sealing::Sealing;
use crate::play::context::{call_timeout, endpoint, ledger_settings, read_configuration, wallet_settings};
use crate::wallet::{BodyEncoding, WalletClient, check_callback_url};

/// Adds, changes, lists and tries agents.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum AgentCommand {
    /// Adds an agent, or replaces everything that is known of it.
    Add(Box<AddOptions>),
    /// Lists the agents, without their secrets.
    List(ListOptions),
    /// Asks an agent's wallet for one balance, says how the answer came, and exits 1 when it cannot be used.
    Check(CheckOptions),
}

/// What is known of an agent.
#[derive(Clone, Debug, clap::Args)]
pub struct AddOptions {
    #[command(flatten)]
    pub settings: SettingsOptions,
    /// 1 to 50 characters of [A-Za-z0-9_].
    #[arg(long)]
    pub agent_id: String,
    /// The secret that both sides name in their calls. Prefer the environment: FAIRCROSS_AGENT_CERT.
    #[arg(long, env = "FAIRCROSS_AGENT_CERT", hide_env_values = true)]
    pub cert: SecretString,
    /// The operator's one callback address.
    #[arg(long)]
    pub callback_url: Url,
    /// An address or CIDR block from which the agent may call us; repeatable.
    #[arg(long, required = true)]
    pub allow_ip: Vec<String>,
    /// A currency that the agent's players play in; repeatable.
    #[arg(long, required = true)]
    pub currency: Vec<String>,
    /// How the body of a callback is written: form, json_string or json_object.
    #[arg(long, default_value = "form")]
    pub encoding: String,
    /// The offset from UTC in which the operator reads times, in minutes.
    #[arg(long, default_value_t = 480, allow_hyphen_values = true)]
    pub utc_offset_minutes: i32,
    /// Signs each callback (X-Signature). Prefer the environment: FAIRCROSS_AGENT_SIGNATURE_SECRET.
    #[arg(long, env = "FAIRCROSS_AGENT_SIGNATURE_SECRET", hide_env_values = true)]
    pub signature_secret: Option<SecretString>,
    /// Where launch urls point; the server's own page by default.
    #[arg(long)]
    pub frontend_url: Option<Url>,
    /// On how many devices a player may be signed in at once. With `one`, a sign-in ends the player's earlier sessions.
    #[arg(long, value_enum, default_value_t = Devices::Many)]
    pub devices: Devices,
    /// Takes a certificate that is printed in this project. Whoever reads it could call us in the operator's name: for a
    /// development machine alone.
    #[arg(long)]
    pub allow_published_certificate: bool,
    /// Closes the agent: no new rounds, no calls accepted. What is owed to it is still sent.
    #[arg(long)]
    pub inactive: bool,
}

/// On how many devices a player may be signed in at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Devices {
    One,
    Many,
}

/// Certificates that stand in this project's documents and tools.
const PUBLISHED_CERTIFICATES: [&str; 2] = ["demo-cert", "load-cert"];

/// Nothing to choose.
#[derive(Clone, Debug, clap::Args)]
pub struct ListOptions {
    #[command(flatten)]
    pub settings: SettingsOptions,
}

/// Whom to ask about whom.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckOptions {
    #[command(flatten)]
    pub settings: SettingsOptions,
    #[arg(long)]
    pub agent_id: String,
    /// A player whom the operator knows. Without one, "no such account" (1002) is a good answer.
    #[arg(long, default_value = NOBODY)]
    pub user_id: String,
}

/// Adds, lists or asks.
///
/// # Errors
/// When an option is not what it should be, by name, or PostgreSQL cannot be used.
pub async fn run(command: AgentCommand) -> Result<ExitCode, Failure> {
    match command {
        AgentCommand::Add(options) => add(*options).await?,
        AgentCommand::List(options) => list(&options).await?,
        AgentCommand::Check(options) => return check(&options).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(options: AddOptions) -> Result<(), Failure> {
    let (settings, secrets) = options.settings.with_secrets()?;
    let agent_id = AgentId::parse(&options.agent_id).map_err(|error| format!("--agent-id: {error}"))?;
    if options.cert.expose_secret().is_empty() {
        return Err("--cert: must not be empty".into());
    }
    if PUBLISHED_CERTIFICATES.contains(&options.cert.expose_secret()) && !options.allow_published_certificate {
        return Err("--cert: is printed in this project, so that anybody could use it; take one of your own (openssl rand -hex 32)".into());
    }
    options.frontend_url.as_ref().map_or(Ok(()), check_frontend_url)?;
    let encoding = BodyEncoding::parse(&options.encoding).ok_or("--encoding: one of form, json_string, json_object")?;
    if !(-840..=840).contains(&options.utc_offset_minutes) {
        return Err("--utc-offset-minutes: between -840 and 840".into());
    }
    check_callback_url(&options.callback_url, settings.wallet.allow_private_callbacks)
        .map_err(|error| format!("--callback-url: {error}"))?;
    let game = read_configuration(&settings)?;
    if let Some(unknown) = options.currency.iter().find(|code| game.currency(code).is_none()) {
        let known: Vec<&str> = game.currencies().map(|rules| rules.code.as_str()).collect();
        return Err(format!("--currency: the game is not played in {unknown}, but in {}", known.join(", ")).into());
    }
    let agent = Agent {
        agent_id,
        certificate: options.cert,
        signature_secret: options.signature_secret,
        callback_url: options.callback_url.to_string(),
        encoding: encoding.as_str().to_owned(),
        utc_offset_minutes: options.utc_offset_minutes,
        allowed_addresses: options.allow_ip.iter().map(|text| address_block(text)).collect::<Result<_, _>>()?,
        currencies: options.currency,
        frontend_url: options.frontend_url.map(Into::into),
        one_device: options.devices == Devices::One,
        active: !options.inactive,
    };
    let ledger = Ledger::connect(&ledger_settings(&settings)?)?;
    let sealing = Sealing::new(secrets.sealing_key.expose_secret(), Chance);
    ledger
        .run(async |connection| agents::upsert(connection, &sealing, &agent).await)
        .await?;
    println!(
        "agent {} is {}; running servers know it within five seconds",
        agent.agent_id,
        if agent.active { "set" } else { "closed" }
    );
    Ok(())
}

/// Launch links carry a token, and what they lead to runs in the player's browser.
fn check_frontend_url(url: &Url) -> Result<(), String> {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let is_safe = url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback));
    if is_safe {
        Ok(())
    } else {
        Err(format!(
            "--frontend-url: {url} must begin with https:// (http:// for this machine alone)"
        ))
    }
}

/// An address is a block of one.
fn address_block(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| format!("--allow-ip: {text} is neither an address nor a CIDR block"))
}

async fn list(options: &ListOptions) -> Result<(), Failure> {
    let (settings, secrets) = options.settings.with_secrets()?;
    let ledger = Ledger::connect(&ledger_settings(&settings)?)?;
    let sealing = Sealing::new(secrets.sealing_key.expose_secret(), Chance);
    let all = ledger.run(async |connection| agents::all(connection, &sealing).await).await?;
    for agent in all {
        let addresses: Vec<String> = agent.allowed_addresses.iter().map(ToString::to_string).collect();
        println!(
            "{}  {}  {}  {}  callback {}  from {}{}",
            agent.agent_id,
            if agent.active { "active" } else { "inactive" },
            agent.currencies.join(","),
            agent.encoding,
            agent.callback_url,
            addresses.join(","),
            if agent.one_device { "  one device" } else { "" },
        );
    }
    Ok(())
}

async fn check(options: &CheckOptions) -> Result<ExitCode, Failure> {
    let (settings, secrets) = options.settings.with_secrets()?;
    AgentId::parse(&options.agent_id).map_err(|error| format!("--agent-id: {error}"))?;
    UserId::parse(&options.user_id).map_err(|error| format!("--user-id: {error}"))?;
    let ledger = Ledger::connect(&ledger_settings(&settings)?)?;
    let sealing = Sealing::new(secrets.sealing_key.expose_secret(), Chance);
    let agent = ledger
        .run(async |connection| agents::find(connection, &sealing, &options.agent_id).await)
        .await?
        .ok_or("--agent-id: there is no such agent")?;
    let endpoint =
        endpoint(&agent).ok_or("the agent's callback address or encoding cannot be read; set it again with `faircross agent add`")?;
    let wallet = WalletClient::new(wallet_settings(&settings), Clock::with_offset_ms(settings.clock.offset_ms))?;
    let enquiry = enquire(&wallet, &endpoint, &options.user_id, call_timeout(&settings)).await;
    println!("{enquiry}");
    Ok(if enquiry.is_usable() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

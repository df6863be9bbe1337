//! A simulated casino wallet: the operator's side of the callbacks, in a process of its own.
//!
//! It is deliberately stricter than real operators (fields, lengths, times, amounts, bytes of a repeat) and keeps a durable
//! ledger, so that the audit can hold our books against those of somebody who did not take our word for anything. Faults
//! can be ordered per action. It is a tool of development and testing: it reads its own clock and no product code calls it.
//!
//! | method and path | what |
//! |---|---|
//! | POST anything | a callback, in any of the three body encodings |
//! | GET /ledger | players, bets with their history, and violations, as of one instant |
//! | PUT /players/{userId} | `{balance?, status?}`: active, suspended, locked or closed |
//! | GET, PUT, DELETE /faults | see [`faults`] |
//! | GET /calls | the latest calls with their exact message texts, newest last; `?action=` and `?platformTxId=` |
//! | GET /health | 200 when it serves |

mod amount;
mod answer;
mod book;
mod calls;
mod decision;
pub mod faults;
mod journal;
mod message;
mod request;
mod server;
mod wallet;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;

pub use amount::Amount4;

/// How the simulated wallet is set up.
#[derive(Clone, Debug, clap::Args)]
pub struct OperatorOptions {
    /// The port on 127.0.0.1; 0 takes a free one. The address is printed as one line.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// The file that keeps the ledger; without it the ledger lives as long as the process.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// An agent and the certificate it sends; repeatable, also for one agent.
    #[arg(long = "agent-certificate", value_name = "AGENT=CERTIFICATE", default_value = "demo=demo-cert")]
    pub agent_certificates: Vec<AgentSecret>,
    /// An agent whose callbacks must be signed, and the secret; repeatable.
    #[arg(long = "agent-signature", value_name = "AGENT=SECRET")]
    pub agent_signatures: Vec<AgentSecret>,
    /// A currency that bets may be in; repeatable.
    #[arg(long = "currency", value_name = "CODE", default_value = "INR")]
    pub currencies: Vec<String>,
    /// What a player owns who is seen for the first time.
    #[arg(long, value_name = "AMOUNT", default_value = "1000.00")]
    pub starting_balance: Amount4,
    /// How many of the latest calls are kept for GET /calls.
    #[arg(long, value_name = "NUMBER", default_value_t = 2000)]
    pub kept_calls: usize,
    /// How long a connection may rest before it is closed, in milliseconds. It is not named in answers.
    #[arg(long, value_name = "MS", default_value_t = 75_000)]
    pub rest_ms: u64,
    /// Threads that serve.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    pub workers: usize,
}

impl Default for OperatorOptions {
    fn default() -> Self {
        Self {
            port: 0,
            data: None,
            agent_certificates: vec![AgentSecret {
                agent_id: "demo".into(),
                secret: "demo-cert".into(),
            }],
            agent_signatures: Vec::new(),
            currencies: vec!["INR".into()],
            starting_balance: Amount4::from_units(1000 * Amount4::ONE),
            kept_calls: 2000,
            rest_ms: 75_000,
            workers: 2,
        }
    }
}

/// `AGENT=SECRET` on the command line.
#[derive(Clone, Debug)]
pub struct AgentSecret {
    /// Whose it is.
    pub agent_id: String,
    /// The certificate or signing secret.
    pub secret: SecretString,
}

impl FromStr for AgentSecret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((agent_id, secret)) if !agent_id.is_empty() && !secret.is_empty() => Ok(Self {
                agent_id: agent_id.to_owned(),
                secret: secret.into(),
            }),
            _ => Err("write it as agent=secret"),
        }
    }
}

/// Why the simulated wallet does not start or stopped.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// Two agents share a certificate, so that a call would not say whose it is.
    #[error("the certificate of agent {0} is another agent's too")]
    SharedCertificate(String),
    /// The ledger's file cannot be used.
    #[error("the ledger file {}: {source}", path.display())]
    Ledger {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The port cannot be bound, or serving failed.
    #[error("serving: {0}")]
    Serving(#[from] io::Error),
}

/// A simulated wallet that is bound to its port and serves while `server` is awaited.
pub struct Operator {
    /// Where it listens.
    pub address: SocketAddr,
    /// Await it to serve; its `handle()` stops it.
    pub server: actix_web::dev::Server,
}

/// Opens the ledger and binds the port.
///
/// # Errors
/// When the options contradict themselves, the ledger cannot be opened or the port cannot be bound.
pub fn start(options: &OperatorOptions, handle_signals: bool) -> Result<Operator, OperatorError> {
    let wallet = wallet::Wallet::open(options)?;
    let rest = Duration::from_millis(options.rest_ms);
    server::bind(
        (Ipv4Addr::LOCALHOST, options.port).into(),
        wallet,
        options.workers,
        rest,
        handle_signals,
    )
}

/// Serves until SIGTERM or Ctrl-C; prints the address as one line first.
///
/// # Errors
/// As [`start`], and when serving fails.
pub async fn run(options: OperatorOptions) -> Result<(), OperatorError> {
    let operator = start(&options, true)?;
    println!("operator listening on http://{}", operator.address);
    Ok(operator.server.await?)
}

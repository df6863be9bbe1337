//! What the operators say: their ledgers, read from an address or a file, and for which agents each of them speaks.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;

use crate::audit::{AuditError, LedgerBet, OperatorLedger};
use crate::game::player::AgentId;

/// Where a ledger is, as `[AGENT=]URL|FILE` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSource {
    /// The agent for which it speaks; `None`: for all.
    pub agent_id: Option<AgentId>,
    pub place: Place,
}

/// An address or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Url(Url),
    File(PathBuf),
}

impl FromStr for LedgerSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text
            .split_once('=')
            .and_then(|(agent_id, place)| Some((AgentId::parse(agent_id).ok()?, place)));
        let (agent_id, place) = named.map_or((None, text), |(agent_id, place)| (Some(agent_id), place));
        let place = match Url::parse(place) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) => Place::Url(url),
            _ => Place::File(PathBuf::from(place)),
        };
        Ok(Self { agent_id, place })
    }
}

/// All ledgers that were given.
pub struct Ledgers {
    all: Vec<(Option<AgentId>, OperatorLedger)>,
}

impl Ledgers {
    /// Reads them.
    ///
    /// # Errors
    /// When one cannot be had, or is not a ledger.
    pub async fn read(sources: &[LedgerSource]) -> Result<Self, AuditError> {
        let mut all = Vec::new();
        for source in sources {
            let ledger = match &source.place {
                Place::Url(url) => OperatorLedger::fetch(url).await?,
                Place::File(file) => {
                    let read = tokio::fs::read(file).await.map_err(|source| AuditError::File {
                        file: file.clone(),
                        source,
                    });
                    OperatorLedger::parse(&read?)?
                }
            };
            all.push((source.agent_id.clone(), ledger));
        }
        Ok(Self { all })
    }

    /// All agents that they name: those for which they were given, and those of their bets.
    pub fn agents(&self) -> impl Iterator<Item = &str> {
        self.all.iter().flat_map(|(named, ledger)| {
            let of_bets = ledger.bets.keys().map(String::as_str);
            named.as_ref().map(AgentId::as_str).into_iter().chain(of_bets)
        })
    }

    /// Whether one of them speaks for this agent.
    pub fn speak_for(&self, agent_id: &str) -> bool {
        !self.of(agent_id).is_empty()
    }

    /// What is said of a bet.
    pub fn bet(&self, agent_id: &str, platform_tx_id: &str) -> Option<&LedgerBet> {
        self.of(agent_id)
            .into_iter()
            .find_map(|ledger| ledger.bet(agent_id, platform_tx_id))
    }

    /// All bets of an agent, each once.
    pub fn bets(&self, agent_id: &str) -> Vec<&LedgerBet> {
        let mut seen = HashSet::new();
        self.of(agent_id)
            .into_iter()
            .filter_map(|ledger| ledger.bets.get(agent_id))
            .flat_map(HashMap::values)
            .filter(|bet| seen.insert(&bet.platform_tx_id))
            .collect()
    }

    fn of(&self, agent_id: &str) -> Vec<&OperatorLedger> {
        let speaks = |named: &Option<AgentId>| named.as_ref().is_none_or(|named| named.as_str() == agent_id);
        self.all
            .iter()
            .filter(|(named, _)| speaks(named))
            .map(|(_, ledger)| ledger)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_file_of_one_agent_or_of_all() {
        for (text, agent_id, is_url) in [
            ("http://127.0.0.1:9080", None, true),
            ("https://casino.example/ledger?day=1", None, true),
            ("casino1=https://casino.example/ledger?day=1", Some("casino1"), true),
            ("casino1=ledger.json", Some("casino1"), false),
            ("./a=b/ledger.json", None, false),
            ("ledger.json", None, false),
        ] {
            let source: LedgerSource = text.parse().expect("anything is one");
            assert_eq!(source.agent_id.as_ref().map(AgentId::as_str), agent_id, "{text}");
            assert_eq!(matches!(source.place, Place::Url(_)), is_url, "{text}");
        }
    }
}

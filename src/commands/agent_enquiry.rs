//! One balance enquiry, as `agent check` and `doctor` make it: how the answer came, and what is wrong with it. It moves nothing, and
//! shows nothing of what the operator wrote but its status.

use std::fmt;
use std::time::Duration;

use crate::wallet::message::get_balance_message;
use crate::wallet::status::{DEFINITE_REFUSALS, SUCCESS};
use crate::wallet::{Action, AgentEndpoint, Attempt, Call, Outcome, UnknownReason, WalletClient};

/// A player whom no operator knows.
pub const NOBODY: &str = "agentcheck";
/// Statuses that speak of the player and not of us.
const OF_THE_PLAYER: [&str; 4] = ["1002", "1013", "1014", "1015"];

/// What came of an enquiry.
pub struct Enquiry {
    call: Call,
    /// What the answer says, where it can be used.
    said: Result<String, String>,
}

/// Asks for the balance of `user_id`.
pub async fn enquire(wallet: &WalletClient, endpoint: &AgentEndpoint, user_id: &str, timeout: Duration) -> Enquiry {
    let message = get_balance_message(user_id);
    let call = wallet.send(endpoint, Action::GetBalance, &message, Attempt::first(timeout)).await;
    let said = said(&call, user_id);
    Enquiry { call, said }
}

fn said(call: &Call, user_id: &str) -> Result<String, String> {
    let (reason, status) = match &call.outcome {
        Outcome::Applied { balance: Some(_), .. } => return Ok(format!("{SUCCESS} with a balance")),
        Outcome::Applied { balance: None, .. } => return Err(format!("its status is {SUCCESS}, and it has no balance that can be read")),
        Outcome::Declined { status } => (UnknownReason::Status, Some(status.as_str())),
        Outcome::Unknown { reason, status } => (*reason, status.as_deref()),
    };
    match (reason, status) {
        (UnknownReason::Status, Some(status)) => {
            let listed = DEFINITE_REFUSALS.iter().find(|(listed, _)| *listed == status);
            let meaning = listed.map_or("not listed: it proves nothing", |(_, meaning)| meaning);
            let said = format!("status {status} ({meaning}) for {user_id}");
            if OF_THE_PLAYER.contains(&status) { Ok(said) } else { Err(said) }
        }
        (UnknownReason::Unreadable, _) => Err(match call.form.defect {
            Some(defect) => format!("the answer cannot be read: {defect}"),
            None => "the answer cannot be read".to_owned(),
        }),
        (UnknownReason::HttpStatus, _) => Err("the HTTP status is not 2xx (redirects are not followed)".to_owned()),
        (UnknownReason::WrongEcho, _) => Err("the answer names another player".to_owned()),
        (UnknownReason::Timeout, _) => Err("there was no complete answer in time".to_owned()),
        (UnknownReason::Broken, _) => Err("the connection broke before the answer was complete".to_owned()),
        (UnknownReason::AddressRefused, _) => {
            Err("the callback address is not a public one (FAIRCROSS__WALLET__ALLOW_PRIVATE_CALLBACKS=true permits it)".to_owned())
        }
        _ => Err("no connection could be made".to_owned()),
    }
}

impl Enquiry {
    /// Whether the operator can be played with as it answers.
    pub fn is_usable(&self) -> bool {
        self.said.is_ok()
    }

    /// What the answer says, or what is wrong with it, in a sentence.
    pub fn in_short(&self) -> &str {
        match &self.said {
            Ok(said) | Err(said) => said,
        }
    }

    /// What is read all the same, and should be mended over there.
    pub fn oddities(&self) -> Vec<&'static str> {
        let form = &self.call.form;
        let is_json = form
            .content_type
            .as_deref()
            .is_some_and(|name| name.to_ascii_lowercase().contains("json"));
        [
            (form.had_byte_order_mark, "it begins with a UTF-8 byte order mark"),
            (form.was_gzip, "it is gzipped, though Accept-Encoding names identity alone"),
            (self.call.http_status.is_some() && !is_json, "its Content-Type is not JSON"),
        ]
        .into_iter()
        .filter_map(|(is_so, what)| is_so.then_some(what))
        .collect()
    }
}

impl fmt::Display for Enquiry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = &self.call.form;
        let http_status = self.call.http_status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        writeln!(formatter, "http status       {http_status}")?;
        writeln!(formatter, "content type      {}", form.content_type.as_deref().unwrap_or("none"))?;
        writeln!(
            formatter,
            "content encoding  {}",
            form.content_encoding.as_deref().unwrap_or("none")
        )?;
        let rest = form
            .keep_alive
            .map_or_else(|| "not named".to_owned(), |rest| format!("{} s", rest.as_secs()));
        writeln!(formatter, "keep-alive        {rest}")?;
        writeln!(formatter, "took              {} ms", self.call.duration_ms)?;
        for oddity in self.oddities() {
            writeln!(formatter, "to mend           {oddity}")?;
        }
        match &self.said {
            Ok(said) => write!(formatter, "usable            {said}"),
            Err(wrong) => write!(formatter, "NOT USABLE        {wrong}"),
        }
    }
}

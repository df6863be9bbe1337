//! The simulated wallet: who may call, what happens to a call, and in which order book, journal and answer follow.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{FixedOffset, SecondsFormat};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::amount::Amount4;
use super::answer::{Reply, balance_answer, status_with, with_wrong_id, written};
use super::book::{Answer, Book, Delivery, PlayerStatus, Record, Snapshot, Violation};
use super::calls::{Calls, RecordedCall};
use super::faults::{Fault, FaultKind, Faults, OneOrMany, Target};
use super::journal::{Durable, Journal, NotDurable};
use super::message::{self, CallbackAction, Message, Transaction};
use super::{OperatorError, OperatorOptions, request};
use crate::clock::Clock;

/// The whole state of the process.
pub(super) struct Wallet {
    agents: HashMap<String, String>,
    signature_secrets: HashMap<String, SecretString>,
    ledger: Mutex<Ledger>,
    pub faults: Mutex<Faults>,
    pub calls: Mutex<Calls>,
    clock: Clock,
}

/// Book and journal, locked together so that both see records in one order.
struct Ledger {
    book: Book,
    journal: Journal,
}

impl Ledger {
    fn apply(&mut self, record: &Record) -> (Option<Answer>, Durable) {
        (self.book.apply(record), self.journal.append(record))
    }

    /// A player seen for the first time starts with the starting balance.
    fn welcome(&mut self, user_id: &str) {
        if self.book.player(user_id).is_none() {
            let record = self.book.welcome(user_id);
            // Whoever waits for the next record waits for this one too: the journal keeps their order.
            let (_, _) = self.apply(&record);
        }
    }
}

/// A POST as it arrived.
pub(super) struct Arrived<'a> {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub content_type: &'a str,
    pub signature: Option<&'a str>,
    pub body: &'a [u8],
}

/// A call that passed all checks.
pub(super) struct Admitted {
    agent_id: String,
    message: Message,
    message_sha256: String,
    fault: Option<Fault>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wallet {
    pub fn open(options: &OperatorOptions) -> Result<Self, OperatorError> {
        let mut agents: HashMap<String, String> = HashMap::new();
        for agent in &options.agent_certificates {
            let other = agents.insert(agent.secret.expose_secret().to_owned(), agent.agent_id.clone());
            if other.is_some_and(|other| other != agent.agent_id) {
                return Err(OperatorError::SharedCertificate(agent.agent_id.clone()));
            }
        }
        let signature_secrets = options
            .agent_signatures
            .iter()
            .map(|agent| (agent.agent_id.clone(), agent.secret.clone()))
            .collect();
        let mut book = Book::new(options.starting_balance, options.currencies.iter().cloned());
        let journal = match &options.data {
            None => Journal::nowhere(),
            Some(path) => Journal::open(path, |record| drop(book.apply(record))).map_err(|source| OperatorError::Ledger {
                path: path.clone(),
                source,
            })?,
        };
        Ok(Self {
            agents,
            signature_secrets,
            ledger: Mutex::new(Ledger { book, journal }),
            faults: Mutex::default(),
            calls: Mutex::new(Calls::new(options.kept_calls)),
            clock: Clock::default(),
        })
    }

    /// Checks a call; the error is its answer. What is known of it is written into `call` on the way.
    pub async fn admit(&self, arrived: Arrived<'_>, call: &mut RecordedCall) -> Result<Admitted, Reply> {
        call.at = self.now();
        call.path = arrived.path;
        call.headers = arrived.headers;
        let request = request::read(arrived.content_type, arrived.body).map_err(|detail| status_with("1036", detail))?;
        let message_sha256 = hex::encode(Sha256::digest(request.message.as_bytes()));
        call.encoding = Some(request.encoding);
        call.message_sha256 = Some(message_sha256.clone());
        call.message = Some(request.message.clone());
        let agent_id = self
            .agents
            .get(&request.key)
            .cloned()
            .ok_or_else(|| status_with("1027", "no agent has this certificate"))?;
        call.agent_id = Some(agent_id.clone());
        if let Some(secret) = self.signature_secrets.get(&agent_id) {
            let is_valid = arrived
                .signature
                .is_some_and(|signature| is_signed(secret, signature, arrived.body));
            call.signature_valid = Some(is_valid);
            if !is_valid {
                return Err(status_with("1027", "the signature is not right"));
            }
        }
        let message = match message::read(&request.message) {
            Ok(message) => message,
            Err(refusal) => {
                self.note_invalid_message(&agent_id, &refusal.detail).await?;
                return Err(status_with(refusal.status, &refusal.detail));
            }
        };
        call.action = Some(message.action());
        if let Message::Transaction(_, transaction) = &message {
            call.platform_tx_id = Some(transaction.platform_tx_id.clone());
        }
        let fault = locked(&self.faults).draw(message.action(), call.platform_tx_id.as_deref());
        call.fault = fault.as_ref().map(|fault| fault.kind);
        Ok(Admitted {
            agent_id,
            message,
            message_sha256,
            fault,
        })
    }

    async fn note_invalid_message(&self, agent_id: &str, detail: &str) -> Result<(), Reply> {
        let record = Record::Violation(Violation {
            kind: "invalid_message".into(),
            at: self.now(),
            agent_id: agent_id.to_owned(),
            action: None,
            platform_tx_id: None,
            detail: detail.to_owned(),
        });
        let (_, durable) = locked(&self.ledger).apply(&record);
        durable.wait().await.map_err(|NotDurable| Reply::Status(500))
    }

    /// Handles a call with its fault. A call once admitted is handled to its end, whether or not the caller still listens.
    pub async fn handle(self: Arc<Self>, call: Admitted) -> Reply {
        let Some(fault) = &call.fault else {
            return self.answer(&call, None).await;
        };
        if !matches!(fault.kind, FaultKind::DelayAfter | FaultKind::Duplicate) {
            fault.pause().await;
        }
        match fault.kind {
            FaultKind::Delay => self.answer(&call, None).await,
            FaultKind::DelayAfter => {
                let reply = self.answer(&call, None).await;
                fault.pause().await;
                reply
            }
            FaultKind::Refuse => {
                self.answer(&call, Some(fault.status.clone().unwrap_or_else(|| "9998".into())))
                    .await
            }
            FaultKind::Answer => {
                self.answer(&call, None).await;
                status_with(fault.status.as_deref().unwrap_or("9999"), "as ordered")
            }
            FaultKind::Http500 => {
                self.handled_if(
                    fault.applied.unwrap_or(false),
                    &call,
                    Reply::Status(fault.http_status.unwrap_or(500)),
                )
                .await
            }
            FaultKind::DropBefore => Reply::Nothing,
            FaultKind::DropAfter => self.handled_if(true, &call, Reply::Nothing).await,
            FaultKind::Garbage => {
                let garbage = fault.body.clone().unwrap_or_else(|| "<html>{\"status\":\"0000".into());
                self.handled_if(fault.applied.unwrap_or(true), &call, Reply::Text(garbage)).await
            }
            FaultKind::Duplicate => self.handle_twice(call).await,
            FaultKind::ByteOrderMark => match self.answer(&call, None).await {
                Reply::Text(text) => Reply::Text(format!("\u{feff}{text}")),
                other => other,
            },
            FaultKind::Gzip => match self.answer(&call, None).await {
                Reply::Text(text) => Reply::Gzip(text),
                other => other,
            },
            FaultKind::WrongId => {
                let reply = self.answer(&call, None).await;
                with_wrong_id(reply)
            }
        }
    }

    async fn handled_if(&self, is_handled: bool, call: &Admitted, reply: Reply) -> Reply {
        if is_handled {
            self.answer(call, None).await;
        }
        reply
    }

    async fn handle_twice(self: Arc<Self>, call: Admitted) -> Reply {
        let first = self.answer(&call, None).await;
        let Some(fault) = call.fault.clone().filter(|fault| fault.held || fault.delay_ms > 0) else {
            return self.answer(&call, None).await;
        };
        actix_web::rt::spawn(async move {
            fault.pause().await;
            self.answer(&call, None).await;
        });
        first
    }

    async fn answer(&self, call: &Admitted, forced_status: Option<String>) -> Reply {
        match &call.message {
            Message::GetBalance { user_id } => match forced_status {
                Some(status) => status_with(&status, "as ordered"),
                None => self.balance_of(user_id),
            },
            Message::Transaction(action, transaction) => self.deliver(call, *action, transaction, forced_status).await,
        }
    }

    fn balance_of(&self, user_id: &str) -> Reply {
        let mut ledger = locked(&self.ledger);
        ledger.welcome(user_id);
        let Some(player) = ledger.book.player(user_id) else {
            return status_with("1002", "no such account");
        };
        balance_answer(user_id, player.balance, &self.now())
    }

    async fn deliver(&self, call: &Admitted, action: CallbackAction, transaction: &Transaction, forced_status: Option<String>) -> Reply {
        let record = Record::Delivery(Delivery {
            at: self.now(),
            agent_id: call.agent_id.clone(),
            action,
            transaction: transaction.clone(),
            message_sha256: call.message_sha256.clone(),
            forced_status,
        });
        let (answer, durable) = {
            let mut ledger = locked(&self.ledger);
            ledger.welcome(&transaction.user_id);
            ledger.apply(&record)
        };
        match (durable.wait().await, answer) {
            (Ok(()), Some(answer)) => written(&answer),
            _ => Reply::Status(500),
        }
    }

    /// Sets a player from outside, creating them if need be.
    pub async fn set_player(&self, user_id: String, balance: Option<Amount4>, status: Option<PlayerStatus>) -> Result<String, NotDurable> {
        let record = Record::Player {
            user_id: user_id.clone(),
            balance,
            status,
        };
        let (durable, player) = {
            let mut ledger = locked(&self.ledger);
            let (_, durable) = ledger.apply(&record);
            (
                durable,
                serde_json::to_string(&ledger.book.player(&user_id)).expect("a player is JSON"),
            )
        };
        durable.wait().await.map(|()| player)
    }

    pub fn snapshot(&self) -> Snapshot {
        locked(&self.ledger).book.snapshot()
    }

    pub fn order_faults(&self, orders: BTreeMap<Target, OneOrMany>) {
        locked(&self.faults).order(orders);
    }

    /// Now, as answers write it.
    fn now(&self) -> String {
        let offset = FixedOffset::east_opt(8 * 3600).expect("eight hours are an offset");
        self.clock
            .now()
            .with_timezone(&offset)
            .to_rfc3339_opts(SecondsFormat::Millis, false)
    }
}

/// Checks `t=<unix>,v1=<hex>` over exactly these bytes.
fn is_signed(secret: &SecretString, signature: &str, body: &[u8]) -> bool {
    let Some((time, mac)) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")) else {
        return false;
    };
    let (Ok(_), Ok(mac)) = (time.parse::<u64>(), hex::decode(mac)) else {
        return false;
    };
    let mut expected = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("HMAC takes a key of any length");
    expected.update(time.as_bytes());
    expected.update(b".");
    expected.update(body);
    expected.verify_slice(&mac).is_ok()
}

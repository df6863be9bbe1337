//! One callback from the first to the last byte. Whatever happens, the result is a [`Call`] that says what is proven and
//! whether the message may have left.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response};
use rustls::crypto::ring;
use secrecy::ExposeSecret;
use thiserror::Error;

use super::address::{AddressRefused, PublicAddresses, check_callback_url};
use super::answer::{self, Subject};
use super::guard::{Guard, Guards};
use super::outgoing::{Fate, OutgoingBody};
use super::signature::{SIGNATURE_HEADER, signature};
use super::{Action, AgentEndpoint, Attempt, Call, CallbackUrlError, Outcome, READ_ANSWER_BYTES, UnknownReason, WalletSettings};
use crate::clock::Clock;
use crate::per_runtime::PerRuntime;

/// The client could not be made.
#[derive(Debug, Error)]
#[error("the HTTP client for operators cannot be set up: {0}")]
pub struct WalletClientError(#[from] reqwest::Error);

/// Speaks to all operators. Clones share connections, caps and breakers.
#[derive(Clone)]
pub struct WalletClient {
    /// Each worker has connections of its own.
    http: Arc<PerRuntime<Client>>,
    /// What a worker's client is made like, and used if another one cannot be made.
    first: Client,
    guards: Arc<Guards>,
    /// Of the calls that move nothing.
    questions: Arc<Guards>,
    settings: WalletSettings,
    clock: Clock,
}

/// A request that is ready to go.
struct Prepared {
    request: reqwest::RequestBuilder,
    subject: Subject,
    fate: Fate,
}

/// What came back so far; it outlives a deadline in the middle of the answer.
#[derive(Default)]
struct Received {
    http_status: Option<u16>,
    body: Vec<u8>,
}

/// Why there is no complete answer.
enum Failure {
    Request(reqwest::Error),
    Body,
    TooLong,
}

impl WalletClient {
    /// A client without proxy and redirects. TLS trusts the machine's root certificates; a machine without any can still
    /// call plain http, and every https callback fails as not sent.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(settings: WalletSettings, clock: Clock) -> Result<Self, WalletClientError> {
        // Whoever installed a provider first keeps it; the error says no more than that.
        let _ = ring::default_provider().install_default();
        let first = builder(&settings).build().or_else(|error| {
            tracing::warn!(%error, "no root certificates were found: https callbacks will fail");
            builder(&settings).tls_certs_only([]).build()
        })?;
        Ok(Self {
            http: Arc::default(),
            first,
            guards: Arc::default(),
            questions: Arc::default(),
            settings,
            clock,
        })
    }

    /// Makes this runtime's own HTTP client, so that no debit has to wait while root certificates are read.
    pub fn prepare_here(&self) {
        self.http_here();
    }

    /// This runtime's own HTTP client.
    fn http_here(&self) -> Client {
        self.http
            .here(|| builder(&self.settings).build().unwrap_or_else(|_| self.first.clone()))
    }

    /// Sends one message once and reads the answer.
    pub async fn send(&self, agent: &AgentEndpoint, action: Action, message: &str, attempt: Attempt) -> Call {
        let started = self.clock.monotonic();
        let mut call = self.guarded(agent, action, message, attempt, started).await;
        let duration = self.clock.elapsed_since(started);
        call.duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let outcome = match &call.outcome {
            Outcome::Applied { .. } => "applied",
            Outcome::Declined { .. } => "declined",
            Outcome::Unknown { reason, .. } => reason.as_str(),
        };
        metrics::histogram!("faircross_wallet_call_seconds", "agent" => agent.agent_id.clone(), "action" => action.as_str(), "outcome" => outcome)
            .record(duration);
        call
    }

    async fn guarded(&self, agent: &AgentEndpoint, action: Action, message: &str, attempt: Attempt, started: Instant) -> Call {
        if let Err(refused) = check_callback_url(&agent.callback_url, self.settings.allow_private_callbacks) {
            return unsent(match refused {
                CallbackUrlError::PrivateAddress => UnknownReason::AddressRefused,
                CallbackUrlError::Scheme | CallbackUrlError::Host | CallbackUrlError::Credentials => UnknownReason::NotSent,
            });
        }
        // A player may ask for the balance as often as they like; that must not stand in the way of anybody's money.
        let guard = match action {
            Action::GetBalance => self.questions.of(&agent.agent_id, &self.settings),
            Action::Bet | Action::CancelBet | Action::Settle | Action::VoidBet => self.guards.of(&agent.agent_id, &self.settings),
        };
        let patience = attempt.send_within.unwrap_or(attempt.timeout).min(attempt.timeout);
        let Ok(Ok(_permit)) = tokio::time::timeout(patience, guard.calls.acquire()).await else {
            return unsent(UnknownReason::Busy);
        };
        self.unless_broken(&guard, agent, action, message, attempt, started).await
    }

    async fn unless_broken(
        &self,
        guard: &Guard,
        agent: &AgentEndpoint,
        action: Action,
        message: &str,
        attempt: Attempt,
        started: Instant,
    ) -> Call {
        // Prepared after the wait, so that the signature's time is that of the send.
        let latest = attempt.send_within.and_then(|limit| started.checked_add(limit));
        let Some(prepared) = self.prepare(agent, message, latest) else {
            return unsent(UnknownReason::NotSent);
        };
        let remaining = attempt.timeout.saturating_sub(self.clock.elapsed_since(started));
        let exchange = async {
            let call = exchange(prepared, agent, action, attempt, remaining).await;
            if speaks_against_the_operator(&call.outcome) {
                Err(call)
            } else {
                Ok(call)
            }
        };
        match guard.breaker.call(exchange).await {
            Ok(call) | Err(recloser::Error::Inner(call)) => call,
            Err(recloser::Error::Rejected) => unsent(UnknownReason::BreakerOpen),
        }
    }

    /// Packs and signs the message; `None` when it is not one.
    fn prepare(&self, agent: &AgentEndpoint, message: &str, latest: Option<Instant>) -> Option<Prepared> {
        let subject = Subject::of(message).ok()?;
        let body = agent.encoding.body(agent.certificate.expose_secret(), message).ok()?;
        let fate = Fate::default();
        let mut request = self
            .http_here()
            .post(agent.callback_url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static(agent.encoding.content_type()))
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(secret) = &agent.signature_secret {
            request = request.header(SIGNATURE_HEADER, signature(secret, self.clock.now(), &body));
        }
        let body = OutgoingBody {
            bytes: Some(Bytes::from(body)),
            latest,
            clock: self.clock,
            fate: fate.clone(),
        };
        Some(Prepared {
            request: request.body(reqwest::Body::wrap(body)),
            subject,
            fate,
        })
    }
}

fn builder(settings: &WalletSettings) -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(concat!("faircross/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(Duration::from_millis(settings.connect_timeout_ms))
        .pool_idle_timeout(Duration::from_millis(settings.idle_connection_ms))
        .pool_max_idle_per_host(settings.concurrent_calls_per_agent as usize)
        .tcp_nodelay(true)
        .dns_resolver(Arc::new(PublicAddresses {
            allow_private: settings.allow_private_callbacks,
        }))
}

/// Sends and reads under one deadline, then says what it proves.
async fn exchange(prepared: Prepared, agent: &AgentEndpoint, action: Action, attempt: Attempt, remaining: Duration) -> Call {
    let Prepared { request, subject, fate } = prepared;
    let mut received = Received::default();
    let ended = tokio::time::timeout(remaining, receive(request, &mut received)).await;
    let sent = !fate.withdraw();
    let is_success = received.http_status.is_some_and(|status| (200..300).contains(&status));
    let reason = match ended {
        // An answer to a message that did not leave (an early error page) is an answer to nothing.
        Ok(_) if !sent && received.http_status.is_some() => Some(UnknownReason::NotSent),
        _ if received.http_status.is_some() && !is_success => Some(UnknownReason::HttpStatus),
        Ok(Ok(())) => None,
        Ok(Err(Failure::Request(error))) => Some(reason_of(&error, sent, &fate)),
        Ok(Err(Failure::Body)) => Some(UnknownReason::Broken),
        Ok(Err(Failure::TooLong)) => Some(UnknownReason::Unreadable),
        Err(_) => Some(UnknownReason::Timeout),
    };
    let outcome = match reason {
        Some(reason) => Outcome::Unknown { reason, status: None },
        None => answer::outcome(action, attempt, &subject, &received.body),
    };
    let answer = received
        .http_status
        .map(|_| answer::kept(&received.body, agent.certificate.expose_secret()));
    Call {
        outcome,
        sent,
        http_status: received.http_status,
        answer,
        duration_ms: 0,
    }
}

async fn receive(request: reqwest::RequestBuilder, received: &mut Received) -> Result<(), Failure> {
    let mut response: Response = request.send().await.map_err(Failure::Request)?;
    received.http_status = Some(response.status().as_u16());
    while let Some(chunk) = response.chunk().await.map_err(|_| Failure::Body)? {
        let room = READ_ANSWER_BYTES - received.body.len();
        received.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Err(Failure::TooLong);
        }
    }
    Ok(())
}

fn reason_of(error: &reqwest::Error, sent: bool, fate: &Fate) -> UnknownReason {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if current.is::<AddressRefused>() {
            return UnknownReason::AddressRefused;
        }
        cause = current.source();
    }
    if fate.was_too_late() {
        UnknownReason::TooLate
    } else if sent {
        UnknownReason::Broken
    } else {
        UnknownReason::NotSent
    }
}

/// Whether the breaker counts the call as failed: the operator was not reached or did not answer readably. A readable
/// refusal is a working operator, and what we withheld ourselves says nothing about it.
fn speaks_against_the_operator(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Applied { .. } | Outcome::Declined { .. } => false,
        Outcome::Unknown { reason, .. } => match reason {
            UnknownReason::NotSent
            | UnknownReason::Timeout
            | UnknownReason::Broken
            | UnknownReason::HttpStatus
            | UnknownReason::Unreadable => true,
            UnknownReason::AddressRefused
            | UnknownReason::Busy
            | UnknownReason::BreakerOpen
            | UnknownReason::TooLate
            | UnknownReason::WrongEcho
            | UnknownReason::Status => false,
        },
    }
}

fn unsent(reason: UnknownReason) -> Call {
    Call {
        outcome: Outcome::Unknown { reason, status: None },
        sent: false,
        http_status: None,
        answer: None,
        duration_ms: 0,
    }
}

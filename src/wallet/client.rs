//! One callback from the first to the last byte. Whatever happens, the result is a [`Call`] that says what is proven and
//! whether the message may have left.

use std::error::Error;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response};
use rustls::crypto::ring;
use secrecy::ExposeSecret;
use thiserror::Error;

use super::address::{AddressRefused, check_callback_url};
use super::answer::{self, Defect, Subject};
use super::breaker::{Retries, Verdict};
use super::connections::{Connections, client, keep_alive};
use super::guard::{Guard, Guards, NoPlace, Place};
use super::outgoing::{Fate, OutgoingBody};
use super::signature::{SIGNATURE_HEADER, signature};
use super::{
    Action, AgentEndpoint, AnswerForm, Attempt, Call, CallbackUrlError, Outcome, READ_ANSWER_BYTES, UnknownReason, WalletSettings,
};
use crate::clock::Clock;
use crate::per_runtime::PerRuntime;

/// A call waits for its place for this part of its timeout at most.
const WAITS_FOR_A_PART: u32 = 3;

/// The client could not be made.
#[derive(Debug, Error)]
#[error("the HTTP client for operators cannot be set up: {0}")]
pub struct WalletClientError(#[from] reqwest::Error);

/// Speaks to all operators. Clones share connections, caps and breakers.
#[derive(Clone)]
pub struct WalletClient {
    /// Each worker has connections of its own.
    http: Arc<PerRuntime<Connections>>,
    /// Used if another one cannot be made.
    spare: Client,
    guards: Arc<Guards>,
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
    headers: HeaderMap,
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
        let rest = Duration::from_millis(settings.idle_connection_ms);
        Ok(Self {
            http: Arc::default(),
            spare: client(&settings, rest)?,
            guards: Arc::default(),
            settings,
            clock,
        })
    }

    /// Makes the HTTP clients of this runtime that are needed first, so that no debit has to wait while root certificates are read.
    pub fn prepare_here(&self) {
        self.http_here(None);
    }

    /// This runtime's own HTTP client for an operator that names this time of rest.
    fn http_here(&self, named: Option<Duration>) -> Client {
        self.http.here(Connections::default).resting(named, &self.settings, &self.spare)
    }

    fn guard(&self, agent_id: &str) -> Arc<Guard> {
        self.guards.of(agent_id, &self.settings, self.clock)
    }

    /// Sends one message once and reads the answer.
    pub async fn send(&self, agent: &AgentEndpoint, action: Action, message: &str, attempt: Attempt) -> Call {
        let started = self.clock.monotonic();
        let patience = attempt
            .send_within
            .unwrap_or(attempt.timeout / WAITS_FOR_A_PART)
            .min(attempt.timeout);
        let call = match self.free_place(agent, action, patience).await {
            Ok(place) => self.exchange_in(place, agent, action, message, attempt, started).await,
            Err(none) => unsent(none.reason()),
        };
        self.measured(call, agent, action, started)
    }

    /// Takes the place of a call before whatever would be in vain without one. A call for which there is none is measured too, so that
    /// an operator to which no bet goes is seen.
    ///
    /// # Errors
    /// When no call can be made, within `patience`.
    pub async fn place(&self, agent: &AgentEndpoint, action: Action, patience: Duration) -> Result<Place, NoPlace> {
        let started = self.clock.monotonic();
        let place = self.free_place(agent, action, patience).await;
        if let Err(none) = &place {
            self.measured(unsent(none.reason()), agent, action, started);
        }
        place
    }

    async fn free_place(&self, agent: &AgentEndpoint, action: Action, patience: Duration) -> Result<Place, NoPlace> {
        check_callback_url(&agent.callback_url, self.settings.allow_private_callbacks).map_err(|refused| match refused {
            CallbackUrlError::PrivateAddress => NoPlace::AddressRefused,
            CallbackUrlError::Scheme | CallbackUrlError::Host | CallbackUrlError::Credentials => NoPlace::NotSendable,
        })?;
        self.guard(&agent.agent_id).place(action, patience).await
    }

    /// Sends one message once, from a place that was taken for it, and reads the answer.
    pub async fn send_from(&self, place: Place, agent: &AgentEndpoint, action: Action, message: &str, attempt: Attempt) -> Call {
        let started = self.clock.monotonic();
        let call = self.exchange_in(place, agent, action, message, attempt, started).await;
        self.measured(call, agent, action, started)
    }

    /// How many of `wanted` calls that were made before may be made once more now.
    pub fn take_retries(&self, agent_id: &str, wanted: usize) -> Retries {
        self.guard(agent_id).money.take_retries(wanted)
    }

    fn measured(&self, mut call: Call, agent: &AgentEndpoint, action: Action, started: Instant) -> Call {
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

    async fn exchange_in(
        &self,
        place: Place,
        agent: &AgentEndpoint,
        action: Action,
        message: &str,
        attempt: Attempt,
        started: Instant,
    ) -> Call {
        let Place { guard, pass, _permit } = place;
        // Prepared after the wait, so that the signature's time is that of the send.
        let latest = attempt.send_within.and_then(|limit| started.checked_add(limit));
        let named = *guard.keep_alive.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(prepared) = self.prepare(agent, message, latest, named) else {
            return unsent(UnknownReason::NotSent);
        };
        if !attempt.repeat && action != Action::GetBalance {
            guard.money.note_first_send();
        }
        let call = exchange(prepared, agent, action, attempt).await;
        if call.http_status.is_some() {
            *guard.keep_alive.lock().unwrap_or_else(PoisonError::into_inner) = call.form.keep_alive;
        }
        if let Some(verdict) = verdict(&call.outcome) {
            pass.report(verdict);
        }
        self.warn_of_defects(&guard, agent, action, &call);
        call
    }

    /// Says what was wrong with an answer, once a minute for each operator, and never what stood in it.
    fn warn_of_defects(&self, guard: &Guard, agent: &AgentEndpoint, action: Action, call: &Call) {
        let Outcome::Unknown { reason, .. } = &call.outcome else { return };
        let wrong = match (reason, call.form.defect) {
            (UnknownReason::Unreadable, Some(defect)) => defect.to_string(),
            (UnknownReason::HttpStatus, _) => "its HTTP status is not 2xx".to_owned(),
            (UnknownReason::WrongEcho, _) => "it names another player or bet".to_owned(),
            _ => return,
        };
        if guard.may_warn(self.clock) {
            tracing::warn!(
                agent = agent.agent_id,
                action = action.as_str(),
                http_status = call.http_status,
                wrong,
                "an operator's answer proves nothing; `faircross agent check` says more"
            );
        }
    }

    /// Packs and signs the message; `None` when it is not one.
    fn prepare(&self, agent: &AgentEndpoint, message: &str, latest: Option<Instant>, named: Option<Duration>) -> Option<Prepared> {
        let subject = Subject::of(message).ok()?;
        let body = agent.encoding.body(agent.certificate.expose_secret(), message).ok()?;
        let fate = Fate::default();
        let mut request = self
            .http_here(named)
            .post(agent.callback_url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static(agent.encoding.content_type()))
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
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

/// Sends and reads under one deadline, then says what it proves.
async fn exchange(prepared: Prepared, agent: &AgentEndpoint, action: Action, attempt: Attempt) -> Call {
    let Prepared { request, subject, fate } = prepared;
    let mut received = Received::default();
    // Whatever is left of the request at the deadline is dropped, and its connection closed with it.
    let ended = tokio::time::timeout(attempt.timeout, receive(request, &mut received)).await;
    let sent = !fate.withdraw();
    let is_success = received.http_status.is_some_and(|status| (200..300).contains(&status));
    let mut form = received.form();
    let reason = match ended {
        // An answer to a message that did not leave (an early error page) is an answer to nothing.
        Ok(_) if !sent && received.http_status.is_some() => Some(UnknownReason::NotSent),
        _ if received.http_status.is_some() && !is_success => Some(UnknownReason::HttpStatus),
        Ok(Ok(())) => None,
        Ok(Err(Failure::Request(error))) => Some(reason_of(&error, sent, &fate)),
        Ok(Err(Failure::Body)) => Some(UnknownReason::Broken),
        Ok(Err(Failure::TooLong)) => {
            form.defect = Some(Defect::TooLong);
            Some(UnknownReason::Unreadable)
        }
        Err(_) => Some(UnknownReason::Timeout),
    };
    let plain = answer::plain(&received.body, form.content_encoding.as_deref());
    if let Ok(plain) = &plain {
        (form.was_gzip, form.had_byte_order_mark) = (plain.was_gzip, plain.had_byte_order_mark);
    }
    // The audit keeps what can be read of an answer that broke off, too.
    let body = plain.as_ref().map_or(&received.body, |plain| &plain.body);
    let kept = received.http_status.map(|_| answer::kept(body, agent.certificate.expose_secret()));
    let outcome = match (reason, &plain) {
        (Some(reason), _) => Err(reason),
        (None, Err(defect)) => {
            form.defect = Some(*defect);
            Err(UnknownReason::Unreadable)
        }
        (None, Ok(plain)) => answer::outcome(action, attempt, &subject, &plain.body).map_err(|defect| {
            form.defect = Some(defect);
            UnknownReason::Unreadable
        }),
    };
    Call {
        outcome: outcome.unwrap_or_else(|reason| Outcome::Unknown { reason, status: None }),
        sent,
        http_status: received.http_status,
        answer: kept,
        duration_ms: 0,
        form,
    }
}

impl Received {
    fn form(&self) -> AnswerForm {
        let named = |name: HeaderName| {
            let value = self.headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect())
        };
        AnswerForm {
            content_type: named(CONTENT_TYPE),
            content_encoding: named(CONTENT_ENCODING),
            keep_alive: keep_alive(&self.headers),
            ..AnswerForm::default()
        }
    }
}

async fn receive(request: reqwest::RequestBuilder, received: &mut Received) -> Result<(), Failure> {
    let mut response: Response = request.send().await.map_err(Failure::Request)?;
    received.http_status = Some(response.status().as_u16());
    received.headers = std::mem::take(response.headers_mut());
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

/// What a call says about the operator; nothing when we withheld it ourselves. A readable refusal is a working operator.
fn verdict(outcome: &Outcome) -> Option<Verdict> {
    let Outcome::Unknown { reason, .. } = outcome else {
        return Some(Verdict::Done);
    };
    match reason {
        UnknownReason::NotSent | UnknownReason::Timeout | UnknownReason::Broken | UnknownReason::HttpStatus | UnknownReason::Unreadable => {
            Some(Verdict::Failed)
        }
        UnknownReason::WrongEcho | UnknownReason::Status => Some(Verdict::Unproven),
        UnknownReason::AddressRefused | UnknownReason::Busy | UnknownReason::BreakerOpen | UnknownReason::TooLate => None,
    }
}

fn unsent(reason: UnknownReason) -> Call {
    Call {
        outcome: Outcome::Unknown { reason, status: None },
        sent: false,
        http_status: None,
        answer: None,
        duration_ms: 0,
        form: AnswerForm::default(),
    }
}

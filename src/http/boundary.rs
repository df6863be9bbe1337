//! What surrounds every request: its id, the security headers, the one place where errors become answers, the one log line
//! and the metrics. The line has the route's pattern, never the path or the query, because launch links carry tokens.

use std::time::Duration;

use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    metrics::{Answered, count_request},
    platform::Denied,
    problem::Problem,
};
use crate::{chance::Chance, clock::Clock};

/// The header that carries a request's id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken from a caller, in characters.
const LONGEST_REQUEST_ID: usize = 64;
/// What answers without a policy of their own may do in a browser: nothing.
const NOTHING_ALLOWED: &str = "default-src 'none'; frame-ancestors 'none'";
/// What the page does not need.
const NO_DEVICES: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

/// Lets a request through and sees to its answer.
pub async fn surround(
    clock: Clock,
    chance: Chance,
    draining: CancellationToken,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = clock.monotonic();
    let request_id = accepted_request_id(request.headers()).unwrap_or_else(|| chance.identifier().to_string());
    let method = request.method().clone();
    if method == Method::HEAD {
        // Whatever answers GET answers HEAD; the connection leaves the body out by itself.
        request.head_mut().method = Method::GET;
    }
    let span = tracing::info_span!("request", request_id = %request_id);
    let answer = next.call(request).instrument(span).await?.map_into_boxed_body();
    let (mut answer, code) = rendered(answer, &request_id);
    add_headers(answer.headers_mut(), &request_id);
    if draining.is_cancelled() {
        // A client that is told so sends its next request elsewhere; one whose connection is just cut may have sent it already.
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let route = answer.request().match_pattern().unwrap_or_else(|| "unmatched".to_owned());
    note(&Note {
        method: &method,
        route: &route,
        status: answer.status().as_u16(),
        code: code.as_deref(),
        duration: clock.elapsed_since(started),
        request_id: &request_id,
    });
    Ok(answer)
}

/// A caller's own id for the request, if it is harmless in headers and logs.
fn accepted_request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_sane = (1..=LONGEST_REQUEST_ID).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c));
    is_sane.then(|| text.to_owned())
}

/// Errors become problem documents here and nowhere else. Also says the code for the log.
fn rendered(answer: ServiceResponse<BoxBody>, request_id: &str) -> (ServiceResponse<BoxBody>, Option<String>) {
    let problem = match answer.response().error() {
        Some(error) => match (error.as_error::<Problem>(), error.as_error::<Denied>()) {
            (Some(problem), _) => problem.clone(),
            (None, Some(denied)) => {
                let code = denied.code().to_owned();
                return (answer, Some(code));
            }
            (None, None) => Problem::of_status(answer.status()),
        },
        None if is_bare_error(answer.response()) => Problem::of_status(answer.status()),
        None => return (answer, None),
    };
    let code = problem.code.as_str().to_owned();
    let (request, _) = answer.into_parts();
    (ServiceResponse::new(request, problem.render(request_id)), Some(code))
}

/// An error status without a document of ours, as libraries answer; health answers 503 in its own form.
fn is_bare_error(answer: &HttpResponse<BoxBody>) -> bool {
    let status = answer.status();
    let is_json = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    (status.is_client_error() || status.is_server_error()) && !is_json
}

fn add_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    // A document comes with a policy of its own, and only documents ask for a camera or lead anywhere. The launch link's address holds
    // a token, which must not travel on as a referrer.
    if headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(header::PERMISSIONS_POLICY, HeaderValue::from_static(NO_DEVICES));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    } else {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(NOTHING_ALLOWED));
    }
}

/// What is told of a request, in the log and in the metrics.
struct Note<'a> {
    method: &'a Method,
    route: &'a str,
    status: u16,
    code: Option<&'a str>,
    duration: Duration,
    request_id: &'a str,
}

fn note(note: &Note<'_>) {
    let Note {
        method,
        route,
        status,
        request_id,
        ..
    } = note;
    let code = note.code.unwrap_or("ok");
    let duration_ms = u64::try_from(note.duration.as_millis()).unwrap_or(u64::MAX);
    match *status {
        500.. => tracing::warn!(%method, route, status, code, duration_ms, request_id, "answered"),
        400.. => tracing::info!(%method, route, status, code, duration_ms, request_id, "answered"),
        // What went well is counted below; a line for each step would be most of the log and a part of the step's price.
        _ => tracing::debug!(%method, route, status, code, duration_ms, request_id, "answered"),
    }
    // Methods are whatever a stranger writes; a label takes only those that are known, so that metrics stay few.
    let method = known_method(note.method);
    let answered = Answered {
        method,
        status: note.status,
        code,
    };
    count_request(note.route, &answered, note.duration);
}

fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

//! The metrics as Prometheus reads them. Nothing in them names a player, but they name operators and tell how busy the house is:
//! they are shown to the addresses of `server.metrics_allow` and to nobody else.

use std::{cell::RefCell, collections::HashMap, sync::OnceLock, time::Duration};

use ::metrics::{Counter, Histogram};
use actix_web::{HttpRequest, HttpResponse, get, web};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use super::{address::direct_address, errors, problem::Problem};
use crate::play::{context::Context, refusal::Refusal};

/// The process's recorder; the first server of the process installs it.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
/// How often what was measured is folded together, so that memory stays bounded while nobody reads.
const UPKEEP: Duration = Duration::from_secs(5);
/// Upper bounds of the buckets for times, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Starts recording, which has to come before anything is counted: who keeps a meter keeps that of the recorder that it found. Where another
/// recorder is installed already, that one goes on and `/metrics` stays empty.
pub fn install() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS);
        let installed = builder.and_then(PrometheusBuilder::install_recorder);
        installed
            .inspect_err(|error| tracing::warn!(%error, "metrics are not recorded"))
            .ok()
    });
}

/// Keeps the recorder's memory bounded until `shutdown`.
pub async fn keep_up(shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Some(Some(recorder)) = RECORDER.get() {
            recorder.run_upkeep();
        }
    }
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered<'a> {
    pub method: &'static str,
    pub status: u16,
    pub code: &'a str,
}

/// What is counted of one kind of answer of a route.
struct Meters {
    method: &'static str,
    status: u16,
    code: String,
    requests: Counter,
    seconds: Histogram,
}

thread_local! {
    /// By route. To look a meter up by its labels costs several times as much as to count, so each worker keeps those that it
    /// has used; there are as many as kinds of answers.
    static METERS: RefCell<HashMap<String, Vec<Meters>>> = RefCell::default();
}

/// Counts an answer to a request for `route`, which is a pattern and no path.
pub fn count_request(route: &str, answered: &Answered<'_>, duration: Duration) {
    METERS.with_borrow_mut(|routes| {
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), Vec::new());
        }
        let Some(meters) = routes.get_mut(route) else { return };
        let known = meters
            .iter()
            .position(|known| (known.method, known.status, known.code.as_str()) == (answered.method, answered.status, answered.code));
        let place = known.unwrap_or_else(|| {
            meters.push(Meters::new(route, answered));
            meters.len() - 1
        });
        let Some(known) = meters.get(place) else { return };
        known.requests.increment(1);
        known.seconds.record(duration.as_secs_f64());
    });
}

impl Meters {
    fn new(route: &str, answered: &Answered<'_>) -> Self {
        let Answered { method, status, code } = *answered;
        Self {
            method,
            status,
            code: code.to_owned(),
            requests: ::metrics::counter!("faircross_http_requests_total", "method" => method, "route" => route.to_owned(),
                "status" => status.to_string(), "code" => code.to_owned()),
            seconds: ::metrics::histogram!("faircross_http_request_duration_seconds", "method" => method, "route" => route.to_owned()),
        }
    }
}

errors!(MetricsErrors, Forbidden, InternalError);

/// Everything measured, in Prometheus' text format; to addresses of `server.metrics_allow` alone.
#[utoipa::path(
    tag = "Operations", operation_id = "metrics",
    responses((status = 200, description = "Prometheus text", content_type = "text/plain", body = String), MetricsErrors)
)]
#[get("/metrics")]
pub async fn metrics(request: HttpRequest, context: web::Data<Context>) -> Result<HttpResponse, Problem> {
    let server = &context.settings.server;
    let address = direct_address(&request, &server.trusted_proxies);
    if !address.is_some_and(|address| server.metrics_allow.iter().any(|network| network.contains(&address))) {
        return Err(Problem::from(Refusal::Forbidden {
            detail: "the metrics are for addresses of server.metrics_allow".to_owned(),
        }));
    }
    let text = RECORDER
        .get()
        .and_then(Option::as_ref)
        .map(PrometheusHandle::render)
        .unwrap_or_default();
    Ok(HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(text))
}

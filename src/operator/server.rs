//! The HTTP side of the simulated wallet.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, Bytes, Data, Json, Path, Query};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Responder, rt};
use flate2::{Compression, write::GzEncoder};
use serde::{Deserialize, Serialize};

use super::amount::Amount4;
use super::answer::Reply;
use super::book::{PlayerStatus, Snapshot};
use super::calls::RecordedCall;
use super::faults::{OneOrMany, Target};
use super::message::CallbackAction;
use super::wallet::{Arrived, Wallet, locked};
use super::{Operator, OperatorError};

/// A callback is far below this.
const LARGEST_BODY_BYTES: usize = 64 * 1024;
/// So many bets are written at a time into the ledger's answer.
const BETS_PER_CHUNK: usize = 500;

/// The caller's connection, kept to be closed without an answer.
struct Connection(TcpStream);

/// Binds the port; awaiting the server serves.
pub(super) fn bind(
    address: SocketAddr,
    wallet: Wallet,
    workers: usize,
    rest: Duration,
    handle_signals: bool,
) -> Result<Operator, OperatorError> {
    let wallet = Data::new(wallet);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(wallet.clone())
            .app_data(web::PayloadConfig::new(LARGEST_BODY_BYTES))
            .route("/health", web::get().to(HttpResponse::Ok))
            .route("/ledger", web::get().to(ledger))
            .route("/calls", web::get().to(calls))
            .route("/players/{user_id}", web::put().to(put_player))
            .service(
                web::resource("/faults")
                    .route(web::get().to(faults))
                    .route(web::put().to(put_faults))
                    .route(web::delete().to(delete_faults)),
            )
            .default_service(web::to(callback))
    })
    .workers(workers.max(1))
    .keep_alive(rest)
    .shutdown_timeout(1)
    .on_connect(|connection, extensions| {
        let tcp = connection.downcast_ref::<rt::net::TcpStream>();
        if let Some(own) = tcp.and_then(|tcp| tcp.as_fd().try_clone_to_owned().ok()) {
            extensions.insert(Connection(TcpStream::from(own)));
        }
    })
    .bind(address)?;
    let address = server.addrs().first().copied().unwrap_or(address);
    let server = if handle_signals { server } else { server.disable_signals() };
    Ok(Operator {
        address,
        server: server.run(),
    })
}

async fn callback(request: HttpRequest, body: Bytes, wallet: Data<Wallet>) -> HttpResponse {
    if request.method() != Method::POST {
        return HttpResponse::MethodNotAllowed().finish();
    }
    let mut call = RecordedCall::default();
    let reply = match wallet.admit(arrived(&request, &body), &mut call).await {
        Err(reply) => reply,
        Ok(admitted) => {
            // Spawned, because a caller that hangs up must not undo what a real operator would do anyway.
            let handled = rt::spawn(Arc::clone(&wallet).handle(admitted));
            handled.await.unwrap_or(Reply::Status(500))
        }
    };
    call.answer = match &reply {
        Reply::Text(text) | Reply::Gzip(text) => Some(text.clone()),
        Reply::Status(status) => Some(format!("HTTP {status}")),
        Reply::Nothing => None,
    };
    locked(&wallet.calls).push(call);
    respond(&request, reply)
}

fn arrived<'a>(request: &'a HttpRequest, body: &'a [u8]) -> Arrived<'a> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    Arrived {
        path: request.path().to_owned(),
        headers: shown(request.headers()),
        content_type: header(CONTENT_TYPE.as_str()).unwrap_or_default(),
        signature: header("X-Signature"),
        body,
    }
}

/// The headers without what could be a secret.
fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let masked = |name: &str| matches!(name, "authorization" | "cookie" | "proxy-authorization");
    let value_of = |name: &str, value: &[u8]| {
        if masked(name) {
            "***".to_owned()
        } else {
            String::from_utf8_lossy(value).into_owned()
        }
    };
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), value_of(name.as_str(), value.as_bytes())))
        .collect()
}

fn respond(request: &HttpRequest, reply: Reply) -> HttpResponse {
    match reply {
        Reply::Text(text) => HttpResponse::Ok().content_type("application/json").body(text),
        Reply::Gzip(text) => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes()).expect("memory takes it");
            HttpResponse::Ok()
                .content_type("application/json")
                .insert_header((CONTENT_ENCODING, "gzip"))
                .body(encoder.finish().expect("memory takes it"))
        }
        Reply::Status(status) => HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)).finish(),
        Reply::Nothing => {
            if let Some(Connection(connection)) = request.conn_data::<Connection>() {
                // It fails only when the caller has closed it already, which is as good.
                let _ = connection.shutdown(Shutdown::Both);
            }
            HttpResponse::Ok().force_close().finish()
        }
    }
}

/// One consistent picture, written piece by piece.
async fn ledger(wallet: Data<Wallet>) -> HttpResponse {
    let Snapshot { players, bets, violations } = wallet.snapshot();
    let head = format!("{{\"players\":{},\"violations\":{},\"bets\":[", text(&players), text(&violations));
    let chunks = (0..bets.len()).step_by(BETS_PER_CHUNK).map(move |start| {
        let chunk = bets
            .iter()
            .skip(start)
            .take(BETS_PER_CHUNK)
            .map(|bet| text(bet.as_ref()))
            .collect::<Vec<_>>()
            .join(",");
        if start == 0 { chunk } else { format!(",{chunk}") }
    });
    let pieces = std::iter::once(head).chain(chunks).chain(std::iter::once("]}".to_owned()));
    let stream = futures::stream::iter(pieces.map(|piece| Ok::<_, Infallible>(Bytes::from(piece))));
    HttpResponse::Ok().content_type("application/json").streaming(stream)
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the ledger is JSON")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallFilter {
    action: Option<CallbackAction>,
    platform_tx_id: Option<String>,
}

async fn calls(wallet: Data<Wallet>, filter: Query<CallFilter>) -> impl Responder {
    let matching = locked(&wallet.calls).matching(filter.action, filter.platform_tx_id.as_deref());
    Json(matching)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlayerOrder {
    balance: Option<Amount4>,
    status: Option<PlayerStatus>,
}

async fn put_player(wallet: Data<Wallet>, user_id: Path<String>, order: Json<PlayerOrder>) -> HttpResponse {
    match wallet.set_player(user_id.into_inner(), order.balance, order.status).await {
        Ok(player) => HttpResponse::Ok().content_type("application/json").body(player),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

async fn faults(wallet: Data<Wallet>) -> HttpResponse {
    HttpResponse::Ok().json(&*locked(&wallet.faults))
}

async fn put_faults(wallet: Data<Wallet>, orders: Json<BTreeMap<Target, OneOrMany>>) -> HttpResponse {
    wallet.order_faults(orders.into_inner());
    faults(wallet).await
}

async fn delete_faults(wallet: Data<Wallet>) -> HttpResponse {
    locked(&wallet.faults).clear();
    HttpResponse::NoContent().finish()
}

//! The bare handlers. Each does as many calls as the product's of the same path, in the same order.

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{self, Bytes, Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use uuid::Uuid;

use crate::Failure;
use crate::stores::Stores;

/// Ends whose call to the operator is still under way.
static UNFINISHED: AtomicU64 = AtomicU64::new(0);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Move {
    line_number: i16,
    round_id: Uuid,
}

/// The product's paths, `committed-step` and two of the bench's own.
pub fn routes(configuration: &mut web::ServiceConfig) {
    configuration
        .route("/api/game/bet", web::post().to(bet))
        .route("/api/game/step", web::post().to(step))
        .route("/api/game/committed-step", web::post().to(committed_step))
        .route("/api/game/cashout", web::post().to(cash_out))
        .route("/health", web::get().to(HttpResponse::Ok))
        .route("/unfinished", web::get().to(unfinished));
}

/// Two scripts, two commits, one call.
async fn bet(request: HttpRequest, body: Bytes, stores: Data<Stores>) -> HttpResponse {
    let place = async {
        let _: serde_json::Value = serde_json::from_slice(&body)?;
        let user = user(&request);
        stores.touch(&format!("player:{user}"), -1).await?;
        let bet = Stores::new_bet();
        let message = stores.bet_message(bet, user)?;
        stores.insert(bet, user, &message).await?;
        stores.call(&message).await?;
        stores.update(bet, "PLACED").await?;
        stores.write(&format!("round:{user}"), bet).await?;
        Ok(answer(&stores, bet, -1, false))
    };
    respond(place.await)
}

/// One script.
async fn step(request: HttpRequest, body: Json<Move>, stores: Data<Stores>) -> HttpResponse {
    let walk = async {
        stores.touch(&format!("round:{}", user(&request)), body.line_number).await?;
        Ok(answer(&stores, body.round_id, body.line_number, false))
    };
    respond(walk.await)
}

/// One script and one commit.
async fn committed_step(request: HttpRequest, body: Json<Move>, stores: Data<Stores>) -> HttpResponse {
    let walk = async {
        let user = user(&request);
        stores.touch(&format!("round:{user}"), body.line_number).await?;
        let bet = Stores::new_bet();
        let message = stores.bet_message(bet, user)?;
        stores.insert(bet, user, &message).await?;
        Ok(answer(&stores, body.round_id, body.line_number, false))
    };
    respond(walk.await)
}

/// One script and one commit before the answer; one call, one commit and one script after it.
async fn cash_out(request: HttpRequest, body: Json<Move>, stores: Data<Stores>) -> HttpResponse {
    let end = async {
        let user = user(&request).to_owned();
        let (key, bet) = (format!("round:{user}"), body.round_id);
        stores.touch(&key, body.line_number).await?;
        let message = stores.settle_message(bet, &user)?;
        stores.update(bet, "PENDING_SETTLEMENT").await?;
        UNFINISHED.fetch_add(1, Ordering::SeqCst);
        let own = stores.clone();
        actix_web::rt::spawn(async move {
            let settle = async {
                own.call(&message).await?;
                own.update(bet, "WON").await?;
                own.touch(&key, -1).await
            };
            if let Err(error) = settle.await {
                eprintln!("a settle failed: {error}");
            }
            UNFINISHED.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(answer(&stores, bet, body.line_number, true))
    };
    respond(end.await)
}

async fn unfinished() -> String {
    UNFINISHED.load(Ordering::SeqCst).to_string()
}

/// The session token is the player's name here.
fn user(request: &HttpRequest) -> &str {
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    token.and_then(|token| token.strip_prefix("Bearer ")).unwrap_or_default()
}

fn answer(stores: &Stores, bet: Uuid, lane: i16, is_finished: bool) -> String {
    let rest = &stores.answer;
    format!(r#"{{"roundId":"{bet}","betId":"{bet}","lineNumber":{lane},"isFinished":{is_finished},{rest}}}"#)
}

fn respond(answer: Result<String, Failure>) -> HttpResponse {
    match answer {
        Ok(text) => HttpResponse::Ok().content_type("application/json").body(text),
        Err(error) => {
            eprintln!("{error}");
            HttpResponse::InternalServerError().body(error.to_string())
        }
    }
}

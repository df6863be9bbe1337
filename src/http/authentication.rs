//! The door in front of everything that belongs to a player. It stands before the handlers and their extractors, which run
//! side by side: behind it nothing is parsed for a stranger, and a malformed body never answers before a missing token.

use actix_web::{
    Error, FromRequest, HttpMessage, HttpRequest,
    body::{EitherBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};
use std::future::{Ready, ready};
use std::sync::Arc;

use super::{
    in_flight::InFlight,
    problem::Problem,
    tokens::{SessionTokens, Tokens},
};
use crate::play::{context::Player, refusal::Refusal, under_way};

/// Who asks, known from the session token.
pub struct Caller(pub Arc<Player>);

/// Admits a request with a good session token, unless too many of its player are under way, and leaves the player's name with
/// it. Whether the player was signed out or suspended since is asked by the flows, in the same round trip as their work.
pub async fn authenticate<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let admitted = match (request.app_data::<Tokens>(), request.app_data::<web::Data<InFlight>>()) {
        (Some(tokens), Some(in_flight)) => player_of(&request, tokens).and_then(|player| Ok((in_flight.enter(&player)?, player))),
        (None, _) | (_, None) => Err(Refusal::Unauthenticated),
    };
    match admitted {
        Ok((entered, player)) => {
            request.extensions_mut().insert(player);
            let answer = under_way::holding(Arc::new(entered), next.call(request)).await?;
            Ok(answer.map_into_left_body())
        }
        Err(refusal) => Ok(request.error_response(Problem::from(refusal)).map_into_right_body()),
    }
}

fn player_of(request: &ServiceRequest, tokens: &SessionTokens) -> Result<Arc<Player>, Refusal> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let (Some(value), None) = (headers.next(), headers.next()) else {
        return Err(Refusal::Unauthenticated);
    };
    let text = value.to_str().map_err(|_| Refusal::Unauthenticated)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::Unauthenticated)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Unauthenticated);
    }
    tokens.read(token.trim())
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let player = request.extensions_mut().remove::<Arc<Player>>();
        ready(player.map(Caller).ok_or_else(|| Refusal::Unauthenticated.into()))
    }
}

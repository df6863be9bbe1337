//! Session tokens that are not ours, or no longer good.

use faircross::game::player::{AgentId, PlayerId, UserId};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::quiet_world;
use crate::world::{Player, Witness, World, WorldOptions};

/// Every route that belongs to a player, with a body that would be taken.
fn routes(player: &Player, bet_body: &Value, bet_id: &str) -> Vec<(String, RequestBuilder)> {
    let get = |path: &str| (path.to_owned(), player.request(Method::GET, path));
    let send = |method: Method, path: &str, body: &Value| (path.to_owned(), player.request(method, path).json(body));
    vec![
        send(Method::POST, "/api/game/bet", bet_body),
        send(Method::POST, "/api/game/step", &json!({ "lineNumber": 0 })),
        send(Method::POST, "/api/game/cashout", &json!({})),
        send(Method::PUT, "/api/game/seeds", &json!({ "userSeed": "mine" })),
        get("/api/game/seeds"),
        get("/api/game/session"),
        get("/api/game/config"),
        get("/api/game/balance"),
        get("/api/game/bets"),
        get(&format!("/api/game/bets/{bet_id}")),
    ]
}

/// Asserts that this token is refused everywhere, also for an open round of its player.
async fn refused_everywhere(world: &World, player: &Player, token: &str, what: &str, code: &str) {
    let open = player.get("/api/game/session").await.ok();
    refused_on_every_route(world, player, &open, token, what, code).await;
}

async fn refused_on_every_route(world: &World, player: &Player, open: &Value, token: &str, what: &str, code: &str) {
    let witness = Witness::of(world).await;
    let (body, bet_id) = (player.bet_body("10.00", "EASY").await, open["betId"].as_str().expect("an id"));
    for (path, request) in routes(&player.with_token(token), &body, bet_id) {
        witness.refused(&format!("{path}, {what}"), request, 401, code).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_of_ours_that_is_still_good_admits() {
    let (world, _server, player) = quiet_world().await;
    player.bet("10.00", "EASY").await.ok();
    let generation = format!("select generation from players where user_id = '{}'", player.user_id);
    let claims = faircross::play::Player {
        id: PlayerId {
            agent_id: AgentId::parse("demo").expect("an id"),
            user_id: UserId::parse(&player.user_id).expect("an id"),
        },
        currency: "INR".to_owned(),
        generation: world.ask_database(&generation).await.parse().expect("a number"),
    };
    let ours = world.session_tokens(0).issue(&claims);
    assert_eq!(player.with_token(&ours).get("/api/game/session").await.status, 200);

    let expired = world.session_tokens(-120_000).issue(&claims);
    refused_everywhere(&world, &player, &expired, "expired", "token_expired").await;
    let foreign = World::new(WorldOptions::default()).await.session_tokens(0).issue(&claims);
    let (head, signature) = player.token.rsplit_once('.').expect("three parts");
    let (header, payload) = head.split_once('.').expect("two parts");
    let altered = encoded(decoded(payload).replace(&player.user_id, "somebodyelse"));
    let none = encoded(r#"{"alg":"none","typ":"JWT"}"#);
    let wrong = [
        ("a token of another key", foreign),
        ("a token without an algorithm", format!("{none}.{payload}.")),
        ("a token that says none and is signed", format!("{none}.{payload}.{signature}")),
        (
            "a token for somebody else under the old signature",
            format!("{header}.{altered}.{signature}"),
        ),
        ("a token without its signature", format!("{header}.{payload}.")),
        ("rubbish", "rubbish".to_owned()),
        ("a very long token", "x".repeat(3_000)),
    ];
    for (what, token) in wrong {
        refused_everywhere(&world, &player, &token, what, "unauthenticated").await;
    }
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bearer_token_there_is_nothing() {
    let (world, server, player) = quiet_world().await;
    let witness = Witness::of(&world).await;
    let body = player.bet_body("10.00", "EASY").await;
    for header in [
        None,
        Some("Basic ZGVtbzpkZW1v"),
        Some("Bearer"),
        Some("Bearer "),
        Some(player.token.as_str()),
    ] {
        let request = world.http.post(server.url("/api/game/bet")).json(&body);
        let request = header
            .into_iter()
            .fold(request, |request, value| request.header("Authorization", value));
        witness
            .refused(&format!("Authorization {header:?}"), request, 401, "unauthenticated")
            .await;
    }
    let in_the_query = world
        .http
        .post(server.url(&format!("/api/game/bet?token={}", player.token)))
        .json(&body);
    witness.refused("a token in the query", in_the_query, 401, "unauthenticated").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_out_token_is_worth_nothing() {
    let (world, server, player) = quiet_world().await;
    let round = player.stand_on("10.00", "EASY", 0).await;
    world.wallet_ok(&server, "logout", &[("userIds", &player.user_id)]).await;
    refused_on_every_route(&world, &player, &round, &player.token, "signed out", "unauthenticated").await;
    // The round goes on for whoever signs in again.
    let again = world.player_named(&server, "demo", "demo-cert", &player.user_id).await;
    refused_everywhere(&world, &again, &player.token, "signed out and in again", "unauthenticated").await;
    assert_eq!(again.cash_out().await.ok()["roundId"], round["roundId"]);
    world.close().await;
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 for urls, without padding, as the parts of a token are written.
pub fn encoded(text: impl AsRef<[u8]>) -> String {
    let digits = text.as_ref().chunks(3).flat_map(|chunk| {
        let bits = (0..3).fold(0_usize, |bits, place| {
            bits << 8 | usize::from(chunk.get(place).copied().unwrap_or(0))
        });
        (0..=chunk.len()).map(move |place| char::from(ALPHABET[bits >> (18 - 6 * place) & 63]))
    });
    digits.collect()
}

pub fn decoded(text: &str) -> String {
    let bytes = text.as_bytes().chunks(4).flat_map(|chunk| {
        let digit = |place: usize| ALPHABET.iter().position(|letter| chunk.get(place) == Some(letter)).unwrap_or(0);
        let bits = (0..4).fold(0, |bits, place| bits << 6 | digit(place));
        (1..chunk.len()).map(move |place| u8::try_from(bits >> (24 - 8 * place) & 255).expect("a byte"))
    });
    String::from_utf8(bytes.collect()).expect("JSON")
}

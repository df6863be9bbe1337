//! What holds of every answer, whatever is asked: tried on the application itself, without a socket and without any store.

use actix_web::body::to_bytes;
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web;
use faircross::chance::Chance;
use faircross::clock::Clock;
use faircross::game::player::{AgentId, PlayerId, UserId};
use faircross::http::in_flight::InFlight;
use faircross::http::openapi::Reference;
use faircross::http::server::{Parts, application};
use faircross::http::tokens::SessionTokens;
use faircross::play::Player;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const KEY: [u8; 32] = [7; 32];

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

fn tokens(offset_ms: i64) -> SessionTokens {
    SessionTokens::new(&KEY, 60, Clock::with_offset_ms(offset_ms))
}

async fn ask(request: TestRequest) -> Answer {
    let parts = Parts {
        tokens: web::Data::new(tokens(0)),
        in_flight: web::Data::new(InFlight::new(8)),
        reference: web::Data::new(Reference::generate()),
        clock: Clock::default(),
        chance: Chance,
        draining: CancellationToken::new(),
    };
    let application = init_service(application(&parts)).await;
    let answer = call_service(&application, request.to_request()).await;
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        body: to_bytes(answer.into_body()).await.expect("a body in memory").to_vec(),
    }
}

fn bearer(offset_ms: i64) -> (&'static str, String) {
    let player = Player {
        id: PlayerId {
            agent_id: AgentId::parse("agent456").expect("an agent's id"),
            user_id: UserId::parse("user123").expect("a user's id"),
        },
        currency: "INR".to_owned(),
        generation: 1,
    };
    ("authorization", format!("Bearer {}", tokens(offset_ms).issue(&player)))
}

#[actix_web::test]
async fn an_unknown_path_is_a_problem_with_the_request_id() {
    let answer = ask(TestRequest::get().uri("/nowhere").insert_header(("x-request-id", "mine-1"))).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("x-request-id"), "mine-1");
    assert_eq!(answer.json()["code"], "not_found");
    assert_eq!(answer.json()["requestId"], "mine-1");
}

#[actix_web::test]
async fn an_unsafe_request_id_is_replaced() {
    for unsafe_id in ["", "a b", "<script>", &"x".repeat(65)] {
        let answer = ask(TestRequest::get().uri("/nowhere").insert_header(("x-request-id", unsafe_id))).await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{unsafe_id}");
    }
}

#[actix_web::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let answer = ask(TestRequest::post().uri("/health/live")).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
    assert_eq!(answer.json()["code"], "method_not_allowed");
    let answer = ask(TestRequest::delete().uri("/api/game/seeds").insert_header(bearer(0))).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, PUT, HEAD"));
    let answer = ask(TestRequest::get().uri("/wallet/login")).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
}

#[actix_web::test]
async fn head_is_answered_where_get_is() {
    let head = TestRequest::default().method(actix_web::http::Method::HEAD).uri("/page/index.html");
    assert_eq!(ask(head.uri("/")).await.status, 200);
}

#[actix_web::test]
async fn every_answer_is_hardened() {
    for path in ["/", "/nowhere", "/api/openapi.json", "/api/docs/", "/api/game/session", "/metrics"] {
        let answer = ask(TestRequest::get().uri(path)).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        let is_document = ["/", "/api/docs/"].contains(&path);
        assert_eq!(answer.header("permissions-policy").contains("camera=()"), is_document, "{path}");
        assert_eq!(answer.header("referrer-policy") == "no-referrer", is_document, "{path}");
        assert!(!answer.header("cache-control").is_empty(), "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
    }
}

#[actix_web::test]
async fn a_stranger_is_turned_away_before_the_body_is_read() {
    for (kind, body) in [
        ("application/json", "{"),
        ("text/plain", "x"),
        ("application/json", &*" ".repeat(20_000)),
        ("application/json", "{}"),
    ] {
        for path in ["/api/game/bet", "/api/game/step", "/api/game/cashout", "/api/game/unknown"] {
            let answer = ask(TestRequest::post()
                .uri(path)
                .insert_header(("content-type", kind))
                .set_payload(body.to_owned()))
            .await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (401, Some("unauthenticated")),
                "{path}"
            );
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
}

#[actix_web::test]
async fn only_one_good_bearer_token_admits() {
    let step = |headers: Vec<(&'static str, String)>| {
        let start = TestRequest::post()
            .uri("/api/game/step")
            .insert_header(("content-type", "application/json"))
            .set_payload("[]");
        ask(headers.into_iter().fold(start, |request, header| request.append_header(header)))
    };
    let (_, good) = bearer(0);
    assert_eq!(step(vec![bearer(0)]).await.status, 400);
    assert_eq!(
        step(vec![("authorization", good.replacen("Bearer", "bearer", 1))]).await.status,
        400
    );
    let expired = step(vec![bearer(-61_000)]).await;
    assert_eq!((expired.status, expired.json()["code"].as_str()), (401, Some("token_expired")));
    for wrong in [
        vec![bearer(0), bearer(0)],
        vec![("authorization", good.replacen("Bearer", "Basic", 1))],
        vec![("authorization", good.replacen("Bearer ", "", 1))],
        vec![("authorization", "Bearer".to_owned())],
        vec![("authorization", "Bearer a.b.c".to_owned())],
    ] {
        let answer = step(wrong).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("unauthenticated")));
    }
}

#[actix_web::test]
async fn a_malformed_body_is_refused_by_the_field() {
    let post = |path: &str, body: String| {
        ask(TestRequest::post()
            .uri(path)
            .insert_header(bearer(0))
            .insert_header(("content-type", "application/json"))
            .set_payload(body))
    };
    let bet = |amount: &str, epoch: &str| format!(r#"{{"betAmount":{amount},"difficulty":"EASY","currency":"INR","hazardEpoch":{epoch}}}"#);
    for (path, body, field) in [
        ("/api/game/bet", bet("10.00", "1"), "betAmount"),
        ("/api/game/bet", bet("\"10.00\"", "\"1\""), "hazardEpoch"),
        ("/api/game/bet", bet("\"10.00\"", "-1"), "hazardEpoch"),
        ("/api/game/step", r#"{"lineNumber":-1}"#.to_owned(), "lineNumber"),
        ("/api/game/step", r#"{"lineNumber":1.5}"#.to_owned(), "lineNumber"),
        ("/api/game/step", r#"{"lineNumber":1e99}"#.to_owned(), "lineNumber"),
        ("/api/game/step", "{}".to_owned(), "lineNumber"),
        ("/api/game/step", r#"{"lineNumber":1,"roundId":7}"#.to_owned(), "roundId"),
        ("/api/game/cashout", r#"{"lineNumber":64}"#.to_owned(), "lineNumber"),
    ] {
        let answer = post(path, body).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (400, Some("validation_failed")),
            "{path} {field}"
        );
        assert!(
            answer.json()["detail"].as_str().expect("a detail").contains(field),
            "{}",
            answer.text()
        );
    }
    let answer = post("/api/game/bet", " ".repeat(16 * 1024 + 1)).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("payload_too_large")));
    let answer = ask(TestRequest::post()
        .uri("/api/auth")
        .insert_header(("content-type", "text/plain"))
        .set_payload("{}"))
    .await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (415, Some("unsupported_media_type"))
    );
}

#[actix_web::test]
async fn page_files_are_kept_by_their_tag() {
    let first = ask(TestRequest::get().uri("/")).await;
    assert_eq!((first.status, first.header("content-type")), (200, "text/html; charset=utf-8"));
    let tag = first.headers.get("etag").cloned().expect("a tag");
    let again = ask(TestRequest::get().uri("/").insert_header(("if-none-match", tag))).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let other = ask(TestRequest::get()
        .uri("/")
        .insert_header(("if-none-match", HeaderValue::from_static("\"other\""))))
    .await;
    assert_eq!(other.status, 200);
    assert_eq!(ask(TestRequest::get().uri("/verify")).await.status, 200);
}

#[actix_web::test]
async fn no_path_leads_out_of_the_page() {
    for path in [
        "/page/..%2Fmod.rs",
        "/page/../mod.rs",
        "/page/%2e%2e/mod.rs",
        "/page/%2Fetc%2Fpasswd",
        "/page/..",
        "/page/.",
        "/page/",
        "/page/nothing.js",
        "/page/index.html%00",
    ] {
        let answer = ask(TestRequest::get().uri(path)).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.text().contains("//!"), "{path}");
    }
}

#[actix_web::test]
async fn the_document_describes_every_endpoint() {
    let document = ask(TestRequest::get().uri("/api/openapi.json")).await.json();
    assert!(document["openapi"].as_str().expect("a version").starts_with("3.1"));
    for (path, methods) in [
        ("/api/auth", "post"),
        ("/api/game/config", "get"),
        ("/api/game/balance", "get"),
        ("/api/game/bet", "post"),
        ("/api/game/step", "post"),
        ("/api/game/cashout", "post"),
        ("/api/game/session", "get"),
        ("/api/game/seeds", "get put"),
        ("/api/game/bets", "get"),
        ("/api/game/bets/{id}", "get"),
        ("/api/online-counter/v1/data", "get"),
        ("/api/hazards/{difficulty}", "get"),
        ("/api/hazards/chain/{date}", "get"),
        ("/api/fairness/config/{version}", "get"),
        ("/api/fairness/verify", "post"),
        ("/health", "get"),
        ("/health/live", "get"),
        ("/health/ready", "get"),
        ("/metrics", "get"),
        ("/wallet/createMember", "post"),
        ("/wallet/login", "post"),
        ("/wallet/doLoginAndLaunchGame", "post"),
        ("/wallet/logout", "post"),
        ("/wallet/updateBetLimit", "post"),
        ("/wallet/queryBetLimit", "post"),
        ("/wallet/updatePlayerStatus", "post"),
        ("/wallet/getTransactionStatus", "post"),
        ("/wallet/checkStatus", "post"),
    ] {
        let item = &document["paths"][path];
        for method in methods.split(' ') {
            let operation = &item[method];
            assert!(operation["responses"]["200"].is_object(), "{method} {path}");
            let is_players = path.starts_with("/api/game/");
            assert_eq!(
                operation["responses"]["401"].is_object(),
                is_players || path == "/api/auth",
                "{method} {path}"
            );
            assert_eq!(operation["security"].is_array(), is_players, "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn the_document_is_whole() {
    let document = ask(TestRequest::get().uri("/api/openapi.json")).await.json();
    assert_eq!(
        document["components"]["schemas"]["Claim"]["additionalProperties"], false,
        "unknown fields are refused"
    );
    for field in ["nonce", "hazardEpoch"] {
        let described = document["components"]["schemas"]["Claim"]["properties"][field].to_string();
        assert!(described.contains("IntegerOrText"), "{field}: {described}");
    }
    let forms = &document["components"]["schemas"]["IntegerOrText"]["oneOf"];
    assert_eq!(
        (&forms[0]["type"], &forms[1]["type"]),
        (&"integer".into(), &"string".into()),
        "a number, or its decimal text: {forms}"
    );
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.iter().any(|reference| reference == "#/components/schemas/Problem"));
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let operations = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|item| item.as_object().expect("methods").values());
    let mut names: Vec<&str> = operations
        .map(|operation| operation["operationId"].as_str().expect("a name"))
        .collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two operations share a name");
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            references.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| collect_references(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_references(value, references)),
        _ => {}
    }
}

#[actix_web::test]
async fn the_document_can_be_read_without_the_outside() {
    let page = ask(TestRequest::get().uri("/api/docs/")).await;
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("src=\"http") && !page.text().contains("href=\"http"));
    assert_eq!(ask(TestRequest::get().uri("/api/docs")).await.header("location"), "/api/docs/");
    let missing = ask(TestRequest::get().uri("/api/docs/nothing")).await;
    assert_eq!((missing.status, missing.json()["code"].as_str()), (404, Some("not_found")));
}

//! Bodies that are too large, of another type, or not what they say.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{bet, quiet_world};
use crate::world::{Server, Witness};

/// Where bodies go, each with what has to be known to be let in.
const BODIES: [(Method, &str); 5] = [
    (Method::POST, "/api/game/bet"),
    (Method::POST, "/api/game/step"),
    (Method::POST, "/api/game/cashout"),
    (Method::PUT, "/api/game/seeds"),
    (Method::POST, "/api/auth"),
];

const SEVENTEEN_KIB: usize = 17 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_a_json_object_of_a_decent_size() {
    let (world, server, player) = quiet_world().await;
    let witness = Witness::of(&world).await;
    let large = format!(r#"{{"lineNumber":0,"x":"{}"}}"#, "x".repeat(SEVENTEEN_KIB));
    let mut bet = player.bet_body("10.00", "EASY").await;
    bet["currency"] = "I".repeat(990_000).into();
    witness
        .refused(
            "a currency of 990 kB",
            player.request(Method::POST, "/api/game/bet").json(&bet),
            413,
            "payload_too_large",
        )
        .await;
    for (method, path) in BODIES {
        let send = |kind: Option<&str>, body: &str| {
            let request = player.request(method.clone(), path).body(body.to_owned());
            kind.into_iter().fold(request, |request, kind| request.header("Content-Type", kind))
        };
        let json = Some("application/json");
        witness
            .refused(&format!("{path}: 17 KiB"), send(json, &large), 413, "payload_too_large")
            .await;
        for kind in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/jsonx"),
            Some("rubbish"),
        ] {
            witness
                .refused(&format!("{path} as {kind:?}"), send(kind, "{}"), 415, "unsupported_media_type")
                .await;
        }
        let packed = send(json, "{}").header("Content-Encoding", "gzip");
        witness
            .refused(&format!("{path} packed"), packed, 415, "unsupported_media_type")
            .await;
        for body in [
            "",
            "null",
            "[]",
            "[0]",
            "\"{}\"",
            "{",
            "{}{}",
            "{}x",
            "{\"lineNumber\":}",
            "{\"a\":1,}",
            "\u{feff}{}",
        ] {
            let what = format!("{path}: {}", body.chars().take(20).collect::<String>());
            witness.refused(&what, send(json, body), 400, "validation_failed").await;
        }
        let not_utf8 = player
            .request(method.clone(), path)
            .header("Content-Type", "application/json")
            .body(b"{\"roundId\":\"\xff\"}".to_vec());
        witness
            .refused(&format!("{path}: not UTF-8"), not_utf8, 400, "validation_failed")
            .await;
    }
    // What is not UTF-8 hides nothing, also where it is ignored.
    let token = "a".repeat(64);
    let hidden = format!(
        r#"{{"x":"?","auth_token":"{token}","operator":"demo","currency":"I{}"}}"#,
        r"\u0000"
    );
    let hidden = hidden.into_bytes().into_iter().map(|byte| if byte == b'?' { 0xff } else { byte });
    let request = player.request(Method::POST, "/api/auth").header("Content-Type", "application/json");
    witness
        .refused(
            "U+0000 beside what is not UTF-8",
            request.body(hidden.collect::<Vec<u8>>()),
            400,
            "validation_failed",
        )
        .await;
    for path in ["checkStatus", "createMember", "login", "logout", "getTransactionStatus"] {
        let large = "x".repeat(SEVENTEEN_KIB);
        let request = world.wallet_request(&server, path, &[("userId", &large)]);
        witness
            .refused(&format!("/wallet/{path}: 17 KiB"), request, 413, "payload_too_large")
            .await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_ignored() {
    let (world, _server, player) = quiet_world().await;
    let mut body = player.bet_body("10.00", "EASY").await;
    body["payout"] = json!("1000000.00");
    body["lineNumber"] = json!(29);
    let round = player.send(bet(&player, &body)).await.ok();
    assert_eq!((&round["lineNumber"], &round["winAmount"]), (&json!(-1), &json!("0.00")));
    // As deep as a body can be: whoever reads it by recursion ends with the process.
    let deep = format!(r#"{{"lineNumber":0,"x":{}{}}}"#, "[".repeat(8_000), "]".repeat(8_000));
    let request = player
        .request(Method::POST, "/api/game/step")
        .header("Content-Type", "application/json");
    let round = player.send(request.body(deep)).await.ok();
    if round["isFinished"] == false {
        player.cash_out().await.ok();
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_unknown_length_is_measured_on_the_way() {
    let (world, server, player) = quiet_world().await;
    let witness = Witness::of(&world).await;
    let head = format!(
        "POST /api/game/step HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        player.token
    );
    let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
    let endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(17));
    let answer = raw(&server, &endless).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"payload_too_large\""),
        "{answer}"
    );
    let announced = format!("{head}Content-Length: 999999999\r\n\r\n{{");
    let answer = raw(&server, &announced).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"payload_too_large\""),
        "{answer}"
    );
    witness.nothing_changed("an endless body").await;
    world.close().await;
}

/// Sends bytes as they are and reads until the whole problem document has come.
async fn raw(server: &Server, bytes: &str) -> String {
    let address = server.url("");
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.expect("connected");
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with('}') {
        let length = stream.read(&mut buffer).await.expect("answered");
        assert!(length > 0, "closed before an answer: {answer}");
        answer.push_str(std::str::from_utf8(&buffer[..length]).expect("UTF-8"));
    }
    answer
}

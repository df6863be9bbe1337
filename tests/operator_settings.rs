//! What an operator is set up with: its certificate, its currencies, its players' devices; and what its calls may contain.

use serde_json::{Value, json};

use crate::world::{Player, World, WorldOptions, launch_token};

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_operator_is_answered_like_one_from_elsewhere() {
    let (world, server) = World::with_server().await;
    let distant = [
        "--agent-id",
        "distant",
        "--cert",
        "distant-cert",
        "--allow-ip",
        "192.0.2.7",
        "--currency",
        "INR",
    ];
    let callback = ["--callback-url", "http://127.0.0.1:9/"];
    let (status, text) = world.command(&[&["agent", "add"], &distant[..], &callback[..]].concat()).await;
    assert_eq!(status, 0, "{text}");
    for certificate in ["distant-cert", "wrong"] {
        let unlisted = crate::world::wallet(&world.http, &server, "checkStatus", "distant", certificate, &[]).await;
        let unknown = crate::world::wallet(&world.http, &server, "checkStatus", "nobody", certificate, &[]).await;
        let none = crate::world::wallet(&world.http, &server, "checkStatus", "de-mo", certificate, &[]).await;
        assert_eq!((&unlisted, &unlisted), (&unknown, &none));
        assert_eq!(unlisted["status"], "1029");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_each_name_once_and_no_character_that_cannot_be_stored() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    let nul = ["\\", "u0000"].concat();
    let wallet = async |path: &str, content_type: &str, body: String| {
        let request = world.http.post(server.url(&format!("/wallet/{path}")));
        let answer = request
            .header("Content-Type", content_type)
            .body(body)
            .send()
            .await
            .expect("answered");
        answer.json::<Value>().await.expect("JSON")["status"].clone()
    };
    let signed = r#""cert":"demo-cert","agentId":"demo""#;
    for (path, fields) in [
        ("checkStatus", r#""agentId":"demo""#.to_owned()),
        ("createMember", r#""userId":"twice","userId":"twice","currency":"INR""#.to_owned()),
        ("createMember", format!(r#""userId":"nul","currency":"IN{nul}R""#)),
        ("createMember", format!(r#""userId":"nul","currency":"INR","userName":"a{nul}""#)),
        (
            "createMember",
            r#""userId":"twice","currency":"INR","betLimit":{"maxbet":5,"maxbet":50}"#.to_owned(),
        ),
        ("login", format!(r#""userId":"{}","language":"e{nul}""#, player.user_id)),
        ("getTransactionStatus", format!(r#""platformTxId":"{nul}""#)),
        ("checkStatus", format!(r#""other":"{nul}""#)),
    ] {
        let body = format!("{{{signed},{fields}}}");
        assert_eq!(wallet(path, "application/json", body.clone()).await, "1036", "{path}: {body}");
    }
    let form = "cert=demo-cert&agentId=demo&userId=nul&currency=IN%00R".to_owned();
    assert_eq!(wallet("createMember", "application/x-www-form-urlencoded", form).await, "1036");

    let (token, seed) = ("a".repeat(64), "0".repeat(64));
    for (path, field, body) in [
        (
            "/api/auth",
            "currency",
            format!(r#"{{"auth_token":"{token}","operator":"demo","currency":"IN{nul}R"}}"#),
        ),
        (
            "/api/auth",
            "auth_token",
            format!(r#"{{"auth_token":"{nul}","operator":"demo","currency":"INR"}}"#),
        ),
        (
            "/api/game/bet",
            "hashedServerSeed",
            format!(r#"{{"betAmount":"10.00","hashedServerSeed":"{nul}"}}"#),
        ),
        ("/api/game/step", "roundId", format!(r#"{{"lineNumber":0,"roundId":"{nul}"}}"#)),
        ("/api/game/cashout", "roundId", format!(r#"{{"roundId":"{nul}"}}"#)),
        (
            "/api/fairness/verify",
            "currency",
            format!(r#"{{"serverSeed":"{seed}","currency":"{nul}"}}"#),
        ),
    ] {
        let request = player
            .request(reqwest::Method::POST, path)
            .header("Content-Type", "application/json")
            .body(body);
        let refused = player.send(request).await;
        refused.refused(400, "validation_failed");
        assert!(
            refused.body["detail"].as_str().expect("text").starts_with(field),
            "{path}: {}",
            refused.body
        );
    }
    assert!(!server.log().contains("ERROR"), "{}", server.log());
    world.close().await;
}

async fn sign_in(world: &World, server: &crate::world::Server, agent_id: &str, certificate: &str) -> Player {
    world.player_named(server, agent_id, certificate, "ana").await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_one_device_a_sign_in_ends_the_sessions_before() {
    let world = World::new(WorldOptions::default()).await;
    world
        .add_agent("single", "single-cert", &world.operator.url(), &["--devices", "one"])
        .await;
    world
        .add_agent("other", "other-cert", &world.operator.url(), &["--devices", "many"])
        .await;
    let server = world.start_server().await;
    let second = world.start_server().await;
    let first_device = sign_in(&world, &server, "single", "single-cert").await;
    first_device.get("/api/game/config").await.ok();
    let second_device = sign_in(&world, &second, "single", "single-cert").await;
    second_device.get("/api/game/seeds").await.ok();
    for at in [&server, &second] {
        first_device.at(at).get("/api/game/seeds").await.refused(401, "unauthenticated");
        second_device.at(at).get("/api/game/seeds").await.ok();
    }
    // A link that nobody has opened yet still opens the game.
    let launched = crate::world::wallet(&world.http, &server, "login", "single", "single-cert", &[("userId", "ana")]).await;
    let body = json!({ "auth_token": launch_token(&launched), "operator": "single", "currency": "INR" });
    assert_eq!(
        world
            .http
            .post(server.url("/api/auth"))
            .json(&body)
            .send()
            .await
            .expect("answered")
            .status(),
        200
    );
    second_device.get("/api/game/seeds").await.refused(401, "unauthenticated");

    let first_device = sign_in(&world, &server, "other", "other-cert").await;
    sign_in(&world, &second, "other", "other-cert").await;
    first_device.get("/api/game/seeds").await.ok();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_everybody_knows_or_anybody_reads_on_the_way_is_not_taken() {
    let world = World::new(WorldOptions::default()).await;
    let add = async |certificate: &str, more: &[&str]| {
        let callback = world.operator.url();
        let fixed = [
            "agent",
            "add",
            "--agent-id",
            "new",
            "--cert",
            certificate,
            "--callback-url",
            &callback,
        ];
        let (status, text) = world
            .command(&[&fixed[..], &["--allow-ip", "127.0.0.1", "--currency", "INR"], more].concat())
            .await;
        (status, text)
    };
    for published in ["demo-cert", "load-cert"] {
        let (status, text) = add(published, &[]).await;
        assert!(status == 1 && text.contains("--cert"), "{published}: {text}");
    }
    for wrong in [
        "http://play.example/",
        "ftp://play.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
    ] {
        let (status, text) = add("new-cert", &["--frontend-url", wrong]).await;
        assert!(status == 1 && text.contains("--frontend-url"), "{wrong}: {text}");
    }
    for right in [
        "https://play.example/game",
        "http://127.0.0.1:8080",
        "http://localhost/",
        "http://[::1]:9/",
    ] {
        let (status, text) = add("new-cert", &["--frontend-url", right]).await;
        assert_eq!(status, 0, "{right}: {text}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_currency_that_the_configuration_lost_is_named_and_opens_nothing() {
    let world = World::new(WorldOptions::default()).await;
    let before = world.start_server().await;
    let player = world.player(&before).await;
    let mut connection = world.connection().await;
    for change in ["update agents set currencies = '{INR,XTS}'", "update players set currency = 'XTS'"] {
        sqlx::query(change).execute(&mut connection).await.expect("a change");
    }
    let server = world.start_server().await;
    let launched = world.wallet(&server, "login", &[("userId", &player.user_id)]).await;
    assert_eq!(
        (&launched["status"], &launched["url"]),
        (&json!("1004"), &Value::Null),
        "{launched}"
    );
    assert_eq!(
        world.ask_database("select count(*) from launch_tokens where used_at is null").await,
        "0"
    );
    assert!(server.log().contains("XTS") && server.log().contains("demo"), "{}", server.log());
    let (_, report) = world.command(&["doctor"]).await;
    assert!(report.contains("agent demo currencies") && report.contains("XTS"), "{report}");
    sqlx::query("update players set currency = 'INR'")
        .execute(&mut connection)
        .await
        .expect("a change");
    world.close().await;
}

//! Operators who are not who they say, and requests of theirs that say nothing.

use reqwest::RequestBuilder;

use super::quiet_world;
use crate::world::{Server, Witness, World, WorldOptions};

/// The endpoints that change or tell something, with fields that would be taken.
const ENDPOINTS: [(&str, &[(&str, &str)]); 9] = [
    ("createMember", &[("userId", "newcomer"), ("currency", "INR")]),
    ("login", &[("userId", "player0")]),
    (
        "doLoginAndLaunchGame",
        &[
            ("userId", "player0"),
            ("platform", "In-out"),
            ("gameType", "CRASH"),
            ("gameCode", "chicken-road-two"),
        ],
    ),
    ("logout", &[("userIds", "player0")]),
    ("updateBetLimit", &[("userId", "player0"), ("betLimit", "1")]),
    ("queryBetLimit", &[("userId", "player0")]),
    ("updatePlayerStatus", &[("userId", "player0"), ("status", "lock")]),
    ("getTransactionStatus", &[("platformTxId", "00000000-0000-0000-0000-000000000000")]),
    ("checkStatus", &[]),
];

/// An endpoint, fields for it and the status that they are answered with.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str);

fn request(world: &World, server: &Server, path: &str, agent_id: &str, certificate: &str, fields: &[(&str, &str)]) -> RequestBuilder {
    let mut form = vec![("cert", certificate), ("agentId", agent_id)];
    form.extend(fields);
    world.http.post(server.url(&format!("/wallet/{path}"))).form(&form)
}

/// Adds an agent that may only call from elsewhere.
pub async fn add_distant_agent(world: &World) {
    let url = world.operator.url();
    let arguments = [
        "agent",
        "add",
        "--agent-id",
        "distant",
        "--cert",
        "distant-cert",
        "--callback-url",
        &url,
    ];
    let arguments = [&arguments[..], &["--allow-ip", "192.0.2.7", "--currency", "INR"]].concat();
    let (status, text) = world.command(&arguments).await;
    assert_eq!(status, 0, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_the_agent_and_the_address_must_be_right() {
    let (world, server, player) = quiet_world().await;
    assert_eq!(player.user_id, "player0");
    world.add_agent("other", "other-cert", &world.operator.url(), &[]).await;
    add_distant_agent(&world).await;
    let witness = Witness::of(&world).await;
    for (path, fields) in ENDPOINTS {
        let cases = [
            ("a wrong certificate", "demo", "demo-cerT", "1027"),
            ("another agent's certificate", "demo", "other-cert", "1027"),
            ("an empty certificate", "demo", "", "1056"),
            // Whoever is elsewhere does not learn which operators there are.
            ("an unknown agent", "nobody", "demo-cert", "1029"),
            ("no agent's id", "de-mo", "demo-cert", "1029"),
            ("an empty agent's id", "", "demo-cert", "1056"),
            ("an address that is not on the list", "distant", "distant-cert", "1029"),
            ("a wrong certificate from elsewhere", "distant", "wrong", "1029"),
        ];
        for (what, agent_id, certificate, status) in cases {
            let what = format!("{path} with {what}");
            witness
                .denied(&what, request(&world, &server, path, agent_id, certificate, fields), status)
                .await;
        }
        for header in ["X-Forwarded-For", "X-Real-IP", "Forwarded"] {
            let request = request(&world, &server, path, "distant", "distant-cert", fields).header(header, "192.0.2.7");
            witness.denied(&format!("{path} with {header}"), request, "1029").await;
        }
        let nothing = world.http.post(server.url(&format!("/wallet/{path}"))).form(&[("agentId", "demo")]);
        witness.denied(&format!("{path} without a certificate"), nothing, "1036").await;
        let packed = request(&world, &server, path, "demo", "demo-cert", fields).header("Content-Encoding", "gzip");
        witness.denied(&format!("{path} packed"), packed, "1036").await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_address_counts_from_a_trusted_proxy_alone() {
    let options = WorldOptions::default().with("FAIRCROSS__SERVER__TRUSTED_PROXIES", "127.0.0.1");
    let world = World::new(options.with("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", 60_000)).await;
    add_distant_agent(&world).await;
    let server = world.start_server().await;
    let witness = Witness::of(&world).await;
    let check =
        |forwarded: &str| request(&world, &server, "checkStatus", "distant", "distant-cert", &[]).header("X-Forwarded-For", forwarded);
    for wrong in ["192.0.2.8", "192.0.2.7, 192.0.2.8", "rubbish", "192.0.2.7, rubbish", ""] {
        witness.denied(&format!("X-Forwarded-For: {wrong}"), check(wrong), "1029").await;
    }
    for right in ["192.0.2.7", "203.0.113.9, 192.0.2.7", "::ffff:192.0.2.7"] {
        let answer: serde_json::Value = check(right).send().await.expect("answered").json().await.expect("JSON");
        assert_eq!(answer["status"], "0000", "{right}");
    }
    witness.nothing_changed("a check").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_an_operators_request_is_checked() {
    let (world, server, _player) = quiet_world().await;
    let witness = Witness::of(&world).await;
    let launch = [("platform", "In-out"), ("gameType", "CRASH"), ("gameCode", "chicken-road-two")];
    let launch_with = |name: &'static str, value: &'static str| {
        let known = launch.into_iter().filter(move |(known, _)| *known != name);
        known.chain([("userId", "player0"), (name, value)]).collect::<Vec<_>>()
    };
    let cases: Vec<Case> = vec![
        ("createMember", vec![("currency", "INR")], "1036"),
        ("createMember", vec![("userId", ""), ("currency", "INR")], "1056"),
        ("createMember", vec![("userId", "Not-One"), ("currency", "INR")], "1000"),
        (
            "createMember",
            vec![("userId", "a123456789012345678901"), ("currency", "INR")],
            "1000",
        ),
        ("createMember", vec![("userId", "newcomer")], "1036"),
        ("createMember", vec![("userId", "newcomer"), ("currency", "USD")], "1004"),
        ("createMember", vec![("userId", "newcomer"), ("currency", "inr")], "1004"),
        (
            "createMember",
            vec![("userId", "newcomer"), ("currency", "INR"), ("betLimit", "many")],
            "1036",
        ),
        (
            "createMember",
            vec![("userId", "newcomer"), ("currency", "INR"), ("betLimit", "-1")],
            "1036",
        ),
        (
            "createMember",
            vec![("userId", "newcomer"), ("currency", "INR"), ("language", "<script>")],
            "1036",
        ),
        (
            "createMember",
            vec![("userId", "newcomer"), ("currency", "INR"), ("userName", "a\u{0}b")],
            "1036",
        ),
        ("createMember", vec![("userId", "player0"), ("currency", "INR")], "1001"),
        ("login", vec![], "1036"),
        ("login", vec![("userId", "nobody")], "1002"),
        ("login", vec![("userId", "player0"), ("platform", "Elsewhere")], "1036"),
        ("login", vec![("userId", "player0"), ("language", "'; drop table bets")], "1036"),
        ("doLoginAndLaunchGame", vec![("userId", "player0")], "1036"),
        ("doLoginAndLaunchGame", launch_with("gameCode", "roulette"), "1036"),
        ("doLoginAndLaunchGame", launch_with("gameType", "SLOT"), "1036"),
        ("doLoginAndLaunchGame", launch_with("platform", "-"), "1056"),
        ("logout", vec![], "1036"),
        ("logout", vec![("userIds", "")], "1056"),
        ("logout", vec![("userIds", "player0,Not One")], "1000"),
        ("updateBetLimit", vec![("userId", "player0")], "1036"),
        ("updateBetLimit", vec![("userId", "nobody"), ("betLimit", "10")], "1002"),
        ("updateBetLimit", vec![("userId", "player0"), ("betLimit", "0")], "1036"),
        ("updateBetLimit", vec![("userId", "player0"), ("betLimit", "1e3")], "1036"),
        ("updateBetLimit", vec![("userId", "player0"), ("betLimit", "NaN")], "1036"),
        ("updateBetLimit", vec![("userId", "player0"), ("betLimit", "\u{ff11}")], "1036"),
        ("updateBetLimit", vec![("userId", "player0"), ("betLimit", "{\"maxbet\":")], "1036"),
        ("queryBetLimit", vec![("userId", "nobody")], "1002"),
        ("queryBetLimit", vec![("userId", "UPPER")], "1000"),
        ("updatePlayerStatus", vec![("userId", "player0")], "1036"),
        ("updatePlayerStatus", vec![("userId", "player0"), ("status", "suspended")], "1036"),
        ("updatePlayerStatus", vec![("userId", "nobody"), ("status", "lock")], "1002"),
        ("getTransactionStatus", vec![], "1036"),
        ("getTransactionStatus", vec![("platformTxId", "")], "1056"),
        ("getTransactionStatus", vec![("platformTxId", "not a bet")], "1036"),
        (
            "getTransactionStatus",
            vec![("platformTxId", "00000000-0000-0000-0000-000000000000")],
            "1036",
        ),
    ];
    for (path, fields, status) in cases {
        witness
            .denied(&format!("{path} {fields:?}"), world.wallet_request(&server, path, &fields), status)
            .await;
    }
    let url = |path: &str| server.url(&format!("/wallet/{path}"));
    let json = |body: &'static str| {
        world
            .http
            .post(url("checkStatus"))
            .header("Content-Type", "application/json")
            .body(body)
    };
    for body in ["", "[]", "null", "{", r#"{"cert":"demo-cert"}{}"#, r#"["demo-cert","demo"]"#] {
        witness.denied(&format!("the body {body}"), json(body), "1036").await;
    }
    let twice = world
        .http
        .post(url("checkStatus"))
        .form(&[("cert", "demo-cert"), ("agentId", "demo"), ("agentId", "other")]);
    witness.denied("a field that stands twice", twice, "1036").await;
    let text = world
        .http
        .post(url("checkStatus"))
        .header("Content-Type", "text/plain")
        .body("cert=demo-cert&agentId=demo");
    witness.denied("another content type", text, "1036").await;
    world.close().await;
}

/// Where a callback may not lead, in the spellings that have got past such checks elsewhere.
const INSIDE: [&str; 16] = [
    "http://127.0.0.1:6379/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f.0.0.1/",
    "http://0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/",
    "http://[::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[fd00::1]/",
    "http://localhost/",
    "http://wallet.localhost./",
    "https://\u{ff11}27.0.0.1/",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_callback_leads_inside_is_not_added_and_not_called() {
    let (world, server, player) = quiet_world().await;
    let outside = [("FAIRCROSS__WALLET__ALLOW_PRIVATE_CALLBACKS", "false")];
    let witness = Witness::of(&world).await;
    let (public_only, _) = world.of_next_server(&outside);
    for url in INSIDE
        .into_iter()
        .chain(["ftp://wallet.example/", "http://user:word@wallet.example/"])
    {
        let arguments = ["agent", "add", "--agent-id", "inside", "--cert", "c", "--callback-url", url];
        let output = tokio::process::Command::new(crate::world::FAIRCROSS)
            .args(arguments.iter().chain(&["--allow-ip", "192.0.2.7", "--currency", "INR"]))
            .env_clear()
            .envs(public_only.iter().cloned())
            .output()
            .await
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("--callback-url"), "{url}: {said}");
    }
    witness.nothing_changed("agents that are not added").await;
    // One that was added while it was allowed is not called by a server that does not allow it.
    let strict = world.start_server_with(&outside).await;
    let stranger = player.at(&strict);
    let bet = stranger.bet_body("10.00", "EASY").await;
    stranger.post("/api/game/bet", bet).await.refused(503, "operator_unavailable");
    player.at(&strict).get("/api/game/balance").await.refused(503, "unavailable");
    assert_eq!(
        world.operator.calls("bet").await.len() + world.operator.calls("getBalance").await.len(),
        0
    );
    drop(strict);
    player.at(&server).bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    world.close().await;
}

//! The operator's endpoints, asked as operators ask them: by form and by JSON, on one server and on the other.

use reqwest::Url;
use serde_json::{Map, Value, json};

use crate::world::{PATIENCE, Player, Server, World, WorldOptions, launch_token, wait_for, wallet};

const NOWHERE: &str = "00000000-0000-0000-0000-000000000000";

/// How a body is written.
#[derive(Clone, Copy, Debug)]
enum Encoding {
    Form,
    Json,
}

const ENCODINGS: [Encoding; 2] = [Encoding::Form, Encoding::Json];

async fn ask(world: &World, server: &Server, encoding: Encoding, path: &str, fields: &[(&str, &str)]) -> Value {
    let fields = [&[("cert", "demo-cert"), ("agentId", "demo")], fields].concat();
    let request = world.http.post(server.url(&format!("/wallet/{path}")));
    let request = match encoding {
        Encoding::Form => request.form(&fields),
        Encoding::Json => {
            let object: Map<String, Value> = fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            request.json(&object)
        }
    };
    let answer = request.send().await.expect("answered");
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("x-request-id"));
    answer.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_understands_form_and_json() {
    let (world, server) = World::with_server().await;
    for (number, encoding) in ENCODINGS.into_iter().enumerate() {
        let user = format!("user{number}");
        let ask = async |path: &str, fields: &[(&str, &str)]| {
            let answer = ask(&world, &server, encoding, path, fields).await;
            (answer["status"].as_str().expect("a status").to_owned(), answer)
        };
        let ok = async |path: &str, fields: &[(&str, &str)]| {
            let (status, answer) = ask(path, fields).await;
            assert_eq!(status, "0000", "{path} {encoding:?}: {answer}");
            answer
        };
        let member = [
            ("userId", user.as_str()),
            ("currency", "INR"),
            ("betLimit", "30.5"),
            ("language", "pt-BR"),
            ("userName", "Ana M\u{fc}ller"),
        ];
        ok("createMember", &member).await;
        assert_eq!(ask("createMember", &member).await.0, "1001");
        assert_eq!(ok("queryBetLimit", &[("userId", &user)]).await["betLimit"], "30.50");
        ok(
            "updateBetLimit",
            &[("userId", &user), ("betLimit", r#"{"In-out":{"CRASH":{"minbet":1,"maxbet":40}}}"#)],
        )
        .await;
        assert_eq!(ok("queryBetLimit", &[("userId", &user)]).await["betLimit"], "40.00");
        let optional = [
            ("isMobileLogin", "true"),
            ("externalURL", "https://casino.example/"),
            ("language", "de"),
        ];
        let launched = ok("login", &[&[("userId", user.as_str())], &optional[..]].concat()).await;
        assert_eq!(launched["extension"], json!([]));
        launch_token(&launched);
        let game = [
            ("userId", user.as_str()),
            ("platform", "In-out"),
            ("gameType", "CRASH"),
            ("gameCode", "chicken-road-two"),
        ];
        launch_token(&ok("doLoginAndLaunchGame", &game).await);
        for status in ["suspend", "lock", "active"] {
            ok("updatePlayerStatus", &[("userId", &user), ("status", status)]).await;
        }
        let signed_out = ok("logout", &[("userIds", &format!("{user},nobody,{user}"))]).await;
        assert_eq!((&signed_out["logoutUsers"], &signed_out["count"]), (&json!([user]), &json!(1)));
        ok("checkStatus", &[]).await;
        assert_eq!(ask("getTransactionStatus", &[("platformTxId", NOWHERE)]).await.0, "1036");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_url_leads_to_the_game() {
    let world = World::new(WorldOptions::default().with("FAIRCROSS__SERVER__FRONTEND_URL", "https://play.example/game")).await;
    let server = world.start_server().await;
    world
        .add_agent(
            "branded",
            "branded-cert",
            &world.operator.url(),
            &["--frontend-url", "https://branded.example/"],
        )
        .await;
    let expected = |agent: &str, language: &str| {
        let pairs = [
            ("gameMode", "chicken-road-two"),
            ("operatorId", agent),
            ("currency", "INR"),
            ("lang", language),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    let launch = async |agent: &str, fields: &[(&str, &str)]| {
        let certificate = format!("{agent}-cert");
        let fields = [&[("userId", "ana")], fields].concat();
        let answer = crate::world::wallet(&world.http, &server, "login", agent, &certificate, &fields).await;
        let url: Url = answer["url"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().expect("a url");
        let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let (name, token) = pairs.pop().expect("a pair");
        assert_eq!(name, "authToken");
        assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        (format!("{}{}", url.origin().ascii_serialization(), url.path()), pairs, token)
    };
    for agent in ["demo", "branded"] {
        let certificate = format!("{agent}-cert");
        let fields = [("userId", "ana"), ("currency", "INR"), ("language", "hi")];
        crate::world::wallet(&world.http, &server, "createMember", agent, &certificate, &fields).await;
    }
    let (place, pairs, first) = launch("demo", &[]).await;
    assert_eq!((place.as_str(), pairs), ("https://play.example/game", expected("demo", "hi")));
    let (_, pairs, second) = launch("demo", &[("language", "de")]).await;
    assert_eq!(pairs, expected("demo", "de"));
    assert_ne!(first, second, "each link has its own token");
    let (place, pairs, _) = launch("branded", &[]).await;
    assert_eq!((place.as_str(), pairs), ("https://branded.example/", expected("branded", "hi")));
    world.close().await;
}

/// What getTransactionStatus says of a bet.
async fn transaction(world: &World, server: &Server, bet_id: &str) -> i64 {
    let answer = world.wallet_ok(server, "getTransactionStatus", &[("platformTxId", bet_id)]).await;
    answer["txStatus"].as_i64().expect("a number")
}

/// Waits until the player's latest bet is in a state, and returns its id.
async fn latest_in(world: &World, player: &Player, state: &str) -> String {
    let latest = format!(
        "select concat_ws(' ', state, bet_id) from bets where user_id = '{}' order by sequence desc limit 1",
        player.user_id
    );
    wait_for(&format!("the latest bet is {state}"), async || {
        let found = world.ask_database(&latest).await;
        if found.starts_with(&format!("{state} ")) {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await;
    world.ask_database(&latest).await.rsplit(' ').next().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_told_in_every_state() {
    // What is held back is waited for; what was not confirmed is cancelled soon.
    let options = WorldOptions::hasty()
        .with("FAIRCROSS__WALLET__BET_TIMEOUT_MS", PATIENCE.as_millis())
        .with("FAIRCROSS__RECOVERY__PENDING_AFTER_MS", PATIENCE.as_millis());
    let (world, server) = World::with_server_and(options).await;
    let player = world.player(&server).await;
    let refusing = |action: &str| json!({ action: { "kind": "refuse", "status": "9998" } });
    let state = async |state: &str, expected: i64| {
        let bet_id = latest_in(&world, &player, state).await;
        assert_eq!(transaction(&world, &server, &bet_id).await, expected, "{state}");
        bet_id
    };

    world
        .operator
        .order(json!({ "bet": { "kind": "delay", "held": true }, "settle": refusing("settle")["settle"] }))
        .await;
    tokio::join!(async { player.bet("10.00", "EASY").await.ok() }, async {
        state("PENDING", 0).await;
        world.operator.order(json!({ "bet": [] })).await;
    });
    state("PLACED", 0).await;
    let end = player.walk_and_cash_out(0).await;
    state("PENDING_SETTLEMENT", 0).await;
    world.operator.clear_faults().await;
    state(if end["isWin"] == true { "WON" } else { "LOST" }, 1).await;
    player.win_on_lane("10.00", "EASY", 0).await;
    state("WON", 1).await;
    while player.bet("10.00", "DAREDEVIL").await.ok()["roundId"].is_string() && player.walk_and_cash_out(1).await["isWin"] == true {}
    state("LOST", 1).await;

    world
        .operator
        .order(json!({ "bet": { "kind": "refuse", "status": "1018", "count": 1 } }))
        .await;
    player.bet("10.00", "EASY").await.refused(402, "insufficient_funds");
    state("REJECTED", -1).await;
    world
        .operator
        .order(json!({ "bet": { "kind": "drop_after", "count": 1 }, "cancelBet": refusing("cancelBet")["cancelBet"] }))
        .await;
    player.bet("10.00", "EASY").await.refused(504, "bet_unconfirmed");
    state("PENDING_CANCEL", -1).await;
    world.operator.clear_faults().await;
    state("CANCELLED", -1).await;

    world.operator.order(refusing("voidBet")).await;
    player.bet("10.00", "EASY").await.ok();
    let bet_id = state("PLACED", 0).await;
    // An hour later.
    world
        .change_database(&format!(
            "set session_replication_role = replica; update bets set deadline_at = now() where bet_id = '{bet_id}'"
        ))
        .await;
    state("PENDING_VOID", 2).await;
    world.operator.clear_faults().await;
    state("VOIDED", 2).await;

    world.add_agent("other", "other-cert", &world.operator.url(), &[]).await;
    let others = crate::world::wallet(
        &world.http,
        &server,
        "getTransactionStatus",
        "other",
        "other-cert",
        &[("platformTxId", &bet_id)],
    )
    .await;
    assert_eq!(
        (&others["status"], &others["txStatus"]),
        (&json!("1036"), &Value::Null),
        "another agent's bet is not told"
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_outs_and_status_changes_count_at_once_on_every_server() {
    let world = World::new(WorldOptions::default()).await;
    let servers = [world.start_server().await, world.start_server().await];
    let player = world.player(&servers[0]).await;
    let clients = [player.at(&servers[0]), player.at(&servers[1])];
    for (number, server) in servers.iter().enumerate() {
        for status in ["suspend", "lock"] {
            world
                .wallet_ok(server, "updatePlayerStatus", &[("userId", &player.user_id), ("status", status)])
                .await;
            for client in &clients {
                client.bet("10.00", "EASY").await.refused(403, "account_suspended");
            }
            world
                .wallet_ok(server, "updatePlayerStatus", &[("userId", &player.user_id), ("status", "active")])
                .await;
            clients[1 - number].bet("10.00", "EASY").await.ok();
            clients[number].walk_and_cash_out(0).await;
        }
        world
            .wallet_ok(server, "updateBetLimit", &[("userId", &player.user_id), ("betLimit", "9.99")])
            .await;
        for client in &clients {
            client.bet("10.00", "EASY").await.refused(400, "invalid_bet_amount");
        }
        world
            .wallet_ok(server, "updateBetLimit", &[("userId", &player.user_id), ("betLimit", "150")])
            .await;
    }
    for (number, server) in servers.iter().enumerate() {
        let player = world.player_named(&servers[number], "demo", "demo-cert", &player.user_id).await;
        player.stand_on("10.00", "EASY", 0).await;
        world.wallet_ok(server, "logout", &[("userIds", &player.user_id)]).await;
        for client in servers.iter().map(|server| player.at(server)) {
            client.step(1).await.refused(401, "unauthenticated");
            client.cash_out().await.refused(401, "unauthenticated");
            client.bet("10.00", "EASY").await.refused(401, "unauthenticated");
            client.get("/api/game/seeds").await.refused(401, "unauthenticated");
        }
        let again = world.player_named(&servers[1 - number], "demo", "demo-cert", &player.user_id).await;
        again.cash_out().await.ok();
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_decides_who_may_play_is_answered_when_both_stores_have_it() {
    let away = WorldOptions::default().with("FAIRCROSS__REDIS__COMMAND_TIMEOUT_MS", 2_000);
    let (mut world, server) = World::with_server_and(away).await;
    let player = world.player(&server).await;
    player.bet("10.00", "EASY").await.ok();
    let (user, settled) = (player.user_id.clone(), "0000");
    world.redis.kill().expect("killed");
    let suspend = [("userId", user.as_str()), ("status", "suspend")];
    assert_eq!(world.wallet(&server, "updatePlayerStatus", &suspend).await["status"], "1028");
    assert_eq!(world.wallet(&server, "logout", &[("userIds", &user)]).await["status"], "1028");
    assert_eq!(
        world.wallet(&server, "queryBetLimit", &[("userId", &user)]).await["status"],
        settled
    );
    world.redis.restart().expect("restarted");
    for (path, fields) in [
        ("updatePlayerStatus", suspend),
        ("logout", [("userIds", user.as_str()), ("language", "en")]),
    ] {
        wait_for("the operator's repeat succeeds", async || {
            match world.wallet(&server, path, &fields).await["status"].as_str() {
                Some("0000") => Ok(()),
                status => Err(format!("{status:?}")),
            }
        })
        .await;
    }
    player.step(0).await.refused(401, "unauthenticated");
    let again = world.player_named(&server, "demo", "demo-cert", &user).await;
    again.walk_and_cash_out(0).await;
    again.bet("10.00", "EASY").await.refused(403, "account_suspended");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_be_unsealed_is_left_out_alone() {
    let (world, _first) = World::with_server().await;
    world.add_agent("other", "other-cert", &world.operator.url(), &[]).await;
    world
        .change_database(r"update agents set certificate_sealed = '\x00' where agent_id = 'other'")
        .await;
    let server = world.start_server().await;
    let player = world.player(&server).await;
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    let theirs = wallet(&world.http, &server, "login", "other", "other-cert", &[("userId", "player0")]).await;
    assert_eq!(theirs["status"], "1028", "{theirs}");

    // None at all: this is another database's key, and the server does not start.
    world.change_database(r"update agents set certificate_sealed = '\x00'").await;
    let (environment, log) = world.of_next_server(&[]);
    let mut keyless = Server::launch(&environment, log).await;
    assert!(!keyless.wait_until_ended().await, "it ends by itself: {}", keyless.log());
    world.add_agent("demo", "demo-cert", &world.operator.url(), &[]).await;
    world.close().await;
}

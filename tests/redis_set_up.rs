//! The Redis that operators really have: full, with a snapshot that failed, behind TLS, with a user of few rights, part of a cluster, or
//! a server that was the primary before. Either rounds go on, or the server says by name what is missing.

mod servers;

use std::net::TcpListener;
use std::path::Path;

use faircross::commands::doctor::{Verdict, examine};
use faircross::live::{Live, LiveError, LiveSettings, NEEDED, TlsFiles, Unfit};
use faircross::settings::Environment;
use redis::Value as RedisValue;
use serde_json::{Value, json};

use crate::world::{Player, Server, World, WorldOptions, wait_for};

/// No other test takes ports at this address of the machine.
const OURS: &str = "127.0.7.80";

fn free_port() -> String {
    let free = TcpListener::bind((OURS, 0)).expect("a free port");
    free.local_addr().expect("a bound socket").port().to_string()
}

/// What readiness answers.
async fn readiness(world: &World, server: &Server) -> (u16, Value) {
    let answer = world.http.get(server.url("/health/ready")).send().await.expect("it answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn wait_for_readiness(world: &World, server: &Server, status: u16, redis: &str) {
    wait_for(&format!("readiness says {status} {redis}"), async || {
        let (found, body) = readiness(world, server).await;
        if found == status && body["checks"]["redis"] == redis {
            Ok(())
        } else {
            Err(format!("{found} {body}"))
        }
    })
    .await;
}

/// What doctor finds of Redis: the findings that are not well, as lines.
async fn doctor(world: &World) -> String {
    let report = examine(None, &Environment::of(world.environment())).await;
    let of_redis = report
        .findings
        .iter()
        .filter(|finding| finding.name.starts_with("redis") && finding.verdict != Verdict::Ok);
    of_redis
        .map(|finding| format!("{:?} {}: {}\n", finding.verdict, finding.name, finding.found))
        .collect()
}

/// Fills Redis far beyond a limit that leaves room for everything else.
async fn fill(world: &World) {
    world.ask_redis(&["SETRANGE", "filler", "33554432", "x"]).await;
    world.ask_redis(&["CONFIG", "SET", "maxmemory", "16mb"]).await;
}

async fn make_room(world: &World) {
    world.ask_redis(&["CONFIG", "SET", "maxmemory", "0"]).await;
    world.ask_redis(&["DEL", "filler"]).await;
    world.ask_redis(&["CONFIG", "SET", "maxmemory", "16mb"]).await;
}

async fn count(world: &World, of: &str) -> String {
    world.ask_database(&format!("select count(*) from {of}")).await
}

fn session_of(player: &Player) -> String {
    format!("gameSession:{}-{}", player.user_id, player.agent_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_redis_open_rounds_go_on_and_no_bet_begins() {
    let (world, server) = World::with_server_and(WorldOptions::default().with("FAIRCROSS__RECOVERY__PROBE_EVERY_MS", 100)).await;
    let steps = world.player(&server).await;
    let restored = world.player(&server).await;
    let newcomer = world.player(&server).await;
    steps.stand_on("10.00", "EASY", 0).await;
    restored.stand_on("10.00", "EASY", 0).await;
    let body = newcomer.bet_body("10.00", "EASY").await;
    fill(&world).await;

    let intents = count(&world, "bets").await;
    let refused = newcomer.post("/api/game/bet", body).await;
    refused.refused(503, "redis_full");
    assert!(refused.retry_after.is_some(), "{refused:?}");
    assert_eq!(count(&world, "bets").await, intents, "nothing was begun");

    // Ready, because the open rounds are played here; and it says what is wrong.
    // What was heard of Redis is told again for half a second.
    wait_for("readiness says so", async || {
        let (status, body) = readiness(&world, &server).await;
        let said = (status, &body["checks"]["redis"], &body["status"]);
        if said == (200, &json!("full"), &json!("degraded")) {
            Ok(())
        } else {
            Err(body.to_string())
        }
    })
    .await;
    let found = doctor(&world).await;
    assert!(
        found.contains("Fail redis memory: full: 200 %") || found.contains("Fail redis memory: full: 2"),
        "{found}"
    );
    wait_for("the metric says so", async || {
        let text = world
            .http
            .get(server.url("/metrics"))
            .send()
            .await
            .expect("answers")
            .text()
            .await
            .expect("text");
        let ratio = text
            .lines()
            .find_map(|line| line.strip_prefix("faircross_redis_memory_used_ratio "));
        match ratio.map(|ratio| ratio.parse::<f64>().expect("a number")) {
            Some(ratio) if ratio >= 1.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(server.log().contains("Redis is nearly full"), "{}", server.log());

    // A sign-in, a step, a repeat, a rebuilt session, an end: all of it with no room.
    let another = world.player(&server).await;
    assert_eq!(another.get("/api/game/seeds").await.status, 200);
    if steps.step(1).await.ok()["isFinished"] == false {
        steps.step(1).await.ok();
        steps.cash_out().await.ok();
    }
    world.ask_redis(&["DEL", &session_of(&restored)]).await;
    let seen = restored.get("/api/game/session").await.ok();
    assert_eq!(seen["isFinished"], false, "{seen}");
    restored.walk_and_cash_out(0).await;
    world.check_books().await;

    make_room(&world).await;
    wait_for_readiness(&world, &server, 200, "ok").await;
    newcomer.win_on_lane("10.00", "EASY", 0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_redis_a_taken_stake_gets_its_round_and_a_deadline_ends_it() {
    let (world, server) = World::with_server_and(WorldOptions::default().with("FAIRCROSS__GAME__SESSION_TTL_S", 8)).await;
    // Which bet was open when Redis was full already is seen afterwards; a slow machine may need more than one.
    loop {
        let player = world.player(&server).await;
        let body = player.bet_body("10.00", "EASY").await;
        world
            .operator
            .order(json!({ "bet": { "kind": "delay", "held": true, "count": 1 } }))
            .await;
        let (placed, ()) = tokio::join!(player.post("/api/game/bet", body), async {
            wait_for("the intent is written", async || {
                match count(&world, "bets where state = 'PENDING'").await {
                    pending if pending == "1" => Ok(()),
                    pending => Err(pending),
                }
            })
            .await;
            fill(&world).await;
            world.operator.clear_faults().await;
        });
        assert_eq!(placed.status, 200, "{placed:?}");
        let session = world.ask_redis(&["HGET", &session_of(&player), "restored"]).await;
        if session == RedisValue::BulkString(b"0".to_vec()) {
            let open = count(&world, "bets where state = 'PLACED'").await;
            wait_for("the deadline ends it", async || {
                match count(&world, "bets where state = 'VOIDED'").await {
                    voided if voided != "0" => Ok(()),
                    voided => Err(voided),
                }
            })
            .await;
            if open == "1" {
                break;
            }
        }
        world.wait_until_settled().await;
        make_room(&world).await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_warns_of_memory_from_eighty_percent_on() {
    let world = World::new(WorldOptions::default()).await;
    world.ask_redis(&["SETRANGE", "filler", "33554432", "x"]).await;
    let used = match world.ask_redis(&["INFO", "memory"]).await {
        RedisValue::BulkString(text) => String::from_utf8(text).expect("text"),
        RedisValue::VerbatimString { text, .. } => text,
        other => panic!("{other:?}"),
    };
    let used = used.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("a line");
    let used: u64 = used.trim().parse().expect("a number");
    for (percent, warned) in [(70, false), (90, true)] {
        world
            .ask_redis(&["CONFIG", "SET", "maxmemory", &(used * 100 / percent).to_string()])
            .await;
        let found = doctor(&world).await;
        assert_eq!(found.contains("Warn redis memory"), warned, "{found}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_snapshot_stops_nothing_or_is_named() {
    let (world, server) = World::with_server_and(WorldOptions::default().with_redis("appendfsync", "everysec")).await;
    let player = world.player(&server).await;
    player.stand_on("10.00", "EASY", 0).await;
    // Where the snapshot should go there is a directory.
    std::fs::create_dir(world.redis.socket().with_file_name("dump.rdb")).expect("a directory");
    world.ask_redis(&["CONFIG", "SET", "save", "3600 1"]).await;
    world.ask_redis(&["BGSAVE"]).await;
    wait_for("the snapshot fails", async || {
        let info = format!("{:?}", world.ask_redis(&["INFO", "persistence"]).await);
        if info.contains("rdb_last_bgsave_status:err") {
            Ok(())
        } else {
            Err(String::new())
        }
    })
    .await;
    let (status, body) = readiness(&world, &server).await;
    assert_eq!(status, 200, "{body}");
    assert!(doctor(&world).await.contains("Warn redis snapshots: the last one failed"));
    player.walk_and_cash_out(0).await;
    player.win_on_lane("10.00", "EASY", 0).await;

    // As Redis is by default.
    let bet = player.bet_body("10.00", "EASY").await;
    world.ask_redis(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"]).await;
    wait_for_readiness(&world, &server, 503, "writes_stopped").await;
    player.post("/api/game/bet", bet).await.refused(503, "unavailable");
    assert!(server.log().contains("stop-writes-on-bgsave-error no"), "{}", server.log());
    let found = doctor(&world).await;
    assert!(
        found.contains("Fail redis writes") && found.contains("Warn redis snapshots"),
        "{found}"
    );
    // Another server says it when it starts.
    let (environment, log) = world.of_next_server(&[]);
    let other = Server::launch(&environment, log).await;
    assert!(other.log().contains("a failed snapshot will stop every round"), "{}", other.log());

    world.ask_redis(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]).await;
    wait_for_readiness(&world, &server, 200, "ok").await;
    player.win_on_lane("10.00", "EASY", 0).await;
    world.close().await;
}

/// The one line of `config/redis-acl.conf`, as ACL SETUSER takes it.
fn rules() -> Vec<String> {
    let line = include_str!("../config/redis-acl.conf")
        .lines()
        .find_map(|line| line.strip_prefix("user "))
        .expect("a user");
    line.split(' ').map(str::to_owned).collect()
}

async fn set_user(world: &World, rules: &[String]) {
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    world
        .ask_redis(&[&["ACL", "SETUSER", rules[0], "reset"], &rules[1..]].concat())
        .await;
}

fn live_as_user(world: &World) -> Live {
    Live::connect(&LiveSettings {
        url: user_url(world).into(),
        tls: TlsFiles::default(),
        command_timeout_ms: 60_000,
        locks_enabled: true,
    })
    .expect("an address")
}

fn user_url(world: &World) -> String {
    format!("{}?user=faircross&pass=CHANGE-ME", world.redis.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_acl_file_can_do_everything_and_nothing_else() {
    let world = World::new(WorldOptions::default()).await;
    set_user(&world, &rules()).await;
    world.ask_redis(&["ACL", "LOG", "RESET"]).await;
    let server = world.start_server_with(&[("REDIS_URL", &user_url(&world))]).await;
    let player = world.player(&server).await;
    player.win_on_lane("10.00", "EASY", 1).await;
    player.stand_on("10.00", "EASY", 0).await;
    world.ask_redis(&["DEL", &session_of(&player)]).await;
    player.get("/api/game/session").await.ok();
    player.walk_and_cash_out(0).await;
    assert_eq!(player.get("/api/online-counter/v1/data").await.status, 200);
    wait_for("presence is written", async || {
        match world.ask_redis(&["EXISTS", "user-sessions:demo"]).await {
            RedisValue::Int(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    world.check_books().await;
    // Only what is not needed was refused: asking for a setting, and naming ourselves.
    let RedisValue::Array(denied) = world.ask_redis(&["ACL", "LOG"]).await else {
        panic!("ACL LOG is a list")
    };
    for entry in denied {
        let entry: std::collections::HashMap<String, RedisValue> = redis::from_redis_value(entry).expect("names and values");
        let object: String = redis::from_redis_value(entry["object"].clone()).expect("a text");
        assert!(["config|get", "client|setinfo"].contains(&object.as_str()), "{object} was refused");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_lacks_a_right_is_named() {
    let world = World::new(WorldOptions::default()).await;
    let all = rules();
    set_user(&world, &all).await;
    assert_eq!(live_as_user(&world).fitness().await, Ok(()));
    for lacking in all.iter().filter(|rule| rule.starts_with('~') || rule.starts_with('+')) {
        let fewer: Vec<String> = all.iter().filter(|rule| *rule != lacking).cloned().collect();
        set_user(&world, &fewer).await;
        let live = live_as_user(&world);
        let Err(LiveError::Unfit(Unfit::Forbidden { what })) = live.fitness().await else {
            panic!("{lacking} is not missed: {:?}", live.fitness().await)
        };
        let name = lacking.trim_start_matches(['~', '+']).trim_end_matches('*');
        assert!(what.to_lowercase().contains(&name.to_lowercase()), "{lacking}: {what}");
    }
    // No rule that is not needed either, and none that is needed and not asked for.
    let asked = NEEDED
        .iter()
        .flat_map(|(_, commands)| commands.iter())
        .map(|command| command.to_lowercase());
    let asked: std::collections::BTreeSet<String> = asked.collect();
    let given = all.iter().filter_map(|rule| rule.strip_prefix('+')).map(str::to_owned).collect();
    assert_eq!(asked, given);

    let fewer: Vec<String> = all.iter().filter(|rule| *rule != "+hincrby").cloned().collect();
    set_user(&world, &fewer).await;
    let (environment, log) = world.of_next_server(&[("REDIS_URL", &user_url(&world))]);
    let server = Server::launch(&environment, log).await;
    wait_for_readiness(&world, &server, 503, "forbidden").await;
    assert!(server.log().contains("HINCRBY on player:"), "{}", server.log());
    let environment = world.environment().into_iter().chain([("REDIS_URL".to_owned(), user_url(&world))]);
    let report = examine(None, &Environment::of(environment)).await.to_string();
    assert!(
        report.contains("redis permissions") && report.contains("HINCRBY on player:"),
        "{report}"
    );
    world.close().await;
}

/// Makes an authority and a certificate of it with openssl: ca.pem, cert.pem and key.pem.
fn make_certificates(directory: &Path) {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .current_dir(directory)
            .output();
        let output = output.expect("openssl is installed (scripts/install-stores)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let new = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
    ];
    run(&[
        &new[..],
        &["-subj", "/CN=Test authority", "-keyout", "ca-key.pem", "-out", "ca.pem"],
    ]
    .concat());
    let of_ca = [
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca-key.pem",
        "-subj",
        "/CN=redis",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ];
    let names = format!("subjectAltName=IP:{OURS},DNS:localhost");
    let leaf = ["-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE"];
    run(&[&new[..], &of_ca, &leaf].concat());
    // redis-server may run under another account.
    std::fs::set_permissions(directory.join("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("readable");
    std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("readable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_is_played_over_tls() {
    let files = tempfile::tempdir().expect("a directory");
    make_certificates(files.path());
    let (file, port) = (|name: &str| files.path().join(name).display().to_string(), free_port());
    let options = WorldOptions::default()
        .with_redis("tls-port", &port)
        .with_redis("bind", OURS)
        .with_redis("tls-cert-file", file("cert.pem"))
        .with_redis("tls-key-file", file("key.pem"))
        .with_redis("tls-ca-cert-file", file("ca.pem"));
    let world = World::new(options).await;
    let url = format!("rediss://{OURS}:{port}/0");
    let (ca, certificate, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let environment = [
        ("REDIS_URL", url.as_str()),
        ("FAIRCROSS__REDIS__CA_FILE", &ca),
        ("FAIRCROSS__REDIS__CLIENT_CERTIFICATE_FILE", &certificate),
        ("FAIRCROSS__REDIS__CLIENT_KEY_FILE", &key),
    ];
    let server = world.start_server_with(&environment).await;
    world.player(&server).await.win_on_lane("10.00", "EASY", 0).await;

    // An authority that did not sign it is not believed, nor a Redis that wants a certificate and gets none.
    let fitness = async |tls| {
        let settings = LiveSettings {
            url: url.as_str().into(),
            tls,
            command_timeout_ms: 60_000,
            locks_enabled: true,
        };
        Live::connect(&settings).expect("an address").fitness().await
    };
    let trusted = TlsFiles {
        ca: Some(ca.into()),
        client: None,
    };
    assert!(matches!(fitness(TlsFiles::default()).await, Err(LiveError::Unreachable(_))));
    assert!(matches!(fitness(trusted.clone()).await, Err(LiveError::Unreachable(_))));
    let shown = TlsFiles {
        client: Some((certificate.into(), key.into())),
        ..trusted
    };
    assert_eq!(fitness(shown).await, Ok(()));
    world.close().await;
}

//! What strangers may ask, and what it costs: a flood of questions is answered from memory, or told to come back.

use faircross::clock::Clock;
use faircross::ledger::archive;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::world::{Meter, World, WorldOptions, resting_jobs, wait_for};

/// Questions about names that are not known go to the record so often in a second.
const UNKNOWN_NAMES_PER_SECOND: u64 = 20;
const MANY: usize = 300;
const AT_ONCE: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_names_costs_a_few_statements() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    let mut meter = Meter::start(&world).await;
    let start = Clock::default().monotonic();
    let token = "a".repeat(64);
    let ask = async |number: usize| {
        let (http, name) = (&world.http, format!("nobody{number}"));
        let sign_in = json!({ "auth_token": token, "operator": name, "currency": "INR" });
        let auth = http.post(server.url("/api/auth")).json(&sign_in).send().await.expect("answered");
        assert_eq!(auth.status(), 401);
        let forged = json!({ "auth_token": "no token of ours", "operator": "demo", "currency": "INR" });
        let auth = http.post(server.url("/api/auth")).json(&forged).send().await.expect("answered");
        assert_eq!(auth.status(), 401);
        let wrong = crate::world::wallet(http, &server, "checkStatus", "demo", &name, &[]).await;
        assert_eq!(wrong["status"], "1027");
        let unknown = crate::world::wallet(http, &server, "checkStatus", &name, "demo-cert", &[]).await;
        assert_eq!(unknown["status"], "1029");
        let version = http.get(server.url(&format!("/api/fairness/config/{}", 1_000 + number)));
        assert!([404, 503].contains(&version.send().await.expect("answered").status().as_u16()));
        let claim = json!({ "serverSeed": token, "userSeed": "mine", "nonce": 0, "hazardSeed": token, "difficulty": "EASY",
            "configHash": format!("{number:064x}") });
        let claimed = http.post(server.url("/api/fairness/verify")).json(&claim);
        assert!([200, 503].contains(&claimed.send().await.expect("answered").status().as_u16()));
    };
    for numbers in (0..MANY).collect::<Vec<_>>().chunks(AT_ONCE) {
        join_all(numbers.iter().map(|number| ask(*number))).await;
    }
    let seconds = start.elapsed().as_secs() + 2;
    let asked = meter.read().await.statements;
    // Each second that was touched, and what those who ask about a known name at the same instant ask before one has the answer.
    let most = usize::try_from(UNKNOWN_NAMES_PER_SECOND * seconds).expect("a small number") + AT_ONCE;
    assert!(
        asked.len() <= most,
        "{} statements in {seconds} s, of {} questions: {asked:?}",
        asked.len(),
        6 * MANY
    );
    world.close().await;
}

/// How often Redis has carried out a command.
async fn calls_of(world: &World, command: &str) -> u64 {
    let told = format!("{:?}", world.ask_redis(&["INFO", "commandstats"]).await);
    let (_, of_this) = told.split_once(&format!("cmdstat_{command}:calls=")).unwrap_or_default();
    of_this.split(',').next().and_then(|calls| calls.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_questions_for_health_and_the_counter_costs_redis_little() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    for (path, command, a_second) in [
        ("/health", "evalsha", 2),
        ("/health/ready", "evalsha", 2),
        ("/api/online-counter/v1/data", "zcount", 1),
    ] {
        let (before, start) = (calls_of(&world, command).await, Clock::default().monotonic());
        for _ in 0..MANY / AT_ONCE {
            let crowd = (0..AT_ONCE).map(async |_| world.http.get(server.url(path)).send().await.expect("answered").status());
            assert!(join_all(crowd).await.iter().all(|status| *status == 200), "{path}");
        }
        let (after, seconds) = (calls_of(&world, command).await, start.elapsed().as_secs());
        // The jobs run scripts of their own now and then.
        let most = a_second * (seconds + 1) + 2 * (seconds + 10);
        assert!(after > 0, "Redis has never heard {command}");
        assert!(
            after - before <= most,
            "{path}: {} times {command} in {seconds} s for {MANY} questions",
            after - before
        );
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_claims_about_other_days_costs_a_few_statements() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    // Not the server's own, which need the chain itself.
    let readings = "select coalesce(sum(calls), 0) from pg_stat_statements
        where dbid = (select oid from pg_database where datname = current_database()) and query like '%anchor, published_at from hazard_chains%'";
    let readings = async || world.ask_database(readings).await.parse::<u64>().expect("a number");
    let (before, start) = (readings().await, Clock::default().monotonic());
    let (seed, now) = ("0".repeat(64), Clock::default().now_unix_ms() / 5_000);
    let ask = async |days: usize| {
        let epoch = now - 17_280 * u64::try_from(days + 10).expect("a small number");
        let claim =
            json!({ "serverSeed": seed, "userSeed": "mine", "nonce": 0, "hazardSeed": seed, "difficulty": "EASY", "hazardEpoch": epoch });
        let answer = world.http.post(server.url("/api/fairness/verify")).json(&claim).send().await;
        answer.expect("answered").status().as_u16()
    };
    let mut statuses = Vec::new();
    for days in (0..MANY).collect::<Vec<_>>().chunks(20) {
        statuses.extend(join_all(days.iter().map(|days| ask(*days))).await);
    }
    let (asked, seconds) = (readings().await - before, start.elapsed().as_secs() + 2);
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200), "{statuses:?}");
    assert!(
        asked <= UNKNOWN_NAMES_PER_SECOND * seconds,
        "{asked} readings in {seconds} s for {MANY} days"
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_wait_in_a_short_queue() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    // Seventeen thousand hashes each: the seed belongs to no day of this anchor.
    let seed = "0".repeat(64);
    let claim = json!({ "serverSeed": seed, "userSeed": "mine", "nonce": 0, "hazardSeed": seed, "difficulty": "EASY", "anchor": seed });
    let ask = async || {
        let answer = world
            .http
            .post(server.url("/api/fairness/verify"))
            .json(&claim)
            .send()
            .await
            .expect("answered");
        let waits = answer.headers().contains_key("Retry-After");
        (answer.status().as_u16(), waits)
    };
    let mut answers = Vec::new();
    wait_for("a crowd is too large", async || {
        let crowd = join_all((0..MANY).map(|_| ask())).await;
        if crowd.contains(&(503, true)) {
            Ok(())
        } else {
            Err("all were answered".to_owned())
        }
    })
    .await;
    answers.extend(join_all((0..MANY).map(|_| ask())).await);
    assert!(
        answers.iter().all(|answer| [(200, false), (503, true)].contains(answer)),
        "{answers:?}"
    );
    assert!(
        answers.iter().filter(|answer| **answer == (200, false)).count() >= 32,
        "{answers:?}"
    );
    assert_eq!(ask().await, (200, false), "and then the next is answered");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_changes_is_kept_by_whoever_has_it() {
    let (world, server) = World::with_server().await;
    let get = async |tag: Option<&str>| {
        let request = world.http.get(server.url("/api/fairness/config/1"));
        let request = match tag {
            Some(tag) => request.header("If-None-Match", tag),
            None => request,
        };
        request.send().await.expect("answered")
    };
    let first = get(None).await;
    assert_eq!(first.status(), 200);
    let header = |name: &str| first.headers()[name].to_str().expect("text").to_owned();
    assert!(header("Cache-Control").contains("immutable"));
    let tag = header("ETag");
    let again = get(Some(&tag)).await;
    assert_eq!((again.status().as_u16(), again.text().await.expect("a body")), (304, String::new()));
    assert_eq!(get(Some("\"another\"")).await.status(), 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_is_asked_once_for_all_who_ask_at_once() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    // The first call to an operator is not like the others.
    world.player(&server).await.get("/api/game/balance").await.ok();
    let player = world.player(&server).await;
    let mut meter = Meter::start(&world).await;
    let start = Clock::default().monotonic();
    // As many as one player may have under way.
    let answers = join_all((0..8).map(|_| player.get("/api/game/balance"))).await;
    let again = player.get("/api/game/balance").await.ok();
    let seconds = usize::try_from(start.elapsed().as_secs()).expect("a small number");
    assert!(answers.into_iter().all(|answer| answer.ok() == again));
    let asked = meter.read().await.calls.iter().filter(|action| **action == "getBalance").count();
    assert!((1..=1 + seconds).contains(&asked), "{asked} calls in {seconds} s");
    // What a bet has changed is not told from before it.
    let before = player.get("/api/game/balance").await.ok()["balance"].clone();
    let bet = player.bet("10.00", "EASY").await.ok();
    let after = player.get("/api/game/balance").await.ok()["balance"].clone();
    assert_ne!(before, after);
    assert_eq!(after.as_str().map(normal), bet["balance"].as_str().map(normal));
    player.walk_and_cash_out(0).await;
    world.close().await;
}

fn normal(text: &str) -> &str {
    text.trim_end_matches('0').trim_end_matches('.')
}

#[tokio::test(flavor = "multi_thread")]
async fn balance_enquiries_are_kept_for_seven_days() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    let player = world.player(&server).await;
    player.get("/api/game/balance").await.ok();
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    world.check_books().await;
    let mut connection = world.connection().await;
    let copied = "insert into wallet_audit (sequence, agent_id, action, message, outcome, duration_ms, at)
        select sequence, agent_id, action, message, outcome, duration_ms, now() - interval '8 days' from wallet_audit";
    sqlx::query(copied).execute(&mut connection).await.expect("older rows");
    let count = async |what: &str| world.ask_database(&format!("select count(*) from wallet_audit where {what}")).await;
    let bets_calls = count("action <> 'getBalance'").await;
    assert_eq!(count("action = 'getBalance'").await, "2");
    assert_eq!(
        archive::delete_old_balance_enquiries(&mut connection, 7, 100)
            .await
            .expect("deleted"),
        1
    );
    assert_eq!(
        archive::delete_old_balance_enquiries(&mut connection, 7, 100)
            .await
            .expect("deleted"),
        0
    );
    assert_eq!(count("action = 'getBalance'").await, "1");
    assert_eq!(count("action <> 'getBalance'").await, bets_calls, "calls about bets are kept");
    sqlx::query("delete from wallet_audit where at < now() - interval '7 days'")
        .execute(&mut connection)
        .await
        .expect("the copies are taken away again");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_the_house() {
    let world = World::new(WorldOptions::default()).await;
    let server = world.start_server().await;
    let ask = async |server: &crate::world::Server, header: Option<&str>| {
        let request = world.http.get(server.url("/metrics"));
        let request = match header {
            Some(name) => request.header(name, "127.0.0.1"),
            None => request,
        };
        request.send().await.expect("answered").status().as_u16()
    };
    assert_eq!(ask(&server, None).await, 200);
    for header in ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"] {
        assert_eq!(ask(&server, Some(header)).await, 403, "{header}: through a proxy that nobody named");
    }
    world.close().await;
    let elsewhere = World::new(WorldOptions::default().with("FAIRCROSS__SERVER__METRICS_ALLOW", "192.0.2.0/24")).await;
    let server = elsewhere.start_server().await;
    let answer = elsewhere.http.get(server.url("/metrics")).send().await.expect("answered");
    assert_eq!(answer.status(), 403);
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(problem["code"], "forbidden");
    elsewhere.close().await;
}

//! Load is no outage: a crowd of one player's requests, rows that somebody holds locked, statements that take too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faircross::clock::Clock;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::Connection as _;

use super::{assert_was_never_away, finish, real_deadlines_under_load};
use crate::world::{Player, Server, World, wait_for};

/// Longer than a statement may take, so that whoever took a locked row for an outage, or let it take all connections, is seen.
const HELD_FOR: Duration = Duration::from_secs(6);

/// Plays a round after another until `over` and asserts that every answer is good.
async fn play_undisturbed(player: Player, over: Arc<AtomicBool>) -> usize {
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        let mut answer = player.post("/api/game/bet", player.bet_body("10.00", "EASY").await).await;
        if answer.code() == "stale_hazard_epoch" {
            continue;
        }
        assert_eq!(answer.status, 200, "a bet: {}", answer.body);
        answer = player.post("/api/game/step", json!({ "lineNumber": 0 })).await;
        assert_eq!(answer.status, 200, "a step: {}", answer.body);
        if answer.body["isFinished"] == false {
            answer = player.post("/api/game/cashout", json!({})).await;
            assert_eq!(answer.status, 200, "a cash-out: {}", answer.body);
        }
        rounds += 1;
    }
    rounds
}

async fn stays_ready(world: &World, server: &Server, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        server.readiness(&world.http).await.expect("ready all the time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_one_players_requests_harms_nobody_else() {
    let world = World::new(real_deadlines_under_load().with("FAIRCROSS__DATABASE__MAX_CONNECTIONS", 4)).await;
    let server = world.start_server().await;
    let (crowd, other) = (world.player(&server).await, world.player(&server).await);
    let over = Arc::new(AtomicBool::new(false));
    let playing = tokio::spawn(play_undisturbed(other.clone(), Arc::clone(&over)));
    let watching = stays_ready(&world, &server, &over);
    let crowding = async {
        let put = |number: usize| {
            let request = crowd.request(Method::PUT, "/api/game/seeds");
            crowd.send(request.json(&json!({ "userSeed": format!("seed{number}") })))
        };
        let answers = join_all((0..600).map(put)).await;
        over.store(true, Ordering::Relaxed);
        answers
    };
    let (answers, ()) = tokio::join!(crowding, watching);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    for answer in &refused {
        answer.refused(429, "rate_limited");
        assert_eq!(answer.retry_after.as_deref(), Some("1"));
    }
    assert!(!refused.is_empty() && refused.len() < 600, "{} refusals", refused.len());
    assert!(playing.await.expect("undisturbed") > 0);
    assert_was_never_away(&server);
    finish(world, &[crowd, other]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_harms_nobody_else() {
    locked_rows_harm_nobody_else(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_locked_rows_harm_nobody_else() {
    locked_rows_harm_nobody_else(16).await;
}

async fn locked_rows_harm_nobody_else(count: usize) {
    let world = World::new(real_deadlines_under_load()).await;
    let server = world.start_server().await;
    let locked: Vec<_> = join_all((0..count).map(|_| world.player(&server))).await;
    let others: Vec<_> = join_all((0..3).map(|_| world.player(&server))).await;
    let mut holder = world.connection().await;
    let mut transaction = holder.begin().await.expect("a transaction");
    let users: Vec<String> = locked.iter().map(|player| player.user_id.clone()).collect();
    sqlx::query("select from players where user_id = any($1) for update")
        .bind(&users)
        .execute(&mut *transaction)
        .await
        .expect("locked");

    let over = Arc::new(AtomicBool::new(false));
    let playing: Vec<_> = others
        .iter()
        .map(|player| tokio::spawn(play_undisturbed(player.clone(), Arc::clone(&over))))
        .collect();
    // Each of the others insists, eight at a time.
    let insisting = locked.iter().flat_map(|player| [player; 8]).map(|player| {
        let (player, over) = (player.clone(), Arc::clone(&over));
        tokio::spawn(async move {
            let mut gave_up = 0;
            while !over.load(Ordering::Relaxed) {
                let body = json!({ "userSeed": "mine" });
                let answer = player.send(player.request(Method::PUT, "/api/game/seeds").json(&body)).await;
                gave_up += usize::from(answer.status == 503);
            }
            gave_up
        })
    });
    let insisting: Vec<_> = insisting.collect();
    let timing = async {
        let start = Clock::default().monotonic();
        wait_for("the rows were held for long enough", async || {
            if start.elapsed() > HELD_FOR {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(timing, stays_ready(&world, &server, &over));
    for rounds in join_all(playing).await {
        assert!(rounds.expect("undisturbed") > 0);
    }
    let gave_up: usize = join_all(insisting).await.into_iter().map(|count| count.expect("answered")).sum();
    assert!(gave_up > 0, "the rows were locked");
    assert_was_never_away(&server);
    transaction.rollback().await.expect("let go");
    let everybody: Vec<_> = locked.into_iter().chain(others).collect();
    finish(world, &everybody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_no_outage() {
    let options = real_deadlines_under_load()
        .with("FAIRCROSS__DATABASE__STATEMENT_TIMEOUT_MS", 500)
        .with("FAIRCROSS__DATABASE__LOCK_TIMEOUT_MS", 60_000);
    let world = World::new(options).await;
    let server = world.start_server().await;
    let player = world.player(&server).await;
    let mut holder = world.connection().await;
    let mut transaction = holder.begin().await.expect("a transaction");
    sqlx::query("select from players where user_id = $1 for update")
        .bind(&player.user_id)
        .execute(&mut *transaction)
        .await
        .expect("locked");
    let body = json!({ "userSeed": "mine" });
    let answer = player.send(player.request(Method::PUT, "/api/game/seeds").json(&body)).await;
    answer.refused(503, "unavailable");
    server.readiness(&world.http).await.expect("ready");
    assert_was_never_away(&server);
    transaction.rollback().await.expect("let go");
    let answer = player.send(player.request(Method::PUT, "/api/game/seeds").json(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    finish(world, &[player]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_sessions_keep_their_own_limits() {
    let world = World::new(real_deadlines_under_load()).await;
    let limits = format!("alter database {} set idle_session_timeout = '3s'", world.database);
    world.administer(&limits).await;
    let server = world.start_server_with(&[("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", "60000")]).await;
    let player = world.player(&server).await;
    player.win_on_lane("10.00", "EASY", 0).await;
    world.wait_until_settled().await;
    let sessions = format!(
        "select pid::text from pg_stat_activity where datname = '{}' and application_name = 'faircross' order by pid",
        world.database
    );
    let before = world
        .ask_database(&format!("select string_agg(pid, ',') from ({sessions}) s"))
        .await;
    // A session that is held to the database's limit ends meanwhile.
    let mut idle = world.connection().await;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut idle)
        .await
        .expect("answered");
    wait_for("an idle session is ended", async || {
        let left = world
            .ask_database(&format!("select count(*) from pg_stat_activity where pid = {pid}"))
            .await;
        if left == "0" { Ok(()) } else { Err(left) }
    })
    .await;
    let after = world
        .ask_database(&format!("select string_agg(pid, ',') from ({sessions}) s"))
        .await;
    for pid in before.split(',') {
        assert!(after.contains(pid), "{pid} of {before} is still there: {after}");
    }
    assert_was_never_away(&server);
    finish(world, &[player]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_open_transaction_is_measured() {
    let (world, server) = World::with_server().await;
    let mut holder = world.connection().await;
    let mut transaction = holder.begin().await.expect("a transaction");
    sqlx::query("select count(*) from players")
        .execute(&mut *transaction)
        .await
        .expect("begun");
    wait_for("the metric tells of it", async || {
        let text = world.http.get(server.url("/metrics")).send().await.expect("answered");
        let text = text.text().await.expect("text");
        let line = text
            .lines()
            .find(|line| line.starts_with("faircross_postgres_oldest_transaction_age_seconds "))
            .unwrap_or_default();
        let age_s: f64 = line.split(' ').nth(1).and_then(|age| age.parse().ok()).unwrap_or_default();
        if age_s >= 1.0 { Ok(()) } else { Err(line.to_owned()) }
    })
    .await;
    transaction.rollback().await.expect("let go");
    world.close().await;
}

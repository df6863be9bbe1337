//! Two promises about time, measured with the default settings: what a killed server owed is closed within 45 seconds, and
//! rounds are playable two seconds after Redis is back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use sqlx::Connection as _;

use crate::chapter::{audit, impatient_client, in_earnest, pause, seat_people, world_in};
use crate::dice::Dice;
use crate::fleet::{Fleet, Postgres};
use crate::report::{Report, milliseconds};
use crate::world::{Player, World, WorldOptions};

const CLOSED_WITHIN: Duration = Duration::from_secs(45);
const PLAYABLE_WITHIN: Duration = Duration::from_secs(2);

/// The defaults again, over the faster settings of the tests. The second cancel is early: it closes nothing.
fn default_recovery() -> WorldOptions {
    in_earnest()
        .with("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", 5_000)
        .with("FAIRCROSS__RECOVERY__PENDING_AFTER_MS", 30_000)
        .with("FAIRCROSS__RECOVERY__DRAIN_EVERY_MS", 1_000)
        .with("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "0,1,2,4,8,16,32,60,300,900,1800,7200")
        .with("FAIRCROSS__WALLET__LEASE_S", 15)
        .with("FAIRCROSS__WALLET__CALL_TIMEOUT_MS", 10_000)
        .with("FAIRCROSS__WALLET__BET_TIMEOUT_MS", 5_000)
}

/// Kills servers one after the other at points where a bet is in their hands, and measures for each kill how long it takes
/// until every bet that was not at its end then has come to it.
pub async fn kills(postgres: &Postgres, times: usize, dice: &mut Dice, report: &mut Report) {
    let world = Arc::new(world_in(postgres, "campaign_closing", default_recovery()).await);
    let mut fleet = Fleet::start(&world, postgres, &[0, 0]).await;
    let table = seat_people(&fleet, 60, 50, 0).await;
    let crowd = table.play(6, dice);
    let points = ["K2", "K4", "K9", "K11", "K13", "K5", "K10", "K2", "K6", "K14"];
    let mut measured = Vec::new();
    for point in points.into_iter().cycle().take(times) {
        let place = dice.place(fleet.len());
        if point == "K14" {
            let refused = json!({ "settle": { "kind": "refuse", "status": "9998", "probability": 0.5 } });
            world.operator.order(refused).await;
        }
        fleet.start_at(&world, place, Some(&format!("{point}=1*return(kill)"))).await;
        let killed = fleet.was_killed_at(place, point, Duration::from_secs(20)).await;
        let at = crate::now();
        world.operator.clear_faults().await;
        if killed {
            measured.push(tokio::spawn(until_closed(Arc::clone(&world), at)));
        } else {
            Report::count(&mut report.points_missed, point);
        }
        fleet.start_at(&world, place, None).await;
        pause(500).await;
    }
    for closed in measured {
        let closed = closed.await.expect("a measurement");
        report.kills += 1;
        report.closed_after_kill_ms.push(milliseconds(closed));
        if closed > CLOSED_WITHIN {
            report.violation(format!("a killed server's bets were open for {closed:?}"));
        }
    }
    if let Err(hang) = crowd.go_home().await {
        report.violation(hang);
    }
    end_open_rounds(&world).await;
    world.check_books().await;
    report.audits += 1;
    if let Err(violated) = audit(&world, &table).await {
        report.violation(violated);
    }
    let comparison = table.transcript.compare(&world).await;
    report.checks_of_the_books += 1;
    report.bets += comparison.bets;
    report.answers_compared += comparison.compared;
    comparison
        .violations
        .into_iter()
        .for_each(|violation| report.violation(format!("closing: {violation}")));
}

/// The deadline of a round that a player was called home from is an hour away; it is brought forward.
async fn end_open_rounds(world: &World) {
    let mut connection = world.connection().await;
    let forward = "set session_replication_role = replica; update bets set deadline_at = now() where state = 'PLACED'";
    sqlx::raw_sql(forward).execute(&mut connection).await.expect("brought forward");
    connection.close().await.expect("closed");
}

async fn until_closed(world: Arc<World>, at: Instant) -> Duration {
    let open = "state not in ('WON', 'LOST', 'VOIDED', 'CANCELLED', 'REJECTED')";
    let owed = world
        .ask_database(&format!(
            "select coalesce(string_agg(sequence::text, ','), '0') from bets where {open}"
        ))
        .await;
    let left = format!("select count(*) from bets where sequence in ({owed}) and {open}");
    while world.ask_database(&left).await != "0" && at.elapsed() < CLOSED_WITHIN * 2 {
        pause(100).await;
    }
    at.elapsed()
}

/// Takes Redis away for three seconds and measures how long after its first answer a round goes on.
pub async fn redis_returns(postgres: &Postgres, times: usize, report: &mut Report) {
    let mut world = world_in(postgres, "campaign_returning", in_earnest()).await;
    let fleet = Fleet::start(&world, postgres, &[0]).await;
    let server = fleet.server(0);
    let player = Player::sign_in(&impatient_client(), server, "demo", "demo-cert", "returning").await;
    for _ in 0..times {
        loop {
            player.bet("1.00", "EASY").await.ok();
            if player.step(0).await.ok()["isFinished"] == false {
                break;
            }
        }
        world.redis.kill().expect("killed");
        pause(3_000).await;
        world.redis.restart().expect("restarts");
        let back = crate::now();
        while back.elapsed() < PLAYABLE_WITHIN * 5 {
            let step = player.request(Method::POST, "/api/game/step").json(&json!({ "lineNumber": 0 }));
            if player.try_send(step).await.is_ok_and(|answer| answer.status == 200) {
                break;
            }
            pause(10).await;
        }
        let playable = back.elapsed();
        report.playable_after_redis_ms.push(milliseconds(playable));
        Report::count(&mut report.redis_faults, "Restarted");
        if playable > PLAYABLE_WITHIN {
            report.violation(format!("rounds were playable only {playable:?} after Redis was back"));
        }
        player.cash_out().await.ok();
    }
    world.check_books().await;
}

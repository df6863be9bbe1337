//! A PostgreSQL that was promoted: the mark is of another timeline, and the bet that it names is there.

use super::{refused_start, restore, wait_until_marked};
use crate::world::{World, wait_for};

/// The mark of a time before the promotion, which names the latest bet of the record.
async fn mark_before_promotion(world: &World) {
    let latest = world
        .ask_database("select sequence || ' ' || bet_id from bets order by sequence desc limit 1")
        .await;
    let (sequence, bet_id) = latest.split_once(' ').expect("a bet");
    let mark = ["HSET", "record-mark", "timeline", "0000BEEF", "sequence", sequence, "betId", bet_id];
    world.ask_redis(&mark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_lost_nothing_is_named_and_no_more() {
    let (world, mut server) = World::with_server().await;
    let player = world.player(&server).await;
    player.stand_on("1.00", "EASY", 0).await;
    wait_until_marked(&world).await;
    server.kill().await;
    mark_before_promotion(&world).await;
    let (_, found) = world.command(&["doctor"]).await;
    assert!(found.contains("was promoted or recovered"), "{found}");
    let server = world.start_server().await;
    assert!(server.log().contains("was promoted or recovered"), "{}", server.log());
    wait_for("the mark is of this timeline", async || {
        let timeline: String = redis::from_redis_value(world.ask_redis(&["HGET", "record-mark", "timeline"]).await).unwrap_or_default();
        if timeline == "0000BEEF" { Err(timeline) } else { Ok(()) }
    })
    .await;
    // A promotion under a running server.
    mark_before_promotion(&world).await;
    wait_for("the server has named it again", async || {
        let named = server.log().matches("was promoted or recovered").count();
        if named >= 3 { Ok(()) } else { Err(named.to_string()) }
    })
    .await;
    assert_eq!(player.at(&server).cash_out().await.ok()["isWin"], true);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_lost_the_bet_of_a_session_is_refused() {
    let (world, mut server) = World::with_server().await;
    let player = world.player(&server).await;
    player.win_on_lane("1.00", "EASY", 0).await;
    world.wait_until_quiet().await;
    server.kill().await;
    let copy = world.copy_database().await;
    let mut server = world.start_server().await;
    player.at(&server).bet("1.00", "EASY").await.ok();
    server.kill().await;
    world.put_back(&copy).await;
    mark_before_promotion(&world).await;
    let refusal = refused_start(&world).await;
    assert!(refusal.contains("PostgreSQL is behind"), "{refusal}");
    let (_, found) = world.command(&["doctor"]).await;
    assert!(found.contains("PostgreSQL is behind"), "{found}");
    let (code, bill) = restore(&world, &[]).await;
    assert_eq!(code, 0, "{bill}");
    let _server = world.start_server().await;
    world.close().await;
}

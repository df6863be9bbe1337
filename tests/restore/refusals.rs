//! What a restore refuses, by name and before anything is changed: servers may then start as before.

use faircross::chance::Chance;
use serde_json::json;

use super::{refused_start, restore};
use crate::world::{World, WorldOptions};

async fn assert_nothing_was_begun(world: &World) {
    assert_eq!(world.ask_database("select count(*) from restores").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_the_copy_does_not_have_is_named() {
    let world = World::new(WorldOptions::default()).await;
    let of_all = world.operator.ledger_url();
    let (of_late, of_demo) = (format!("late={of_all}"), format!("demo={of_all}"));
    let file = world.directory.path().join("ledger.json");
    let bet = json!({ "agentId": "late", "platformTxId": "1", "userId": "someone", "roundId": "1", "currency": "INR",
                      "betAmount": "1.00", "state": "bet", "winAmount": null, "history": [] });
    let ledger = json!({ "players": [], "violations": [], "bets": [bet] });
    std::fs::write(&file, ledger.to_string()).expect("written");
    let file = file.display().to_string();
    for options in [
        ["--operator-ledger", &of_demo, "--operator-ledger", &of_late],
        ["--operator-ledger", &of_demo, "--without-ledger", "late"],
        ["--operator-ledger", &of_demo, "--operator-ledger", &file],
    ] {
        let (code, text) = world.command(&[&["restore", "--yes"][..], &options[..]].concat()).await;
        assert!(
            code == 1 && text.contains("does not have late") && text.contains("agent add"),
            "{options:?}: {code} {text}"
        );
        assert_nothing_was_begun(&world).await;
    }
    // Nobody names it but a round in Redis.
    world.ask_redis(&["HSET", "gameSession:someone-late", "sequence", "1"]).await;
    let (code, text) = restore(&world, &[]).await;
    assert!(code == 1 && text.contains("does not have late"), "{code} {text}");
    assert_nothing_was_begun(&world).await;
    world.add_agent("late", "late-cert", &world.operator.url(), &[]).await;
    let (code, text) = restore(&world, &[]).await;
    assert_eq!(code, 0, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sealing_key_is_named() {
    let (world, mut server) = World::with_server().await;
    world.player(&server).await.stand_on("10.00", "EASY", 0).await;
    server.kill().await;
    let other = hex::encode(Chance.bytes_32());
    let (code, text) = restore(&world, &[("FAIRCROSS__SECRETS__SEALING_KEY", &other)]).await;
    assert!(
        code == 1 && text.contains("the secrets of demo") && text.contains("SEALING_KEY"),
        "{code} {text}"
    );
    assert_nothing_was_begun(&world).await;
    assert_eq!(world.ask_database("select count(*) from bets where is_open").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_cannot_look_around_holds_no_server_back() {
    let (world, mut server) = World::with_server().await;
    world.player(&server).await.win_on_lane("1.00", "EASY", 0).await;
    server.kill().await;
    let nobody = [("REDIS_URL", "redis://127.0.0.1:1")];
    let (code, text) = restore(&world, &nobody).await;
    assert!(code == 1 && text.contains("Redis"), "{code} {text}");
    assert_nothing_was_begun(&world).await;
    let mut server = world.start_server().await;
    server.kill().await;
    // One that has changed something is not taken back.
    let (code, text) = restore(&world, &[("FAILPOINTS", "R1=1*return(kill)")]).await;
    assert_eq!(code, -1, "{text}");
    let (code, text) = restore(&world, &nobody).await;
    assert_eq!(code, 1, "{text}");
    let refusal = refused_start(&world).await;
    assert!(refusal.contains("faircross restore"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_agent_has_a_ledger_or_is_said_to_have_none() {
    let world = World::new(WorldOptions::default()).await;
    world.add_agent("other", "other-cert", &world.operator.url(), &[]).await;
    let of_demo = format!("demo={}", world.operator.ledger_url());
    let (code, text) = world.command(&["restore", "--yes", "--operator-ledger", &of_demo]).await;
    assert!(code == 1 && text.contains("no ledger speaks for other"), "{code} {text}");
    assert_eq!(world.ask_database("select count(*) from restores").await, "0", "nothing was begun");
    let (code, text) = world.command(&["restore", "--operator-ledger", &world.operator.ledger_url()]).await;
    assert!(code == 1 && text.contains("say --yes"), "{code} {text}");
    let (code, text) = world
        .command(&["restore", "--yes", "--operator-ledger", &of_demo, "--without-ledger", "other"])
        .await;
    assert_eq!(code, 0, "{text}");
}

//! The end of a server: what it does between SIGTERM and its last breath. Calls that are under way are waited for, leases of those that
//! cannot be are given back, and a client that is told to come no more never meets a connection that was just cut.

mod balancer;

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{PATIENCE, Player, Server, World, WorldOptions, wait_for};
use balancer::Balancer;

/// A server without anything to wait for ends in a small part of this.
const STILL_THERE_AFTER: Duration = Duration::from_secs(3);
const OUTBOX: &str = "select string_agg(concat_ws(' ', action, state, coalesce(leased_until <= now(), true)), ', ') from outbox";

/// A round that was cashed out while the operator keeps its settle waiting.
async fn with_a_settle_under_way(world: &World, server: &Server) -> Player {
    let player = world.player(server).await;
    player.bet("10.00", "EASY").await.ok();
    world.operator.order(json!({ "settle": { "kind": "delay", "held": true } })).await;
    player.walk_and_cash_out(0).await;
    assert_eq!(world.ask_database(OUTBOX).await, "settle open f", "it was born claimed");
    player
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settle_under_way_is_waited_for() {
    let (world, mut server) = World::with_server().await;
    with_a_settle_under_way(&world, &server).await;
    server.signal("TERM");
    assert!(!server.is_gone_within(STILL_THERE_AFTER).await, "it left a call behind");
    world.operator.clear_faults().await;
    assert!(!server.wait_until_ended().await, "it ends by itself");
    assert_eq!(world.ask_database(OUTBOX).await, "settle done t");
    assert_eq!(world.operator.calls("settle").await.len(), 1);
    assert!(!server.log().contains(" ERROR "), "nothing went wrong: {}", server.log());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_under_way_is_waited_for_and_recorded() {
    let (world, mut server) = World::with_server().await;
    let player = world.player(&server).await;
    world.operator.order(json!({ "bet": { "kind": "delay", "held": true } })).await;
    let body = player.bet_body("10.00", "EASY").await;
    let body = body.to_string();
    let request = format!(
        "POST /api/game/bet HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        player.token,
        body.len()
    );
    let Kept(mut betting) = Kept::to(&server).await;
    betting.write_all(request.as_bytes()).await.expect("sent");
    wait_for("the intent is committed", async || {
        match &*world.ask_database("select count(*) from bets").await {
            "1" => Ok(()),
            bets => Err(bets.to_owned()),
        }
    })
    .await;
    // Reset: the request is gone for the server as well, and the call alone keeps it.
    betting.set_zero_linger().expect("a socket");
    drop(betting);
    server.signal("TERM");
    assert!(!server.is_gone_within(STILL_THERE_AFTER).await, "it left a call behind");
    world.operator.clear_faults().await;
    assert!(!server.wait_until_ended().await, "it ends by itself");
    assert_eq!(world.ask_database("select state from bets").await, "PLACED");
    let next = world.start_server().await;
    player.at(&next).walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_waited_for_is_left_to_the_next() {
    let options = WorldOptions::default()
        .with("FAIRCROSS__SERVER__SHUTDOWN_TIMEOUT_S", 1)
        .with("FAIRCROSS__WALLET__CALL_TIMEOUT_MS", PATIENCE.as_millis())
        .with("FAIRCROSS__WALLET__LEASE_S", 45);
    let (world, mut server) = World::with_server_and(options).await;
    with_a_settle_under_way(&world, &server).await;
    server.signal("TERM");
    assert!(!server.wait_until_ended().await, "it ends by itself");
    assert_eq!(world.ask_database(OUTBOX).await, "settle open t", "the lease was given back");
    world.operator.clear_faults().await;
    let _next = world.start_server().await;
    world.close().await;
}

/// A connection of HTTP that is kept.
struct Kept(TcpStream);

impl Kept {
    async fn to(server: &Server) -> Self {
        let address = server.url("");
        Self(TcpStream::connect(address.trim_start_matches("http://")).await.expect("connected"))
    }

    async fn send(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.expect("sent");
    }

    async fn ask(&mut self, path: &str) -> (u16, bool) {
        self.send(path).await;
        self.answer().await
    }

    /// The status, and whether the answer says that it was the last.
    async fn answer(&mut self) -> (u16, bool) {
        let answer = balancer::read_answer(&mut self.0).await.expect("an answer");
        (answer.status, answer.closes)
    }

    async fn is_closed(&mut self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.0.read(&mut [0; 8])).await, Ok(Ok(0)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_serves_all_and_says_that_it_ends() {
    // So long that the test sees nothing but the delay.
    let options = WorldOptions::default().with("FAIRCROSS__SERVER__DRAIN_DELAY_S", 600);
    let (world, mut server) = World::with_server_and(options).await;
    let player = world.player(&server).await;
    let mut kept = Kept::to(&server).await;
    assert_eq!(kept.ask("/health/live").await, (200, false));
    server.signal("TERM");
    wait_for("it says that it drains", async || match server.readiness(&world.http).await {
        Err(answer) if answer.contains("\"draining\"") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(kept.ask("/health/live").await, (200, true));
    assert!(kept.is_closed().await);
    assert_eq!(
        Kept::to(&server).await.ask("/health/live").await,
        (200, true),
        "who comes now is served"
    );
    player.bet("10.00", "EASY").await.ok();
    player.walk_and_cash_out(0).await;
    world.check_books().await;
    server.signal("TERM");
    assert!(!server.wait_until_ended().await, "a second signal ends it at once");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_the_end_is_answered() {
    let (world, mut server) = World::with_server().await;
    let mut connections = Vec::new();
    for _ in 0..20 {
        let mut kept = Kept::to(&server).await;
        assert_eq!(kept.ask("/health/live").await, (200, false));
        connections.push(kept);
    }
    let mut idle = connections.split_off(10);
    // It sees the requests and the signal in one instant.
    server.signal("STOP");
    for kept in &mut connections {
        kept.send("/health/live").await;
    }
    server.signal("TERM");
    server.signal("CONT");
    for kept in &mut connections {
        assert_eq!(kept.answer().await.0, 200);
        assert!(kept.is_closed().await);
    }
    for kept in &mut idle {
        assert!(kept.is_closed().await);
    }
    assert!(!server.wait_until_ended().await, "it ends by itself");
    world.close().await;
}

/// Two servers behind a balancer are restarted in turn while players play. What a player sees is a game without a pause.
#[tokio::test(flavor = "multi_thread")]
async fn restarts_in_turn_are_seen_by_no_player() {
    let options = WorldOptions::default().with("FAIRCROSS__SERVER__DRAIN_DELAY_S", 2);
    let world = World::new(options).await;
    let mut servers = [world.start_server().await, world.start_server().await];
    let balancer = Balancer::over(servers.each_ref().map(|server| server.url("")));
    let mut players = Vec::new();
    for _ in 0..6 {
        players.push(world.player(&servers[0]).await);
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let playing: Vec<_> = players
        .into_iter()
        .map(|player| tokio::spawn(balancer::play(balancer.clone(), player.token, stop.clone())))
        .collect();
    for restart in 0..4 {
        let place = restart % 2;
        let before = balancer.rounds();
        servers[place].signal("TERM");
        assert!(!servers[place].wait_until_ended().await, "it ends by itself");
        servers[place] = world.start_server().await;
        balancer.replace(place, servers[place].url(""));
        wait_for("players went on", async || {
            let rounds = balancer.rounds() - before;
            if rounds >= 6 { Ok(()) } else { Err(format!("{rounds} rounds")) }
        })
        .await;
    }
    stop.cancel();
    for player in playing {
        player.await.expect("no player saw an error");
    }
    for server in &servers {
        assert!(!server.log().contains("is being shutdown"), "{}", server.log());
    }
    world.close().await;
}

//! Callers who reset their connections while their requests are under way. The server forgets such a request at once, but not the work
//! that it was the cause of: whatever bounds that work is not passed by hanging up.

use faircross::clock::Clock;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::slow::connect;
use crate::world::{Player, Server, World, resting_jobs, wait_for};

/// Many more than any of the bounds, and than the places for statements (16).
const RESETS: usize = 30;
/// As many requests as one player may have under way.
const IN_FLIGHT: usize = 8;
/// How a chain is read for strangers. The server reads it for itself as well.
const READING: &str = "select anchor, published_at from hazard_chains";

/// A request that the server has read, and the server's side of its connection.
struct UnderWay {
    stream: TcpStream,
    /// The server's socket, as the system numbers it.
    inode: String,
}

impl UnderWay {
    async fn send(server: &Server, request: &str) -> Self {
        let mut stream = connect(server).await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        let (here, there) = (stream.local_addr().expect("an address"), stream.peer_addr().expect("an address"));
        let found = async || {
            let table = tokio::fs::read_to_string("/proc/net/tcp").await.expect("the table");
            let (local, remote) = (format!(":{:04X}", there.port()), format!(":{:04X}", here.port()));
            table.lines().find_map(|line| {
                let columns: Vec<&str> = line.split_whitespace().collect();
                let is_ours = columns[1].ends_with(&local) && columns[2].ends_with(&remote);
                // It was accepted, and nothing waits to be read.
                (is_ours && columns[9] != "0" && columns[4].ends_with(":00000000")).then(|| columns[9].to_owned())
            })
        };
        wait_for("the server has read a request", async || {
            found().await.map(|_| ()).ok_or_else(String::new)
        })
        .await;
        let inode = found().await.expect("it is still connected");
        Self { stream, inode }
    }

    /// Resets the connection, and waits until the server has let go of it.
    async fn reset(self, server: &Server) {
        self.stream.set_zero_linger().expect("a socket");
        drop(self.stream);
        let (files, socket) = (format!("/proc/{}/fd", server.pid()), format!("socket:[{}]", self.inode));
        wait_for("the server has let go of a connection that was reset", async || {
            let mut open = std::fs::read_dir(&files)
                .expect("its files")
                .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
            if open.any(|file| file.as_os_str() == socket.as_str()) {
                Err(String::new())
            } else {
                Ok(())
            }
        })
        .await;
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(path: &str, more: &str, body: &serde_json::Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n{body}")
}

fn post_by(player: &Player, path: &str, body: &serde_json::Value) -> String {
    post(path, &format!("Authorization: Bearer {}\r\n", player.token), body)
}

/// Whoever asks these tables waits until the connection is closed.
async fn lock(world: &World, tables: &str) -> PgConnection {
    let mut connection = world.connection().await;
    let locked = format!("begin; lock table {tables} in access exclusive mode");
    sqlx::raw_sql(sqlx::AssertSqlSafe(locked))
        .execute(&mut connection)
        .await
        .expect("locked");
    connection
}

/// How many statements with `mark` in them wait for a lock.
async fn waiting(world: &World, mark: &str) -> usize {
    let waiting = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%{mark}%'
             and pid <> pg_backend_pid()"
    );
    world.ask_database(&waiting).await.parse().expect("a number")
}

async fn wait_for_waiting(world: &World, mark: &str, most: usize) {
    wait_for(&format!("{most} statements with {mark} wait"), async || {
        let found = waiting(world, mark).await;
        if found >= most { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

/// Sends a request again and again and resets each: while `table` is locked, `most` statements with `mark` wait for it, however many
/// requests were sent.
async fn resets_cause_no_more_than(world: &World, server: &Server, (table, mark): (&str, &str), most: usize, request: &str) {
    let locked = lock(world, table).await;
    for _ in 0..most {
        UnderWay::send(server, request).await.reset(server).await;
    }
    wait_for_waiting(world, mark, most).await;
    for _ in 0..RESETS {
        UnderWay::send(server, request).await.reset(server).await;
    }
    assert_eq!(waiting(world, mark).await, most, "statements under way after {RESETS} resets");
    locked.close().await.expect("unlocked");
    wait_for("all have come to their end", async || match waiting(world, mark).await {
        0 => Ok(()),
        left => Err(left.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_resets_sign_ins_has_no_more_of_them_under_way() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    let link = json!({ "auth_token": "a".repeat(64), "operator": "demo", "currency": "INR" });
    resets_cause_no_more_than(
        &world,
        &server,
        ("launch_tokens", "launch_tokens"),
        8,
        &post("/api/auth", "", &link),
    )
    .await;
    world.player(&server).await.get("/api/game/seeds").await.ok();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_resets_claims_has_no_more_of_them_under_way() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    let seed = "0".repeat(64);
    let claim =
        json!({ "serverSeed": seed, "userSeed": "mine", "nonce": 0, "hazardSeed": seed, "difficulty": "EASY", "userSeedFresh": true });
    resets_cause_no_more_than(
        &world,
        &server,
        ("bets", "user_seed_fresh from bets"),
        2,
        &post("/api/fairness/verify", "", &claim),
    )
    .await;
    let answer = world
        .http
        .post(server.url("/api/fairness/verify"))
        .json(&claim)
        .send()
        .await
        .expect("answered");
    assert_eq!(answer.status(), 200, "and then the next is answered");
    world.close().await;
}

/// Where today's chain is read, once it is published.
async fn todays_chain(world: &World, server: &Server) -> String {
    let road = world.http.get(server.url("/api/hazards/EASY")).send().await.expect("answered");
    assert_eq!(road.status(), 200);
    format!("/api/hazards/chain/{}", Clock::default().now().date_naive())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_resets_readings_of_a_chain_causes_one() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    let path = todays_chain(&world, &server).await;
    resets_cause_no_more_than(&world, &server, ("hazard_chains", READING), 1, &get(&path)).await;
    assert_eq!(world.http.get(server.url(&path)).send().await.expect("answered").status(), 200);
    world.close().await;
}

/// While something of the player is under way, one request less is let in.
async fn a_place_is_taken(player: &Player, locked: PgConnection) {
    let crowd: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let player = player.clone();
            tokio::spawn(async move { player.get("/api/game/seeds").await })
        })
        .collect();
    wait_for("one is told to come back", async || {
        let answered = crowd.iter().filter(|request| request.is_finished()).count();
        if answered == 1 {
            Ok(())
        } else {
            Err(format!("{answered} are answered"))
        }
    })
    .await;
    locked.close().await.expect("unlocked");
    let mut statuses = Vec::new();
    for request in crowd {
        statuses.push(request.await.expect("not cancelled").status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200; IN_FLIGHT - 1], vec![429]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_keeps_its_place_when_its_player_resets() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    let player = world.player(&server).await;
    world.operator.order(json!({ "bet": { "kind": "delay", "held": true } })).await;
    let body = player.bet_body("10.00", "EASY").await;
    let bet = UnderWay::send(&server, &post_by(&player, "/api/game/bet", &body)).await;
    wait_for("the intent is committed", async || {
        match &*world.ask_database("select count(*) from bets").await {
            "1" => Ok(()),
            bets => Err(bets.to_owned()),
        }
    })
    .await;
    bet.reset(&server).await;
    a_place_is_taken(&player, lock(&world, "players, player_seeds").await).await;
    world.operator.clear_faults().await;
    wait_for("the stake is taken", async || {
        match &*world.ask_database("select state from bets").await {
            "PLACED" => Ok(()),
            state => Err(state.to_owned()),
        }
    })
    .await;
    player.walk_and_cash_out(0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_keeps_its_place_when_its_player_resets() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    let player = world.player(&server).await;
    player.stand_on("10.00", "EASY", 0).await;
    let locked = lock(&world, "bets, players, player_seeds").await;
    let end = UnderWay::send(&server, &post_by(&player, "/api/game/cashout", &json!({}))).await;
    wait_for_waiting(&world, "end_reason = $5", 1).await;
    end.reset(&server).await;
    a_place_is_taken(&player, locked).await;
    world.close().await;
}

/// All who ask for today's chain while nobody knows it wait for one reading.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_asks_for_a_chain_causes_one_reading() {
    let (world, server) = World::with_server_and(resting_jobs()).await;
    let path = todays_chain(&world, &server).await;
    let locked = lock(&world, "hazard_chains").await;
    let mut crowd = Vec::new();
    for _ in 0..RESETS {
        crowd.push(UnderWay::send(&server, &get(&path)).await);
    }
    wait_for_waiting(&world, READING, 1).await;
    assert_eq!(waiting(&world, READING).await, 1, "readings for {RESETS} who ask");
    locked.close().await.expect("unlocked");
    for UnderWay { stream, .. } in crowd {
        let mut answer = [0; 12];
        let (mut reading, _writing) = stream.into_split();
        tokio::io::AsyncReadExt::read_exact(&mut reading, &mut answer)
            .await
            .expect("answered");
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    world.close().await;
}

//! A PostgreSQL that was put back to an older copy, as after a disaster: no server starts on it, and `faircross restore` makes it one
//! on which can be played, with the operator's books and ours in agreement.

mod calls;
mod nonces;
mod refusals;
mod timelines;

use std::collections::{BTreeMap, BTreeSet};

use faircross::clock::Clock;
use faircross::game::fairness::ServerSeed;
use serde_json::{Value, json};

use crate::world::{Player, Server, World, WorldOptions, wait_for};

/// Everything that a player was ever told of their seeds.
#[derive(Default)]
struct Told {
    commitments: BTreeSet<String>,
    /// By player.
    nonces: BTreeMap<String, BTreeSet<u64>>,
}

impl Told {
    fn note(&mut self, player: &Player, shown: &Value) {
        for name in ["hashedServerSeed", "nextHashedServerSeed"] {
            self.commitments.extend(shown[name].as_str().map(ToOwned::to_owned));
        }
        let nonces = self.nonces.entry(player.user_id.clone()).or_default();
        nonces.extend(shown["nonce"].as_u64());
    }

    /// What the player sees now.
    async fn look(&mut self, player: &Player) {
        self.note(player, &player.get("/api/game/seeds").await.ok());
    }
}

/// A server that is not let in; returns what it said.
async fn refused_start(world: &World) -> String {
    let (environment, log) = world.of_next_server(&[]);
    let mut server = Server::launch(&environment, log).await;
    assert!(!server.wait_until_ended().await, "it ends by itself");
    server.log()
}

/// The operator's ledger is asked for.
async fn restore(world: &World, environment: &[(&str, &str)]) -> (i32, String) {
    let ledger = world.operator.ledger_url();
    world
        .command_with(environment, &["restore", "--yes", "--operator-ledger", &ledger])
        .await
}

/// Waits until the mark names the latest bet.
async fn wait_until_marked(world: &World) {
    let latest = world.ask_database("select max(sequence) from bets").await;
    wait_for("the latest bet is marked", async || {
        let marked: String = redis::from_redis_value(world.ask_redis(&["HGET", "record-mark", "sequence"]).await).unwrap_or_default();
        if marked == latest { Ok(()) } else { Err(marked) }
    })
    .await;
}

async fn state_of(world: &World, bet_id: &Value) -> String {
    let id = bet_id.as_str().expect("an id");
    world.ask_database(&format!("select state from bets where bet_id = '{id}'")).await
}

async fn state_at_operator(world: &World, bet_id: &Value) -> String {
    let ledger = world.operator.ledger().await;
    let bets = ledger["bets"].as_array().expect("bets");
    let bet = bets.iter().find(|bet| bet["platformTxId"] == *bet_id);
    bet.map_or("none", |bet| bet["state"].as_str().expect("a state")).to_owned()
}

/// Rounds before and after the copy, and what became of each.
struct Drill {
    world: World,
    told: Told,
    players: Vec<Player>,
    /// Open in the copy, and still open when the disaster came.
    open: Value,
    /// Open in the copy, and won after it.
    won_later: Value,
    /// Open in the copy, and lost after it.
    lost_later: Value,
    /// Made after the copy, open at the operator.
    unknown: Value,
    /// The same of a player who came after the copy.
    of_newcomer: Value,
    /// The server seeds that players have seen since the copy.
    seen_seeds: Vec<String>,
}

impl Drill {
    async fn run() -> Self {
        let (world, mut server) = World::with_server().await;
        let (mut told, mut players, mut seen_seeds) = (Told::default(), Vec::new(), Vec::new());
        for _ in 0..5 {
            let player = world.player(&server).await;
            player.win_on_lane("10.00", "EASY", 0).await;
            told.look(&player).await;
            players.push(player);
        }
        let [stays, wins, loses, bets, _] = &*players else {
            unreachable!("five players")
        };
        let open = stays.stand_on("10.00", "EASY", 0).await;
        let won_later = wins.stand_on("10.00", "EASY", 0).await;
        let lost_later = losing_bet(loses, &world).await;
        world.wait_until_quiet().await;
        server.kill().await;
        let copy = world.copy_database().await;

        let server = world.start_server().await;
        let [stays, wins, loses, bets, _] = [stays, wins, loses, bets, bets].map(|player| player.at(&server));
        assert_eq!(wins.cash_out().await.ok()["isWin"], true);
        walk_to_the_end(&loses).await;
        for player in [&wins, &loses, &bets] {
            let end = player.win_on_lane("1.00", "EASY", 0).await;
            let proof = player.history(end["roundId"].as_str().expect("an id")).await;
            seen_seeds.push(
                proof["fairness"]["serverSeed"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{proof}"))
                    .to_owned(),
            );
            told.look(player).await;
        }
        let unknown = bets.bet("10.00", "EASY").await.ok();
        let newcomer = world.player(&server).await;
        newcomer.win_on_lane("1.00", "EASY", 0).await;
        let of_newcomer = newcomer.bet("10.00", "EASY").await.ok();
        for player in [&stays, &bets, &newcomer] {
            told.look(player).await;
        }
        players.push(newcomer);
        wait_until_marked(&world).await;
        wait_for("nothing but open rounds is owed", async || {
            let owed = world.ask_database("select count(*) from outbox where state = 'open'").await;
            if owed == "0" { Ok(()) } else { Err(owed) }
        })
        .await;
        let (code, text) = restore(&world, &[]).await;
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("stop them first"), "{text}");
        let mut server = server;
        server.kill().await;
        world.put_back(&copy).await;
        let refusal = refused_start(&world).await;
        assert!(
            refusal.contains("PostgreSQL is behind") && refusal.contains("faircross restore"),
            "{refusal}"
        );
        Self {
            world,
            told,
            players,
            open,
            won_later,
            lost_later,
            unknown,
            of_newcomer,
            seen_seeds,
        }
    }

    /// What must hold after the restore, however often it was begun.
    async fn check(self) {
        let world = &self.world;
        for (bet, state, there) in [
            (&self.open, "PENDING_VOID", "bet"),
            (&self.won_later, "WON", "settled"),
            (&self.lost_later, "LOST", "settled"),
            (&self.unknown, "", "bet"),
            (&self.of_newcomer, "", "bet"),
        ] {
            assert_eq!(state_of(world, &bet["roundId"]).await, state, "{bet}");
            assert_eq!(state_at_operator(world, &bet["roundId"]).await, there, "{bet}");
        }
        let server = world.start_server().await;
        for player in &self.players {
            let old = player.at(&server);
            old.get("/api/game/seeds").await.refused(401, "unauthenticated");
            let player = world.player_named(&server, "demo", "demo-cert", &player.user_id).await;
            assert_eq!(player.get("/api/game/session").await.code(), "no_active_session");
            let shown = player.get("/api/game/seeds").await.ok();
            for name in ["hashedServerSeed", "nextHashedServerSeed"] {
                let commitment = shown[name].as_str().expect("a commitment");
                assert!(!self.told.commitments.contains(commitment), "{commitment} was shown before");
                // Whoever tries user seeds on a seed that they have seen tries them on one that decides nothing.
                for seed in &self.seen_seeds {
                    let seen = ServerSeed::parse(seed).expect("a seed");
                    assert_ne!(seen.commitment().as_str(), commitment, "a seed that was seen is in force");
                }
            }
            let next = player.bet("1.00", "EASY").await.ok();
            assert_eq!(next["hashedServerSeed"], shown["hashedServerSeed"], "{next}");
            let nonce = next["nonce"].as_u64().unwrap_or_else(|| panic!("{next}"));
            let before = &self.told.nonces[&player.user_id];
            assert!(before.iter().all(|told| *told < nonce), "{nonce} after {before:?}");
            player.walk_and_cash_out(0).await;
        }
        world.wait_until_settled().await;
        for (bet, there) in [
            (&self.open, "voided"),
            (&self.unknown, "cancelled"),
            (&self.of_newcomer, "cancelled"),
        ] {
            assert_eq!(state_at_operator(world, &bet["roundId"]).await, there, "{bet}");
            let id = bet["roundId"].as_str().expect("an id");
            let known = world.wallet_ok(&server, "getTransactionStatus", &[("platformTxId", id)]).await;
            assert_eq!(known["txStatus"], if there == "voided" { 2 } else { -1 }, "{known}");
        }
        self.world.close().await;
    }
}

/// A bet that loses on the road's first lanes when it is walked: its row says so already.
async fn losing_bet(player: &Player, world: &World) -> Value {
    loop {
        let round = player.bet("10.00", "DAREDEVIL").await.ok();
        let key = format!("gameSession:{}-{}", player.user_id, player.agent_id);
        let collision: String = redis::from_redis_value(world.ask_redis(&["HGET", &key, "firstCollision"]).await).expect("a lane");
        let max_lane: String = redis::from_redis_value(world.ask_redis(&["HGET", &key, "maxLane"]).await).expect("a lane");
        let lane: i64 = collision.parse().expect("a number");
        if lane > 0 && lane <= max_lane.parse().expect("a number") {
            return round;
        }
        walk_to_the_end(player).await;
    }
}

async fn walk_to_the_end(player: &Player) {
    let mut lane = 0;
    while player.step(lane).await.ok()["isFinished"] == false {
        lane += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_record_is_put_right() {
    let drill = Drill::run().await;
    let (code, bill) = restore(&drill.world, &[]).await;
    assert_eq!(code, 0, "{bill}");
    for line in [
        " 2  open bets closed as the operator's ledger says",
        " 1  open bets voided",
        " 2  bets that only the operator knows, cancelled there",
        " 1  players that were not in the record",
        " 6  players with new seeds and a new nonce",
        " 6  players signed out",
    ] {
        assert!(bill.contains(line), "{line}:\n{bill}");
    }
    let (code, again) = restore(&drill.world, &[]).await;
    assert_eq!(code, 0, "{again}");
    drill.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_is_run_again() {
    let drill = Drill::run().await;
    for point in ["R1", "R2", "R3", "R4", "R5"] {
        let (code, text) = restore(&drill.world, &[("FAILPOINTS", &format!("{point}=1*return(kill)"))]).await;
        assert!(
            code == -1 && text.contains(&format!("failpoint {point} reached")),
            "{point}: {code} {text}"
        );
        let refusal = refused_start(&drill.world).await;
        assert!(refusal.contains("faircross restore"), "{point}: {refusal}");
    }
    let (code, bill) = restore(&drill.world, &[]).await;
    assert_eq!(code, 0, "{bill}");
    drill.check().await;
}

/// A server is killed at this point of a cash-out.
async fn cash_out_and_die_at(point: &str, world: &World, player: &Player) {
    let mut server = world.start_server_killed_at(point).await;
    let player = player.at(&server);
    let cash_out = player.request(reqwest::Method::POST, "/api/game/cashout").json(&json!({}));
    let _ = player.try_send(cash_out).await;
    assert!(server.wait_until_ended().await, "it is killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_decided_stands() {
    let (world, mut server) = World::with_server().await;
    let player = world.player(&server).await;
    let open = player.stand_on("10.00", "EASY", 0).await;
    world.wait_until_quiet().await;
    server.kill().await;
    let copy = world.copy_database().await;
    cash_out_and_die_at("K9", &world, &player).await;
    world.put_back(&copy).await;
    let (code, bill) = restore(&world, &[]).await;
    assert_eq!(code, 0, "{bill}");
    assert!(bill.contains(" 1  open bets ended as their session had"), "{bill}");
    let _server = world.start_server().await;
    world.wait_until_settled().await;
    assert_eq!(state_of(&world, &open["roundId"]).await, "WON");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_that_finds_the_record_behind_decides_nothing() {
    let (world, mut server) = World::with_server().await;
    let player = world.player(&server).await;
    player.stand_on("10.00", "EASY", 0).await;
    let repeats = world.player(&server).await;
    let repeated = repeats.bet_body("10.00", "EASY").await;
    repeats.try_bet_with_key(&repeated, "one").await.expect("answered").ok();
    world.wait_until_quiet().await;
    server.kill().await;
    let copy = world.copy_database().await;
    let server = world.start_server().await;
    let (player, repeats) = (player.at(&server), repeats.at(&server));
    // A bet that the copy does not have.
    world.player(&server).await.stand_on("10.00", "EASY", 0).await;
    wait_until_marked(&world).await;
    world.put_back(&copy).await;
    wait_for("the server has noticed", async || {
        if server.log().contains("PostgreSQL is behind") {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
    assert!(server.readiness(&world.http).await.is_err(), "nobody is sent here");
    let body = json!({ "betAmount": "1.00", "difficulty": "EASY", "currency": "INR", "hazardEpoch": 0 });
    for (path, body) in [
        ("/api/game/bet", body),
        ("/api/game/step", json!({ "lineNumber": 1 })),
        ("/api/game/cashout", json!({})),
    ] {
        let answer = player.post(path, body).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
    }
    // What stands in an open round may end it.
    let answer = repeats.try_bet_with_key(&repeated, "one").await.expect("answered");
    assert_eq!(answer.status, 503, "a bet that is repeated: {}", answer.body);
    drop(server);
    wait_for("it can be restored", async || {
        let (code, text) = restore(&world, &[]).await;
        if code == 0 { Ok(()) } else { Err(text) }
    })
    .await;
    let _server = world.start_server().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_is_missing_or_of_another_postgresql_is_named_and_no_more() {
    let (world, mut server) = World::with_server().await;
    world.player(&server).await.win_on_lane("1.00", "EASY", 0).await;
    world.wait_until_settled().await;
    wait_until_marked(&world).await;
    server.kill().await;
    world.ask_redis(&["DEL", "record-mark"]).await;
    let mut server = world.start_server().await;
    assert!(server.log().contains("Redis has no mark"), "{}", server.log());
    wait_until_marked(&world).await;
    server.kill().await;
    world.ask_redis(&["HSET", "record-mark", "system", "1", "sequence", "999999"]).await;
    let server = world.start_server().await;
    assert!(server.log().contains("of another PostgreSQL"), "{}", server.log());
    wait_until_marked(&world).await;
    drop(server);
    world.close().await;
}

/// What an operator can have made of a bet that is open here, and what becomes of the bet: its state, the action that it owes and how
/// that stands.
const WORDS: [(&str, &str, &str, &str, &str); 9] = [
    ("PLACED", "bet", "PENDING_VOID", "voidBet", "open"),
    ("PLACED", "voided", "VOIDED", "voidBet", "done"),
    ("PLACED", "cancelled", "VOIDED", "voidBet", "done"),
    ("PLACED", "settled", "PENDING_VOID", "voidBet", "needs_human"),
    ("PENDING", "bet", "PENDING_CANCEL", "cancelBet", "open"),
    ("PENDING", "refused", "PENDING_CANCEL", "cancelBet", "open"),
    ("PENDING", "cancelled", "CANCELLED", "cancelBet", "done"),
    ("PENDING", "cancelled_before_bet", "CANCELLED", "cancelBet", "done"),
    ("PENDING", "voided", "VOIDED", "voidBet", "done"),
];

#[tokio::test(flavor = "multi_thread")]
async fn open_bets_end_by_the_operators_word() {
    let (world, mut server) = World::with_server().await;
    let mut ids = Vec::new();
    for (state, ..) in WORDS.iter().filter(|(state, ..)| *state == "PLACED") {
        let round = world.player(&server).await.stand_on("10.00", "EASY", 0).await;
        ids.push((*state, round["roundId"].clone()));
    }
    for _ in WORDS.iter().filter(|(state, ..)| *state == "PENDING") {
        let player = world.player(&server).await;
        server.kill().await;
        let mut killed = world.start_server_killed_at("K2").await;
        let body = player.at(&killed).bet_body("10.00", "EASY").await;
        let _ = player.at(&killed).try_bet_with_key(&body, "key").await;
        assert!(killed.wait_until_ended().await, "it is killed");
        let id = format!("select bet_id from bets where user_id = '{}' and state = 'PENDING'", player.user_id);
        ids.push(("PENDING", json!(world.ask_database(&id).await)));
        server = world.start_server().await;
    }
    server.kill().await;
    let users: BTreeMap<String, Value> = world
        .bets()
        .await
        .into_iter()
        .map(|bet| (bet["bet_id"].as_str().expect("an id").to_owned(), bet["user_id"].clone()))
        .collect();
    let told = ids.iter().zip(WORDS).map(|((_, id), (_, said, ..))| {
        json!({ "agentId": "demo", "platformTxId": id, "userId": users[id.as_str().expect("an id")], "roundId": id, "currency": "INR",
                "betAmount": "10.00", "state": said, "winAmount": "10.07", "history": [] })
    });
    let file = world.directory.path().join("ledger.json");
    let ledger = json!({ "players": [], "violations": [], "bets": told.collect::<Vec<_>>() });
    std::fs::write(&file, ledger.to_string()).expect("written");
    let (code, bill) = world
        .command(&["restore", "--yes", "--operator-ledger", &file.display().to_string()])
        .await;
    assert_eq!(code, 0, "{bill}");
    for ((_, id), (was, said, state, action, call)) in ids.iter().zip(WORDS) {
        assert_eq!(state_of(&world, id).await, state, "{was} here, {said} there");
        let owed = format!(
            "select min(action || ' ' || outbox.state) from outbox join bets using (sequence) where bet_id = '{}'",
            id.as_str().expect("an id")
        );
        assert_eq!(
            world.ask_database(&owed).await,
            format!("{action} {call}"),
            "{was} here, {said} there"
        );
    }
    let contradicted = ids[3].1.as_str().expect("an id");
    assert!(
        bill.contains(&format!("bet {contradicted}: the operator has settled it with 10.07")),
        "{bill}"
    );
}

/// How long a restore of so many bets may take.
const MANY_WITHIN_S: u64 = 60;
const MANY: usize = 5_000;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_bets_are_closed_by_a_few_statements() {
    let (world, mut server) = World::with_server_and(WorldOptions::default()).await;
    world.player(&server).await.win_on_lane("1.00", "EASY", 0).await;
    world.wait_until_settled().await;
    server.kill().await;
    let bets = "insert into bets (bet_id, agent_id, user_id, game_code, currency, decimal_places, difficulty, stake_minor, configuration_version,
            max_lane, user_seed, user_seed_fresh, nonce, commitment, next_commitment, server_seed_sealed, hazard_epoch, hazard_seed, message,
            placed_at, deadline_at)
        select gen_random_uuid(), agent_id, 'many' || n, game_code, currency, decimal_places, difficulty, stake_minor, configuration_version,
            max_lane, user_seed, false, 0, 'now' || n, 'next' || n, server_seed_sealed, hazard_epoch, hazard_seed, message, placed_at, deadline_at
        from (select * from bets where state = 'WON') as won, generate_series(1, $N) as n";
    world
        .change_database(
            &[
                "insert into players (agent_id, user_id, currency) select 'demo', 'many' || n, 'INR' from generate_series(1, $N) as n",
                "insert into player_seeds select 'demo', 'many' || n, 0, '\\x00', 'now' || n, '\\x00', 'next' || n, 'seed' from generate_series(1, $N) as n",
                bets,
                "update bets set state = 'PLACED' where state = 'PENDING'",
            ]
            .join("; ")
            .replace("$N", &MANY.to_string()),
        )
        .await;
    let open: Vec<Value> = world.bets().await.into_iter().filter(|bet| bet["state"] == "PLACED").collect();
    let entry = |id: &Value, user: &Value| {
        json!({ "agentId": "demo", "platformTxId": id, "userId": user, "roundId": id, "currency": "INR", "betAmount": "1.00",
                "state": "bet", "winAmount": null, "history": [] })
    };
    let known = open.iter().map(|bet| entry(&bet["bet_id"], &bet["user_id"]));
    let unknown = (0..MANY).map(|number| entry(&json!(format!("{number:032x}")), &json!(format!("many{}", number + 1))));
    let ledger = json!({ "players": [], "violations": [], "bets": known.chain(unknown).collect::<Vec<_>>() });
    let file = world.directory.path().join("ledger.json");
    std::fs::write(&file, ledger.to_string()).expect("written");
    let start = Clock::default().monotonic();
    let named = format!("demo={}", file.display());
    let (code, bill) = world.command(&["restore", "--yes", "--operator-ledger", &named]).await;
    assert_eq!(code, 0, "{bill}");
    println!("{MANY} open and {MANY} unknown bets in {:?}", start.elapsed());
    assert!(start.elapsed().as_secs() < MANY_WITHIN_S, "{:?}", start.elapsed());
    let counts = "select concat_ws(' ', (select count(*) from bets where is_open), (select count(*) from outbox where action = 'voidBet' and state = 'open'),
        (select count(*) from outbox where action = 'cancelBet' and state = 'open'), (select count(*) from player_seeds where nonce >= 4294967296))";
    assert_eq!(world.ask_database(counts).await, format!("0 {MANY} {MANY} {}", MANY + 1));
}

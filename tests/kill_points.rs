//! The server is killed (SIGKILL) at each point K1 to K20 of a bet's way, and each time every debit comes to exactly one end:
//! when the server is started again, when Redis was wiped meanwhile, and when a second server was there all along.

use std::time::Duration;

use faircross::clock::Clock;
use serde_json::{Value, json};

use crate::world::{Answer, PATIENCE, Player, Server, World, WorldOptions, wait_for};

/// How the world goes on after the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aftermath {
    Restarted,
    RestartedWithoutRedisData,
    SecondServer,
}

const AFTERMATHS: [Aftermath; 3] = [Aftermath::Restarted, Aftermath::RestartedWithoutRedisData, Aftermath::SecondServer];

/// Who kills the server.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// The failpoint of this name.
    At(&'static str),
    /// The test, once the operator's ledger knows a bet in this state: the call was sent, and its answer is held back.
    OnceOperatorHas(&'static str),
}

/// One way to die.
struct Death {
    kill: Kill,
    /// Faults of the operator that lead there.
    faults: Value,
    /// The life of a round in seconds.
    session_ttl_s: u64,
    /// Whether the player leaves on the first lane, so that the next to touch the round is the sweep.
    leaves: bool,
}

impl Death {
    fn at(point: &'static str) -> Self {
        Self {
            kill: Kill::At(point),
            faults: json!({}),
            session_ttl_s: 30,
            leaves: false,
        }
    }

    fn once_operator_has(state: &'static str, faults: Value) -> Self {
        Self {
            kill: Kill::OnceOperatorHas(state),
            faults,
            session_ttl_s: 30,
            leaves: false,
        }
    }

    fn with_faults(self, faults: Value) -> Self {
        Self { faults, ..self }
    }

    fn with_session_ttl_s(self, session_ttl_s: u64) -> Self {
        Self { session_ttl_s, ..self }
    }

    /// The round is left open, so that a sweep finds it whenever it comes. A player who plays on may end each round before that.
    fn in_a_round_that_is_left(self) -> Self {
        Self { leaves: true, ..self }
    }

    /// Dies in each way of going on.
    async fn survive(&self) {
        for aftermath in AFTERMATHS {
            self.survive_by(aftermath).await;
        }
    }

    async fn survive_by(&self, aftermath: Aftermath) {
        let options = WorldOptions::hasty().with("FAIRCROSS__GAME__SESSION_TTL_S", self.session_ttl_s);
        let world = World::new(options).await;
        let mut server = match self.kill {
            Kill::At(point) => world.start_server_killed_at(point).await,
            // It waits for the answer that is held back, and leaves the bet alone meanwhile.
            Kill::OnceOperatorHas(_) => {
                let patience_ms = PATIENCE.as_millis().to_string();
                world
                    .start_server_with(&[
                        ("FAIRCROSS__WALLET__BET_TIMEOUT_MS", &patience_ms),
                        ("FAIRCROSS__RECOVERY__PENDING_AFTER_MS", &patience_ms),
                    ])
                    .await
            }
        };
        let second = match aftermath {
            // It recovers more slowly, so that the first server gets to the point where it dies.
            Aftermath::SecondServer => Some(
                world
                    .start_server_with(&[
                        ("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", "1500"),
                        ("FAIRCROSS__RECOVERY__DRAIN_EVERY_MS", "1500"),
                    ])
                    .await,
            ),
            Aftermath::Restarted | Aftermath::RestartedWithoutRedisData => None,
        };
        let player = world.player(second.as_ref().unwrap_or(&server)).await.at(&server);
        world.operator.order(self.faults.clone()).await;
        let lost = match self.kill {
            Kill::At(point) => {
                let lost = play_until_it_dies(&player, &mut server, self.leaves).await;
                assert!(
                    server.wait_until_ended().await && server.reached(point),
                    "{point} was not reached: {}",
                    server.log()
                );
                lost
            }
            Kill::OnceOperatorHas(state) => kill_once_operator_has(&world, &player, &mut server, state).await,
        };
        world.operator.clear_faults().await;
        if aftermath == Aftermath::RestartedWithoutRedisData {
            world.ask_redis(&["FLUSHALL"]).await;
        }
        let survivor = match second {
            Some(second) => second,
            None => world.start_server().await,
        };
        let_bet_lock_end(&world, &player.at(&survivor), &lost).await;
        go_on(&player.at(&survivor), lost).await;
        world.close().await;
    }
}

/// What the player knows of the round in which the server died.
#[derive(Default)]
struct LastSeen {
    bet: Value,
    key: String,
    /// The last lane that an answer said was safe.
    lane: i64,
}

/// Plays rounds until a request is no longer answered.
async fn play_until_it_dies(player: &Player, server: &mut Server, leaves: bool) -> LastSeen {
    for round in 0..50 {
        let mut seen = LastSeen {
            key: format!("round-{round}"),
            lane: -1,
            ..LastSeen::default()
        };
        let lanes = if leaves { 1 } else { 2 };
        let patience = Duration::from_millis(if leaves { 2_500 } else { 300 });
        if play(player, &mut seen, lanes).await.is_err() || server.is_gone_within(patience).await {
            return seen;
        }
    }
    panic!("the server did not die: {}", server.log())
}

/// One round of at most two lanes; a player who leaves on the first does not cash out. `Err`: the server is gone.
async fn play(player: &Player, seen: &mut LastSeen, lanes: i64) -> Result<(), reqwest::Error> {
    let hazards = player.try_send(player.request(reqwest::Method::GET, "/api/hazards/EASY")).await?;
    seen.bet = json!({
        "betAmount": "10.00", "difficulty": "EASY", "currency": "INR", "hazardEpoch": hazards.body["epoch"],
        "userSeed": format!("{}.{}", player.user_id, seen.key),
    });
    let answer = player.try_bet_with_key(&seen.bet, &seen.key).await?;
    if answer.status != 200 {
        return Ok(());
    }
    for lane in 0..lanes {
        let stepped = move_on(player, "/api/game/step", lane).await?;
        if stepped.status != 200 || stepped.body["isFinished"] == true {
            return Ok(());
        }
        seen.lane = lane;
    }
    if lanes == 2 {
        move_on(player, "/api/game/cashout", 1).await?;
    }
    Ok(())
}

/// A step or a cash-out, repeated while a busy machine refuses it (503): a round that is given up half way ends otherwise than the
/// test means it to.
async fn move_on(player: &Player, path: &str, lane: i64) -> Result<Answer, reqwest::Error> {
    let start = Clock::default().monotonic();
    while start.elapsed() < PATIENCE {
        let moved = player
            .try_send(player.request(reqwest::Method::POST, path).json(&json!({ "lineNumber": lane })))
            .await?;
        if moved.status != 503 {
            return Ok(moved);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} is refused for {PATIENCE:?} and more")
}

/// Plays until the operator has a bet in `state` whose call is not yet answered, and kills the server there.
async fn kill_once_operator_has(world: &World, player: &Player, server: &mut Server, state: &str) -> LastSeen {
    let mut seen = LastSeen {
        key: "round-0".to_owned(),
        lane: -1,
        ..LastSeen::default()
    };
    let watch = async {
        wait_for(&format!("the operator has a bet {state}"), async || {
            let ledger = world.operator.ledger().await;
            let has = ledger["bets"]
                .as_array()
                .is_some_and(|bets| bets.iter().any(|bet| bet["state"] == state));
            if has { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    };
    let round = async {
        // A busy machine may refuse a bet or have it cancelled; then the player bets again.
        loop {
            seen.key = format!("round-{}", faircross::chance::Chance.token());
            seen.lane = -1;
            let _ = play(player, &mut seen, 2).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! { () = watch => {} () = round => {} }
    server.kill().await;
    seen
}

/// The dead server's bet lock would end by itself after 30 seconds; until then the player is told to wait.
async fn let_bet_lock_end(world: &World, player: &Player, seen: &LastSeen) {
    if seen.bet.is_null() {
        return;
    }
    let answer = player.try_bet_with_key(&seen.bet, &seen.key).await.expect("answered");
    if answer.code() == "bet_in_progress" {
        assert!(answer.retry_after.is_some(), "{}", answer.body);
        world
            .ask_redis(&["DEL", &format!("bet-lock:{}-{}", player.user_id, player.agent_id)])
            .await;
    }
}

/// The player comes back: repeats the bet under its key, and if a round is open, plays it to its end from what was shown.
async fn go_on(player: &Player, seen: LastSeen) {
    if seen.bet.is_null() {
        // The server died before the player could bet again.
        return;
    }
    let answer = player
        .until_available(|| async { player.try_bet_with_key(&seen.bet, &seen.key).await.expect("answered") })
        .await;
    match answer.status {
        200 if answer.body["isFinished"] == false => {
            assert!(answer.body["lineNumber"].as_i64() >= Some(-1), "{}", answer.body);
            let ended = play_on(player, seen.lane).await;
            assert_eq!(ended["isFinished"], true, "{ended}");
        }
        200 => {}
        // The bet never came to be, is being returned, or its epoch is over by now.
        409 | 504 => {}
        status => panic!("{status}: {}", answer.body),
    }
}

/// From the lane that was shown: one more step if none was taken, then cash-out on the lane where the player stands.
async fn play_on(player: &Player, shown: i64) -> Value {
    let lane = shown.max(0);
    let stepped = player.step(lane).await;
    match stepped.status {
        200 if stepped.body["isFinished"] == true => stepped.body,
        // The step that was not answered had been taken: the player stands one lane further.
        200 | 409 => {
            let session = player.get("/api/game/session").await;
            let here = session.body["lineNumber"].as_i64().unwrap_or(lane).max(lane);
            let ended = player.insist("/api/game/cashout", json!({ "lineNumber": here })).await;
            ended.ok()
        }
        404 => json!({ "isFinished": true }),
        status => panic!("{status}: {}", stepped.body),
    }
}

macro_rules! deaths {
    ($($name:ident: $death:expr;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                $death.survive().await;
            }
        )+
    };
}

deaths! {
    k1_after_the_first_script: Death::at("K1");
    k2_intent_committed_debit_not_sent: Death::at("K2");
    k3_debit_sent_no_answer: Death::once_operator_has("bet", json!({ "bet": { "kind": "delay_after", "held": true } }));
    k4_answer_read_outcome_not_written: Death::at("K4");
    k5_outcome_written_session_not_opened: Death::at("K5");
    k6_session_opened_player_not_answered: Death::at("K6");
    k7_before_the_script_of_a_step: Death::at("K7");
    k8_safe_lane_not_answered: Death::at("K8");
    k9_ended_in_redis_not_committed: Death::at("K9");
    k10_committed_not_answered: Death::at("K10");
    k11_before_the_settle_is_sent: Death::at("K11");
    k12_settle_sent_no_answer: Death::once_operator_has("settled", json!({ "settle": { "kind": "delay_after", "held": true } }));
    k13_settle_answered_row_not_updated: Death::at("K13");
    k14_lease_taken: Death::at("K14").with_faults(json!({ "settle": { "kind": "refuse", "status": "9998" } }));
    k15_cancel_sent_no_answer: Death::once_operator_has(
        "cancelled",
        json!({ "bet": { "kind": "drop_after" }, "cancelBet": { "kind": "delay_after", "held": true } })
    );
    k16_cancel_answered_row_not_updated: Death::at("K16").with_faults(json!({ "bet": { "kind": "drop_after" } }));
    k17_sweep_after_its_read: Death::at("K17").in_a_round_that_is_left();
    k18_sweep_after_a_terminal_mark: Death::at("K18").with_session_ttl_s(1).in_a_round_that_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_void_sent_no_answer() {
    let void = json!({ "voidBet": { "kind": "delay_after", "held": true } });
    for wiped in [false, true] {
        let world = World::new(WorldOptions::hasty().with("FAIRCROSS__GAME__SESSION_TTL_S", 1)).await;
        let mut server = world.start_server().await;
        world.operator.order(void.clone()).await;
        world.player(&server).await.bet("10.00", "EASY").await.ok();
        wait_for("the operator has voided", async || {
            let ledger = world.operator.ledger().await;
            if ledger["bets"][0]["state"] == "voided" {
                Ok(())
            } else {
                Err(ledger.to_string())
            }
        })
        .await;
        server.kill().await;
        world.operator.clear_faults().await;
        if wiped {
            world.ask_redis(&["FLUSHALL"]).await;
        }
        let _survivor = world.start_server().await;
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k19_user_seed_changed_player_not_answered() {
    let world = World::new(WorldOptions::default()).await;
    let mut server = world.start_server_killed_at("K19").await;
    let player = world.player(&server).await;
    let change = player
        .request(reqwest::Method::PUT, "/api/game/seeds")
        .json(&json!({ "userSeed": "mine" }));
    assert!(player.try_send(change).await.is_err());
    assert!(server.wait_until_ended().await && server.reached("K19"));
    let survivor = world.start_server().await;
    let player = player.at(&survivor);
    assert_eq!(
        player.get("/api/game/seeds").await.ok()["userSeed"],
        "mine",
        "committed before the answer was lost"
    );
    let mut body = player.bet_body("10.00", "EASY").await;
    body.as_object_mut().expect("an object").remove("userSeed");
    let bet = player.place(body).await.ok();
    let end = player.walk_and_cash_out(0).await;
    assert_eq!(
        player.history(end["betId"].as_str().expect("an id")).await["fairness"]["userSeed"],
        "mine"
    );
    assert_eq!(bet["betId"], end["betId"]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k20_clean_up_killed_in_a_batch_loses_and_doubles_nothing() {
    let options = WorldOptions::default()
        .with("FAIRCROSS__JOBS__CLEANUP_BATCH", 2)
        .with("FAIRCROSS__JOBS__BET_CLEANUP", "* * * * * *");
    let world = World::new(options).await;
    let quiet = world.start_server_with(&[("FAIRCROSS__JOBS__BET_CLEANUP", "0 0 2 1 1 *")]).await;
    let player = world.player(&quiet).await;
    for _ in 0..5 {
        player.bet("10.00", "EASY").await.ok();
        player.walk_and_cash_out(0).await;
    }
    world.wait_until_settled().await;
    drop(quiet);
    let mut connection = world.connection().await;
    let age = "set session_replication_role = replica; update bets set ended_at = ended_at - interval '500 days'";
    sqlx::raw_sql(age).execute(&mut connection).await.expect("aged");
    // The clean-up may come before anybody could find the server ready.
    let (environment, log) = world.of_next_server(&[("FAILPOINTS", "K20=1*return(kill)")]);
    let mut server = Server::launch(&environment, log).await;
    assert!(server.wait_until_ended().await && server.reached("K20"));
    let in_both = "select count(*) from bets join bets_archive using (bet_id)";
    let in_all = "select count(*) from (select bet_id from bets union all select bet_id from bets_archive) as every";
    assert_eq!(
        (world.ask_database(in_both).await, world.ask_database(in_all).await),
        ("0".into(), "5".into())
    );
    assert_eq!(world.ask_database("select count(*) from outbox").await, "5");
    wait_for("PostgreSQL has given up what the dead server had begun", async || {
        let of_server = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'faircross'";
        let left = world.ask_database(of_server).await;
        if left == "0" { Ok(()) } else { Err(left) }
    })
    .await;
    // The dead server's lock would end by itself after five minutes.
    world.ask_redis(&["DEL", "bet-cleanup-lock"]).await;
    let survivor = world.start_server().await;
    wait_for("all are archived", async || {
        let left = world.ask_database("select count(*) from bets").await;
        if left == "0" { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(
        (world.ask_database(in_both).await, world.ask_database(in_all).await),
        ("0".into(), "5".into())
    );
    assert_eq!(
        world.ask_database("select count(*) from outbox").await,
        "0",
        "what was owed for them went with them"
    );
    let archived = world
        .ask_database("select bet_id from bets_archive order by sequence limit 1")
        .await;
    assert_eq!(
        player.at(&survivor).history(&archived).await["id"],
        json!(archived),
        "an archived bet can still be looked at"
    );
    let fields = [("platformTxId", archived.as_str())];
    let told = world.wallet_ok(&survivor, "getTransactionStatus", &fields).await;
    assert!(told["txStatus"].is_i64(), "by its operator as well: {told}");
}

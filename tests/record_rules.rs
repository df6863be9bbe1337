//! What the record refuses by itself, whoever asks: every value rule by its name, on real rows. (Which changes of state are legal, what is
//! paid and what is never undone is asked by `models::bet_states`.)

use sqlx::Executor as _;

use crate::world::{Player, World, wait_for};

/// What an intent writes into a bet.
const VALUES: &str = "agent_id, user_id, game_code, currency, decimal_places, difficulty, stake_minor, configuration_version, max_lane, \
    user_seed, user_seed_fresh, nonce, commitment, next_commitment, server_seed_sealed, hazard_epoch, hazard_seed, message, placed_at, deadline_at";

/// Runs a statement that breaks a rule, and says which. Nothing of it stays.
async fn broken_rule(world: &World, sql: &str) -> String {
    let refused = world.connection().await.execute(sqlx::AssertSqlSafe(sql.to_owned())).await;
    let error = refused.expect_err(sql);
    let database = error.as_database_error().unwrap_or_else(|| panic!("{sql}: {error}"));
    database.constraint().unwrap_or_else(|| panic!("{sql}: {error}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_rule_refuses_by_its_name() {
    let new_bet = |column: &str, value: &str| {
        format!("insert into bets (bet_id, {column}, {VALUES}) select gen_random_uuid(), {value}, {VALUES} from bets")
    };
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    player.win_on_lane("10.00", "EASY", 0).await;
    world.wait_until_settled().await;
    let user = &player.user_id;
    let copy = |replaced: &[(&str, &str)]| {
        let chosen = replaced.iter().fold(VALUES.to_owned(), |chosen, (name, by)| {
            chosen.replace(&format!(" {name},"), &format!(" {by},"))
        });
        format!("insert into bets (bet_id, {VALUES}) select gen_random_uuid(), {chosen} from bets")
    };
    let seeds = |nonce: &str, commitment: &str, next: &str| {
        format!(
            "insert into player_seeds select agent_id, user_id, {nonce}, server_seed_sealed, {commitment}, next_server_seed_sealed, {next}, user_seed
             from player_seeds"
        )
    };
    let rules = [
        (
            "players_user_id_form",
            "insert into players (agent_id, user_id, currency) values ('demo', 'No', 'INR')".to_owned(),
        ),
        (
            "players_status_known",
            format!("update players set status = 'gone' where user_id = '{user}'"),
        ),
        (
            "players_bet_limit_positive",
            format!("update players set bet_limit_minor = 0 where user_id = '{user}'"),
        ),
        ("player_seeds_nonce_range", seeds("-1", "'c'", "'n'")),
        ("player_seeds_nonce_by_one", seeds("nonce + 1", "'c'", "'n'")),
        ("player_seeds_nonce_by_one", seeds("nonce + 2", "'c'", "'n'")),
        ("player_seeds_nonce_by_one", seeds("0", "'c'", "'n'")),
        ("player_seeds_commitments_differ", seeds("nonce + 1", "'c'", "'c'")),
        (
            "player_seeds_commitment_unrevealed",
            seeds("nonce + 1", "'c'", "(select min(commitment) from bets)"),
        ),
        (
            "player_seeds_player_known",
            seeds("0", "'c'", "'n'").replace("select agent_id, user_id,", "select agent_id, 'nobody',"),
        ),
        (
            "player_seeds_restored_forward",
            format!(
                "select set_config('faircross.restoring', 'on', false); {}",
                seeds("nonce + 5", "'c'", "'n'")
            ),
        ),
        ("players_with_bets_stay", format!("delete from players where user_id = '{user}'")),
        (
            "bets_player_known",
            copy(&[("user_id", "'nobody'"), ("commitment", "commitment || 'x'")]),
        ),
        (
            "bets_configuration_known",
            copy(&[("configuration_version", "999"), ("commitment", "commitment || 'x'")]),
        ),
        ("bets_commitment_unrevealed", copy(&[("nonce", "nonce + 1")])),
        ("bets_begin_pending", new_bet("state", "'PLACED'")),
        ("bets_begin_whole", new_bet("last_lane", "0")),
        ("bets_difficulty_known", copy(&[("difficulty", "'NONE'")])),
        ("bets_stake_positive", copy(&[("stake_minor", "0")])),
        (
            "outbox_action_known",
            "insert into outbox (sequence, agent_id, action, message) values (1, 'demo', 'pay', 'm')".to_owned(),
        ),
        ("outbox_state_known", "update outbox set state = 'lost'".to_owned()),
        (
            "wallet_audit_outcome_known",
            "insert into wallet_audit (agent_id, action, message, outcome, duration_ms) values ('demo', 'bet', 'm', 'maybe', 1)".to_owned(),
        ),
    ];
    for (rule, sql) in rules {
        assert_eq!(broken_rule(&world, &sql).await, rule, "{sql}");
    }

    player.bet("10.00", "EASY").await.ok();
    let end = "update bets set state = 'PENDING_SETTLEMENT', ended_at = now(), end_reason =";
    let rules_of_an_end = [
        (
            "bets_lane_range",
            "update bets set last_lane = max_lane + 1 where state = 'PLACED'".to_owned(),
        ),
        ("bets_end_whole", format!("{end} null where state = 'PLACED'")),
        ("bets_end_reason_known", format!("{end} 'luck' where state = 'PLACED'")),
        // Both statements are one transaction.
        (
            "bets_won_pays",
            format!("{end} 'hazard' where state = 'PLACED'; update bets set state = 'WON' where state = 'PENDING_SETTLEMENT'"),
        ),
    ];
    for (rule, sql) in rules_of_an_end {
        assert_eq!(broken_rule(&world, &sql).await, rule, "{sql}");
    }
    player.walk_and_cash_out(0).await;
    world.wait_until_settled().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_term_of_a_bet_and_no_part_of_a_message_can_be_changed() {
    let (world, server) = World::with_server().await;
    world.player(&server).await.win_on_lane("10.00", "EASY", 0).await;
    world.wait_until_settled().await;
    let changes = [
        ("bet_id", "gen_random_uuid()"),
        ("agent_id", "agent_id || 'x'"),
        ("user_id", "user_id || 'x'"),
        ("game_code", "'x'"),
        ("currency", "'EUR'"),
        ("decimal_places", "decimal_places + 1"),
        ("difficulty", "'HARD'"),
        ("stake_minor", "stake_minor + 1"),
        ("configuration_version", "configuration_version + 1"),
        ("max_lane", "max_lane + 1"),
        ("user_seed", "'x'"),
        ("user_seed_fresh", "not user_seed_fresh"),
        ("nonce", "nonce + 1"),
        ("commitment", "'x'"),
        ("next_commitment", "'x'"),
        ("server_seed_sealed", "'x'::bytea"),
        ("hazard_epoch", "hazard_epoch + 1"),
        ("hazard_seed", "'x'"),
        ("idempotency_key", "'another'"),
        ("message", "message || ' '"),
        ("placed_at", "placed_at + interval '1 s'"),
        ("created_at", "created_at + interval '1 s'"),
        ("deadline_at", "deadline_at + interval '1 s'"),
        ("is_open", "true"),
        ("history_states", "array['WON']"),
        ("history_times[1]", "now()"),
    ];
    for (column, value) in changes {
        let broken = broken_rule(&world, &format!("update bets set {column} = {value}")).await;
        assert_eq!(broken, "bets_terms_immutable", "{column}");
    }
    for (column, value) in [
        ("nonce", "nonce + 1"),
        ("user_id", "'x'"),
        ("commitment", "'x'"),
        ("next_commitment", "'x'"),
        ("server_seed_sealed", "'x'::bytea"),
        ("next_server_seed_sealed", "'x'::bytea"),
    ] {
        let broken = broken_rule(&world, &format!("update player_seeds set {column} = {value}")).await;
        assert_eq!(broken, "player_seeds_immutable", "{column}");
    }
    for (column, value) in [
        ("sequence", "sequence + 1"),
        ("agent_id", "'x'"),
        ("action", "'voidBet'"),
        ("message", "message || ' '"),
    ] {
        let broken = broken_rule(&world, &format!("update outbox set {column} = {value}")).await;
        assert_eq!(broken, "outbox_message_immutable", "{column}");
    }
    let untold =
        "select count(*) from information_schema.columns where table_schema = 'public' and table_name = 'bets' and column_name not in
        ('sequence', 'state', 'refused_status', 'never_sent', 'last_lane', 'end_reason', 'coefficient_hundredths', 'payout_minor', 'ended_at', 'settled_at')";
    assert_eq!(
        world.ask_database(untold).await,
        changes.len().to_string(),
        "a new column is a term, or named here"
    );
    world.close().await;
}

/// While a transaction is held open PostgreSQL removes nothing of what was replaced since, however often it cleans up.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_transaction_that_is_held_open_a_bet_reads_no_more_than_before() {
    const ROUNDS: u64 = 100;
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    player.win_on_lane("10.00", "EASY", 0).await;
    let before = blocks_read_by_a_bet(&world, &player).await;

    let mut holder = world.connection().await;
    let held = "begin isolation level repeatable read; select from players";
    holder.execute(held).await.expect("a snapshot");
    for _ in 0..ROUNDS {
        player.win_on_lane("10.00", "EASY", 0).await;
    }
    let behind = blocks_read_by_a_bet(&world, &player).await;
    assert!(
        behind < before + ROUNDS / 2,
        "{behind} blocks after {ROUNDS} rounds, {before} before"
    );
    holder.execute("rollback").await.expect("let go");
    world.wait_until_settled().await;
    world.close().await;
}

/// The statistics are right and mislead: one row for each of sixteen players, in a large index.
#[tokio::test(flavor = "multi_thread")]
async fn seeds_that_were_deleted_are_not_walked_past() {
    const DELETED: u64 = 20_000;
    const ROUNDS: u64 = 20;
    let (world, mut server) = World::with_server().await;
    let player = world.player(&server).await;
    player.win_on_lane("10.00", "EASY", 0).await;
    let mut holder = world.connection().await;
    let held = "begin isolation level repeatable read; select from players";
    holder.execute(held).await.expect("a snapshot");
    let spent = format!(
        "set session_replication_role = replica;
         insert into player_seeds
             select agent_id, case number % 16 when 0 then user_id else 'other' || number % 16 end, nonce - number,
                    server_seed_sealed, commitment, next_server_seed_sealed, next_commitment, user_seed
             from player_seeds, generate_series(1, {DELETED}) as number;
         delete from player_seeds where nonce < (select max(nonce) - 15 from player_seeds);
         analyze player_seeds"
    );
    world.change_database(&spent).await;
    for _ in 0..ROUNDS {
        player.win_on_lane("10.00", "EASY", 0).await;
    }
    server.signal("TERM");
    assert!(!server.wait_until_ended().await, "it ends by itself");
    // Its sessions tell what they read when they end.
    wait_for("the server's sessions have ended", async || {
        let others = "select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'
                          and pid <> pg_backend_pid() and backend_xmin is null";
        match &*world.ask_database(others).await {
            "0" => Ok(()),
            others => Err(others.to_owned()),
        }
    })
    .await;
    let read = "select idx_tup_read from pg_stat_user_indexes where indexrelname = 'player_seeds_pkey'";
    let read: u64 = world.ask_database(read).await.parse().expect("a count");
    assert!(
        (ROUNDS..ROUNDS * 50).contains(&read),
        "{read} entries of the index were read in {ROUNDS} rounds"
    );
    holder.execute("rollback").await.expect("let go");
    world.change_database("delete from player_seeds where user_id like 'other%'").await;
    let _next = world.start_server().await;
    world.wait_until_settled().await;
    world.close().await;
}

/// How many blocks PostgreSQL looks at to take one more bet of this player, with all its rules. It is not taken.
async fn blocks_read_by_a_bet(world: &World, player: &Player) -> u64 {
    let newest = |table: &str| {
        let user_id = &player.user_id;
        format!("(select * from {table} where agent_id = 'demo' and user_id = '{user_id}' order by nonce desc limit 1)")
    };
    // All but the seeds and their nonce are those of the bet before.
    let chosen = VALUES.split(", ").map(|column| match column {
        "nonce" | "commitment" | "next_commitment" | "server_seed_sealed" => format!("in_force.{column}"),
        _ => format!("last.{column}"),
    });
    let chosen = chosen.collect::<Vec<_>>().join(", ");
    let (bets, seeds) = (newest("bets"), newest("player_seeds"));
    let insert = format!(
        "explain (analyze, buffers, format json)
         insert into bets (bet_id, {VALUES}) select gen_random_uuid(), {chosen} from {bets} as last, {seeds} as in_force"
    );
    let mut connection = world.connection().await;
    let mut blocks = 0;
    // The second time it has read what a connection reads once.
    for _ in 0..2 {
        connection.execute("begin").await.expect("a transaction");
        let insert = sqlx::query_scalar(sqlx::AssertSqlSafe(insert.clone()));
        let plan: serde_json::Value = insert.fetch_one(&mut connection).await.expect("a plan");
        connection.execute("rollback").await.expect("undone");
        let of_kind = |kind: &str| plan[0]["Plan"][kind].as_u64().expect("a count");
        blocks = of_kind("Shared Hit Blocks") + of_kind("Shared Read Blocks");
    }
    blocks
}

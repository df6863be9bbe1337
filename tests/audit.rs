//! The audit must be able to fail. A right set-up passes it; then the same set-up is spoilt in one way after another, in the
//! database, in the operator's ledger, in Redis or in what clients recorded, and each time the check that is there for it
//! must say so.

mod right;

use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use faircross::audit::{self, AuditError, Limits, Report, Scope, Sources};
use faircross::ledger::{Ledger, LedgerSettings};
use faircross::live::{Live, LiveSettings, NewSession};
use faircross::play::round::RoundFacts;
use faircross::stores::RedisServer;
use reqwest::Url;
use right::{RIGHT, Right, TEMPLATE};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::stores::CLUSTER;
use crate::world::wait_for;

/// A copy of the right database that only audits look at.
static UNTOUCHED: LazyLock<&'static str> = LazyLock::new(|| {
    LazyLock::force(&RIGHT);
    CLUSTER.create_database("audit_untouched", Some(TEMPLATE)).expect("a copy");
    "audit_untouched"
});

/// A copy of the right set-up.
struct Copy {
    name: String,
    database: String,
    redis: RedisServer,
    live: Live,
    ledger: Value,
    transcript: Option<Vec<Value>>,
    settled: bool,
}

impl Copy {
    /// With a database that may be changed.
    async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("audit_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let copied = name.clone();
        let copy = move || {
            LazyLock::force(&RIGHT);
            CLUSTER.create_database(&copied, Some(TEMPLATE)).expect("a copy");
        };
        tokio::task::spawn_blocking(copy).await.expect("a copy");
        Self::of(name).await
    }

    /// With the database that nobody changes.
    async fn with_untouched_database() -> Self {
        let name = tokio::task::spawn_blocking(|| (*UNTOUCHED).to_owned()).await.expect("a copy");
        Self::of(name).await
    }

    /// With the session of the open round, and of one that has just ended.
    async fn of(name: String) -> Self {
        let right = &*RIGHT;
        let redis = tokio::task::spawn_blocking(|| RedisServer::temporary(&[]))
            .await
            .expect("not cancelled");
        let redis = redis.expect("Redis starts");
        let live = Live::connect(&LiveSettings {
            url: redis.url().into(),
            tls: Default::default(),
            command_timeout_ms: 60_000,
            locks_enabled: true,
        });
        let copy = Self {
            database: CLUSTER.url(&name),
            name,
            live: live.expect("the address is right"),
            redis,
            ledger: right.ledger.clone(),
            transcript: None,
            settled: false,
        };
        copy.open_session("open").await;
        copy.open_session("settling").await;
        let hit = first_collision("settling").to_string();
        copy.redis(&format!("HSET {} currentStep {hit} isActive 0 endReason hazard", key("dora")));
        copy
    }

    async fn open_session(&self, kind: &str) {
        let (facts, sequence) = (&RIGHT.bets[kind], RIGHT.sequences[kind]);
        let session = NewSession {
            player: &facts.player(),
            sequence,
            round_id: &facts.round_id.to_string(),
            round_json: &facts.to_json(),
            first_collision: facts.collision_columns.first().copied(),
            max_lane: facts.max_lane,
            current_step: -1,
            restored: false,
            ttl_s: 600,
            lock_token: None,
        };
        // On a machine that is busy an answer may come too late; opening is repeatable.
        wait_for("the session is opened", async || match self.live.open_session(session).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }

    /// Changes the database behind the back of its triggers.
    fn sql(&self, statements: &str) {
        assert_ne!(self.name, "audit_untouched");
        let changed = CLUSTER.execute(&self.name, &format!("set session_replication_role = replica; {statements}"));
        changed.unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    fn redis(&self, command: &str) {
        self.redis_raw(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }

    fn redis_raw(&self, command: &[&[u8]]) {
        let mut connection = redis::Client::open(self.redis.url())
            .and_then(|client| client.get_connection())
            .expect("connected");
        let mut asked = redis::Cmd::new();
        asked.arg(command);
        asked.exec(&mut connection).expect("done");
    }

    async fn try_audit(&self) -> Result<Report, AuditError> {
        let ledger = Ledger::connect(&LedgerSettings {
            url: self.database.as_str().into(),
            max_connections: 3,
            acquire_timeout_ms: 60_000,
            statement_timeout_ms: 60_000,
            lock_timeout_ms: 60_000,
            probe_timeout_ms: 60_000,
        });
        let ledger = ledger.expect("the address is right");
        let operator = serve(&self.ledger).await;
        let transcript = self.transcript.as_ref().map(|lines| {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            lines.iter().for_each(|line| writeln!(file, "{line}").expect("written"));
            file
        });
        let sources = Sources {
            ledger: &ledger,
            live: &self.live,
            redis: &redis::Client::open(self.redis.url()).expect("a url"),
            sealing: &RIGHT.sealing(),
            operator_ledger: &operator.parse::<Url>().expect("a url"),
            transcripts: transcript.as_ref().map(|file| file.path().to_owned()),
            searched_files: Vec::new(),
        };
        let scope = Scope {
            agents: Vec::new(),
            settled: self.settled,
        };
        // The right set-up is as old as the first of these tests; what is spoilt is an hour old.
        let limits = Limits {
            pending_s: 1_800,
            overdue_s: 1_800,
            retention_days: 1827,
        };
        let report = audit::run(&sources, &scope, &limits).await;
        ledger.close().await;
        report
    }

    async fn audit(&self) -> Report {
        self.try_audit().await.expect("an audit")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if self.name != "audit_untouched" {
            CLUSTER.drop_database(&self.name).expect("dropped");
        }
    }
}

/// The address of a server that has this ledger to give, once for each audit.
async fn serve(ledger: &Value) -> String {
    let body = ledger.to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.expect("a request"), 0);
        }
        stream.write_all(answer.as_bytes()).await.expect("answered");
    });
    format!("http://{address}/ledger")
}

fn key(user_id: &str) -> String {
    format!("gameSession:{user_id}-demo")
}

fn first_collision(kind: &str) -> u8 {
    RIGHT.bets[kind].collision_columns[0]
}

/// Spoils anything but the database, and expects the named check to find it.
async fn expect_found(check: &str, what: &str, spoil: impl AsyncFnOnce(&mut Copy)) {
    let mut copy = Copy::with_untouched_database().await;
    spoil(&mut copy).await;
    assert_found(check, what, &copy.audit().await);
}

/// Spoils the database, and expects the named check to find it. `{kind}` in the statements is the bet's id.
async fn expect_found_in_database(check: &str, statements: &str) -> Report {
    let copy = Copy::new().await;
    let filled = RIGHT.bets.iter().fold(statements.to_owned(), |text, (kind, facts)| {
        text.replace(&format!("{{{kind}}}"), &format!("'{}'", facts.round_id))
    });
    copy.sql(&filled);
    let report = copy.audit().await;
    assert_found(check, statements, &report);
    report
}

fn assert_found(check: &str, what: &str, report: &Report) {
    let found = report.check(check).unwrap_or_else(|| panic!("there is no check {check}"));
    let is_found = found.violations > 0 && !found.examples.is_empty() && !report.holds;
    assert!(is_found, "{what}: {check} has not found it\n{report}");
}

/// The entry of a bet in the operator's ledger.
fn entry<'a>(copy: &'a mut Copy, kind: &str) -> &'a mut Value {
    let id = RIGHT.id(kind);
    let bets = copy.ledger["bets"].as_array_mut().expect("bets");
    bets.iter_mut().find(|bet| bet["platformTxId"] == *id).expect("an entry")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_set_up_passes_and_every_check_has_looked_at_something() {
    let mut copy = Copy::with_untouched_database().await;
    copy.transcript = Some(true_transcript(&RIGHT));
    let report = copy.audit().await;
    assert!(report.holds, "{report}");
    for check in &report.checks {
        assert!(check.examined > 0, "{} looked at nothing", check.name);
    }
    assert_eq!(
        report
            .check("terminal_states_agree")
            .map(|check| check.examined)
            .unwrap_or_default() as usize,
        row_count(&copy)
    );
}

fn row_count(copy: &Copy) -> usize {
    let sql = "select (select count(*) from bets) + (select count(*) from bets_archive)";
    CLUSTER.execute(&copy.name, sql).expect("counted").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_disagrees_with_the_operator_is_found() {
    for (check, kind, change) in [
        ("sums_agree", "cashed out", json!({"winAmount": "0.01"})),
        ("amounts_agree", "cashed out", json!({"winAmount": "0.01"})),
        ("amounts_agree", "archived", json!({"betAmount": "11.00"})),
        ("amounts_agree", "open", json!({"currency": "EUR"})),
        ("amounts_agree", "hit", json!({"userId": "bob"})),
        ("terminal_states_agree", "hit", json!({"state": "voided"})),
        ("terminal_states_agree", "void", json!({"state": "cancelled"})),
        ("terminal_states_agree", "cancelled", json!({"state": "bet"})),
        ("terminal_states_agree", "refused", json!({"state": "bet"})),
        ("terminal_states_agree", "open", json!({"state": "refused"})),
    ] {
        expect_found(check, &format!("{kind} {change}"), async |copy| {
            let entry = entry(copy, kind);
            for (field, value) in change.as_object().expect("fields") {
                entry[field] = value.clone();
            }
        })
        .await;
    }
    expect_found("terminal_states_agree", "a bet that the operator never saw", async |copy| {
        let id = RIGHT.id("hit");
        copy.ledger["bets"]
            .as_array_mut()
            .expect("bets")
            .retain(|bet| bet["platformTxId"] != *id);
    })
    .await;
    expect_found("balances_follow", "a balance", async |copy| {
        copy.ledger["players"][0]["balance"] = json!("999999.00")
    })
    .await;
    expect_found("operator_has_no_complaint", "a complaint", async |copy| {
        copy.ledger["violations"] = json!([{"kind": "repeat_with_other_bytes", "at": "", "agentId": "demo", "action": "settle",
            "platformTxId": RIGHT.id("hit"), "detail": "other bytes"}]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_that_is_not_closed_once_is_found() {
    for kind in ["hit", "cancelled", "archived"] {
        let statements = format!("delete from bets where bet_id = {{{kind}}}; delete from bets_archive where bet_id = {{{kind}}}");
        expect_found_in_database("debits_closed", &statements).await;
    }
    let is_settle = |event: &Value| event["action"] == "settle";
    expect_found("debits_closed", "a settle that never arrived", async |copy| {
        let history = entry(copy, "cashed out")["history"].as_array_mut().expect("a history");
        history.retain(|event| !is_settle(event));
    })
    .await;
    for (kind, action) in [
        ("cashed out", "settle"),
        ("cashed out", "voidBet"),
        ("void", "settle"),
        ("cancelled", "settle"),
        ("cancelled", "cancelBet"),
        ("refused", "settle"),
    ] {
        expect_found("nothing_credited_twice", &format!("{action} of {kind}"), async |copy| {
            let history = entry(copy, kind)["history"].as_array_mut().expect("a history");
            history.push(json!({"action": action, "at": "", "status": "0000", "applied": true, "messageSha256": "00"}));
        })
        .await;
    }
    for kind in ["open", "hit", "cancelled", "void"] {
        expect_found("same_bytes", kind, async |copy| {
            let history = entry(copy, kind)["history"].as_array_mut().expect("a history");
            history.last_mut().expect("an event")["messageSha256"] = json!("00".repeat(32));
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_not_legal_is_found() {
    for statements in [
        "update bets set history_states = array_remove(history_states, 'PLACED'), history_times = history_times[2:] where bet_id = {hit}",
        "update bets set history_states = '{}', history_times = '{}' where bet_id = {pending}",
        "update bets set history_states = history_states[2:], history_times = history_times[2:] where bet_id = {hit}",
        "update bets set history_states = array_replace(history_states, 'LOST', 'WON') where bet_id = {hit}",
        "update bets set history_states = history_states || array['PENDING_VOID'], history_times = history_times || now() where bet_id = {hit}",
        "update bets set history_times = history_times[2:] where bet_id = {hit}",
        "update bets set history_times[2] = history_times[1] - interval '1 s' where bet_id = {hit}",
        "update bets_archive set history_states = array_remove(history_states, 'PLACED'), history_times = history_times[2:] where bet_id = {archived}",
        "update bets set state = 'LOST' where bet_id = {settling}",
        "update bets set state = 'PLACED' where bet_id = {pending}",
    ] {
        expect_found_in_database("histories_legal", statements).await;
    }
    for statements in [
        // Every end a day later than it was.
        "update bets set history_times = (select array_agg(case when state = 'PENDING_SETTLEMENT' then at + interval '1 day' else at end order by number)
             from unnest(history_states, history_times) with ordinality as change (state, at, number))",
        "update bets set history_times = (history_times[1] - interval '1 day') || history_times[2:] where bet_id = {void}",
    ] {
        expect_found_in_database("one_open_bet", statements).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pending_beyond_its_age_is_found() {
    for statements in [
        "update bets set created_at = now() - interval '1 hour' where bet_id = {pending}",
        "update bets set deadline_at = now() - interval '1 hour' where bet_id = {open}",
        "update outbox set due_at = now() - interval '1 hour', leased_until = null where state = 'open'",
    ] {
        expect_found_in_database("nothing_pending", statements).await;
    }
    let mut copy = Copy::with_untouched_database().await;
    copy.settled = true;
    let report = copy.audit().await;
    let pending = report.check("nothing_pending").expect("the check");
    assert_eq!(pending.violations, 3, "the open, the pending and the settling one: {report}");
    for statements in [
        "delete from outbox where state = 'open'",
        "update outbox set state = 'done' where state = 'open'",
        "delete from outbox where action = 'cancelBet'",
        "update outbox set message = message || ' ' where outbox_id = (select max(outbox_id) from outbox where action = 'cancelBet')",
        "update outbox set sequence = (select sequence from bets where bet_id = {open}) where action = 'voidBet'",
    ] {
        expect_found_in_database("calls_owed", statements).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_is_not_what_its_seeds_say_is_found() {
    for (check, statements) in [
        (
            "seeds_match_commitments",
            "update bets set server_seed_sealed = '\\x00' where bet_id = {hit}",
        ),
        (
            "seeds_match_commitments",
            "update bets set commitment = encode(sha256('another'), 'hex') where bet_id = {hit}",
        ),
        (
            "seeds_match_commitments",
            "update player_seeds set server_seed_sealed = next_server_seed_sealed where user_id = 'bob'",
        ),
        (
            "seeds_match_commitments",
            "update player_seeds set next_server_seed_sealed = server_seed_sealed where user_id = 'bob'",
        ),
        (
            "roads_are_public",
            "update bets set hazard_seed = encode(sha256('another'), 'hex') where bet_id = {hit}",
        ),
        (
            "roads_are_public",
            "update bets set hazard_epoch = hazard_epoch + 1 where bet_id = {hit}",
        ),
        ("roads_are_public", "delete from hazard_chains"),
        (
            "ends_follow_the_road",
            "update bets set last_lane = last_lane - 1 where bet_id = {hit}",
        ),
        (
            "ends_follow_the_road",
            "update bets set max_lane = max_lane - 1 where bet_id = {void}",
        ),
        ("ends_follow_the_road", "update bets set last_lane = max_lane where bet_id = {open}"),
        (
            "ends_follow_the_road",
            "update bets set end_reason = 'win' where bet_id = {cashed out}",
        ),
        (
            "ends_follow_the_road",
            "update bets set configuration_version = 77 where bet_id = {open}",
        ),
    ] {
        expect_found_in_database(check, statements).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_payout_is_found_by_the_check_that_is_there_for_it() {
    // As much as the next lane pays: the arithmetic of the row is right, the lane is not where the player stood.
    let more = "update bets set coefficient_hundredths = coefficient_hundredths + 10,
                                payout_minor = div(stake_minor::numeric * (coefficient_hundredths + 10), 100) where bet_id = {cashed out}";
    let report = expect_found_in_database("payouts_exact", more).await;
    assert!(
        report.check("ends_follow_the_road").is_some_and(audit::Check::holds),
        "the lane is right"
    );
    let rounded = "update bets set payout_minor = payout_minor + 1 where bet_id = {cashed out}";
    for check in ["payouts_exact", "sums_agree", "amounts_agree"] {
        expect_found_in_database(check, rounded).await;
    }
    let paid_loss = "update bets set coefficient_hundredths = 100, payout_minor = stake_minor where bet_id = {hit}";
    expect_found_in_database("payouts_exact", paid_loss).await;
    // Paid on the lane that was hit, with that lane's coefficient.
    let configuration = faircross::game::configuration::GameConfiguration::embedded_default();
    let hit = first_collision("cashed out");
    let coefficient = configuration
        .paytable(RIGHT.bets["cashed out"].difficulty)
        .coefficient(hit)
        .expect("a lane")
        .hundredths();
    let beyond = format!(
        "update bets set last_lane = {hit}, coefficient_hundredths = {coefficient}, payout_minor = stake_minor * {coefficient} / 100
         where bet_id = {{cashed out}}"
    );
    let report = expect_found_in_database("ends_follow_the_road", &beyond).await;
    assert!(
        report.check("payouts_exact").is_some_and(audit::Check::holds),
        "the arithmetic is right"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_nonces_and_commitments_are_found() {
    for (check, statements) in [
        ("nonces_without_gap", "update bets set nonce = nonce + 50 where bet_id = {hit}"),
        (
            "nonces_without_gap",
            "alter table bets drop constraint bets_nonce_unique;
                                update bets set nonce = nonce - 1 where bet_id = {hit}",
        ),
        (
            "nonces_without_gap",
            "update player_seeds set nonce = nonce + 1 where user_id = 'alice'",
        ),
        (
            "nonces_without_gap",
            "update player_seeds set nonce = nonce - 1 where user_id = 'bob'",
        ),
        (
            "nonces_without_gap",
            "insert into player_seeds select agent_id, user_id, nonce - 1, server_seed_sealed, 'c', next_server_seed_sealed, 'n', user_seed
             from player_seeds where user_id = 'alice'",
        ),
        ("nonces_without_gap", "delete from player_seeds where user_id = 'alice'"),
        ("nonces_without_gap", "delete from bets_archive"),
        (
            "commitments_shown_before",
            "update bets set next_commitment = encode(sha256('another'), 'hex') where bet_id = {hit}",
        ),
        (
            "commitments_shown_before",
            "update bets set nonce = 90 - nonce where user_id = 'alice'",
        ),
        (
            "pairs_unspent",
            "insert into revealed_commitments (commitment) select commitment from player_seeds where user_id = 'alice'",
        ),
        (
            "pairs_unspent",
            "insert into revealed_commitments (commitment) select next_commitment from player_seeds where user_id = 'poor'",
        ),
        (
            "pairs_unspent",
            "update player_seeds set next_commitment = (select commitment from bets where bet_id = {open}) where user_id = 'carol'",
        ),
        (
            "pairs_unspent",
            "update player_seeds set commitment = (select commitment from bets where bet_id = {hit}) where user_id = 'alice'",
        ),
        (
            "pairs_unspent",
            "update player_seeds set commitment = encode(sha256('another'), 'hex') where user_id = 'alice'",
        ),
        (
            "pairs_unspent",
            "update player_seeds set next_commitment = encode(sha256('another'), 'hex') where user_id = 'bob'",
        ),
        (
            "seeds_revealed_once",
            "delete from revealed_commitments where commitment = (select commitment from bets where bet_id = {hit})",
        ),
        (
            "seeds_revealed_once",
            "insert into revealed_commitments (commitment) select commitment from bets where bet_id = {open}",
        ),
        (
            "seeds_revealed_once",
            "update bets_archive set commitment = (select commitment from bets where bet_id = {hit})",
        ),
        (
            "calls_as_stored",
            "update wallet_audit set message = message || ' ' where action = 'cancelBet'",
        ),
        (
            "calls_as_stored",
            "update wallet_audit set message = replace(message, '10.00', '10.0') where action = 'bet'",
        ),
        ("calls_as_stored", "delete from outbox where action = 'voidBet'"),
        (
            "successes_founded",
            "update outbox set lapsed_claims = 0; update wallet_audit set status = '1038' where action = 'settle'",
        ),
    ] {
        expect_found_in_database(check, statements).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_disagrees_with_its_row_is_found() {
    let changes = |name: &str, value: &str| format!("HSET {} {name} {value}", key("bob"));
    let last_lane = RIGHT.bets["open"].max_lane;
    // The road is drawn anew for each run, so what is wrong is chosen against it.
    let other_collision = if RIGHT.bets["open"].collision_columns.first() == Some(&29) {
        "28"
    } else {
        "29"
    };
    for command in [
        changes("sequence", &RIGHT.sequences["hit"].to_string()),
        changes("sequence", "999999"),
        changes("firstCollision", other_collision),
        changes("maxLane", &(last_lane - 1).to_string()),
        changes("round", &spoilt_round()),
        changes("round", "{}"),
        format!("RENAME {} {}", key("bob"), key("zoe")),
        format!("HSET {} endReason cashout currentStep 0 isWin 1", key("dora")),
        format!("HSET {} currentStep {}", key("dora"), first_collision("settling") - 1),
    ] {
        expect_found("sessions_agree", &command, async |copy| copy.redis(&command)).await;
    }
    expect_found("sessions_agree", "an end that nobody has finished", async |copy| {
        copy.settled = true;
        copy.redis(&format!("HSET {} isActive 0 isWin 0 endReason void", key("bob")));
    })
    .await;
    expect_found("sessions_agree", "an active session of an ended bet", async |copy| {
        copy.redis(&format!("DEL {}", key("dora")));
        copy.open_session("settling").await;
    })
    .await;
}

/// The open round on another road.
fn spoilt_round() -> String {
    let is_clear = RIGHT.bets["open"].collision_columns.is_empty();
    let facts = RoundFacts {
        collision_columns: if is_clear { vec![0] } else { Vec::new() },
        ..RIGHT.bets["open"].clone()
    };
    facts.to_json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_clear_is_found() {
    let seed = &RIGHT.open_seed;
    let raw = hex::decode(seed).expect("hexadecimal");
    for (what, value) in [
        ("the seed", seed.clone().into_bytes()),
        ("in other digits", format!("ab{seed}cd").into_bytes()),
        ("in capitals", seed.to_uppercase().into_bytes()),
        ("in JSON", json!({"serverSeed": seed}).to_string().into_bytes()),
        ("raw", [b"x".as_slice(), &raw].concat()),
        ("a link of tomorrow", RIGHT.future_link.clone().into_bytes()),
    ] {
        expect_found("no_secret_in_redis", what, async |copy| {
            copy.redis_raw(&[b"SET", b"hazards-EASY", &value])
        })
        .await;
    }
    for command in [
        format!("HSET {} seed {seed}", key("bob")),
        format!("ZADD user-sessions:demo 1 {seed}"),
        format!("LPUSH list {seed}"),
        format!("SADD set {seed}"),
        format!("XADD stream * seed {seed}"),
        format!("SET {seed} 1"),
    ] {
        expect_found("no_secret_in_redis", &command, async |copy| copy.redis(&command)).await;
    }
    for statements in [
        format!("update wallet_audit set answer = '{{\"seed\": \"{seed}\"}}' where action = 'bet'"),
        format!(
            "update wallet_audit set message = message || '{}' where action = 'bet'",
            seed.to_uppercase()
        ),
        format!("update outbox set message = message || '{}'", RIGHT.future_link),
        format!("update bets set message = '{seed}'"),
    ] {
        expect_found_in_database("no_secret_at_operator", &statements).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_log_or_an_answer_is_found_and_not_repeated() {
    let seed = &RIGHT.open_seed;
    expect_found("no_secret_in_files", "an answer", async |copy| {
        copy.transcript = Some(vec![json!({"serverSeed": seed})])
    })
    .await;
    let copy = Copy::with_untouched_database().await;
    let mut log = tempfile::NamedTempFile::new().expect("a file");
    writeln!(log, "a line\nDEBUG seed={seed}").expect("written");
    let path = log.path().display().to_string();
    copy.redis(&format!("SET {seed} 1"));
    let (status, said) = command(&copy, &["--search", &path]).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(&format!("{path} line 2: holds the unrevealed server seed")), "{said}");
    assert!(said.contains("key <hexadecimal>: holds the unrevealed server seed"), "{said}");
    assert!(!said.contains(seed), "the report must not spread what it has found");
}

/// What a client may have been told of the rounds.
fn true_transcript(right: &Right) -> Vec<Value> {
    let answer = |kind: &str| {
        let facts = &right.bets[kind];
        json!({"roundId": facts.round_id, "betId": facts.round_id, "isFinished": false, "isWin": false, "lineNumber": -1,
               "winAmount": "0.00", "betAmount": "10.00", "hashedServerSeed": facts.hashed_server_seed, "nonce": facts.nonce})
    };
    let ended = |kind: &str, reason: &str, lane: i16, win: String| {
        let mut told = answer(kind);
        told["isFinished"] = json!(true);
        told["endReason"] = json!(reason);
        told["lineNumber"] = json!(lane);
        told["winAmount"] = json!(win);
        told
    };
    let lane = i16::from(first_collision("cashed out")) - 1;
    let facts = &right.bets["cashed out"];
    let win = facts.terms().expect("terms").winnings_at(lane).expect("winnings").format(2);
    let mut standing = answer("cashed out");
    standing["lineNumber"] = json!(lane);
    standing["winAmount"] = json!(win);
    vec![
        json!({"bet": answer("cashed out"), "step": standing, "cashout": ended("cashed out", "cashout", lane, win)}),
        json!({"bet": answer("hit"), "step": [ended("hit", "hazard", i16::from(first_collision("hit")), "0.00".to_owned())]}),
        json!({"bet": answer("open")}),
        ended("void", "void", -1, "0.00".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_to_a_client_is_found() {
    let of_cashed_out = |path: &'static str| format!("/0/{path}");
    for (place, value) in [
        (of_cashed_out("cashout/winAmount"), json!("0.01")),
        (of_cashed_out("cashout/endReason"), json!("win")),
        (of_cashed_out("cashout/lineNumber"), json!(-1)),
        (of_cashed_out("step/winAmount"), json!("99.00")),
        (of_cashed_out("step/lineNumber"), json!(29)),
        (of_cashed_out("bet/betAmount"), json!("10.01")),
        (of_cashed_out("bet/nonce"), json!(77)),
        (of_cashed_out("bet/hashedServerSeed"), json!("00".repeat(32))),
        (of_cashed_out("bet/betId"), json!("00000000-0000-7000-8000-000000000000")),
        ("/1/step/0/endReason".to_owned(), json!("cashout")),
        ("/2/bet/isFinished".to_owned(), json!(true)),
        ("/3/endReason".to_owned(), json!("cancelled")),
    ] {
        expect_found("players_were_told_the_truth", &place, async |copy| {
            let mut lines = Value::Array(true_transcript(&RIGHT));
            *lines.pointer_mut(&place).expect("a place") = value;
            copy.transcript = lines.as_array().cloned();
        })
        .await;
    }
    let mut copy = Copy::with_untouched_database().await;
    copy.transcript = Some(vec![json!({"bet": {"betId": 1, "roundId": 2}})]);
    let refused = copy.try_audit().await.map(|report| report.holds);
    assert!(matches!(refused, Err(AuditError::Transcript { line: 1, .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_it_in_a_table_and_in_json_and_exits_1() {
    let copy = Copy::new().await;
    // The command allows a minute, and the right set-up is as old as the first of these tests.
    copy.sql("update bets set created_at = now() where state = 'PENDING'; update outbox set due_at = now() where state = 'open'");
    let (status, said) = command(&copy, &[]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("ok        sums_agree") && said.contains("0 violations in 25 checks"),
        "{said}"
    );
    copy.sql("update player_seeds set nonce = nonce + 1 where user_id = 'alice'");
    let (status, said) = command(&copy, &[]).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("BAD 1     nonces_without_gap") && said.contains("player demo/alice: "),
        "{said}"
    );
    let (status, said) = command(&copy, &["--json", "--agent-id", "demo"]).await;
    assert_eq!(status, Some(1), "{said}");
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(report["holds"], json!(false));
    let nonces = report["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .find(|check| check["name"] == "nonces_without_gap");
    assert_eq!(nonces.expect("the check")["violations"], json!(1));
}

/// Runs the command as a person does.
async fn command(copy: &Copy, arguments: &[&str]) -> (Option<i32>, String) {
    let operator = serve(&copy.ledger).await;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_faircross"))
        .args(["audit", "--operator-ledger", &operator])
        .args(arguments)
        .env_clear()
        .env("DATABASE_URL", &copy.database)
        .env("REDIS_URL", copy.redis.url())
        .env("FAIRCROSS__SECRETS__SEALING_KEY", hex::encode(RIGHT.sealing_key))
        .env("FAIRCROSS__SECRETS__JWT_KEY", hex::encode(faircross::chance::Chance.bytes_32()))
        .output()
        .await
        .expect("the binary runs");
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

//! The simulated wallet by itself: it must be stricter than we are careful, forget nothing, and do one thing once.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser;
use faircross::clock::Clock;
use faircross::operator::{self, OperatorOptions};
use faircross::wallet::message::get_balance_message;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::wallet::{bet_text, cancel_text, settle_text, void_text};
use crate::world::PATIENCE;

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    options: OperatorOptions,
}

/// A simulated wallet in this process, with what tests ask of it.
pub struct Simulator {
    base: String,
    http: reqwest::Client,
    handle: actix_web::dev::ServerHandle,
}

impl Simulator {
    pub async fn start() -> Self {
        Self::with_arguments(&[]).await
    }

    pub async fn with_arguments(arguments: &[&str]) -> Self {
        Self::try_with_arguments(arguments).await.expect("a simulated wallet")
    }

    async fn try_with_arguments(arguments: &[&str]) -> Result<Self, operator::OperatorError> {
        let options = CommandLine::parse_from(std::iter::once(&"operator").chain(arguments)).options;
        let operator = operator::start(&options, false)?;
        let handle = operator.server.handle();
        tokio::spawn(operator.server);
        // Whoever makes the first client installs the TLS provider. Plain http needs no root certificates, and a machine
        // may have none.
        crate::wallet::client(crate::wallet::settings());
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .expect("an HTTP client");
        Ok(Self {
            base: format!("http://{}", operator.address),
            http,
            handle,
        })
    }

    /// Stops it, and starts another one on the same ledger once the first has let go of it.
    async fn restarted(self, arguments: &[&str]) -> Self {
        self.handle.stop(false).await;
        let give_up = Clock::default().monotonic() + PATIENCE;
        loop {
            match Self::try_with_arguments(arguments).await {
                Ok(simulator) => return simulator,
                Err(error) => assert!(Clock::default().monotonic() < give_up, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    pub fn callback_url(&self) -> String {
        format!("{}/callback", self.base)
    }

    async fn json(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.json().await.expect("JSON")
    }

    pub async fn ledger(&self) -> Value {
        self.json(self.http.get(format!("{}/ledger", self.base))).await
    }

    pub async fn calls(&self, action: &str, platform_tx_id: &str) -> Vec<Value> {
        let url = format!("{}/calls?action={action}&platformTxId={platform_tx_id}", self.base);
        self.json(self.http.get(url)).await.as_array().cloned().expect("a list")
    }

    pub async fn put_player(&self, user_id: &str, order: Value) -> Value {
        self.json(self.http.put(format!("{}/players/{user_id}", self.base)).json(&order))
            .await
    }

    pub async fn put_faults(&self, order: Value) -> Value {
        self.json(self.http.put(format!("{}/faults", self.base)).json(&order)).await
    }

    /// What is ordered, and how often each has happened.
    async fn faults(&self) -> Value {
        self.json(self.http.get(format!("{}/faults", self.base))).await
    }

    pub async fn delete_faults(&self) {
        let answer = self.http.delete(format!("{}/faults", self.base)).send().await.expect("an answer");
        assert_eq!(answer.status(), 204);
    }

    pub async fn bet(&self, platform_tx_id: &str) -> Value {
        let ledger = self.ledger().await;
        let bets = ledger["bets"].as_array().expect("bets");
        bets.iter()
            .find(|bet| bet["platformTxId"] == platform_tx_id)
            .cloned()
            .unwrap_or_default()
    }

    pub async fn bet_state(&self, platform_tx_id: &str) -> Option<String> {
        self.bet(platform_tx_id).await["state"].as_str().map(str::to_owned)
    }

    pub async fn balance(&self, user_id: &str) -> String {
        let ledger = self.ledger().await;
        let players = ledger["players"].as_array().expect("players");
        let player = players.iter().find(|player| player["userId"] == user_id).expect("a player");
        player["balance"].as_str().expect("a balance").to_owned()
    }

    pub async fn violations(&self) -> Vec<String> {
        let ledger = self.ledger().await;
        let violations = ledger["violations"].as_array().expect("violations");
        violations
            .iter()
            .map(|violation| violation["kind"].as_str().expect("a kind").to_owned())
            .collect()
    }

    pub async fn assert_no_violations(&self) {
        assert_eq!(self.violations().await, Vec::<String>::new());
    }

    fn post(&self, key: &str, message: &str) -> reqwest::RequestBuilder {
        self.http.post(self.callback_url()).form(&[("key", key), ("message", message)])
    }

    /// The whole answer to a callback.
    async fn send(&self, message: &str) -> String {
        self.post("demo-cert", message)
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a text")
    }

    /// The status in the answer to a callback.
    async fn status(&self, message: &str) -> String {
        let answer: Value = serde_json::from_str(&self.send(message).await).expect("JSON");
        answer["status"].as_str().expect("a status").to_owned()
    }
}

/// The same transaction under another action; `voidSettle` has the fields of a void, `unsettle` all of them but its type.
fn renamed(text: &str, from: &str, to: &str) -> String {
    text.replace(&format!("\"action\":\"{from}\""), &format!("\"action\":\"{to}\""))
}

fn unsettle_text(id: &str) -> String {
    renamed(&void_text(id, 1000), "voidBet", "unsettle").replace(",\"voidType\":2", "")
}

#[tokio::test]
async fn five_identical_callbacks_at_once_have_one_effect_and_five_equal_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger");
    let simulator = Simulator::with_arguments(&["--data", path.to_str().expect("a path")]).await;
    for (text, balance) in [
        (bet_text("bet-1", 1000), "990.00"),
        (settle_text("bet-1", 1000, 2550), "1015.50"),
        (bet_text("bet-2", 1550), "1000.00"),
        (cancel_text("bet-2"), "1015.50"),
        (bet_text("bet-3", 9_999_900), "1015.50"),
    ] {
        let answers = futures::future::join_all((0..5).map(|_| simulator.send(&text))).await;
        assert_eq!(answers.iter().collect::<BTreeSet<_>>().len(), 1, "{answers:?}");
        assert_eq!(simulator.balance("user1").await, balance);
    }
    let applied: usize = simulator.bet("bet-1").await["history"]
        .as_array()
        .expect("a history")
        .iter()
        .filter(|event| event["applied"] == true)
        .count();
    assert_eq!(applied, 2, "one bet and one settle");
    simulator.assert_no_violations().await;
}

/// Whoever has overheard a signed callback has it word for word; nothing follows from saying it again.
#[tokio::test]
async fn a_signed_callback_that_is_replayed_moves_nothing() {
    let simulator = Simulator::with_arguments(&["--agent-signature", "demo=signing-secret"]).await;
    let body = |text: &str| {
        let form: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("key", "demo-cert"), ("message", text)])
            .finish();
        form
    };
    let sign = |time: u64, body: &str| {
        let mac = Hmac::<Sha256>::new_from_slice(b"signing-secret").expect("any key");
        let code = mac.chain_update(format!("{time}.{body}")).finalize().into_bytes();
        format!("t={time},v1={}", hex::encode(code))
    };
    let send = async |signature: &str, body: &str| {
        let request = simulator.http.post(simulator.callback_url()).body(body.to_owned());
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = request.header("X-Signature", signature).send().await.expect("an answer");
        answer.text().await.expect("a text")
    };
    for (text, balance) in [
        (bet_text("bet-1", 1000), "990.00"),
        (settle_text("bet-1", 1000, 2550), "1015.50"),
        (bet_text("bet-2", 1550), "1000.00"),
        (cancel_text("bet-2"), "1015.50"),
    ] {
        let body = body(&text);
        let signature = sign(1_795_200_000, &body);
        let first = send(&signature, &body).await;
        assert_eq!(simulator.balance("user1").await, balance);
        for _ in 0..3 {
            assert_eq!(send(&signature, &body).await, first);
        }
        // Under a new time or with other contents the old signature is worth nothing.
        let later = signature.replace("t=1795200000", "t=1795200001");
        let other = body.replace("bet-1", "bet-9").replace("bet-2", "bet-9");
        for (signature, body) in [
            (later.as_str(), &body),
            (signature.as_str(), &other),
            ("", &body),
            ("t=1,v1=", &body),
        ] {
            assert!(send(signature, body).await.contains("\"1027\""), "{signature}");
        }
        assert_eq!(simulator.balance("user1").await, balance);
    }
    assert_eq!(simulator.bet_state("bet-9").await, None);
    simulator.assert_no_violations().await;
}

#[tokio::test]
async fn a_cancel_of_an_unknown_bet_is_remembered() {
    let simulator = Simulator::start().await;
    assert_eq!(simulator.status(&cancel_text("bet-1")).await, "0000");
    assert_eq!(simulator.bet_state("bet-1").await.as_deref(), Some("cancelled_before_bet"));
    assert_eq!(simulator.status(&bet_text("bet-1", 1000)).await, "1043");
    assert_eq!(simulator.status(&bet_text("bet-1", 1000)).await, "1043");
    assert_eq!(simulator.status(&cancel_text("bet-1")).await, "0000");
    assert_eq!(simulator.balance("user1").await, "1000.00");
    simulator.assert_no_violations().await;
}

#[tokio::test]
async fn a_cancelled_bet_is_not_confirmed_again() {
    let simulator = Simulator::start().await;
    assert_eq!(simulator.status(&bet_text("bet-1", 1000)).await, "0000");
    assert_eq!(simulator.status(&cancel_text("bet-1")).await, "0000");
    assert_eq!(simulator.status(&bet_text("bet-1", 1000)).await, "1043");
    assert_eq!(simulator.balance("user1").await, "1000.00");
}

#[tokio::test]
async fn a_repeat_with_other_bytes_is_refused_and_noted() {
    let simulator = Simulator::start().await;
    simulator.status(&bet_text("bet-1", 1000)).await;
    assert_eq!(
        simulator.status(&bet_text("bet-1", 1000).replace("{\"action", "{ \"action")).await,
        "9999"
    );
    assert_eq!(simulator.status(&bet_text("bet-1", 2000)).await, "9999");
    assert_eq!(simulator.balance("user1").await, "990.00");
    assert_eq!(simulator.violations().await, ["repeat_with_other_bytes", "repeat_with_other_bytes"]);
}

#[tokio::test]
async fn what_contradicts_its_debit_is_refused_and_noted() {
    let settle = settle_text("bet-1", 1000, 1500);
    let cases = [
        (settle.replace("chicken-road-two", "another-road"), "another_game_code"),
        (settle.replace("chicken-road-2", "another road"), "another_game_name"),
        (settle.replace("\"In-out\"", "\"Elsewhere\""), "another_platform"),
        (settle.replace("\"CRASH\"", "\"STEP\""), "another_game_type"),
        (settle.replace("\"betType\":null", "\"betType\":\"any\""), "another_bet_type"),
        (settle.replace("14:04:06.115+08:00", "11:34:06.115+05:30"), "another_time"),
        (
            cancel_text("bet-1").replace("chicken-road-two", "another-road"),
            "another_game_code",
        ),
        (
            void_text("bet-1", 1000).replace("chicken-road-2", "another road"),
            "another_game_name",
        ),
        (
            void_text("bet-1", 1000).replace("14:04:06.115+08:00", "11:34:06.115+05:30"),
            "another_time",
        ),
    ];
    for (message, violation) in cases {
        let simulator = Simulator::start().await;
        assert_eq!(simulator.status(&bet_text("bet-1", 1000)).await, "0000");
        assert_eq!(simulator.status(&message).await, "1036", "{violation}");
        assert_eq!(simulator.violations().await, [violation], "{message}");
        assert_eq!(simulator.bet_state("bet-1").await.as_deref(), Some("bet"), "{violation}");
        assert_eq!(simulator.status(&settle).await, "0000", "the right one is taken all the same");
    }
}

#[tokio::test]
async fn an_operator_can_lie_about_what_it_has_not_done_alone() {
    let simulator = Simulator::start().await;
    for (id, message) in [
        ("settled", settle_text("settled", 1000, 1500)),
        ("voided", void_text("voided", 1000)),
        ("cancelled", cancel_text("cancelled")),
    ] {
        assert_eq!(simulator.status(&bet_text(id, 1000)).await, "0000");
        let lie = json!({ "kind": "refuse", "status": "1038" });
        simulator
            .put_faults(json!({ "settle": lie, "voidBet": lie, "cancelBet": lie }))
            .await;
        assert_eq!(simulator.status(&message).await, "1038");
        assert_eq!(simulator.bet_state(id).await.as_deref(), Some("bet"), "nothing was done");
        simulator.delete_faults().await;
        assert_eq!(simulator.status(&message).await, "0000");
        assert_eq!(simulator.bet_state(id).await.as_deref(), Some(id));
    }
    simulator.assert_no_violations().await;
}

#[tokio::test]
async fn what_does_not_fit_the_state_of_a_bet_moves_nothing() {
    let simulator = Simulator::start().await;
    for id in ["settled", "voided", "cancelled"] {
        assert_eq!(simulator.status(&bet_text(id, 1000)).await, "0000");
    }
    assert_eq!(simulator.status(&settle_text("settled", 1000, 1500)).await, "0000");
    assert_eq!(simulator.status(&void_text("voided", 1000)).await, "0000");
    assert_eq!(simulator.status(&cancel_text("cancelled")).await, "0000");
    assert_eq!(simulator.status(&settle_text("never", 1000, 1500)).await, "1017");
    assert_eq!(simulator.status(&void_text("never", 1000)).await, "1017");
    simulator.assert_no_violations().await;
    assert_eq!(simulator.balance("user1").await, "1005.00");

    assert_eq!(simulator.status(&void_text("settled", 1000)).await, "1025");
    assert_eq!(simulator.status(&cancel_text("settled")).await, "1025");
    assert_eq!(simulator.status(&settle_text("voided", 1000, 1500)).await, "1025");
    assert_eq!(simulator.status(&settle_text("cancelled", 1000, 1500)).await, "1043");
    assert_eq!(simulator.status(&bet_text("open", 1000)).await, "0000");
    assert_eq!(simulator.status(&settle_text("open", 2000, 1500)).await, "1036");
    assert_eq!(
        simulator.status(&settle_text("open", 1000, 1500).replace("user1", "user2")).await,
        "1036"
    );
    assert_eq!(simulator.balance("user1").await, "995.00");
    assert_eq!(
        simulator.violations().await,
        [
            "of_a_settled_bet",
            "of_a_settled_bet",
            "of_a_voided_bet",
            "of_a_cancelled_bet",
            "another_bet_amount",
            "another_player_or_round"
        ]
    );
}

#[tokio::test]
async fn a_settlement_can_be_taken_back_and_made_again() {
    let simulator = Simulator::start().await;
    simulator.status(&bet_text("bet-1", 1000)).await;
    simulator.status(&settle_text("bet-1", 1000, 5000)).await;
    assert_eq!(simulator.status(&unsettle_text("bet-1")).await, "0000");
    assert_eq!(
        (
            simulator.balance("user1").await.as_str(),
            simulator.bet_state("bet-1").await.as_deref()
        ),
        ("990.00", Some("bet"))
    );
    assert_eq!(simulator.status(&settle_text("bet-1", 1000, 2000)).await, "0000");
    assert_eq!(simulator.balance("user1").await, "1010.00");
    assert_eq!(
        simulator.status(&renamed(&void_text("bet-1", 1000), "voidBet", "voidSettle")).await,
        "0000"
    );
    assert_eq!(
        (
            simulator.balance("user1").await.as_str(),
            simulator.bet_state("bet-1").await.as_deref()
        ),
        ("1000.00", Some("voided"))
    );
    simulator.assert_no_violations().await;
}

#[tokio::test]
async fn players_who_may_not_bet_are_refused_but_paid() {
    let simulator = Simulator::start().await;
    simulator.status(&bet_text("open", 1000)).await;
    for (status, refusal) in [("suspended", "1014"), ("locked", "1013"), ("closed", "1015")] {
        simulator.put_player("user1", json!({"status": status})).await;
        assert_eq!(simulator.status(&bet_text(status, 1000)).await, refusal);
        assert_eq!(simulator.bet_state(status).await.as_deref(), Some("refused"));
    }
    assert_eq!(simulator.status(&settle_text("open", 1000, 1000)).await, "0000");
    let player = simulator.put_player("user1", json!({"status": "active", "balance": "5.00"})).await;
    assert_eq!(
        player,
        json!({"userId": "user1", "balance": "5.00", "startingBalance": "5.00", "status": "active"})
    );
    assert_eq!(simulator.status(&bet_text("too-much", 501)).await, "1018");
    assert_eq!(simulator.status(&bet_text("all", 500)).await, "0000");
    assert_eq!(simulator.status(&bet_text("euro", 100).replace("INR", "EUR")).await, "1004");
    simulator.assert_no_violations().await;
}

#[tokio::test]
async fn strangers_and_malformed_calls_are_refused() {
    let simulator = Simulator::start().await;
    let bet = bet_text("bet-1", 1000);
    let answer: Value = simulator
        .post("wrong", &bet)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(answer["status"], "1027");
    simulator.assert_no_violations().await;
    for broken in [
        bet.replace("+08:00", "Z"),
        bet.replace("10.00", "\"10.00\""),
        bet.replace("\"gameInfo\":null", "\"gameInfo\":null,\"x\":1"),
    ] {
        let status = simulator.status(&broken).await;
        assert!(["1036", "1010"].contains(&status.as_str()), "{status}");
    }
    assert_eq!(simulator.violations().await, ["invalid_message"; 3]);
    assert_eq!(simulator.ledger().await["bets"], json!([]));
}

#[tokio::test]
async fn balances_are_asked_for_without_a_trace() {
    let simulator = Simulator::with_arguments(&["--starting-balance", "12.345"]).await;
    let answer = simulator.send(&get_balance_message("newcomer")).await;
    assert!(
        answer.starts_with(r#"{"status":"0000","userId":"newcomer","balance":12.345,"balanceTs":"#),
        "{answer}"
    );
    assert_eq!(simulator.ledger().await["bets"], json!([]));
}

#[tokio::test]
async fn a_restart_forgets_nothing_and_a_torn_line_is_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger");
    let arguments = ["--data", path.to_str().expect("a path")];
    let simulator = Simulator::with_arguments(&arguments).await;
    simulator.status(&bet_text("settled", 1000)).await;
    simulator.status(&cancel_text("late")).await;
    simulator.put_player("user2", json!({"balance": "7.50", "status": "locked"})).await;
    simulator.status(&bet_text("settled", 9000)).await;
    let settled = simulator.send(&settle_text("settled", 1000, 1234)).await;
    let before = simulator.ledger().await;

    let simulator = simulator.restarted(&arguments).await;
    assert_eq!(simulator.ledger().await, before);
    assert_eq!(
        simulator.send(&settle_text("settled", 1000, 1234)).await,
        settled,
        "a repeat has the answer of the first time"
    );
    assert_eq!(simulator.status(&bet_text("late", 1000)).await, "1043");
    let before = simulator.ledger().await;

    let torn = std::fs::read(&path).expect("the ledger");
    simulator.handle.stop(false).await;
    std::fs::write(&path, [&torn[..], b"{\"record\":\"delivery\",\"at"].concat()).expect("a torn line");
    let simulator = simulator.restarted(&arguments).await;
    assert_eq!(simulator.ledger().await, before);
    assert_eq!(simulator.status(&bet_text("after", 1000)).await, "0000");
    let before = simulator.ledger().await;
    let simulator = simulator.restarted(&arguments).await;
    assert_eq!(simulator.ledger().await, before, "the torn line is gone and what follows is whole");
}

#[tokio::test]
async fn a_damaged_ledger_and_one_in_use_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger");
    let arguments = ["--data", path.to_str().expect("a path")];
    let _running = Simulator::with_arguments(&arguments).await;
    assert!(refusal(&arguments).await.contains("another process uses it"));

    let damaged: &Path = &directory.path().join("damaged");
    std::fs::write(damaged, "{\"record\":\"nonsense\"}\n").expect("a file");
    assert!(
        refusal(&["--data", damaged.to_str().expect("a path")])
            .await
            .contains("the record at byte 0")
    );
}

async fn refusal(arguments: &[&str]) -> String {
    Simulator::try_with_arguments(arguments).await.err().expect("a refusal").to_string()
}

#[tokio::test]
async fn a_call_is_handled_even_if_its_caller_has_left() {
    let simulator = Simulator::start().await;
    simulator.put_faults(json!({"bet": {"kind": "delay", "held": true}})).await;
    let bet = tokio::spawn(simulator.post("demo-cert", &bet_text("bet-1", 1000)).send());
    let give_up = Clock::default().monotonic() + PATIENCE;
    while simulator.faults().await["bet"][0]["fired"] != 1 {
        assert!(Clock::default().monotonic() < give_up, "the bet arrives");
    }
    bet.abort();
    assert!(bet.await.is_err_and(|error| error.is_cancelled()), "it was held back");
    // The cancel overtakes the bet, as it does when an operator is slow.
    assert_eq!(simulator.status(&cancel_text("bet-1")).await, "0000");
    simulator.delete_faults().await;
    while simulator.bet("bet-1").await["history"].as_array().map(Vec::len) != Some(2) {
        assert!(Clock::default().monotonic() < give_up, "the bet is handled late");
        tokio::task::yield_now().await;
    }
    assert_eq!(simulator.bet("bet-1").await["history"][1]["status"], "1043");
    assert_eq!(simulator.balance("user1").await, "1000.00");
}

#[tokio::test]
async fn faults_count_and_draw_the_same_way_every_time() {
    let simulator = Simulator::start().await;
    let order = json!({"bet": [
        {"kind": "refuse", "status": "9998", "count": 2},
        {"kind": "refuse", "status": "1028", "probability": 0.5, "seed": 7}
    ]});
    let mut runs = Vec::new();
    for run in 0..2 {
        simulator.put_faults(order.clone()).await;
        let mut statuses = Vec::new();
        for number in 0..20 {
            statuses.push(simulator.status(&bet_text(&format!("bet-{run}-{number}"), 100)).await);
        }
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0][..2], ["9998", "9998"]);
    for expected in ["0000", "1028"] {
        assert!(runs[0][2..].iter().any(|status| status == expected), "{expected}");
    }
    simulator.delete_faults().await;
    assert_eq!(simulator.status(&bet_text("after", 100)).await, "0000");
    let answer = simulator
        .http
        .put(format!("{}/faults", simulator.base))
        .json(&json!({"bte": {"kind": "refuse"}}))
        .send()
        .await;
    assert_eq!(answer.expect("an answer").status(), 400, "a misspelled action is not ignored");
}

#[tokio::test]
async fn a_long_ledger_is_whole_and_adds_up() {
    let simulator = Simulator::with_arguments(&["--starting-balance", "100000"]).await;
    let ids: Vec<String> = (0..1_201).map(|number| format!("bet-{number}")).collect();
    for chunk in ids.chunks(50) {
        let statuses = futures::future::join_all(chunk.iter().map(|id| async { simulator.status(&bet_text(id, 1)).await })).await;
        assert!(statuses.iter().all(|status| status == "0000"));
    }
    let ledger = simulator.ledger().await;
    let seen: BTreeSet<&str> = ledger["bets"]
        .as_array()
        .expect("bets")
        .iter()
        .filter_map(|bet| bet["platformTxId"].as_str())
        .collect();
    assert_eq!(seen.len(), ids.len());
    assert_eq!(ledger["players"][0]["balance"], "99987.99");
    assert_eq!(ledger["bets"][0]["betAmount"], "0.01");
}

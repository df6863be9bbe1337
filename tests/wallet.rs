//! The operator client against a simulated wallet and against servers that misbehave on the wire: every way in which an
//! answer can fail to prove something, and that bytes, amounts and deadlines are exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use faircross::clock::Clock;
use faircross::game::money::Amount;
use faircross::wallet::message::{
    BetFacts, GamePayload, SettleFacts, bet_message, cancel_message, get_balance_message, settle_message, void_message,
};
use faircross::wallet::status::{ALREADY_APPLIED, DEFINITE_REFUSALS};
use faircross::wallet::{Action, AgentEndpoint, Attempt, BodyEncoding, Call, Defect, Outcome, UnknownReason, WalletClient, WalletSettings};
use rust_decimal::Decimal;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::operator::Simulator;
use crate::raw_server::{Behaviour, RawServer, http};
use crate::world::{PATIENCE, wait_for};

const LIMIT: Duration = PATIENCE;
/// For an answer that does not come: long enough for a busy machine to send the request.
const SHORT: Duration = Duration::from_secs(4);

pub fn settings() -> WalletSettings {
    WalletSettings {
        allow_private_callbacks: true,
        ..WalletSettings::default()
    }
}

pub fn client(settings: WalletSettings) -> WalletClient {
    WalletClient::new(settings, Clock::default()).expect("a client")
}

pub fn agent(url: &str) -> AgentEndpoint {
    AgentEndpoint {
        agent_id: "demo".into(),
        callback_url: url.parse().expect("a URL"),
        certificate: "demo-cert".into(),
        encoding: BodyEncoding::Form,
        signature_secret: None,
        utc_offset_minutes: 480,
    }
}

pub fn at() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_590_386_646_115).expect("a time")
}

pub fn facts<'a>(platform_tx_id: &'a str, stake_minor: u64, payload: &'a GamePayload) -> BetFacts<'a> {
    BetFacts {
        platform_tx_id,
        user_id: "user1",
        currency: "INR",
        stake: Amount::from_minor(stake_minor).expect("an amount"),
        decimal_places: 2,
        round_id: "round-1",
        placed_at: at(),
        payload,
        utc_offset_minutes: 480,
    }
}

pub fn bet_text(platform_tx_id: &str, stake_minor: u64) -> String {
    bet_message(&facts(platform_tx_id, stake_minor, &GamePayload::default()))
}

pub fn settle_text(platform_tx_id: &str, stake_minor: u64, payout_minor: u64) -> String {
    let payload = GamePayload::default();
    let payout = Amount::from_minor(payout_minor).expect("an amount");
    settle_message(&SettleFacts {
        bet: facts(platform_tx_id, stake_minor, &payload),
        payout,
        settled_at: at(),
    })
}

pub fn cancel_text(platform_tx_id: &str) -> String {
    cancel_message(&facts(platform_tx_id, 1000, &GamePayload::default()))
}

pub fn void_text(platform_tx_id: &str, stake_minor: u64) -> String {
    void_message(&facts(platform_tx_id, stake_minor, &GamePayload::default()), at())
}

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).expect("a decimal")
}

fn applied(balance: &str) -> Outcome {
    Outcome::Applied {
        status: "0000".into(),
        balance: Some(decimal(balance)),
    }
}

fn applied_without_balance() -> Outcome {
    Outcome::Applied {
        status: "0000".into(),
        balance: None,
    }
}

fn unknown(reason: UnknownReason) -> Outcome {
    Outcome::Unknown { reason, status: None }
}

fn unproven(status: &str) -> Outcome {
    Outcome::Unknown {
        reason: UnknownReason::Status,
        status: Some(status.into()),
    }
}

async fn send_bet(client: &WalletClient, url: &str, id: &str) -> Call {
    client
        .send(&agent(url), Action::Bet, &bet_text(id, 1000), Attempt::first(LIMIT))
        .await
}

async fn bet_answered_with(behaviour: Behaviour) -> Call {
    let server = RawServer::start(behaviour).await;
    let call = client(settings())
        .send(&agent(&server.url), Action::Bet, &bet_text("bet-1", 1000), Attempt::first(LIMIT))
        .await;
    assert_eq!(server.requests().len(), 1, "exactly one request, whatever came back");
    call
}

#[tokio::test]
async fn every_encoding_carries_the_exact_message_and_exact_amounts() {
    let simulator = Simulator::start().await;
    let client = client(settings());
    for (number, encoding) in BodyEncoding::ALL.into_iter().enumerate() {
        let agent = AgentEndpoint {
            encoding,
            ..agent(&simulator.callback_url())
        };
        simulator.put_player("user1", json!({"balance": "1000.00"})).await;
        let id = format!("bet-{number}");
        let (bet, settle) = (bet_text(&id, 1010), settle_text(&id, 1010, 2999));
        let first = Attempt::first(LIMIT);
        assert_eq!(client.send(&agent, Action::Bet, &bet, first).await.outcome, applied("989.90"));
        assert_eq!(
            client.send(&agent, Action::Settle, &settle, first).await.outcome,
            applied("1019.89")
        );
        assert_eq!(
            client
                .send(&agent, Action::GetBalance, &get_balance_message("user1"), first)
                .await
                .outcome,
            applied("1019.89")
        );
        for (action, sent) in [("bet", &bet), ("settle", &settle)] {
            let calls = simulator.calls(action, &id).await;
            assert_eq!(calls.len(), 1);
            assert_eq!(calls[0]["message"], **sent, "the stored text arrives byte for byte");
            assert_eq!(calls[0]["encoding"], encoding.as_str());
        }
    }
    simulator.assert_no_violations().await;
}

#[tokio::test]
async fn a_cancel_and_a_void_return_the_stake() {
    let simulator = Simulator::start().await;
    let client = client(settings());
    let agent = agent(&simulator.callback_url());
    let first = Attempt::first(LIMIT);
    for (id, action, text) in [
        ("bet-1", Action::CancelBet, cancel_text("bet-1")),
        ("bet-2", Action::VoidBet, void_text("bet-2", 1000)),
    ] {
        assert_eq!(
            client.send(&agent, Action::Bet, &bet_text(id, 1000), first).await.outcome,
            applied("990.00")
        );
        assert_eq!(client.send(&agent, action, &text, first).await.outcome, applied("1000.00"));
    }
    simulator.assert_no_violations().await;
}

#[tokio::test]
async fn each_fault_has_its_outcome() {
    let simulator = Simulator::start().await;
    let client = client(settings());
    let agent = agent(&simulator.callback_url());
    for (number, (fault, expected, state)) in [
        (json!({"kind": "delay", "held": true}), unknown(UnknownReason::Timeout), None),
        (json!({"kind": "refuse", "status": "9998"}), unproven("9998"), Some("refused")),
        (
            json!({"kind": "refuse", "status": "1018"}),
            Outcome::Declined { status: "1018".into() },
            Some("refused"),
        ),
        (json!({"kind": "answer", "status": "9999"}), unproven("9999"), Some("bet")),
        (json!({"kind": "http_500"}), unknown(UnknownReason::HttpStatus), None),
        (
            json!({"kind": "http_500", "applied": true}),
            unknown(UnknownReason::HttpStatus),
            Some("bet"),
        ),
        (json!({"kind": "drop_before"}), unknown(UnknownReason::Broken), None),
        (json!({"kind": "drop_after"}), unknown(UnknownReason::Broken), Some("bet")),
        (json!({"kind": "garbage"}), unknown(UnknownReason::Unreadable), Some("bet")),
        (
            json!({"kind": "wrong_id"}),
            Outcome::Unknown {
                reason: UnknownReason::WrongEcho,
                status: Some("0000".into()),
            },
            Some("bet"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("bet-{number}");
        simulator.put_faults(json!({"bet": fault})).await;
        let attempt = if fault["kind"] == "delay" {
            Attempt::first(SHORT)
        } else {
            Attempt::first(LIMIT)
        };
        let call = client.send(&agent, Action::Bet, &bet_text(&id, 100), attempt).await;
        assert_eq!(call.outcome, expected, "{fault}");
        assert!(call.sent, "{fault}");
        if fault["kind"] != "delay" {
            assert_eq!(simulator.bet_state(&id).await.as_deref(), state, "{fault}");
        }
    }
    simulator.put_faults(json!({"bet": {"kind": "duplicate"}})).await;
    let call = client
        .send(&agent, Action::Bet, &bet_text("twice", 100), Attempt::first(LIMIT))
        .await;
    assert!(matches!(call.outcome, Outcome::Applied { .. }));
    assert_eq!(simulator.bet("twice").await["history"].as_array().map(Vec::len), Some(2));
    simulator.assert_no_violations().await;
}

#[tokio::test]
async fn a_definite_refusal_is_one_for_a_bet_only() {
    let simulator = Simulator::start().await;
    let client = client(settings());
    let agent = agent(&simulator.callback_url());
    for (status, _) in DEFINITE_REFUSALS {
        simulator.put_faults(json!({"*": {"kind": "refuse", "status": status}})).await;
        let id = format!("bet-{status}");
        for (action, text, expected) in [
            (Action::Bet, bet_text(&id, 1000), Outcome::Declined { status: status.into() }),
            (Action::CancelBet, cancel_text(&id), unproven(status)),
            (Action::Settle, settle_text(&id, 1000, 0), unproven(status)),
            (Action::VoidBet, void_text(&id, 1000), unproven(status)),
            (Action::GetBalance, get_balance_message("user1"), unproven(status)),
        ] {
            let call = client.send(&agent, action, &text, Attempt::first(LIMIT)).await;
            assert_eq!(call.outcome, expected, "{status} to {}", action.as_str());
        }
    }
}

#[tokio::test]
async fn already_applied_proves_something_only_of_a_repeat() {
    let simulator = Simulator::start().await;
    let client = client(settings());
    let agent = agent(&simulator.callback_url());
    for status in ALREADY_APPLIED {
        simulator.put_faults(json!({"*": {"kind": "refuse", "status": status}})).await;
        let id = format!("bet-{status}");
        let settle = settle_text(&id, 1000, 0);
        let outcome = |call: Call| call.outcome;
        assert_eq!(
            outcome(client.send(&agent, Action::Bet, &bet_text(&id, 1000), Attempt::first(LIMIT)).await),
            unproven(status)
        );
        assert_eq!(
            outcome(client.send(&agent, Action::Settle, &settle, Attempt::first(LIMIT)).await),
            unproven(status)
        );
        let repeated = outcome(client.send(&agent, Action::Settle, &settle, Attempt::repeat(LIMIT)).await);
        let applied = Outcome::Applied {
            status: status.into(),
            balance: None,
        };
        assert_eq!(repeated, applied);
    }
}

#[tokio::test]
async fn a_resend_has_the_same_message_bytes_under_a_new_certificate() {
    let simulator = Simulator::with_arguments(&["--agent-certificate", "demo=demo-cert", "--agent-certificate", "demo=rotated-cert"]).await;
    let client = client(settings());
    let old = agent(&simulator.callback_url());
    let rotated = AgentEndpoint {
        certificate: "rotated-cert".into(),
        ..agent(&simulator.callback_url())
    };
    let text = settle_text("bet-1", 1000, 1500);
    client
        .send(&old, Action::Bet, &bet_text("bet-1", 1000), Attempt::first(LIMIT))
        .await;
    simulator.put_faults(json!({"settle": {"kind": "drop_after", "count": 1}})).await;
    assert_eq!(
        client.send(&old, Action::Settle, &text, Attempt::first(LIMIT)).await.outcome,
        unknown(UnknownReason::Broken)
    );
    assert_eq!(
        client.send(&rotated, Action::Settle, &text, Attempt::repeat(LIMIT)).await.outcome,
        applied("1005.00")
    );
    let calls = simulator.calls("settle", "bet-1").await;
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call["message"] == *text));
    assert!(!json!(calls).to_string().contains("-cert"), "certificates are not kept");
    simulator.assert_no_violations().await;
}

#[tokio::test]
async fn five_identical_bets_at_once_take_one_stake_and_have_one_answer() {
    let simulator = Simulator::start().await;
    let client = client(settings());
    let (url, text) = (simulator.callback_url(), bet_text("bet-1", 1000));
    let agent = agent(&url);
    let calls = futures::future::join_all((0..5).map(|_| client.send(&agent, Action::Bet, &text, Attempt::first(LIMIT)))).await;
    let first = calls[0].answer.clone();
    for call in calls {
        assert_eq!((call.outcome, &call.answer), (applied("990.00"), &first));
    }
    assert_eq!(simulator.balance("user1").await, "990.00");
}

#[tokio::test]
async fn a_signature_covers_the_bytes_that_are_sent() {
    let simulator = Simulator::with_arguments(&["--agent-signature", "demo=signing-secret"]).await;
    let client = client(settings());
    for (number, encoding) in BodyEncoding::ALL.into_iter().enumerate() {
        let signed = AgentEndpoint {
            encoding,
            signature_secret: Some("signing-secret".into()),
            ..agent(&simulator.callback_url())
        };
        let id = format!("bet-{number}");
        let call = client.send(&signed, Action::Bet, &bet_text(&id, 1000), Attempt::first(LIMIT)).await;
        assert!(matches!(call.outcome, Outcome::Applied { .. }), "{encoding:?}");
        assert_eq!(simulator.calls("bet", &id).await[0]["signatureValid"], true);
    }
    for signature_secret in [None, Some("another-secret".into())] {
        let agent = AgentEndpoint {
            signature_secret,
            ..agent(&simulator.callback_url())
        };
        let call = client
            .send(&agent, Action::Bet, &bet_text("unsigned", 1000), Attempt::first(LIMIT))
            .await;
        assert_eq!(call.outcome, Outcome::Declined { status: "1027".into() });
    }
}

#[tokio::test]
async fn a_redirect_is_an_unknown_outcome_and_is_not_followed() {
    let elsewhere = RawServer::start(Behaviour::Answer(http("200 OK", "", r#"{"status":"0000"}"#))).await;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let call = bet_answered_with(Behaviour::Answer(http(status, &format!("location: {}\r\n", elsewhere.url), ""))).await;
        assert_eq!(call.outcome, unknown(UnknownReason::HttpStatus), "{status}");
    }
    assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_success_under_an_error_status_is_none() {
    for status in ["400 Bad", "403 No", "404 Not Found", "500 Error", "502 Bad Gateway", "503 Busy"] {
        let call = bet_answered_with(Behaviour::Answer(http(status, "", r#"{"status":"0000","balance":1}"#))).await;
        assert_eq!(call.outcome, unknown(UnknownReason::HttpStatus), "{status}");
        assert_eq!(
            call.answer.as_deref(),
            Some(r#"{"status":"0000","balance":1}"#),
            "the audit keeps what was said"
        );
    }
}

#[tokio::test]
async fn the_deadline_covers_an_answer_that_stops_in_the_middle() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"status\":\"0000\"".to_vec();
    let stalls = [(half, Some(200)), (b"HTTP/1.1 200".to_vec(), None), (Vec::new(), None)].map(async |(bytes, http_status)| {
        let server = RawServer::start(Behaviour::Stall(bytes)).await;
        let call = client(settings())
            .send(&agent(&server.url), Action::Bet, &bet_text("bet-1", 1000), Attempt::first(SHORT))
            .await;
        assert_eq!(
            (call.outcome, call.sent, call.http_status),
            (unknown(UnknownReason::Timeout), true, http_status)
        );
        assert!(u128::from(call.duration_ms) >= SHORT.as_millis(), "{} ms", call.duration_ms);
    });
    futures::future::join_all(stalls).await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_unreadable_and_kept_in_part() {
    let long = format!(r#"{{"status":"0000","filler":"{}"}}"#, "x".repeat(70_000));
    let call = bet_answered_with(Behaviour::Answer(http("200 OK", "", &long))).await;
    assert_eq!(call.outcome, unknown(UnknownReason::Unreadable));
    assert_eq!(call.answer.map(|answer| answer.len()), Some(4096));

    let fits = format!(r#"{{"status":"0000","filler":"{}"}}"#, "x".repeat(60_000));
    let call = bet_answered_with(Behaviour::Answer(http("200 OK", "", &fits))).await;
    assert_eq!(call.outcome, applied_without_balance());
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_leaves_the_outcome_unknown() {
    let call = bet_answered_with(Behaviour::Reset).await;
    assert_eq!((call.outcome, call.sent), (unknown(UnknownReason::Broken), true));

    let cut = RawServer::start(Behaviour::Answer(
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"status\":".to_vec(),
    ))
    .await;
    let call = client(settings())
        .send(&agent(&cut.url), Action::Bet, &bet_text("bet-1", 1000), Attempt::first(SHORT))
        .await;
    assert!(matches!(call.outcome, Outcome::Unknown { .. }) && call.sent);
}

#[tokio::test]
async fn what_could_not_connect_was_not_sent() {
    // At this address of the machine nobody else takes the port that was free a moment ago.
    let listener = TcpListener::bind("127.0.7.80:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    drop(listener);
    let call = send_bet(&client(settings()), &url, "bet-1").await;
    assert_eq!(
        (call.outcome, call.sent, call.answer),
        (unknown(UnknownReason::NotSent), false, None)
    );
}

#[tokio::test]
async fn what_could_not_agree_on_encryption_was_not_sent() {
    let server = RawServer::start(Behaviour::Reset).await;
    let call = send_bet(&client(settings()), &server.url.replace("http:", "https:"), "bet-1").await;
    assert!(!call.sent && matches!(call.outcome, Outcome::Unknown { .. }), "{:?}", call.outcome);
}

#[tokio::test]
async fn what_is_late_is_not_sent() {
    let simulator = Simulator::start().await;
    let attempt = Attempt::first(LIMIT).sent_within(Duration::ZERO);
    let call = client(settings())
        .send(&agent(&simulator.callback_url()), Action::Bet, &bet_text("bet-1", 1000), attempt)
        .await;
    assert_eq!((call.outcome, call.sent), (unknown(UnknownReason::TooLate), false));
    assert!(simulator.calls("bet", "bet-1").await.is_empty());
    let attempt = Attempt::first(LIMIT).sent_within(LIMIT);
    let call = client(settings())
        .send(&agent(&simulator.callback_url()), Action::Bet, &bet_text("bet-1", 1000), attempt)
        .await;
    assert_eq!(call.outcome, applied("990.00"));
}

#[tokio::test]
async fn private_addresses_are_refused_before_anything_is_sent() {
    let server = RawServer::start(Behaviour::Answer(http("200 OK", "", r#"{"status":"0000"}"#))).await;
    let client = client(WalletSettings::default());
    for url in [
        server.url.clone(),
        server.url.replace("127.0.0.1", "localhost"),
        server.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"),
    ] {
        let call = send_bet(&client, &url, "bet-1").await;
        assert_eq!((call.outcome, call.sent), (unknown(UnknownReason::AddressRefused), false), "{url}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

/// This machine's own name leads to this machine, and looks like any other: only its lookup tells.
#[tokio::test]
async fn a_name_that_leads_inside_is_refused_when_it_is_looked_up() {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let found: Vec<_> = tokio::net::lookup_host((name, 0)).await.into_iter().flatten().collect();
    let Some(here) = found.first().filter(|_| found.iter().all(|found| found.ip().is_loopback())) else {
        eprintln!("not tried: {name:?}, the name of this machine, does not lead to it");
        return;
    };
    let behaviour = Behaviour::Answer(http("200 OK", "", r#"{"status":"0000"}"#));
    let server = RawServer::start_at(*here, behaviour).await;
    let port = server.url.parse::<reqwest::Url>().expect("a URL").port().expect("a port");
    let url = format!("http://{name}:{port}/callback");
    let call = send_bet(&client(WalletSettings::default()), &url, "bet-1").await;
    assert_eq!((call.outcome, call.sent), (unknown(UnknownReason::AddressRefused), false));
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    let call = send_bet(&client(settings()), &url, "bet-1").await;
    assert!(call.sent, "it is reached where private addresses are allowed: {:?}", call.outcome);
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let server = RawServer::start(Behaviour::Answer(http(
        "200 OK",
        "keep-alive: timeout=75\r\n",
        r#"{"status":"0000"}"#,
    )))
    .await;
    let client = client(WalletSettings {
        idle_connection_ms: 60_000,
        ..settings()
    });
    for number in 0..10 {
        assert_eq!(
            send_bet(&client, &server.url, &format!("bet-{number}")).await.outcome,
            applied_without_balance()
        );
    }
    // The first answer names the time of rest, and what comes after it goes over connections that may rest so long.
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

/// The other end closes what has rested for two seconds, as balancers do, and a bet that is under way at that moment is lost.
#[tokio::test]
async fn a_bet_never_meets_a_connection_that_rested_too_long() {
    const LANES: u64 = 60;
    for named in ["", "keep-alive: timeout=2\r\n"] {
        let answer = http("200 OK", named, r#"{"status":"0000"}"#);
        let server = RawServer::start(Behaviour::ClosesRested(Duration::from_secs(2), answer)).await;
        let client = client(settings());
        let lanes = (0..LANES).map(async |lane| {
            for number in 0..5 {
                let call = send_bet(&client, &server.url, &format!("bet-{lane}-{number}")).await;
                assert_eq!(call.outcome, applied_without_balance(), "{lane} {number}");
                // Around the moment of the close, each lane at another one.
                tokio::time::sleep(Duration::from_millis(1_900 + lane * 10)).await;
            }
        });
        futures::future::join_all(lanes).await;
        assert_eq!(server.requests().len(), 300);
    }
}

/// A debit that is given up is given up by the kernel too: it stops sending it again, and the connection is closed.
#[tokio::test]
async fn a_debit_is_given_up_with_its_connection() {
    let ended = Arc::new(AtomicUsize::new(0));
    let server = RawServer::start(Behaviour::Silent(Arc::clone(&ended))).await;
    let client = client(WalletSettings {
        unacknowledged_ms: 4_321,
        ..settings()
    });
    let agent = agent(&server.url);
    let text = bet_text("bet-1", 1000);
    let calling = client.send(&agent, Action::Bet, &text, Attempt::first(SHORT));
    let looking = wait_for("the debit is under way", async || match user_timeouts_ms(&server.url) {
        found if found == [4_321] => Ok(()),
        found => Err(format!("{found:?}")),
    });
    let (call, ()) = futures::future::join(calling, looking).await;
    assert_eq!((call.outcome, call.sent), (unknown(UnknownReason::Timeout), true));
    wait_for("the connection is closed", async || match ended.load(Ordering::SeqCst) {
        1 => Ok(()),
        still => Err(still.to_string()),
    })
    .await;
}

/// TCP_USER_TIMEOUT of each of this process's connections to `url`, in milliseconds.
fn user_timeouts_ms(url: &str) -> Vec<i32> {
    let url: reqwest::Url = url.parse().expect("a URL");
    let port = url.port().expect("a port");
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    let numbers = descriptors.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(|number| user_timeout_ms(number, port)).collect()
}

#[expect(
    unsafe_code,
    reason = "the standard library does not read this option of a socket, and lends no descriptor by its number"
)]
fn user_timeout_ms(number: i32, port: u16) -> Option<i32> {
    // SAFETY: the kernel writes no more than the lengths that it is given; a number that is no socket is an error.
    unsafe {
        let mut peer: libc::sockaddr_in = std::mem::zeroed();
        let mut length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let found = libc::getpeername(number, (&raw mut peer).cast(), &raw mut length);
        if found != 0 || i32::from(peer.sin_family) != libc::AF_INET || u16::from_be(peer.sin_port) != port {
            return None;
        }
        let (mut value, mut length) = (0_i32, size_of::<i32>() as libc::socklen_t);
        let read = libc::getsockopt(
            number,
            libc::IPPROTO_TCP,
            libc::TCP_USER_TIMEOUT,
            (&raw mut value).cast(),
            &raw mut length,
        );
        (read == 0).then_some(value)
    }
}

#[tokio::test]
async fn an_answer_is_read_as_people_send_it() {
    let simulator = Simulator::start().await;
    let client = client(settings());
    let agent = agent(&simulator.callback_url());
    for (kind, was_gzip, had_byte_order_mark) in [("byte_order_mark", false, true), ("gzip", true, false)] {
        simulator.put_faults(json!({"*": {"kind": kind}})).await;
        let call = client.send(&agent, Action::Bet, &bet_text(kind, 100), Attempt::first(LIMIT)).await;
        assert!(
            matches!(call.outcome, Outcome::Applied { balance: Some(_), .. }),
            "{kind}: {:?}",
            call.outcome
        );
        assert_eq!((call.form.was_gzip, call.form.had_byte_order_mark), (was_gzip, had_byte_order_mark));
        assert!(
            call.answer.is_some_and(|kept| kept.starts_with('{')),
            "the audit keeps what can be read"
        );
        let sent = simulator.calls("bet", kind).await;
        assert!(
            sent[0]["headers"].to_string().contains("[\"accept-encoding\",\"identity\"]"),
            "{}",
            sent[0]["headers"]
        );
    }
    for (status, content_type) in [("201 Created", "content-type: text/html\r\n"), ("202 Accepted", "")] {
        let call = bet_answered_with(Behaviour::Answer(http(status, content_type, "\n {\"status\":1018}\n"))).await;
        assert_eq!(call.outcome, Outcome::Declined { status: "1018".into() }, "{status}");
    }
    let call = bet_answered_with(Behaviour::Answer(http("200 OK", "content-encoding: br\r\n", "\u{1}\u{2}"))).await;
    assert_eq!(
        (call.outcome, call.form.defect),
        (unknown(UnknownReason::Unreadable), Some(Defect::Encoding))
    );
}

/// Settles that take long leave the bets theirs, and nobody takes a cancel's.
#[tokio::test]
async fn each_kind_of_call_has_places_of_its_own() {
    let server = RawServer::start(Behaviour::Stall(Vec::new())).await;
    let client = client(WalletSettings {
        concurrent_calls_per_agent: 1,
        ..settings()
    });
    let agent = agent(&server.url);
    let texts = [
        (Action::Settle, settle_text("bet-1", 1000, 0)),
        (Action::Bet, bet_text("bet-2", 1000)),
        (Action::CancelBet, cancel_text("bet-3")),
        (Action::GetBalance, get_balance_message("user1")),
    ];
    let calls = texts
        .iter()
        .map(|(action, text)| client.send(&agent, *action, text, Attempt::first(SHORT)));
    let all_are_there = wait_for("all four are under way", async || match server.requests().len() {
        4 => Ok(()),
        fewer => Err(fewer.to_string()),
    });
    let (calls, ()) = futures::future::join(futures::future::join_all(calls), all_are_there).await;
    assert!(calls.iter().all(|call| call.outcome == unknown(UnknownReason::Timeout)));
}

/// An operator that is slow and correct is not to blame for those who wait for their turn.
#[tokio::test]
async fn waiting_for_a_turn_does_not_open_the_breaker() {
    let slow = Behaviour::AnswerAfter(Duration::from_millis(400), http("200 OK", "", r#"{"status":"0000"}"#));
    let server = RawServer::start(slow).await;
    let client = client(WalletSettings {
        concurrent_calls_per_agent: 1,
        breaker_calls: 2,
        breaker_failures_percent: 1,
        ..settings()
    });
    let agent = agent(&server.url);
    let ids: Vec<String> = (0..40).map(|number| bet_text(&format!("bet-{number}"), 1000)).collect();
    let attempt = Attempt::first(LIMIT).sent_within(Duration::from_millis(300));
    let calls = futures::future::join_all(ids.iter().map(|text| client.send(&agent, Action::Bet, text, attempt))).await;
    let busy = calls.iter().filter(|call| call.outcome == unknown(UnknownReason::Busy)).count();
    assert!(busy >= 30, "{busy}");
    let call = send_bet(&client, &server.url, "afterwards").await;
    assert_eq!(call.outcome, applied_without_balance());
}

#[tokio::test]
async fn the_breaker_opens_and_heals_for_one_agent_alone() {
    let simulator = Simulator::start().await;
    let open_for = |breaker_open_ms| {
        client(WalletSettings {
            breaker_calls: 4,
            breaker_failures_percent: 50,
            breaker_open_ms,
            breaker_trial_calls: 2,
            ..settings()
        })
    };
    // One stays open for as long as this test may take, the other heals in it.
    let (open, client) = (open_for(PATIENCE.as_millis() as u64), open_for(500));
    let url = simulator.callback_url();
    simulator.put_faults(json!({"bet": {"kind": "http_500"}})).await;
    for (client, name) in [(&open, "open"), (&client, "failing")] {
        for number in 0..4 {
            assert_eq!(
                send_bet(client, &url, &format!("{name}-{number}")).await.outcome,
                unknown(UnknownReason::HttpStatus)
            );
        }
    }
    let call = send_bet(&open, &url, "held-back").await;
    assert_eq!((call.outcome, call.sent), (unknown(UnknownReason::BreakerOpen), false));
    assert!(simulator.calls("bet", "held-back").await.is_empty());

    simulator.delete_faults().await;
    let other = AgentEndpoint {
        agent_id: "other".into(),
        ..agent(&url)
    };
    let call = open
        .send(&other, Action::Bet, &bet_text("other", 1000), Attempt::first(LIMIT))
        .await;
    assert!(matches!(call.outcome, Outcome::Applied { .. }), "another agent has its own breaker");

    let give_up = Clock::default().monotonic() + PATIENCE;
    let mut number = 0;
    while send_bet(&client, &url, &format!("trial-{number}")).await.outcome == unknown(UnknownReason::BreakerOpen) {
        assert!(Clock::default().monotonic() < give_up, "the breaker closes again");
        number += 1;
        tokio::task::yield_now().await;
    }
    for number in 0..10 {
        let call = send_bet(&client, &url, &format!("healed-{number}")).await;
        assert!(matches!(call.outcome, Outcome::Applied { .. }), "{:?}", call.outcome);
    }
}

/// Players may ask for their balance as often as they like; nobody's bet waits for that or is refused because of it.
#[tokio::test]
async fn questions_that_fail_do_not_stand_in_the_way_of_bets() {
    let simulator = Simulator::start().await;
    let client = client(WalletSettings {
        breaker_calls: 2,
        breaker_failures_percent: 1,
        concurrent_calls_per_agent: 1,
        ..settings()
    });
    let agent = agent(&simulator.callback_url());
    simulator.put_faults(json!({"getBalance": {"kind": "http_500"}})).await;
    let mut held_back = 0;
    for _ in 0..10 {
        let asked = client
            .send(&agent, Action::GetBalance, &get_balance_message("user1"), Attempt::first(LIMIT))
            .await;
        held_back += usize::from(asked.outcome == unknown(UnknownReason::BreakerOpen));
    }
    assert!(held_back > 0, "the questions have a breaker of their own");
    let call = send_bet(&client, &simulator.callback_url(), "bet-1").await;
    assert_eq!(call.outcome, applied("990.00"));
}

#[tokio::test]
async fn a_readable_refusal_does_not_open_the_breaker() {
    let simulator = Simulator::start().await;
    let client = client(WalletSettings {
        breaker_calls: 2,
        breaker_failures_percent: 1,
        ..settings()
    });
    simulator.put_faults(json!({"bet": {"kind": "refuse", "status": "9998"}})).await;
    for number in 0..10 {
        assert_eq!(
            send_bet(&client, &simulator.callback_url(), &format!("bet-{number}")).await.outcome,
            unproven("9998")
        );
    }
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_allowed() {
    let behaviour = Behaviour::AnswerAfter(Duration::from_millis(50), http("200 OK", "", r#"{"status":"0000"}"#));
    let server = RawServer::start(behaviour).await;
    let client = client(WalletSettings {
        concurrent_calls_per_agent: 2,
        ..settings()
    });
    let ids: Vec<String> = (0..8).map(|number| format!("bet-{number}")).collect();
    let calls = futures::future::join_all(ids.iter().map(|id| send_bet(&client, &server.url, id))).await;
    assert!(calls.iter().all(|call| call.outcome == applied_without_balance()));
    assert_eq!(server.busiest.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_call_that_does_not_get_its_turn_is_not_sent() {
    let server = RawServer::start(Behaviour::Stall(Vec::new())).await;
    let client = client(WalletSettings {
        concurrent_calls_per_agent: 1,
        ..settings()
    });
    let agent = agent(&server.url);
    let (first, second) = (bet_text("bet-1", 1000), bet_text("bet-2", 1000));
    let holding = client.send(&agent, Action::Bet, &first, Attempt::first(SHORT));
    let waiting = async {
        wait_for("the first has its turn", async || match server.requests().len() {
            1 => Ok(()),
            none => Err(none.to_string()),
        })
        .await;
        let attempt = Attempt::first(LIMIT).sent_within(Duration::from_millis(200));
        client.send(&agent, Action::Bet, &second, attempt).await
    };
    let (holding, waiting) = futures::future::join(holding, waiting).await;
    assert_eq!((holding.outcome, holding.sent), (unknown(UnknownReason::Timeout), true));
    assert_eq!((waiting.outcome, waiting.sent), (unknown(UnknownReason::Busy), false));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_echoed_certificate_does_not_reach_the_audit() {
    let call = bet_answered_with(Behaviour::Answer(http("200 OK", "", r#"{"status":"0000","key":"demo-cert"}"#))).await;
    assert_eq!(call.answer.as_deref(), Some(r#"{"status":"0000","key":"***"}"#));
}

#[tokio::test]
async fn a_text_that_is_no_message_is_not_sent() {
    let server = RawServer::start(Behaviour::Answer(http("200 OK", "", r#"{"status":"0000"}"#))).await;
    let call = client(settings())
        .send(&agent(&server.url), Action::Settle, "{not json", Attempt::first(LIMIT))
        .await;
    assert_eq!((call.outcome, call.sent), (unknown(UnknownReason::NotSent), false));
    assert!(server.requests().is_empty());
}

#[test]
fn a_message_is_the_same_text_every_time() {
    let digest = |text: String| hex::encode(Sha256::digest(text));
    assert_eq!(digest(settle_text("bet-1", 1000, 1500)), digest(settle_text("bet-1", 1000, 1500)));
}

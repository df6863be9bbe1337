//! A balancer of HTTP as careful as those that servers stand behind: in turn, over connections that are kept, to servers that say that
//! they are ready. It goes elsewhere when it cannot connect, because then nothing was sent; a connection that breaks under a request is
//! an error that a client sees, because nobody may send a bet twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::world::PATIENCE;

/// How often it asks each server whether it is ready.
const LOOKS_EVERY: Duration = Duration::from_millis(50);

/// An answer as far as it matters here.
pub struct Answer {
    pub status: u16,
    pub closes: bool,
    pub body: Vec<u8>,
}

/// Reads one answer with a length; `Err`: the connection ended or broke before it was whole.
pub async fn read_answer(stream: &mut TcpStream) -> Result<Answer, String> {
    let mut received = Vec::new();
    let (head, start) = loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&received[..end]).to_ascii_lowercase(), end + 4);
        }
        read_more(stream, &mut received).await?;
    };
    let value = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    let length: usize = value("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    while received.len() < start + length {
        read_more(stream, &mut received).await?;
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.ok_or("no status")?,
        closes: value("connection:").is_some_and(|value| value == "close"),
        body: received.split_off(start),
    })
}

async fn read_more(stream: &mut TcpStream, received: &mut Vec<u8>) -> Result<(), String> {
    let read = tokio::time::timeout(PATIENCE, stream.read_buf(received)).await;
    match read.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())? {
        0 => Err("closed without an answer".to_owned()),
        _ => Ok(()),
    }
}

struct Upstream {
    address: String,
    is_ready: bool,
    kept: Vec<TcpStream>,
}

/// See the module.
#[derive(Clone)]
pub struct Balancer {
    upstreams: Arc<[Mutex<Upstream>; 2]>,
    turn: Arc<AtomicUsize>,
    rounds: Arc<AtomicUsize>,
}

impl Balancer {
    /// A balancer over these servers. It looks after them for as long as the test's runtime lives.
    pub fn over(addresses: [String; 2]) -> Self {
        let balancer = Self {
            upstreams: Arc::new(addresses.map(|address| {
                Mutex::new(Upstream {
                    address: address.trim_start_matches("http://").to_owned(),
                    is_ready: true,
                    kept: Vec::new(),
                })
            })),
            turn: Arc::default(),
            rounds: Arc::default(),
        };
        for place in 0..2 {
            tokio::spawn(balancer.clone().watch(place));
        }
        balancer
    }

    /// There is another server in this place.
    pub fn replace(&self, place: usize, address: String) {
        let mut upstream = self.upstreams[place].lock().expect("not poisoned");
        upstream.address = address.trim_start_matches("http://").to_owned();
        upstream.kept.clear();
    }

    /// How many rounds players have ended.
    pub fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Relaxed)
    }

    async fn watch(self, place: usize) {
        loop {
            let address = self.upstreams[place].lock().expect("not poisoned").address.clone();
            let is_ready = async {
                let mut stream = TcpStream::connect(&address).await.ok()?;
                let request = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
                stream.write_all(request.as_bytes()).await.ok()?;
                read_answer(&mut stream).await.ok()
            };
            let is_ready = is_ready.await.is_some_and(|answer| answer.status == 200);
            {
                let mut upstream = self.upstreams[place].lock().expect("not poisoned");
                if upstream.address == address {
                    upstream.is_ready = is_ready;
                }
            }
            tokio::time::sleep(LOOKS_EVERY).await;
        }
    }

    /// A connection to the server whose turn it is, a kept one if there is one that was not closed.
    async fn connected(&self) -> (usize, TcpStream) {
        loop {
            let place = self.turn.fetch_add(1, Ordering::Relaxed) % 2;
            let (address, kept) = {
                let mut upstream = self.upstreams[place].lock().expect("not poisoned");
                if upstream.is_ready {
                    upstream.kept.retain(is_open);
                    (Some(upstream.address.clone()), upstream.kept.pop())
                } else {
                    (None, None)
                }
            };
            if let Some(kept) = kept {
                return (place, kept);
            }
            if let Some(address) = address
                && let Ok(stream) = TcpStream::connect(&address).await
            {
                return (place, stream);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Sends a request once.
    pub async fn ask(&self, head: &str, token: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
        let (place, mut stream) = self.connected().await;
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let answer = read_answer(&mut stream).await.map_err(|error| format!("{head}: {error}"))?;
        if !answer.closes {
            self.upstreams[place].lock().expect("not poisoned").kept.push(stream);
        }
        Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null)))
    }
}

/// Bytes or an end that nobody asked for: such a connection is of no use.
fn is_open(kept: &TcpStream) -> bool {
    matches!(kept.try_read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Plays until it is told to stop, and takes nothing but the game's own answers.
pub async fn play(balancer: Balancer, token: String, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let ask = async |head: &str, body: Option<Value>| balancer.ask(head, &token, body.as_ref()).await.expect("an answer");
        let (status, road) = ask("GET /api/hazards/EASY", None).await;
        assert_eq!(status, 200, "{road}");
        let bet = json!({ "betAmount": "1.00", "difficulty": "EASY", "currency": "INR", "hazardEpoch": road["epoch"] });
        let (status, round) = ask("POST /api/game/bet", Some(bet)).await;
        if round["code"] == "stale_hazard_epoch" {
            continue;
        }
        assert_eq!(status, 200, "{round}");
        let (status, round) = ask("POST /api/game/step", Some(json!({ "lineNumber": 0 }))).await;
        assert_eq!(status, 200, "{round}");
        if round["isFinished"] != true {
            let (status, round) = ask("POST /api/game/cashout", Some(json!({}))).await;
            assert_eq!(status, 200, "{round}");
        }
        balancer.rounds.fetch_add(1, Ordering::Relaxed);
    }
}

//! Connections that want to be held: heads and bodies that come byte by byte, bodies that are announced and never come,
//! hundreds of connections that say nothing. Each is answered or closed in bounded time, and others are served meanwhile.

use std::time::{Duration, Instant};

use faircross::clock::Clock;
use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{PATIENCE, Player, Server, Witness, World, WorldOptions};

/// Heads and bodies have five seconds each and whatever else is sent fifteen; the rest is a busy machine's.
const BOUND: Duration = Duration::from_secs(50);
/// How long a slow caller waits between two bytes: less than any limit for a silent connection.
const BETWEEN_BYTES: Duration = Duration::from_millis(100);
/// As many bytes as would keep a connection for a minute.
const BYTES: usize = 600;
/// These two are many more than a server's list of waiting connections holds by default, which is 128, and few enough for a
/// machine that allows each process 1,024 open files.
const SILENT: usize = 200;
const CROWD: usize = 250;

pub(super) async fn connect(server: &Server) -> TcpStream {
    let address = server.url("");
    TcpStream::connect(address.trim_start_matches("http://")).await.expect("connected")
}

/// Sends `start` and then a byte at a time; returns what was answered, and when the server closed if it did so in time.
async fn dribble(server: &Server, start: &str) -> (String, Option<Instant>) {
    let mut stream = connect(server).await;
    stream.write_all(start.as_bytes()).await.expect("sent");
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let dribbling = async {
        for _ in 0..BYTES {
            tokio::time::sleep(BETWEEN_BYTES).await;
            if writing.write_all(b"x").await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let closed = tokio::time::timeout(BOUND, async {
        tokio::select! {
            // A reset is a close as well.
            _ = reading.read_to_end(&mut answer) => {}
            () = dribbling => {}
        }
    });
    let closed_at = closed.await.is_ok().then(|| Clock::default().monotonic());
    (String::from_utf8_lossy(&answer).into_owned(), closed_at)
}

fn head(player: &Player, more: &str) -> String {
    format!(
        "POST /api/game/step HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n{more}",
        player.token
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_callers_are_let_go_and_others_are_served() {
    let (world, server) = World::with_server_and(WorldOptions::default().with("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", 3_600_000)).await;
    let player = world.player(&server).await;
    let witness = Witness::of(&world).await;
    let silent = join_all((0..SILENT).map(|_| connect(&server))).await;

    let kept = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let in_a_head = head(&player, "X-Slow: ");
    let in_a_body = head(&player, "Content-Length: 1000\r\n\r\n{");
    let in_chunks = head(&player, "Transfer-Encoding: chunked\r\n\r\n3e8\r\n{");
    let by_a_stranger = "POST /api/game/step HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n{".to_owned();
    let at_the_wallet = "POST /wallet/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\ncert=".to_owned();
    let after_another = format!("{kept}GET /health/live HTTP/1.1\r\nX-Slow: ");
    let (head, body, chunks, stranger, wallet, second, served_at, ()) = tokio::join!(
        dribble(&server, &in_a_head),
        dribble(&server, &in_a_body),
        dribble(&server, &in_chunks),
        dribble(&server, &by_a_stranger),
        dribble(&server, &at_the_wallet),
        dribble(&server, &after_another),
        others_are_served(&player),
        silence_ends(silent),
    );
    assert!(head.0.is_empty() || head.0.starts_with("HTTP/1.1 408 "), "{head:?}");
    for (body, _) in [&body, &chunks, &wallet] {
        assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("\"request_timeout\""), "{body}");
    }
    assert!(stranger.0.starts_with("HTTP/1.1 401 "), "{stranger:?}");
    assert!(second.0.starts_with("HTTP/1.1 200 "), "{second:?}");
    for (what, closed) in [
        ("a head", head.1),
        ("a body", body.1),
        ("a body in chunks, which was answered", chunks.1),
        ("a stranger's body", stranger.1),
        ("an operator's body", wallet.1),
        ("the second head of a connection", second.1),
    ] {
        assert!(closed.is_some(), "{what}: still open after {BOUND:?}");
    }
    assert!(Some(served_at) < chunks.1, "others were served only when the slow ones were gone");
    witness.nothing_changed("slow callers").await;
    world.close().await;
}

/// While all the others are held, players are answered: nobody waits for one of the slow to be let go. Returns when all were.
async fn others_are_served(player: &Player) -> Instant {
    for _ in 0..20 {
        player.get("/api/game/seeds").await.ok();
        tokio::time::sleep(BETWEEN_BYTES).await;
    }
    Clock::default().monotonic()
}

/// A connection that never says a word is closed, with or without a 408.
async fn silence_ends(connections: Vec<TcpStream>) {
    let ends = connections.into_iter().map(async |mut stream| {
        let mut said = Vec::new();
        let closed = tokio::time::timeout(BOUND, stream.read_to_end(&mut said)).await;
        assert!(closed.is_ok(), "a silent connection is still open");
        assert!(
            said.is_empty() || said.starts_with(b"HTTP/1.1 408 "),
            "{}",
            String::from_utf8_lossy(&said)
        );
    });
    join_all(ends).await;
}

/// Whoever comes at the same instant as hundreds of others is let in, and not told to come again or forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_one_instant_is_let_in() {
    let (world, server) = World::with_server().await;
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    if allowed.trim().parse().unwrap_or(0) < CROWD {
        eprintln!(
            "not tried: this system lets {} connections wait (net.core.somaxconn)",
            allowed.trim()
        );
        return;
    }
    // It accepts nobody, so that the system alone can keep them.
    server.signal("STOP");
    let waiting = (0..CROWD).map(async |_| {
        let mut stream = connect(&server).await;
        let request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        stream
    });
    let waiting = tokio::time::timeout(PATIENCE, join_all(waiting)).await;
    server.signal("CONT");
    let answers = waiting.expect("all are connected").into_iter().map(async |mut stream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
    tokio::time::timeout(PATIENCE, join_all(answers)).await.expect("all are answered");
    world.close().await;
}

/// Sends a whole request and returns the status line; empty when the connection was closed without one.
async fn status_line(server: &Server, what: &str, bytes: Vec<u8>) -> String {
    let mut stream = connect(server).await;
    let (mut reading, mut writing) = stream.split();
    let mut answer = vec![0; 64];
    let exchange = async {
        // Whoever is refused early may find the connection closed under what is left to send.
        let (_, read) = tokio::join!(writing.write_all(&bytes), reading.read(&mut answer));
        read.unwrap_or_default()
    };
    let length = tokio::time::timeout(BOUND, exchange)
        .await
        .unwrap_or_else(|_| panic!("{what}: no answer"));
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_none_are_refused() {
    let (world, server) = World::with_server().await;
    let get = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes();
    let many: String = (0..2_000).map(|number| format!("X-Header-{number}: x\r\n")).collect();
    let cases = [
        ("a url of 60 KiB", get(&format!("/{}", "x".repeat(60_000)), ""), vec!["400", "404", "414"]),
        ("a url of 1 MiB", get(&format!("/{}", "x".repeat(1 << 20)), ""), vec!["", "400", "414", "431"]),
        ("a header of 1 MiB", get("/health/live", &format!("X: {}\r\n", "x".repeat(1 << 20))), vec!["", "400", "431"]),
        ("2000 headers", get("/health/live", &many), vec!["", "400", "431"]),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20), vec!["", "400"]),
        ("NULs in the head", get("/health/live", "X: a\0b\r\n"), vec!["", "400"]),
        ("a header that is folded", get("/health/live", "X: a\r\n b: c\r\n"), vec!["", "400"]),
        (
            "two lengths",
            b"POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}".to_vec(),
            vec!["", "400"],
        ),
        (
            "a length and chunks",
            b"POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            vec!["", "400", "415"],
        ),
        (
            "a negative length",
            b"POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_vec(),
            vec!["", "400"],
        ),
        (
            "a chunk of 2^64",
            b"POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{"
                .to_vec(),
            vec!["", "400"],
        ),
    ];
    for (what, bytes, allowed) in cases {
        let line = status_line(&server, what, bytes).await;
        let status = line.split(' ').nth(1).unwrap_or_default();
        assert!(allowed.contains(&status), "{what}: {line}");
        assert_eq!(server.readiness(&world.http).await, Ok(()), "after {what}");
    }
    world.close().await;
}

/// The largest that a stranger can ask for, a megabyte and a half.
const LARGEST: &str = "/api/docs/swagger-ui-bundle.js";
const DEAF: usize = 100;
/// What the system may hold for each of them, with its own book-keeping; it would take megabytes.
const UNSENT_BYTES: usize = 256 * 1024;
/// What all of them together may cost the server beyond what it is. Each piece is a few kilobytes; each file was a megabyte and a half.
const MEMORY_BYTES: usize = 64 << 20;
const RESET_WITHIN: Duration = Duration::from_secs(75);

/// The server's side of its connections that are not done, from the system's table: how many, and how many bytes wait to be sent.
fn unsent(server: &Server) -> (usize, usize) {
    let address = server.url("");
    let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the table");
    let here = format!(":{port:04X}");
    let waiting = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (bytes, _) = columns[4].split_once(':')?;
        let bytes = usize::from_str_radix(bytes, 16).ok()?;
        // Not what listens.
        (columns[1].ends_with(&here) && columns[3] != "0A" && bytes > 0).then_some(bytes)
    });
    waiting.fold((0, 0), |(connections, all), bytes| (connections + 1, all + bytes))
}

fn memory_bytes(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Whoever asks for a lot and reads nothing is waited for a while, costs little meanwhile, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_reset_and_costs_little() {
    let (world, server) = World::with_server().await;
    let request = format!("GET {LARGEST} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // Whatever is made once is made before.
    let mut first = connect(&server).await;
    first
        .write_all(request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .expect("sent");
    first.read_to_end(&mut Vec::new()).await.expect("read");
    let before = memory_bytes(&server);
    let deaf = join_all((0..DEAF).map(async |_| {
        let mut stream = connect(&server).await;
        stream.write_all(request.repeat(8).as_bytes()).await.expect("sent");
        stream
    }));
    let deaf = deaf.await;
    let asked_at = Clock::default().monotonic();
    let (mut most_unsent, mut most_memory) = (0, 0);
    let mut held = 0;
    loop {
        let (connections, bytes) = unsent(&server);
        held = held.max(connections);
        most_unsent = most_unsent.max(bytes);
        most_memory = most_memory.max(memory_bytes(&server).saturating_sub(before));
        if held >= DEAF && connections == 0 {
            break;
        }
        assert!(
            asked_at.elapsed() < RESET_WITHIN,
            "{connections} of {held} connections still wait with {bytes} bytes"
        );
        tokio::time::sleep(BETWEEN_BYTES).await;
    }
    for stream in &deaf {
        let error = stream.take_error().expect("a socket");
        assert_eq!(
            error.map(|error| error.kind()),
            Some(std::io::ErrorKind::ConnectionReset),
            "it was told"
        );
    }
    eprintln!("{DEAF} connections: at most {most_unsent} bytes unsent, {most_memory} bytes of memory");
    assert!(most_unsent <= DEAF * UNSENT_BYTES, "{most_unsent} bytes in the system");
    assert!(most_memory <= MEMORY_BYTES, "{most_memory} bytes in the server");
    world.player(&server).await.get("/api/game/seeds").await.ok();
    world.close().await;
}

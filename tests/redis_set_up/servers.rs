//! Which server is at the other end: part of a cluster, too old, or one that was the primary before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use faircross::commands::doctor::{Verdict, examine};
use faircross::settings::Environment;
use faircross::stores::RedisServer;
use redis::Value as RedisValue;
use tokio::net::TcpStream;

use super::{OURS, free_port, session_of, wait_for_readiness};
use crate::world::{PATIENCE, Server, World, WorldOptions, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_named() {
    let port = free_port();
    let cluster = [
        ("cluster-enabled", "yes"),
        ("port", &port),
        ("bind", OURS),
        ("cluster-port", &free_port()),
    ];
    let redis = RedisServer::temporary(&cluster).expect("Redis starts");
    let world = World::new(WorldOptions::default()).await;
    let (environment, log) = world.of_next_server(&[("REDIS_URL", &redis.url())]);
    let server = Server::launch(&environment, log).await;
    wait_for_readiness(&world, &server, 503, "cluster_not_supported").await;
    assert!(server.log().contains("Redis Cluster is not supported yet"), "{}", server.log());
    let environment = world.environment().into_iter().chain([("REDIS_URL".to_owned(), redis.url())]);
    let report = examine(None, &Environment::of(environment)).await.to_string();
    assert!(report.contains("Redis Cluster is not supported yet"), "{report}");
    world.close().await;
}

/// What Redis 6.2 says, which knows no script with flags and one section of INFO at a time.
async fn an_old_redis() -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind((OURS, 0)).await.expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = vec![0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut asked).await {
                    for command in String::from_utf8_lossy(&asked[..length]).split('*').skip(1) {
                        let about = "redis_version:6.2.14\r\nrole:master\r\n";
                        let answer = match command {
                            two if two.contains("INFO") && two.contains("replication") => "-ERR syntax error\r\n".to_owned(),
                            info if info.contains("$4\r\nINFO") => format!("${}\r\n{about}\r\n", about.len()),
                            time if time.contains("TIME") => "*2\r\n$1\r\n1\r\n$1\r\n1\r\n".to_owned(),
                            script if script.contains("EVALSHA") => "-NOSCRIPT there is none\r\n".to_owned(),
                            script if script.contains("SCRIPT") => "-ERR unexpected symbol near '#'\r\n".to_owned(),
                            _ => "+OK\r\n".to_owned(),
                        };
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                }
            });
        }
    });
    format!("redis://{address}/0")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_redis_is_refused_by_name() {
    let (world, url) = (World::new(WorldOptions::default()).await, an_old_redis().await);
    let (environment, log) = world.of_next_server(&[("REDIS_URL", &url)]);
    let mut server = Server::launch(&environment, log).await;
    assert!(!server.wait_until_ended().await, "it ends by itself");
    let said = server.log();
    assert!(
        said.contains("Redis 6.2.14 is too old") && said.contains("7.0 or later, or Valkey"),
        "{said}"
    );
    let environment = world.environment().into_iter().chain([("REDIS_URL".to_owned(), url)]);
    let report = examine(None, &Environment::of(environment)).await;
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.name == "redis version")
        .expect("it is looked at");
    assert!(finding.verdict == Verdict::Fail && finding.found == "6.2.14", "{report}");
    world.close().await;
}

/// Leads each new connection to one of two servers; the ones that were made stay where they are.
async fn switching_proxy(first: String, second: String, to_second: Arc<AtomicBool>) -> String {
    let listener = tokio::net::TcpListener::bind((OURS, 0)).await.expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let upstream = if to_second.load(Ordering::Relaxed) {
                second.clone()
            } else {
                first.clone()
            };
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(upstream).await else {
                    return;
                };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

fn ask(server: &RedisServer, command: &[&str]) -> RedisValue {
    let mut connection = redis::Client::open(server.url())
        .expect("a url")
        .get_connection_with_timeout(PATIENCE)
        .expect("Redis answers");
    let (name, arguments) = command.split_first().expect("a command");
    redis::cmd(name).arg(arguments).query(&mut connection).expect("Redis answers")
}

/// A fails over to B, which is behind by a step, and back to A, which still has what it had: neither is believed without the record.
#[tokio::test(flavor = "multi_thread")]
async fn a_failback_does_not_bring_old_sessions_back() {
    let (port_a, port_b) = (free_port(), free_port());
    let start =
        |port: &str| RedisServer::temporary(&[("port", port), ("bind", OURS), ("appendfsync", "no"), ("save", "")]).expect("Redis starts");
    let (a, b) = (start(&port_a), start(&port_b));
    let to_b = Arc::new(AtomicBool::new(false));
    let proxy = switching_proxy(format!("{OURS}:{port_a}"), format!("{OURS}:{port_b}"), Arc::clone(&to_b)).await;
    let world = World::new(WorldOptions::default()).await;
    let server = world.start_server_with(&[("REDIS_URL", &format!("redis://{proxy}/0"))]).await;
    let player = world.player(&server).await;
    player.stand_on("10.00", "EASY", 0).await;
    let run_of = |redis: &RedisServer| ask(redis, &["HGET", &session_of(&player), "run"]);
    let first = run_of(&a);
    assert_ne!(first, RedisValue::Nil);

    // B takes over with nothing; the rounds are rebuilt from the record.
    to_b.store(true, Ordering::Relaxed);
    ask(&a, &["REPLICAOF", OURS, "1"]);
    wait_for("B is used", async || match player.get("/api/game/session").await {
        answer if answer.status == 200 && run_of(&b) != RedisValue::Nil => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;

    // Back to A, whose session is the one of its first reign.
    to_b.store(false, Ordering::Relaxed);
    ask(&a, &["REPLICAOF", "NO", "ONE"]);
    ask(&b, &["REPLICAOF", OURS, "1"]);
    assert_eq!(run_of(&a), first, "it kept what it had");
    wait_for("A is used, and its session was confirmed by the record", async || {
        let answer = player.get("/api/game/session").await;
        match run_of(&a) {
            run if answer.status == 200 && run != first => Ok(()),
            run => Err(format!("{answer:?} {run:?}")),
        }
    })
    .await;
    assert_eq!(
        ask(&a, &["HGET", &session_of(&player), "restored"]),
        RedisValue::BulkString(b"1".to_vec())
    );
    player.walk_and_cash_out(0).await;
    world.close().await;
}

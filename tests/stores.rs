//! The private stores: they start, keep what they are told to keep, and go with the process that started them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use faircross::stores::{Durability, PostgresCluster, RedisServer};

/// The one PostgreSQL of this test process: started by the first test that wants it, stopped and removed with the process,
/// however that ends.
pub static CLUSTER: LazyLock<PostgresCluster> =
    LazyLock::new(|| PostgresCluster::temporary(Durability::Volatile, &[]).expect("PostgreSQL starts"));

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn ask_redis(url: &str, command: &[&str]) -> redis::RedisResult<String> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    let (name, arguments) = command.split_first().expect("a command");
    redis::cmd(name).arg(arguments).query(&mut connection)
}

#[test]
fn redis_keeps_its_data_over_a_restart_and_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = RedisServer::start(&directory.path().join("redis")).expect("Redis starts");
    let url = server.url();
    ask_redis(&url, &["SET", "a", "1"]).expect("set");
    server.restart().expect("restarts");
    assert_eq!(ask_redis(&url, &["GET", "a"]).expect("get"), "1");
    let pid = server.pid().expect("it runs");
    server.kill().expect("killed");
    assert!(!is_alive(pid) && server.pid().is_none());
    assert!(ask_redis(&url, &["PING"]).is_err());
    server.restart().expect("restarts");
    assert_eq!(
        ask_redis(&url, &["GET", "a"]).expect("get"),
        "1",
        "written to the append-only file before the crash"
    );
    let pid = server.pid().expect("it runs");
    drop(server);
    assert!(!is_alive(pid));
}

#[test]
fn redis_is_set_up_as_we_recommend_unless_told_otherwise() {
    let server = RedisServer::temporary(&[("appendonly", "no")]).expect("Redis starts");
    let setting = |name: &str| -> Vec<String> {
        let mut connection = redis::Client::open(server.url())
            .expect("a url")
            .get_connection()
            .expect("a connection");
        redis::cmd("CONFIG").arg("GET").arg(name).query(&mut connection).expect("answered")
    };
    assert_eq!(setting("maxmemory-policy"), ["maxmemory-policy", "noeviction"]);
    assert_eq!(setting("maxmemory"), ["maxmemory", "419430400"]);
    assert_eq!(setting("appendonly"), ["appendonly", "no"]);
    let directory = server.socket().parent().expect("a directory").to_owned();
    drop(server);
    assert!(!directory.exists(), "a temporary one leaves nothing behind");
}

#[test]
fn a_wrong_redis_setting_is_told_with_the_end_of_the_log() {
    let error = RedisServer::temporary(&[("maxmemory-policy", "whatever")])
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("did not become ready") && error.contains("maxmemory-policy"),
        "{error}"
    );
}

#[test]
fn a_database_is_made_from_a_template() {
    CLUSTER.create_database("stores_template", None).expect("made");
    CLUSTER
        .execute("stores_template", "create table facts (n int); insert into facts values (42)")
        .expect("filled");
    let url = CLUSTER.create_database("stores_copy", Some("stores_template")).expect("copied");
    assert!(url.starts_with("postgres://faircross@localhost/stores_copy?host="), "{url}");
    assert_eq!(CLUSTER.execute("stores_copy", "select n from facts").expect("read"), "42");
    let error = CLUSTER.create_database("stores_copy", None).expect_err("there is one").to_string();
    assert!(error.contains("already exists"), "{error}");
    CLUSTER.drop_database("stores_copy").expect("dropped");
}

#[test]
fn postgres_keeps_its_data_over_a_crash_and_a_later_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("postgres");
    let mut cluster = PostgresCluster::start(&place, Durability::Durable).expect("PostgreSQL starts");
    cluster.create_database("kept", None).expect("made");
    let pid = cluster.pid().expect("it runs");
    cluster.kill().expect("killed");
    assert!(!is_alive(pid));
    cluster.restart().expect("recovers");
    let moved_to = cluster.directory().to_owned();
    drop(cluster);
    // A pid file whose process is another one by now: this one.
    std::fs::write(moved_to.join("data/postmaster.pid"), format!("{}\n", std::process::id())).expect("written");
    let again = PostgresCluster::start(&place, Durability::Durable).expect("starts over a stale pid file");
    assert_eq!(
        again
            .execute("postgres", "select count(*) from pg_database where datname = 'kept'")
            .expect("read"),
        "1"
    );
    assert_eq!(again.execute("postgres", "show fsync").expect("read"), "on");
    drop(again);
    if moved_to != place {
        std::fs::remove_dir_all(moved_to).expect("removed");
    }
}

/// Starts both stores, says which they are, and waits: the child of the next test.
#[test]
#[ignore = "started by the_stores_go_when_their_process_is_killed"]
fn hold_stores_until_killed() {
    let cluster = PostgresCluster::temporary(Durability::Volatile, &[]).expect("PostgreSQL starts");
    let server = RedisServer::temporary(&[]).expect("Redis starts");
    let directory = server.socket().parent().expect("a directory").to_owned();
    let pids = (cluster.pid().expect("it runs"), server.pid().expect("it runs"));
    println!(
        "\nSTORES {} {} {} {}",
        pids.0,
        pids.1,
        cluster.directory().display(),
        directory.display()
    );
    loop {
        std::thread::park();
    }
}

#[test]
fn the_stores_go_when_their_process_is_killed() {
    let ourselves = std::env::current_exe().expect("this binary");
    let mut child = Command::new(ourselves)
        .args(["--exact", "stores::hold_stores_until_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = lines
        .map_while(Result::ok)
        .find(|line| line.starts_with("STORES "))
        .expect("the child tells its stores");
    let words: Vec<&str> = line.split(' ').collect();
    let [_, postgres, redis, postgres_directory, redis_directory] = words[..] else {
        panic!("{line}")
    };
    let pids: Vec<u32> = [postgres, redis].iter().map(|pid| pid.parse().expect("a pid")).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    child.kill().expect("killed");
    child.wait().expect("gone");
    let mut looks = 0;
    while pids.iter().any(|pid| is_alive(*pid)) || Path::new(postgres_directory).exists() || Path::new(redis_directory).exists() {
        looks += 1;
        assert!(looks < 3000, "still there after 30 s: {line}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

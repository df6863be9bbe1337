//! Rules about our own source that no compiler holds: what may be said to Redis, how a statement of SQL comes about, and
//! where routes are registered. Each rule is also shown a line that breaks it, so that a rule that sees nothing is noticed.

use std::path::{Path, PathBuf};

/// All that we ever say to Redis. None of it empties a database, walks over all keys at once, drops scripts or stops a server.
const REDIS_COMMANDS: [&str; 28] = [
    "CONFIG",
    "DEL",
    "EXISTS",
    "EVALSHA",
    "EXPIRE",
    "GET",
    "HGET",
    "HGETALL",
    "HINCRBY",
    "HMGET",
    "HSET",
    "INFO",
    "LRANGE",
    "PEXPIRE",
    "PING",
    "PTTL",
    "SCAN",
    "SET",
    "SMEMBERS",
    "TIME",
    "TTL",
    "TYPE",
    "XRANGE",
    "ZADD",
    "ZCOUNT",
    "ZRANGE",
    "ZREM",
    "ZREMRANGEBYSCORE",
];

/// What no file may say in any spelling.
const NEVER: [&str; 6] = ["flushall", "flushdb", "script flush", "swapdb", "debug sleep", ".keys(\""];

/// The ways around the compiler's check that a statement is a constant.
const DYNAMIC_SQL: [&str; 4] = ["AssertSqlSafe", "raw_sql", "QueryBuilder", "query_unchecked"];

/// Statements that are put together at run time, each with the reason why nothing from outside is in it.
const DYNAMIC_SQL_ALLOWED: [(&str, usize, &str); 1] = [(
    "src/commands/doctor/on_postgres.rs",
    1,
    "a constant list of settings' names, written once and used in one statement",
)];

/// Where routes are registered: the list, the page that displays the document, and a unit test's own application.
const ROUTING: [&str; 4] = [
    "src/http/routes.rs",
    "src/http/server.rs",
    "src/http/openapi.rs",
    "src/http/body.rs",
];

/// Ways to start work that a worker's runtime takes with it when it ends; `Context::spawn` is the one that does not.
const SPAWNS: [&str; 5] = ["tokio::spawn(", "task::spawn(", "spawn_local(", "rt::spawn(", "tracker.spawn"];

/// Who may use them, how often, and why.
const SPAWNS_ALLOWED: [(&str, usize, &str); 4] = [
    ("src/play/under_way.rs", 1, "it is what all others use"),
    (
        "src/live/connection.rs",
        2,
        "a connection to Redis is its runtime's own and ends with it, and so does whoever watches it",
    ),
    ("src/operator/server.rs", 1, "the simulated operator is not the server"),
    ("src/operator/wallet.rs", 1, "the simulated operator is not the server"),
];

/// What breaks a rule in one file.
fn broken(name: &str, text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !is_comment(name, line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let lower = code.to_lowercase();
    let mut found: Vec<String> = NEVER
        .iter()
        .filter(|word| lower.contains(**word))
        .map(|word| format!("{name}: {word}"))
        .collect();
    for opening in ["cmd(\"", "redis.call('", "redis.pcall('", "redis.call(\"", "redis.pcall(\""] {
        for rest in code.split(opening).skip(1) {
            let command: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
            if !REDIS_COMMANDS.contains(&command.to_uppercase().as_str()) {
                found.push(format!("{name}: {opening}{command}"));
            }
        }
    }
    let built: usize = DYNAMIC_SQL.iter().map(|word| code.matches(word).count()).sum();
    let allowed = DYNAMIC_SQL_ALLOWED
        .iter()
        .find(|(file, _, _)| *file == name)
        .map_or(0, |(_, count, _)| *count);
    if built > allowed {
        found.push(format!("{name}: SQL that is put together at run time"));
    }
    let spawns: usize = SPAWNS.iter().map(|word| code.matches(word).count()).sum();
    let allowed = SPAWNS_ALLOWED
        .iter()
        .find(|(file, _, _)| *file == name)
        .map_or(0, |(_, count, _)| *count);
    if spawns > allowed {
        found.push(format!("{name}: work that may end with a worker; use Context::spawn"));
    }
    let registers = [".service(", ".route(", ".default_service("].iter().any(|word| code.contains(word));
    if registers && name.starts_with("src/http/") && !ROUTING.contains(&name) {
        found.push(format!("{name}: a route beside the list"));
    }
    found
}

fn is_comment(name: &str, line: &str) -> bool {
    line.trim_start().starts_with(if name.ends_with(".lua") { "--" } else { "//" })
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "lua") {
            found.push(path);
        }
    }
}

#[test]
fn our_source_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "lua"] {
        sources(&root.join(directory), &mut files);
    }
    assert!(files.len() > 100, "only {} files were looked at", files.len());
    let broken: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            broken(&name, &std::fs::read_to_string(path).expect("UTF-8"))
        })
        .collect();
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn a_line_that_breaks_a_rule_is_noticed() {
    for (name, line) in [
        ("src/live/locks.rs", r#"cmd("FLUSHALL").exec_async(connection).await"#),
        ("src/live/locks.rs", r#"cmd("KEYS").arg("player:*")"#),
        ("src/live/locks.rs", r#"connection.keys("player:*")"#),
        ("src/live/locks.rs", r#"pipe.cmd("SCRIPT").arg("FLUSH")"#),
        ("src/live/locks.rs", "connection.flushdb()"),
        ("lua/step.lua", "redis.call('FLUSHDB')"),
        ("lua/step.lua", "redis.call('keys', 'player:*')"),
        ("lua/step.lua", "local all = redis.pcall(\"KEYS\", '*')"),
        (
            "src/ledger/bets.rs",
            r#"sqlx::query(AssertSqlSafe(format!("select * from {table}")))"#,
        ),
        ("src/ledger/bets.rs", "sqlx::raw_sql(text)"),
        (
            "src/commands/doctor/on_postgres.rs",
            "query(AssertSqlSafe(a)); query(sqlx::AssertSqlSafe(b))",
        ),
        ("src/http/seeds.rs", r#"routes.route("/hidden", web::get().to(hidden))"#),
        ("src/play/settle.rs", "tokio::spawn(async move {})"),
        ("src/play/settle.rs", "self.tracker.spawn(async move {})"),
        ("src/http/health.rs", "actix_web::rt::spawn(async move {})"),
        ("src/play/context.rs", "self.tasks.spawn_on(work, &self.main); tokio::spawn(other)"),
    ] {
        assert!(!broken(name, line).is_empty(), "{name}: {line}");
    }
    for (name, line) in [
        ("src/live/locks.rs", "// never KEYS, never FLUSHALL"),
        (
            "lua/step.lua",
            "-- KEYS  1 player:\nlocal key = KEYS[1]\nredis.call('HSET', key, 'a', 1)",
        ),
        ("src/ledger/bets.rs", r#"sqlx::query!("select 1")"#),
        ("src/http/seeds.rs", "let all = names.keys();"),
        ("src/play/settle.rs", "context.spawn(async move {})"),
    ] {
        assert_eq!(broken(name, line), Vec::<String>::new(), "{line}");
    }
}

/// The names of tests in a document: paths in backquotes, as `cargo test` spells them.
fn named_tests(document: &str) -> Vec<&str> {
    let is_path = |text: &&str| {
        let spelled = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_:".contains(&byte));
        spelled && text.contains("::")
    };
    document.split('`').skip(1).step_by(2).filter(is_path).collect()
}

#[test]
fn the_tests_that_documents_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "tests"] {
        sources(&root.join(directory), &mut files);
    }
    let code: String = files.iter().map(|path| std::fs::read_to_string(path).expect("UTF-8")).collect();
    let mut named = 0;
    for document in ["reliability.md", "security.md"] {
        let text = std::fs::read_to_string(root.join("docs").join(document)).expect("a document");
        for test in named_tests(&text) {
            let last = test.rsplit("::").next().unwrap_or(test);
            assert!(code.contains(last), "{document} names {test}");
            named += 1;
        }
    }
    assert!(named > 30, "only {named} tests are named");
}

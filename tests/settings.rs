//! Settings: the layers, and that a wrong value is named with what would be right.

use std::{io::Write, path::Path};

use faircross::{
    chance::Chance,
    settings::{DEFAULTS, Environment, MINIMUM_SESSION_TTL_S, Secrets, Settings, is_published},
};
use secrecy::ExposeSecret;
use tempfile::NamedTempFile;

const JWT_KEY: &str = "FAIRCROSS__SECRETS__JWT_KEY";
const SEALING_KEY: &str = "FAIRCROSS__SECRETS__SEALING_KEY";

fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::load(None, &Environment::of(variables.iter().copied())).map_err(|error| error.to_string())
}

fn load_file(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    Settings::load(Some(file.path()), &Environment::of(variables.iter().copied())).map_err(|error| error.to_string())
}

fn random_key() -> String {
    hex::encode(Chance.bytes_32())
}

fn secrets(jwt_key: &str, sealing_key: &str) -> Result<Secrets, String> {
    Secrets::load(&Environment::of([(JWT_KEY, jwt_key), (SEALING_KEY, sealing_key)])).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_right() {
    let settings = load(&[]).expect("the defaults load");
    assert_eq!(settings.server.port, 8080);
    assert_eq!(settings.game.session_ttl_s, 3600);
    assert_eq!(settings.wallet.retry_schedule_s, [0, 1, 2, 4, 8, 16, 32, 60, 300, 900, 1800, 7200]);
    assert!(
        settings
            .database
            .required_url()
            .expect_err("not set")
            .to_string()
            .contains("DATABASE_URL")
    );
    assert!(
        settings
            .redis
            .required_url()
            .expect_err("not set")
            .to_string()
            .contains("REDIS_URL")
    );
    assert_eq!(settings.warnings(), []);
}

#[test]
fn the_record_may_have_several_hosts_of_which_one_takes_writes() {
    let url = "postgres://a:b@first:5432,second:5433/name?target_session_attrs=read-write";
    assert!(load(&[("DATABASE_URL", url)]).is_ok());
    let standby = url.replace("read-write", "standby");
    let refused = load(&[("DATABASE_URL", &standby)]).expect_err("a standby takes no writes");
    assert!(refused.contains("target_session_attrs"), "{refused}");
    let refused = load(&[("FAIRCROSS__RATE_LIMIT__IN_FLIGHT", "9")]).expect_err("too many");
    assert!(refused.contains("rate_limit.in_flight"), "{refused}");
}

#[test]
fn every_default_is_explained() {
    let lines: Vec<&str> = DEFAULTS.lines().collect();
    let explained = |index: usize| {
        lines[..index]
            .iter()
            .rev()
            .take_while(|line| !line.is_empty())
            .any(|line| line.starts_with('#'))
    };
    let keys = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.contains(" = ") && !line.starts_with('#'));
    let unexplained: Vec<&str> = keys.filter(|(index, _)| !explained(*index)).map(|(_, line)| *line).collect();
    assert_eq!(unexplained, [] as [&str; 0]);
}

#[test]
fn the_environment_goes_over_the_file_and_the_file_over_the_defaults() {
    let file = "[server]\nport = 9000\nworkers = 4\n";
    let settings = load_file(file, &[("FAIRCROSS__SERVER__PORT", "9001")]).expect("settings");
    assert_eq!(
        (settings.server.port, settings.server.workers, settings.redis.command_timeout_ms),
        (9001, 4, 400)
    );
}

#[test]
fn customary_names_work_and_ours_win() {
    let settings = load(&[
        ("DATABASE_URL", "postgres://a@b/c"),
        ("REDIS_URL", "redis://localhost/2"),
        ("PORT", "81"),
    ])
    .expect("settings");
    assert_eq!(settings.database.url.expose_secret(), "postgres://a@b/c");
    assert_eq!(settings.redis.url.expose_secret(), "redis://localhost/2");
    assert_eq!(settings.server.port, 81);
    let settings = load(&[("PORT", "81"), ("FAIRCROSS__SERVER__PORT", "82")]).expect("settings");
    assert_eq!(settings.server.port, 82);
}

#[test]
fn lists_are_separated_by_commas() {
    let lists = [
        ("FAIRCROSS__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7"),
        ("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "0,1,2"),
    ];
    let settings = load(&lists).expect("settings");
    assert_eq!(settings.wallet.retry_schedule_s, [0, 1, 2]);
    let proxies: Vec<String> = settings.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.7/32"]);
    assert!(
        load(&[("FAIRCROSS__SERVER__TRUSTED_PROXIES", "")])
            .expect("settings")
            .server
            .trusted_proxies
            .is_empty()
    );
}

#[test]
fn a_wrong_variable_is_named_with_what_would_be_right() {
    let cases = [
        ("FAIRCROSS__SERVER__PORT", "http", "a whole number"),
        ("FAIRCROSS__SERVER__PORT", "8080.4", "a whole number"),
        ("FAIRCROSS__SERVER__PORT", "70000", "server.port"),
        ("FAIRCROSS__SERVER__PORTS", "1", "[server] has bind"),
        ("FAIRCROSS__SERVE__PORT", "1", "the sections are clock"),
        ("FAIRCROSS__SERVER__BIND", "localhost", "server.bind"),
        ("FAIRCROSS__SERVER__WORKERS", "0", "from 1 to 1024"),
        ("FAIRCROSS__SERVER__DRAIN_DELAY_S", "601", "from 0 to 600"),
        ("FAIRCROSS__SERVER__TRUSTED_PROXIES", "proxy", "10.0.0.0/8"),
        ("FAIRCROSS__SERVER__FRONTEND_URL", "ftp://x", "https://play.example.com"),
        ("FAIRCROSS__SERVER__FRONTEND_URL", "play", "https://play.example.com"),
        ("FAIRCROSS__REDIS__LOCKS", "maybe", "true or false"),
        ("FAIRCROSS__REDIS__COMMAND_TIMEOUT_MS", "60001", "from 10 to "),
        ("FAIRCROSS__REDIS__URL", "http://x", "redis://host:6379/0"),
        ("FAIRCROSS__REDIS__CA_FILE", "/nowhere/ca.pem", "redis.ca_file"),
        ("FAIRCROSS__REDIS__CLIENT_CERTIFICATE_FILE", "/dev/null", "set both or none"),
        ("FAIRCROSS__REDIS__CLIENT_KEY_FILE", "/nowhere/key.pem", "redis.client_key_file"),
        ("FAIRCROSS__DATABASE__URL", "mysql://x", "postgres://user:password@host"),
        ("FAIRCROSS__GAME__CONFIGURATION_FILE", "/nowhere/game.json", "built-in"),
        ("FAIRCROSS__GAME__GAME_TYPE", "LONGER-THAN-TEN", "1 to 10"),
        ("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "1,soon", "a list of whole numbers"),
        ("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "", "at least one wait"),
        ("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "1,0", "the last wait repeats"),
        ("FAIRCROSS__WALLET__DEBIT_WITHIN_MS", "60001", "from 1 to "),
        ("FAIRCROSS__WALLET__LEASE_S", "46", "from 1 to 45"),
        ("FAIRCROSS__JOBS__BET_CLEANUP", "0 2 * * *", "six fields"),
        ("FAIRCROSS__JOBS__BET_CLEANUP", "a b c d e f", "six fields"),
        ("FAIRCROSS__JOBS__RETENTION_DAYS", "365", "five years"),
        ("FAIRCROSS__JOBS__ARCHIVE_AFTER_DAYS", "2000", "from 1 to 1827"),
        ("FAIRCROSS__LOG__FILTER", "info,,=!", "info,sqlx=warn"),
        ("FAIRCROSS__LOG__FORMAT", "xml", "log.format"),
    ];
    for (name, value, expected) in cases {
        let error = load(&[(name, value)]).expect_err(&format!("{name}={value} is refused"));
        assert!(error.contains(expected), "{name}={value}: {error}");
    }
}

#[test]
fn the_shortest_deadline_is_two_minutes_except_with_failpoints() {
    let below = (MINIMUM_SESSION_TTL_S - 1).to_string();
    let error = load(&[("FAIRCROSS__GAME__SESSION_TTL_S", &below)]).expect_err("too short");
    assert!(error.contains("game.session_ttl_s"), "{error}");
    if !cfg!(feature = "failpoints") {
        assert_eq!(MINIMUM_SESSION_TTL_S, 120);
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let error = load(&[("FAIRCROSS__SERVER__WORKERS", "0"), ("FAIRCROSS__WALLET__LEASE_S", "0")]).expect_err("two mistakes");
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn a_wrong_file_is_named() {
    let error = Settings::load(Some(Path::new("/nowhere/faircross.toml")), &Environment::default()).expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/faircross.toml"), "{error}");
    let cases = [
        ("[server]\nport = \"8080\"\n", "server.port must be a whole number"),
        ("[server]\nport = 8080.4\n", "server.port must be a whole number"),
        ("[server]\nprot = 1\n", "server.prot is not a setting"),
        ("port = 1\n", "port is not a setting"),
        ("[server", "is not TOML"),
        ("[secrets]\njwt_key = \"x\"\n", "secrets.jwt_key is a secret"),
        ("secrets = 1\n", "secrets is a secret"),
    ];
    for (text, expected) in cases {
        let error = load_file(text, &[]).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn test_switches_are_warned_about() {
    let switches = [
        ("FAIRCROSS__REDIS__LOCKS", "false"),
        ("FAIRCROSS__CLOCK__OFFSET_MS", "-3600000"),
        ("FAIRCROSS__WALLET__ALLOW_PRIVATE_CALLBACKS", "true"),
    ];
    let warnings = load(&switches).expect("settings").warnings();
    let named: Vec<&str> = warnings.iter().map(|warning| warning.setting.as_str()).collect();
    assert_eq!(named, ["redis.locks", "clock.offset_ms", "wallet.allow_private_callbacks"]);
}

#[test]
fn addresses_of_stores_are_not_shown() {
    let settings = load(&[
        ("DATABASE_URL", "postgres://user:hunter2@h/d"),
        ("REDIS_URL", "redis://:hunter2@h/0"),
    ])
    .expect("settings");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let error = load(&[("REDIS_URL", "rubbish://:hunter2@h/0"), ("DATABASE_URL", "mysql://u:hunter2@h/d")]).expect_err("both wrong");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn random_secrets_are_taken_and_not_shown() {
    let (jwt_key, sealing_key) = (random_key(), random_key());
    let secrets = secrets(&jwt_key, &sealing_key.to_uppercase()).expect("secrets");
    assert_eq!(hex::encode(secrets.jwt_key.expose_secret()), jwt_key);
    assert_eq!(hex::encode(secrets.sealing_key.expose_secret()), sealing_key);
    let shown = format!("{secrets:?}");
    assert!(
        !shown.contains(&jwt_key) && !shown.contains(&format!("{:?}", secrets.jwt_key.expose_secret())),
        "{shown}"
    );
}

#[test]
fn a_bad_secret_is_named_and_not_shown() {
    let good = random_key();
    let counting = "0123456789abcdeffedcba98765432100123456789abcdeffedcba9876543211";
    let published = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let cases = [
        (String::new(), "is not set"),
        ("f00".to_owned(), "is malformed"),
        (good.replace(|_: char| true, "x"), "is malformed"),
        (format!("{good}00"), "is malformed"),
        ("a".repeat(64), "is not random"),
        ("0123456789abcdef".repeat(4), "is not random"),
        (counting.to_owned(), "is not random"),
        (published.to_owned(), "is a published value"),
        (published.to_uppercase(), "is a published value"),
        (good.clone(), "is the same as"),
    ];
    for (bad, expected) in cases {
        let error = secrets(&good, &bad).expect_err(expected);
        assert!(error.contains(SEALING_KEY) && error.contains(expected), "{error}");
        assert!(bad.is_empty() || !error.contains(&bad), "{error}");
    }
    let error = Secrets::load(&Environment::default()).expect_err("none set").to_string();
    assert!(
        error.contains(JWT_KEY) && error.contains(SEALING_KEY) && error.contains("openssl rand -hex 32"),
        "{error}"
    );
    let misspelled = Environment::of([
        (JWT_KEY, random_key()),
        (SEALING_KEY, random_key()),
        ("FAIRCROSS__SECRETS__JWT", random_key()),
    ]);
    assert!(
        Secrets::load(&misspelled)
            .expect_err("misspelled")
            .to_string()
            .contains("FAIRCROSS__SECRETS__JWT is not")
    );
}

/// Whatever key a reader finds in the documents is refused as a secret. A new example belongs into
/// `src/settings/published_keys.txt`.
#[test]
fn every_key_in_the_documents_is_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = std::fs::read_dir(root)
        .expect("the project")
        .filter_map(|entry| Some(entry.ok()?.path()));
    let documents = documents.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for path in documents.chain([root.join("config/default.toml")]) {
        let text = std::fs::read_to_string(&path).expect("readable");
        let words = text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| word.len() == 64 && hex::decode(word).is_ok());
        let missing: Vec<&str> = words.filter(|word| !is_published(word)).collect();
        assert_eq!(missing, [] as [&str; 0], "in {}", path.display());
    }
}

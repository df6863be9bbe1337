//! `make campaign`: breaks everything that can break, at every step, for as long as it is given, and holds the books against
//! each other after every episode.
//!
//! A campaign is a row of chapters. Each is a world of its own with one, two or three servers over one pair of stores, a crowd
//! of careful players and a schedule of episodes: servers killed at each point of a bet's way and at random moments, stopped
//! past every lease, a Redis that restarts, forgets, fills up or hangs, a PostgreSQL that goes in the middle of a commit, an
//! operator that answers with everything but the truth. Everything is drawn from one seed, so that a schedule can be had again;
//! the races inside it are the machine's.
//!
//! Settings, from the environment: `MINUTES` (10; up to 3 is the short form), `SEED` (drawn and printed), `SEATS` (players at
//! a time, 10), `LOCKS` (`on` or `off` for all chapters; otherwise every fourth round of chapters is without the Redis locks),
//! `ONLY` (one kind of episode, such as `Points`, and no measurements), `OUTAGE_SECONDS` (how long the operator is cut off in an
//! `Outage`, 5 to 15 otherwise), `ACCIDENTS` (`hosts`: accidents of hosts and machines alone: silent peers,
//! failovers, read-only times, full memory, failed snapshots, locked rows, clocks set back, databases put back to an older copy; and
//! operators that lie, are slow for all or close what rests), `SERVERS` (so many in every chapter), `UNTIL_VIOLATION` (set: the first one ends the campaign), `AUDITOR` (another build of
//! faircross, whose `audit` is asked).

mod chapter;
mod dice;
mod disaster;
mod faults;
mod fleet;
mod operator_faults;
mod players;
mod proxy;
mod report;
mod timing;
mod transcript;
#[expect(
    dead_code,
    unused_imports,
    reason = "the world of the end-to-end tests has more than a campaign needs"
)]
#[path = "../world/mod.rs"]
mod world;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use faircross::clock::Clock;
use futures::FutureExt as _;

use chapter::{Chapter, Episode, Setting, points_deck};
use dice::{Deck, Dice};
use faults::{HOST_POSTGRES_FAULTS, HOST_REDIS_FAULTS, POSTGRES_FAULTS, REDIS_FAULTS};
use fleet::Postgres;
use operator_faults::{OPERATOR_ACCIDENTS, OperatorAccident};
use report::Report;

/// What was asked for.
struct Order {
    minutes: u64,
    seed: u64,
    seats: usize,
    /// For all chapters.
    locks: Option<bool>,
    only: Option<String>,
    /// Of the stores' faults only those of hosts.
    hosts_alone: bool,
    /// How many servers every chapter has.
    servers: Option<usize>,
    /// How long the operator is cut off; drawn for each outage when nothing is said.
    outage_seconds: Option<u64>,
    until_violation: bool,
}

impl Order {
    fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let drawn = || u64::from_be_bytes(faircross::chance::Chance.bytes_32()[..8].try_into().expect("eight bytes")) % 1_000_000;
        Self {
            minutes: number("MINUTES").unwrap_or(10),
            seed: number("SEED").unwrap_or_else(drawn),
            seats: number("SEATS").and_then(|seats| usize::try_from(seats).ok()).unwrap_or(10),
            locks: std::env::var("LOCKS").ok().map(|text| text != "off"),
            only: std::env::var("ONLY").ok(),
            hosts_alone: std::env::var("ACCIDENTS").is_ok_and(|which| which == "hosts"),
            servers: number("SERVERS").and_then(|servers| usize::try_from(servers).ok()),
            outage_seconds: number("OUTAGE_SECONDS"),
            until_violation: std::env::var_os("UNTIL_VIOLATION").is_some(),
        }
    }

    fn is_short(&self) -> bool {
        self.minutes <= 3
    }
}

/// The campaign's own clock.
fn now() -> Instant {
    Clock::default().monotonic()
}

fn main() -> ExitCode {
    let order = Order::from_environment();
    println!("campaign of {} minutes, SEED={}", order.minutes, order.seed);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let report = runtime.block_on(run(&order));
    println!("\n{}\n{}", report.table(), report.write().display());
    if report.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn run(order: &Order) -> Report {
    let started = now();
    let until = started + Duration::from_secs(order.minutes * 60);
    let mut dice = Dice::new(order.seed);
    let mut report = Report {
        seed: order.seed,
        ..Report::default()
    };
    let postgres = Postgres::start();
    make_template(&postgres).await;
    if order.only.is_none() && !order.hosts_alone {
        measure(&postgres, order, &mut dice, &mut report).await;
    }
    let mut cards = Cards::new(order);
    for number in 0.. {
        if now() > until || order.until_violation && !report.violations.is_empty() {
            break;
        }
        let setting = setting(order, number);
        println!("chapter {number}: {setting:?}");
        report = play_chapter(&postgres, setting, order, &mut cards, &mut dice, report, until).await;
    }
    report.seconds = started.elapsed().as_secs();
    report
}

/// The promises about time come first, so that the short form has them too.
async fn measure(postgres: &Postgres, order: &Order, dice: &mut Dice, report: &mut Report) {
    let (kills, returns) = if order.is_short() { (2, 2) } else { (20, 10) };
    println!("closing after {kills} kills, and Redis back {returns} times");
    let limit = Duration::from_secs(300);
    for (what, measured) in [
        (
            "closing",
            AssertUnwindSafe(tokio::time::timeout(limit, timing::kills(postgres, kills, dice, report)))
                .catch_unwind()
                .await,
        ),
        (
            "returning",
            AssertUnwindSafe(tokio::time::timeout(limit, timing::redis_returns(postgres, returns, report)))
                .catch_unwind()
                .await,
        ),
    ] {
        match measured {
            Ok(Ok(())) => {}
            Ok(Err(_)) => report.violation(format!("{what}: hangs")),
            Err(_) => report.violation(format!("{what}: failed, see above")),
        }
    }
}

/// One, two and three servers in turn; every fourth round of chapters without the Redis locks, every second with a server
/// whose clock is an hour ahead.
fn setting(order: &Order, number: u64) -> Setting {
    let servers = usize::try_from(number % 3 + 1).expect("three at most");
    // Two servers first: a short form may have one chapter only.
    let servers = order.servers.unwrap_or([2, 3, 1][servers - 1]);
    Setting {
        number,
        servers,
        locks: order.locks.unwrap_or(number / 3 % 4 != 1),
        wrong_clock: servers > 1 && number.is_multiple_of(2),
        seats: order.seats,
    }
}

/// The decks of the whole campaign; the points have one for each number of servers.
struct Cards {
    points: [Deck<&'static str>; 3],
    redis: Deck<faults::RedisFault>,
    postgres: Deck<faults::PostgresFault>,
    operator: Deck<OperatorAccident>,
}

impl Cards {
    fn new(order: &Order) -> Self {
        let (redis, postgres): (&[_], &[_]) = if order.hosts_alone {
            (&HOST_REDIS_FAULTS, &HOST_POSTGRES_FAULTS)
        } else {
            (&REDIS_FAULTS, &POSTGRES_FAULTS)
        };
        Self {
            points: [points_deck(), points_deck(), points_deck()],
            redis: Deck::new(redis),
            postgres: Deck::new(postgres),
            operator: Deck::new(&OPERATOR_ACCIDENTS),
        }
    }

    /// The episodes of a chapter. The short form leaves out some kinds, but not one that was asked for.
    fn schedule(&mut self, setting: &Setting, order: &Order, dice: &mut Dice) -> Vec<Episode> {
        let short = order.is_short();
        let mut points = |count: usize, dice: &mut Dice| {
            let deck = &mut self.points[setting.servers - 1];
            Episode::Points((0..count).map(|_| deck.draw(dice)).collect())
        };
        let mut episodes = if short {
            vec![points(6, dice), points(6, dice), Episode::Operator(5)]
        } else {
            [9, 9, 9, 9, 2].into_iter().map(|count| points(count, dice)).collect()
        };
        let (redis, postgres) = if short { (2, 2) } else { (4, 4) };
        episodes.push(Episode::Redis((0..redis).map(|_| self.redis.draw(dice)).collect()));
        episodes.push(Episode::Postgres((0..postgres).map(|_| self.postgres.draw(dice)).collect()));
        episodes.push(Episode::RandomKills(if short { 3 } else { 8 }));
        if !short {
            episodes.push(Episode::Operator(20));
        }
        if !short || order.only.is_some() {
            episodes.push(Episode::Stops(2));
            episodes.push(Episode::Outage(dice.between(5, 15)));
        }
        if order.hosts_alone {
            episodes.retain(|episode| matches!(episode, Episode::Redis(_) | Episode::Postgres(_)));
            episodes.extend((0..3).map(|_| Episode::OperatorAccident(self.operator.draw(dice))));
        }
        dice.shuffle(&mut episodes);
        if order.hosts_alone {
            // What was told before is then held against nothing any more, so it comes last.
            episodes.push(Episode::Restore);
        }
        episodes
    }
}

/// A chapter as far as time allows. A violation ends it: what comes after would only repeat it.
async fn play_chapter(
    postgres: &Postgres,
    setting: Setting,
    order: &Order,
    cards: &mut Cards,
    dice: &mut Dice,
    report: Report,
    until: Instant,
) -> Report {
    let mut episodes = cards.schedule(&setting, order, dice);
    if let Some(only) = &order.only {
        episodes.retain(|episode| format!("{episode:?}").starts_with(only));
    }
    for episode in &mut episodes {
        if let (Episode::Outage(seconds), Some(ordered)) = (episode, order.outage_seconds) {
            *seconds = ordered;
        }
    }
    let mut chapter = Chapter::begin(postgres, setting, report).await;
    let mut sound = true;
    for episode in episodes {
        if !sound || now() > until {
            break;
        }
        sound = chapter.episode(&episode, dice).await;
    }
    chapter.tally().await;
    if sound {
        chapter.clean_up(if order.is_short() { 1 } else { 2 }, dice).await;
    }
    chapter.report
}

async fn make_template(postgres: &Postgres) {
    let url = postgres
        .with(|cluster| cluster.create_database("campaign_template", None).expect("a database"))
        .await;
    let migrated = tokio::process::Command::new(world::FAIRCROSS)
        .arg("migrate")
        .env_clear()
        .env("DATABASE_URL", url)
        .output()
        .await
        .expect("the binary runs");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
}

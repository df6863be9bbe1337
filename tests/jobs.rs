//! The one wrapper around every job: never over itself, on one server at a time, bounded in time, and where money waits also
//! without Redis. And the nightly clean-ups, which run once a day and delete nothing that has to be kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use faircross::jobs::{Job, NoOverlap, Outcome, Pace, job, run_once};
use faircross::play::Context;
use faircross::settings::{Environment, Secrets, Settings};
use tokio::sync::Notify;

use crate::world::{World, WorldOptions};

/// This test process as one more server of the world, without listeners and jobs of its own.
pub async fn context(world: &World) -> Arc<Context> {
    context_with(world, &[]).await
}

/// The same, with more in its environment.
pub async fn context_with(world: &World, more: &[(&str, &str)]) -> Arc<Context> {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = Environment::of(world.environment().into_iter().chain(more));
    let settings = Settings::load(None, &environment).expect("settings");
    let secrets = Secrets::load(&environment).expect("secrets");
    Context::start(settings, secrets).await.expect("a context")
}

/// A job whose body is `run`, under the lock `test-lock`.
const fn locked(run: fn(Arc<Context>) -> futures::future::BoxFuture<'static, faircross::jobs::Report>) -> Job {
    Job {
        name: "test",
        pace: Pace::EveryMs(|_| 1_000),
        lock: Some(("test-lock", 60)),
        runs_without_redis: false,
        time_limit: Duration::from_secs(30),
        run,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_never_runs_over_itself() {
    static ENTERED: Notify = Notify::const_new();
    static GO_ON: Notify = Notify::const_new();
    static JOB: Job = locked(|_| {
        Box::pin(async {
            ENTERED.notify_one();
            GO_ON.notified().await;
            Ok(String::new())
        })
    });
    let world = World::new(WorldOptions::default()).await;
    let (context, guard) = (context(&world).await, Arc::new(NoOverlap::default()));
    let first = tokio::spawn({
        let (context, guard) = (Arc::clone(&context), Arc::clone(&guard));
        async move { run_once(&context, &JOB, &guard).await }
    });
    ENTERED.notified().await;
    assert_eq!(run_once(&context, &JOB, &guard).await, Outcome::StillRunning, "in this process");
    assert_eq!(
        run_once(&context, &JOB, &NoOverlap::default()).await,
        Outcome::NotOurs,
        "on another server"
    );
    GO_ON.notify_one();
    assert_eq!(first.await.expect("not cancelled"), Outcome::Done);
    assert_eq!(
        world.ask_redis(&["EXISTS", "test-lock"]).await,
        redis::Value::Int(0),
        "the lock is given back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_outlived_its_lock_leaves_the_next_holders_alone() {
    static JOB: Job = locked(|context| {
        Box::pin(async move {
            // The lock ran out, and another server took it.
            let mine = context.live.release("test-lock", "nobody's").await?;
            assert!(!mine, "a lock is given back by its own token only");
            Ok(String::new())
        })
    });
    let world = World::new(WorldOptions::default()).await;
    let context = context(&world).await;
    world.ask_redis(&["SET", "test-lock", "another server's", "EX", "60"]).await;
    assert_eq!(run_once(&context, &JOB, &NoOverlap::default()).await, Outcome::NotOurs);
    world.ask_redis(&["DEL", "test-lock"]).await;
    assert_eq!(run_once(&context, &JOB, &NoOverlap::default()).await, Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_too_long_is_given_up_and_one_that_fails_says_so() {
    static SLOW: Job = Job {
        time_limit: Duration::from_millis(300),
        ..locked(|_| Box::pin(std::future::pending()))
    };
    static FAILS: Job = locked(|_| Box::pin(async { Err("on purpose".into()) }));
    let world = World::new(WorldOptions::default()).await;
    let context = context(&world).await;
    assert_eq!(run_once(&context, &SLOW, &NoOverlap::default()).await, Outcome::TimedOut);
    assert_eq!(
        run_once(&context, &FAILS, &NoOverlap::default()).await,
        Outcome::Failed,
        "the lock was given back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_only_what_money_waits_for_runs() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    fn count(_: Arc<Context>) -> futures::future::BoxFuture<'static, faircross::jobs::Report> {
        Box::pin(async {
            RUNS.fetch_add(1, Ordering::Relaxed);
            Ok(String::new())
        })
    }
    static WAITS: Job = locked(count);
    static GOES_ON: Job = Job {
        runs_without_redis: true,
        ..locked(count)
    };
    let mut world = World::new(WorldOptions::default().with("FAIRCROSS__REDIS__COMMAND_TIMEOUT_MS", 400)).await;
    let context = context(&world).await;
    world.redis.kill().expect("killed");
    assert_eq!(run_once(&context, &WAITS, &NoOverlap::default()).await, Outcome::NotOurs);
    assert_eq!(run_once(&context, &GOES_ON, &NoOverlap::default()).await, Outcome::Done);
    assert_eq!(RUNS.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_ups_run_once_a_day_and_keep_what_has_to_be_kept() {
    let (world, server) = World::with_server().await;
    let player = world.player(&server).await;
    for _ in 0..3 {
        player.bet("10.00", "EASY").await.ok();
        player.walk_and_cash_out(0).await;
    }
    world.wait_until_settled().await;
    drop(server);
    // One bet of today, one to archive, one whose retention is over; and the same of its calls.
    world
        .change_database(
            "set session_replication_role = replica;
             update bets set ended_at = now() - interval '500 days' where nonce = 1;
             update bets set ended_at = now() - interval '2000 days' where nonce = 2;
             update wallet_audit set at = now() - interval '500 days' where sequence = (select sequence from bets where nonce = 1);
             update wallet_audit set at = now() - interval '2000 days' where sequence = (select sequence from bets where nonce = 2)",
        )
        .await;
    let context = context(&world).await;
    let today = "select (now() at time zone 'UTC')::date";
    let before = world.ask_database(today).await;
    let kept = "select (select string_agg(nonce::text, ',') from bets) || ' ' || (select string_agg(nonce::text, ',') from bets_archive)";
    for _ in 0..2 {
        for name in ["bet-cleanup", "wallet-audit-cleanup"] {
            let job = job(name).expect("in the schedule");
            assert_eq!(run_once(&context, job, &NoOverlap::default()).await, Outcome::Done);
        }
        assert_eq!(
            world.ask_database(kept).await,
            "0 1",
            "archived after 400 days, deleted after five years"
        );
        let calls = "select (select count(*) from wallet_audit) || ' ' || (select count(*) from wallet_audit_archive)";
        assert_eq!(world.ask_database(calls).await, "2 2");
    }
    let last_run = world.ask_redis(&["GET", "bet-cleanup-last-run"]).await;
    let today = world.ask_database(today).await;
    // The test may be at it at midnight.
    assert!(
        [before, today]
            .map(|day| redis::Value::BulkString(day.into_bytes()))
            .contains(&last_run),
        "{last_run:?}"
    );
    let revealed = world.ask_database("select count(*) from revealed_commitments").await;
    assert_eq!(revealed, "3", "a spent seed stays spent");
}

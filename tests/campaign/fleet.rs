//! One to three servers over one pair of stores, each behind proxies of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use faircross::stores::{Durability, PostgresCluster};

use crate::players::Addresses;
use crate::proxy::{Proxy, Traffic, Upstream};
use crate::world::{PATIENCE, Server, World};

/// The PostgreSQL of a campaign. Commits reach the operating system before they are answered, so that a crash of PostgreSQL
/// loses nothing; only a loss of power would.
#[derive(Clone)]
pub struct Postgres(Arc<Mutex<PostgresCluster>>);

impl Postgres {
    pub fn start() -> Self {
        let settings = [("synchronous_commit", "on"), ("full_page_writes", "on"), ("max_connections", "300")];
        let cluster = PostgresCluster::temporary(Durability::Volatile, &settings).expect("PostgreSQL starts");
        Self(Arc::new(Mutex::new(cluster)))
    }

    /// Does something with the cluster that takes a while.
    pub async fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut PostgresCluster) -> T + Send + 'static) -> T {
        let cluster = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&mut cluster.lock().expect("not poisoned")))
            .await
            .expect("not cancelled")
    }
}

/// One server and the lines between it and its stores.
struct Place {
    server: Option<Server>,
    redis: Proxy,
    postgres: Proxy,
    clock_offset_ms: i64,
}

/// All servers of a world.
pub struct Fleet {
    places: Vec<Place>,
    pub addresses: Arc<Addresses>,
}

impl Fleet {
    pub async fn start(world: &World, postgres: &Postgres, clock_offsets_ms: &[i64]) -> Self {
        let socket = postgres.with(|cluster| cluster.directory().join(".s.PGSQL.5432")).await;
        let mut places = Vec::new();
        for clock_offset_ms in clock_offsets_ms {
            places.push(Place {
                server: None,
                redis: Proxy::start(Upstream::Unix(world.redis.socket())).await,
                postgres: Proxy::start(Upstream::Unix(socket.clone())).await,
                clock_offset_ms: *clock_offset_ms,
            });
        }
        let mut fleet = Self {
            addresses: Arc::new(Addresses::new(places.len())),
            places,
        };
        fleet.start_all(world).await;
        fleet
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The next server of a place has a clock that is an hour behind where the one before had it.
    pub fn set_clock_back(&mut self, place: usize) {
        self.places[place].clock_offset_ms -= 3_600_000;
    }

    /// Starts the server of a place (a running one is killed before), with armed failpoints or none.
    pub async fn start_at(&mut self, world: &World, place: usize, failpoints: Option<&str>) {
        self.start_with(world, place, failpoints, &[]).await;
    }

    /// The same, with a server that moves finished bets to the archive every second.
    pub async fn start_cleaning(&mut self, world: &World, place: usize, failpoints: Option<&str>) {
        let cleaning = [
            ("FAIRCROSS__JOBS__BET_CLEANUP", "* * * * * *".to_owned()),
            ("FAIRCROSS__JOBS__CLEANUP_BATCH", "20".to_owned()),
        ];
        self.start_with(world, place, failpoints, &cleaning).await;
    }

    async fn start_with(&mut self, world: &World, place: usize, failpoints: Option<&str>, more: &[(&'static str, String)]) {
        self.kill(place).await;
        let lines = &self.places[place];
        let environment = [
            ("REDIS_URL", format!("redis://{}", lines.redis.address())),
            (
                "DATABASE_URL",
                format!(
                    "postgres://faircross@{}/{}?sslmode=disable",
                    lines.postgres.address(),
                    world.database
                ),
            ),
            ("FAIRCROSS__CLOCK__OFFSET_MS", lines.clock_offset_ms.to_string()),
            ("FAILPOINTS", failpoints.unwrap_or_default().to_owned()),
        ];
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .chain(more)
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut server = launch(world, &environment).await;
        let started = crate::now();
        while !server.is_gone_within(Duration::ZERO).await && started.elapsed() < PATIENCE {
            if server.readiness(&world.http).await.is_ok() {
                self.addresses.set(place, Some(server.url("")));
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // An armed server may be gone already: it finds work before anybody asks it.
        let is_up = !server.is_gone_within(Duration::ZERO).await && started.elapsed() < PATIENCE;
        assert!(is_up || failpoints.is_some(), "a server does not start: {}", server.log());
        self.places[place].server = Some(server);
    }

    /// Kills the server of a place (SIGKILL).
    pub async fn kill(&mut self, place: usize) {
        self.addresses.set(place, None);
        if let Some(mut server) = self.places[place].server.take() {
            server.kill().await;
        }
    }

    pub async fn kill_all(&mut self) {
        for place in 0..self.len() {
            self.kill(place).await;
        }
    }

    pub async fn start_all(&mut self, world: &World) {
        for place in 0..self.len() {
            self.start_at(world, place, None).await;
        }
    }

    /// Whether an armed failpoint killed the server of a place within the limit.
    pub async fn was_killed_at(&mut self, place: usize, failpoint: &str, limit: Duration) -> bool {
        let Some(server) = self.places[place].server.as_mut() else {
            return false;
        };
        let gone = server.is_gone_within(limit).await && server.reached(failpoint);
        if gone {
            self.places[place].server = None;
            self.addresses.set(place, None);
        }
        gone
    }

    /// STOP or CONT.
    pub fn signal(&self, place: usize, signal: &str) {
        if let Some(server) = &self.places[place].server {
            server.signal(signal);
        }
    }

    pub fn server(&self, place: usize) -> &Server {
        self.places[place].server.as_ref().expect("it runs")
    }

    pub fn redis_line(&self, place: usize) -> &Proxy {
        &self.places[place].redis
    }

    pub fn postgres_line(&self, place: usize) -> &Proxy {
        &self.places[place].postgres
    }

    /// Everything runs and is connected again.
    pub async fn heal(&mut self, world: &World) {
        self.addresses.send_all_to(None);
        for place in 0..self.len() {
            self.places[place].redis.set(Traffic::Flows);
            self.places[place].postgres.set(Traffic::Flows);
            self.signal(place, "CONT");
            let is_gone = match self.places[place].server.as_mut() {
                Some(server) => server.is_gone_within(Duration::ZERO).await,
                None => true,
            };
            if is_gone {
                self.start_at(world, place, None).await;
            }
        }
    }
}

async fn launch(world: &World, environment: &[(&str, &str)]) -> Server {
    let (environment, log) = world.of_next_server(environment);
    Server::launch(&environment, log).await
}

//! What the product is measured against: handlers that do the same calls to Redis, PostgreSQL and the operator and nothing else.
//!
//! No signature is checked, no rule of the game is kept, no row is guarded by a trigger. The libraries, the number of workers and
//! connections and the allocator are the product's, the values in Redis and the answers are as long as the product's, and the paths
//! are the same, so that one generator loads both. `faircross-load bench` starts it and stops it.

mod handlers;
mod stores;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use clap::Parser;
use url::Url;

use stores::Stores;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many as the product has by default.
const WORKERS: usize = 2;
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What the bare server fails with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The bare handlers, on 127.0.0.1.
#[derive(Parser)]
pub struct Options {
    #[arg(long)]
    pub port: u16,
    #[arg(long)]
    pub redis_url: String,
    /// An empty database, in which it makes its table.
    #[arg(long)]
    pub database_url: String,
    #[arg(long)]
    pub operator_url: Url,
    #[arg(long)]
    pub certificate: String,
    #[arg(long)]
    pub currency: String,
    /// An answer of the product, whose fields are answered as they are but for those that a request changes.
    #[arg(long, value_name = "FILE")]
    pub answer: PathBuf,
    /// How long the text is that the product keeps of a round in Redis.
    #[arg(long)]
    pub round_bytes: usize,
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let stores = web::Data::new(Stores::connect(options).await?);
    HttpServer::new(move || App::new().app_data(stores.clone()).configure(handlers::routes))
        .workers(WORKERS)
        .keep_alive(KEEP_ALIVE)
        .tcp_nodelay(true)
        .shutdown_timeout(1)
        .bind(address)?
        .run()
        .await?;
    Ok(())
}

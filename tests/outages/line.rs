//! A line to PostgreSQL that can fall silent: the connections of that moment stay open and nothing moves on them any more, in
//! neither direction and without an end, as when a host loses its power. What happens to new ones is the test's choice.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

pub struct Line {
    address: SocketAddr,
    /// A change silences the connections that were accepted before.
    silenced: watch::Sender<()>,
    new_ones_hang: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
}

impl Line {
    /// A line to the server whose socket is in this directory.
    pub async fn start(directory: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let line = Self {
            address: listener.local_addr().expect("its address"),
            silenced: watch::Sender::new(()),
            new_ones_hang: Arc::default(),
            accepted: Arc::default(),
        };
        let (silenced, hangs, accepted) = (line.silenced.clone(), Arc::clone(&line.new_ones_hang), Arc::clone(&line.accepted));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                let hangs = hangs.load(Ordering::Relaxed);
                tokio::spawn(carry(client, directory.join(".s.PGSQL.5432"), silenced.subscribe(), hangs));
            }
        });
        line
    }

    /// The address of a database at the other end.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://faircross@{}/{database}?sslmode=disable", self.address)
    }

    /// Every connection falls silent, and so do new ones if `new_ones_too`.
    pub fn fall_silent(&self, new_ones_too: bool) {
        self.new_ones_hang.store(new_ones_too, Ordering::Relaxed);
        self.silenced.send_replace(());
    }

    /// New connections are carried again. The old ones stay silent.
    pub fn carry_new_ones(&self) {
        self.new_ones_hang.store(false, Ordering::Relaxed);
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn carry(mut client: TcpStream, store: PathBuf, mut silenced: watch::Receiver<()>, hangs: bool) {
    if !hangs {
        let mut store = UnixStream::connect(store).await.expect("PostgreSQL accepts");
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut store) => return,
            changed = silenced.changed() => if changed.is_err() { return },
        }
        // Both ends stay open until the test is over.
        while silenced.changed().await.is_ok() {}
        return;
    }
    while silenced.changed().await.is_ok() {}
}

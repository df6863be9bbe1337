//! A TCP proxy between a server and its stores, which loses, holds back and cuts what the test wants.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

const BUFFER_BYTES: usize = 16 * 1024;

/// Where the proxy leads.
#[derive(Clone)]
pub enum Upstream {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// What happens to the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// It passes.
    Flows,
    /// Every connection is closed, and so is every new one.
    Cut,
    /// Connections stay, and nothing moves.
    Stalls,
    /// What is sent arrives; instead of the answer the connection ends.
    LosesAnswers,
    /// The same, only for what contains this text: the end of a connection in the middle of one kind of commit.
    LosesAnswersTo(&'static str),
}

/// A running proxy; it ends with its connections when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    accepted: Arc<AtomicU64>,
    lost_answers: Arc<AtomicU64>,
}

/// What all connections go by.
struct Rules {
    traffic: Traffic,
    /// Where new connections lead.
    upstream: Upstream,
    /// Of the connections up to this number nothing is ever heard again: neither bytes nor an end, as when a host vanishes.
    silent_up_to: u64,
    /// Connections on which nothing is under way for so long are closed.
    rest_limit: Option<Duration>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Proxy {
    pub async fn start(upstream: Upstream) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (rules, watching) = watch::channel(Rules {
            traffic: Traffic::Flows,
            upstream,
            silent_up_to: 0,
            rest_limit: None,
        });
        let (accepted, lost_answers) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        tokio::spawn(accept(listener, watching, Arc::clone(&accepted), Arc::clone(&lost_answers)));
        Self {
            address,
            rules,
            accepted,
            lost_answers,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, traffic: Traffic) {
        self.rules.send_modify(|rules| rules.traffic = traffic);
    }

    /// The other end of every connection there is vanishes without a word; new ones are carried.
    pub fn silence(&self) {
        let accepted = self.accepted.load(Ordering::Relaxed);
        self.rules.send_modify(|rules| rules.silent_up_to = accepted);
    }

    /// Connections on which nothing is under way for so long are closed from now on; `None`: never.
    pub fn close_what_rests(&self, limit: Option<Duration>) {
        self.rules.send_modify(|rules| rules.rest_limit = limit);
    }

    /// New connections lead elsewhere.
    pub fn lead_to(&self, upstream: Upstream) {
        self.rules.send_modify(|rules| rules.upstream = upstream);
    }

    /// How many answers were lost on the way since the start.
    pub fn lost_answers(&self) -> u64 {
        self.lost_answers.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, mut rules: watch::Receiver<Rules>, accepted: Arc<AtomicU64>, lost: Arc<AtomicU64>) {
    loop {
        let client = tokio::select! {
            client = listener.accept() => client,
            // The proxy was dropped.
            gone = wait_until_dropped(&mut rules) => return gone,
        };
        let Ok((client, _)) = client else { continue };
        let number = accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let (upstream, rules, lost) = (rules.borrow().upstream.clone(), rules.clone(), Arc::clone(&lost));
        tokio::spawn(async move {
            let _ = client.set_nodelay(true);
            let store: Option<Box<dyn Stream>> = match upstream {
                Upstream::Unix(path) => UnixStream::connect(path)
                    .await
                    .ok()
                    .map(|stream| Box::new(stream) as Box<dyn Stream>),
                Upstream::Tcp(address) => TcpStream::connect(address)
                    .await
                    .ok()
                    .map(|stream| Box::new(stream) as Box<dyn Stream>),
            };
            if let Some(store) = store {
                carry(number, client, store, rules, &lost).await;
            }
        });
    }
}

async fn wait_until_dropped(rules: &mut watch::Receiver<Rules>) {
    while rules.changed().await.is_ok() {}
}

enum Read {
    FromClient(usize),
    FromStore(usize),
    Changed,
}

/// One connection. Every end and every error ends both sides.
async fn carry(number: u64, mut client: TcpStream, mut store: Box<dyn Stream>, mut rules: watch::Receiver<Rules>, lost: &AtomicU64) {
    let (mut asked, mut answered) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut answer_is_lost = false;
    let mut is_asked = false;
    loop {
        let (traffic, is_silent, rest_limit) = {
            let rules = rules.borrow_and_update();
            (rules.traffic, number <= rules.silent_up_to, rules.rest_limit)
        };
        let rest_limit = rest_limit.filter(|_| !is_asked);
        if is_silent {
            return wait_until_dropped(&mut rules).await;
        }
        if traffic == Traffic::Cut {
            return;
        }
        let read = if traffic == Traffic::Stalls {
            rules.changed().await.map(|()| Read::Changed).ok()
        } else {
            tokio::select! {
                changed = rules.changed() => changed.map(|()| Read::Changed).ok(),
                () = tokio::time::sleep(rest_limit.unwrap_or_default()), if rest_limit.is_some() => None,
                read = client.read(&mut asked) => read.map(Read::FromClient).ok(),
                read = store.read(&mut answered) => read.map(Read::FromStore).ok(),
            }
        };
        match read {
            Some(Read::Changed) => {}
            None | Some(Read::FromClient(0) | Read::FromStore(0)) => return,
            Some(Read::FromClient(length)) => {
                is_asked = true;
                answer_is_lost |= loses_answer(traffic, &asked[..length]);
                if store.write_all(&asked[..length]).await.is_err() {
                    return;
                }
            }
            Some(Read::FromStore(_)) if answer_is_lost => {
                lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Some(Read::FromStore(length)) => {
                is_asked = false;
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn loses_answer(traffic: Traffic, asked: &[u8]) -> bool {
    match traffic {
        Traffic::LosesAnswers => true,
        Traffic::LosesAnswersTo(text) => asked.windows(text.len()).any(|part| part == text.as_bytes()),
        Traffic::Flows | Traffic::Cut | Traffic::Stalls => false,
    }
}

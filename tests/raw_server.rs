//! A server that misbehaves on the wire in ways that no real HTTP server would let us order.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faircross::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server that answers every request with the same bytes, and remembers what it was asked.
pub struct RawServer {
    pub url: String,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    pub connections: Arc<AtomicUsize>,
    pub busiest: Arc<AtomicUsize>,
}

#[derive(Clone)]
pub enum Behaviour {
    /// These bytes, and the connection stays open.
    Answer(Vec<u8>),
    /// These bytes, and then nothing more on an open connection.
    Stall(Vec<u8>),
    /// Nothing, and every connection's end is noted.
    Silent(Arc<AtomicUsize>),
    /// The connection is reset once the request is read.
    Reset,
    /// The answer, after a while.
    AnswerAfter(Duration, Vec<u8>),
    /// The answer, on a connection that is reset when it is asked again after it rested for so long: what its caller sent had crossed
    /// with the close.
    ClosesRested(Duration, Vec<u8>),
}

impl RawServer {
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), behaviour).await
    }

    pub async fn start_at(address: SocketAddr, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let url = format!("http://{}/callback", listener.local_addr().expect("an address"));
        let server = Self {
            url,
            requests: Arc::default(),
            connections: Arc::default(),
            busiest: Arc::default(),
        };
        let (requests, connections, busiest) = (server.requests.clone(), server.connections.clone(), server.busiest.clone());
        let busy = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, behaviour.clone(), requests.clone(), busy.clone(), busiest.clone()));
            }
        });
        server
    }

    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.requests.lock().expect("requests").clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    behaviour: Behaviour,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    busy: Arc<AtomicUsize>,
    busiest: Arc<AtomicUsize>,
) {
    let mut rests_since = None;
    while let Some(request) = read_request(&mut stream).await {
        requests.lock().expect("requests").push(request);
        busiest.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        match &behaviour {
            Behaviour::Answer(bytes) => stream.write_all(bytes).await.expect("an answer is taken"),
            Behaviour::Stall(bytes) => {
                stream.write_all(bytes).await.expect("an answer is taken");
                std::future::pending::<()>().await;
            }
            Behaviour::Silent(ended) => {
                // Whatever comes now, a byte, an end or a reset.
                let mut more = [0; 1];
                let _ = stream.read(&mut more).await;
                ended.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Behaviour::Reset => {
                stream.set_zero_linger().expect("a socket option");
                return;
            }
            Behaviour::ClosesRested(rest, bytes) => {
                if rests_since.is_some_and(|since: std::time::Instant| since.elapsed() >= *rest) {
                    stream.set_zero_linger().expect("a socket option");
                    return;
                }
                stream.write_all(bytes).await.expect("an answer is taken");
                rests_since = Some(Clock::default().monotonic());
            }
            Behaviour::AnswerAfter(delay, bytes) => {
                tokio::time::sleep(*delay).await;
                busy.fetch_sub(1, Ordering::SeqCst);
                stream.write_all(bytes).await.expect("an answer is taken");
                continue;
            }
        }
        busy.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let head_length = request
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map(|position| position + 4);
        if let Some(head_length) = head_length {
            let head = String::from_utf8_lossy(&request[..head_length]).to_ascii_lowercase();
            let length: usize = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
            if request.len() >= head_length + length {
                return Some(request);
            }
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}

pub fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

//! One player's connection: HTTP/1.1, kept alive, one request at a time, as a browser's would be.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer takes longer than this: the server's own longest wait (a bet at a silent operator, 5 s) and a margin.
const PATIENCE: Duration = Duration::from_secs(15);

/// What to ask.
pub struct Question<'a> {
    pub method: Method,
    pub path: &'a str,
    /// The session token.
    pub token: Option<&'a str>,
    /// The media type and the body.
    pub body: Option<(&'static str, Vec<u8>)>,
    pub idempotency_key: Option<&'a str>,
}

impl<'a> Question<'a> {
    pub fn get(path: &'a str, token: Option<&'a str>) -> Self {
        Self {
            method: Method::GET,
            path,
            token,
            body: None,
            idempotency_key: None,
        }
    }

    pub fn send(method: Method, path: &'a str, token: Option<&'a str>, body: &serde_json::Value) -> Self {
        Self {
            method,
            path,
            token,
            body: Some(("application/json", body.to_string().into_bytes())),
            idempotency_key: None,
        }
    }
}

/// A complete answer, whatever its status.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    /// What `Retry-After` advises, in seconds.
    pub retry_after_s: Option<u64>,
}

/// There was no complete answer. Whether the request was handled is unknown.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("no_answer_in_{}_s", PATIENCE.as_secs())]
    TooLate,
    #[error("not_connected")]
    Connecting(#[source] std::io::Error),
    #[error("connection_broken")]
    Broken(#[from] hyper::Error),
    #[error("malformed_request")]
    Request(#[from] hyper::http::Error),
}

/// A connection that is made when it is needed.
pub struct Connection {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Sends one request and reads the whole answer.
    pub async fn ask(&mut self, question: Question<'_>) -> Result<Answer, NoAnswer> {
        let answer = timeout(PATIENCE, self.exchange(question)).await.unwrap_or(Err(NoAnswer::TooLate));
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    async fn exchange(&mut self, question: Question<'_>) -> Result<Answer, NoAnswer> {
        let request = self.request(question)?;
        let answer = self.sender().await?.send_request(request).await?;
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: answer.status().as_u16(),
            retry_after_s: retry_after.and_then(|text| text.parse().ok()),
            body: answer.into_body().collect().await?.to_bytes(),
        })
    }

    fn request(&self, question: Question<'_>) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let mut request = Request::builder()
            .method(question.method)
            .uri(question.path)
            .header(HOST, self.address.to_string());
        if let Some(token) = question.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(key) = question.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        let body = match question.body {
            Some((media_type, body)) => {
                request = request.header(CONTENT_TYPE, media_type);
                Bytes::from(body)
            }
            None => Bytes::new(),
        };
        Ok(request.body(Full::new(body))?)
    }

    /// The way to the server; one that the server has closed meanwhile is made anew.
    async fn sender(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, NoAnswer> {
        let is_usable = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_usable {
            let stream = TcpStream::connect(self.address).await.map_err(NoAnswer::Connecting)?;
            stream.set_nodelay(true).map_err(NoAnswer::Connecting)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        Ok(self.sender.as_mut().expect("made just now"))
    }
}

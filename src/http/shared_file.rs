//! Files as they are sent: one copy, whole and compressed once, for all who ask. An answer holds a share of it and hands the
//! connection a piece at a time, so that a client that reads slowly costs a piece and not the file.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{self, AcceptEncoding, Encoding, Header as _, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

/// So much of a file is copied for a connection at once.
const PIECE_BYTES: usize = 16 * 1024;
/// Smaller files are not worth compressing: they fit into a packet.
const WORTH_COMPRESSING_BYTES: usize = 1_400;

/// A file, shared by all who ask for it.
pub struct SharedFile {
    content_type: String,
    whole: Bytes,
    /// SHA-256 of the content, in hex: the version that clients name.
    version: String,
    /// Made when somebody first asks for it; `None` where it would save nothing.
    compressed: OnceCell<Option<Bytes>>,
}

impl SharedFile {
    /// With its content as it is to be shown.
    pub fn new(content_type: String, whole: Bytes) -> Self {
        Self {
            version: hex::encode(Sha256::digest(&whole)),
            content_type,
            whole,
            compressed: OnceCell::new(),
        }
    }

    /// The content.
    pub fn whole(&self) -> &Bytes {
        &self.whole
    }

    /// Answers with the file, compressed if the client takes that, or says that the client has it. It may be kept, but is asked for
    /// again each time: a new version of the server is seen at once.
    pub async fn answer(&self, request: &HttpRequest, more: impl FnOnce(&mut HttpResponseBuilder)) -> HttpResponse {
        let compressed = if takes_gzip(request) { self.compressed().await } else { None };
        let suffix = if compressed.is_some() { "-gzip" } else { "" };
        let is_known = names_version(request.headers(), &self.version);
        let mut answer = if is_known {
            HttpResponse::NotModified()
        } else {
            HttpResponse::Ok()
        };
        answer
            .insert_header((header::ETAG, format!("\"{}{suffix}\"", self.version)))
            .insert_header((header::VARY, "accept-encoding"))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .content_type(self.content_type.as_str());
        more(&mut answer);
        if is_known {
            return answer.finish();
        }
        if compressed.is_some() {
            answer.insert_header((header::CONTENT_ENCODING, "gzip"));
        }
        answer.body(Share(compressed.unwrap_or_else(|| self.whole.clone())))
    }

    async fn compressed(&self) -> Option<Bytes> {
        let compressed = self.compressed.get_or_init(|| async {
            let whole = self.whole.clone();
            // Tens of milliseconds for the largest, once; the worker's other players do not wait for it.
            tokio::task::spawn_blocking(move || gzip(&whole)).await.unwrap_or_default()
        });
        compressed.await.clone()
    }
}

/// The content compressed, where that makes it smaller.
fn gzip(whole: &[u8]) -> Option<Bytes> {
    if whole.len() < WORTH_COMPRESSING_BYTES {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(whole).ok()?;
    let compressed = encoder.finish().ok()?;
    (compressed.len() < whole.len()).then(|| compressed.into())
}

fn takes_gzip(request: &HttpRequest) -> bool {
    let preferred = AcceptEncoding::parse(request).ok();
    let offered = [Encoding::gzip(), Encoding::identity()];
    preferred.and_then(|accepted| accepted.negotiate(offered.iter())) == Some(Encoding::gzip())
}

/// Whether the client names this version as one that it has.
fn names_version(headers: &HeaderMap, version: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    known
        .flat_map(|list| list.split(','))
        .map(|known| known.trim().trim_start_matches("W/").trim_matches('"'))
        .any(|known| known.strip_suffix("-gzip").unwrap_or(known) == version || known == "*")
}

/// The files that were asked for, by name. Only names of files that exist are kept, so they are few.
#[derive(Default)]
pub struct Shelf(RwLock<BTreeMap<String, Arc<SharedFile>>>);

impl Shelf {
    /// An empty one.
    pub const fn new() -> Self {
        Self(RwLock::new(BTreeMap::new()))
    }

    /// The file of that name, if it was put here.
    pub fn get(&self, name: &str) -> Option<Arc<SharedFile>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Puts a file here; whoever asks next gets it.
    pub fn put(&self, name: &str, file: SharedFile) -> Arc<SharedFile> {
        let file = Arc::new(file);
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), Arc::clone(&file));
        file
    }
}

/// What is left to send of a shared file.
struct Share(Bytes);

impl MessageBody for Share {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let piece = PIECE_BYTES.min(self.0.len());
        Poll::Ready((piece > 0).then(|| Ok(self.0.split_to(piece))))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    use super::*;

    async fn ask(file: &SharedFile, accepted: &'static str, known: &str) -> HttpResponse {
        let request = TestRequest::default()
            .insert_header((header::ACCEPT_ENCODING, accepted))
            .insert_header((header::IF_NONE_MATCH, known.to_owned()))
            .to_http_request();
        file.answer(&request, |_| {}).await
    }

    #[actix_web::test]
    async fn a_file_is_sent_as_the_client_takes_it_and_not_twice() {
        let content = Bytes::from("a word ".repeat(10_000));
        let file = SharedFile::new("text/plain".to_owned(), content.clone());
        for accepted in ["identity", "br", "gzip;q=0", ""] {
            let answer = ask(&file, accepted, "").await;
            assert_eq!(answer.headers().get(header::CONTENT_ENCODING), None, "{accepted}");
            assert_eq!(to_bytes(answer.into_body()).await.expect("whole"), content, "{accepted}");
        }
        let answer = ask(&file, "gzip, deflate, br", "").await;
        assert_eq!(answer.headers().get(header::CONTENT_ENCODING).expect("named"), "gzip");
        let tag = answer
            .headers()
            .get(header::ETAG)
            .expect("a version")
            .to_str()
            .expect("ASCII")
            .to_owned();
        let sent = to_bytes(answer.into_body()).await.expect("whole");
        assert!(sent.len() < content.len() / 10);
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*sent), &mut unpacked).expect("gzip");
        assert_eq!(unpacked, content);
        for (accepted, known) in [
            ("gzip", tag.clone()),
            ("identity", tag.clone()),
            ("gzip", format!("\"x\", W/{tag}")),
        ] {
            assert_eq!(ask(&file, accepted, &known).await.status(), 304, "{accepted} {known}");
        }
        assert_eq!(ask(&file, "gzip", "\"x\"").await.status(), 200);
    }

    #[test]
    fn a_connection_is_handed_a_piece_at_a_time() {
        let mut share = Share(Bytes::from(vec![7; 3 * PIECE_BYTES + 1]));
        let mut pieces = Vec::new();
        while let Poll::Ready(Some(Ok(piece))) = Pin::new(&mut share).poll_next(&mut Context::from_waker(std::task::Waker::noop())) {
            pieces.push(piece.len());
        }
        assert_eq!(pieces, [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 1]);
    }
}

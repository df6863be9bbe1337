//! The playable page and the verifier page. Their files are built into the binary; a file is named by one path segment and
//! looked up in that set, so no path leads anywhere else.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, get, http::header, web};
use bytes::Bytes;
use rust_embed::RustEmbed;

use super::{
    errors,
    problem::{Code, Problem},
    shared_file::{SharedFile, Shelf},
};

/// Scripts, styles and connections of our own alone, nothing inline; shown in frames of our own alone.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

#[derive(RustEmbed)]
#[folder = "src/http/page/"]
struct Files;

static SHELF: Shelf = Shelf::new();

errors!(PageErrors, NotFound);

/// The playable page.
#[utoipa::path(tag = "Pages", operation_id = "page", responses((status = 200, description = "HTML", content_type = "text/html", body = String), PageErrors))]
#[get("/")]
pub async fn index(request: HttpRequest) -> Result<HttpResponse, Problem> {
    file(&request, "index.html").await
}

/// The verifier page.
#[utoipa::path(tag = "Pages", operation_id = "verifierPage", responses((status = 200, description = "HTML", content_type = "text/html", body = String), PageErrors))]
#[get("/verify")]
pub async fn verifier(request: HttpRequest) -> Result<HttpResponse, Problem> {
    file(&request, "verify.html").await
}

/// What the pages load.
#[utoipa::path(
    tag = "Pages", operation_id = "pageFile", params(("file" = String, Path, description = "A file's name")),
    responses((status = 200, description = "The file", content((String = "text/html"), (String = "text/css"), (String = "text/javascript"),
        (String = "image/svg+xml"), (String = "application/json"))),
        (status = 304, description = "The client has it already"), PageErrors)
)]
#[get("/page/{file}")]
pub async fn asset(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    file(&request, &name).await
}

async fn file(request: &HttpRequest, name: &str) -> Result<HttpResponse, Problem> {
    let is_plain = !name.starts_with('.') && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c));
    let found = if is_plain { shared(name) } else { None };
    let file = found.ok_or_else(|| Problem::new(Code::NotFound, "there is no such file"))?;
    Ok(file
        .answer(request, |answer| {
            answer.insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY));
        })
        .await)
}

/// The file that all share. Without a release's optimisation the files are those on the disk, which may have changed.
fn shared(name: &str) -> Option<Arc<SharedFile>> {
    let known = if cfg!(debug_assertions) { None } else { SHELF.get(name) };
    known.or_else(|| {
        let content = match Files::get(name)?.data {
            Cow::Borrowed(content) => Bytes::from_static(content),
            Cow::Owned(content) => content.into(),
        };
        Some(match SHELF.get(name) {
            Some(kept) if *kept.whole() == content => kept,
            _ => SHELF.put(name, SharedFile::new(content_type(name), content)),
        })
    })
}

fn content_type(name: &str) -> String {
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let is_text = kind.type_() == mime_guess::mime::TEXT || kind.subtype() == mime_guess::mime::JAVASCRIPT;
    if is_text {
        format!("{}; charset=utf-8", kind.essence_str())
    } else {
        kind.essence_str().to_owned()
    }
}

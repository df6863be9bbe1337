//! The playable page and the verifier page. Their files are built into the binary; a file is named by one path segment and
//! looked up in that set, so no path leads anywhere else.

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::header::{self, HeaderMap},
    web,
};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::{
    errors,
    problem::{Code, Problem},
};

/// Scripts, styles and connections of our own alone, nothing inline; shown in frames of our own alone.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

#[derive(RustEmbed)]
#[folder = "src/http/page/"]
struct Files;

errors!(PageErrors, NotFound);

/// The playable page.
#[utoipa::path(tag = "Pages", operation_id = "page", responses((status = 200, description = "HTML", content_type = "text/html", body = String), PageErrors))]
#[get("/")]
pub async fn index(request: HttpRequest) -> Result<HttpResponse, Problem> {
    file(&request, "index.html")
}

/// The verifier page.
#[utoipa::path(tag = "Pages", operation_id = "verifierPage", responses((status = 200, description = "HTML", content_type = "text/html", body = String), PageErrors))]
#[get("/verify")]
pub async fn verifier(request: HttpRequest) -> Result<HttpResponse, Problem> {
    file(&request, "verify.html")
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
    file(&request, &name)
}

fn file(request: &HttpRequest, name: &str) -> Result<HttpResponse, Problem> {
    let is_plain = !name.starts_with('.') && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c));
    let found = if is_plain { Files::get(name) } else { None };
    let EmbeddedFile { data, metadata } = found.ok_or_else(|| Problem::new(Code::NotFound, "there is no such file"))?;
    let tag = format!("\"{}\"", hex::encode(metadata.sha256_hash()));
    let is_known = names_tag(request.headers(), &tag);
    let mut answer = if is_known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    answer
        .insert_header((header::ETAG, tag))
        // Kept, but asked for again each time: a new version of the server is seen at once.
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .content_type(content_type(name));
    Ok(if is_known {
        answer.finish()
    } else {
        answer.body(data.into_owned())
    })
}

/// Whether the client names this version as one that it has.
fn names_tag(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    known
        .flat_map(|list| list.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == tag || known == "*")
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

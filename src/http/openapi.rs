//! The API document, generated from the handlers, and a page to read it. Because every path and method is in the document,
//! it also answers which methods a path knows (405).

use std::sync::Arc;

use actix_web::{
    App, HttpRequest, HttpResponse, dev::HttpServiceFactory, dev::ResourceDef, get, guard, http::Method, http::header,
    middleware::DefaultHeaders, web,
};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, PathItem};
use utoipa::{Modify, OpenApi};
use utoipa_actix_web::AppExt;

use super::{
    problem::{Problem, ProblemDocument},
    routes::routes,
    shared_file::{SharedFile, Shelf},
};

/// The reading page brings its own inline styles; everything comes from this server.
const READER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Where the document is displayed.
pub const READER_PATH: &str = "/api/docs";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "faircross",
        description = "A provably-fair step crash game: what players' clients and operators code against. Amounts and coefficients are \
                       texts, times RFC 3339 in UTC, seeds and hashes lower-case hex. Every answer has an X-Request-Id."
    ),
    components(schemas(ProblemDocument)),
    modifiers(&SessionToken)
)]
struct Head;

struct SessionToken;

impl Modify for SessionToken {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The session token from /api/auth"));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("sessionToken", SecurityScheme::Http(scheme.build()));
    }
}

/// The document as it is served, and the paths that it knows.
pub struct Reference {
    document: SharedFile,
    paths: Vec<(ResourceDef, Vec<Method>)>,
}

impl Reference {
    /// Generates the document from the routes.
    pub fn generate() -> Self {
        let (_, document) = App::new()
            .into_utoipa_app()
            .openapi(Head::openapi())
            .configure(routes)
            .split_for_parts();
        let text = serde_json::to_vec(&document).expect("the document is plain data");
        let paths = document
            .paths
            .paths
            .iter()
            .map(|(path, item)| (ResourceDef::new(path.as_str()), methods(item)));
        Self {
            document: SharedFile::new("application/json".to_owned(), text.into()),
            paths: paths.collect(),
        }
    }

    /// The document, as JSON.
    pub fn text(&self) -> &[u8] {
        self.document.whole()
    }

    /// What to say of a path and method that no route takes: 405 with the methods that are known there, else 404.
    pub fn refusal_for(&self, request: &HttpRequest) -> Problem {
        let methods = self
            .paths
            .iter()
            .filter(|(path, _)| path.is_match(request.path()))
            .flat_map(|(_, methods)| methods);
        let mut names: Vec<&str> = methods.map(Method::as_str).collect();
        if names.is_empty() {
            return Problem::of_status(actix_web::http::StatusCode::NOT_FOUND);
        }
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        Problem::method_not_allowed(names.join(", "))
    }
}

fn methods(item: &PathItem) -> Vec<Method> {
    let operations = [
        (&item.get, Method::GET),
        (&item.put, Method::PUT),
        (&item.post, Method::POST),
        (&item.delete, Method::DELETE),
        (&item.patch, Method::PATCH),
    ];
    let known = operations.into_iter().filter(|(operation, _)| operation.is_some());
    known.map(|(_, method)| method).collect()
}

/// Answers whatever no route takes.
pub async fn unrouted(request: HttpRequest, reference: web::Data<Reference>) -> Result<HttpResponse, Problem> {
    Err(reference.refusal_for(&request))
}

/// This document.
#[utoipa::path(
    tag = "Operations", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = serde_json::Value),
        (status = 304, description = "The client has it already"))
)]
#[get("/api/openapi.json")]
pub async fn show_document(request: HttpRequest, reference: web::Data<Reference>) -> HttpResponse {
    reference.document.answer(&request, |_| {}).await
}

/// A page to read the document on, all of it from this server.
pub fn reader() -> impl HttpServiceFactory {
    let policy = DefaultHeaders::new()
        .add((header::CONTENT_SECURITY_POLICY, READER_POLICY))
        .add((header::CACHE_CONTROL, "no-cache"));
    web::scope(READER_PATH)
        .wrap(policy)
        .route("", web::get().to(to_reader))
        .service(web::resource("/{file:.*}").guard(guard::Get()).to(reader_file))
}

/// The reader's files as the library has them, the largest of all that we send.
static READER: Shelf = Shelf::new();

async fn reader_file(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let Some(file) = READER.get(&name).or_else(|| read_reader_file(&name)) else {
        return HttpResponse::NotFound().finish();
    };
    file.answer(&request, |_| {}).await
}

fn read_reader_file(name: &str) -> Option<Arc<SharedFile>> {
    let config = utoipa_swagger_ui::Config::from("/api/openapi.json");
    let file = utoipa_swagger_ui::serve(name, Arc::new(config)).ok().flatten()?;
    Some(READER.put(name, SharedFile::new(file.content_type, file.bytes.into_owned().into())))
}

async fn to_reader() -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header((header::LOCATION, "/api/docs/"))
        .finish()
}

//! Bodies, paths and queries that have ended processes elsewhere, sent to every route of the list: each is answered, with a
//! status that the API document has for the route and never with 500 or above, and the server goes on.

use std::collections::{BTreeMap, BTreeSet};

use faircross::http::openapi::Reference;
use faircross::http::routes::Route;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::world::{Player, Server, World, WorldOptions};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// JSON values for any field, some of which are no JSON at all.
fn values() -> Vec<String> {
    let mut values: Vec<String> = [
        "null",
        "true",
        "-0",
        "-1",
        "1.5",
        "1e400",
        "-1e400",
        "1E-400",
        "18446744073709551616",
        "9007199254740993",
        "NaN",
        "{}",
        "[]",
        r#""""#,
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        r#""\u0000""#,
        r#""\uffff""#,
        r#""%s%n""#,
        r#""';select pg_sleep(9)--""#,
        r#""../../etc/passwd""#,
        r#""${jndi:ldap://x}""#,
        r#""😀😀""#,
        r#""-""#,
    ]
    .map(str::to_owned)
    .to_vec();
    values.push("9".repeat(12_000));
    values.push(format!("0.{}1", "0".repeat(12_000)));
    values.push(format!("\"{}\"", "x".repeat(12_000)));
    values.push(format!("\"{}\"", "9".repeat(12_000)));
    values.push(format!("{}{}", "[".repeat(6_000), "]".repeat(6_000)));
    values.push(format!("{}1{}", "{\"a\":".repeat(2_000), "}".repeat(2_000)));
    values.push(format!("\"{}\"", "[".repeat(8_000)));
    values.push(format!("\"{}1{}\"", "{\\\"maxbet\\\":".repeat(500), "}".repeat(500)));
    values
}

/// Whole bodies.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let mut bodies: Vec<(&str, Vec<u8>)> = Vec::new();
    for text in [
        "".to_owned(),
        "\0".repeat(100),
        "{".repeat(16_000),
        "[".repeat(16_000),
        "{\"a\":".repeat(3_000),
        format!("{{\"a\":{}{}}}", "[".repeat(8_000), "]".repeat(8_000)),
        format!("{{{}\"z\":1}}", (0..1_500).map(|n| format!("\"f{n}\":{n},")).collect::<String>()),
        format!("{{{}\"z\":1}}", "\"a\":1,".repeat(2_000)),
        r#"{"__proto__":{"x":1},"constructor":1}"#.to_owned(),
        r#"{"\ud800":1}"#.to_owned(),
        "\u{feff}{}".to_owned(),
        format!("\"{}", "\\".repeat(10_000)),
    ] {
        bodies.push((JSON, text.into_bytes()));
    }
    bodies.push((JSON, b"{\"a\":\"\xff\xfe\"}".to_vec()));
    bodies.push((JSON, b"{\"\xc3\x28\":1}".to_vec()));
    bodies.push((JSON, vec![0xff; 16_000]));
    for text in [
        "%".to_owned(),
        "%zz=%".to_owned(),
        "cert=%ff%fe&agentId=%00".to_owned(),
        "=&".repeat(5_000),
        (0..1_500).map(|n| format!("f{n}=1&")).collect(),
        "cert[]=1&agentId[a][b]=2".to_owned(),
        format!("cert=demo-cert&agentId=demo&userId={}", "%00".repeat(3_000)),
        format!("cert=demo-cert&agentId=demo&userId=a&betLimit={}", "[".repeat(10_000)),
        format!("cert=demo-cert&agentId=demo&userIds={}", "a,".repeat(7_000)),
    ] {
        bodies.push((FORM, text.into_bytes()));
    }
    bodies.push(("application/json; charset=utf-7", b"{}".to_vec()));
    bodies.push(("multipart/form-data; boundary=x", b"--x\r\n\r\n".to_vec()));
    bodies.push((
        "application/xml",
        b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>".to_vec(),
    ));
    bodies
}

/// Names for the parameters of paths and values for queries.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "%00",
        "%ff",
        "%c0%ae%c0%ae",
        "..%2f..%2fetc",
        "%2e%2e",
        "'",
        "%22",
        "%25",
        "-1",
        "99999999999999999999",
        "1e9",
        "NaN",
        "%F0%9F%98%80",
        "%0d%0aX-Injected:%201",
        "{}",
        "null",
        "0000-00-00",
        "9999999-01-01",
        "+262143-12-31",
        "-262144-01-01",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(8_000));
    names.push("%41".repeat(2_000));
    names
}

struct Fuzzed<'a> {
    world: &'a World,
    server: &'a Server,
    player: &'a Player,
    documented: BTreeMap<String, BTreeSet<String>>,
    asked: usize,
}

impl Fuzzed<'_> {
    async fn answered(&mut self, route: Route, what: &str, request: RequestBuilder) {
        let answer = request.send().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let status = answer.status().as_u16();
        let injected = answer.headers().contains_key("x-injected");
        assert!(status < 500 && !injected, "{what}: {status}");
        // What the router does not take for this route is answered for no route.
        let known = &self.documented[&place(route)];
        assert!(
            known.contains(&status.to_string()) || [404, 405].contains(&status),
            "{what}: {status} is not among {known:?}"
        );
        self.asked += 1;
    }

    fn request(&self, method: &Method, path: &str) -> RequestBuilder {
        let request = self.world.http.request(method.clone(), self.server.url(path));
        if path.starts_with("/api/game/") {
            request.bearer_auth(&self.player.token)
        } else {
            request
        }
    }
}

fn place(route: Route) -> String {
    let (method, path) = route.place();
    format!("{method} {path}")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_sent_ends_the_process() {
    let (world, server) = World::with_server_and(WorldOptions::default().with("FAIRCROSS__LOG__FILTER", "error")).await;
    let player = world.player(&server).await;
    let document: Value = serde_json::from_slice(Reference::generate().text()).expect("JSON");
    let mut fuzzed = Fuzzed {
        documented: documented(&document),
        world: &world,
        server: &server,
        player: &player,
        asked: 0,
    };
    player.bet("10.00", "EASY").await.ok();
    for route in Route::ALL
        .iter()
        .filter(|route| ![Route::Reader, Route::ReaderFile].contains(route))
    {
        let (method, path) = route.place();
        let method: Method = method.as_str().parse().expect("a method");
        if method != Method::GET {
            send_bodies(&mut fuzzed, *route, &method, &path, &fields(&document, *route)).await;
        }
        send_names(&mut fuzzed, *route, &method, &path).await;
    }
    assert!(fuzzed.asked > 2_000, "only {} requests", fuzzed.asked);
    assert_eq!(server.readiness(&world.http).await, Ok(()));
    assert!(!server.log().contains("panicked"), "{}", server.log());
    player.walk_and_cash_out(0).await;
    world.close().await;
}

async fn send_bodies(fuzzed: &mut Fuzzed<'_>, route: Route, method: &Method, path: &str, fields: &[String]) {
    for (number, (kind, body)) in bodies().into_iter().enumerate() {
        let request = fuzzed.request(method, path).header("Content-Type", kind).body(body);
        fuzzed
            .answered(route, &format!("{path} with body {number} as {kind}"), request)
            .await;
    }
    for field in fields {
        for value in values() {
            let body = format!(r#"{{"cert":"demo-cert","agentId":"demo","{field}":{value}}}"#);
            let what = format!("{path} with {field} = {}", value.chars().take(40).collect::<String>());
            let request = fuzzed.request(method, path).header("Content-Type", JSON).body(body);
            fuzzed.answered(route, &what, request).await;
        }
    }
}

async fn send_names(fuzzed: &mut Fuzzed<'_>, route: Route, method: &Method, path: &str) {
    for name in names() {
        let mut paths = vec![format!("{path}?limit={name}&before={name}")];
        if let Some((head, _)) = path.split_once('{') {
            paths.push(format!("{head}{name}"));
        }
        for path in paths.iter().filter(|path| !path.contains('{') || path.contains('?')) {
            let path = path.replace(['{', '}'], "");
            let what = format!("{method} {}", path.chars().take(80).collect::<String>());
            fuzzed.answered(route, &what, fuzzed.request(method, &path)).await;
        }
    }
}

/// The statuses that the document has for each operation.
fn documented(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let routes = Route::ALL.iter().map(|route| (place(*route), operation(document, *route)));
    routes
        .map(|(place, operation)| {
            let statuses = operation["responses"].as_object().into_iter().flatten();
            (place, statuses.map(|(status, _)| status.clone()).collect())
        })
        .collect()
}

fn operation(document: &Value, route: Route) -> &Value {
    let (method, path) = route.place();
    &document["paths"][path][method.as_str().to_lowercase()]
}

/// The names in a route's body, from the document.
fn fields(document: &Value, route: Route) -> Vec<String> {
    let content = operation(document, route)["requestBody"]["content"].as_object().expect("a body");
    let schema = content.values().next().expect("a kind of body")["schema"]["$ref"]
        .as_str()
        .expect("a reference");
    let schema = document.pointer(schema.trim_start_matches('#')).expect("a schema");
    let names: Vec<String> = schema["properties"].as_object().expect("fields").keys().cloned().collect();
    assert!(!names.is_empty());
    names
        .into_iter()
        .filter(|name| !["cert", "agentId"].contains(&name.as_str()))
        .collect()
}

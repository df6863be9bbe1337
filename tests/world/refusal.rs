//! Refusals, as every client may rely on them: the documented status and code, in due form, and nothing has changed.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::World;

/// Codes after which a repeat makes sense, so that they say when.
const WORTH_REPEATING: [&str; 4] = ["bet_in_progress", "rate_limited", "unavailable", "game_disabled"];

/// Holds what was before against what is after each refusal.
pub struct Witness<'a> {
    world: &'a World,
    before: BTreeMap<String, Value>,
}

impl<'a> Witness<'a> {
    /// Looks at the world once nothing is under way any more.
    pub async fn of(world: &'a World) -> Self {
        world.wait_until_quiet().await;
        Self {
            world,
            before: world.snapshot().await,
        }
    }

    /// Sends a request that is refused, and returns the problem.
    pub async fn refused(&self, what: &str, request: RequestBuilder, status: u16, code: &str) -> Value {
        let answer = request.send().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let (head, problem) = read(what, answer).await;
        assert_eq!((head.status, problem["code"].as_str()), (status, Some(code)), "{what}: {problem}");
        assert_eq!(header(&head.headers, "content-type"), "application/problem+json", "{what}");
        assert_eq!(
            problem["requestId"],
            header(&head.headers, "x-request-id"),
            "{what}: the id is in both places"
        );
        assert_eq!(problem["status"], status, "{what}");
        assert_eq!(problem["type"], format!("urn:faircross:problem:{code}"), "{what}");
        for text in ["title", "detail"] {
            assert!(problem[text].as_str().is_some_and(|text| !text.is_empty()), "{what}: {problem}");
        }
        assert_eq!(head.headers.contains_key(RETRY_AFTER), WORTH_REPEATING.contains(&code), "{what}");
        self.nothing_changed(what).await;
        problem
    }

    /// Sends an operator's request that is answered with another status than 0000, and returns the answer.
    pub async fn denied(&self, what: &str, request: RequestBuilder, status: &str) -> Value {
        let answer = request.send().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let (head, body) = read(what, answer).await;
        assert_eq!((head.status, body["status"].as_str()), (200, Some(status)), "{what}: {body}");
        assert!(body["desc"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
        self.nothing_changed(what).await;
        body
    }

    /// Compares the world with what it was.
    pub async fn nothing_changed(&self, what: &str) {
        let after = self.world.snapshot().await;
        for (part, before) in &self.before {
            assert_eq!(&after[part], before, "{what} changed {part}");
        }
    }
}

struct Head {
    status: u16,
    headers: HeaderMap,
}

async fn read(what: &str, answer: Response) -> (Head, Value) {
    let head = Head {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
    };
    let text = answer.text().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(!header(&head.headers, "x-request-id").is_empty(), "{what}: no X-Request-Id");
    let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: {} {text}", head.status));
    (head, body)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
}

//! A player's client, as a careful one is written: it names the round and the lane, and repeats what was not answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use faircross::clock::Clock;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{PATIENCE, Server};

/// What an operator is answered whose call could not be carried out for now.
const TRY_AGAIN: &str = "1028";

/// A signed-in player.
#[derive(Clone)]
pub struct Player {
    pub agent_id: String,
    pub user_id: String,
    pub token: String,
    base: String,
    pub http: reqwest::Client,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub body: Value,
}

impl Answer {
    /// The body of a 200.
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The problem's code.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Asserts a refusal by status and code.
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.body);
    }
}

impl Player {
    /// Signs in as an operator and a player do who try again when a store could not be reached.
    pub async fn sign_in(http: &reqwest::Client, server: &Server, agent_id: &str, certificate: &str, user_id: &str) -> Self {
        let start = Clock::default().monotonic();
        loop {
            match Self::try_sign_in(http, server, agent_id, certificate, user_id).await {
                Ok(player) => return player,
                Err(unavailable) if start.elapsed() > PATIENCE => panic!("nobody can sign in: {unavailable}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// `Err`: what was answered, which says to try again.
    async fn try_sign_in(http: &reqwest::Client, server: &Server, agent_id: &str, certificate: &str, user_id: &str) -> Result<Self, Value> {
        let new = [("userId", user_id), ("currency", "INR")];
        let created = wallet(http, server, "createMember", agent_id, certificate, &new).await;
        let launched = wallet(http, server, "login", agent_id, certificate, &[("userId", user_id)]).await;
        if created["status"] == TRY_AGAIN || launched["status"] == TRY_AGAIN {
            return Err(json!([created, launched]));
        }
        assert!(
            ["0000", "1001"].contains(&created["status"].as_str().unwrap_or_default()),
            "{created}"
        );
        let url: reqwest::Url = launched["url"]
            .as_str()
            .unwrap_or_else(|| panic!("{launched}"))
            .parse()
            .expect("a url");
        let token = url
            .query_pairs()
            .find(|(name, _)| name == "authToken")
            .expect("a token")
            .1
            .into_owned();
        let body = json!({ "auth_token": token, "operator": agent_id, "currency": "INR", "game_mode": "chicken-road-two" });
        let answer = http.post(server.url("/api/auth")).json(&body).send().await.expect("answered");
        let is_unavailable = answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE;
        let signed_in: Value = answer.json().await.expect("JSON");
        if is_unavailable {
            return Err(signed_in);
        }
        Ok(Self {
            agent_id: agent_id.to_owned(),
            user_id: user_id.to_owned(),
            token: signed_in["result"].as_str().unwrap_or_else(|| panic!("{signed_in}")).to_owned(),
            base: server.url(""),
            http: http.clone(),
        })
    }

    /// The same player, speaking to another server.
    pub fn at(&self, server: &Server) -> Self {
        self.at_address(&server.url(""))
    }

    /// The same player, speaking to the server at this address.
    pub fn at_address(&self, address: &str) -> Self {
        Self {
            base: address.to_owned(),
            ..self.clone()
        }
    }

    /// The same player with another session token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// Sends a request; `Err` when there was no answer.
    pub async fn try_send(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let retry_after = answer
            .headers()
            .get("Retry-After")
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned);
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, retry_after, body })
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.expect("answered")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// The epoch that a player sees.
    pub async fn epoch(&self, difficulty: &str) -> u64 {
        let path = format!("/api/hazards/{difficulty}");
        let shown = self.until_available(|| self.get(&path)).await.ok();
        shown["epoch"].as_u64().expect("an epoch")
    }

    /// A valid bet of this moment, with a user seed of its own.
    pub async fn bet_body(&self, amount: &str, difficulty: &str) -> Value {
        static SEEDS: AtomicU64 = AtomicU64::new(0);
        let seed = format!("{}.{}", self.user_id, SEEDS.fetch_add(1, Ordering::Relaxed));
        json!({
            "betAmount": amount, "difficulty": difficulty, "currency": "INR",
            "hazardEpoch": self.epoch(difficulty).await, "userSeed": seed,
        })
    }

    /// Bets as a careful client does: under a key, so that the bet can be sent again when nothing is known, and on the road of
    /// the moment.
    pub async fn bet(&self, amount: &str, difficulty: &str) -> Answer {
        self.place(self.bet_body(amount, difficulty).await).await
    }

    /// Places this bet as a careful client does: on a road that is out of force by now nothing was placed.
    pub async fn place(&self, mut body: Value) -> Answer {
        let key = faircross::chance::Chance.token();
        loop {
            let send = || async { self.try_bet_with_key(&body, &key).await.expect("answered") };
            let answer = self.until_available(send).await;
            if answer.code() != "stale_hazard_epoch" {
                return answer;
            }
            body["hazardEpoch"] = json!(self.epoch(body["difficulty"].as_str().expect("a difficulty")).await);
        }
    }

    /// A bet under an idempotency key; `Err` when there was no answer.
    pub async fn try_bet_with_key(&self, body: &Value, key: &str) -> Result<Answer, reqwest::Error> {
        self.try_send(
            self.request(Method::POST, "/api/game/bet")
                .header("Idempotency-Key", key)
                .json(body),
        )
        .await
    }

    /// Steps as a careful client does: a 503 says that nothing is known, and the same step is sent again.
    pub async fn step(&self, lane: i64) -> Answer {
        self.insist("/api/game/step", json!({ "lineNumber": lane })).await
    }

    /// Cashes out as a careful client does.
    pub async fn cash_out(&self) -> Answer {
        self.insist("/api/game/cashout", json!({})).await
    }

    /// Repeats a request that is safe to repeat for as long as the server says that it is not available.
    pub async fn insist(&self, path: &str, body: Value) -> Answer {
        self.until_available(|| self.post(path, body.clone())).await
    }

    /// Asks again for as long as the answer says to come back: nothing is available, or the bet is not decided yet.
    pub async fn until_available<F: Future<Output = Answer>>(&self, ask: impl Fn() -> F) -> Answer {
        let start = Clock::default().monotonic();
        loop {
            let answer = ask().await;
            let is_over = answer.status != 503 && answer.code() != "bet_in_progress";
            if is_over || start.elapsed() > PATIENCE {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn history(&self, bet_id: &str) -> Value {
        self.get(&format!("/api/game/bets/{bet_id}")).await.ok()
    }

    /// Bets, and steps up to `lanes` times, then cashes out; repeats the attempt until a round ends by cash-out at that lane.
    /// Returns the end.
    pub async fn win_on_lane(&self, amount: &str, difficulty: &str, lane: i64) -> Value {
        loop {
            self.bet(amount, difficulty).await.ok();
            let end = self.walk_and_cash_out(lane).await;
            if end["endReason"] == "cashout" {
                return end;
            }
        }
    }

    /// Steps up to `lane` and cashes out there, unless a hazard ends the round before. Returns the end.
    pub async fn walk_and_cash_out(&self, lane: i64) -> Value {
        for step in 0..=lane {
            let round = self.step(step).await.ok();
            if round["isFinished"] == true {
                return round;
            }
        }
        self.cash_out().await.ok()
    }
}

/// Calls an operator's endpoint and returns its answer.
pub async fn wallet(
    http: &reqwest::Client,
    server: &Server,
    path: &str,
    agent_id: &str,
    certificate: &str,
    fields: &[(&str, &str)],
) -> Value {
    let mut form = vec![("cert", certificate), ("agentId", agent_id)];
    form.extend(fields);
    let answer = http
        .post(server.url(&format!("/wallet/{path}")))
        .form(&form)
        .send()
        .await
        .expect("answered");
    answer.json().await.expect("JSON")
}

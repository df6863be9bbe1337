//! What players and operators bring to the door: session tokens of this world's key, launch tokens, and requests to the
//! operator's endpoints.

use faircross::clock::Clock;
use faircross::http::tokens::SessionTokens;
use reqwest::{RequestBuilder, Url};
use serde_json::Value;

use super::{Player, Server, World, wallet};

/// How long the tokens of [`World::session_tokens`] live, in seconds.
const TOKEN_TTL_S: u64 = 60;

impl World {
    /// The key of this world's session tokens.
    pub fn signing_key(&self) -> Vec<u8> {
        hex::decode(&self.jwt_key).expect("a key in hex")
    }

    /// Whoever signs session tokens with this world's key, by a clock that is `offset_ms` off.
    pub fn session_tokens(&self, offset_ms: i64) -> SessionTokens {
        SessionTokens::new(&self.signing_key(), TOKEN_TTL_S, Clock::with_offset_ms(offset_ms))
    }

    /// A request of the demo agent to one of our endpoints, with these fields as a form.
    pub fn wallet_request(&self, server: &Server, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let mut form = vec![("cert", "demo-cert"), ("agentId", "demo")];
        form.extend(fields);
        self.http.post(server.url(&format!("/wallet/{path}"))).form(&form)
    }

    /// The same, sent, with the answer.
    pub async fn wallet(&self, server: &Server, path: &str, fields: &[(&str, &str)]) -> Value {
        wallet(&self.http, server, path, "demo", "demo-cert", fields).await
    }

    /// The same, where the answer must be 0000.
    pub async fn wallet_ok(&self, server: &Server, path: &str, fields: &[(&str, &str)]) -> Value {
        let answer = self.wallet(server, path, fields).await;
        assert_eq!(answer["status"], "0000", "{path}: {answer}");
        answer
    }

    /// A fresh one-time token of a player of the demo agent.
    pub async fn launch_token(&self, server: &Server, user_id: &str) -> String {
        launch_token(&self.wallet_ok(server, "login", &[("userId", user_id)]).await)
    }
}

impl Player {
    /// Opens a round and steps until the player stands safely on `lane`; a round that a hazard ends is followed by another.
    pub async fn stand_on(&self, amount: &str, difficulty: &str, lane: i64) -> Value {
        loop {
            let mut round = self.bet(amount, difficulty).await.ok();
            for step in 0..=lane {
                round = self.step(step).await.ok();
                if round["isFinished"] == true {
                    break;
                }
            }
            if round["isFinished"] == false {
                return round;
            }
        }
    }
}

/// The one-time token of a launch link.
pub fn launch_token(launched: &Value) -> String {
    let url: Url = launched["url"]
        .as_str()
        .unwrap_or_else(|| panic!("{launched}"))
        .parse()
        .expect("a url");
    let token = url.query_pairs().find(|(name, _)| name == "authToken");
    token.expect("a token").1.into_owned()
}

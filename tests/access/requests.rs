//! The request that each route is asked with: what would be taken from the one who may, from everybody.

use faircross::clock::Clock;
use faircross::game::hazards::Epoch;
use faircross::http::routes::Route;
use reqwest::RequestBuilder;
use serde_json::{Map, Value, json};

use super::cast::Papers;
use super::table::Principal;
use crate::world::Server;

/// The epoch of this moment.
fn epoch() -> u64 {
    let now_unix_ms = Clock::default().now().timestamp_millis();
    Epoch::at_unix_ms(now_unix_ms.try_into().expect("after 1970")).number()
}

/// Somebody with papers, and what they want.
pub struct Errand<'a> {
    pub principal: Principal,
    pub papers: &'a Papers,
    pub bet_id: &'a str,
    pub claim: &'a Value,
}

impl Errand<'_> {
    pub fn request(&self, http: &reqwest::Client, server: &Server, route: Route) -> RequestBuilder {
        let (method, pattern) = route.place();
        let method: reqwest::Method = method.as_str().parse().expect("a method");
        let mut request = http.request(method, server.url(&self.path(route, &pattern)));
        if !self.papers.token.is_empty() {
            request = request.bearer_auth(&self.papers.token);
        }
        if self.principal == Principal::WrongAddress {
            request = request.header("X-Forwarded-For", "192.0.2.7").header("X-Real-IP", "192.0.2.7");
        }
        if self.principal == Principal::OperatorSimulator {
            request = request.header("X-Signature", format!("t=1795200000,v1={}", "0".repeat(64)));
        }
        match self.fields(route) {
            None => request,
            Some(fields) if pattern.starts_with("/wallet/") => request.form(&fields),
            Some(fields) => request.json(&fields),
        }
    }

    fn path(&self, route: Route, pattern: &str) -> String {
        // The chains of today and tomorrow are published, so it is there also if a day ends on the way.
        let today = Clock::default().now().date_naive().to_string();
        let value = match route {
            Route::ShowBet => self.bet_id,
            Route::PageFile => "index.html",
            Route::Hazards => "EASY",
            Route::HazardChain => &today,
            Route::Configuration => "1",
            Route::ReaderFile => "index.html",
            _ => "",
        };
        match pattern.split_once('{') {
            Some((head, tail)) => format!("{head}{value}{}", tail.split_once('}').expect("a closed brace").1),
            None => pattern.to_owned(),
        }
    }

    /// The body; `None` for a route without one.
    fn fields(&self, route: Route) -> Option<Map<String, Value>> {
        let body = match route {
            Route::Auth => json!({ "auth_token": self.papers.launch_token, "operator": "demo", "currency": "INR" }),
            Route::Verify => self.claim.clone(),
            Route::PlaceBet => json!({ "betAmount": "10.00", "difficulty": "EASY", "currency": "INR", "hazardEpoch": epoch() }),
            Route::Step => json!({ "lineNumber": 1, "roundId": self.papers.round_id }),
            Route::CashOut => json!({ "roundId": self.papers.round_id }),
            Route::ChangeSeeds => json!({ "userSeed": "changed" }),
            Route::CreateMember => json!({ "userId": self.member(), "currency": "INR" }),
            Route::UpdatePlayerStatus => json!({ "userId": self.subject(), "status": "suspend" }),
            Route::Login => json!({ "userId": self.subject() }),
            Route::DoLoginAndLaunchGame => {
                json!({ "userId": self.subject(), "platform": "In-out", "gameType": "CRASH", "gameCode": "chicken-road-two" })
            }
            Route::Logout => json!({ "userIds": self.subject() }),
            Route::UpdateBetLimit => json!({ "userId": self.subject(), "betLimit": "5" }),
            Route::QueryBetLimit => json!({ "userId": self.subject() }),
            Route::GetTransactionStatus => json!({ "platformTxId": self.bet_id }),
            Route::CheckStatus => json!({}),
            Route::Page
            | Route::VerifierPage
            | Route::PageFile
            | Route::OnlineCount
            | Route::ApiDocument
            | Route::Liveness
            | Route::Readiness
            | Route::Health
            | Route::Metrics
            | Route::HazardChain
            | Route::Hazards
            | Route::Configuration
            | Route::GameConfig
            | Route::Balance
            | Route::Session
            | Route::Seeds
            | Route::ListBets
            | Route::ShowBet
            | Route::Reader
            | Route::ReaderFile => return None,
        };
        let mut fields = body.as_object().cloned().expect("an object");
        // A claim is refused for what it does not know, and nobody's papers count there.
        if matches!(route, Route::Verify) {
            return Some(fields);
        }
        fields.extend(self.papers.agent.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        if self.principal == Principal::OperatorSimulator {
            fields.insert("key".to_owned(), json!("demo-cert"));
            fields.insert("message".to_owned(), json!(r#"{"action":"getBalance","userId":"owner"}"#));
        }
        Some(fields)
    }

    /// Whom an operator's request is about. Only one agent of the table asks for a player whom it does not have.
    fn subject(&self) -> &'static str {
        match self.principal {
            Principal::OtherAgent => "neighbour",
            _ => "owner",
        }
    }

    /// Whom it creates: one wants a name that it has given away.
    fn member(&self) -> &'static str {
        match self.principal {
            Principal::NamesakesAgent => "owner",
            _ => "newcomer",
        }
    }
}

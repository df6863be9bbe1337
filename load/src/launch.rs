//! How players come in: the operator makes them known and asks for a launch link, whose one-time token is exchanged for a
//! session token, as the game's page does it.

use std::time::Instant;

use hyper::Method;
use serde_json::json;
use url::Url;

use crate::answers::{Platform, SignedIn};
use crate::connection::Question;
use crate::player::{Player, Trouble, ask, note, read};
use crate::recorder::Action;

/// How the game is known to operators.
const PLATFORM: &str = "In-out";
const GAME_TYPE: &str = "CRASH";
const GAME_CODE: &str = "chicken-road-two";

impl Player {
    /// Makes the player known; one who is known already stays as they are.
    pub async fn create(&mut self) -> Result<(), Trouble> {
        let currency = self.world.operator.currency.clone();
        let fields = [("currency", currency.as_str()), ("language", "en")];
        match self.ask_as_operator(Action::CreateMember, "/wallet/createMember", &fields).await {
            // 1001: there already.
            Err(trouble) if trouble.code != "1001" => Err(trouble),
            _ => Ok(()),
        }
    }

    /// Comes in through a new launch link.
    pub async fn launch(&mut self) -> Result<(), Trouble> {
        let fields = [("platform", PLATFORM), ("gameType", GAME_TYPE), ("gameCode", GAME_CODE)];
        let answer = self
            .ask_as_operator(Action::Launch, "/wallet/doLoginAndLaunchGame", &fields)
            .await?;
        let link = answer
            .url
            .and_then(|url| Url::parse(&url).ok())
            .ok_or_else(|| Trouble::of("no_launch_link"))?;
        let parameter = |name: &str| link.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let body = json!({
            "auth_token": parameter("authToken"),
            "operator": parameter("operatorId"),
            "currency": parameter("currency"),
            "game_mode": parameter("gameMode"),
        });
        let question = Question::send(Method::POST, "/api/auth", None, &body);
        let signed_in: SignedIn = ask(&mut self.connection, &self.world, Action::SignIn, Instant::now(), question).await?;
        self.token = signed_in.result;
        Ok(())
    }

    /// Asks as the operator what became of the player's last bet.
    pub async fn ask_transaction_status(&mut self) -> Result<(), Trouble> {
        let bet_id = self
            .round
            .as_ref()
            .map(|round| round.bet_id.clone())
            .ok_or_else(|| Trouble::of("no_bet"))?;
        let fields = [("platformTxId", bet_id.as_str())];
        self.ask_as_operator(Action::TransactionStatus, "/wallet/getTransactionStatus", &fields)
            .await
            .map(drop)
    }

    async fn ask_as_operator(&mut self, action: Action, path: &str, fields: &[(&str, &str)]) -> Result<Platform, Trouble> {
        let operator = &self.world.operator;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("cert", &operator.certificate)
            .append_pair("agentId", &operator.agent_id)
            .append_pair("userId", &self.user_id)
            .extend_pairs(fields)
            .finish();
        let question = Question {
            body: Some(("application/x-www-form-urlencoded", form.into_bytes())),
            ..Question::send(Method::POST, path, None, &json!({}))
        };
        let begun = Instant::now();
        let answer = match read::<Platform>(self.connection.ask(question).await) {
            Ok(refused) if refused.status != "0000" => Err(Trouble::of(refused.status)),
            answer => answer,
        };
        note(&self.world, action, begun, &answer);
        answer
    }
}

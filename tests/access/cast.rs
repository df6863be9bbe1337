//! A world with everybody of the table in it: rounds that are open, tokens that are no longer good, agents who may not ask.

use std::collections::BTreeMap;

use faircross::clock::Clock;
use faircross::game::player::{AgentId, PlayerId, UserId};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::Sha512;

use super::guess;
use super::requests::Errand;
use super::table::Principal;
use crate::bad_input::operators::add_distant_agent;
use crate::bad_input::tokens::{decoded, encoded};
use crate::world::{Belongings, Player, Server, World, WorldOptions, launch_token, wallet};
use faircross::http::routes::Route;

/// What somebody brings along.
#[derive(Clone, Debug, Default)]
pub struct Papers {
    /// In `Authorization`.
    pub token: String,
    /// The agent's id and certificate, in the body.
    pub agent: Vec<(&'static str, String)>,
    /// To exchange for a session token.
    pub launch_token: String,
    /// The round that steps and cash-outs name.
    pub round_id: String,
}

pub struct Cast {
    pub world: World,
    pub server: Server,
    /// Follows no redirect: where one leads is an answer too.
    http: reqwest::Client,
    /// The player of whom everybody wants something, with a bet limit of 77.00 and a round on lane 0.
    pub owner: Player,
    /// The owner's open round.
    pub bet_id: String,
    players: BTreeMap<Principal, Player>,
    papers: BTreeMap<Principal, Papers>,
    claim: Value,
}

impl Cast {
    pub async fn assemble() -> Self {
        let world = World::new(WorldOptions::default().with("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", 3_600_000)).await;
        world.add_agent("other", "other-cert", &world.operator.url(), &[]).await;
        world
            .add_agent("closed", "closed-cert", &world.operator.url(), &["--inactive"])
            .await;
        add_distant_agent(&world).await;
        let server = world.start_server().await;
        let mut players = BTreeMap::new();
        for (principal, user_id) in [
            (Principal::Player, "owner"),
            (Principal::OtherPlayer, "neighbour"),
            (Principal::Suspended, "suspended"),
            (Principal::Locked, "locked"),
            (Principal::LoggedOut, "gone"),
        ] {
            players.insert(principal, world.player_named(&server, "demo", "demo-cert", user_id).await);
        }
        let namesake = world.player_named(&server, "other", "other-cert", "owner").await;
        players.insert(Principal::Namesake, namesake);
        let owner = players[&Principal::Player].clone();
        world
            .wallet_ok(&server, "updateBetLimit", &[("userId", "owner"), ("betLimit", "77")])
            .await;
        let mut cast = Self {
            bet_id: String::new(),
            claim: Value::Null,
            papers: BTreeMap::new(),
            http: reqwest::Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .redirect(reqwest::redirect::Policy::none())
                // Servers close a connection on which they never heard a word after five seconds.
                .pool_idle_timeout(std::time::Duration::from_secs(3))
                .build()
                .expect("a client"),
            world,
            server,
            owner,
            players,
        };
        cast.hand_out_papers().await;
        cast.open_rounds().await;
        cast.spoil_papers().await;
        cast
    }

    /// Everybody's session and launch tokens, while they are good.
    async fn hand_out_papers(&mut self) {
        for principal in Principal::ALL {
            let mut papers = Papers {
                launch_token: "0".repeat(64),
                ..Papers::default()
            };
            if let Some(player) = self.players.get(&principal) {
                let certificate = format!("{}-cert", player.agent_id);
                let fields = [("userId", player.user_id.as_str())];
                let link = wallet(&self.world.http, &self.server, "login", &player.agent_id, &certificate, &fields).await;
                papers.launch_token = launch_token(&link);
                papers.token.clone_from(&player.token);
            }
            if let Some((agent_id, certificate)) = agent_of(principal) {
                papers.agent = vec![("agentId", agent_id.to_owned()), ("cert", certificate.to_owned())];
                papers.launch_token = certificate.to_owned();
                papers.token = certificate.to_owned();
            }
            self.papers.insert(principal, papers);
        }
    }

    /// Rounds on lane 0, and who names which: whoever is or pretends to be the owner and whoever has none names the owner's.
    async fn open_rounds(&mut self) {
        let mut rounds = BTreeMap::new();
        for (principal, player) in &self.players {
            if *principal != Principal::Namesake {
                rounds.insert(*principal, player.stand_on("10.00", "EASY", 0).await);
            }
        }
        let of_owner = &rounds[&Principal::Player];
        for (principal, papers) in &mut self.papers {
            let own = [Principal::Suspended, Principal::Locked, Principal::LoggedOut].contains(principal);
            let round = if own { &rounds[principal] } else { of_owner };
            papers.round_id = round["roundId"].as_str().expect("an id").to_owned();
        }
        self.bet_id = of_owner["betId"].as_str().expect("an id").to_owned();
        self.claim = guess(of_owner, &self.owner.get("/api/hazards/EASY").await.ok());
    }

    /// What is no longer good, and what never was.
    async fn spoil_papers(&mut self) {
        for (user_id, status) in [("suspended", "suspend"), ("locked", "lock")] {
            self.world
                .wallet_ok(&self.server, "updatePlayerStatus", &[("userId", user_id), ("status", status)])
                .await;
        }
        self.world.wallet_ok(&self.server, "logout", &[("userIds", "gone")]).await;
        let generation = "select generation from players where agent_id = 'demo' and user_id = 'owner'";
        let claims = faircross::play::Player {
            id: PlayerId {
                agent_id: AgentId::parse("demo").expect("an id"),
                user_id: UserId::parse("owner").expect("an id"),
            },
            currency: "INR".to_owned(),
            generation: self.world.ask_database(generation).await.parse().expect("a number"),
        };
        let late = self.world.launch_token(&self.server, "owner").await;
        self.world
            .change_database(&format!(
                "update launch_tokens set expires_at = now() where token_hash = sha256('{late}')"
            ))
            .await;
        let used = self.world.launch_token(&self.server, "owner").await;
        let body = json!({ "auth_token": used, "operator": "demo", "currency": "INR" });
        let signed_in = self.world.http.post(self.server.url("/api/auth")).json(&body).send().await;
        assert_eq!(signed_in.expect("answered").status(), 200);
        let payload = self.owner.token.split('.').nth(1).expect("three parts").to_owned();
        assert!(decoded(&payload).contains("\"owner\""));
        let foreign = faircross::http::tokens::SessionTokens::new(&[7; 32], 60, Clock::default()).issue(&claims);
        let none = encoded(r#"{"typ":"JWT","alg":"none"}"#);
        for (principal, token, launch_token) in [
            (Principal::Expired, self.world.session_tokens(-120_000).issue(&claims), late),
            (Principal::NoAlgorithm, format!("{none}.{payload}."), self.owner.token.clone()),
            (
                Principal::OtherAlgorithm,
                hs512(&self.world.signing_key(), &payload),
                self.owner.token.clone(),
            ),
            (Principal::ForeignKey, foreign, self.owner.token.clone()),
            (Principal::OtherPlayer, self.players[&Principal::OtherPlayer].token.clone(), used),
        ] {
            let papers = self.papers.get_mut(&principal).expect("everybody has papers");
            (papers.token, papers.launch_token) = (token, launch_token);
        }
    }

    /// A request of somebody, as good as they can make it.
    pub fn request(&self, route: Route, principal: Principal) -> RequestBuilder {
        let errand = Errand {
            principal,
            papers: &self.papers[&principal],
            bet_id: &self.bet_id,
            claim: &self.claim,
        };
        errand.request(&self.http, &self.server, route)
    }

    /// What somebody may change.
    pub fn belongings(&self, principal: Principal) -> Belongings {
        match (self.players.get(&principal), agent_of(principal)) {
            (Some(player), _) => Belongings {
                agent_id: player.agent_id.clone(),
                user_id: Some(player.user_id.clone()),
            },
            (None, Some((agent_id, _))) => Belongings {
                agent_id: agent_id.to_owned(),
                user_id: None,
            },
            (None, None) => panic!("{principal:?} owns nothing"),
        }
    }

    /// Ends all rounds, also that of the player who was signed out, and lets the signed-out stay so.
    pub async fn finish_rounds(&self) {
        for (principal, player) in &self.players {
            match principal {
                Principal::Namesake | Principal::LoggedOut => {}
                _ => player.walk_on().await,
            }
        }
        // What is left of an ended round goes by itself after a minute; here it stays, so that only requests change anything.
        self.world.wait_until_quiet().await;
        for player in self.players.values() {
            let session = format!("gameSession:{}-{}", player.user_id, player.agent_id);
            self.world.ask_redis(&["PERSIST", &session]).await;
        }
    }

    /// Ends what the cells have left open, under new session tokens, and holds the books.
    pub async fn leave(self) {
        for player in self.players.values() {
            let certificate = format!("{}-cert", player.agent_id);
            let again = self
                .world
                .player_named(&self.server, &player.agent_id, &certificate, &player.user_id)
                .await;
            again.walk_on().await;
        }
        self.world.close().await;
    }
}

impl Player {
    /// Ends the open round, if there is one, wherever it stands.
    async fn walk_on(&self) {
        let open = self.get("/api/game/session").await;
        if open.status == 200 && open.body["isFinished"] == false {
            let next = open.body["lineNumber"].as_i64().expect("a lane") + 1;
            self.step(next).await.ok();
            self.cash_out().await.ok();
        }
    }
}

/// Who calls as an agent, with what.
fn agent_of(principal: Principal) -> Option<(&'static str, &'static str)> {
    match principal {
        Principal::Agent => Some(("demo", "demo-cert")),
        Principal::OtherAgent | Principal::NamesakesAgent => Some(("other", "other-cert")),
        Principal::Impostor => Some(("demo", "other-cert")),
        Principal::WrongAddress => Some(("distant", "distant-cert")),
        Principal::ClosedAgent => Some(("closed", "closed-cert")),
        _ => None,
    }
}

/// A token whose signature is right, by another algorithm than ours.
fn hs512(key: &[u8], payload: &str) -> String {
    let message = format!("{}.{payload}", encoded(r#"{"typ":"JWT","alg":"HS512"}"#));
    let signing = Hmac::<Sha512>::new_from_slice(key).expect("any key");
    let signature = signing.chain_update(message.as_bytes()).finalize().into_bytes();
    format!("{message}.{}", encoded(signature))
}

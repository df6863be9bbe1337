//! Who may do what: every route against every kind of caller, asked of a real server with real stores and a real operator.
//!
//! The rows are [`Route`]s, from which the server registers its routes, and the cells come from a `match` without a
//! wildcard: a new route without a row does not compile. What is refused must change nothing, what is done must change
//! nothing of anybody else's, and no answer to anybody may hold the seed of a round that is still open.

mod cast;
mod methods;
mod requests;
mod table;

use std::collections::BTreeMap;

use faircross::http::routes::Route;
use serde_json::{Value, json};

use crate::world::{Witness, World};
use cast::Cast;
use table::{Expected, Principal, expected};

/// What somebody was answered.
struct Told {
    principal: Principal,
    route: Route,
    text: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_every_caller_as_the_table_says() {
    let cast = Cast::assemble().await;
    let mut told = Vec::new();
    let (between_rounds, while_playing): (Vec<Route>, Vec<Route>) = Route::ALL.iter().partition(|route| wants_no_round(**route));
    told.extend(ask_what_changes_nothing(&cast, &while_playing).await);
    let (of_operators, of_players): (Vec<Route>, Vec<Route>) = while_playing.iter().partition(|route| decides_who_may_play(**route));
    told.extend(ask_what_changes_something(&cast, &of_players).await);
    cast.finish_rounds().await;
    told.extend(ask_what_changes_nothing(&cast, &between_rounds).await);
    told.extend(ask_what_changes_something(&cast, &[Route::ChangeSeeds]).await);
    told.extend(ask_what_changes_something(&cast, &[Route::PlaceBet]).await);
    told.extend(ask_what_changes_something(&cast, &of_operators).await);

    assert_eq!(told.len(), Route::ALL.len() * Principal::ALL.len(), "every cell was asked");
    nobody_was_told_too_much(&cast, &told).await;
    cast.leave().await;
}

/// Routes whose cells are about a player who has no open round; all others are asked while rounds are open.
fn wants_no_round(route: Route) -> bool {
    matches!(route, Route::PlaceBet | Route::ChangeSeeds)
}

/// Routes that let players in and out, asked last.
fn decides_who_may_play(route: Route) -> bool {
    route == Route::Auth || route.place().1.starts_with("/wallet/")
}

async fn ask_what_changes_nothing(cast: &Cast, routes: &[Route]) -> Vec<Told> {
    let witness = Witness::of(&cast.world).await;
    let mut told = Vec::new();
    for (route, principal) in cells(routes) {
        let (what, request) = (name(route, principal), cast.request(route, principal));
        let text = match expected(route, principal) {
            Expected::Done => continue,
            Expected::Refused(status, code) => witness.refused(&what, request, status, code).await.to_string(),
            Expected::Denied(status) => witness.denied(&what, request, status).await.to_string(),
            Expected::Shown(status) => {
                let text = answered(&what, request, status).await;
                witness.nothing_changed(&what).await;
                text
            }
        };
        told.push(Told { principal, route, text });
    }
    told
}

async fn ask_what_changes_something(cast: &Cast, routes: &[Route]) -> Vec<Told> {
    let mut told = Vec::new();
    for (route, principal) in cells(routes).filter(|(route, principal)| expected(*route, *principal) == Expected::Done) {
        let (what, theirs) = (name(route, principal), cast.belongings(principal));
        let before = theirs.taken_out_of(quiet_snapshot(&cast.world).await);
        let text = answered(&what, cast.request(route, principal), 200).await;
        if decides_who_may_play(route) && route != Route::Auth {
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(answer["status"], "0000", "{what}: {answer}");
        }
        let after = theirs.taken_out_of(quiet_snapshot(&cast.world).await);
        for (part, before) in &before {
            assert_eq!(&after[part], before, "{what} changed {part} of somebody else");
        }
        told.push(Told { principal, route, text });
    }
    told
}

fn cells(routes: &[Route]) -> impl Iterator<Item = (Route, Principal)> {
    routes
        .iter()
        .flat_map(|route| Principal::ALL.iter().map(move |principal| (*route, *principal)))
}

fn name(route: Route, principal: Principal) -> String {
    let (method, path) = route.place();
    format!("{method} {path} by {}", principal.in_words())
}

async fn answered(what: &str, request: reqwest::RequestBuilder, status: u16) -> String {
    let answer = request.send().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let (found, is_wallet) = (answer.status().as_u16(), answer.url().path().starts_with("/wallet/"));
    let text = answer.text().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(found, status, "{what}: {text}");
    if is_wallet {
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["status"], "0000", "{what}: {answer}");
    }
    text
}

async fn quiet_snapshot(world: &World) -> BTreeMap<String, Value> {
    world.wait_until_quiet().await;
    world.snapshot().await
}

/// No answer holds the seed of a round that was open then; none to a stranger holds the owner's round, seeds or limit; none
/// holds a secret of the house or of an agent.
async fn nobody_was_told_too_much(cast: &Cast, told: &[Told]) {
    // The table has signed the owner out.
    let owner = cast
        .world
        .player_named(&cast.server, "demo", "demo-cert", &cast.owner.user_id)
        .await;
    let ended = owner.history(&cast.bet_id).await;
    let seed = ended["fairness"]["serverSeed"].as_str().expect("revealed at the end");
    let before_the_end = |told: &&Told| !wants_no_round(told.route) && !decides_who_may_play(told.route);
    for told in told.iter().filter(before_the_end) {
        let is_the_end = told.principal == Principal::Player && matches!(told.route, Route::Step | Route::CashOut);
        assert!(is_the_end || !told.text.contains(seed), "{}: the seed of an open round", what(told));
    }
    let of_the_owner = [
        cast.bet_id.as_str(),
        ended["fairness"]["userSeed"].as_str().expect("a seed"),
        "77.00",
    ];
    let strangers = |told: &&Told| !matches!(told.principal, Principal::Player | Principal::Agent);
    for told in told.iter().filter(strangers) {
        for text in of_the_owner {
            assert!(
                !told.text.contains(text),
                "{}: {text} of another player in {}",
                what(told),
                told.text
            );
        }
    }
    let secrets = [hex::encode(cast.world.signing_key()), cast.owner.token.clone()];
    let certificates = ["demo-cert", "other-cert", "distant-cert", "closed-cert"].map(str::to_owned);
    for told in told {
        for secret in secrets.iter().chain(&certificates) {
            assert!(!told.text.contains(secret), "{}: a secret", what(told));
        }
    }
}

fn what(told: &Told) -> String {
    name(told.route, told.principal)
}

#[test]
fn the_list_of_routes_is_the_api_document() {
    let document: Value = serde_json::from_slice(faircross::http::openapi::Reference::generate().text()).expect("JSON");
    let mut described: Vec<String> = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        described.extend(
            item.as_object()
                .expect("methods")
                .keys()
                .map(|method| format!("{} {path}", method.to_uppercase())),
        );
    }
    let undescribed = [Route::Reader, Route::ReaderFile];
    let routes = Route::ALL.iter().filter(|route| !undescribed.contains(route));
    let mut listed: Vec<String> = routes
        .map(|route| route.place())
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    described.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, described);
}

/// The documentation shows the table as it is asked. `FAIRCROSS_WRITE_DOCS=1` writes it anew.
#[test]
fn the_documentation_shows_this_table() {
    const BEGIN: &str = "<!-- The table begins here; a test writes it. -->\n";
    const END: &str = "<!-- The table ends here. -->";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let text = std::fs::read_to_string(&path).expect("the documentation");
    let (head, rest) = text.split_once(BEGIN).expect("the table's beginning");
    let (shown, tail) = rest.split_once(END).expect("the table's end");
    let table = table::in_words();
    if std::env::var_os("FAIRCROSS_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}")).expect("written");
    } else {
        assert_eq!(shown, table, "write it anew with FAIRCROSS_WRITE_DOCS=1");
    }
}

/// A claim about the owner's open round with a guessed seed: whoever asks, it proves nothing and tells nothing.
fn guess(round: &Value, hazards: &Value) -> Value {
    json!({
        "serverSeed": "0".repeat(64), "userSeed": "guess", "nonce": round["nonce"], "hazardSeed": hazards["hazardSeed"],
        "difficulty": round["difficulty"], "hashedServerSeed": round["hashedServerSeed"], "hazardEpoch": round["hazardEpoch"],
    })
}

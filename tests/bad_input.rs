//! Bad input of every kind, over HTTP against a whole world: the documented status and code each, and nothing has changed, in
//! the record, in Redis or at the operator.

mod bets;
mod bodies;
mod callers;
mod moves;
pub mod operators;
pub mod tokens;

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::world::{Player, Server, World, WorldOptions};

/// A world whose sweep rests, so that only requests change anything, and a player in it.
async fn quiet_world() -> (World, Server, Player) {
    let world = World::new(WorldOptions::default().with("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", 3_600_000)).await;
    let server = world.start_server().await;
    let player = world.player(&server).await;
    (world, server, player)
}

/// A body with one field changed; `Null` stands for a field that is left out.
fn with(body: &Value, field: &str, value: &Value) -> Value {
    let mut body = body.clone();
    let object = body.as_object_mut().expect("an object");
    if value.is_null() {
        object.remove(field);
    } else {
        object.insert(field.to_owned(), value.clone());
    }
    body
}

fn bet(player: &Player, body: &Value) -> RequestBuilder {
    player.request(Method::POST, "/api/game/bet").json(body)
}

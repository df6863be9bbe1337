//! Nonces that nobody's record tells of: of players who were forgotten, who came after the copy, or of whom Redis alone knows.

use faircross::chance::Chance;
use faircross::game::player::{AgentId, PlayerId, UserId};
use faircross::ledger::sealing::Sealing;

use crate::world::World;

/// So many nonces are passed over beyond those that are known.
const RESERVE: i64 = 1 << 32;

fn pseudonym_of(world: &World, user_id: &str) -> String {
    let environment = world.environment();
    let (_, key) = environment.iter().find(|(name, _)| name.ends_with("SEALING_KEY")).expect("a key");
    let key: [u8; 32] = hex::decode(key).expect("hex").try_into().expect("32 bytes");
    let player = PlayerId {
        agent_id: AgentId::parse("demo").expect("an agent"),
        user_id: UserId::parse(user_id).expect("a user"),
    };
    hex::encode(Sealing::new(&key, Chance).pseudonym(&player))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_nonce_comes_twice_without_a_ledger() {
    let (world, mut server) = World::with_server().await;
    world.player(&server).await.win_on_lane("1.00", "EASY", 0).await;
    world.wait_until_settled().await;
    server.kill().await;
    // "comeback" was forgotten; "silent" came back and has not signed in.
    let forgotten = format!(
        "insert into forgotten_players values ('\\x{}', 7);
         insert into players (agent_id, user_id, currency, first_nonce) values ('demo', 'silent', 'INR', 5)",
        pseudonym_of(&world, "comeback")
    );
    world.change_database(&forgotten).await;
    let copy = world.copy_database().await;
    let mut server = world.start_server().await;
    let comeback = world.player_named(&server, "demo", "demo-cert", "comeback").await;
    assert_eq!(comeback.bet("1.00", "EASY").await.ok()["nonce"], 7);
    // Of whom nothing is left but the copy of their standing.
    let looker = world.player_named(&server, "demo", "demo-cert", "looker").await;
    assert_eq!(looker.get("/api/game/seeds").await.ok()["nonce"], 0);
    server.kill().await;
    world.put_back(&copy).await;
    let (code, bill) = world.command(&["restore", "--yes", "--without-ledger", "demo"]).await;
    assert_eq!(code, 0, "{bill}");
    assert!(bill.contains(" 1  players that were not in the record"), "{bill}");
    let server = world.start_server().await;
    for (user_id, free) in [("comeback", 8), ("silent", 5), ("looker", 0)] {
        let player = world.player_named(&server, "demo", "demo-cert", user_id).await;
        assert_eq!(player.get("/api/game/seeds").await.ok()["nonce"], free + RESERVE, "{user_id}");
        player.win_on_lane("1.00", "EASY", 0).await;
    }
    world.wait_until_settled().await;
    let (_, audit) = world
        .command(&["audit", "--settled", "--operator-ledger", &world.operator.ledger_url()])
        .await;
    // Without the operator's word its ledger has a bet that nobody knows; the nonces are in order.
    assert!(audit.contains("nonce") && !audit.contains("different nonces"), "{audit}");
}

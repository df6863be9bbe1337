//! Methods that a route does not know.

use std::collections::{BTreeMap, BTreeSet};

use faircross::http::routes::Route;
use reqwest::Method;
use serde_json::Value;

use crate::world::{Witness, World, WorldOptions};

const METHODS: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW"];

#[tokio::test(flavor = "multi_thread")]
async fn every_path_refuses_the_methods_that_it_does_not_have() {
    let (world, server) = World::with_server_and(WorldOptions::default().with("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", 3_600_000)).await;
    let player = world.player(&server).await;
    let witness = Witness::of(&world).await;
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for route in Route::ALL {
        let (method, path) = route.place();
        paths.entry(path).or_default().insert(method.to_string());
    }
    for (pattern, known) in paths {
        let path = pattern.replace(['{', '}'], "");
        for method in METHODS.iter().filter(|method| !known.contains(**method)) {
            let what = format!("{method} {path}");
            let request = || {
                let method: Method = method.parse().expect("a method");
                world.http.request(method, server.url(&path)).body("{}")
            };
            if path.starts_with("/api/docs") {
                // The page for people comes from a library: it is not found there.
                let status = request().send().await.expect("answered").status().as_u16();
                assert!([404, 405].contains(&status), "{what}: {status}");
                witness.nothing_changed(&what).await;
                continue;
            }
            if path.starts_with("/api/game/") {
                witness.refused(&what, request(), 401, "unauthenticated").await;
            }
            let problem = witness
                .refused(&what, request().bearer_auth(&player.token), 405, "method_not_allowed")
                .await;
            let told: BTreeSet<&str> = allowed(&problem);
            assert!(known.iter().all(|method| told.contains(method.as_str())), "{what}: {problem}");
        }
    }
    world.close().await;
}

/// The methods that the answer names.
fn allowed(problem: &Value) -> BTreeSet<&str> {
    let detail = problem["detail"].as_str().expect("a detail");
    let (_, methods) = detail.split_once(": ").expect("a list");
    methods.split(", ").collect()
}

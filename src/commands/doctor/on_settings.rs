//! What can be said without asking anybody: the settings and the secrets.

use std::net::IpAddr;

use url::Host;

use super::Report;
use crate::game::configuration::GameConfiguration;
use crate::settings::{Environment, Secrets, ServerSettings, Settings};

/// The deadline that players are promised at least, in seconds.
const SHORTEST_DEADLINE_S: u64 = 120;
/// A round that stays open longer than this keeps an operator's books open, in seconds.
const LONGEST_DEADLINE_S: u64 = 86_400;

pub(super) fn check_secrets(report: &mut Report, environment: &Environment) -> Option<Secrets> {
    let loaded = Secrets::load(environment);
    match &loaded {
        Ok(_) => report.ok("secrets", "both keys are there, well-formed and different"),
        Err(error) => {
            for problem in &error.problems {
                report.fail("secrets", format!("{} is wrong", problem.setting), problem.explanation.as_str());
            }
        }
    }
    loaded.ok()
}

pub(super) fn check(report: &mut Report, settings: &Settings) {
    for warning in settings.warnings() {
        report.warn(
            "switches",
            format!("{} is not as it should be in production", warning.setting),
            warning.explanation,
        );
    }
    if cfg!(feature = "failpoints") {
        report.warn(
            "build",
            "this binary is built for tests: it can be told to kill itself",
            "build it without the feature failpoints",
        );
    }
    check_game(report, settings);
    check_deadline(report, settings.game.session_ttl_s);
    check_server(report, &settings.server);
}

fn check_game(report: &mut Report, settings: &Settings) {
    let file = settings.game.configuration_file.as_str();
    if file.is_empty() {
        return report.ok("game configuration", "the built-in one");
    }
    let parsed = std::fs::read(file).map_err(|error| error.to_string());
    match parsed.and_then(|bytes| GameConfiguration::parse(&bytes).map_err(|error| error.to_string())) {
        Ok(configuration) => report.ok("game configuration", format!("{file}, RTP {}", configuration.rtp_text())),
        Err(error) => report.fail(
            "game configuration",
            format!("{file}: {error}"),
            "correct the file, or leave game.configuration_file empty",
        ),
    }
}

fn check_deadline(report: &mut Report, session_ttl_s: u64) {
    let name = "deadline of a round";
    let found = format!("{session_ttl_s} s");
    if session_ttl_s < SHORTEST_DEADLINE_S {
        report.fail(
            name,
            found,
            "set game.session_ttl_s to 120 or more: players would lose rounds that they are about to play",
        );
    } else if session_ttl_s > LONGEST_DEADLINE_S {
        report.warn(
            name,
            found,
            "set game.session_ttl_s to a day (86400) or less: an operator's books stay open as long",
        );
    } else {
        report.ok(name, found);
    }
}

/// Operators are told apart by their addresses, so it matters whose word about an address is believed.
fn check_server(report: &mut Report, server: &ServerSettings) {
    let proxies = "trusted proxies";
    if server.trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
        let remedy = "name your proxies' own addresses in server.trusted_proxies";
        report.fail(
            proxies,
            "everybody is believed: any caller can take an operator's address in X-Forwarded-For",
            remedy,
        );
    } else if server.trusted_proxies.is_empty() && server.bind.is_loopback() && !is_this_machine(server) {
        let remedy = "add the proxy's address, 127.0.0.1, to server.trusted_proxies; otherwise every operator seems to call from there";
        report.warn(proxies, "none, but players come through a proxy on this machine", remedy);
    } else if server.trusted_proxies.is_empty() && !server.bind.is_loopback() {
        let remedy = "nothing, if callers connect directly; behind a proxy, name its address in server.trusted_proxies";
        report.warn(proxies, format!("none, and {} is open to other machines", server.bind), remedy);
    } else {
        report.ok(proxies, format!("{} named", server.trusted_proxies.len()));
    }
    let private = server.frontend_url.scheme() == "https" || is_this_machine(server);
    let name = "frontend address";
    if private {
        report.ok(name, server.frontend_url.as_str());
    } else {
        report.warn(
            name,
            format!("{} is not encrypted", server.frontend_url),
            "serve players over https: a launch link signs in whoever reads it",
        );
    }
}

fn is_this_machine(server: &ServerSettings) -> bool {
    match server.frontend_url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

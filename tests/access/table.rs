//! The table itself. Both matches are exhaustive.

use std::collections::BTreeMap;

use faircross::http::routes::Route;

/// Who asks. All ask for the same things: those of the player "owner".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    Anonymous,
    Player,
    OtherPlayer,
    Namesake,
    Suspended,
    Locked,
    Expired,
    LoggedOut,
    NoAlgorithm,
    OtherAlgorithm,
    ForeignKey,
    Agent,
    OtherAgent,
    NamesakesAgent,
    Impostor,
    WrongAddress,
    ClosedAgent,
    OperatorSimulator,
}

impl Principal {
    pub const ALL: [Self; 18] = [
        Self::Anonymous,
        Self::Player,
        Self::OtherPlayer,
        Self::Namesake,
        Self::Suspended,
        Self::Locked,
        Self::Expired,
        Self::LoggedOut,
        Self::NoAlgorithm,
        Self::OtherAlgorithm,
        Self::ForeignKey,
        Self::Agent,
        Self::OtherAgent,
        Self::NamesakesAgent,
        Self::Impostor,
        Self::WrongAddress,
        Self::ClosedAgent,
        Self::OperatorSimulator,
    ];

    /// As the documentation names them.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Anonymous => "nobody (no credentials)",
            Self::Player => "the player",
            Self::OtherPlayer => "another player of the agent",
            Self::Namesake => "the same userId at another agent",
            Self::Suspended => "a suspended player",
            Self::Locked => "a locked player",
            Self::Expired => "an expired token",
            Self::LoggedOut => "a signed-out token",
            Self::NoAlgorithm => "a token without a signature (`none`)",
            Self::OtherAlgorithm => "a token signed HS512 with our key",
            Self::ForeignKey => "a token signed with another key",
            Self::Agent => "the agent",
            Self::OtherAgent => "another agent",
            Self::NamesakesAgent => "another agent with a player of that name",
            Self::Impostor => "another agent under this agent's name",
            Self::WrongAddress => "an agent from an unlisted address",
            Self::ClosedAgent => "a closed agent",
            Self::OperatorSimulator => "a signed callback of the operator's",
        }
    }
}

/// What a cell answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expected {
    /// This status (and 0000 where a status is in the body); nothing changes.
    Shown(u16),
    /// 200 (and 0000); nothing changes that is not the caller's own.
    Done,
    /// A problem with this status and code; nothing changes.
    Refused(u16, &'static str),
    /// 200 with this status in the body; nothing changes.
    Denied(&'static str),
}

use Expected::{Denied, Done, Refused, Shown};

/// Every cell.
pub fn expected(route: Route, principal: Principal) -> Expected {
    use Principal as P;
    let for_players = |answer: fn(Principal) -> Expected| stranger_at_the_game(principal).unwrap_or_else(|| answer(principal));
    let for_agents = |answer: fn(Principal) -> Expected| stranger_at_the_wallet(principal).unwrap_or_else(|| answer(principal));
    match route {
        Route::Page
        | Route::VerifierPage
        | Route::PageFile
        | Route::ReaderFile
        | Route::OnlineCount
        | Route::ApiDocument
        | Route::Liveness
        | Route::Readiness
        | Route::Health
        | Route::HazardChain
        | Route::Hazards
        | Route::Configuration
        | Route::Verify => Shown(200),
        // They name operators.
        Route::Metrics => match principal {
            P::WrongAddress => Refused(403, "forbidden"),
            _ => Shown(200),
        },
        Route::Reader => Shown(308),
        // What counts is the one-time token. The other player brings the owner's, which is used; the namesake brings his own
        // under this agent's name; those who were signed out or came late bring what was good before; agents their certificate.
        Route::Auth => match principal {
            P::Player | P::Suspended | P::Locked => Done,
            P::Anonymous
            | P::OtherPlayer
            | P::Namesake
            | P::Expired
            | P::LoggedOut
            | P::NoAlgorithm
            | P::OtherAlgorithm
            | P::ForeignKey
            | P::Agent
            | P::OtherAgent
            | P::NamesakesAgent
            | P::Impostor
            | P::WrongAddress
            | P::ClosedAgent
            | P::OperatorSimulator => Refused(401, "unauthenticated"),
        },
        Route::GameConfig | Route::Seeds | Route::ListBets => for_players(|_| Shown(200)),
        // The operator is asked, and the call audited.
        Route::Balance => for_players(|_| Done),
        // It moves no money and opens no round, so that it is nobody's loss if a suspended player does it.
        Route::ChangeSeeds => for_players(|_| Done),
        Route::PlaceBet => for_players(|player| match player {
            P::Suspended | P::Locked => Refused(403, "account_suspended"),
            _ => Done,
        }),
        // The other player has a round of his own, the namesake has none; both name the owner's.
        Route::Step | Route::CashOut => for_players(|player| match player {
            P::OtherPlayer => Refused(409, "round_mismatch"),
            P::Namesake => Refused(404, "no_active_session"),
            _ => Done,
        }),
        Route::Session => for_players(|player| match player {
            P::Namesake => Refused(404, "no_active_session"),
            _ => Shown(200),
        }),
        Route::ShowBet => for_players(|player| match player {
            P::Player => Shown(200),
            _ => Refused(404, "not_found"),
        }),
        Route::CreateMember => for_agents(|agent| match agent {
            P::NamesakesAgent => Denied("1001"),
            _ => Done,
        }),
        Route::Login | Route::DoLoginAndLaunchGame | Route::UpdatePlayerStatus | Route::UpdateBetLimit => for_agents(|agent| match agent {
            P::OtherAgent => Denied("1002"),
            _ => Done,
        }),
        Route::QueryBetLimit => for_agents(|agent| match agent {
            P::OtherAgent => Denied("1002"),
            _ => Shown(200),
        }),
        // Who is nobody's player is not among those who were signed out.
        Route::Logout => for_agents(|agent| match agent {
            P::OtherAgent => Shown(200),
            _ => Done,
        }),
        Route::GetTransactionStatus => for_agents(|agent| match agent {
            P::Agent => Shown(200),
            _ => Denied("1036"),
        }),
        Route::CheckStatus => for_agents(|_| Shown(200)),
    }
}

/// Who is turned away at the door of the game, and how.
fn stranger_at_the_game(principal: Principal) -> Option<Expected> {
    use Principal as P;
    match principal {
        P::Player | P::OtherPlayer | P::Namesake | P::Suspended | P::Locked => None,
        P::Expired => Some(Refused(401, "token_expired")),
        P::Anonymous
        | P::LoggedOut
        | P::NoAlgorithm
        | P::OtherAlgorithm
        | P::ForeignKey
        | P::Agent
        | P::OtherAgent
        | P::NamesakesAgent
        | P::Impostor
        | P::WrongAddress
        | P::ClosedAgent
        | P::OperatorSimulator => Some(Refused(401, "unauthenticated")),
    }
}

/// Who is turned away at the operators' endpoints, and how: a session token is nothing there.
fn stranger_at_the_wallet(principal: Principal) -> Option<Expected> {
    use Principal as P;
    match principal {
        P::Agent | P::OtherAgent | P::NamesakesAgent => None,
        P::Impostor => Some(Denied("1027")),
        P::WrongAddress => Some(Denied("1029")),
        P::ClosedAgent => Some(Denied("1035")),
        P::Anonymous
        | P::Player
        | P::OtherPlayer
        | P::Namesake
        | P::Suspended
        | P::Locked
        | P::Expired
        | P::LoggedOut
        | P::NoAlgorithm
        | P::OtherAlgorithm
        | P::ForeignKey
        | P::OperatorSimulator => Some(Denied("1036")),
    }
}

/// The table for readers: routes with equal rows together, callers with equal answers together.
pub fn in_words() -> String {
    let mut rows: Vec<(Vec<Expected>, Vec<String>)> = Vec::new();
    for route in Route::ALL {
        let row: Vec<Expected> = Principal::ALL.iter().map(|principal| expected(*route, *principal)).collect();
        let (method, path) = route.place();
        let place = format!("`{method} {path}`");
        match rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, places)) => places.push(place),
            None => rows.push((row, vec![place])),
        }
    }
    let mut text = String::from("\n| routes | answer | to whom |\n|---|---|---|\n");
    for (row, places) in rows {
        let mut answers: BTreeMap<Expected, Vec<&str>> = BTreeMap::new();
        for (principal, expected) in Principal::ALL.iter().zip(row) {
            answers.entry(expected).or_default().push(principal.in_words());
        }
        let mut routes = places.join(", ");
        // Those who get the answer of most stand last and are not named.
        let most = answers.values().map(Vec::len).max().unwrap_or_default();
        let (usual, special): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, principals)| principals.len() == most);
        let others = if special.is_empty() { "everybody" } else { "everybody else" };
        for (answer, principals) in special {
            text.push_str(&format!("| {routes} | {} | {} |\n", answer_in_words(answer), principals.join("; ")));
            routes.clear();
        }
        for (answer, _) in usual {
            text.push_str(&format!("| {routes} | {} | {others} |\n", answer_in_words(answer)));
        }
    }
    text.push('\n');
    text
}

fn answer_in_words(expected: Expected) -> String {
    match expected {
        Shown(status) => format!("{status}, nothing changes"),
        Done => "200, changes the caller's own alone".to_owned(),
        Refused(status, code) => format!("{status} `{code}`"),
        Denied(status) => format!("status `{status}`"),
    }
}

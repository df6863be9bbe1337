//! All routes on one screen, as one list: a server registers what stands in it and nothing else, and [`Route`] names each of
//! them, so that whatever has to be said of every route (who may ask for it, above all) can be held against the whole list
//! by the compiler. What stands here is in the API document too, because both come from the handlers.

use actix_web::{http::Method, middleware::from_fn};
use utoipa::openapi::HttpMethod;
use utoipa_actix_web::{scope, service_config::ServiceConfig};

use super::authentication::authenticate;
use super::{auth, balance, bets, config, fairness, hazards, health, metrics, online, openapi, page, platform, round, seeds};

/// Makes of the list the enum, its places and the registration. First the routes without a prefix, then those of each prefix,
/// which may stand behind a door.
macro_rules! routes {
    (
        $($name:ident = $handler:path;)+
        $($prefix:literal $(behind $door:path)? { $($scoped:ident = $scoped_handler:path;)+ })+
    ) => {
        /// Every route that a server answers; all else is 404 or 405.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Route {
            $($name,)+
            $($($scoped,)+)+
            /// Leads to the page that displays the API document.
            Reader,
            /// That page and its parts. These two come from a library and are not in the document.
            ReaderFile,
        }

        impl Route {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+ $($(Self::$scoped,)+)+ Self::Reader, Self::ReaderFile];

            /// Its method and its path with the parameters' names, as in the API document.
            pub fn place(self) -> (Method, String) {
                match self {
                    $(Self::$name => described::<$handler>(""),)+
                    $($(Self::$scoped => described::<$scoped_handler>($prefix),)+)+
                    Self::Reader => (Method::GET, openapi::READER_PATH.to_owned()),
                    Self::ReaderFile => (Method::GET, format!("{}/{{file}}", openapi::READER_PATH)),
                }
            }
        }

        /// Every route but the page that displays the document.
        pub fn routes(routes: &mut ServiceConfig) {
            // A path is held against the routes in this order, and what is asked most often stands behind a prefix.
            $(routes.service(scope($prefix)$(.service($scoped_handler))+$(.wrap(from_fn($door)))?);)+
            $(routes.service($handler);)+
        }
    };
}

routes! {
    Page = page::index;
    VerifierPage = page::verifier;
    PageFile = page::asset;
    Auth = auth::auth;
    OnlineCount = online::online;
    ApiDocument = openapi::show_document;
    Liveness = health::live;
    Readiness = health::ready;
    Health = health::all;
    Metrics = metrics::metrics;

    "/api/game" behind authenticate {
        Step = round::step;
        PlaceBet = round::bet;
        CashOut = round::cashout;
        Session = round::session;
        GameConfig = config::config;
        Balance = balance::balance;
        Seeds = seeds::show;
        ChangeSeeds = seeds::change;
        ListBets = bets::list;
        ShowBet = bets::show;
    }
    "/api/hazards" {
        HazardChain = hazards::chain;
        Hazards = hazards::current;
    }
    "/api/fairness" {
        Configuration = fairness::configuration;
        Verify = fairness::verify;
    }
    "/wallet" {
        CreateMember = platform::members::create_member;
        UpdatePlayerStatus = platform::members::update_player_status;
        Login = platform::sessions::login;
        DoLoginAndLaunchGame = platform::sessions::do_login_and_launch_game;
        Logout = platform::sessions::logout;
        UpdateBetLimit = platform::limits::update_bet_limit;
        QueryBetLimit = platform::limits::query_bet_limit;
        GetTransactionStatus = platform::transactions::get_transaction_status;
        CheckStatus = platform::check_status;
    }
}

/// Where a handler says that it is, below `prefix`.
fn described<Handler: utoipa::Path>(prefix: &str) -> (Method, String) {
    let method = match Handler::methods().first() {
        Some(HttpMethod::Post) => Method::POST,
        Some(HttpMethod::Put) => Method::PUT,
        Some(HttpMethod::Delete) => Method::DELETE,
        Some(HttpMethod::Patch) => Method::PATCH,
        _ => Method::GET,
    };
    (method, format!("{prefix}{}", Handler::path()))
}

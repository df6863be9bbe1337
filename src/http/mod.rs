//! The HTTP surface: parse, authenticate, call a flow of `play`, render. One file per resource, all routes in `routes`, one
//! table of errors in `problem`, one place around every request in `boundary`. No rule of the game and no store is known here.

pub mod address;
pub mod auth;
pub mod authentication;
pub mod balance;
pub mod bets;
pub mod body;
pub mod boundary;
pub mod config;
pub mod fairness;
pub mod hazards;
pub mod health;
pub mod in_flight;
pub mod metrics;
pub mod online;
pub mod openapi;
pub mod page;
pub mod patience;
pub mod platform;
pub mod problem;
pub mod round;
pub mod routes;
pub mod seeds;
pub mod server;
pub mod shared_file;
pub mod tokens;

/// Names the error codes of an endpoint as a type that the document's macro takes among the responses.
macro_rules! errors {
    ($visibility:vis $name:ident, $($code:ident),+ $(,)?) => {
        $visibility struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::http::problem::described(&[$($crate::http::problem::Code::$code),+])
            }
        }
    };
}
use errors;

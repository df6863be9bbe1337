//! What operators call: the AWC "single wallet" endpoints. Every answer is HTTP 200 with a status; who may ask is settled
//! before anything else is looked at, see [`admission`].

pub mod admission;
pub mod fields;
pub mod limits;
pub mod members;
pub mod sessions;
pub mod transactions;

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode, post, web::Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::errors;
use crate::play::accounts::AccountError;
use admission::Operator;

/// The statuses that these endpoints answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    InvalidUserId,
    AccountExists,
    AccountAbsent,
    InvalidCurrency,
    InvalidCertificate,
    UnableToProceed,
    AddressNotAllowed,
    InvalidAgentId,
    InvalidParameters,
    ParameterEmpty,
}

impl Status {
    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("0000", ""),
            Self::InvalidUserId => ("1000", "Invalid user Id"),
            Self::AccountExists => ("1001", "Account existed"),
            Self::AccountAbsent => ("1002", "Account is not exists"),
            Self::InvalidCurrency => ("1004", "Invalid Currency"),
            Self::InvalidCertificate => ("1027", "Invalid Certificate"),
            Self::UnableToProceed => ("1028", "Unable to proceed. please try again later"),
            Self::AddressNotAllowed => ("1029", "Invalid IP address"),
            Self::InvalidAgentId => ("1035", "Invalid agent Id"),
            Self::InvalidParameters => ("1036", "Invalid parameters"),
            Self::ParameterEmpty => ("1056", "Parameter is empty"),
        }
    }

    pub const fn code(self) -> &'static str {
        self.row().0
    }
}

/// A refusal of an operator's request, and which parameter it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    pub status: Status,
    parameter: Option<&'static str>,
}

impl Denied {
    /// A refusal that is about a parameter.
    pub fn about(status: Status, parameter: &'static str) -> Self {
        Self {
            status,
            parameter: Some(parameter),
        }
    }

    /// The status as it is sent.
    pub fn code(&self) -> &'static str {
        self.status.code()
    }

    fn description(&self) -> String {
        let (_, meaning) = self.status.row();
        self.parameter
            .map_or_else(|| meaning.to_owned(), |parameter| format!("{meaning}: {parameter}"))
    }
}

impl From<Status> for Denied {
    fn from(status: Status) -> Self {
        Self { status, parameter: None }
    }
}

impl From<AccountError> for Denied {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Absent => Status::AccountAbsent,
            AccountError::Currency => Status::InvalidCurrency,
            AccountError::Unavailable => Status::UnableToProceed,
        }
        .into()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.code(), self.description())
    }
}

impl ResponseError for Denied {
    fn status_code(&self) -> StatusCode {
        StatusCode::OK
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::Ok().json(StatusAnswer {
            status: self.code(),
            desc: self.description(),
        })
    }
}

/// A status and what it means.
#[derive(Serialize, ToSchema)]
#[schema(as = PlatformStatus)]
pub struct StatusAnswer {
    /// 0000 ok, 1000 invalid userId, 1001 account exists, 1002 account absent, 1004 currency, 1027 certificate, 1028 unable to proceed,
    /// 1029 IP, 1035 agentId, 1036 parameters, 1056 parameter empty.
    #[schema(example = "0000")]
    status: &'static str,
    desc: String,
}

impl StatusAnswer {
    /// Done.
    pub fn ok() -> Json<Self> {
        Json(Self {
            status: Status::Ok.code(),
            desc: String::new(),
        })
    }
}

errors!(pub PlatformErrors, RequestTimeout, PayloadTooLarge, InternalError);

/// Whether the certificate, the address and the agent's id are right and this server answers.
#[utoipa::path(
    tag = "Platform", operation_id = "checkStatus",
    request_body(content((fields::Signature = "application/x-www-form-urlencoded"), (fields::Signature = "application/json"))),
    responses((status = 200, description = "A status", body = StatusAnswer), PlatformErrors)
)]
#[post("/checkStatus")]
pub async fn check_status(_: Operator) -> Json<StatusAnswer> {
    StatusAnswer::ok()
}

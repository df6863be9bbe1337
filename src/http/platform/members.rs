//! An operator's players: created once, suspended, locked and set free.

use actix_web::{post, web, web::Json};
use utoipa::ToSchema;

use super::{
    Denied, PlatformErrors, Status, StatusAnswer,
    admission::Operator,
    limits::{self, BetLimit},
};
use crate::{
    game::{money::Amount, player::PlayerStatus},
    play::{
        accounts::{self, CreateMember, NewMember},
        context::Context,
    },
};

/// The longest name that is kept for a player, in characters.
const LONGEST_USER_NAME: usize = 50;

/// A player to create.
#[derive(ToSchema)]
#[schema(as = CreateMemberRequest, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body that Fields reads")]
pub struct CreateMemberBody {
    cert: String,
    agent_id: String,
    /// At most 21 of [0-9a-z].
    user_id: String,
    currency: String,
    /// The largest stake, or an AWC JSON text.
    bet_limit: Option<String>,
    language: Option<String>,
    user_name: Option<String>,
}

/// A player's new status.
#[derive(ToSchema)]
#[schema(as = UpdatePlayerStatusRequest, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body that Fields reads")]
pub struct PlayerStatusBody {
    cert: String,
    agent_id: String,
    user_id: String,
    /// active, suspend or lock.
    status: String,
}

/// Creates a player. Of several at once one is answered 0000 and the others 1001.
#[utoipa::path(
    tag = "Platform", operation_id = "createMember",
    request_body(content((CreateMemberBody = "application/x-www-form-urlencoded"), (CreateMemberBody = "application/json"))),
    responses((status = 200, description = "A status", body = StatusAnswer), PlatformErrors)
)]
#[post("/createMember")]
pub async fn create_member(context: web::Data<Context>, operator: Operator) -> Result<Json<StatusAnswer>, Denied> {
    let fields = &operator.fields;
    let user_id = fields.user_id()?;
    let currency = fields.required("currency")?;
    let member = NewMember {
        user_id,
        currency: currency.to_owned(),
        bet_limit: bet_limit(&context, &operator, currency)?,
        language: fields.language()?.map(str::to_owned),
        user_name: user_name(&operator)?,
    };
    match accounts::create_member(&context, &operator.agent, &member).await? {
        CreateMember::Created => Ok(StatusAnswer::ok()),
        CreateMember::Exists => Err(Status::AccountExists.into()),
    }
}

/// Activates, suspends or locks a player. An open round may still be finished.
#[utoipa::path(
    tag = "Platform", operation_id = "updatePlayerStatus",
    request_body(content((PlayerStatusBody = "application/x-www-form-urlencoded"), (PlayerStatusBody = "application/json"))),
    responses((status = 200, description = "A status", body = StatusAnswer), PlatformErrors)
)]
#[post("/updatePlayerStatus")]
pub async fn update_player_status(context: web::Data<Context>, operator: Operator) -> Result<Json<StatusAnswer>, Denied> {
    let user_id = operator.fields.user_id()?;
    let status = match operator.fields.required("status")? {
        "active" => PlayerStatus::Active,
        "suspend" => PlayerStatus::Suspended,
        "lock" => PlayerStatus::Locked,
        _ => return Err(Denied::about(Status::InvalidParameters, "status")),
    };
    accounts::set_status(&context, &operator.agent, &user_id, status).await?;
    Ok(StatusAnswer::ok())
}

fn bet_limit(context: &Context, operator: &Operator, currency: &str) -> Result<Option<Amount>, Denied> {
    if !operator.fields.contains("betLimit") {
        return Ok(None);
    }
    let decimal_places = accounts::decimal_places(context, &operator.agent, currency)?;
    match limits::parse(operator.fields.required("betLimit")?)? {
        BetLimit::LargestStake(text) => limits::in_minor_units(&text, decimal_places).map(Some),
        BetLimit::NotAnAmount => Ok(None),
    }
}

fn user_name(operator: &Operator) -> Result<Option<String>, Denied> {
    let name = operator.fields.optional("userName");
    let is_sane = |name: &str| name.chars().count() <= LONGEST_USER_NAME && !name.chars().any(char::is_control);
    match name {
        Some(name) if !is_sane(name) => Err(Denied::about(Status::InvalidParameters, "userName")),
        name => Ok(name.map(str::to_owned)),
    }
}

//! Players on their way in and out: launch links, and sign-out.

use actix_web::{post, web, web::Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Denied, PlatformErrors, Status, admission::Operator};
use crate::{
    game::player::UserId,
    play::{accounts, context::Context},
};

/// The most players that one request signs out.
const MOST_USERS: usize = 100;

/// A player who wants to play.
#[derive(ToSchema)]
#[schema(as = LoginRequest, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body that Fields reads")]
pub struct LoginBody {
    cert: String,
    agent_id: String,
    user_id: String,
    #[schema(rename = "isMobileLogin")]
    is_mobile_login: Option<String>,
    #[schema(rename = "externalURL")]
    external_url: Option<String>,
    language: Option<String>,
    platform: Option<String>,
    game_type: Option<String>,
}

/// A player who wants to play this game.
#[derive(ToSchema)]
#[schema(as = LaunchRequest, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body that Fields reads")]
pub struct LaunchBody {
    cert: String,
    agent_id: String,
    user_id: String,
    #[schema(example = "In-out")]
    platform: String,
    #[schema(example = "CRASH")]
    game_type: String,
    #[schema(example = "chicken-road-two")]
    game_code: String,
    #[schema(rename = "isMobileLogin")]
    is_mobile_login: Option<String>,
    #[schema(rename = "externalURL")]
    external_url: Option<String>,
    language: Option<String>,
}

/// Players to sign out.
#[derive(ToSchema)]
#[schema(as = LogoutRequest, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body that Fields reads")]
pub struct LogoutBody {
    cert: String,
    agent_id: String,
    /// At most 100, separated by commas.
    user_ids: String,
}

/// Where to send the player. The link works once, for ten minutes.
#[derive(Serialize, ToSchema)]
#[schema(as = LaunchLink)]
pub struct LaunchAnswer {
    #[schema(example = "0000")]
    status: &'static str,
    desc: String,
    /// Only with 0000.
    #[schema(required = false)]
    url: String,
    /// Only with 0000.
    #[schema(required = false)]
    extension: Vec<String>,
}

/// Who was signed out.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LoggedOut)]
pub struct LogoutAnswer {
    #[schema(example = "0000")]
    status: &'static str,
    desc: String,
    /// Only with 0000.
    #[schema(required = false)]
    logout_users: Vec<String>,
    /// Only with 0000.
    #[schema(required = false)]
    count: usize,
}

/// A launch link for a player.
#[utoipa::path(
    tag = "Platform", operation_id = "login",
    request_body(content((LoginBody = "application/x-www-form-urlencoded"), (LoginBody = "application/json"))),
    responses((status = 200, description = "A status, and the link with 0000", body = LaunchAnswer), PlatformErrors)
)]
#[post("/login")]
pub async fn login(context: web::Data<Context>, operator: Operator) -> Result<Json<LaunchAnswer>, Denied> {
    let game = &context.settings.game;
    for (name, ours) in [("platform", &game.platform), ("gameType", &game.game_type)] {
        if operator.fields.optional(name).is_some_and(|value| value != ours) {
            return Err(Denied::about(Status::InvalidParameters, name));
        }
    }
    launch(&context, &operator).await
}

/// A launch link for a player and this game.
#[utoipa::path(
    tag = "Platform", operation_id = "doLoginAndLaunchGame",
    request_body(content((LaunchBody = "application/x-www-form-urlencoded"), (LaunchBody = "application/json"))),
    responses((status = 200, description = "A status, and the link with 0000", body = LaunchAnswer), PlatformErrors)
)]
#[post("/doLoginAndLaunchGame")]
pub async fn do_login_and_launch_game(context: web::Data<Context>, operator: Operator) -> Result<Json<LaunchAnswer>, Denied> {
    let game = &context.settings.game;
    for (name, ours) in [
        ("platform", &game.platform),
        ("gameType", &game.game_type),
        ("gameCode", &game.game_code),
    ] {
        if operator.fields.required(name)? != ours {
            return Err(Denied::about(Status::InvalidParameters, name));
        }
    }
    launch(&context, &operator).await
}

async fn launch(context: &web::Data<Context>, operator: &Operator) -> Result<Json<LaunchAnswer>, Denied> {
    let user_id = operator.fields.user_id()?;
    let url = accounts::launch(context, &operator.agent, &user_id, operator.fields.language()?).await?;
    Ok(Json(LaunchAnswer {
        status: Status::Ok.code(),
        desc: String::new(),
        url,
        extension: Vec::new(),
    }))
}

/// Signs players out. Open rounds go on to their deadline.
#[utoipa::path(
    tag = "Platform", operation_id = "logout",
    request_body(content((LogoutBody = "application/x-www-form-urlencoded"), (LogoutBody = "application/json"))),
    responses((status = 200, description = "A status, and who was signed out", body = LogoutAnswer), PlatformErrors)
)]
#[post("/logout")]
pub async fn logout(context: web::Data<Context>, operator: Operator) -> Result<Json<LogoutAnswer>, Denied> {
    let users = users(operator.fields.required("userIds")?)?;
    let signed_out = accounts::sign_out(&context, &operator.agent, &users).await?;
    Ok(Json(LogoutAnswer {
        status: Status::Ok.code(),
        desc: String::new(),
        count: signed_out.len(),
        logout_users: signed_out.iter().map(ToString::to_string).collect(),
    }))
}

/// Names separated by commas, each once.
fn users(text: &str) -> Result<Vec<UserId>, Denied> {
    let mut users = Vec::new();
    for name in text.split(',') {
        let user = UserId::parse(name.trim()).map_err(|_| Status::InvalidUserId)?;
        if !users.contains(&user) {
            users.push(user);
        }
    }
    if users.len() > MOST_USERS {
        return Err(Denied::about(Status::InvalidParameters, "userIds"));
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_separated_by_commas() {
        let names = |text: &str| {
            users(text)
                .map(|users| users.iter().map(ToString::to_string).collect::<Vec<_>>())
                .map_err(|denied| denied.code())
        };
        assert_eq!(names("user1, user2,user1"), Ok(vec!["user1".to_owned(), "user2".to_owned()]));
        assert_eq!(names("user1,,user2"), Err("1000"));
        assert_eq!(names("User1"), Err("1000"));
        let many: Vec<String> = (0..101).map(|number| format!("user{number}")).collect();
        assert_eq!(names(&many.join(",")), Err("1036"));
    }
}

//! What became of a bet, for operators who did not hear.

use actix_web::{post, web, web::Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Denied, PlatformErrors, Status, admission::Operator};
use crate::play::{accounts, context::Context};

/// The longest id of a transaction.
const LONGEST_ID: usize = 50;

/// A transaction to look up.
#[derive(ToSchema)]
#[schema(as = TransactionRequest, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body that Fields reads")]
pub struct TransactionBody {
    cert: String,
    agent_id: String,
    #[schema(max_length = 50)]
    platform_tx_id: String,
}

/// A transaction's state.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TransactionStatus)]
pub struct TransactionAnswer {
    #[schema(example = "0000")]
    status: &'static str,
    desc: String,
    /// -1 cancelled, 0 bet, 1 settled, 2 void; only with 0000.
    #[schema(minimum = -1, maximum = 2, required = false)]
    tx_status: i8,
}

/// What became of a bet of this agent. An id that is not known is answered 1036.
#[utoipa::path(
    tag = "Platform", operation_id = "getTransactionStatus",
    request_body(content((TransactionBody = "application/x-www-form-urlencoded"), (TransactionBody = "application/json"))),
    responses((status = 200, description = "A status, and the state with 0000", body = TransactionAnswer), PlatformErrors)
)]
#[post("/getTransactionStatus")]
pub async fn get_transaction_status(context: web::Data<Context>, operator: Operator) -> Result<Json<TransactionAnswer>, Denied> {
    let unknown = || Denied::about(Status::InvalidParameters, "platformTxId");
    let id = operator.fields.required("platformTxId")?;
    if id.len() > LONGEST_ID || !id.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(unknown());
    }
    let tx_status = accounts::transaction_status(&context, &operator.agent, id)
        .await?
        .ok_or_else(unknown)?;
    Ok(Json(TransactionAnswer {
        status: Status::Ok.code(),
        desc: String::new(),
        tx_status,
    }))
}

//! Who may call as an operator: the caller's address must be on the agent's list (1029), the certificate must be the agent's
//! (1027), and the agent must be open (1035). The address comes first, and an agent that does not exist has no address: a
//! stranger elsewhere learns neither which operators there are nor whether a certificate is right. The certificate is compared
//! in constant time.

use std::{net::IpAddr, sync::Arc};

use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, ResponseError, dev::Payload, http::StatusCode, web};
use futures::future::LocalBoxFuture;
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use super::{Denied, Status, fields::Fields};
use crate::{
    http::{address::client_address, body},
    ledger::agents::Agent,
    play::{accounts::agent, context::Context},
};

/// An operator who may ask, and what it says.
pub struct Operator {
    pub agent: Arc<Agent>,
    pub fields: Fields,
}

impl FromRequest for Operator {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = body::read(request, payload);
        let request = request.clone();
        Box::pin(async move {
            let body = reading.await.map_err(|problem| match problem.status_code() {
                // Whoever sends that much or that slowly is stopped by HTTP itself.
                StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => Error::from(problem),
                _ => Error::from(Denied::from(Status::InvalidParameters)),
            })?;
            let context = request
                .app_data::<web::Data<Context>>()
                .ok_or(Denied::from(Status::UnableToProceed))?;
            let fields = Fields::parse(request.content_type(), &body)?;
            let address = client_address(&request, &context.settings.server.trusted_proxies);
            let agent = admitted(context, &fields, address).await?;
            Ok(Self { agent, fields })
        })
    }
}

async fn admitted(context: &Context, fields: &Fields, address: Option<IpAddr>) -> Result<Arc<Agent>, Denied> {
    let agent_id = fields.required("agentId")?;
    let certificate = fields.required("cert")?;
    let agent = agent(context, agent_id).await?.ok_or(Status::AddressNotAllowed)?;
    check(&agent, certificate, address)?;
    Ok(agent)
}

fn check(agent: &Agent, certificate: &str, address: Option<IpAddr>) -> Result<(), Denied> {
    let is_listed = |address: IpAddr| agent.allowed_addresses.iter().any(|network| network.contains(&address));
    if !address.is_some_and(is_listed) {
        // The answer is the same for whoever is no operator at all; the people who run the house can tell the two apart.
        tracing::info!(agent_id = %agent.agent_id, ?address, "a call in an operator's name came from an address that is not on its list");
        return Err(Status::AddressNotAllowed.into());
    }
    let is_certificate = agent.certificate.expose_secret().as_bytes().ct_eq(certificate.as_bytes());
    if !bool::from(is_certificate) {
        return Err(Status::InvalidCertificate.into());
    }
    if !agent.active {
        return Err(Status::InvalidAgentId.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::player::AgentId;

    fn code(certificate: &str, address: Option<&str>) -> Result<(), &'static str> {
        let agent = Agent {
            agent_id: AgentId::parse("agent456").expect("an agent's id"),
            certificate: "right".to_owned().into(),
            signature_secret: None,
            callback_url: String::new(),
            encoding: "form".to_owned(),
            utc_offset_minutes: 480,
            allowed_addresses: vec!["192.0.2.0/24".parse().expect("a network")],
            currencies: vec!["INR".to_owned()],
            frontend_url: None,
            one_device: false,
            active: true,
        };
        let address = address.map(|text| text.parse().expect("an address"));
        check(&agent, certificate, address).map_err(|denied| denied.code())
    }

    #[test]
    fn the_address_comes_before_the_certificate() {
        assert_eq!(code("right", Some("192.0.2.7")), Ok(()));
        assert_eq!(code("right", Some("198.51.100.1")), Err("1029"));
        assert_eq!(code("wrong", Some("198.51.100.1")), Err("1029"));
        assert_eq!(code("right", None), Err("1029"));
        for wrong in ["wrong", "righ", "right ", "Right"] {
            assert_eq!(code(wrong, Some("192.0.2.7")), Err("1027"), "{wrong}");
        }
    }
}

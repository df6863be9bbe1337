//! Puts the server together: routes, what surrounds them, limits and workers. Signals are the caller's: stopping the returned
//! server's handle gracefully lets requests in flight finish within the set time.

use std::{
    future::ready,
    io,
    net::{Shutdown, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_http::{HttpService, Protocol, error::DispatchError};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App, Error,
    body::BoxBody,
    dev::{AppConfig, Server, ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web,
};
use secrecy::ExposeSecret;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use utoipa_actix_web::AppExt;

use super::{
    boundary,
    in_flight::InFlight,
    metrics,
    openapi::{Reference, reader, unrouted},
    patience::Patient,
    problem::{Code, Problem},
    routes::routes,
    tokens::SessionTokens,
};
use crate::{chance::Chance, clock::Clock, play::context::Context};

/// How many connections may wait to be accepted: as many as actix-web's own listeners let wait. The system may allow fewer
/// (`net.core.somaxconn`).
const BACKLOG: u32 = 2048;
/// How long the head of a request may take to arrive; a body has a deadline of its own.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a caller may take to close a connection that we have closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// How long the system keeps bytes that the other side does not take: also after a connection was closed with bytes left to send.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// So much the system keeps of what a connection is sent (Linux takes twice that for its own book-keeping). Enough for a megabyte
/// a second at a round trip of 60 ms.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;
/// How long the workers have to take in the connections that were accepted last: actix drops those that are still on their way to a
/// worker when it is told to stop.
const TAKING_IN: Duration = Duration::from_millis(250);

/// What the application is made of besides the context: made once, shared by the workers.
#[derive(Clone)]
pub struct Parts {
    pub tokens: web::Data<SessionTokens>,
    pub in_flight: web::Data<InFlight>,
    pub reference: web::Data<Reference>,
    pub clock: Clock,
    pub chance: Chance,
    /// While it is cancelled each answer closes its connection.
    pub draining: CancellationToken,
}

/// The routes with all that surrounds them. Handlers also need a `web::Data<Context>`.
pub fn application(
    parts: &Parts,
) -> App<impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()> + use<>> {
    let (clock, chance, draining) = (parts.clock, parts.chance, parts.draining.clone());
    App::new()
        .into_utoipa_app()
        .configure(routes)
        .into_app()
        .service(reader())
        .app_data(parts.tokens.clone())
        .app_data(parts.in_flight.clone())
        .app_data(parts.reference.clone())
        .app_data(query_errors())
        .default_service(web::to(unrouted))
        .wrap(from_fn(move |request, next| {
            boundary::surround(clock, chance, draining.clone(), request, next)
        }))
}

/// Listens on `address`. The standard library lets 128 connections wait: of a larger crowd at one instant most would try again
/// a second later, and Linux may forget one that it has already told it is connected (SYN cookies, `listen(2)`).
///
/// # Errors
/// When the address is taken or not ours.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A server that starts anew may listen where the last one's connections are still being forgotten.
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A server at work, to be awaited.
pub struct Serving {
    pub server: Server,
    pub door: Door,
}

/// The way in.
pub struct Door {
    listener: TcpListener,
    server: ServerHandle,
}

impl Door {
    /// Closes it: nobody can connect any more, and who was let in is served. Returns when all connections are gone, or the server's
    /// shutdown timeout is over.
    pub async fn close(&self) {
        // Before the acceptor is told to stop: whoever was accepted still gets to a worker, and nobody waits in vain to be accepted.
        if let Err(error) = SockRef::from(&self.listener).shutdown(Shutdown::Both) {
            tracing::debug!(%error, "the listener was not shut down; it is closed in a moment");
        }
        tokio::time::sleep(TAKING_IN).await;
        self.server.stop(true).await;
    }
}

/// A running server on `listener`.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(context: Arc<Context>, listener: TcpListener) -> io::Result<Serving> {
    let entrance = listener.try_clone()?;
    context.spawn(metrics::keep_up(context.shutdown.clone()));
    let settings = context.settings.server.clone();
    let key = context.secrets.jwt_key.expose_secret();
    let tokens = SessionTokens::new(key, context.settings.session.token_ttl_s, context.clock);
    let parts = Parts {
        tokens: web::Data::new(tokens),
        in_flight: web::Data::new(InFlight::new(context.settings.rate_limit.in_flight)),
        reference: web::Data::new(Reference::generate()),
        clock: context.clock,
        chance: context.chance,
        draining: context.draining.clone(),
    };
    // What actix-web's own server does, but every connection is a patient one.
    let builder = Server::build()
        .workers(settings.workers)
        .shutdown_timeout(settings.shutdown_timeout_s)
        .disable_signals();
    let (clock, ending) = (context.clock, context.shutdown.clone());
    let server = builder.listen("faircross", listener, move || {
        context.wallet.prepare_here();
        let ending = ending.clone();
        let application = application(&parts).app_data(web::Data::from(Arc::clone(&context)));
        let service = HttpService::build()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_DEADLINE)
            .client_disconnect_timeout(CLOSE_DEADLINE)
            .finish(map_config(
                application.into_factory().map_err(|error| error.error_response()),
                |()| AppConfig::default(),
            ));
        fn_service(move |connection: TcpStream| {
            // It saves a moment at best, and whoever has hung up already has no peer.
            let _ = connection.set_nodelay(true);
            let _ = SockRef::from(&connection).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
            let peer = connection.peer_addr().ok();
            ready(Ok::<_, DispatchError>((
                Patient::new(connection, clock, ending.clone()),
                Protocol::Http1,
                peer,
            )))
        })
        .and_then(service)
    })?;
    let server = server.run();
    let door = Door {
        listener: entrance,
        server: server.handle(),
    };
    Ok(Serving { server, door })
}

/// A query that cannot be read is refused like a body.
fn query_errors() -> web::QueryConfig {
    web::QueryConfig::default().error_handler(|error, _| Problem::new(Code::ValidationFailed, format!("query: {error}")).into())
}

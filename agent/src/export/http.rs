//! The HTTP server: `/metrics`, `/healthz`, `/readyz` here; the page at `/` with `/page/*`, and `/api/v1/*` in `web`.
//! Reads only; nothing here changes anything. Whom it answers is the web configuration's affair.

mod counts;
mod flow;
mod gate;
mod listen;
mod places;
mod tls;

use std::{future::Future, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::Semaphore};

use super::{prometheus::Sources, web::Web};
use crate::webconfig::Rules;

pub use counts::{Counts, Reason, web_config};
pub(super) use flow::in_turn;
pub use gate::OPEN;
pub use listen::Door;
pub use places::MOST_HELD;

/// Scrapes that are made at once; more callers than that wait.
static SCRAPES: Semaphore = Semaphore::const_new(2);

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Takes the address before anything else is started, so that a port in use ends the start.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another with --listen ADDRESS:PORT, or stop what listens there")
    })
}

/// What an operator should know of an address and the rules for it; None if nobody is let in who should not be.
pub fn exposure(address: SocketAddr, rules: &Rules) -> Option<&'static str> {
    if address.ip().is_loopback() { None } else { rules.exposes() }
}

/// Serves until `stop` is done.
pub async fn serve(
    listener: TcpListener,
    sources: Arc<Sources>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let web = Web::new(sources.clone(), listener.local_addr()?);
    let door = sources.door.clone();
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(sources);
    serve_routes(listener, routes, web, door, stop).await
}

/// The same with other routes beside those of the page and the API.
pub async fn serve_routes(
    listener: TcpListener,
    routes: Router,
    web: Arc<Web>,
    door: Door,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let app = Arc::clone(&web).guard(routes.merge(Arc::clone(&web).router()));
    tokio::select! {
        ended = listen::serve(listener, app, door, stop) => ended,
        never = web.sample() => match never {},
    }
}

async fn metrics(State(sources): State<Arc<Sources>>) -> Response {
    // A scrape makes system calls per process: off the runtime's only thread.
    match in_turn(&SCRAPES, move || sources.scrape()).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(sources): State<Arc<Sources>>) -> Response {
    if sources.healthy() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the pipeline does not turn\n").into_response()
    }
}

async fn readyz(State(sources): State<Arc<Sources>>) -> Response {
    let refused = sources.reports.iter().find(|report| report.required && report.hook.is_none());
    match (refused, sources.healthy()) {
        (None, true) => "ready\n".into_response(),
        (Some(report), _) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("probe {} has no hook\n", report.probe)).into_response()
        }
        (None, false) => (StatusCode::SERVICE_UNAVAILABLE, "not watching yet\n").into_response(),
    }
}

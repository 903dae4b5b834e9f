//! The HTTP server: /metrics, /healthz, /readyz. Reads only; nothing here changes anything.

use std::{future::Future, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use super::prometheus::Sources;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Takes the address before anything else is started, so that a port in use ends the start.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another with --listen ADDRESS:PORT, or stop what listens there")
    })
}

/// Serves until `stop` is done.
pub async fn serve(
    listener: TcpListener,
    sources: Arc<Sources>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let app = Router::new()
        .route("/", get(|| async { Html(INDEX) }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(sources);
    axum::serve(listener, app).with_graceful_shutdown(stop).await.context("the HTTP server ended")
}

const INDEX: &str = "<!doctype html><title>inferscope</title><h1>inferscope</h1>\
    <p><a href=\"/metrics\">/metrics</a> <a href=\"/healthz\">/healthz</a> <a href=\"/readyz\">/readyz</a></p>";

async fn metrics(State(sources): State<Arc<Sources>>) -> Response {
    // A scrape makes system calls per process: off the runtime's only thread.
    match tokio::task::spawn_blocking(move || sources.scrape()).await {
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

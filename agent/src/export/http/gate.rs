//! What stands before every route: credentials, methods, and the headers that the operator wants. Owns no route.

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, Response, StatusCode, header},
    response::IntoResponse,
};

use super::counts::{Counts, Reason};
use crate::{export::web::Refusal, webconfig::Rules};

/// Paths that are answered without credentials: the kubelet has none, and they say only whether the agent works.
pub const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Whether a request is answered.
pub enum Verdict {
    /// By its route; the caller has shown that it may ask.
    Admitted,
    /// By its route, which is for everyone.
    Open,
    Refused(Response<Body>),
}

/// Holds a request against the rules.
pub async fn judge<B>(rules: &Rules, request: &Request<B>, counts: &Counts) -> Verdict {
    let path = request.uri().path();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(credentials) = &rules.credentials {
        if reads && OPEN.contains(&path) {
            return Verdict::Open;
        }
        if !credentials.admit(request.headers()).await {
            counts.reject(Reason::Credentials, "no user and no token that the web configuration knows");
            let mut response = refusal(path, StatusCode::UNAUTHORIZED, "a user or a token is wanted");
            for challenge in credentials.challenges() {
                response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            return Verdict::Refused(response);
        }
    }
    if reads {
        return Verdict::Admitted;
    }
    let mut response =
        refusal(path, StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here: only GET and HEAD are answered");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    Verdict::Refused(response)
}

/// There is no room for the answer.
pub fn crowded(path: &str) -> Response<Body> {
    refusal(path, StatusCode::SERVICE_UNAVAILABLE, "too many answers wait to be read: ask again")
}

/// As JSON where the API is, as text elsewhere; kept by no cache.
fn refusal(path: &str, status: StatusCode, says: &str) -> Response<Body> {
    let mut response = if path == "/api" || path.starts_with("/api/") {
        Refusal::new(status, says).response()
    } else {
        (status, format!("{says}\n")).into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

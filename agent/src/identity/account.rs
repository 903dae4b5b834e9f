//! The pod's service account, and requests to the API server made with it. Token and authority are read anew for each
//! request: both are replaced while the agent runs, and requests are rare. The token is told nobody else.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, AUTHORIZATION, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::failure::{Failure, Kind};

const AGENT: &str = concat!("inferscope/", env!("CARGO_PKG_VERSION"));
/// A connection whose other end is gone without a word.
const ALIVE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
/// The longest that a server may ask to be left alone.
const MOST_AFTER: Duration = Duration::from_secs(60);

/// Asks for `path` at `api` (`HOST:PORT`) and gives the answer's body, if it is a success.
pub async fn get(api: &str, account: &Path, path: &str, patience: Duration) -> Result<Response<Incoming>, Failure> {
    let request = request(api, account, path)?;
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector(account)?);
    let answer = tokio::time::timeout(patience, client.request(request)).await;
    let answer = answer.map_err(|_| Failure::new(Kind::Timeout, "no answer in time"))?;
    let answer = answer.map_err(|error| Failure::of(Kind::Connect, &error))?;
    if answer.status() == StatusCode::OK {
        return Ok(answer);
    }
    let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let after = after.map(|seconds| Duration::from_secs(seconds).min(MOST_AFTER));
    Err(Failure::of_status(answer.status().as_u16(), format!("it answers {}", answer.status()), after))
}

fn request(api: &str, account: &Path, path: &str) -> Result<Request<Empty<Bytes>>, Failure> {
    let file = account.join("token");
    let token = std::fs::read_to_string(&file)
        .map_err(|error| Failure::new(Kind::Account, format!("cannot read {}: {error}", file.display())))?;
    // What is wrong with the token is not told: the error would hold it.
    let unusable = |_| Failure::new(Kind::Account, format!("{} holds no token", file.display()));
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(unusable)?;
    bearer.set_sensitive(true);
    Request::get(format!("https://{api}{path}"))
        .header(AUTHORIZATION, bearer)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "application/json")
        .body(Empty::new())
        .map_err(|error| Failure::of(Kind::Account, &error))
}

fn connector(account: &Path) -> Result<HttpsConnector<HttpConnector>, Failure> {
    let file = account.join("ca.crt");
    let unusable = |error: &dyn std::error::Error| {
        Failure::new(Kind::Account, format!("no certificates can be read from {}: {error}", file.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&file).map_err(|error| unusable(&error))? {
        roots.add(certificate.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(ALIVE));
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().wrap_connector(tcp))
}

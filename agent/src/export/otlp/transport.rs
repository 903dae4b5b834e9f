//! One attempt to hand an encoded export to the collector, over HTTP or gRPC, and what its answer means.
//! Holds the headers, whose values it tells nobody else.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT},
    http::uri::PathAndQuery,
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::{body::Body, client::Grpc, codec::CompressionEncoding, metadata::MetadataMap};

use super::{counts::Signal, grpc, tls};
use crate::config::{Otlp, OtlpProtocol};

/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 << 10;
/// How often the other end is asked for a sign of life, and how long it has for one.
const ALIVE: Duration = Duration::from_secs(5);
const AGENT: &str = concat!("inferscope/", env!("CARGO_PKG_VERSION"));
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// What an attempt came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken, but for so many items, with the collector's reason.
    Taken { rejected: u64, why: String },
    /// Not taken now; perhaps after this time.
    Again { after: Option<Duration>, why: String },
    /// Not taken, and it would not be later.
    Refused { why: String },
}

/// The way to the collector.
pub struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    endpoint: Uri,
    protocol: OtlpProtocol,
    headers: HeaderMap,
    gzip: bool,
    timeout: Duration,
}

impl Transport {
    /// Connects to nothing yet. Errors: an endpoint, a header or a file that cannot be used.
    pub fn new(config: &Otlp, endpoint: &str) -> Result<Self> {
        let endpoint: Uri = endpoint.parse().context("otlp.endpoint is no URL")?;
        if config.protocol == OtlpProtocol::Grpc && endpoint.path() != "/" {
            bail!("otlp.endpoint has a path, and OTLP/gRPC knows none: leave it out, or set otlp.protocol");
        }
        let (client, headers) = (client(config, endpoint.scheme_str() == Some("https"))?, headers(config)?);
        let (gzip, timeout) = (config.gzip, config.timeout);
        Ok(Self { client, endpoint, protocol: config.protocol, headers, gzip, timeout })
    }

    /// One attempt, which has the configured time.
    pub async fn send(&self, signal: Signal, message: &Bytes) -> Verdict {
        let attempt = async {
            match self.protocol {
                OtlpProtocol::Http => self.http(signal, message).await,
                OtlpProtocol::Grpc => self.grpc(signal, message).await,
            }
        };
        let late = || again(format!("no answer within {}", humantime::format_duration(self.timeout)));
        let verdict = tokio::time::timeout(self.timeout, attempt).await.unwrap_or_else(|_| late());
        match verdict {
            Verdict::Taken { rejected, why } => Verdict::Taken { rejected, why: self.discreet(why) },
            Verdict::Again { after, why } => Verdict::Again { after, why: self.discreet(why) },
            Verdict::Refused { why } => Verdict::Refused { why: self.discreet(why) },
        }
    }

    /// A text of the collector's, which may repeat what it was sent: cut, and without the headers' values.
    fn discreet(&self, text: String) -> String {
        const CHARS: usize = 200;
        let values = self.headers.values().filter_map(|value| value.to_str().ok()).filter(|value| !value.is_empty());
        // `Bearer TOKEN` may come back without its first word.
        let parts =
            values.flat_map(|value| std::iter::once(value).chain(value.split(' ').filter(|part| part.len() > 7)));
        let text = parts.fold(text, |text, part| text.replace(part, "***"));
        text.chars().filter(|c| !c.is_control()).take(CHARS).collect()
    }

    async fn http(&self, signal: Signal, message: &Bytes) -> Verdict {
        let base = self.endpoint.to_string();
        let mut request = Request::post(format!("{}/v1/{}", base.trim_end_matches('/'), signal.name()));
        if let Some(headers) = request.headers_mut() {
            headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
            headers.extend(self.headers.clone());
            headers.insert(CONTENT_TYPE, PROTOBUF);
            if self.gzip {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        let message = if self.gzip { compress(message) } else { message.clone() };
        let request = match request.body(Body::new(Full::new(message))) {
            Ok(request) => request,
            Err(error) => return Verdict::Refused { why: error.to_string() },
        };
        match self.client.request(request).await {
            Ok(response) => answered(response).await,
            Err(error) => again(causes(&error)),
        }
    }

    async fn grpc(&self, signal: Signal, message: &Bytes) -> Verdict {
        let path = match signal {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        };
        let mut grpc = Grpc::with_origin(self.client.clone(), self.endpoint.clone())
            .max_decoding_message_size(ANSWER_BYTES)
            .accept_compressed(CompressionEncoding::Gzip);
        if self.gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        let mut request = tonic::Request::new(message.clone());
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
        let sent = match grpc.ready().await {
            Ok(()) => grpc.unary(request, PathAndQuery::from_static(path), grpc::Encoded).await,
            Err(error) => return again(causes(&error)),
        };
        match sent {
            Ok(answer) => taken(answer.get_ref()),
            Err(status) => {
                let cause = std::error::Error::source(&status).map(causes).unwrap_or_default();
                let why = format!("{:?} {} {cause}", status.code(), status.message());
                match grpc::may_retry(&status) {
                    true => Verdict::Again { after: grpc::retry_delay(&status), why },
                    false => Verdict::Refused { why },
                }
            }
        }
    }
}

fn client(config: &Otlp, secure: bool) -> Result<Client<HttpsConnector<HttpConnector>, Body>> {
    let grpc = config.protocol == OtlpProtocol::Grpc;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // Small frames of HTTP/2 would wait for the collector's delayed acknowledgements.
    tcp.set_nodelay(true);
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls::client(config, secure)?).https_or_http();
    let connector = if grpc { tls.enable_http2().wrap_connector(tcp) } else { tls.enable_http1().wrap_connector(tcp) };
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_only(grpc)
        // A connection whose other end is gone without a word is not used for every further attempt.
        .http2_keep_alive_interval(ALIVE)
        .http2_keep_alive_timeout(ALIVE)
        .build(connector);
    Ok(client)
}

fn headers(config: &Otlp) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in config.headers.iter() {
        // What is wrong with a value is not told: the error would hold it.
        let value = HeaderValue::from_str(value).ok();
        let (Ok(key), Some(mut value)) = (name.parse::<HeaderName>(), value) else {
            bail!("otlp.headers: `{name}` has a name or a value that no HTTP header may have");
        };
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn again(why: String) -> Verdict {
    Verdict::Again { after: None, why }
}

/// An error and its causes: the outermost of a client says little.
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(error.source(), |error| error.source());
    chain.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// In memory, where writing does not fail.
fn compress(message: &[u8]) -> Bytes {
    let mut gzip = flate2::read::GzEncoder::new(message, flate2::Compression::fast());
    let mut compressed = Vec::with_capacity(message.len() / 4);
    std::io::Read::read_to_end(&mut gzip, &mut compressed).expect("reading memory does not fail");
    compressed.into()
}

async fn answered(response: Response<hyper::body::Incoming>) -> Verdict {
    let (head, body) = response.into_parts();
    match head.status {
        status if status.is_success() => match Limited::new(body, ANSWER_BYTES).collect().await {
            Ok(body) => accepted(&head.headers, &body.to_bytes()),
            Err(error) => again(format!("its answer broke off: {error}")),
        },
        status @ (StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT) => {
            let after = head.headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
            Verdict::Again { after, why: format!("it answers {status}") }
        }
        status => Verdict::Refused { why: format!("it answers {status}") },
    }
}

/// Some collectors answer success with nothing, or in JSON; a page of some other server is no success.
fn accepted(headers: &HeaderMap, body: &Bytes) -> Verdict {
    let json = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if json && serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|answer| answer.is_object()) {
        return Verdict::Taken { rejected: 0, why: String::new() };
    }
    taken(body)
}

/// The answers of all three signals are alike on the wire.
fn taken(body: &Bytes) -> Verdict {
    match ExportTraceServiceResponse::decode(body.clone()) {
        Ok(answer) => {
            let partial = answer.partial_success.unwrap_or_default();
            Verdict::Taken { rejected: partial.rejected_spans.max(0) as u64, why: partial.error_message }
        }
        Err(_) => Verdict::Refused { why: "its answer is not OTLP: is otlp.endpoint a collector's?".to_owned() },
    }
}

/// Seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse().ok().map(Duration::from_secs);
    seconds.or_else(|| {
        let at = httpdate::parse_http_date(text).ok()?;
        Some(at.duration_since(SystemTime::now()).unwrap_or_default())
    })
}

//! A collector that answers each export as it is told, in order, and hands on what it got. Over HTTP and over gRPC.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tonic::{Code, Status, body::Body};

use crate::{
    config::OtlpProtocol,
    export::otlp::grpc::{Delay, Detail, Details, RetryInfo},
};

/// How an export is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    Success,
    Partial(i64, &'static str),
    /// Status, `retry-after`.
    Http(u16, Option<&'static str>),
    /// A page that is no OTLP.
    Page,
    Grpc(Code, Option<Duration>),
    /// Never.
    Hang,
    /// Closes the connection.
    Close,
}

/// What an export held.
#[derive(Debug)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub message: Bytes,
    pub at: Instant,
}

pub struct Collector {
    pub address: SocketAddr,
    received: mpsc::Receiver<Received>,
    /// Dropped to end it.
    _stop: oneshot::Sender<()>,
}

struct Script {
    /// The last one is the answer to all that follow.
    answers: Mutex<VecDeque<Answer>>,
    received: mpsc::Sender<Received>,
    protocol: OtlpProtocol,
}

impl Collector {
    pub fn start(protocol: OtlpProtocol, answers: &[Answer]) -> Self {
        Self::start_with(protocol, answers, None)
    }

    /// With TLS if there is a configuration of it.
    pub fn start_with(protocol: OtlpProtocol, answers: &[Answer], tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::channel();
        let script =
            Arc::new(Script { answers: Mutex::new(answers.iter().cloned().collect()), received: sender, protocol });
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, script, tls) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, received, _stop: stop }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next export that arrives.
    #[track_caller]
    pub fn next(&self) -> Received {
        self.received.recv_timeout(Duration::from_secs(20)).expect("an export should arrive")
    }

    /// What has arrived beside that.
    pub fn rest(&self) -> Vec<Received> {
        self.received.try_iter().collect()
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>, tls: Option<Arc<rustls::ServerConfig>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&script), tls.clone()));
    }
}

async fn connection(stream: TcpStream, script: Arc<Script>, tls: Option<Arc<rustls::ServerConfig>>) {
    match tls {
        None => serve(stream, script).await,
        Some(config) => {
            // One that shows no certificate is turned away here.
            if let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await {
                serve(stream, script).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, script: Arc<Script>) {
    let grpc = script.protocol == OtlpProtocol::Grpc;
    let answer = service_fn(move |request: Request<Incoming>| {
        let script = Arc::clone(&script);
        async move { script.answer(request).await }
    });
    // A client that goes away is what some tests want.
    if grpc {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), answer)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
    }
}

fn unzipped(bytes: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
    plain.into()
}

impl Script {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let grpc = self.protocol == OtlpProtocol::Grpc;
        let message = match grpc {
            true if body[0] == 1 => unzipped(&body[5..]),
            true => body.slice(5..),
            false if head.headers.contains_key("content-encoding") => unzipped(&body),
            false => body,
        };
        let (path, at) = (head.uri.path().to_owned(), Instant::now());
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
        };
        // A test that is over listens no more.
        let _ = self.received.send(Received { path, headers: head.headers, message, at });
        let partial = |rejected_spans, why: &str| ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess { rejected_spans, error_message: why.to_owned() }),
        };
        let success = |message: ExportTraceServiceResponse| if grpc { framed(&message) } else { plain(&message) };
        Ok(match answer.expect("a script has an answer") {
            Answer::Success => success(ExportTraceServiceResponse::default()),
            Answer::Partial(rejected, why) => success(partial(rejected, why)),
            Answer::Http(status, after) => {
                let response = Response::builder().status(status);
                let response = after.into_iter().fold(response, |head, after| head.header("retry-after", after));
                response.body(Body::empty()).unwrap()
            }
            Answer::Page => Response::new(Body::new(Full::from("<!doctype html><title>It works</title>"))),
            Answer::Grpc(code, delay) => refused(code, delay),
            Answer::Hang => std::future::pending().await,
            Answer::Close => return Err(std::io::Error::other("as the test wants it")),
        })
    }
}

fn plain(message: &impl Message) -> Response<Body> {
    let body = Body::new(Full::from(message.encode_to_vec()));
    Response::builder().header("content-type", "application/x-protobuf").body(body).unwrap()
}

fn framed(message: &impl Message) -> Response<Body> {
    let message = message.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let body = Full::new(frame.freeze()).with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

fn refused(code: Code, delay: Option<Duration>) -> Response<Body> {
    let details = delay.map(|delay| {
        let delay = Delay { seconds: delay.as_secs() as i64, nanos: delay.subsec_nanos() as i32 };
        let value = RetryInfo { delay: Some(delay) }.encode_to_vec();
        let detail = Detail { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value };
        Details { details: vec![detail] }.encode_to_vec()
    });
    Status::with_details(code, "as the test wants it", details.unwrap_or_default().into()).into_http()
}

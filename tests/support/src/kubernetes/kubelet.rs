//! A kubelet's pod resources socket: gRPC over HTTP/2 on a unix socket, one answer for all who ask. The messages are
//! written from the API's own description (package `v1` of k8s.io/kubelet, pkg/apis/podresources/v1/api.proto), and know
//! nothing of the agent's.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

const LIST: &str = "/v1.PodResourcesLister/List";

/// What the kubelet answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A message of these bytes.
    Message(Vec<u8>),
    /// A refusal with a code of gRPC.
    Refusal(i32),
}

/// The running server.
pub struct Kubelet {
    pub asked: Arc<AtomicU64>,
    /// Takes requests and does not answer.
    pub hangs: Arc<AtomicBool>,
    _stop: oneshot::Sender<()>,
}

struct Shared {
    answer: Answer,
    asked: Arc<AtomicU64>,
    hangs: Arc<AtomicBool>,
}

impl Kubelet {
    /// Answers at this socket, which is made anew.
    pub fn start(socket: &Path, answer: Answer) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _ = std::fs::remove_file(socket);
        let entered = runtime.enter();
        let listener = UnixListener::bind(socket).with_context(|| socket.display().to_string())?;
        drop(entered);
        let (asked, hangs) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let shared = Arc::new(Shared { answer, asked: Arc::clone(&asked), hangs: Arc::clone(&hangs) });
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { asked, hangs, _stop: stop })
    }
}

/// A GPU of a container, as the device plugin of NVIDIA gives it.
pub fn one_gpu(namespace: &str, pod: &str, container: &str, gpu: &str) -> Vec<u8> {
    let devices = Devices { resource: "nvidia.com/gpu".to_owned(), ids: vec![gpu.to_owned()] };
    let container = Container { name: container.to_owned(), devices: vec![devices] };
    let pod = Resources { name: pod.to_owned(), namespace: namespace.to_owned(), containers: vec![container] };
    List { pods: vec![pod] }.encode_to_vec()
}

#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    pods: Vec<Resources>,
}

#[derive(Clone, PartialEq, Message)]
struct Resources {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(message, repeated, tag = "3")]
    containers: Vec<Container>,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    devices: Vec<Devices>,
}

#[derive(Clone, PartialEq, Message)]
struct Devices {
    #[prost(string, tag = "1")]
    resource: String,
    #[prost(string, repeated, tag = "2")]
    ids: Vec<String>,
}

async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let respond = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(respond(request, &shared).await) }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(async move { connection.serve_connection(TokioIo::new(stream), respond).await });
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn respond(request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    /// UNIMPLEMENTED and INVALID_ARGUMENT of gRPC.
    const REFUSALS: (i32, i32) = (12, 3);
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    shared.asked.fetch_add(1, Ordering::Relaxed);
    if shared.hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    // The request is a message without fields, in gRPC's frame.
    match &shared.answer {
        _ if path != LIST => refused(REFUSALS.0),
        _ if body[..] != [0; 5] => refused(REFUSALS.1),
        Answer::Message(message) => framed(message),
        Answer::Refusal(code) => refused(*code),
    }
}

fn framed(message: &[u8]) -> Response<Body> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    let body = Full::new(frame.freeze()).with_trailers(async { Some(Ok::<_, Infallible>(status(0))) });
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/grpc"));
    response
}

fn refused(code: i32) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.headers_mut() = status(code);
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/grpc"));
    response
}

fn status(code: i32) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", code.into());
    headers
}

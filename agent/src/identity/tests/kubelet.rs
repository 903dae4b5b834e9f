//! A kubelet's pod resources socket: gRPC over HTTP/2, one message for all who ask.

use std::{
    convert::Infallible,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::{BufMut, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::UnixListener, sync::oneshot};
use tonic::body::Body;

use crate::identity::pod_resources::ListResponse;

/// The running server.
pub struct Kubelet {
    pub asked: Arc<AtomicU64>,
    /// Takes requests and does not answer.
    pub hangs: Arc<AtomicBool>,
    _stop: oneshot::Sender<()>,
}

impl Kubelet {
    /// Answers at this socket with this message, or with a refusal.
    pub fn start(socket: &Path, answer: Result<ListResponse, tonic::Status>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = std::fs::remove_file(socket);
        let entered = runtime.enter();
        let listener = UnixListener::bind(socket).unwrap();
        drop(entered);
        let (asked, hangs) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (count, hang) = (Arc::clone(&asked), Arc::clone(&hangs));
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, Arc::new(answer), count, hang) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { asked, hangs, _stop: stop }
    }
}

async fn serve(
    listener: UnixListener,
    answer: Arc<Result<ListResponse, tonic::Status>>,
    asked: Arc<AtomicU64>,
    hangs: Arc<AtomicBool>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, asked, hangs) = (Arc::clone(&answer), Arc::clone(&asked), Arc::clone(&hangs));
        let respond = service_fn(move |request: Request<Incoming>| {
            let (answer, asked, hangs) = (Arc::clone(&answer), Arc::clone(&asked), Arc::clone(&hangs));
            async move {
                assert_eq!(request.uri().path(), "/v1.PodResourcesLister/List");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body[..], [0; 5], "a message without fields");
                asked.fetch_add(1, Ordering::Relaxed);
                if hangs.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(match &*answer {
                    Ok(message) => framed(message),
                    Err(status) => status.clone().into_http(),
                })
            }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(async move { connection.serve_connection(TokioIo::new(stream), respond).await });
    }
}

fn framed(message: &ListResponse) -> Response<Body> {
    let message = message.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let body = Full::new(frame.freeze()).with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

//! Which GPUs the containers of this node were given, as its kubelet tells over a unix socket (gRPC). Asked every half
//! minute and after pods changed, each time on a new connection, for the kubelet's restart makes a new socket.

mod messages;

use std::{
    path::Path,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    http::uri::PathAndQuery,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{
    net::UnixStream,
    sync::Notify,
    time::{sleep, timeout},
};
use tonic::{Code, Status, body::Body, client::Grpc, codegen::Service};

pub use messages::ListResponse;

use super::{
    Identities, Source,
    device::{DeviceUse, is_gpu, uuid},
    failure::{Failure, Kind},
};
use crate::export::otlp::Encoded;

/// When the kubelet is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub every: Duration,
    /// The least time between two questions, however often pods change.
    pub least: Duration,
    pub deadline: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { every: seconds(30), least: seconds(5), deadline: seconds(5) }
    }
}

/// The kubelet's own bound of an answer.
const ANSWER_BYTES: usize = 16 << 20;
/// More than the GPUs of a node have parts.
const DEVICES: usize = 4096;

/// Asks for as long as it is let.
pub async fn run(socket: &Path, identities: &Identities, changed: &Notify, pace: Pace) {
    let state = identities.state();
    loop {
        let answer = timeout(pace.deadline, list(socket)).await;
        match answer.unwrap_or_else(|_| Err(Failure::new(Kind::Timeout, "no answer in time"))) {
            Ok(answer) => {
                state.answers(Source::PodResources);
                let mut devices = uses(answer);
                if devices.len() > DEVICES {
                    state.count(Source::PodResources, Kind::Room);
                    devices.truncate(DEVICES);
                }
                identities.set_devices(devices);
            }
            // What was told last stays: a container keeps its GPUs.
            Err(failure) => state.fails(Source::PodResources, &failure),
        }
        sleep(pace.least).await;
        let _ = timeout(pace.every.saturating_sub(pace.least), changed.notified()).await;
    }
}

/// GPUs by container, each once, sorted.
pub fn uses(answer: ListResponse) -> Vec<DeviceUse> {
    let mut uses = Vec::new();
    for pod in &answer.pods {
        for container in &pod.containers {
            for devices in container.devices.iter().filter(|devices| is_gpu(&devices.resource_name)) {
                uses.extend(devices.device_ids.iter().filter_map(|id| uuid(id)).map(|uuid| DeviceUse {
                    uuid: uuid.to_owned(),
                    namespace: pod.namespace.clone(),
                    pod: pod.name.clone(),
                    container: container.name.clone(),
                    resource: devices.resource_name.clone(),
                }));
            }
        }
    }
    uses.sort();
    uses.dedup();
    uses
}

/// Asks once, on a connection of its own.
pub(super) async fn list(socket: &Path) -> Result<ListResponse, Failure> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| Failure::new(Kind::Connect, format!("cannot connect to {}: {error}", socket.display())))?;
    let broken = |error: hyper::Error| Failure::of(Kind::Connect, &error);
    let (sender, connection) =
        http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::select! {
        answer = ask(Sender(sender)) => answer,
        ended = connection => Err(match ended {
            Ok(()) => Failure::new(Kind::Connect, "the kubelet closed the connection"),
            Err(error) => broken(error),
        }),
    }
}

async fn ask(sender: Sender) -> Result<ListResponse, Failure> {
    let origin = Uri::from_static("http://localhost");
    let mut grpc = Grpc::with_origin(sender, origin).max_decoding_message_size(ANSWER_BYTES);
    grpc.ready().await.map_err(|error| Failure::of(Kind::Connect, &error))?;
    // The request is a message without fields.
    let request = tonic::Request::new(Bytes::new());
    let answer = grpc.unary(request, PathAndQuery::from_static(messages::LIST), Encoded).await.map_err(refused)?;
    ListResponse::decode(answer.into_inner()).map_err(|error| Failure::of(Kind::Answer, &error))
}

fn refused(status: Status) -> Failure {
    let kind = match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => Kind::Forbidden,
        Code::ResourceExhausted => Kind::Throttled,
        Code::DeadlineExceeded => Kind::Timeout,
        Code::Unimplemented => Kind::Answer,
        Code::OutOfRange => Kind::TooLarge,
        _ => Kind::Server,
    };
    Failure::new(kind, format!("it answers {:?} {}", status.code(), status.message()))
}

/// One connection, as tonic takes it.
struct Sender(SendRequest<Body>);

impl Service<Request<Body>> for Sender {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use super::messages::{ContainerDevices, ContainerResources, PodResources};
    use super::*;

    #[test]
    fn each_gpu_of_a_container_is_told_once() {
        let gpu = "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f";
        let devices = |resource: &str, ids: &[String]| ContainerDevices {
            resource_name: resource.to_owned(),
            device_ids: ids.to_vec(),
        };
        let shared = devices("nvidia.com/gpu.shared", &[format!("{gpu}::1"), format!("{gpu}::0")]);
        let other = devices("example.com/nic", &[gpu.to_owned()]);
        let odd = devices("nvidia.com/gpu", &["nvidia0".to_owned()]);
        let container = ContainerResources { name: "vllm".to_owned(), devices: vec![shared, other, odd] };
        let pod = PodResources { name: "p".to_owned(), namespace: "llm".to_owned(), containers: vec![container] };
        let told = ListResponse::decode(ListResponse { pods: vec![pod] }.encode_to_vec().as_slice()).unwrap();
        let [one] = &uses(told)[..] else { panic!("not one") };
        assert_eq!((&*one.uuid, &*one.resource, &*one.pod), (gpu, "nvidia.com/gpu.shared", "p"));
    }
}

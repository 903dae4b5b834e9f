//! The kubelet's socket: there, away, hung, restarted, refusing, too much.

use std::sync::atomic::Ordering;

use support::kubernetes::kubelet::{Answer, Kubelet};

use super::*;

const GPU: &str = "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f";

/// As bytes, so that nothing of the messages under test makes them: one pod with one container with one GPU.
fn answer(pod: &str, gpu: &str) -> Answer {
    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        assert!(bytes.len() < 128, "one byte tells the length");
        [&[tag << 3 | 2, bytes.len() as u8], bytes].concat()
    }
    let devices = [field(1, b"nvidia.com/gpu"), field(2, gpu.as_bytes())].concat();
    let container = [field(1, b"vllm"), field(2, &devices)].concat();
    let pod = [field(1, pod.as_bytes()), field(2, b"llm"), field(3, &container)].concat();
    Answer::Message(field(1, &pod))
}

fn start_with(socket: &std::path::Path) -> Started {
    start_at(settings("127.0.0.1:1", "/nonexistent".into(), socket.to_owned()), EAGER)
}

impl Started {
    fn gpu_of(&self, pod: &str) -> bool {
        self.identities.devices().iter().any(|device| device.pod == pod && device.uuid == GPU)
    }

    fn socket_errors(&self, kind: Kind) -> u64 {
        self.identities.state().errors(Source::PodResources, kind)
    }

    fn socket_is_up(&self) -> bool {
        self.identities.state().is_up(Source::PodResources)
    }
}

#[test]
fn gpus_are_told_by_container_through_restarts_and_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("kubelet.sock");
    let started = start_with(&socket);
    wait("no socket", || started.socket_errors(Kind::Connect) >= 2);
    assert!(!started.socket_is_up());
    let kubelet = Kubelet::start(&socket, answer("a", GPU)).unwrap();
    wait("the first answer", || started.socket_is_up());
    let devices = started.identities.devices();
    assert_eq!(devices.len(), 1);
    assert_eq!((&*devices[0].container, &*devices[0].resource), ("vllm", "nvidia.com/gpu"));
    kubelet.hangs.store(true, Ordering::Relaxed);
    wait("a hang", || started.socket_errors(Kind::Timeout) >= 1);
    assert!(!started.socket_is_up() && started.gpu_of("a"), "it has its GPU still");
    drop(kubelet);
    let _kubelet = Kubelet::start(&socket, answer("b", &format!("{GPU}::3"))).unwrap();
    wait("another kubelet", || started.socket_is_up() && started.gpu_of("b"));
    assert!(!started.gpu_of("a"));
}

#[test]
fn a_kubelet_that_refuses_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    // Codes of gRPC: RESOURCE_EXHAUSTED, UNIMPLEMENTED, PERMISSION_DENIED, INTERNAL.
    for (code, kind) in [(8, Kind::Throttled), (12, Kind::Answer), (7, Kind::Forbidden), (13, Kind::Server)] {
        let socket = folder.path().join(format!("{kind:?}.sock"));
        let _kubelet = Kubelet::start(&socket, Answer::Refusal(code)).unwrap();
        let started = start_with(&socket);
        wait("refusals", || started.socket_errors(kind) >= 2);
        assert!(!started.socket_is_up() && started.identities.devices().is_empty());
    }
}

#[test]
fn what_is_no_grpc_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("kubelet.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let started = start_with(&socket);
    let kinds = [Kind::Connect, Kind::Server, Kind::Answer];
    wait("failures", || kinds.iter().map(|kind| started.socket_errors(*kind)).sum::<u64>() >= 2);
    assert!(!started.socket_is_up());
}

#[test]
fn a_pod_that_changes_is_asked_for() {
    let (folder, api) = (tempfile::tempdir().unwrap(), Api::start().unwrap());
    let socket = folder.path().join("kubelet.sock");
    let kubelet = Kubelet::start(&socket, answer("a", GPU)).unwrap();
    let seldom = resources::Pace { every: Duration::from_secs(600), ..EAGER.pod_resources };
    let settings = settings(&api.address.to_string(), api.account().to_owned(), socket);
    let _started = start_at(settings, worker::Pace { pod_resources: seldom, ..EAGER });
    wait("the watch", || api.watches() == 1);
    std::thread::sleep(Duration::from_millis(100));
    let before = kubelet.asked.load(Ordering::Relaxed);
    assert!(before <= 2, "at the start, and after the list");
    api.put(&support::kubernetes::Pod::new("b", "c", "c1"));
    wait("a question", || kubelet.asked.load(Ordering::Relaxed) == before + 1);
}

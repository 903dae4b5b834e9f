//! Callers that ask for much and read none of it: what their answers take is bounded, and others are answered.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agent::export::{
    http::{self, Door, MOST_HELD, Reason},
    web::Web,
};
use axum::{Router, body::Body, routing::get};
use bytes::Bytes;

#[path = "web/made_up.rs"]
#[allow(dead_code)]
mod made_up;
#[path = "webconfig/rig.rs"]
#[allow(dead_code)]
mod rig;

use made_up::MadeUp;
use rig::until;

/// Of an answer: more than the kernel's buffers of a connection take.
const BYTES: usize = MOST_HELD / 2;
const CALLERS: usize = 40;

#[derive(Default)]
struct Alive {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A text that says when it is there and when it is gone.
struct Text(Vec<u8>, Arc<Alive>);

impl Text {
    fn new(alive: Arc<Alive>) -> Self {
        alive.most.fetch_max(alive.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(vec![b'x'; BYTES], alive)
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.1.now.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(alive: Arc<Alive>, door: Door) -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = http::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
            let address = listener.local_addr().unwrap();
            sender.send(address).unwrap();
            let text = move || {
                let text = Text::new(Arc::clone(&alive));
                async { Body::from(Bytes::from_owner(text)) }
            };
            let routes = Router::new().route("/metrics", get(text));
            let web = Web::new(Arc::new(MadeUp::new(1, false, 0)), address);
            http::serve_routes(listener, routes, web, door, std::future::pending()).await.unwrap();
        });
    });
    receiver.recv().unwrap()
}

fn ask(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

#[test]
fn who_reads_nothing_takes_no_more_than_its_share() {
    let (alive, door) = (Arc::new(Alive::default()), Door::open());
    let address = serve(Arc::clone(&alive), door.clone());
    let silent: Vec<TcpStream> = (0..CALLERS).map(|_| ask(address)).collect();
    // Two answers have room; the others' callers are sent away, or told so.
    until("most are sent away", || door.counts.of(Reason::Crowded) as usize >= CALLERS - 2);
    let mut answer = Vec::new();
    ask(address).read_to_end(&mut answer).unwrap();
    let head = String::from_utf8_lossy(&answer[..1000]).to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains(&format!("content-length: {BYTES}\r\n")), "{head}");
    assert!(answer.len() > BYTES && answer.ends_with(b"xx"));
    // Those that stay, as many that go, and the one that was asked for.
    let most = alive.most.load(Ordering::SeqCst);
    assert!(most <= 5, "{most} answers at a time");
    drop(silent);
}

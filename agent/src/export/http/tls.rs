//! Handshakes, on a thread of their own: whoever is connected does not wait for the arithmetic of who comes.

use std::{io, sync::Arc, thread::JoinHandle};

use rustls::ServerConfig;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle as Task,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::counts::Reason;

/// The first byte of a TLS record that begins a handshake.
const HANDSHAKE: u8 = 22;
/// What Go's server says, as Prometheus's users know it.
const PLAIN: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// The thread; ends on drop.
pub struct Handshakes {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no connection.
pub enum Failure {
    /// It came and went without a word, as probes of the port do.
    Silent,
    Rejected(Reason, String),
}

struct Aborts<T>(Task<T>);

impl<T> Drop for Aborts<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Handshakes {
    /// Starts the thread. Errors: the system refuses.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("handshakes".into()).spawn(move || {
            // Told to stop, or left alone: the end is the same.
            runtime.block_on(async { _ = stopped.await });
        })?;
        Ok(Self { runtime: handle, stop: Some(stop), thread: Some(thread) })
    }

    /// One handshake; given up when the future is dropped.
    pub async fn shake(&self, stream: TcpStream, config: Arc<ServerConfig>) -> Result<TlsStream<TcpStream>, Failure> {
        let mut task = Aborts(self.runtime.spawn(handshake(stream, config)));
        match (&mut task.0).await {
            Ok(done) => done,
            Err(error) => Err(Failure::Rejected(Reason::Handshake, error.to_string())),
        }
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has said why itself if it panicked.
            let _ = thread.join();
        }
    }
}

async fn handshake(mut stream: TcpStream, config: Arc<ServerConfig>) -> Result<TlsStream<TcpStream>, Failure> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) | Err(_) => return Err(Failure::Silent),
        Ok(_) if first[0] == HANDSHAKE => {}
        Ok(_) if first[0].is_ascii_uppercase() => {
            // Whoever does not read it knows no less.
            let _ = stream.write_all(PLAIN).await;
            let _ = stream.shutdown().await;
            return Err(Failure::Rejected(Reason::PlainHttp, "it speaks HTTP where TLS is wanted".to_owned()));
        }
        Ok(_) => return Err(Failure::Rejected(Reason::Handshake, "it does not speak TLS".to_owned())),
    }
    TlsAcceptor::from(config).accept(stream).await.map_err(|error| {
        let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let reason = match ours {
            Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
                Reason::ClientCertificate
            }
            _ => Reason::Handshake,
        };
        Failure::Rejected(reason, error.to_string())
    })
}

//! An API server of Kubernetes, as far as pods of one node go: lists and watches over HTTPS with versions, bookmarks, the
//! end of a watch, a history that is too short, tokens, and whatever answer a test wants. One thread per connection.

pub mod kubelet;
mod pod;
mod serve;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

pub use pod::Pod;

/// The node that all pods are on.
pub const NODE: &str = "node-1";

/// An answer that is not the usual one.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A status of HTTP, and seconds of `retry-after`.
    Status(u16, Option<u64>),
    /// Text that is no JSON.
    Garbage,
    /// No answer.
    Hang,
    /// The usual answer, and the connection breaks off after so many bytes of it.
    Cut(usize),
    /// The usual answer, with a pause after each piece of it.
    Slow(Duration),
    /// A list, or an event, of one pod with so many bytes.
    Huge(usize),
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Path and query.
    pub path: String,
    pub token: String,
}

/// The running server. Dropped, its threads end with their connections.
pub struct Api {
    pub address: SocketAddr,
    folder: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    tls: Arc<ServerConfig>,
}

#[derive(Default)]
struct State {
    version: u64,
    pods: BTreeMap<String, String>,
    /// Events with their versions; those up to `forgotten` are gone.
    history: VecDeque<(u64, String)>,
    forgotten: u64,
    token: String,
    /// For the next requests: of a list, of a watch.
    faults: [VecDeque<Fault>; 2],
    seen: Vec<Seen>,
    /// Watches of an earlier one end.
    era: u64,
    watches: usize,
    over: bool,
}

impl Api {
    /// Starts it on a free port of the loopback interface, with a service account's folder of its own.
    pub fn start() -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST)
    }

    /// As `start`, on a free port of this address, which its certificate is for.
    pub fn start_at(host: Ipv4Addr) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("inferscope-account-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let (tls, authority) = tls(host)?;
        std::fs::write(folder.join("ca.crt"), authority)?;
        let listener = TcpListener::bind((host, 0)).context("no port for an API server")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), tls });
        let api = Self { address, folder, shared };
        api.state().version = 100;
        api.accept("token-1");
        api.hand_out("token-1")?;
        let shared = Arc::clone(&api.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.state().over {
                    break;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve::connection(stream, &shared));
            }
        });
        Ok(api)
    }

    /// Folder with `token` and `ca.crt`.
    pub fn account(&self) -> &Path {
        &self.folder
    }

    /// From now on this token is taken and no other.
    pub fn accept(&self, token: &str) {
        self.state().token = token.to_owned();
    }

    /// Writes a token for the client to read.
    pub fn hand_out(&self, token: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.join("token"), format!("{token}\n"))?)
    }

    /// A pod is new, or is so from now on.
    pub fn put(&self, pod: &Pod) {
        let mut state = self.state();
        state.version += 1;
        let text = pod.json(state.version);
        let kind = if state.pods.insert(pod.uid.clone(), text.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        self.happened(state, kind, &text);
    }

    /// A pod is gone.
    pub fn delete(&self, pod: &Pod) {
        let mut state = self.state();
        state.version += 1;
        state.pods.remove(&pod.uid);
        let text = pod.json(state.version);
        self.happened(state, "DELETED", &text);
    }

    /// Tells all watches how far they are.
    pub fn bookmark(&self) {
        let mut state = self.state();
        // Something happened elsewhere in the cluster.
        state.version += 1;
        let text = format!(r#"{{"kind":"Pod","metadata":{{"resourceVersion":"{}"}}}}"#, state.version);
        self.happened(state, "BOOKMARK", &text);
    }

    /// Forgets what happened until now; a watch from an earlier version is told that it is too old.
    pub fn forget(&self) {
        let mut state = self.state();
        state.history.clear();
        state.forgotten = state.version;
    }

    /// Ends the watches that there are, as the server does from time to time.
    pub fn end_watches(&self) {
        self.state().era += 1;
        self.shared.changed.notify_all();
    }

    /// Answers the next lists so, one after the other.
    pub fn list_faults(&self, faults: &[Fault]) {
        self.state().faults[0].extend(faults.iter().cloned());
    }

    /// Answers the next watches so, one after the other.
    pub fn watch_faults(&self, faults: &[Fault]) {
        self.state().faults[1].extend(faults.iter().cloned());
    }

    /// Requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Watches that are open.
    pub fn watches(&self) -> usize {
        self.state().watches
    }

    fn happened(&self, mut state: MutexGuard<'_, State>, kind: &str, text: &str) {
        /// As many as a server keeps of one kind of object, about.
        const KEPT: usize = 1000;
        let version = state.version;
        state.history.push_back((version, format!("{{\"type\":\"{kind}\",\"object\":{text}}}\n")));
        if state.history.len() > KEPT {
            let gone = state.history.pop_front();
            state.forgotten = gone.map_or(state.forgotten, |(version, _)| version);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.state().over = true;
        self.end_watches();
        // The thread that accepts sees it at the next connection.
        let _ = std::net::TcpStream::connect(self.address);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The server's side of TLS, and the authority that its certificate comes from, in PEM.
fn tls(host: Ipv4Addr) -> Result<(Arc<ServerConfig>, String)> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![host.to_string()])?.signed_by(&key, &authority)?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    Ok((Arc::new(config), authority.pem()))
}

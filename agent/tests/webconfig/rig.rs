//! A server behind a web configuration, certificates of two authorities, and a client that says what became of it.

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agent::{
    export::{
        http::{self, Counts, Door, Reason},
        web::Web,
    },
    webconfig::Current,
};
use axum::{Router, routing::get};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;

use crate::made_up::MadeUp;

pub const TOKEN: &str = "hush-token-0123456789";
pub const PASSWORD: &str = "hush-password";
/// Of [`PASSWORD`], cost 4.
pub fn password_hash() -> String {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| bcrypt::hash(PASSWORD, 4).unwrap()).clone()
}

pub const SOON: Duration = Duration::from_secs(30);
const METRICS: &str = "up 1\n";

pub type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key, in PEM.
pub struct Identity {
    pub cert: String,
    pub key: String,
}

pub fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Authorities are told apart by their names before their keys.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    params.distinguished_name = named(&format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// With these names, good until the end of a year.
pub fn identity(of: &Authority, names: &[SanType], until: i32) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = named("somebody");
    params.subject_alt_names = names.to_vec();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 12, 31);
    Identity { cert: params.signed_by(&key, of).unwrap().pem(), key: key.serialize_pem() }
}

pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub const GOOD: i32 = 2090;
pub const EXPIRED: i32 = 2002;

/// A folder with a web configuration and what it names, and the server if it runs.
pub struct Rig {
    pub folder: TempDir,
    pub ours: Authority,
    pub door: Option<Door>,
    pub address: SocketAddr,
    /// Answers of /metrics.
    pub scrapes: Arc<AtomicU64>,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Rig {
    /// With `ca.crt`, `tls.crt`, `tls.key` and `token` in the folder; serves what `web.yml` says.
    pub fn serve(web_yml: &str) -> Self {
        let rig = Self {
            folder: tempfile::tempdir().unwrap(),
            ours: authority(),
            door: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            scrapes: Arc::default(),
        };
        rig.put("ca.crt", &rig.ours.pem());
        rig.put("token", &format!("{TOKEN}\n"));
        rig.renew();
        let file = rig.put("web.yml", web_yml);
        let door = Door { current: Current::open(Some(&file)).unwrap(), counts: Arc::new(Counts::default()) };
        let (sender, receiver) = std::sync::mpsc::channel();
        let (served, scrapes) = (door.clone(), Arc::clone(&rig.scrapes));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = http::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
                let address = listener.local_addr().unwrap();
                sender.send(address).unwrap();
                let web = Web::new(Arc::new(MadeUp::new(1, false, 0)), address);
                let routes = Router::new()
                    .route(
                        "/metrics",
                        get(move || async move {
                            scrapes.fetch_add(1, Ordering::Relaxed);
                            METRICS
                        }),
                    )
                    .route("/healthz", get(|| async { "ok\n" }))
                    .route("/readyz", get(|| async { "ready\n" }));
                http::serve_routes(listener, routes, web, served, std::future::pending()).await.unwrap();
            });
        });
        Self { door: Some(door), address: receiver.recv().unwrap(), ..rig }
    }

    pub fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Another certificate for the server.
    pub fn renew(&self) -> Identity {
        let new = identity(&self.ours, &[dns("localhost")], GOOD);
        self.put("tls.crt", &new.cert);
        self.put("tls.key", &new.key);
        new
    }

    pub fn door(&self) -> &Door {
        self.door.as_ref().unwrap()
    }

    pub fn rejected(&self, reason: Reason) -> u64 {
        self.door().counts.of(reason)
    }

    /// Waits until the server has counted so many: a client is through before the server is.
    pub fn wait_rejected(&self, reason: Reason, count: u64) {
        until(&format!("{reason:?} is counted {count} times"), || self.rejected(reason) == count);
    }

    /// One that trusts the rig's authority.
    pub fn client(&self) -> Arc<ClientConfig> {
        client(&self.ours, None)
    }

    /// One request on a connection of its own, in clear text.
    pub fn plain(&self, request: &str) -> Result<Answer, String> {
        exchange(TcpStream::connect(self.address).unwrap(), request)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, client: &Arc<ClientConfig>, request: &str) -> Result<Answer, String> {
        exchange(self.connect(client), request)
    }

    pub fn connect(&self, client: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(client), name).unwrap(), stream)
    }

    /// GET over TLS with an Authorization header, if one is given.
    pub fn get(&self, path: &str, authorization: Option<&str>) -> Answer {
        self.ask(&self.client(), &request("GET", path, authorization)).unwrap()
    }
}

/// A server that asks for client certificates in this way.
pub fn mutual(mode: &str, more: &str) -> Rig {
    Rig::serve(&format!(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n  client_auth_type: {mode}\n{more}"
    ))
}

pub fn client(trusts: &Authority, shows: Option<&Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusts.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match shows {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

pub fn request(method: &str, path: &str, authorization: Option<&str>) -> String {
    let header = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n")
}

pub fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn exchange(mut stream: impl std::io::Read + std::io::Write, request: &str) -> Result<Answer, String> {
    stream.write_all(request.as_bytes()).and_then(|()| stream.flush()).map_err(|error| error.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
    Ok(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// Asks again until it holds.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let ends = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < ends, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

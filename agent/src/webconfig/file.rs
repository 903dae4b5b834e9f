//! The file as text to what it asks for: Prometheus's keys, and three of our own. Every mistake with its line; values that
//! may be secrets are in no message. Reads no other file.

use std::path::{Path, PathBuf};

use hyper::header::{HeaderName, HeaderValue};

use super::{
    search::Search,
    yaml::{At, Node, parse},
};
use crate::config::Problem;

/// What a file asks for.
#[derive(Default)]
pub struct File {
    pub tls: Option<TlsKeys>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Names and bcrypt hashes.
    pub users: Vec<(String, String)>,
    pub token_file: Option<PathBuf>,
    /// SHA-256 of tokens.
    pub token_hashes: Vec<[u8; 32]>,
}

/// The section `tls_server_config`.
#[derive(Clone, Default)]
pub struct TlsKeys {
    pub cert: Option<Pem>,
    pub key: Option<Pem>,
    pub client_ca: Option<Pem>,
    pub client_auth: ClientAuth,
    pub client_sans: Vec<String>,
    /// Minor version of TLS 1, both inclusive.
    pub versions: (u8, u8),
    /// Names as of the registry of TLS; empty for the usual ones.
    pub suites: Vec<String>,
    pub curves: Vec<&'static str>,
    pub server_order: bool,
}

/// Where a certificate or a key stands.
#[derive(Clone)]
pub enum Pem {
    File(PathBuf),
    Inline(String),
}

/// Whether clients show certificates, and what these are held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    None,
    /// Any certificate is good, and none is.
    Request,
    /// Any certificate is good.
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

impl ClientAuth {
    /// Whether certificates must come from the authority.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

const TOP: &[&str] = &[
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
    "bearer_token_file",
    "bearer_token_hashes",
    "rate_limit",
];
const TLS: &[&str] = &[
    "cert_file",
    "key_file",
    "cert",
    "key",
    "client_ca_file",
    "client_ca",
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "curve_preferences",
    "prefer_server_cipher_suites",
];
const HTTP: &[&str] = &["http2", "headers"];
const CLIENT_AUTH: &[(&str, ClientAuth)] = &[
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
    // Prometheus's older name of RequireAnyClientCert.
    ("RequireClientCert", ClientAuth::RequireAny),
];
const VERSIONS: &[(&str, u8)] = &[("TLS12", 2), ("TLS13", 3)];
/// Nobody speaks the older ones here: a file that lets them be is taken for more strict than it says.
const LEAST_VERSIONS: &[(&str, u8)] = &[("TLS10", 2), ("TLS11", 2), ("TLS12", 2), ("TLS13", 3)];
/// Go's names, and those of rustls.
const CURVES: &[(&str, &str)] = &[("X25519", "X25519"), ("CurveP256", "secp256r1"), ("CurveP384", "secp384r1")];
/// Those that Prometheus lets be set, and the values of some.
const HEADERS: &[(&str, &[&str])] = &[
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// Reads the text of a file in a folder, to which its paths are relative. All problems at once, in order of line.
pub fn read(text: &str, folder: &Path) -> Result<File, Vec<Problem>> {
    let root = parse(text).map_err(|problem| vec![problem])?;
    let mut search = Search { folder, problems: Vec::new() };
    let file = search.file(&At { line: 1, node: root });
    search.problems.sort_by_key(|problem| problem.line);
    if search.problems.is_empty() { Ok(file) } else { Err(search.problems) }
}

impl Search<'_> {
    fn file(&mut self, root: &At) -> File {
        let mut file = File::default();
        for (key, at) in self.section(root, "", TOP) {
            match key {
                "tls_server_config" => file.tls = self.tls(at),
                "http_server_config" => file.headers = self.http(at),
                "basic_auth_users" => file.users = self.users(at),
                "bearer_token_file" => file.token_file = self.path(at, key),
                "bearer_token_hashes" => file.token_hashes = self.hashes(at),
                _ if at.node == Node::Null => {}
                _ => self.report(at, format!("`{key}` is not supported here: leave it out")),
            }
        }
        file
    }

    /// None where nothing is set, as in an example whose lines are all comments: no TLS, as for Prometheus.
    fn tls(&mut self, at: &At) -> Option<TlsKeys> {
        let mut keys = self.section(at, "tls_server_config", TLS);
        keys.retain(|(key, at)| !is_unset(key, &at.node));
        if keys.is_empty() {
            return None;
        }
        let mut tls = TlsKeys { versions: (2, 3), server_order: true, ..TlsKeys::default() };
        let mut stands = Vec::new();
        for (key, at) in keys {
            stands.push((key, at.line));
            match key {
                "cert_file" => tls.cert = self.path(at, key).map(Pem::File),
                "cert" => tls.cert = self.text(at, key).map(Pem::Inline),
                "key_file" => tls.key = self.path(at, key).map(Pem::File),
                "key" => tls.key = self.text(at, key).map(Pem::Inline),
                "client_ca_file" => tls.client_ca = self.path(at, key).map(Pem::File),
                "client_ca" => tls.client_ca = self.text(at, key).map(Pem::Inline),
                "client_auth_type" => tls.client_auth = self.one_of(at, key, CLIENT_AUTH).unwrap_or_default(),
                "client_allowed_sans" => tls.client_sans = self.texts(at, key),
                "min_version" => tls.versions.0 = self.one_of(at, key, LEAST_VERSIONS).unwrap_or(2),
                "max_version" => tls.versions.1 = self.one_of(at, key, VERSIONS).unwrap_or(3),
                "cipher_suites" => tls.suites = self.suites(at),
                "curve_preferences" => tls.curves = self.each_of(at, key, CURVES),
                _ => tls.server_order = self.boolean(at, key).unwrap_or(true),
            }
        }
        self.fits_itself(at, &tls, &stands);
        Some(tls)
    }

    /// The rules between keys of `tls_server_config`.
    fn fits_itself(&mut self, section: &At, tls: &TlsKeys, stands: &[(&str, usize)]) {
        let line = |key: &str| stands.iter().find(|(name, _)| *name == key).map(|(_, line)| *line);
        let mut report = |line: Option<usize>, text: &str| {
            self.problems.push(Problem { line: line.unwrap_or(section.line), text: text.to_owned() });
        };
        for (file, inline) in [("cert_file", "cert"), ("key_file", "key"), ("client_ca_file", "client_ca")] {
            if let (Some(at), Some(_)) = (line(file), line(inline)) {
                report(Some(at), &format!("`{file}` and `{inline}` are both set: take one of them"));
            }
        }
        for (name, other) in [("cert_file", "cert"), ("key_file", "key")] {
            if line(name).is_none() && line(other).is_none() {
                report(None, &format!("`tls_server_config` needs a `{name}` (or a `{other}`)"));
            }
        }
        let authority = line("client_ca_file").or(line("client_ca"));
        match (tls.client_auth, authority) {
            (ClientAuth::None, Some(at)) => report(
                Some(at),
                "an authority for client certificates without a `client_auth_type`: no certificate would be asked for",
            ),
            (mode, None) if mode.verifies() => report(
                line("client_auth_type"),
                "this `client_auth_type` needs a `client_ca_file`, which client certificates must come from",
            ),
            _ => {}
        }
        if !tls.client_sans.is_empty() && !tls.client_auth.verifies() {
            report(
                line("client_allowed_sans"),
                "`client_allowed_sans` needs a `client_auth_type` of RequireAndVerifyClientCert or \
                 VerifyClientCertIfGiven: what a certificate says that nobody verifies proves nothing",
            );
        }
        if tls.versions.0 > tls.versions.1 {
            report(line("min_version"), "`min_version` is above `max_version`");
        }
    }

    fn http(&mut self, at: &At) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        for (key, at) in self.section(at, "http_server_config", HTTP) {
            match key {
                "headers" => headers = self.headers(at),
                // HTTP/1.1 is spoken in any case, which every client of HTTP/2 takes.
                _ if at.node == Node::Null => {}
                _ => _ = self.boolean(at, key),
            }
        }
        headers
    }

    fn headers(&mut self, at: &At) -> Vec<(HeaderName, HeaderValue)> {
        let names: Vec<&str> = HEADERS.iter().map(|(name, _)| *name).collect();
        let mut headers = Vec::new();
        for (name, at) in self.section(at, "http_server_config.headers", &names) {
            let values = HEADERS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, values)| values);
            if values.is_empty() && at.node == Node::Null {
                continue;
            }
            let Some(text) = self.text(at, name) else { continue };
            if !values.is_empty() && !values.iter().any(|value| value.eq_ignore_ascii_case(&text)) {
                self.report(at, format!("`{name}` wants one of {}", values.join(", ")));
                continue;
            }
            match (name.parse::<HeaderName>(), HeaderValue::from_str(&text)) {
                (Ok(name), Ok(value)) => headers.push((name, value)),
                _ => self.report(at, format!("`{name}` holds what no header can")),
            }
        }
        headers
    }

    fn suites(&mut self, at: &At) -> Vec<String> {
        let known = super::tls::suites();
        let named: Vec<(&str, &str)> = known.iter().map(|name| (name.as_str(), name.as_str())).collect();
        self.each_of(at, "cipher_suites", &named).into_iter().map(str::to_owned).collect()
    }
}

/// Whether a key of `tls_server_config` is there and says nothing. A certificate and a key left empty are mistakes: they
/// must not be taken for no TLS.
fn is_unset(key: &str, node: &Node) -> bool {
    match node {
        Node::Null => !["cert_file", "cert", "key_file", "key"].contains(&key),
        Node::Text(text) => text.is_empty() && ["client_ca_file", "client_auth_type"].contains(&key),
        _ => false,
    }
}

#[cfg(test)]
#[path = "file_test.rs"]
mod tests;

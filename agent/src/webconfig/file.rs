//! The file as text to what it asks for: Prometheus's keys, and three of our own. Every mistake with its line; values that
//! may be secrets are in no message. Reads no other file.

use std::path::{Path, PathBuf};

use hyper::header::{HeaderName, HeaderValue};

use super::yaml::{At, Node, parse};
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
/// Go's names, and those of rustls.
pub const CURVES: &[(&str, &str)] = &[("X25519", "X25519"), ("CurveP256", "secp256r1"), ("CurveP384", "secp384r1")];
/// Those that Prometheus lets be set, and the values of some.
const HEADERS: &[(&str, &[&str])] = &[
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];
/// More of these make every wrong password a burden on the host: 2^16 rounds take seconds.
const MOST_COST: u32 = 16;
const LEAST_COST: u32 = 4;
/// More users or tokens than a file is meant for.
const MOST_ENTRIES: usize = 1000;

/// Reads the text of a file in a folder, to which its paths are relative. All problems at once, in order of line.
pub fn read(text: &str, folder: &Path) -> Result<File, Vec<Problem>> {
    let root = parse(text).map_err(|problem| vec![problem])?;
    let mut search = Search { folder, problems: Vec::new() };
    let file = search.file(&At { line: 1, node: root });
    search.problems.sort_by_key(|problem| problem.line);
    if search.problems.is_empty() { Ok(file) } else { Err(search.problems) }
}

struct Search<'a> {
    folder: &'a Path,
    problems: Vec<Problem>,
}

impl Search<'_> {
    fn file(&mut self, root: &At) -> File {
        let mut file = File::default();
        for (key, at) in self.section(root, "", TOP) {
            match key {
                "tls_server_config" => file.tls = Some(self.tls(at)),
                "http_server_config" => file.headers = self.http(at),
                "basic_auth_users" => file.users = self.users(at),
                "bearer_token_file" => file.token_file = self.path(at, key),
                "bearer_token_hashes" => file.token_hashes = self.hashes(at),
                _ => self.report(at, format!("`{key}` is not supported here: leave it out")),
            }
        }
        file
    }

    fn tls(&mut self, at: &At) -> TlsKeys {
        let mut tls = TlsKeys { versions: (2, 3), server_order: true, ..TlsKeys::default() };
        let mut stands = Vec::new();
        for (key, at) in self.section(at, "tls_server_config", TLS) {
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
                "min_version" => tls.versions.0 = self.one_of(at, key, VERSIONS).unwrap_or(2),
                "max_version" => tls.versions.1 = self.one_of(at, key, VERSIONS).unwrap_or(3),
                "cipher_suites" => tls.suites = self.suites(at),
                "curve_preferences" => tls.curves = self.each_of(at, key, CURVES),
                _ => tls.server_order = self.boolean(at, key).unwrap_or(true),
            }
        }
        self.fits_itself(at, &tls, &stands);
        tls
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
                _ => _ = self.boolean(at, key),
            }
        }
        headers
    }

    fn headers(&mut self, at: &At) -> Vec<(HeaderName, HeaderValue)> {
        let names: Vec<&str> = HEADERS.iter().map(|(name, _)| *name).collect();
        let mut headers = Vec::new();
        for (name, at) in self.section(at, "http_server_config.headers", &names) {
            let Some(text) = self.text(at, name) else { continue };
            let values = HEADERS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, values)| values);
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

    fn users(&mut self, at: &At) -> Vec<(String, String)> {
        let Some(entries) = self.map(at, "basic_auth_users") else { return Vec::new() };
        let mut users: Vec<(String, String)> = Vec::new();
        for (name, at) in entries {
            let hash = match &at.node {
                Node::Text(hash) if is_bcrypt(hash) => hash.clone(),
                _ => {
                    let wants = format!("a bcrypt hash of cost {LEAST_COST} to {MOST_COST} (htpasswd -nBC 10 NAME)");
                    self.report(at, format!("`basic_auth_users` wants {wants}"));
                    continue;
                }
            };
            if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
                self.report(
                    at,
                    "a name in `basic_auth_users` is empty, or holds a colon or a control character".into(),
                );
            } else if users.iter().any(|(known, _)| known == name) {
                self.report(at, format!("the user `{name}` stands here twice"));
            } else {
                users.push((name.clone(), hash));
            }
        }
        if users.len() > MOST_ENTRIES {
            self.report(at, format!("`basic_auth_users` has more than {MOST_ENTRIES} users"));
        }
        users
    }

    fn hashes(&mut self, at: &At) -> Vec<[u8; 32]> {
        const WANTS: &str = "`bearer_token_hashes` wants a list of SHA-256 hashes, 64 hexadecimal digits each \
            (printf %s \"$TOKEN\" | sha256sum)";
        let Node::List(list) = &at.node else {
            self.report(at, WANTS.to_owned());
            return Vec::new();
        };
        if list.is_empty() || list.len() > MOST_ENTRIES {
            self.report(at, format!("`bearer_token_hashes` wants 1 to {MOST_ENTRIES} hashes"));
        }
        let mut hashes = Vec::new();
        for item in list {
            match &item.node {
                Node::Text(text) if let Some(hash) = from_hex(text) => hashes.push(hash),
                _ => self.report(item, WANTS.to_owned()),
            }
        }
        hashes
    }

    fn suites(&mut self, at: &At) -> Vec<String> {
        let known = super::tls::suites();
        let named: Vec<(&str, &str)> = known.iter().map(|name| (name.as_str(), name.as_str())).collect();
        self.each_of(at, "cipher_suites", &named).into_iter().map(str::to_owned).collect()
    }

    /// The known keys of a section, each once.
    fn section<'n>(&mut self, at: &'n At, path: &str, known: &[&'static str]) -> Vec<(&'static str, &'n At)> {
        let Some(entries) = self.map(at, if path.is_empty() { "the file" } else { path }) else { return Vec::new() };
        let mut found: Vec<(&'static str, &'n At)> = Vec::new();
        for (key, at) in entries {
            let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match known.iter().find(|name| *name == key) {
                Some(name) if found.iter().any(|(seen, _)| seen == name) => {
                    self.report(at, format!("`{full}` stands here twice"));
                }
                Some(name) => found.push((name, at)),
                None => {
                    let advice = match nearest(key, known) {
                        Some(name) => format!("did you mean `{name}`?"),
                        None => format!("known here: {}", known.join(", ")),
                    };
                    self.report(at, format!("unknown key `{full}`; {advice}"));
                }
            }
        }
        found
    }

    fn map<'n>(&mut self, at: &'n At, name: &str) -> Option<&'n [(String, At)]> {
        match &at.node {
            Node::Map(map) => Some(map),
            Node::Null => Some(&[]),
            other => {
                self.report(at, format!("`{name}` wants a section, got {}", other.kind()));
                None
            }
        }
    }

    fn text(&mut self, at: &At, key: &str) -> Option<String> {
        match &at.node {
            Node::Text(text) | Node::Number(text) if !text.is_empty() => Some(text.clone()),
            other => {
                self.report(at, format!("`{key}` wants a text, not empty, got {}", other.kind()));
                None
            }
        }
    }

    fn path(&mut self, at: &At, key: &str) -> Option<PathBuf> {
        self.text(at, key).map(|path| self.folder.join(path))
    }

    fn boolean(&mut self, at: &At, key: &str) -> Option<bool> {
        match at.node {
            Node::Bool(value) => Some(value),
            ref other => {
                self.report(at, format!("`{key}` wants true or false, got {}", other.kind()));
                None
            }
        }
    }

    fn texts(&mut self, at: &At, key: &str) -> Vec<String> {
        match &at.node {
            Node::List(list) if !list.is_empty() => list.iter().filter_map(|item| self.text(item, key)).collect(),
            other => {
                self.report(at, format!("`{key}` wants a list of texts, not empty, got {}", other.kind()));
                Vec::new()
            }
        }
    }

    fn one_of<T: Copy>(&mut self, at: &At, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(at, key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.report(at, format!("`{key}` wants one of {}, got `{text}`", known.join(", ")));
        }
        found
    }

    fn each_of<T: Copy>(&mut self, at: &At, key: &str, words: &[(&str, T)]) -> Vec<T> {
        if !matches!(at.node, Node::List(_)) {
            self.texts(at, key);
            return Vec::new();
        }
        let Node::List(list) = &at.node else { return Vec::new() };
        list.iter().filter_map(|item| self.one_of(item, key, words)).collect()
    }

    fn report(&mut self, at: &At, text: String) {
        self.problems.push(Problem { line: at.line.max(1), text });
    }
}

/// `$2a$`, `$2b$`, `$2x$` or `$2y$`, a cost that is bearable, 22 characters of salt and 31 of hash.
fn is_bcrypt(hash: &str) -> bool {
    let parts: Vec<&str> = hash.split('$').collect();
    let ["", "2a" | "2b" | "2x" | "2y", cost, rest] = parts[..] else { return false };
    let cost_fits = cost.len() == 2 && cost.parse::<u32>().is_ok_and(|cost| (LEAST_COST..=MOST_COST).contains(&cost));
    cost_fits && rest.len() == 53 && hash.parse::<bcrypt::HashParts>().is_ok()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let alike = known.iter().map(|name| (strsim::jaro_winkler(&name.to_lowercase(), &key.to_lowercase()), *name));
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score >= 0.8).map(|(_, name)| name)
}

#[cfg(test)]
#[path = "file_test.rs"]
mod tests;

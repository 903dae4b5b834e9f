//! Where OTLP goes, and how. The values of headers are keys of somebody's: nothing shows them but the one method that
//! hands them to the transport.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize, Serializer};

use super::duration_text;

/// The OTLP exporter; off without an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// The collector; over HTTP `/v1/traces` and the like are put behind it.
    pub endpoint: Option<String>,
    pub protocol: OtlpProtocol,
    pub traces: bool,
    pub metrics: bool,
    pub logs: bool,
    pub headers: Headers,
    /// How often metrics are sent.
    #[serde(with = "duration_text")]
    pub interval: Duration,
    /// For one attempt, from connecting to the end of the answer.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// Requests that may wait for being encoded.
    pub queue: u32,
    pub gzip: bool,
    /// Certificates in PEM that the collector's must come from; those of the system if not set.
    pub ca_file: Option<PathBuf>,
    /// Certificate and private key in PEM to show to the collector.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtlpProtocol {
    #[default]
    #[serde(rename = "http/protobuf")]
    Http,
    #[serde(rename = "grpc")]
    Grpc,
}

/// Header names and values of every export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(BTreeMap<String, Secret>);

#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    /// Not itself: what a reload compares is whether it is another one.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        serializer.collect_str(&format_args!("{:016x}", hasher.finish()))
    }
}

impl Headers {
    /// Names and values. The values must not be shown.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.0.as_str()))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Headers {
    fn from(headers: [(&str, &str); N]) -> Self {
        Self(headers.into_iter().map(|(name, value)| (name.to_owned(), Secret(value.to_owned()))).collect())
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Otlp {
            endpoint: None,
            protocol: OtlpProtocol::default(),
            traces: true,
            metrics: true,
            logs: true,
            headers: Headers::default(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            queue: 8192,
            gzip: false,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

/// Whether this is the URL of a collector: `http` or `https`, a host, and neither a password nor a query, which would
/// show in messages.
pub fn is_endpoint(text: &str) -> bool {
    let Ok(uri) = text.parse::<hyper::Uri>() else { return false };
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@')) && uri.query().is_none();
    matches!(uri.scheme_str(), Some("http" | "https")) && plain && uri.host().is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_told_from_other_texts() {
        for good in ["http://127.0.0.1:4318", "https://otlp.example.com/v1/otlp", "http://[::1]:4317/"] {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in ["", "localhost:4318", "ftp://x", "http://", "http://u:p@x", "https://x?key=1", "/v1/traces"] {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }

    #[test]
    fn values_of_headers_are_not_shown() {
        let otlp = Otlp { headers: Headers::from([("x-key", "hush")]), ..Otlp::default() };
        let shown = format!("{otlp:?} {:#?} {}", otlp.headers, serde_json::to_string(&otlp).unwrap());
        assert!(shown.contains("x-key") && !shown.contains("hush"), "{shown}");
        let other = Headers::from([("x-key", "hash")]);
        assert_ne!(serde_json::to_string(&other).unwrap(), serde_json::to_string(&otlp.headers).unwrap());
    }
}

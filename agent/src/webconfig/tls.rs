//! The server's side of TLS from bytes that were read: certificate, key, what clients must show. Opens no file.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rustls::{
    RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    file::{ClientAuth, TlsKeys},
    peers::Peers,
};

/// What a file's TLS has become.
#[derive(Clone, Debug)]
pub struct Tls {
    pub config: Arc<ServerConfig>,
    /// Nobody gets in without a certificate of the authority.
    pub verifies_all: bool,
    /// When the certificate that is shown ends, in seconds of Unix time; of a chain the first to end.
    pub expires_unix_s: i64,
    /// When that same certificate began.
    pub begins_unix_s: i64,
}

/// Bytes of the files that [`TlsKeys`] names, or of what stands inline.
pub struct Material<'a> {
    pub cert: &'a [u8],
    pub key: &'a [u8],
    pub client_ca: Option<&'a [u8]>,
}

/// Names of the suites that can be asked for, as Go and the registry of TLS call them.
pub fn suites() -> Vec<String> {
    ring::ALL_CIPHER_SUITES.iter().map(suite_name).collect()
}

fn suite_name(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
}

/// Errors: what does not fit together, by the key that is to blame.
pub fn server(keys: &TlsKeys, material: &Material<'_>) -> Result<Tls> {
    let provider = Arc::new(provider(keys));
    let chain = certificates(material.cert, "cert_file")?;
    let (expires_unix_s, begins_unix_s) = validity(&chain)?;
    // What the library says of a key is not repeated: it may hold some of it.
    let key = PrivateKeyDer::from_pem_slice(material.key)
        .map_err(|_| anyhow!("tls_server_config.key_file: no private key in PEM is there"))?;
    provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|_| anyhow!("tls_server_config.key_file: its private key is of no kind that TLS takes"))?;
    let versions: Vec<&'static SupportedProtocolVersion> = [(2, &TLS12), (3, &TLS13)]
        .into_iter()
        .filter(|(minor, _)| (keys.versions.0..=keys.versions.1).contains(minor))
        .map(|(_, version)| version)
        .collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .context("tls_server_config: no cipher suite is left for the versions of TLS that are wanted")?;
    let builder = match keys.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        mode => builder.with_client_cert_verifier(Arc::new(peers(keys, mode, material, &provider)?)),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .context("tls_server_config: cert_file and key_file do not fit each other")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = keys.server_order && !keys.suites.is_empty();
    // Whoever comes back shows its certificate again: it may have ended since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let verifies_all = keys.client_auth == ClientAuth::RequireAndVerify;
    Ok(Tls { config: Arc::new(config), verifies_all, expires_unix_s, begins_unix_s })
}

/// As in Go, a list of suites is about TLS 1.2: those of 1.3 are all good and stay.
fn provider(keys: &TlsKeys) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if !keys.suites.is_empty() {
        let named = |suite: &SupportedCipherSuite| keys.suites.iter().position(|name| *name == suite_name(suite));
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || named(suite).is_some());
        provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), named(suite)));
    }
    if !keys.curves.is_empty() {
        let name = |group: &dyn rustls::crypto::SupportedKxGroup| {
            keys.curves.iter().position(|curve| group.name().as_str().is_some_and(|name| name == *curve))
        };
        provider.kx_groups.retain(|group| name(*group).is_some());
        provider.kx_groups.sort_by_key(|group| name(*group));
    }
    provider
}

fn peers(keys: &TlsKeys, mode: ClientAuth, material: &Material<'_>, provider: &Arc<CryptoProvider>) -> Result<Peers> {
    let algorithms = provider.signature_verification_algorithms;
    let mut authority = None;
    if let Some(pem) = material.client_ca.filter(|_| mode.verifies()) {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, "client_ca_file")? {
            roots.add(certificate).context("tls_server_config.client_ca_file: it holds what is no certificate")?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        authority = Some(verifier.build().context("tls_server_config.client_ca_file: it cannot be used")?);
    }
    Ok(Peers { mode, authority, sans: keys.client_sans.clone(), algorithms })
}

fn certificates(pem: &[u8], key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|_| anyhow!("tls_server_config.{key}: no certificates in PEM can be read from it"))?;
    if read.is_empty() {
        bail!("tls_server_config.{key}: no certificate in PEM is there");
    }
    Ok(read)
}

/// End and begin of the certificate that ends first.
fn validity(chain: &[CertificateDer<'_>]) -> Result<(i64, i64)> {
    let all = chain.iter().map(|der| {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|_| anyhow!("tls_server_config.cert_file: it holds what is no certificate"))?;
        let validity = certificate.validity();
        Ok((validity.not_after.timestamp(), validity.not_before.timestamp()))
    });
    all.collect::<Result<Vec<_>>>().map(|all| all.into_iter().min().unwrap_or_default())
}

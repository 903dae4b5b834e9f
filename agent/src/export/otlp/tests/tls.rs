//! A collector behind TLS: trusted by the given file alone, and shown the given certificate.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A collector that shows a certificate of this authority and wants one of it.
fn collector(authority: &Authority, protocol: OtlpProtocol) -> Collector {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, authority).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let wants = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(wants)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = vec![if protocol == OtlpProtocol::Grpc { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Collector::start_with(protocol, &[Answer::Success], Some(Arc::new(config)))
}

fn file(dir: &TempDir, name: &str, text: &str) -> Option<PathBuf> {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    Some(path)
}

#[test]
fn both_sides_show_who_they_are() {
    let (dir, ours, other) = (tempfile::tempdir().unwrap(), authority(), authority());
    let key = KeyPair::generate().unwrap();
    let shown = CertificateParams::new(vec!["agent".into()]).unwrap().signed_by(&key, &ours).unwrap();
    let (ca_file, other_file) = (file(&dir, "ca.pem", &ours.pem()), file(&dir, "other.pem", &other.pem()));
    let (cert_file, key_file) = (file(&dir, "cert.pem", &shown.pem()), file(&dir, "key.pem", &key.serialize_pem()));
    let once = Pace { give_up: Duration::ZERO, ..EAGER };
    for protocol in [OtlpProtocol::Http, OtlpProtocol::Grpc] {
        let collector = collector(&ours, protocol);
        let whole = Otlp {
            ca_file: ca_file.clone(),
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
            ..only_traces(format!("https://{}", collector.address), protocol)
        };
        let without = Otlp { cert_file: None, key_file: None, ..whole.clone() };
        let mistrusted = Otlp { ca_file: other_file.clone(), ..whole.clone() };
        for (config, delivered) in [(&whole, 1), (&without, 0), (&mistrusted, 0)] {
            let started = start(config, once);
            started.send((0..BATCH).map(chat));
            (0..delivered).for_each(|_| drop(collector.next()));
            let counts = started.end();
            let wants = ([delivered, 0, 0, 1 - delivered, 0], [0, 0, (1 - delivered) * BATCH]);
            assert_eq!((exports(&counts, Signal::Traces), losses(&counts)), wants, "{protocol:?}");
        }
        assert_eq!(collector.rest().len(), 0, "{protocol:?}");
    }
}

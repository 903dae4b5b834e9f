//! Whom a connection to the collector trusts, and as whom it shows itself. Reads the files once, at the start.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::config::Otlp;

/// The client's side of TLS; a connection that is not `secure` needs no roots. Errors: files that cannot be read or used.
pub fn client(config: &Otlp, secure: bool) -> Result<ClientConfig> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?
        .with_root_certificates(roots(config, secure)?);
    match (&config.cert_file, &config.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key_file)) => {
            let key = PrivateKeyDer::from_pem_file(key_file).with_context(|| {
                format!("otlp.key_file: no private key in PEM can be read from {}", key_file.display())
            })?;
            let chain = certificates(certificate, "otlp.cert_file")?;
            builder.with_client_auth_cert(chain, key).context("otlp.cert_file and otlp.key_file do not fit each other")
        }
        _ => bail!("otlp.cert_file and otlp.key_file belong together: set both, or none"),
    }
}

/// Those of the file alone, else those of the system.
fn roots(config: &Otlp, secure: bool) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca_file {
        for certificate in certificates(file, "otlp.ca_file")? {
            let added = roots.add(certificate);
            added.with_context(|| format!("otlp.ca_file: {} holds what is no certificate", file.display()))?;
        }
    } else if secure {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() && secure {
        bail!("this system has no root certificates: install ca-certificates, or name the collector's in otlp.ca_file");
    }
    Ok(roots)
}

fn certificates(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let read: Vec<_> = read.with_context(|| format!("{key}: cannot read certificates from {}", file.display()))?;
    if read.is_empty() {
        bail!("{key}: no certificate in PEM in {}", file.display());
    }
    Ok(read)
}

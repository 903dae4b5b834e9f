//! Reads the file and those that it names, all into memory, and makes rules of what was read. What was read has a mark by
//! which a change is seen, whatever clocks and inodes say.

use std::{
    fs::File as OpenFile,
    io::Read as _,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    Credentials, Rules, WebConfigError,
    credentials::tokens,
    file::{File, Pem, read},
    tls::{self, Material},
};

/// Longer than any of these files is.
const MOST_BYTES: u64 = 1 << 20;

/// SHA-256 of all that was read, errors of reading included.
pub type Mark = [u8; 32];

/// What was read.
pub struct Gathered {
    pub mark: Mark,
    path: PathBuf,
    file: Result<File, WebConfigError>,
    parts: Parts,
}

/// By key; None if the key is not set.
#[derive(Default)]
struct Parts {
    cert: Part,
    key: Part,
    client_ca: Part,
    tokens: Part,
}

type Part = Option<Result<Vec<u8>, String>>;

/// Reads everything. What cannot be read is told by [`Gathered::rules`].
pub fn gather(path: &Path) -> Gathered {
    let mut hasher = Sha256::new();
    let mut mark = |bytes: &Result<Vec<u8>, String>| {
        let (tag, bytes) = match bytes {
            Ok(bytes) => (1, bytes.as_slice()),
            Err(error) => (0, error.as_bytes()),
        };
        hasher.update([tag]);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let bytes = contents(path);
    mark(&bytes);
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = bytes
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is no text".to_owned()))
        .map_err(|reason| WebConfigError::Read { path: path.to_owned(), reason })
        .and_then(|text| {
            read(&text, folder).map_err(|problems| WebConfigError::Invalid { path: path.to_owned(), problems })
        });
    let mut parts = Parts::default();
    if let Ok(file) = &file {
        let mut part = |named: Option<&Path>| {
            let bytes = contents(named?);
            mark(&bytes);
            Some(bytes)
        };
        let mut pem = |pem: Option<&Pem>| match pem {
            Some(Pem::Inline(text)) => Some(Ok(text.clone().into_bytes())),
            Some(Pem::File(path)) => part(Some(path)),
            None => None,
        };
        if let Some(tls) = &file.tls {
            parts.cert = pem(tls.cert.as_ref());
            parts.key = pem(tls.key.as_ref());
            parts.client_ca = pem(tls.client_ca.as_ref());
        }
        parts.tokens = part(file.token_file.as_deref());
    }
    Gathered { mark: hasher.finalize().into(), path: path.to_owned(), file, parts }
}

impl Gathered {
    /// What was read as rules of this generation. Errors: what is wrong, by file and key, and nothing of any secret.
    pub fn rules(self, generation: u64) -> Result<Rules, WebConfigError> {
        let Self { path, file, parts, .. } = self;
        let file = file?;
        let unusable = |reason: String| WebConfigError::Unusable { path: path.clone(), reason };
        let wanted = |part: &'_ Part, key: &str| -> Result<Vec<u8>, WebConfigError> {
            match part {
                Some(Ok(bytes)) => Ok(bytes.clone()),
                Some(Err(reason)) => Err(unusable(format!("{key}: {reason}"))),
                None => Ok(Vec::new()),
            }
        };
        let tls = match &file.tls {
            Some(keys) => {
                let cert = wanted(&parts.cert, "tls_server_config.cert_file")?;
                let key = wanted(&parts.key, "tls_server_config.key_file")?;
                let client_ca = wanted(&parts.client_ca, "tls_server_config.client_ca_file")?;
                let client_ca = parts.client_ca.is_some().then_some(client_ca.as_slice());
                let made = tls::server(keys, &Material { cert: &cert, key: &key, client_ca });
                Some(made.map_err(|error| unusable(crate::commands::in_words(&error)))?)
            }
            None => None,
        };
        let mut hashes = file.token_hashes;
        if parts.tokens.is_some() {
            let bytes = wanted(&parts.tokens, "bearer_token_file")?;
            hashes.extend(tokens(&bytes).map_err(|reason| unusable(format!("bearer_token_file: {reason}")))?);
        }
        let credentials = Credentials::new(&file.users, hashes)
            .map_err(|_| unusable("the system has no random numbers".to_owned()))?;
        Ok(Rules { tls, headers: file.headers, credentials, generation })
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("cannot read {}: it is no regular file", path.display()));
    }
    let mut bytes = Vec::new();
    OpenFile::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("cannot read {}: it is longer than {MOST_BYTES} bytes", path.display()));
    }
    Ok(bytes)
}

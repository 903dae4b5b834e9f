//! Changes of the files: which are seen, which are taken over, and what is said of those that are not.

use super::*;

const TOKENS: &str = "0123456789abcdef\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// With a certificate under tls.crt and tls.key.
    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        self.put("tls.crt", &made.cert.pem());
        self.put("tls.key", &made.signing_key.serialize_pem());
    }
}

const TLS: &str = "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n";

#[test]
fn a_change_is_seen_whatever_its_time_and_length() {
    let folder = Folder::new();
    let file = folder.put("web.yml", "bearer_token_file: token\n");
    let token = folder.put("token", TOKENS);
    let current = Current::open(Some(&file)).unwrap();
    let times = std::fs::metadata(&token).unwrap().modified().unwrap();
    assert_eq!((current.look(), current.rules().generation), (Look::Same, 1));
    folder.put("token", "fedcba9876543210\n");
    std::fs::File::options().write(true).open(&token).unwrap().set_modified(times).unwrap();
    assert_eq!((current.look(), current.look(), current.rules().generation), (Look::Taken, Look::Same, 2));
    assert_eq!((current.counts(), current.is_stale()), ((1, 0), false));
}

#[test]
fn a_wrong_file_keeps_the_former_and_is_counted_once() {
    let folder = Folder::new();
    let file = folder.put("web.yml", TLS);
    folder.renew();
    let current = Current::open(Some(&file)).unwrap();
    let former = current.rules();
    for (name, text) in [("tls.crt", "hush"), ("web.yml", "tls_server_config: {"), ("web.yml", "x: y")] {
        folder.put(name, text);
        assert_eq!((current.look(), current.look()), (Look::Refused, Look::Same), "{name}");
        assert!(current.is_stale() && Arc::ptr_eq(&former, &current.rules()));
    }
    std::fs::remove_file(folder.0.path().join("tls.key")).unwrap();
    folder.put("web.yml", TLS);
    assert_eq!((current.look(), current.counts()), (Look::Refused, (0, 4)));
    folder.renew();
    assert_eq!((current.look(), current.counts(), current.is_stale()), (Look::Taken, (1, 4), false));
}

#[test]
fn what_is_locked_is_opened_by_a_start_only() {
    let folder = Folder::new();
    folder.renew();
    folder.put("token", TOKENS);
    let ca = "{cert_file: tls.crt, key_file: tls.key, client_ca_file: tls.crt, client_auth_type: RequireAndVerifyClientCert}";
    for (before, after) in [
        ("bearer_token_file: token\n".to_owned(), String::new()),
        (TLS.to_owned(), String::new()),
        (TLS.to_owned(), "tls_server_config:\n  # cert_file: tls.crt\n".to_owned()),
        (TLS.to_owned(), "tls_server_config: {}\n".to_owned()),
        ("bearer_token_file: token\n".to_owned(), "basic_auth_users:\n".to_owned()),
        (String::new(), TLS.to_owned()),
        (format!("tls_server_config: {ca}\n"), TLS.to_owned()),
        (format!("{TLS}bearer_token_file: token\n"), TLS.to_owned()),
    ] {
        let file = folder.put("web.yml", &before);
        let current = Current::open(Some(&file)).unwrap();
        folder.put("web.yml", &after);
        assert_eq!(current.look(), Look::Refused, "{before} to {after}");
        folder.put("web.yml", &before);
        assert_eq!(current.look(), Look::Taken, "{before} again");
    }
    let file = folder.put("web.yml", TLS);
    let current = Current::open(Some(&file)).unwrap();
    folder.put("web.yml", &format!("{TLS}bearer_token_file: token\n"));
    assert_eq!((current.look(), current.rules().credentials.is_some()), (Look::Taken, true));
}

#[test]
fn errors_name_the_file_and_the_key_and_nothing_secret() {
    let folder = Folder::new();
    folder.renew();
    for (name, text, says) in [
        ("tls.key", "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n", "tls_server_config.key_file"),
        ("tls.key", "hush", "tls_server_config.key_file: no private key in PEM"),
        ("tls.crt", "hush", "tls_server_config.cert_file: no certificate in PEM"),
        ("token", "hush", "bearer_token_file: line 1"),
    ] {
        folder.renew();
        folder.put("token", TOKENS);
        let file = folder.put("web.yml", &format!("{TLS}bearer_token_file: token\n"));
        Current::open(Some(&file)).unwrap();
        folder.put(name, text);
        let error = Current::open(Some(&file)).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("web.yml") && said.contains(says) && !said.contains("hush"), "{said}");
    }
    folder.renew();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    folder.put("tls.key", &other.signing_key.serialize_pem());
    let error = Current::open(Some(&folder.put("web.yml", TLS))).unwrap_err().to_string();
    assert!(error.contains("do not fit each other"), "{error}");
    let pipe = folder.0.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    assert!(Current::open(Some(&pipe)).unwrap_err().to_string().contains("no regular file"));
    assert!(Current::open(Some(Path::new("/nonexistent.yml"))).unwrap_err().to_string().contains("/nonexistent.yml"));
}

#[test]
fn the_end_of_the_certificate_is_known() {
    let folder = Folder::new();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2031, 2, 3);
    let key = rcgen::KeyPair::generate().unwrap();
    folder.put("tls.crt", &params.self_signed(&key).unwrap().pem());
    folder.put("tls.key", &key.serialize_pem());
    let current = Current::open(Some(&folder.put("web.yml", TLS))).unwrap();
    let tls = current.rules().tls.clone().unwrap();
    assert_eq!(tls.expires_unix_s, 1_927_843_200);
    assert!(tls.begins_unix_s < tls.expires_unix_s);
}

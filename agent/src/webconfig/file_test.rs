//! Every key of the file, and every mistake that a person makes with it.

use super::*;

const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

fn whole() -> String {
    format!(
        "tls_server_config:
  cert_file: tls/tls.crt
  key_file: /keys/tls.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [prometheus, 10.0.0.1]
  min_version: TLS13
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  curve_preferences: [CurveP256, X25519]
  prefer_server_cipher_suites: false
http_server_config:
  http2: true
  headers:
    Strict-Transport-Security: max-age=31536000
    X-XSS-Protection: 0
    X-Frame-Options: DENY
basic_auth_users:
  ann: {HASH}
bearer_token_file: token
bearer_token_hashes:
  - {}
",
        "0F".repeat(32)
    )
}

#[test]
fn every_key_is_read() {
    let file = read(&whole(), Path::new("/etc/x")).unwrap_or_else(|problems| panic!("{problems:?}"));
    let tls = file.tls.unwrap();
    assert!(matches!(&tls.cert, Some(Pem::File(path)) if path == Path::new("/etc/x/tls/tls.crt")));
    assert!(matches!(&tls.key, Some(Pem::File(path)) if path == Path::new("/keys/tls.key")));
    assert_eq!((tls.client_auth, tls.versions, tls.server_order), (ClientAuth::RequireAndVerify, (3, 3), false));
    assert_eq!((tls.client_sans.len(), tls.suites.len()), (2, 2));
    assert_eq!(tls.curves, ["secp256r1", "X25519"]);
    let headers: Vec<_> =
        file.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    assert_eq!(
        headers,
        ["strict-transport-security: max-age=31536000", "x-xss-protection: 0", "x-frame-options: DENY"]
    );
    assert_eq!(file.users, [("ann".to_owned(), HASH.to_owned())]);
    assert_eq!(file.token_file, Some("/etc/x/token".into()));
    assert_eq!(file.token_hashes, [[15; 32]]);
}

#[test]
fn nothing_is_needed() {
    for text in ["", "# all as it is\n", "tls_server_config: {cert: a, key: b}\n", "basic_auth_users:\n"] {
        assert!(read(text, Path::new("/")).is_ok(), "{text}");
    }
}

/// Prometheus takes these, and so do examples whose lines are all comments.
#[test]
fn what_is_left_empty_is_not_set() {
    for empty in ["tls_server_config:", "tls_server_config: {}", "tls_server_config:\n  # cert_file: a\n  min_version:"]
    {
        for beside in ["", "http_server_config:\n  http2:\n  headers:\n    X-XSS-Protection:\n", "rate_limit:\n"] {
            let text = format!("{empty}\nbasic_auth_users:\n  ann: {HASH}\n{beside}");
            let file = read(&text, Path::new("/")).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
            assert!(file.tls.is_none() && file.users.len() == 1, "{text}");
        }
    }
    for key in TLS.iter().filter(|key| !["cert_file", "cert", "key_file", "key"].contains(key)) {
        let text = format!("tls_server_config:\n  cert: a\n  key: b\n  {key}:\n");
        let file = read(&text, Path::new("/")).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        let tls = file.tls.unwrap();
        assert_eq!((tls.client_auth, tls.versions, tls.server_order), (ClientAuth::None, (2, 3), true), "{text}");
        assert!(tls.client_ca.is_none() && tls.suites.is_empty() && tls.curves.is_empty(), "{text}");
    }
    let text = "tls_server_config: {cert: a, key: b, client_ca_file: '', client_auth_type: \"\"}";
    let tls = read(text, Path::new("/")).unwrap_or_else(|problems| panic!("{problems:?}")).tls.unwrap();
    assert!(tls.client_ca.is_none() && tls.client_auth == ClientAuth::None);
}

#[test]
fn versions_that_nobody_speaks_are_left_out() {
    for (word, least) in [("TLS10", 2), ("TLS11", 2), ("TLS12", 2), ("TLS13", 3)] {
        let text = format!("tls_server_config: {{cert: a, key: b, min_version: {word}}}");
        let file = read(&text, Path::new("/")).unwrap_or_else(|problems| panic!("{word}: {problems:?}"));
        assert_eq!(file.tls.unwrap().versions, (least, 3), "{word}");
    }
}

#[test]
fn every_way_of_asking_for_certificates_is_known() {
    for (word, mode) in CLIENT_AUTH {
        let ca = if *mode == ClientAuth::None { "" } else { ", client_ca: x" };
        let text = format!("tls_server_config: {{cert: a, key: b, client_auth_type: {word}{ca}}}");
        let file = read(&text, Path::new("/")).unwrap_or_else(|problems| panic!("{word}: {problems:?}"));
        assert_eq!(file.tls.unwrap().client_auth, *mode);
    }
}

/// Text, line, and what is said of it.
const WRONG: &[(&str, usize, &str)] = &[
    ("a: [\n", 1, "this is no YAML"),
    ("- a\n", 1, "wants a section, got a list"),
    ("tls_config: {}\n", 1, "unknown key `tls_config`; did you mean `tls_server_config`?"),
    ("\nbearer_token: x\n", 2, "did you mean `bearer_token_file`?"),
    ("x: 1\n", 1, "unknown key `x`; known here: tls_server_config"),
    ("rate_limit: {burst: 1}\n", 1, "`rate_limit` is not supported here"),
    ("tls_server_config: yes it is\n", 1, "`tls_server_config` wants a section, got a text"),
    ("tls_server_config:\n  cert_file: a\n  keyfile: b\n", 3, "did you mean `key_file`?"),
    ("tls_server_config:\n  cert_file: a\n", 1, "needs a `key_file`"),
    ("tls_server_config:\n  key_file: a\n", 1, "needs a `cert_file`"),
    // What was to be filled in and is not must not be taken for no TLS.
    ("tls_server_config:\n  cert_file:\n  key_file:\n", 2, "`cert_file` wants a text, not empty, got nothing"),
    ("tls_server_config:\n  cert_file: ''\n  key_file: ''\n", 3, "`key_file` wants a text, not empty"),
    ("tls_server_config:\n  min_version: TLS12\n", 1, "needs a `cert_file`"),
    (
        "tls_server_config:\n  cert: a\n  key: b\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file:\n",
        4,
        "needs a `client_ca_file`",
    ),
    (
        "tls_server_config:\n  cert: a\n  key: b\n  client_auth_type:\n  client_ca: c\n",
        5,
        "without a `client_auth_type`",
    ),
    ("tls_server_config:\n  cert: a\n  key: b\n  min_version: ''\n", 4, "`min_version` wants a text, not empty"),
    ("tls_server_config:\n  cert: a\n  key: b\n  cert_file: c\n", 4, "`cert_file` and `cert` are both set"),
    ("tls_server_config:\n  cert: a\n  key: b\n  client_ca: c\n", 4, "without a `client_auth_type`"),
    (
        "tls_server_config:\n  cert: a\n  key: b\n  client_auth_type: RequireAndVerifyClientCert\n",
        4,
        "needs a `client_ca_file`",
    ),
    (
        "tls_server_config:\n  cert: a\n  key: b\n  client_auth_type: Maybe\n",
        4,
        "wants one of NoClientCert, RequestClientCert",
    ),
    (
        "tls_server_config:\n  cert: a\n  key: b\n  client_auth_type: RequestClientCert\n  client_allowed_sans: [x]\n",
        5,
        "proves nothing",
    ),
    ("tls_server_config:\n  cert: a\n  key: b\n  client_allowed_sans: []\n", 4, "not empty"),
    (
        "tls_server_config:\n  cert: a\n  key: b\n  max_version: TLS11\n",
        4,
        "`max_version` wants one of TLS12, TLS13, got `TLS11`",
    ),
    ("tls_server_config:\n  cert: a\n  key: b\n  max_version: TLS12\n  min_version: TLS13\n", 5, "above `max_version`"),
    (
        "tls_server_config:\n  cert: a\n  key: b\n  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n",
        4,
        "got `TLS_RSA_WITH_RC4_128_SHA`",
    ),
    ("tls_server_config:\n  cert: a\n  key: b\n  cipher_suites: TLS_AES_128_GCM_SHA256\n", 4, "wants a list"),
    (
        "tls_server_config:\n  cert: a\n  key: b\n  curve_preferences: [CurveP521]\n",
        4,
        "wants one of X25519, CurveP256, CurveP384",
    ),
    ("http_server_config:\n  http2: maybe\n", 2, "`http2` wants true or false"),
    ("http_server_config:\n  headers:\n    X-Other: 1\n", 3, "unknown key `http_server_config.headers.X-Other`"),
    ("http_server_config:\n  headers:\n    X-Frame-Options:\n", 3, "wants a text, not empty"),
    ("http_server_config:\n  headers:\n    X-Frame-Options: never\n", 3, "wants one of deny, sameorigin"),
    ("http_server_config:\n  headers:\n    X-XSS-Protection: \"a\\nb\"\n", 3, "holds what no header can"),
    ("basic_auth_users:\n  ann: hush\n", 2, "wants a bcrypt hash"),
    ("basic_auth_users:\n  ann: $2y$31$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n", 2, "of cost 4 to 16"),
    (
        "basic_auth_users:\n  a: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n  a: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n",
        3,
        "stands here twice",
    ),
    ("basic_auth_users:\n  a:b: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n", 2, "holds a colon"),
    ("bearer_token_file:\n", 1, "wants a text"),
    ("bearer_token_hashes: hush\n", 1, "wants a list of SHA-256"),
    ("bearer_token_hashes: [hush-hush]\n", 1, "wants a list of SHA-256"),
    ("bearer_token_hashes: []\n", 1, "wants 1 to"),
    ("bearer_token_file: a\nbearer_token_file: b\n", 2, "stands here twice"),
];

#[test]
fn mistakes_are_told_with_line_and_key() {
    for (text, line, wants) in WRONG {
        let Err(problems) = read(text, Path::new("/")) else { panic!("{text} is taken") };
        let found = problems.iter().any(|problem| problem.line == *line && problem.text.contains(wants));
        assert!(found, "{text}: {problems:?}");
        assert!(problems.iter().all(|problem| !problem.text.contains("hush")), "{problems:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let Err(problems) = read("basic_auth_user: {}\nrate_limit: 1\nbearer_token_file: []\n", Path::new("/")) else {
        panic!("it is taken")
    };
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn suites_have_the_names_that_go_gives_them() {
    let names = crate::webconfig::tls::suites();
    for name in ["TLS_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
}

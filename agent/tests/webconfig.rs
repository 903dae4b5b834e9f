//! The agent's own server behind a web configuration, over real connections: who gets in, who does not and how that is
//! counted, what a rotation does, and that whoever stalls stops nobody.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use agent::export::http::Reason;
use agent::webconfig::Look;

#[path = "web/made_up.rs"]
#[allow(dead_code)]
mod made_up;
#[path = "webconfig/rig.rs"]
#[allow(dead_code)]
mod rig;

use rig::{
    Answer, EXPIRED, GOOD, Identity, PASSWORD, Rig, TOKEN, authority, basic, bearer, client, dns, identity, mutual,
    password_hash, request, until,
};

const TLS: &str = "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n";

fn locked() -> Rig {
    Rig::serve(&format!("{TLS}bearer_token_file: token\nbasic_auth_users:\n  ann: {}\n", password_hash()))
}

#[test]
fn tls_is_spoken_and_nothing_else() {
    let rig = Rig::serve(TLS);
    let answer = rig.get("/metrics", None);
    assert_eq!((answer.status, answer.body.as_str()), (200, "up 1\n"));
    let plain = rig.plain(&request("GET", "/metrics", None)).unwrap();
    assert_eq!((plain.status, plain.body.contains("HTTP request to an HTTPS server")), (400, true));
    rig.wait_rejected(Reason::PlainHttp, 1);
    assert!(rig.plain("\u{1}garbage\r\n\r\n").is_err());
    rig.wait_rejected(Reason::Handshake, 1);
    let error = rig.ask(&client(&authority(), None), &request("GET", "/metrics", None)).err().unwrap();
    assert!(error.contains("UnknownIssuer"), "{error}");
    rig.wait_rejected(Reason::Handshake, 2);
}

#[test]
fn probes_of_the_port_are_no_failures() {
    let rig = Rig::serve(TLS);
    drop(TcpStream::connect(rig.address).unwrap());
    // Taken after it.
    assert_eq!(rig.get("/healthz", None).status, 200);
    for reason in [Reason::Handshake, Reason::Slow, Reason::PlainHttp] {
        assert_eq!(rig.rejected(reason), 0, "{reason:?}");
    }
}

#[test]
fn certificates_are_held_against_the_authority() {
    let rig = mutual(
        "RequireAndVerifyClientCert",
        "  client_ca_file: ca.crt\n  client_allowed_sans: [prometheus, 10.0.0.1]\n",
    );
    let other = authority();
    let ask = |shows: Option<&Identity>| rig.ask(&client(&rig.ours, shows), &request("GET", "/metrics", None));
    let address = rcgen::SanType::IpAddress("10.0.0.1".parse().unwrap());
    for good in [identity(&rig.ours, &[dns("x"), dns("prometheus")], GOOD), identity(&rig.ours, &[address], GOOD)] {
        assert_eq!(ask(Some(&good)).unwrap().status, 200);
    }
    let bad = [
        Some(identity(&rig.ours, &[dns("prometheus")], EXPIRED)),
        Some(identity(&rig.ours, &[dns("prometheus.example")], GOOD)),
        Some(identity(&rig.ours, &[], GOOD)),
        Some(identity(&other, &[dns("prometheus")], GOOD)),
        None,
    ];
    for (at, shows) in bad.iter().enumerate() {
        assert!(ask(shows.as_ref()).is_err(), "case {at}");
        rig.wait_rejected(Reason::ClientCertificate, 1 + at as u64);
    }
    // What a probe without a certificate is refused by, too.
    assert!(rig.ask(&rig.client(), &request("GET", "/healthz", None)).is_err());
}

#[test]
fn each_way_of_asking_for_certificates_asks_as_it_says() {
    let ca = "  client_ca_file: ca.crt\n";
    for (mode, ca, none, stranger, ours) in [
        ("NoClientCert", "", true, true, true),
        ("RequestClientCert", "", true, true, true),
        ("RequireAnyClientCert", ca, false, true, true),
        ("VerifyClientCertIfGiven", ca, true, false, true),
        ("RequireAndVerifyClientCert", ca, false, false, true),
    ] {
        let rig = mutual(mode, ca);
        let known = identity(&rig.ours, &[dns("a")], GOOD);
        let unknown = identity(&authority(), &[dns("a")], GOOD);
        for (shows, gets_in) in [(None, none), (Some(&unknown), stranger), (Some(&known), ours)] {
            let asked = rig.ask(&client(&rig.ours, shows), &request("GET", "/metrics", None));
            assert_eq!(asked.is_ok(), gets_in, "{mode}, {}", shows.is_some());
        }
    }
}

#[test]
fn versions_and_suites_are_as_wanted() {
    let rig =
        mutual("NoClientCert", "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n");
    let mut stream = rig.connect(&rig.client());
    stream.write_all(request("GET", "/metrics", None).as_bytes()).unwrap();
    stream.flush().unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert_eq!(stream.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let suite = stream.conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
}

#[test]
fn users_and_tokens_get_in_and_nobody_else() {
    let rig = locked();
    for good in [basic("ann", PASSWORD), bearer(TOKEN)] {
        for path in ["/metrics", "/", "/page/main.js", "/api/v1/overview"] {
            assert_eq!(rig.get(path, Some(&good)).status, 200, "{path}");
        }
    }
    let bad = [
        None,
        Some(basic("ann", "hush")),
        Some(basic("bob", PASSWORD)),
        Some(bearer("hush-token-012345678")),
        Some(bearer(PASSWORD)),
        Some("Digest hush".to_owned()),
    ];
    for (path, given) in ["/metrics", "/", "/page/main.js", "/api/v1/overview", "/api/none", "/none", "/healthz/"]
        .iter()
        .flat_map(|path| bad.iter().map(move |given| (path, given)))
    {
        let answer = rig.get(path, given.as_deref());
        assert_eq!(answer.status, 401, "{path}");
        for challenge in
            ["www-authenticate: basic realm=\"inferscope\"", "www-authenticate: bearer realm=\"inferscope\""]
        {
            assert!(answer.head.contains(challenge), "{}", answer.head);
        }
        assert!(!answer.body.contains("hush"), "{}", answer.body);
    }
    assert_eq!(rig.rejected(Reason::Credentials), 7 * bad.len() as u64);
    // What the kubelet asks for, and who cannot know a secret, learns whether it works and no more.
    for path in ["/healthz", "/readyz"] {
        assert_eq!(rig.get(path, None).status, 200, "{path}");
        assert_eq!(rig.ask(&rig.client(), &request("POST", path, None)).unwrap().status, 401);
    }
}

#[test]
fn nothing_can_be_changed() {
    let (open, locked) = (Rig::serve("http_server_config: {http2: false}\n"), locked());
    let token = bearer(TOKEN);
    let paths = ["/", "/page/main.js", "/metrics", "/healthz", "/readyz", "/api", "/api/", "/api/v1/overview", "/none"];
    for path in paths {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"] {
            let ask = |given: Option<&str>| locked.ask(&locked.client(), &request(method, path, given)).unwrap();
            let allowed = |answer: &Answer| answer.head.contains("allow: get, head") && answer.status == 405;
            assert!(allowed(&open.plain(&request(method, path, None)).unwrap()), "{method} {path}");
            assert!(allowed(&ask(Some(&token))), "{method} {path} with a token");
            assert_eq!(ask(None).status, 401, "{method} {path} without one");
        }
        let head = open.plain(&request("HEAD", path, None)).unwrap();
        assert!(head.status != 405 && head.body.is_empty(), "{path}: {}", head.status);
    }
}

#[test]
fn headers_stand_on_every_answer() {
    let rig = Rig::serve(&format!(
        "{TLS}bearer_token_file: token
http_server_config:
  headers: {{Strict-Transport-Security: max-age=60, X-Frame-Options: sameorigin, X-XSS-Protection: 0}}
"
    ));
    for (path, given) in [("/metrics", Some(TOKEN)), ("/", Some(TOKEN)), ("/", None), ("/healthz", None)] {
        let head = rig.get(path, given.map(bearer).as_deref()).head;
        for header in
            ["strict-transport-security: max-age=60\r\n", "x-frame-options: sameorigin", "x-xss-protection: 0"]
        {
            assert!(head.contains(header), "{path}: {head}");
        }
        assert_eq!(head.matches("x-frame-options").count(), 1, "{path}: {head}");
    }
}

/// The certificate that the server shows on a new connection.
fn shown(rig: &Rig) -> Vec<u8> {
    let mut stream = rig.connect(&rig.client());
    stream.write_all(request("GET", "/healthz", None).as_bytes()).unwrap();
    stream.flush().unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_new_certificate_is_shown_without_a_start() {
    let rig = locked();
    let first = shown(&rig);
    let mut kept = rig.connect(&rig.client());
    let ask = request("GET", "/metrics", Some(&bearer(TOKEN))).replace("Connection: close\r\n", "");
    kept.write_all(ask.as_bytes()).unwrap();
    let mut buffer = [0; 4096];
    let read = kept.read(&mut buffer).unwrap();
    assert!(String::from_utf8_lossy(&buffer[..read]).starts_with("HTTP/1.1 200"));
    rig.renew();
    // Nobody tells the server: connections make it look.
    until("the new certificate", || shown(&rig) != first);
    // The one that began under the old certificate gets its answer, and ends.
    kept.write_all(ask.as_bytes()).unwrap();
    let mut rest = String::new();
    kept.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 200") && rest.to_lowercase().contains("connection: close"), "{rest}");
}

#[test]
fn a_broken_rotation_changes_nothing_until_it_is_whole() {
    let rig = locked();
    let first = shown(&rig);
    let new = identity(&rig.ours, &[dns("localhost")], GOOD);
    rig.put("tls.crt", &new.cert);
    let look = || rig.door().current.look();
    assert_eq!(look(), Look::Refused);
    assert_eq!((shown(&rig), rig.get("/metrics", Some(&bearer(TOKEN))).status), (first.clone(), 200));
    assert!(rig.door().current.is_stale());
    rig.put("tls.key", &new.key);
    assert_eq!(look(), Look::Taken);
    assert_ne!(shown(&rig), first);
    // A token, too: the old one is no good from then on, on connections that are open as well.
    rig.put("token", "another-token-0123456789\n");
    assert_eq!(look(), Look::Taken);
    assert_eq!(rig.get("/metrics", Some(&bearer(TOKEN))).status, 401);
    assert_eq!(rig.get("/metrics", Some(&bearer("another-token-0123456789"))).status, 200);
    assert_eq!(rig.door().current.counts(), (2, 1));
}

#[test]
fn who_stalls_stops_nobody() {
    let rig = locked();
    let stalled: Vec<TcpStream> = (0..100)
        .map(|at| {
            let mut stream = TcpStream::connect(rig.address).unwrap();
            // Nothing, or a record of a handshake that goes on for ever.
            stream.write_all(if at % 2 == 0 { b"" } else { &[22, 3, 1, 2, 0, 1] }).unwrap();
            stream
        })
        .collect();
    assert_eq!(rig.get("/metrics", Some(&bearer(TOKEN))).status, 200);
    // Half a request behind TLS is no more than nothing.
    let mut half = rig.connect(&rig.client());
    half.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    half.flush().unwrap();
    // Some go for others, in the end they all have to: the 100 and the half.
    until("all are sent away", || rig.rejected(Reason::Crowded) + rig.rejected(Reason::Slow) == 101);
    let mut rest = String::new();
    let _ = half.read_to_string(&mut rest);
    assert_eq!(rest, "");
    drop(stalled);
}

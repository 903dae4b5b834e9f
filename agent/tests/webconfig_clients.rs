//! Programs of others, and our own, that get into an agent behind a web configuration: `inferscope top`, curl, Prometheus.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
};

use agent::export::http::Reason;

#[path = "web/made_up.rs"]
#[allow(dead_code)]
mod made_up;
#[path = "webconfig/rig.rs"]
#[allow(dead_code)]
mod rig;

use rig::{GOOD, PASSWORD, TOKEN, dns, identity, mutual, until};

#[test]
fn the_table_of_a_running_agent_gets_in_too() {
    let rig = mutual("RequireAndVerifyClientCert", "  client_ca_file: ca.crt\nbearer_token_file: token\n");
    let shows = identity(&rig.ours, &[dns("top")], GOOD);
    let (cert, key) = (rig.put("top.crt", &shows.cert), rig.put("top.key", &shows.key));
    let top = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_inferscope"))
            .args(["top", "--once", "--url"])
            .arg(format!("https://{}", rig.address))
            .args(["--server-name", "localhost", "--ca-file"])
            .arg(rig.folder.path().join("ca.crt"))
            .args(more)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let own = ["--cert-file", cert.to_str().unwrap(), "--key-file", key.to_str().unwrap()];
    let token = rig.folder.path().join("token");
    let all = [&own[..], &["--token-file", token.to_str().unwrap()]].concat();
    // The rig's metrics are not an agent's: to see that is to have got in.
    assert!(top(&all).contains("not inferscope's"), "{}", top(&all));
    assert!(top(&own).contains("wants to know who asks"), "{}", top(&own));
    assert!(top(&[]).contains("TLS fails"), "{}", top(&[]));
}

#[test]
fn curl_gets_in_by_certificate_and_token() {
    let rig = mutual("RequireAndVerifyClientCert", "  client_ca_file: ca.crt\nbearer_token_file: token\n");
    let shows = identity(&rig.ours, &[dns("curl")], GOOD);
    rig.put("curl.crt", &shows.cert);
    rig.put("curl.key", &shows.key);
    let curl = |more: &[&str]| {
        let output = Command::new("curl")
            .current_dir(rig.folder.path())
            .args(["-sS", "--cacert", "ca.crt", "--resolve"])
            .arg(format!("localhost:{}:127.0.0.1", rig.address.port()))
            .args(more)
            .arg(format!("https://localhost:{}/metrics", rig.address.port()))
            .output();
        output.map(|output| {
            let said = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&said).into_owned())
        })
    };
    let header = format!("Authorization: Bearer {TOKEN}");
    let own = ["--cert", "curl.crt", "--key", "curl.key"];
    let Ok(found) = curl(&[&own[..], &["-H", &header]].concat()) else {
        return support::live::skip("curl_gets_in_by_certificate_and_token", "curl is not installed");
    };
    assert_eq!(found, (true, "up 1\n".to_owned()));
    assert!(!curl(&["-H", &header]).unwrap().0);
    assert!(!curl(&own).unwrap().1.contains("up 1"));
}

/// A program of Prometheus: in PATH, or where `cargo xtask setup` leaves it.
fn of_prometheus(test: &str, program: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([root.join(".cache/tools/prometheus/usr/bin")]);
    let found = places.find_map(|place| Some(place.join(program)).filter(|path| path.is_file()));
    if found.is_none() {
        support::live::skip(test, &format!("{program} is not installed (Debian package prometheus)"));
    }
    found
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn prometheus_scrapes_by_certificate_and_token() {
    let Some(prometheus) = of_prometheus("prometheus_scrapes_by_certificate_and_token", "prometheus") else { return };
    let rig = mutual("RequireAndVerifyClientCert", "  client_ca_file: ca.crt\nbearer_token_file: token\n");
    let shows = identity(&rig.ours, &[dns("prometheus")], GOOD);
    rig.put("p.crt", &shows.cert);
    rig.put("p.key", &shows.key);
    let job = |name: &str, authorization: &str| {
        format!(
            "- job_name: {name}
  scheme: https
  tls_config: {{ca_file: ca.crt, cert_file: p.crt, key_file: p.key, server_name: localhost}}
  static_configs: [{{targets: ['{}']}}]
{authorization}",
            rig.address
        )
    };
    let with = job("with", "  authorization: {credentials_file: token}\n");
    let config = format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{with}{}", job("without", ""));
    rig.put("prometheus.yml", &config);
    let child = Command::new(prometheus)
        .current_dir(rig.folder.path())
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _child = Ends(child);
    until("three scrapes", || rig.scrapes.load(Ordering::Relaxed) >= 3);
    until("three refusals", || rig.rejected(Reason::Credentials) >= 3);
    assert_eq!((rig.rejected(Reason::Handshake), rig.rejected(Reason::ClientCertificate)), (0, 0));
}

/// What is Prometheus's in a file is taken by Prometheus's own checker, too.
#[test]
fn prometheus_takes_the_same_file() {
    let Some(promtool) = of_prometheus("prometheus_takes_the_same_file", "promtool") else { return };
    let rig = mutual(
        "RequireAndVerifyClientCert",
        &format!(
            "  client_ca_file: ca.crt
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]
  curve_preferences: [X25519, CurveP256]
  prefer_server_cipher_suites: true
http_server_config:
  http2: true
  headers: {{X-Content-Type-Options: nosniff, Strict-Transport-Security: max-age=60}}
basic_auth_users:
  ann: {}
",
            // Its library takes no hashes cheaper than these.
            bcrypt::hash(PASSWORD, 10).unwrap()
        ),
    );
    let file = rig.folder.path().join("web.yml");
    let output = Command::new(promtool).args(["check", "web-config"]).arg(&file).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

//! Live: an agent that has given its rights back still reads its web configuration again, of files that only root may read.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use support::{agent::Agent, confine, live};

const SOON: Duration = Duration::from_secs(30);
/// BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH and SYS_NICE of capability.h.
const DOCUMENTED: u64 = 1 << 39 | 1 << 38 | 1 << 19 | 1 << 2 | 1 << 23;

/// Status and whole answer.
fn ask(agent: &Agent, token: &str) -> (u16, String) {
    let host = agent.target.host();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap(), text)
}

fn secret(path: &Path, text: &str) {
    // As Kubernetes and cert-manager do: the new file takes the old one's place.
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

fn reads_again(root: bool) {
    let folder = tempfile::tempdir().unwrap();
    let (web, token) = (folder.path().join("web.yml"), folder.path().join("token"));
    secret(&web, "bearer_token_file: token\n");
    secret(&token, "first-token-0123456789\n");
    let args = ["--web-config".to_owned(), web.display().to_string()];
    let agent = Agent::prepared(&args, |command| {
        confine::only(command, DOCUMENTED, root);
        Ok(())
    })
    .unwrap();
    let (status, text) = ask(&agent, "first-token-0123456789");
    assert!(status == 200 && text.contains("inferscope_web_config_stale 0\n"), "{text}");
    assert!(!text.contains("inferscope_web_certificate_expires_timestamp_seconds"), "{text}");
    assert_eq!(ask(&agent, "second-token-0123456789").0, 401);
    secret(&token, "second-token-0123456789\n");
    let taken = || Ok((ask(&agent, "second-token-0123456789").0 == 200).then_some(()));
    agent.wait("the new token is good", SOON, taken).unwrap();
    assert_eq!(ask(&agent, "first-token-0123456789").0, 401);
    secret(&token, "short\n");
    agent.running.signal(libc::SIGHUP);
    let refused = || {
        let (_, text) = ask(&agent, "second-token-0123456789");
        Ok(text.contains("inferscope_web_config_stale 1\n").then_some(text))
    };
    let text = agent.wait("the wrong file is refused", SOON, refused).unwrap();
    for sample in ["reloads_total{outcome=\"taken\"} 1\n", "reloads_total{outcome=\"refused\"} 1\n"] {
        assert!(text.contains(&format!("inferscope_web_config_{sample}")), "{text}");
    }
    assert!(text.contains("inferscope_http_rejected_total{reason=\"credentials\"}"), "{text}");
    let (status, _) = agent.stop().unwrap();
    assert!(status.success(), "SIGTERM ended the agent with {status}");
}

#[test]
fn root_reads_its_web_configuration_again() {
    let Some(_guard) = live::begin("root_reads_its_web_configuration_again") else { return };
    reads_again(true);
}

#[test]
fn another_user_reads_its_web_configuration_again() {
    let Some(_guard) = live::begin("another_user_reads_its_web_configuration_again") else { return };
    reads_again(false);
}

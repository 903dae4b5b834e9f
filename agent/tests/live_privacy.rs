//! Live: secrets and personal data of more than fifty kinds, planted in every place of a request that has room for them,
//! are in nothing that `attach` tells or writes; and an agent that crashes leaves no core dump.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use support::agent::Agent;
use support::child::{Lines, Running};
use support::plants::{self, Plant};
use support::server::Server;
use support::{live, locate};

const SOON: Duration = Duration::from_secs(30);

/// As a part of a URL.
fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Texts that fit into a line of a head.
fn in_line(plants: &[Plant]) -> String {
    let lines: Vec<String> = plants.iter().map(|plant| plant.text.replace('\n', " ")).collect();
    lines.join(" | ")
}

/// The body that tells the server what to say. The planted text stands in each field that a client fills.
fn body(text: &str, cookie: &str, how: &str) -> Vec<u8> {
    let tool = json!({"function": {"name": "f", "arguments": json!({"note": text}).to_string()}});
    let messages = json!([
        {"role": "system", "content": text},
        {"role": "user", "content": [{"type": "text", "text": text}], "name": text},
        {"role": "assistant", "content": null, "tool_calls": [tool]},
    ]);
    let mut body = json!({"model": "echo", "messages": messages, "user": text, "metadata": {"note": text}});
    body["say"] = json!(text);
    body["cookie"] = json!(cookie);
    body[how] = json!(true);
    body.to_string().into_bytes()
}

/// Sends one request with secrets in its head and reads the whole answer.
fn send(server: &Server, plants: &[Plant], query: &str, extra: &str, body: &[u8]) {
    let mut connection = server.target.connect(SOON).unwrap();
    let line = in_line(plants);
    let mut request = format!("POST /v1/chat/completions?{query} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
    for (name, value) in [
        ("authorization", format!("Bearer {line}")),
        ("proxy-authorization", format!("Basic {line}")),
        ("cookie", format!("session={line}")),
        ("x-api-key", line.clone()),
        ("api-key", line.clone()),
        ("x-request-id", plants[0].text.clone()),
    ] {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-type: application/json\r\n{extra}content-length: {}\r\n\r\n", body.len());
    connection.write_all(request.as_bytes()).unwrap();
    connection.write_all(body).unwrap();
    let (mut answer, mut some) = (Vec::new(), [0; 4096]);
    // The server keeps the connection: the answer says where it ends.
    let over = |answer: &[u8]| {
        let text = String::from_utf8_lossy(answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
        length.map_or(text.ends_with("0\r\n\r\n"), |length| body.len() >= length)
    };
    while !over(&answer) {
        let count = connection.read(&mut some).unwrap();
        assert_ne!(count, 0, "the server went away");
        answer.extend_from_slice(&some[..count]);
    }
}

/// Requests of every shape.
fn send_all(server: &Server, plants: &[Plant]) {
    let text = plants::text(plants);
    let cookie = in_line(plants);
    let query = format!("token={0}&note={0}", escaped(&in_line(plants)));
    for how in ["stream", "whole", "fail"] {
        send(server, plants, &query, "", &body(&text, &cookie, how));
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&body(&text, &cookie, "whole")).unwrap();
    send(server, plants, &query, "content-encoding: gzip\r\n", &gzip.finish().unwrap());
}

#[test]
fn an_attach_tells_nothing_of_it_either() {
    let Some(_guard) = live::begin("an_attach_tells_nothing_of_it_either") else { return };
    let plants = plants::all();
    let server = Server::echo().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for format in ["perfetto", "json"] {
        let out = folder.path().join(format);
        let mut command = Command::new(locate::agent().unwrap());
        command.args(["attach", "--json", "--pid", &server.pid().to_string(), "--duration", "10m", "--format", format]);
        command.arg("--out").arg(&out);
        let mut attach = Running::start(command, Lines::Stdout).unwrap();
        let deadline = Instant::now() + SOON;
        // It does not say that it watches: its first record does.
        while attach.lines().is_empty() {
            assert!(Instant::now() < deadline, "no record");
            send_all(&server, &plants);
        }
        assert!(attach.stop(libc::SIGINT, SOON).unwrap().success());
        let told = [std::fs::read(&out).unwrap(), attach.lines().join("\n").into_bytes()].concat();
        assert_eq!(plants::found(&plants, &told), Vec::<&str>::new(), "{format}");
    }
}

#[test]
fn an_agent_that_crashes_leaves_no_core() {
    let Some(_guard) = live::begin("an_agent_that_crashes_leaves_no_core") else { return };
    let server = Server::echo().unwrap();
    let mut agent = Agent::watch(&[server.pid()]).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    let status = agent.running.stop(libc::SIGABRT, SOON).unwrap();
    assert!(!status.core_dumped(), "{status:?}");
    assert_eq!(status.signal(), Some(libc::SIGABRT));
}

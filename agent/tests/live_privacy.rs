//! Live: secrets and personal data of more than fifty kinds, planted in every place of a request that has room for them,
//! are in nothing that comes out of the agent, in any mode; and ordinary texts are there in the modes that keep texts.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::{Router, body::Bytes, extract::State, routing::post};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use support::agent::Agent;
use support::child::{Lines, Running};
use support::plants::{self, ORDINARY, Plant};
use support::server::Server;
use support::{live, locate, page};

const SOON: Duration = Duration::from_secs(30);

/// Everything that a collector was sent, as it came.
type Collected = Arc<Mutex<Vec<(&'static str, Bytes)>>>;

/// A collector that takes everything; it ends with the process.
fn collector() -> (SocketAddr, Collected) {
    let collected = Collected::default();
    let all = Arc::clone(&collected);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let take = |signal: &'static str| {
            post(move |State(all): State<Collected>, body: Bytes| async move {
                all.lock().unwrap().push((signal, body));
            })
        };
        let app = Router::new()
            .route("/v1/traces", take("traces"))
            .route("/v1/metrics", take("metrics"))
            .route("/v1/logs", take("logs"))
            .with_state(all);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap();
        });
    });
    (address, collected)
}

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

/// Requests of every shape; how many.
fn send_all(server: &Server, plants: &[Plant]) -> usize {
    let text = plants::text(plants);
    let cookie = in_line(plants);
    let query = format!("token={0}&note={0}", escaped(&in_line(plants)));
    for how in ["stream", "whole", "fail"] {
        send(server, plants, &query, "", &body(&text, &cookie, how));
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&body(&text, &cookie, "whole")).unwrap();
    send(server, plants, &query, "content-encoding: gzip\r\n", &gzip.finish().unwrap());
    4
}

fn config(mode: &str, collector: SocketAddr) -> String {
    format!(
        "[discover]\nenabled = false\n[nvml]\nenabled = false\n[otlp]\nendpoint = \"http://{collector}\"\n\
         interval = \"1s\"\n[log]\nlevel = \"trace\"\n[privacy]\nmode = \"{mode}\"\nmodels = [\"echo\"]\none_in = 1\n\
         max_bytes = 1048576\nmax_chars = 1048576\n"
    )
}

/// Everything that one agent told anybody, by place.
struct Told {
    places: Vec<(String, Vec<u8>)>,
    records: String,
}

impl Told {
    fn of(mode: &str, server: &Server, plants: &[Plant]) -> Self {
        let (address, collected) = collector();
        let agent = Agent::configured(&[server.pid()], &config(mode, address)).unwrap();
        let count = send_all(server, plants);
        agent.wait_records(count, |_| true).unwrap();
        let logs = || collected.lock().unwrap().iter().filter(|(signal, _)| *signal == "logs").count();
        agent.wait("the collector has log records", SOON, || Ok((logs() > 0).then_some(()))).unwrap();
        let mut places = Vec::new();
        for path in ["/metrics", "/", "/api/v1/services", "/api/v1/requests", "/api/v1/agent", "/api/v1/overview"] {
            places.push((path.to_owned(), page::get(&agent.target, path).unwrap().1.into_bytes()));
        }
        let top = Command::new(locate::agent().unwrap())
            .args(["top", "--once", "--url", &format!("http://{}", agent.target.host())])
            .output()
            .unwrap();
        places.push(("top".into(), [top.stdout, top.stderr].concat()));
        if mode == "off" {
            places.push(("core".into(), as_a_core_has_it(agent.pid())));
        }
        let path = agent.records_path().to_owned();
        let records = std::fs::read_to_string(&path).unwrap();
        places.push(("records".into(), records.clone().into_bytes()));
        agent.running.signal(libc::SIGTERM);
        agent
            .wait("the agent's last words", SOON, || {
                Ok(agent.running.lines().iter().any(|line| line.contains("ending")).then_some(()))
            })
            .unwrap();
        places.push(("log".into(), agent.running.lines().join("\n").into_bytes()));
        let sent = collected.lock().unwrap().clone();
        places.extend(sent.into_iter().map(|(signal, body)| (signal.to_owned(), body.to_vec())));
        drop(agent);
        Self { places, records }
    }

    /// Kinds that were found, with where.
    fn found(&self, plants: &[Plant]) -> Vec<String> {
        let in_place = |(place, bytes): &(String, Vec<u8>)| {
            plants::found(plants, bytes).into_iter().map(|kind| format!("{kind} in {place}")).collect::<Vec<_>>()
        };
        self.places.iter().flat_map(in_place).collect()
    }

    fn of_place(&self, wanted: &str) -> Vec<u8> {
        let those = self.places.iter().filter(|(place, _)| place == wanted);
        those.flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

/// What a core dump of the process would have: its memory but for files, without what the kernel leaves
/// out of dumps.
fn as_a_core_has_it(pid: u32) -> Vec<u8> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let (mut all, mut range) = (Vec::new(), None);
    for line in maps.lines() {
        let mut words = line.split(' ');
        let first = words.next().unwrap_or_default();
        if let Some((from, to)) = first.split_once('-').filter(|_| !first.ends_with(':')) {
            let bounds = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            let readable = words.next().is_some_and(|rights| rights.starts_with('r'));
            // Files are not in it.
            let of_no_file = line.split_whitespace().nth(5).is_none_or(|path| !path.starts_with('/'));
            range = (readable && of_no_file).then_some(bounds);
        } else if line.starts_with("VmFlags:")
            && let Some([from, to]) = range.take()
            && !line.split(' ').any(|flag| flag == "dd")
        {
            let mut bytes = vec![0; (to - from) as usize];
            // Pages that are not there are no loss.
            if memory.read_at(&mut bytes, from).is_ok() {
                all.append(&mut bytes);
            }
        }
    }
    all
}

#[test]
fn nothing_that_was_planted_comes_out() {
    let Some(_guard) = live::begin("nothing_that_was_planted_comes_out") else { return };
    let plants = plants::all();
    let secrets: Vec<Plant> = plants.iter().filter(|plant| !plant.personal).cloned().collect();
    let server = Server::echo().unwrap();
    for mode in ["off", "hash", "redacted", "full"] {
        let told = Told::of(mode, &server, &plants);
        let minded = if mode == "full" { &secrets } else { &plants };
        assert_eq!(told.found(minded), Vec::<String>::new(), "mode {mode}");
        let keeps_text = matches!(mode, "redacted" | "full");
        assert_eq!(told.records.contains(ORDINARY), keeps_text, "{}", told.records);
        let has = |place: &str| {
            let told = told.of_place(place);
            memchr::memmem::find(&told, ORDINARY.as_bytes()).is_some()
        };
        assert_eq!(has("logs"), keeps_text, "mode {mode}");
        for place in ["traces", "metrics", "log", "/api/v1/requests", "/metrics", "core"] {
            assert!(!has(place), "{place} in mode {mode}");
        }
        assert_eq!(told.records.contains("prompt_hash"), mode == "hash");
        // The one that was compressed has no readable prompt, and says so.
        assert_eq!(told.records.contains("\"prompt_cut\":true"), mode != "off");
    }
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

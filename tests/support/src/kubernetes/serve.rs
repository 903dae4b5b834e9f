//! One connection: a request, its answer whole or in pieces, and the faults that a test has ordered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};

use super::{Fault, NODE, Seen, Shared, State};

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A request's path with its query, and its token.
struct Asked {
    path: String,
    token: String,
}

impl Asked {
    fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

pub(super) fn connection(stream: TcpStream, shared: &Shared) {
    let Ok(tls) = ServerConnection::new(std::sync::Arc::clone(&shared.tls)) else { return };
    let mut reader = BufReader::new(StreamOwned::new(tls, stream));
    // A client that goes away is what some tests want.
    while let Some(asked) = read(&mut reader) {
        if answer(reader.get_mut(), &asked, shared).is_none() {
            break;
        }
    }
    reader.get_mut().conn.send_close_notify();
    let _ = reader.get_mut().flush();
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut first = String::new();
    if reader.by_ref().take(8192).read_line(&mut first).ok()? == 0 {
        return None;
    }
    let path = first.split(' ').nth(1)?.to_owned();
    let mut token = String::new();
    loop {
        let mut line = String::new();
        reader.by_ref().take(8192).read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            return Some(Asked { path, token });
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            token = value.trim_start_matches("Bearer ").to_owned();
        }
    }
}

/// None when the connection is over.
fn answer(stream: &mut Tls, asked: &Asked, shared: &Shared) -> Option<()> {
    let is_watch = asked.parameter("watch") == Some("1");
    let (fault, permitted) = {
        let mut state = shared.state();
        state.seen.push(Seen { path: asked.path.clone(), token: asked.token.clone() });
        (state.faults[usize::from(is_watch)].pop_front(), state.token == asked.token)
    };
    if !permitted {
        return refuse(stream, 401, None);
    }
    let of_node = asked.parameter("fieldSelector") == Some(&format!("spec.nodeName%3D{NODE}"));
    if !asked.path.starts_with("/api/v1/pods?") || !of_node {
        return refuse(stream, 404, None);
    }
    match fault {
        Some(Fault::Status(code, after)) => refuse(stream, code, after),
        Some(Fault::Garbage) => whole(stream, "200 OK", "<!doctype html>\n<title>no API</title>\n"),
        Some(Fault::Hang) => {
            std::thread::sleep(Duration::from_secs(60));
            None
        }
        Some(Fault::Huge(bytes)) => huge(stream, is_watch, bytes),
        fault if is_watch => watch(stream, asked, shared, fault),
        fault => list(stream, shared, fault),
    }
}

fn refuse(stream: &mut Tls, code: u16, after: Option<u64>) -> Option<()> {
    let after = after.map(|seconds| format!("\r\nretry-after: {seconds}")).unwrap_or_default();
    let status = format!(r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","code":{code}}}"#);
    whole(stream, &format!("{code} as the test wants{after}"), &status)
}

fn whole(stream: &mut Tls, status: &str, body: &str) -> Option<()> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    stream.flush().ok()
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(stream: &mut Tls, bytes: &[u8]) -> Option<()> {
    // In one piece, as a server with a buffer writes it.
    let whole = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    stream.write_all(&whole).ok()?;
    stream.flush().ok()
}

/// A pod that does not end for so many bytes.
fn huge(stream: &mut Tls, is_watch: bool, bytes: usize) -> Option<()> {
    stream.write_all(CHUNKED.as_bytes()).ok()?;
    let begin = if is_watch { r#"{"type":"ADDED","object":{"a":""# } else { r#"{"kind":"PodList","items":[{"a":""# };
    chunk(stream, begin.as_bytes())?;
    let piece = [b'x'; 1 << 16];
    for _ in 0..bytes.div_ceil(piece.len()) {
        chunk(stream, &piece)?;
    }
    None
}

fn list(stream: &mut Tls, shared: &Shared, fault: Option<Fault>) -> Option<()> {
    let body = {
        let State { version, pods, .. } = &*shared.state();
        let items = pods.values().map(String::as_str).collect::<Vec<_>>().join(",");
        format!(
            r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}},"items":[{items}]}}"#
        )
    };
    match fault {
        Some(Fault::Cut(bytes)) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).ok()?;
            stream.write_all(&body.as_bytes()[..bytes.min(body.len())]).ok()?;
            stream.flush().ok()?;
            None
        }
        Some(Fault::Slow(pause)) => {
            stream.write_all(CHUNKED.as_bytes()).ok()?;
            for piece in body.as_bytes().chunks(1000) {
                chunk(stream, piece)?;
                std::thread::sleep(pause);
            }
            stream.write_all(b"0\r\n\r\n").ok()?;
            stream.flush().ok()
        }
        _ => whole(stream, "200 OK", &body),
    }
}

fn watch(stream: &mut Tls, asked: &Asked, shared: &Shared, fault: Option<Fault>) -> Option<()> {
    let mut from: u64 = asked.parameter("resourceVersion")?.parse().ok()?;
    let seconds = asked.parameter("timeoutSeconds").and_then(|text| text.parse().ok()).unwrap_or(300);
    let end = Instant::now() + Duration::from_secs(seconds);
    stream.write_all(CHUNKED.as_bytes()).ok()?;
    stream.flush().ok()?;
    let era = {
        let mut state = shared.state();
        state.watches += 1;
        state.era
    };
    let open = events(stream, shared, (&mut from, era, end), fault);
    shared.state().watches -= 1;
    open?;
    stream.write_all(b"0\r\n\r\n").ok()?;
    stream.flush().ok()
}

/// What happens, until the watch ends; None where its connection breaks off.
fn events(
    stream: &mut Tls,
    shared: &Shared,
    (from, era, end): (&mut u64, u64, Instant),
    fault: Option<Fault>,
) -> Option<()> {
    loop {
        let (lines, too_old) = {
            let state = shared.state();
            let is_over = |state: &State| state.era != era || state.over;
            let quiet = |state: &mut State| !is_over(state) && state.version <= *from && state.forgotten <= *from;
            let left = end.saturating_duration_since(Instant::now());
            let (state, waited) =
                shared.changed.wait_timeout_while(state, left, quiet).unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() || is_over(&state) {
                return Some(());
            }
            let too_old = *from < state.forgotten;
            let news = state.history.iter().filter(|(version, _)| *version > *from);
            let lines: String = news.map(|(_, line)| line.as_str()).collect();
            *from = state.version;
            (lines, too_old)
        };
        if too_old {
            let gone = r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;
            return chunk(stream, format!("{gone}\n").as_bytes());
        }
        match fault {
            Some(Fault::Cut(bytes)) => {
                chunk(stream, &lines.as_bytes()[..bytes.min(lines.len())])?;
                return None;
            }
            Some(Fault::Slow(pause)) => {
                for piece in lines.as_bytes().chunks(1000) {
                    chunk(stream, piece)?;
                    std::thread::sleep(pause);
                }
            }
            _ if lines.is_empty() => {}
            _ => chunk(stream, lines.as_bytes())?,
        }
    }
}

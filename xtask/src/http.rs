//! A small HTTP/1.1 client on a plain socket: health checks, /metrics, and the demo's traffic.
//!
//! One request per connection. It measures nothing: the tests' own client, in tests/support, does that.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

const CONNECT: Duration = Duration::from_secs(2);
const READ: Duration = Duration::from_secs(60);

/// A response, its chunked body put together.
pub struct Response {
    pub status: u16,
    pub body: String,
}

pub fn get(port: u16, path: &str) -> Result<Response> {
    get_at(Ipv4Addr::LOCALHOST, port, path)
}

pub fn get_at(address: Ipv4Addr, port: u16, path: &str) -> Result<Response> {
    exchange((address, port).into(), &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

pub fn post(port: u16, path: &str, json: &serde_json::Value) -> Result<Response> {
    let body = json.to_string();
    exchange(
        (Ipv4Addr::LOCALHOST, port).into(),
        &format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        ),
    )
}

/// A chat request that must end well.
pub fn chat(port: u16, model: &str, prompt: &str, max_tokens: u32, stream: bool) -> Result<()> {
    let body = serde_json::json!({
        "model": model, "max_tokens": max_tokens, "stream": stream, "temperature": 0,
        "messages": [{"role": "user", "content": prompt}],
    });
    let response = post(port, "/v1/chat/completions", &body)?;
    anyhow::ensure!(response.status == 200, "the server answered {}: {}", response.status, response.body);
    Ok(())
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// Whether somebody listens on PORT.
pub fn listens(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), CONNECT).is_ok()
}

fn exchange(address: SocketAddr, request: &str) -> Result<Response> {
    let mut stream =
        TcpStream::connect_timeout(&address, CONNECT).with_context(|| format!("nothing listens on {address}"))?;
    stream.set_read_timeout(Some(READ))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("{address} broke off"))?;
    parse(&bytes).with_context(|| format!("{address} does not speak HTTP"))
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.strip_prefix("http/1.")?.split(' ').nth(1)?.parse().ok()?;
    let body = &bytes[end + 4..];
    let chunked = head.lines().any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked"));
    let body = if chunked { joined(body) } else { body.to_vec() };
    Some(Response { status, body: String::from_utf8_lossy(&body).into_owned() })
}

/// The chunks of BODY in one; a body that breaks off gives what had come.
fn joined(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&body[..end]);
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16) else { break };
        let Some(data) = body.get(end + 2..).filter(|rest| size > 0 && rest.len() >= size) else { break };
        whole.extend_from_slice(&data[..size]);
        body = data.get(size + 2..).unwrap_or_default();
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_chunks() {
        let response =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2;x\r\nef\r\n0\r\n\r\n");
        let response = response.expect("a response");
        assert_eq!((response.status, response.body.as_str()), (200, "abcdef"));
    }

    #[test]
    fn a_body_that_breaks_off_is_kept() {
        let response = parse(b"HTTP/1.1 503 no\r\n\r\nloading").expect("a response");
        assert_eq!((response.status, response.body.as_str()), (503, "loading"));
        assert!(parse(b"HTTP/1.1 200 OK\r\n").is_none());
    }
}

//! The recorded exchanges of `data/llm` as messages on a wire, and all of them through the agent.

use serde_json::Value;

use crate::golden;
use crate::kernel::{Connection, MS, Ring};
use crate::play;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/llm");

/// A request as one message, and a response as the calls that a server makes.
pub struct Sample {
    pub request: Vec<u8>,
    pub head: Vec<u8>,
    /// Events of a streamed body, each a chunk of its own; or the whole body.
    pub parts: Vec<Vec<u8>>,
}

impl Sample {
    /// A file: `METHOD path`, the request's body, the response's head, an empty line, the response's body.
    pub fn load(name: &str) -> Sample {
        let bytes = std::fs::read(format!("{DIRECTORY}/{name}.http")).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (line, rest) = cut(&bytes, b"\r\n");
        let (body, rest) = cut(rest, b"\r\n");
        let (head, response) = cut(rest, b"\r\n\r\n");
        let (method, path) = std::str::from_utf8(line).unwrap().split_once(' ').unwrap();
        let request = format!(
            "{method} {path}?x=1 HTTP/1.1\r\nhost: h\r\nauthorization: Bearer secret\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let end = if streams(head) { b"\n\n".as_slice() } else { b"\n".as_slice() };
        let streamed = streams(head) || has(head, b"ndjson");
        let framing = if streamed {
            "transfer-encoding: chunked".to_owned()
        } else {
            format!("content-length: {}", response.len())
        };
        let head = [head, b"\r\n", framing.as_bytes(), b"\r\n\r\n"].concat();
        let parts = if streamed { events(response, end) } else { vec![response.to_vec()] };
        Sample { request: [request.as_bytes(), body].concat(), head, parts }
    }

    /// The response as a server writes it: each chunk in a call of its own.
    pub fn answer(&self, ring: &mut Ring, connection: &mut Connection) {
        if !self.streamed() {
            ring.wait(80 * MS).response(connection, [&self.head[..], &self.parts[0]].concat());
            return;
        }
        ring.wait(5 * MS).response(connection, &self.head).wait(45 * MS);
        for part in &self.parts {
            ring.response(connection, chunk(part)).wait(10 * MS);
        }
        ring.response(connection, "0\r\n\r\n");
    }

    pub fn streamed(&self) -> bool {
        has(&self.head, b"transfer-encoding: chunked")
    }

    /// The whole response.
    pub fn response(&self) -> Vec<u8> {
        if !self.streamed() {
            return [&self.head[..], &self.parts[0]].concat();
        }
        let chunks: Vec<u8> = self.parts.iter().flat_map(|part| chunk(part)).collect();
        [&self.head[..], &chunks, b"0\r\n\r\n"].concat()
    }
}

pub fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

fn cut<'a>(bytes: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    let place = memchr::memmem::find(bytes, at).unwrap();
    (&bytes[..place], &bytes[place + at.len()..])
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(bytes, word).is_some()
}

fn streams(head: &[u8]) -> bool {
    has(head, b"text/event-stream")
}

fn events(mut body: &[u8], end: &[u8]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    while !body.is_empty() {
        let length = memchr::memmem::find(body, end).map_or(body.len(), |place| place + end.len());
        events.push(body[..length].to_vec());
        body = &body[length..];
    }
    events
}

/// All samples one after the other on one connection, as server and then as client: a golden line for each.
#[test]
fn replay_dialects() {
    let mut names: Vec<String> = std::fs::read_dir(DIRECTORY)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".http").to_owned())
        .collect();
    names.sort();
    let mut told = String::new();
    for mut connection in [Connection::server(1), Connection::client(2)] {
        let mut ring = Ring::new();
        for name in &names {
            let sample = Sample::load(name);
            ring.wait(100 * MS).request(&mut connection, &sample.request);
            sample.answer(&mut ring, &mut connection);
        }
        let records = play::finished(&ring.records);
        assert_eq!(records.len(), names.len(), "one record for each sample");
        for (name, mut record) in names.iter().zip(records) {
            let fields = record.as_object_mut().unwrap();
            // The same in every sample, or in the scenes.
            for field in ["host", "service", "pid", "port", "method", "start_ns", "request_id", "traceparent"] {
                fields.remove(field);
            }
            fields.retain(|_, value| !value.is_null() && *value != Value::Bool(false));
            told += &format!("{name} {record}\n");
        }
    }
    golden::compare("dialects.txt", told.as_bytes());
}

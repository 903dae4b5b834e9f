//! vLLM's front and its core: the messages between them beside the HTTP exchanges that they belong to.

use inferscope_abi::{CLOSE_CLOSED, CLOSE_RESET};
use rmp::encode::{write_array_len, write_f64, write_map_len, write_nil, write_str, write_uint};

use crate::dialects::{Sample, chunk};
use crate::kernel::{Connection, MS, Ring};

/// The samples' streams without what they say of usage: the id, and the chunks with content.
fn unsaid(name: &str) -> (String, Sample) {
    let mut sample = Sample::load(name);
    let text = |part: &Vec<u8>| String::from_utf8(part.clone()).unwrap();
    sample.parts.retain(|part| !text(part).contains("\"usage\":{"));
    let first = text(&sample.parts[0]);
    let id = first.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    (id.to_owned(), sample)
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    [&[flags | 2][..], &(body.len() as u64).to_be_bytes(), body].concat()
}

/// `[id, [prompt], nil, nil, nil, arrival]`
fn add(id: &str, prompt: u32) -> Vec<u8> {
    let mut body = Vec::new();
    write_array_len(&mut body, 6).unwrap();
    write_str(&mut body, id).unwrap();
    write_array_len(&mut body, prompt).unwrap();
    (0..prompt).for_each(|token| _ = write_uint(&mut body, u64::from(token)).unwrap());
    (0..3).for_each(|_| write_nil(&mut body).unwrap());
    write_f64(&mut body, 1.0).unwrap();
    [&[1, 1, 0][..], &frame(0, &body)].concat()
}

struct Said<'a> {
    id: &'a str,
    tokens: u32,
    finish: Option<u64>,
    /// Queued and scheduled.
    events: Option<[u64; 2]>,
}

fn said(id: &str, tokens: u32) -> Said<'_> {
    Said { id, tokens, finish: None, events: None }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn output(body: &mut Vec<u8>, said: &Said<'_>) {
    write_array_len(body, 8).unwrap();
    write_str(body, said.id).unwrap();
    write_array_len(body, said.tokens).unwrap();
    (0..said.tokens).for_each(|token| _ = write_uint(body, u64::from(token)).unwrap());
    (0..3).for_each(|_| write_nil(body).unwrap());
    match said.finish {
        Some(reason) => _ = write_uint(body, reason).unwrap(),
        None => write_nil(body).unwrap(),
    }
    write_nil(body).unwrap();
    let Some(events) = said.events else { return write_nil(body).unwrap() };
    write_array_len(body, 2).unwrap();
    for (kind, when) in (1..).zip(events) {
        write_map_len(body, 2).unwrap();
        write_str(body, "type").unwrap();
        write_uint(body, kind).unwrap();
        write_str(body, "timestamp").unwrap();
        write_f64(body, seconds(when)).unwrap();
    }
}

/// `[engine, [output, ...], {stats}, timestamp]`
fn reply(running: u64, waiting: u64, outputs: &[Said<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    write_array_len(&mut body, 4).unwrap();
    write_uint(&mut body, 0).unwrap();
    write_array_len(&mut body, outputs.len() as u32).unwrap();
    outputs.iter().for_each(|said| output(&mut body, said));
    write_map_len(&mut body, 2).unwrap();
    for (key, value) in [("num_running_reqs", running), ("num_waiting_reqs", waiting)] {
        write_str(&mut body, key).unwrap();
        write_uint(&mut body, value).unwrap();
    }
    write_f64(&mut body, 1.0).unwrap();
    frame(0, &body)
}

/// Two streams at once, of which neither says its usage; one has more tokens than chunks.
pub fn two_at_once() -> Vec<Vec<u8>> {
    let (mut ring, mut a, mut b) = (Ring::new(), Connection::server(1), Connection::server(2));
    let (mut requests, mut replies) = (Connection::core(10), Connection::core(11));
    let (first, second) = (unsaid("vllm_chat_stream"), unsaid("vllm_completion_stream"));
    let ids = [format!("{}-0a1b2c3d", first.0), format!("{}-0-9f8e7d6c", second.0)];
    ring.request(&mut a, &first.1.request).wait(2 * MS).request(&mut requests, add(&ids[0], 31)).wait(MS);
    ring.request(&mut b, &second.1.request).wait(3 * MS).request(&mut requests, add(&ids[1], 7)).wait(4 * MS);
    ring.response(&mut a, &first.1.head).response(&mut b, &second.1.head).wait(20 * MS);
    let queued = |from: u64| Some([from - 25 * MS, from - 12 * MS]);
    let events = queued(ring.now);
    ring.response(&mut replies, reply(1, 1, &[Said { events, ..said(&ids[0], 1) }])).wait(MS);
    ring.response(&mut a, chunk(&first.1.parts[0])).response(&mut a, chunk(&first.1.parts[1])).wait(9 * MS);
    let events = queued(ring.now);
    ring.response(&mut replies, reply(2, 0, &[said(&ids[0], 3), Said { events, ..said(&ids[1], 2) }])).wait(MS);
    ring.response(&mut b, chunk(&second.1.parts[0])).wait(9 * MS);
    let end = |id, reason| Said { finish: Some(reason), ..said(id, 1) };
    ring.response(&mut replies, reply(0, 0, &[end(&ids[0], 1), end(&ids[1], 0)])).wait(MS);
    first.1.parts[2..].iter().for_each(|part| _ = ring.response(&mut a, chunk(part)));
    second.1.parts[1..].iter().for_each(|part| _ = ring.response(&mut b, chunk(part)));
    ring.wait(MS).response(&mut a, "0\r\n\r\n").response(&mut b, "0\r\n\r\n");
    ring.close(&a, CLOSE_CLOSED).close(&requests, CLOSE_CLOSED).close(&replies, CLOSE_CLOSED);
    ring.records
}

/// A client goes away in mid-stream: what the engine had made until then is all that is known.
pub fn given_up() -> Vec<Vec<u8>> {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    let (mut requests, mut replies) = (Connection::core(10), Connection::core(11));
    let (id, sample) = unsaid("vllm_chat_stream");
    let id = format!("{id}-0a1b2c3d");
    ring.request(&mut c, &sample.request).wait(2 * MS).request(&mut requests, add(&id, 31)).wait(30 * MS);
    ring.response(&mut c, &sample.head);
    for (number, part) in sample.parts[..4].iter().enumerate() {
        let events = (number == 0).then(|| [ring.now - 9 * MS, ring.now - 8 * MS]);
        ring.response(&mut replies, reply(1, 0, &[Said { events, ..said(&id, 2) }])).wait(MS);
        ring.response(&mut c, chunk(part)).wait(10 * MS);
    }
    ring.close(&c, CLOSE_RESET).wait(MS).close(&c, CLOSE_CLOSED);
    ring.records
}

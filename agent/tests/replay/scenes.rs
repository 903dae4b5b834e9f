//! What happens on the wire in each recording. A scene is a function that plays the kernel side; its name is its file's.

use inferscope_abi::{CLOSE_CLOSED, CLOSE_EOF, CLOSE_RESET};

use crate::dialects::{Sample, chunk};
use crate::kernel::{Connection, MS, Ring};

type Records = Vec<Vec<u8>>;

type Scene = fn() -> Records;

pub const SCENES: &[(&str, Scene)] = &[
    ("streamed", streamed),
    ("whole", whole),
    ("gap", gap),
    ("stream_gap", stream_gap),
    ("lost_end", lost_end),
    ("cancelled", cancelled),
    ("stream_error", stream_error),
    ("pipelined", pipelined),
    ("interleaved", interleaved),
    ("client", client),
    ("killed", killed),
    ("fragments", fragments),
    ("garbage", garbage),
    ("engine", crate::engine::two_at_once),
    ("engine_stop", crate::engine::given_up),
];

/// A request and its response on a connection of the server side.
fn exchange(ring: &mut Ring, connection: &mut Connection, name: &str) {
    let sample = Sample::load(name);
    ring.request(connection, &sample.request);
    sample.answer(ring, connection);
    ring.wait(30 * MS);
}

/// Two streamed chats on one connection.
pub fn streamed() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    exchange(&mut ring, &mut c, "vllm_chat_stream");
    exchange(&mut ring, &mut c, "llama_chat_stream");
    ring.close(&c, CLOSE_EOF).close(&c, CLOSE_CLOSED);
    ring.records
}

/// Responses in one piece, an error with a body, and a path that is no LLM's.
fn whole() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    exchange(&mut ring, &mut c, "vllm_chat");
    exchange(&mut ring, &mut c, "vllm_error_model");
    exchange(&mut ring, &mut c, "openai_embeddings");
    ring.request(&mut c, "GET /health?full HTTP/1.1\r\nhost: h\r\n\r\n").wait(MS);
    ring.response(&mut c, "HTTP/1.1 204 No Content\r\n\r\n").close(&c, CLOSE_CLOSED);
    ring.records
}

/// The middle of a long prompt is not captured, then a chunk's record is lost, then the connection is followed again.
fn gap() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    let body = format!("{{\"model\":\"m\",\"stream\":false,\"prompt\":\"{}\"}}", "secret ".repeat(6000));
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", body.len());
    c.cap = 4096;
    ring.request(&mut c, head + &body);
    c.cap = usize::MAX;
    Sample::load("vllm_completion").answer(&mut ring, &mut c);
    let sample = Sample::load("vllm_chat_stream");
    ring.wait(10 * MS).request(&mut c, &sample.request).wait(50 * MS).response(&mut c, &sample.head);
    for (number, part) in sample.parts.iter().enumerate() {
        let before = ring.records.len();
        ring.response(&mut c, chunk(part)).wait(10 * MS);
        if number == 3 {
            ring.lose_from(before);
        }
    }
    ring.response(&mut c, "0\r\n\r\n").wait(10 * MS);
    exchange(&mut ring, &mut c, "vllm_chat");
    ring.records
}

/// A chunk with content is captured in part: of a stream that says its usage, and of one that does not.
fn stream_gap() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    let sample = Sample::load("vllm_chat_stream");
    let usage = sample.parts.len() - 2;
    for says_usage in [true, false] {
        ring.request(&mut c, &sample.request).wait(50 * MS).response(&mut c, &sample.head);
        for (number, part) in sample.parts.iter().enumerate().filter(|(number, _)| says_usage || *number != usage) {
            c.cap = if number == 3 { 40 } else { usize::MAX };
            ring.response(&mut c, chunk(part)).wait(10 * MS);
        }
        ring.response(&mut c, "0\r\n\r\n").wait(10 * MS);
    }
    ring.records
}

/// The record with a response's end is lost; the close says that the bytes were sent.
fn lost_end() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    exchange(&mut ring, &mut c, "vllm_chat_stream");
    let end = ring.records.len() - 1;
    ring.lose_from(end).close(&c, CLOSE_CLOSED);
    ring.records
}

/// Callers go away: one while the stream runs, one before it begins.
pub fn cancelled() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    let sample = Sample::load("vllm_chat_stream");
    ring.request(&mut c, &sample.request).wait(50 * MS).response(&mut c, &sample.head);
    for part in &sample.parts[..4] {
        ring.response(&mut c, chunk(part)).wait(10 * MS);
    }
    ring.close(&c, CLOSE_RESET).wait(MS).close(&c, CLOSE_CLOSED);
    let mut c = Connection::server(2);
    ring.request(&mut c, &sample.request).wait(20 * MS).close(&c, CLOSE_EOF).wait(MS).close(&c, CLOSE_CLOSED);
    ring.records
}

/// Errors after a 200, in the stream.
fn stream_error() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    for name in ["llama_stream_error", "ollama_stream_error", "tgi_stream_error", "anthropic_overloaded"] {
        exchange(&mut ring, &mut c, name);
    }
    ring.records
}

/// Three requests before the first response; then the responses in two calls.
fn pipelined() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    let [first, second, third] = ["vllm_chat", "llama_completion", "vllm_chat_stream"].map(Sample::load);
    ring.request(&mut c, [&first.request[..], &second.request, &third.request[..40]].concat());
    ring.wait(MS).request(&mut c, &third.request[40..]);
    let responses = [first.response(), second.response()].concat();
    ring.wait(90 * MS).response(&mut c, responses);
    third.answer(&mut ring, &mut c);
    ring.close(&c, CLOSE_CLOSED);
    ring.records
}

/// Two streams whose chunks alternate, one of them on a socket whose number was used before.
fn interleaved() -> Records {
    let mut ring = Ring::new();
    let mut before = Connection::server(2);
    exchange(&mut ring, &mut before, "llama_chat");
    ring.close(&before, CLOSE_CLOSED);
    let (mut a, mut b) = (Connection::server(1), Connection::server(2));
    let (left, right) = (Sample::load("vllm_chat_stream"), Sample::load("ollama_chat_stream"));
    ring.request(&mut a, &left.request).wait(MS).request(&mut b, &right.request).wait(40 * MS);
    ring.response(&mut b, &right.head).response(&mut a, &left.head);
    for number in 0..left.parts.len().max(right.parts.len()) {
        for (sample, connection) in [(&left, &mut a), (&right, &mut b)] {
            if let Some(part) = sample.parts.get(number) {
                ring.wait(5 * MS).response(connection, chunk(part));
            }
        }
    }
    ring.response(&mut a, "0\r\n\r\n").response(&mut b, "0\r\n\r\n");
    ring.records
}

/// The watched process is the caller, and reads what comes in pieces of its own.
pub fn client() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::client(1));
    for name in ["vllm_chat_stream", "anthropic_stream", "vllm_chat"] {
        let sample = Sample::load(name);
        ring.request(&mut c, &sample.request).wait(60 * MS);
        for piece in sample.response().chunks(700) {
            ring.response(&mut c, piece).wait(8 * MS);
        }
    }
    ring.close(&c, CLOSE_CLOSED);
    ring.records
}

/// The server is killed in mid-stream, with a second request waiting.
fn killed() -> Records {
    let (mut ring, mut a, mut b) = (Ring::new(), Connection::server(1), Connection::server(2));
    let sample = Sample::load("vllm_chat_stream");
    ring.request(&mut a, &sample.request).request(&mut b, &sample.request).wait(50 * MS);
    ring.response(&mut a, &sample.head).response(&mut a, chunk(&sample.parts[0])).wait(10 * MS);
    ring.response(&mut a, chunk(&sample.parts[1])).wait(3 * MS).kill(&a);
    ring.records
}

/// Reads and writes that cut heads, chunk sizes and events anywhere.
fn fragments() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    let sample = Sample::load("ollama_chat_stream");
    sample.request.chunks(23).for_each(|piece| _ = ring.request(&mut c, piece).wait(MS));
    sample.response().chunks(13).for_each(|piece| _ = ring.response(&mut c, piece).wait(MS));
    ring.records
}

/// Records that cannot be, a chunk size that lies, and a connection that speaks something else; then a good request.
fn garbage() -> Records {
    let (mut ring, mut c) = (Ring::new(), Connection::server(1));
    ring.records.extend([vec![], vec![4, 0, 0], vec![99; 64], [4, 0, 0, 0, 0, 0, 0, 0].repeat(4)]);
    let sample = Sample::load("vllm_chat_stream");
    ring.request(&mut c, &sample.request).wait(10 * MS).response(&mut c, &sample.head);
    ring.response(&mut c, "zz\r\ndata: {}\r\n").wait(MS);
    let mut other = Connection::server(2);
    ring.request(&mut other, b"\x16\x03\x01\x02\x00\x01\x00").response(&mut other, b"\x16\x03\x03 secret");
    exchange(&mut ring, &mut Connection::server(3), "vllm_chat");
    ring.records
}

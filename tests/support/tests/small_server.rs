//! The small server against the client: every dialect, every family of system calls, every framing and every turn.
//! What these two agree on is what the live tests hold the agent to.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use support::client::{Client, Request};
use support::outcome::Outcome;
use support::server::Server;

fn send(server: &Server, request: &Request) -> Outcome {
    Client::new(&server.target).send(request).unwrap()
}

/// (path, body without stream, id prefix, whether a finish reason is given, whether usage is)
fn dialects() -> Vec<(&'static str, Value, bool, bool, bool)> {
    let messages = json!([{ "role": "user", "content": "one two three" }]);
    vec![
        ("/v1/chat/completions", json!({ "model": "m", "messages": messages, "max_tokens": 7 }), true, true, true),
        ("/v1/completions", json!({ "model": "m", "prompt": "one two three", "max_tokens": 7 }), true, true, true),
        ("/v1/responses", json!({ "model": "m", "input": "one two three", "max_output_tokens": 7 }), true, true, true),
        ("/v1/messages", json!({ "model": "m", "messages": messages, "max_tokens": 7 }), true, true, true),
        (
            "/generate",
            json!({ "model": "m", "text": "one two three", "sampling_params": { "max_new_tokens": 7 } }),
            true,
            true,
            true,
        ),
        ("/completion", json!({ "model": "m", "prompt": "one two three", "n_predict": 7 }), false, true, true),
        (
            "/api/chat",
            json!({ "model": "m", "messages": messages, "options": { "num_predict": 7 } }),
            false,
            true,
            true,
        ),
        (
            "/api/generate",
            json!({ "model": "m", "prompt": "one two three", "options": { "num_predict": 7 } }),
            false,
            true,
            true,
        ),
        (
            "/generate_stream",
            json!({ "inputs": "one two three", "parameters": { "max_new_tokens": 7 } }),
            false,
            true,
            true,
        ),
        (
            "/v2/models/m/versions/1/generate_stream",
            json!({ "text_input": "one two three", "max_tokens": 7 }),
            false,
            false,
            false,
        ),
    ]
}

#[test]
fn every_dialect_streams_its_usage() {
    let server = Server::start(&["--model", "m"]).unwrap();
    for (path, mut body, id, finish, usage) in dialects() {
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
        for eol in ["lf", "crlf"] {
            let o = send(&server, &Request::post(path, &body, true).test("eol", eol));
            assert!(o.complete() && o.status == 200, "{path}: {o:?}");
            assert_eq!(o.content_chunks, 7, "{path}");
            assert_eq!(o.id.is_some(), id, "{path}: {o:?}");
            assert_eq!(o.finish_reason.is_some(), finish, "{path}: {o:?}");
            let tokens = usage.then_some((3, 7));
            assert_eq!(o.input_tokens.zip(o.output_tokens), tokens, "{path}: {o:?}");
        }
    }
}

#[test]
fn every_dialect_replies_whole() {
    let server = Server::start(&["--model", "m"]).unwrap();
    for (path, mut body, id, finish, usage) in dialects() {
        let path = path.replace("_stream", "");
        body["stream"] = json!(false);
        let o = send(&server, &Request::post(&path, &body, false));
        assert!(o.complete() && o.content_chunks == 0, "{path}: {o:?}");
        assert_eq!((o.id.is_some(), o.finish_reason.is_some()), (id, finish), "{path}: {o:?}");
        assert_eq!(o.input_tokens.zip(o.output_tokens), usage.then_some((3, 7)), "{path}: {o:?}");
    }
    for path in ["/v1/embeddings", "/v1/rerank", "/v1/score"] {
        let o = send(&server, &Request::post(path, &json!({ "model": "m", "input": ["a b", "c"] }), false));
        assert_eq!((o.input_tokens, o.output_tokens), (Some(3), None), "{path}: {o:?}");
    }
    for path in ["/health", "/v1/models"] {
        assert_eq!(send(&server, &Request::get(path)).status, 200);
    }
    assert_eq!(send(&server, &Request::get("/nowhere")).status, 404);
    assert_eq!(support::page::get(&server.target, "/metrics").unwrap().0, 200);
}

#[test]
fn every_family_and_framing_gives_the_same_answer() {
    for reader in ["read", "recv", "readv", "recvmsg", "recvmmsg", "peek"] {
        let set = format!("reader={reader}");
        let server = Server::start(&["-s", &set, "-s", "read-size=24"]).unwrap();
        for writer in ["write", "send", "writev", "sendmsg", "sendmmsg"] {
            for framing in ["chunked", "length", "close"] {
                let request = Request::chat("m", "one two three", 20, true)
                    .test("writer", writer)
                    .test("framing", framing)
                    .test("nonblocking", u8::from(framing == "length"));
                for (key, value) in [("split", "3"), ("split", "0"), ("per-write", "6"), ("head", "together")] {
                    let o = send(&server, &request.clone().test(key, value));
                    let what = format!("{reader} {writer} {framing} {key}={value}: {o:?}");
                    assert!(o.complete(), "{what}");
                    assert_eq!((o.content_chunks, o.output_tokens), (20, Some(20)), "{what}");
                }
            }
        }
        assert_eq!(server.settled().unwrap().content_chunks, 5 * 3 * 4 * 20);
    }
}

#[test]
fn every_listener_and_every_mode_serves() {
    let path = std::env::temp_dir().join(format!("support-{}.sock", std::process::id()));
    let unix = format!("unix:{}", path.display());
    let named = format!("unix:@support-{}", std::process::id());
    for at in ["127.0.0.1:0", "[::1]:0", &unix, &named] {
        for mode in ["threads", "single", "prefork", "fork"] {
            // The workers of the last server may hold its name a moment longer.
            let own = if at.starts_with("unix:") { format!("{at}-{mode}") } else { at.to_owned() };
            let server = Server::start(&["--listen", &own, "--mode", mode]).unwrap();
            for dup in [0, 1] {
                let o = send(&server, &Request::chat("m", "hi", 5, true).test("dup", dup));
                assert!(o.complete() && o.content_chunks == 5, "{at} {mode}: {o:?}");
            }
            assert_eq!(server.settled().unwrap().completed, 2, "{at} {mode}");
        }
    }
}

#[test]
fn connections_are_kept_pipelined_and_continued() {
    let server = Server::start(&[]).unwrap();
    let mut client = Client::new(&server.target);
    let chat = |stream| Request::chat("m", "hi there", 4, stream);
    for stream in [true, false, true] {
        assert!(client.send(&chat(stream)).unwrap().complete());
    }
    assert_eq!(server.settled().unwrap().connections, 1);
    let odd = Request { expect_continue: true, body_chunks: Some(5), ..chat(true) };
    let o = client.send(&odd).unwrap();
    assert!(o.complete() && o.input_tokens == Some(2), "{o:?}");
    let all = client.pipeline(&[chat(true), Request::get("/health"), chat(false)]).unwrap();
    assert_eq!(all.iter().map(|o| o.status).collect::<Vec<_>>(), [200, 200, 200]);
    assert_eq!(all[0].content_chunks, 4);
    assert!(all[2].t_end_ns > all[2].t_send_ns);
}

#[test]
fn every_turn_ends_as_it_says() {
    for (turn, complete, content) in [
        ("error", true, 3),
        ("abort", false, 3),
        ("close", false, 3),
        ("kill", false, 3),
        ("garbage", true, 9),
        ("half-json", true, 10),
        ("long-line", true, 10),
        ("bad-utf8", true, 10),
        ("lying-chunk", false, 4),
    ] {
        let server = Server::start(&["--mode", "fork"]).unwrap();
        let o = send(&server, &Request::chat("m", "hi", 10, true).test("turn", turn));
        assert_eq!(o.complete(), complete, "{turn}: {o:?}");
        assert_eq!(o.error.is_some(), turn == "error", "{turn}: {o:?}");
        // After a reset, what was not yet read is gone; noise without a line end swallows the event that follows it.
        let at_most = turn == "abort" || turn == "garbage";
        assert!(o.content_chunks == content || (at_most && o.content_chunks <= 10), "{turn}: {o:?}");
    }
}

#[test]
fn errors_gzip_and_clients_that_leave() {
    let server = Server::start(&[]).unwrap();
    let chat = Request::chat("m", "hi", 10, true);
    for status in [400, 404, 429, 500, 503] {
        let o = send(&server, &chat.clone().test("status", status));
        assert_eq!((o.status, o.error.is_some(), o.complete()), (status, true, true), "{o:?}");
    }
    let o = send(&server, &Request::chat("m", "hi", 10, false).test("gzip", 1));
    assert!(o.complete() && o.id.is_none(), "{o:?}");
    let o = send(&server, &Request { abort_after: Some(2), ..chat.clone().test("delay-us", 2000) });
    assert!(o.aborted && o.content_chunks >= 2 && !o.complete(), "{o:?}");
    let o = send(&server, &chat.clone().test("usage", "never").test("done", 0));
    assert_eq!((o.complete(), o.output_tokens), (true, None));
    let o = send(&server, &chat.test("per-chunk", 4).test("cached", 1));
    assert_eq!((o.content_chunks, o.output_tokens), (3, Some(10)));
    let o = send(&server, &Request::chat("m", "hi", 1, false).test("garbage-head", 1));
    assert!(o.failure.is_some() && o.status == 0, "{o:?}");
}

#[test]
fn a_drain_counts_what_the_server_sent() {
    let server = Server::start(&[]).unwrap();
    let request = Request { close: true, ..Request::chat("m", "hi", 5000, true) };
    let d = support::drain::drain_stream(&server.target, &request, 64, std::time::Duration::from_secs(60)).unwrap();
    assert_eq!((d.ended, d.chunks), (64, 64 * 5000));
    assert_eq!(server.settled().unwrap().content_chunks, d.chunks);
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("{:.0} chunks/s\n", d.chunks_per_second()).as_bytes(),
    );
}

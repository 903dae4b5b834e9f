//! Which instant each mark of an exchange takes, in both roles.

use super::*;

/// Calls of the exchange below begin at these multiples of the call's time.
fn streamed(role: Role) -> Wire {
    let mut wire = Wire::new(role);
    wire.now = 0;
    let request = chat(true);
    let (head, body) = request.split_at(40);
    wire.request(head).request(body);
    wire.response("HTTP/1.1 100 Continue\r\n\r\n");
    wire.response(&STREAM_HEAD[..10]).response(&STREAM_HEAD[10..]);
    wire.response(event("{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}"));
    wire.response(token("a"));
    wire.response([token("b"), token("c")].concat());
    wire.response(event("[DONE]")).response(STREAM_END);
    wire
}

#[test]
fn marks_of_both_roles() {
    // Call n (from 1) begins at 2n-1 and returns at 2n.
    let rows = [(Role::Server, [2, 4, 7, 13, 15, 20]), (Role::Client, [1, 4, 8, 14, 16, 20])];
    for (role, want) in rows {
        let wire = streamed(role);
        let x = &wire.out[0];
        let marks = [Some(x.start), x.request_end, x.first_byte, x.first_content, x.last_content, Some(x.end)];
        assert_eq!(marks.map(|m| m.map(|m| m.at_ns / CALL_NS)), want.map(Some), "{role:?}");
        // Snapshots are those of the records: taken at the return of the call here.
        let taken = marks.map(|m| m.map(|m| m.snapshot.at_ns / CALL_NS));
        assert_eq!(taken, [2, 4, 8, 14, 16, 20].map(Some), "{role:?}");
        assert_eq!(x.content_chunks, 3);
        assert_eq!((x.chunk_gaps.sum_ns, x.chunk_gaps.buckets.iter().sum::<u32>()), (2 * CALL_NS, 1));
    }
}

#[test]
fn records_of_one_call_have_no_gap_between_them() {
    let mut wire = Wire::server();
    wire.record_bytes = 16;
    wire.request(chat(true)).response(STREAM_HEAD).response([token("a"), token("b")].concat()).response(STREAM_END);
    let x = &wire.out[0];
    assert_eq!((x.content_chunks, x.chunk_gaps.buckets.iter().sum::<u32>()), (2, 0));
}

#[test]
fn a_response_that_is_not_streamed_has_no_first_content() {
    let mut wire = Wire::server();
    let body =
        r#"{"id":"c","object":"chat.completion","choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    wire.request(chat(false));
    wire.response(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let x = &wire.out[0];
    assert_eq!((x.first_content, x.last_content, x.content_chunks), (None, None, 0));
    assert!(x.first_byte.is_some() && x.llm.as_ref().is_some_and(|llm| !llm.stream));
}

/// That it is the first of a stream shows when the second has come.
#[test]
fn the_first_line_counts_from_when_it_came() {
    for kind in ["application/json", "application/x-ndjson", "text/plain"] {
        let mut wire = Wire::server();
        wire.now = 0;
        let line = |text: &str| format!("{{\"message\":{{\"content\":\"{text}\"}}}}\n");
        wire.request(post("/api/chat", "", "{}"));
        wire.response(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n"));
        wire.response(line("a")).response(line("b")).response([line("c"), line("d")].concat());
        wire.close(inferscope_abi::CLOSE_CLOSED);
        let x = &wire.out[0];
        let marks = [x.first_content, x.last_content].map(|mark| mark.map(|mark| mark.at_ns / CALL_NS));
        assert_eq!(marks, [Some(5), Some(9)], "{kind}");
        assert_eq!((x.content_chunks, x.chunk_gaps.buckets.iter().sum::<u32>()), (4, 2), "{kind}");
    }
}

#[test]
fn coded_bodies_give_sizes_and_times_only() {
    for coding in ["content-encoding: gzip\r\n", "content-encoding: br\r\n", "content-encoding: zstd\r\n"] {
        let mut wire = Wire::server();
        let head = STREAM_HEAD.replace("\r\n\r\n", &format!("\r\n{coding}\r\n"));
        let size = head.len() + token("a").len() + STREAM_END.len();
        wire.request(chat(true)).response(head).response(token("a")).response(STREAM_END);
        let x = &wire.out[0];
        assert_eq!((x.first_content, x.content_chunks, x.response_bytes), (None, 0, size as u64), "{coding}");
        assert!(x.llm.as_ref().is_some_and(|llm| llm.stream && llm.output_tokens.is_none()), "{coding}");
    }
    for coding in ["none", "", "Identity", "identity, none"] {
        let mut wire = Wire::server();
        let head = STREAM_HEAD.replace("\r\n\r\n", &format!("\r\ncontent-encoding: {coding}\r\n\r\n"));
        wire.request(chat(true)).response(head).response(token("a")).response(STREAM_END);
        assert_eq!(wire.out[0].content_chunks, 1, "{coding}");
    }
    let mut wire = Wire::server();
    let head = STREAM_HEAD.replace(": chunked", ": gzip, chunked");
    wire.request(chat(true)).response(head).response(token("a")).response(STREAM_END);
    assert_eq!((wire.out.len(), wire.out[0].content_chunks), (1, 0));
}

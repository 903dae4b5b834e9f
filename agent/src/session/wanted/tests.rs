//! Fields of real heads and bodies, cut anywhere; what is missing or broken says nothing.

use super::*;

const JSON: &[u8] = b"application/json";
const EVENTS: &[u8] = b"text/event-stream";

fn wanted(places: &[Place]) -> Arc<Wanted> {
    let mut wanted = Wanted::default();
    places.iter().for_each(|place| {
        wanted.add(place.clone()).unwrap();
    });
    Arc::new(wanted)
}

fn asked(path: &str) -> Place {
    Place::RequestBody(path.to_owned())
}

fn told(path: &str) -> Place {
    Place::ResponseBody(path.to_owned())
}

fn numbers(values: &Values) -> Vec<Option<f64>> {
    (0..values.len()).map(|id| values.get(id as FieldId).and_then(Value::number)).collect()
}

/// Both bodies in pieces of so many bytes.
fn read(wanted: &Arc<Wanted>, head: &str, request: &str, kind: &[u8], response: &str, piece: usize) -> Values {
    let mut reader = Reader::begin(wanted, head.as_bytes()).unwrap();
    request.as_bytes().chunks(piece).for_each(|bytes| reader.request_body(Piece::Bytes(bytes)));
    reader.request_end();
    let headers = [Header { name: "Content-Type", value: kind }, Header { name: "X-Served-By", value: b" gpu-3 " }];
    reader.response_head(&headers, 200);
    response.as_bytes().chunks(piece).for_each(|bytes| reader.response_body(Piece::Bytes(bytes)));
    reader.response_end();
    reader.finish()
}

const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nX-Tenant: acme\r\nx-tenant: other\r\n\r\n";

#[test]
fn headers_and_places_of_both_bodies_are_read_however_they_come() {
    let wanted = wanted(&[
        Place::RequestHeader("x-tenant".to_owned()),
        Place::ResponseHeader("x-served-by".to_owned()),
        asked("temperature"),
        asked("messages.#"),
        asked("metadata.tier"),
        asked("stop[]"),
        asked("stream"),
        told("usage.cost"),
        told("missing"),
    ]);
    let request = r#"{"messages":[{"role":"user","content":"temperature"},{},[]],"temperature":-0.25,
        "metadata":{"tier":"g\u006fld"},"stop":["a","b"],"stream":true}"#;
    let response = r#"{"usage":{"cost":1.5e-3}}"#;
    for piece in [1, 2, 3, 1000] {
        let values = read(&wanted, HEAD, request, JSON, response, piece);
        let text = |id| values.get(id).map(Value::text);
        assert_eq!(text(0).as_deref(), Some("acme"), "the first of that name");
        assert_eq!(text(1).as_deref(), Some("gpu-3"));
        assert_eq!(text(4).as_deref(), Some("gold"));
        assert_eq!(text(5).as_deref(), Some("a"));
        let found = [None, None, Some(-0.25), Some(3.0), None, None, Some(1.0), Some(0.0015), None];
        assert_eq!(numbers(&values), found, "{piece}");
    }
}

#[test]
fn of_a_stream_the_last_event_holds_that_says_it() {
    let wanted = wanted(&[told("usage.queue_ms"), told("choices.#")]);
    let stream = "data: {\"choices\":[{},{}],\"usage\":{\"queue_ms\":1}}\n\n\
        data: {\"usage\":{\"queue_ms\":7},\"choices\":[]}\n\n\
        data: {\"usage\":{\"queue_ms\":9}\n\n\
        data: [DONE]\n\n";
    for piece in [1, 5, 1000] {
        assert_eq!(numbers(&read(&wanted, HEAD, "", EVENTS, stream, piece)), [Some(7.0), Some(2.0)], "{piece}");
    }
    let lines = "{\"usage\":{\"queue_ms\":3}}\n{\"done\":true}\n";
    for kind in [b"application/x-ndjson".as_slice(), JSON, b"", EVENTS] {
        assert_eq!(numbers(&read(&wanted, HEAD, "", kind, lines, 4)), [Some(3.0), None]);
    }
}

#[test]
fn of_a_document_with_tensors_behind_it_nothing_but_the_document_is_read() {
    let wanted = wanted(&[told("outputs.#"), told("model_version")]);
    let document = r#"{"model_version":2,"outputs":[{},{}]}"#;
    let body = [document.as_bytes(), b"\0\n{\"model_version\":9}\n\n{"].concat();
    let length = document.len().to_string();
    let headers = [Header { name: "inference-header-content-length", value: length.as_bytes() }];
    let read = |pieces: &[Piece<'_>]| {
        let mut reader = Reader::begin(&wanted, HEAD.as_bytes()).unwrap();
        reader.response_head(&headers, 200);
        pieces.iter().for_each(|piece| reader.response_body(*piece));
        reader.response_end();
        numbers(&reader.finish())
    };
    for size in [1, 5, 1000] {
        let pieces: Vec<_> = body.chunks(size).map(Piece::Bytes).collect();
        assert_eq!(read(&pieces), [Some(2.0), Some(2.0)], "{size}");
    }
    // Bytes are missing before the document is over, and tensors may look like its end.
    let cut = [Piece::Bytes(&body[..5]), Piece::Gap(8), Piece::Bytes(b"1,\"model_version\":9}")];
    assert_eq!(read(&cut), [None, None]);
}

#[test]
fn what_was_not_seen_whole_is_not_counted() {
    let wanted = wanted(&[asked("messages.#"), asked("max_tokens")]);
    let mut reader = Reader::begin(&wanted, HEAD.as_bytes()).unwrap();
    reader.request_body(Piece::Bytes(br#"{"messages":[{},{"content":"aaa"#));
    reader.request_body(Piece::Gap(100));
    reader.request_body(Piece::Bytes(br#"b"}],"max_tokens":64}"#));
    reader.request_end();
    assert_eq!(numbers(&reader.finish()), [None, Some(64.0)]);
    // No JSON says nothing, nor does half of a document.
    for body in ["temperature=1", r#"{"max_tokens":5,"#] {
        assert_eq!(numbers(&read(&wanted, HEAD, body, JSON, "", 7)), [None, None], "{body}");
    }
}

#[test]
fn a_place_is_wanted_once_and_what_cannot_be_had_is_refused() {
    let mut wanted = Wanted::default();
    assert_eq!(wanted.add(asked("a.b")), Ok(0));
    assert_eq!(wanted.add(told("a.b")), Ok(1));
    assert_eq!(wanted.add(asked("a.b")), Ok(0));
    for path in ["", "a..b", ".a", "a[", "#", "a.#.b", "a[]]", "[]", &"a.".repeat(9), "a.b.c.d.e.f.g.h.i"] {
        assert!(wanted.add(asked(path)).is_err(), "{path}");
    }
    assert_eq!(wanted.add(asked("m.#")), Ok(2));
    assert!(wanted.add(asked("m[]")).is_err());
    assert!(Reader::begin(&Arc::default(), HEAD.as_bytes()).is_none());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read(
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        kind in 0..3usize, piece in 1..9usize,
    ) {
        let wanted = wanted(&[asked("a.#"), asked("b"), told("a.#"), told("b")]);
        let mut reader = Reader::begin(&wanted, &body).unwrap();
        let kinds: [&[u8]; 3] = [JSON, EVENTS, b"application/x-ndjson"];
        reader.response_head(&[Header { name: "content-type", value: kinds[kind] }], 200);
        for (at, bytes) in body.chunks(piece).enumerate() {
            reader.request_body(Piece::Bytes(bytes));
            reader.response_body(if at % 5 == 4 { Piece::Gap(3) } else { Piece::Bytes(bytes) });
        }
        reader.request_end();
        reader.response_end();
        proptest::prop_assert_eq!(reader.finish().len(), 4);
    }
}

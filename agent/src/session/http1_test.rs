//! Heads, one by one.

use super::*;

fn http1(head: &[u8]) -> Result<RequestHead, Fault> {
    match request(head)? {
        Request::Http1(head) => Ok(head),
        Request::Http2 => panic!("{} is HTTP/2", String::from_utf8_lossy(head)),
    }
}

#[test]
fn request_lines() {
    let long = format!("/{}", "é".repeat(400));
    let rows: &[(&[u8], &str, &str)] = &[
        (b"GET / HTTP/1.1", "GET", "/"),
        (b"GET /a/b?token=secret HTTP/1.0", "GET", "/a/b"),
        (b"GET /a#part HTTP/1.1", "GET", "/a"),
        (b"POST http://host:8000/v1/models?x HTTP/1.1", "POST", "/v1/models"),
        (b"GET http://host HTTP/1.1", "GET", "/"),
        (b"GET http://host?a=b HTTP/1.1", "GET", "/"),
        (b"GET /see?at=http://other/path HTTP/1.1", "GET", "/see"),
        (b"GET /to/http://other/path HTTP/1.1", "GET", "/to/http://other/path"),
        (b"OPTIONS * HTTP/1.1", "OPTIONS", "*"),
        (b"CONNECT host:443 HTTP/1.1", "CONNECT", "host:443"),
        ("GET /é HTTP/1.1".as_bytes(), "GET", "/é"),
        (b"GET /a\xff\xfeb HTTP/1.1", "GET", "/a\u{fffd}\u{fffd}b"),
        (&[b"GET ", long.as_bytes(), b" HTTP/1.1"].concat(), "GET", &long[..511]),
    ];
    for (line, method, path) in rows {
        let head = http1(&[*line, b"\r\nhost: h\r\n\r\n"].concat()).expect("a valid head");
        assert_eq!((head.method.as_str(), head.path.as_str()), (*method, *path));
    }
    for line in [b"GET /a\0b HTTP/1.1".as_slice(), b"GET / HTTP/3.0", b"GET /", b"GET  / HTTP/1.1", b"\xff / HTTP/1.1"]
    {
        assert_eq!(http1(&[line, b"\r\n\r\n"].concat()), Err(Fault::RequestHead), "{line:?}");
    }
}

#[test]
fn framing_of_requests() {
    let rows: &[(&str, Result<Option<Body>, Fault>)] = &[
        ("", Ok(None)),
        ("Content-Length: 0\r\n", Ok(None)),
        ("content-length: 5\r\n", Ok(Some(Body::Length(5)))),
        ("content-length: 5, 5\r\ncontent-length: 5\r\n", Ok(Some(Body::Length(5)))),
        ("content-length: 5\r\ncontent-length: 6\r\n", Err(Fault::ContentLength)),
        ("content-length: +5\r\n", Err(Fault::ContentLength)),
        ("content-length: 99999999999999999999\r\n", Err(Fault::ContentLength)),
        ("content-length: \r\n", Err(Fault::ContentLength)),
        ("transfer-encoding: chunked\r\n", Ok(Some(Body::chunked()))),
        ("content-length: 5\r\ntransfer-encoding: Chunked\r\n", Ok(Some(Body::chunked()))),
        ("transfer-encoding: gzip, chunked\r\n", Ok(Some(Body::chunked()))),
        ("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", Ok(Some(Body::chunked()))),
        ("transfer-encoding: chunked, gzip\r\n", Err(Fault::TransferEncoding)),
    ];
    for (headers, want) in rows {
        let got = http1(format!("POST / HTTP/1.1\r\n{headers}\r\n").as_bytes()).map(|head| head.body);
        assert_eq!(got, *want, "{headers}");
    }
}

#[test]
fn framing_of_responses() {
    type Row<'a> = (&'a str, Result<(Option<Body>, bool), Fault>);
    let rows: &[Row<'_>] = &[
        ("", Ok((Some(Body::UntilClose), false))),
        ("Content-Length: 0\r\n", Ok((None, false))),
        ("content-length: 7\r\ncontent-encoding: gzip\r\n", Ok((Some(Body::Length(7)), true))),
        ("content-length: 7\r\ncontent-encoding: identity\r\n", Ok((Some(Body::Length(7)), false))),
        ("content-length: 7\r\ncontent-encoding: None\r\n", Ok((Some(Body::Length(7)), false))),
        ("content-length: 7\r\ncontent-encoding:\r\n", Ok((Some(Body::Length(7)), false))),
        ("content-length: 7\r\ncontent-encoding: identity, br\r\n", Ok((Some(Body::Length(7)), true))),
        ("transfer-encoding: chunked\r\n", Ok((Some(Body::chunked()), false))),
        ("transfer-encoding: gzip, chunked\r\n", Ok((Some(Body::chunked()), true))),
        ("transfer-encoding: gzip\r\n", Ok((Some(Body::UntilClose), true))),
        ("a header without a colon\r\ncontent-length: 7\r\n", Ok((Some(Body::Length(7)), false))),
        ("content-length: 1\r\ncontent-length: 2\r\n", Err(Fault::ContentLength)),
    ];
    for (headers, want) in rows {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
        let got = response(head.as_bytes(), |head| {
            assert_eq!(head.status, 200);
            (head.body, head.encoded)
        });
        assert_eq!(got, *want, "{headers}");
    }
    assert!(response(b"HTTP/1.1 2x0 OK\r\n\r\n", |_| ()).is_err());
    assert!(response(b"HTTP/1.1 200\r\n\r\n", |head| assert_eq!(head.status, 200)).is_ok());
}

#[test]
fn headers_that_identify() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let rows = [
        (trace.to_owned(), Some(trace)),
        (trace.to_uppercase(), None),
        (trace.replace("00-4b", "ff-4b"), None),
        (trace.replace("00f067aa0ba902b7", "0000000000000000"), None),
        (format!("{trace}-00"), None),
        (trace[..50].to_owned(), None),
        (String::new(), None),
    ];
    for (value, want) in rows {
        let head = http1(format!("GET / HTTP/1.1\r\nTraceParent: {value}\r\n\r\n").as_bytes()).expect("a valid head");
        assert_eq!(head.traceparent.as_deref(), want, "{value}");
    }
    let long = "x".repeat(4000);
    for (value, want) in [("abc-1", Some("abc-1")), ("a b", None), ("", None), (&long, Some(&long[..128]))] {
        let head = http1(format!("GET / HTTP/1.1\r\nX-Request-ID: {value}\r\n\r\n").as_bytes()).expect("a valid head");
        assert_eq!(head.request_id.as_deref(), want);
    }
}

#[test]
fn too_many_headers_are_refused() {
    let head = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
    assert_eq!(http1(head.as_bytes()), Err(Fault::RequestHead));
}

#[test]
fn beginnings() {
    for (data, want) in [
        (b"GET /".as_slice(), Begins::Yes),
        (b"M-SEARCH *", Begins::Yes),
        (b"PO", Begins::Perhaps),
        (b"", Begins::Perhaps),
        (b"{\"a\":1}", Begins::No),
        (b"GE\0 /", Begins::No),
        (b"A /", Begins::No),
        (&[b'A'; 100], Begins::No),
    ] {
        assert_eq!(request_begins(data), want, "{data:?}");
    }
    for (data, want) in [(b"HTTP/1.1 200".as_slice(), Begins::Yes), (b"HTT", Begins::Perhaps), (b"data: x", Begins::No)]
    {
        assert_eq!(response_begins(data), want, "{data:?}");
    }
    assert!(matches!(request(b"PRI * HTTP/2.0\r\n\r\n"), Ok(Request::Http2)));
}

#[test]
fn ends_of_heads() {
    for (data, end) in
        [("a\r\n\r\nb", Some(5)), ("a\n\nb", Some(3)), ("a\n\r\n", Some(4)), ("a\r\n\r", None), ("", None)]
    {
        for from in 0..end.unwrap_or(data.len()) {
            assert_eq!(head_end(data.as_bytes(), from), end, "{data:?} from {from}");
        }
    }
}

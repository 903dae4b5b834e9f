//! Streams as servers write them, and as nobody does.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

/// Events as `name|data`, with `~` where bytes are missing.
fn events(pieces: &[&str]) -> Vec<String> {
    let mut splitter = SseSplitter::default();
    let mut events = Vec::new();
    let (name, data) = (RefCell::new(String::new()), RefCell::new(String::new()));
    let mut take = |part: Part<'_>| match part {
        Part::Name(bytes) => *name.borrow_mut() = String::from_utf8_lossy(bytes).into_owned(),
        Part::Data(bytes) => data.borrow_mut().push_str(&String::from_utf8_lossy(bytes)),
        Part::End => events.push(format!("{}|{}", name.take(), data.take())),
        Part::Rest(bytes) => data.borrow_mut().push_str(&String::from_utf8_lossy(bytes)),
        Part::Lost => events.push(format!("~{}", data.take())),
    };
    for piece in pieces {
        match *piece {
            "~" => {
                splitter.gap();
                drop((name.take(), data.take()));
            }
            bytes => splitter.push(bytes.as_bytes(), &mut take),
        }
    }
    splitter.end(&mut take);
    events
}

#[test]
fn sse_events() {
    let cases: &[(&str, &[&str])] = &[
        ("data: a\n\ndata: b\n\n", &["|a", "|b"]),
        ("data:a\r\n\r\ndata:  b\r\rdata\n\n", &["|a", "| b", "|"]),
        ("\u{feff}data: a\n\n", &["|a"]),
        (": ping\n\nevent: x\ndata: 1\ndata: 2\nid: 7\nretry: 5\n\n", &["x|1\n2"]),
        ("event: only\n\n\n\n", &["only|"]),
        ("data: cut off", &["|cut off"]),
        ("data", &["|"]),
        ("error: {\"code\":500}\n\n", &["error|{\"code\":500}"]),
        ("datax: a\ndat: b\n\n", &[]),
        ("data: a: b\n\n", &["|a: b"]),
    ];
    for (stream, expected) in cases {
        assert_eq!(events(&[stream]), *expected, "{stream:?}");
        let bytes: Vec<&str> = stream.split("").collect();
        assert_eq!(events(&bytes), *expected, "{stream:?} byte by byte");
    }
}

#[test]
fn sse_after_a_gap_starts_at_a_blank_line() {
    assert_eq!(events(&["data: a\n\ndata: b", "~", "c\n\ndata: d\n\n"]), ["|a", "~c", "|d"]);
    assert_eq!(events(&["data: a\r\n", "~", "data: b\r\n\r\n", "data: c\r\n\r\n"]), ["~data: b", "|c"]);
    assert_eq!(events(&["~", "data: x\n", "~", "\n\ndata: y\n\n"]), ["~", "|y"]);
    assert_eq!(events(&["data: a", "~", "b", "c\r\nid: 5\r", "\n\r\ndata: d"]), ["~bc\nid: 5", "|d"]);
    assert_eq!(events(&["data: a", "~", "b\n"]), ["~b"]);
}

proptest! {
    #[test]
    fn sse_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
        let split = |cuts: &[usize]| {
            let mut splitter = SseSplitter::default();
            let mut seen = Vec::new();
            let mut take = |part: Part<'_>| match part {
                Part::Data(data) => seen.extend_from_slice(data),
                Part::Name(name) => seen.extend(name.iter().chain(b"|")),
                Part::End => seen.push(b'$'),
                Part::Rest(_) | Part::Lost => unreachable!("nothing is missing"),
            };
            let mut from = 0;
            for cut in cuts {
                splitter.push(&bytes[from..*cut], &mut take);
                from = *cut;
            }
            splitter.end(&mut take);
            seen
        };
        let at = at.min(bytes.len());
        prop_assert_eq!(split(&[bytes.len()]), split(&[at, bytes.len()]));
    }
}

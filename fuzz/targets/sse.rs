//! Event streams: however the bytes are cut, the events are the same. The first byte says where to cut.
#![no_main]

use agent::session::sse::{Part, SseSplitter};
use libfuzzer_sys::fuzz_target;

fn events(pieces: &[&[u8]]) -> Vec<u8> {
    let mut splitter = SseSplitter::default();
    let mut seen = Vec::new();
    let mut take = |part: Part<'_>| match part {
        Part::Name(name) => seen.extend(name.iter().chain(b"|")),
        Part::Data(data) => seen.extend_from_slice(data),
        Part::End => seen.push(0),
        Part::Rest(_) | Part::Lost => unreachable!("nothing is missing"),
    };
    for piece in pieces {
        splitter.push(piece, &mut take);
    }
    splitter.end(&mut take);
    seen
}

fuzz_target!(|input: &[u8]| {
    let Some((at, stream)) = input.split_first() else { return };
    let (head, tail) = stream.split_at(usize::from(*at).min(stream.len()));
    let whole = events(&[stream]);
    assert_eq!(whole, events(&[head, tail]));
    assert_eq!(whole, events(&stream.chunks(1).collect::<Vec<_>>()));

    let mut splitter = SseSplitter::default();
    splitter.push(head, &mut |_| {});
    splitter.gap();
    splitter.push(tail, &mut |_| {});
    splitter.end(&mut |_| {});
});

//! JSON lines: however the bytes are cut, the lines are the same. The first byte says where to cut.
#![no_main]

use agent::session::ndjson::NdjsonSplitter;
use agent::session::sse::Part;
use libfuzzer_sys::fuzz_target;

fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut splitter = NdjsonSplitter::default();
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut take = |part: Part<'_>| match part {
        Part::Name(_) => unreachable!("lines have no names"),
        Part::Data(data) => line.extend_from_slice(data),
        Part::End => lines.push(std::mem::take(&mut line).trim_ascii().to_vec()),
        Part::Rest(_) | Part::Lost => unreachable!("nothing is missing"),
    };
    for piece in pieces {
        splitter.push(piece, &mut take);
    }
    splitter.end(&mut take);
    lines
}

fuzz_target!(|input: &[u8]| {
    let Some((at, stream)) = input.split_first() else { return };
    let (head, tail) = stream.split_at(usize::from(*at).min(stream.len()));
    let whole = lines(&[stream]);
    assert_eq!(whole, lines(&[head, tail]));
    let plain: Vec<_> = stream.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).collect();
    assert_eq!(whole, plain);
});

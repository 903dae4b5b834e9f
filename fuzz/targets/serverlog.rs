//! Logs of servers: however the bytes are cut, the lines are the same, and any line has a level. The first byte says
//! where to cut.
#![no_main]

use agent::serverlog::{
    level,
    lines::{LINE_BYTES, Lines},
    message::Messages,
};
use libfuzzer_sys::fuzz_target;

fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut lines, mut seen) = (Lines::default(), Vec::new());
    for piece in pieces {
        lines.push(piece, |line| seen.push(line.to_vec()));
    }
    lines.end(|line| seen.push(line.to_vec()));
    seen
}

fuzz_target!(|input: &[u8]| {
    let Some((at, stream)) = input.split_first() else { return };
    let (head, tail) = stream.split_at(usize::from(*at).min(stream.len()));
    let whole = lines(&[stream]);
    assert_eq!(whole, lines(&[head, tail]));
    assert_eq!(whole, lines(&stream.chunks(1).collect::<Vec<_>>()));
    let mut messages = Messages::default();
    for line in &whole {
        assert!(line.len() <= LINE_BYTES);
        let told = messages.line(line);
        assert!(told.is_none() || !line.trim_ascii().is_empty());
        level::by_words(level::read(line).message);
    }
});

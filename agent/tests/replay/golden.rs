//! Files of `data/replay`: text and recordings that a change of behaviour changes, and nothing else does.
//! A recording is frames of a little-endian u32 length and the bytes of one ring record.

use std::path::PathBuf;

const HINT: &str = "If the change is meant: UPDATE_GOLDEN=1 cargo test -p agent --test replay, and read the diff.";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/replay").join(name)
}

pub fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}. {HINT}"))
}

/// Fails at the first line that differs from the file, or writes the file if that is asked for.
#[track_caller]
pub fn compare(name: &str, now: &[u8]) {
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|update| update == "1") {
        return std::fs::write(path(name), now).unwrap();
    }
    let known = read(name);
    if known == now {
        return;
    }
    if name.ends_with(".ring") {
        panic!("{name} is not what the wire types and the scene give today. {HINT}");
    }
    let (known, now) = (String::from_utf8_lossy(&known), String::from_utf8_lossy(now));
    for (number, (was, is)) in known.lines().zip(now.lines()).enumerate() {
        assert_eq!(was, is, "{name}, line {}. {HINT}", number + 1);
    }
    panic!("{name} has {} lines and should have {}. {HINT}", now.lines().count(), known.lines().count());
}

pub fn framed(records: &[Vec<u8>]) -> Vec<u8> {
    let frame = |record: &Vec<u8>| [&(record.len() as u32).to_le_bytes()[..], record].concat();
    records.iter().flat_map(frame).collect()
}

pub fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (record, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        records.push(record.to_vec());
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a frame is cut");
    records
}

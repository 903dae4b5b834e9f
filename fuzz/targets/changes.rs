//! What of a process' command line, environment and /proc is read and shown: values of secret names and of secret looks
//! are masked. The input is a block of strings that end in zeros, as /proc has them.
#![no_main]

use std::sync::LazyLock;

use agent::changes::{MASK, Reader, is_secret_name, looks_secret, units};
use agent::{discover::parse_stat, profile::maps::mapping};
use libfuzzer_sys::fuzz_target;

static READER: LazyLock<Reader> = LazyLock::new(|| Reader::new(vec!["*".to_owned()]));
/// Longer texts are shown cut, and a part can look like a secret where the whole does not.
const CUT: usize = 200;

fuzz_target!(|input: &[u8]| {
    for (name, kept) in READER.allowed(input) {
        assert!(!is_secret_name(&name), "{name}");
        let whole = kept.shown.chars().count() < CUT;
        assert!(kept.shown == MASK || !whole || !looks_secret(&kept.shown), "{name}={}", kept.shown);
    }
    let text = String::from_utf8_lossy(input);
    let mut args: Vec<String> = text.split('\0').map(str::to_owned).collect();
    let raw: Vec<String> = units(&args).into_iter().map(|(raw, _)| raw).collect();
    assert_eq!(raw.join(" "), args.join(" "));
    // Whatever stands before it and behind it.
    let at = usize::from(input.first().copied().unwrap_or_default()).min(args.len());
    args.splice(at..at, ["--api-key", "PLANTED1", "--port=1", "--hf-token=PLANTED2", "sk-PLANTED3"].map(str::to_owned));
    let shown: String = units(&args).into_iter().map(|(_, shown)| shown).collect();
    assert!(text.contains("PLANTED") || !shown.contains("PLANTED"), "{args:?}: {shown}");
    for line in text.lines() {
        parse_stat(line);
        if let Some(mapping) = mapping(line) {
            assert!(line.ends_with(&mapping.path));
        }
    }
});

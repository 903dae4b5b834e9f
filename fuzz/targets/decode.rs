//! Ring records: any bytes give an event or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(agent::decode::Event::Payload(payload)) = agent::decode::decode(bytes) {
        assert_eq!(payload.data.len(), payload.head.captured as usize);
    }
});

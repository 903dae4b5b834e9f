//! What goes on behind an engine's front: any bytes as frames, and as records of both directions of a connection.
#![no_main]

use agent::decode::Payload;
use agent::session::{Limits, Sessions, zmtp};
use inferscope_abi::{DIR_TX, PAYLOAD_FIRST, PAYLOAD_ZMTP, PayloadHeader};
use libfuzzer_sys::fuzz_target;

// Each record: direction and flags, bytes left out behind it, its length in two bytes, its bytes.
fuzz_target!(|input: &[u8]| {
    zmtp::any_frame(input);
    let mut sessions = Sessions::new(Limits::default());
    let (mut rest, mut offsets, mut now) = (input, [0u64; 2], 1);
    while let [how, left_out, low, high, after @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (data, after) = after.split_at(length);
        rest = after;
        now += 10;
        let direction = how & DIR_TX;
        let at = &mut offsets[usize::from(direction)];
        // A record can be lost, and one can come again.
        *at = (*at + u64::from(how & 4)).saturating_sub(u64::from(how & 8));
        let mut head = PayloadHeader {
            socket: u64::from(direction),
            offset: *at,
            captured: data.len() as u32,
            length: data.len() as u32 + u32::from(*left_out),
            direction,
            enter_ns: now,
            flags: PAYLOAD_ZMTP | if how & 2 == 0 { PAYLOAD_FIRST } else { 0 },
            ..PayloadHeader::default()
        };
        head.header.at_ns = now;
        *at += u64::from(head.length);
        sessions.payload(&Payload { head, data }, &mut |_| unreachable!("no exchange of HTTP"));
        sessions.tick(now, &mut |_| {});
    }
});

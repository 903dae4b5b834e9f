//! The session layer on a script of records: any bytes in both directions, with losses, closes, exits and time. It must
//! not panic, and must hold no more than its limits allow.
#![no_main]

use agent::decode::Payload;
use agent::session::exchange::Exchange;
use agent::session::{Limits, Sessions};
use inferscope_abi::{CloseEvent, FAMILY_INET, Header, Kind, Network, PAYLOAD_FIRST, PayloadHeader, Snapshot};
use libfuzzer_sys::fuzz_target;

const TGID: u32 = 9;

struct Script {
    sessions: Sessions,
    now: u64,
    offsets: [u64; 2],
    ended: u64,
}

impl Script {
    fn header(&mut self, kind: Kind) -> Header {
        self.now += 1000;
        Header { kind: kind as u32, tgid: TGID, tid: TGID, reserved: 0, at_ns: self.now }
    }

    /// The call moved `missing` bytes more than were captured.
    fn payload(&mut self, direction: u8, data: &[u8], missing: u32, flags: u16) {
        let header = self.header(Kind::Payload);
        let length = data.len() as u32 + missing;
        let head = PayloadHeader {
            header,
            enter_ns: self.now - 500,
            socket: 1,
            offset: self.offsets[usize::from(direction)],
            captured: data.len() as u32,
            length,
            service: 3,
            fd: 4,
            direction,
            family: FAMILY_INET,
            flags,
            local_port: 8000,
            remote_port: 50_000,
            remote_address: [0; 16],
            network: Network::default(),
            snapshot: Snapshot::default(),
        };
        self.offsets[usize::from(direction)] += u64::from(length);
        let ended = &mut self.ended;
        self.sessions.payload(&Payload { head, data }, &mut |exchange| check(&exchange, ended));
    }

    fn close(&mut self, reason: u32) {
        let header = self.header(Kind::Close);
        let event = CloseEvent { header, socket: 1, service: 3, reason, moved: [0; 2] };
        let ended = &mut self.ended;
        self.sessions.close(&event, &mut |exchange| check(&exchange, ended));
    }
}

fn check(exchange: &Exchange, ended: &mut u64) {
    *ended += 1;
    assert!(exchange.end.at_ns >= exchange.start.at_ns);
    assert!(exchange.content_chunks == 0 || exchange.first_content.is_some());
    assert!(exchange.first_content.is_none_or(|first| first.at_ns >= exchange.start.at_ns));
}

fuzz_target!(|input: &[u8]| {
    let limits = Limits { head_bytes: 1024, in_flight_per_connection: 4, ..Limits::default() };
    let mut script = Script { sessions: Sessions::new(limits), now: 1_000_000, offsets: [0; 2], ended: 0 };
    let mut flags = PAYLOAD_FIRST;
    let mut rest = input;
    while let [op, size, tail @ ..] = rest {
        let (data, tail) = tail.split_at(usize::from(*size).min(tail.len()));
        rest = tail;
        match op % 8 {
            direction @ 0..=1 => script.payload(direction, data, 0, std::mem::take(&mut flags)),
            direction @ 2..=3 => script.payload(direction - 2, data, u32::from(op >> 3), std::mem::take(&mut flags)),
            4 => script.offsets[usize::from(op >> 3 & 1)] += u64::from(*size),
            5 => script.close(u32::from(op >> 3 & 3)),
            6 => {
                script.now += u64::from(*size) * 1_000_000_000;
                let (now, ended) = (script.now, &mut script.ended);
                script.sessions.tick(now, &mut |exchange| check(&exchange, ended));
            }
            _ if op >> 3 == 0 => {
                let (now, ended) = (script.now, &mut script.ended);
                script.sessions.process_exit(TGID, now, &mut |exchange| check(&exchange, ended));
            }
            _ => flags = PAYLOAD_FIRST,
        }
        assert!(script.sessions.in_flight().count() <= 4);
    }
});

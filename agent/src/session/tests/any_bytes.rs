//! Properties: how a stream is cut into records changes nothing, and no bytes at all can do harm.

use inferscope_abi::{CLOSE_CLOSED, CLOSE_EOF, CLOSE_RESET, CLOSE_SHUTDOWN_WRITE};
use proptest::prelude::*;

use super::*;
use crate::session::exchange::Sending;

#[derive(Clone, Debug)]
struct Message {
    path: &'static str,
    request_chunked: bool,
    response: u8,
    tokens: Vec<String>,
}

impl Message {
    fn request(&self) -> String {
        let body = "{\"model\":\"m\",\"messages\":[],\"stream\":true}";
        if !self.request_chunked {
            return post(self.path, "content-type: application/json\r\n", body);
        }
        format!(
            "POST {} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            self.path,
            body.len()
        )
    }

    fn response(&self) -> String {
        let events: String = self.tokens.iter().map(|text| token(text)).collect();
        match self.response {
            0 => format!("HTTP/1.1 100 Continue\r\n\r\n{STREAM_HEAD}{events}{}{STREAM_END}", event("[DONE]")),
            1 => "HTTP/1.1 204 No Content\r\nx-request-id: r\r\n\r\n".to_owned(),
            2 => OK.to_owned(),
            _ => format!("{STREAM_HEAD}{events}0\r\nx-trailer: 1\r\n\r\n"),
        }
    }
}

fn message() -> impl Strategy<Value = Message> {
    let path = prop_oneof![Just("/v1/chat/completions"), Just("/health")];
    (path, any::<bool>(), 0u8..4, prop::collection::vec("[a-z]{1,9}", 0..4))
        .prop_map(|(path, request_chunked, response, tokens)| Message { path, request_chunked, response, tokens })
}

/// Plays the messages, every call cut into records of the sizes given, over and over.
fn play(messages: &[Message], role: Role, pipelined: bool, sizes: &[usize]) -> Vec<String> {
    let mut wire = Wire::new(role);
    let mut sizes = sizes.iter().cycle();
    let mut calls: Vec<(bool, String)> = Vec::new();
    if pipelined {
        calls.push((true, messages.iter().map(Message::request).collect()));
        calls.push((false, messages.iter().map(Message::response).collect()));
    } else {
        calls.extend(messages.iter().flat_map(|m| [(true, m.request()), (false, m.response())]));
    }
    for (request, bytes) in calls {
        let enter_ns = wire.now + CALL_NS;
        wire.now = enter_ns + CALL_NS;
        let mut rest = bytes.as_bytes();
        while !rest.is_empty() {
            let (data, after) = rest.split_at(rest.len().min(*sizes.next().expect("an endless cycle")));
            wire.record(request, data, data.len() as u64, enter_ns, 0);
            rest = after;
        }
    }
    assert_eq!(wire.sessions.stats().resyncs, 0, "{:?}", wire.failures());
    // Each of these records is a call of its own to the clock.
    let told = |exchange: &Exchange| format!("{:?}", Exchange { sending: Sending::default(), ..exchange.clone() });
    wire.out.iter().map(told).collect()
}

#[derive(Clone, Debug)]
enum Act {
    Bytes(bool, Vec<u8>),
    Lost(bool, u16),
    Back(bool, u16),
    Close(u32),
    Exit,
    Again,
    Cap(usize),
    Tick(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let likely: Vec<Vec<u8>> = [
        get("/a"),
        chat(true),
        EXPECT.to_owned(),
        OK.to_owned(),
        STREAM_HEAD.to_owned(),
        token("a"),
        event("[DONE]"),
        STREAM_END.to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        "ffffffffffffffff\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\n".to_owned(),
        "content-length: 18446744073709551615\r\n".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    let whole = prop::sample::select(likely);
    let part = (whole.clone(), any::<prop::sample::Index>()).prop_map(|(mut bytes, at)| {
        bytes.truncate(at.index(bytes.len()).max(1));
        bytes
    });
    let bytes = prop_oneof![4 => whole, 2 => part, 1 => prop::collection::vec(any::<u8>(), 1..200)];
    let reason = prop::sample::select(vec![CLOSE_CLOSED, CLOSE_EOF, CLOSE_RESET, CLOSE_SHUTDOWN_WRITE, 77]);
    prop_oneof![
        20 => (any::<bool>(), bytes).prop_map(|(request, bytes)| Act::Bytes(request, bytes)),
        1 => (any::<bool>(), any::<u16>()).prop_map(|(request, n)| Act::Lost(request, n)),
        1 => (any::<bool>(), any::<u16>()).prop_map(|(request, n)| Act::Back(request, n)),
        1 => reason.prop_map(Act::Close),
        1 => Just(Act::Exit),
        1 => Just(Act::Again),
        1 => (1usize..400).prop_map(Act::Cap),
        1 => any::<u64>().prop_map(Act::Tick),
    ]
}

const EXPECT: &str = "POST /e HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";

proptest! {
    #[test]
    fn any_split_gives_the_same_records(
        messages in prop::collection::vec(message(), 1..4),
        server in any::<bool>(),
        pipelined in any::<bool>(),
        sizes in prop::collection::vec(1usize..60, 1..20),
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let whole = play(&messages, role, pipelined, &[usize::MAX]);
        prop_assert_eq!(whole.len(), messages.len());
        prop_assert_eq!(play(&messages, role, pipelined, &sizes), whole);
    }

    #[test]
    fn any_acts_are_survived(acts in prop::collection::vec(act(), 1..60), server in any::<bool>()) {
        let mut wire = Wire::new(if server { Role::Server } else { Role::Client });
        wire.sessions = Sessions::new(Limits { in_flight_per_connection: 4, head_bytes: 2048, ..Limits::default() });
        let mut requests = 0;
        for act in acts {
            match act {
                Act::Bytes(request, bytes) => {
                    requests += bytes.iter().filter(|b| **b == b'/').count();
                    wire.call(request, &bytes);
                }
                Act::Lost(request, n) => _ = wire.lost(request, u64::from(n)),
                Act::Back(request, n) => {
                    let at = &mut wire.offsets[usize::from(request)];
                    *at = at.saturating_sub(u64::from(n));
                }
                Act::Close(reason) => _ = wire.close(reason),
                Act::Exit => _ = wire.exit(TGID),
                Act::Again => wire.switch(1),
                Act::Cap(bytes) => wire.call_bytes = bytes,
                Act::Tick(ns) => wire.sessions.tick(ns, &mut |_| ()),
            }
            prop_assert!(wire.sessions.connections() <= 1);
            prop_assert!(wire.sessions.in_flight().count() <= 4);
        }
        prop_assert!(wire.out.len() <= requests);
        for x in &wire.out {
            let first = x.first_byte.map_or(x.end.at_ns, |m| m.at_ns);
            prop_assert!(x.start.at_ns <= first && first <= x.end.at_ns, "{x:?}");
        }
    }

    #[test]
    fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..2000), cut in 1usize..100) {
        let mut wire = Wire::server();
        wire.record_bytes = cut;
        wire.request([b"GET / HTTP/1.1\r\n".as_slice(), &data].concat()).response(&data).request(&data);
        prop_assert!(wire.sessions.connections() <= 1);
    }
}

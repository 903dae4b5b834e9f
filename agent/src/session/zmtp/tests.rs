//! Hand-made messages of several versions, cut anywhere, lost in part; and what no bytes may do.

use inferscope_abi::{PAYLOAD_ZMTP, PayloadHeader};
use proptest::prelude::*;

use super::*;

/// MessagePack by hand, as far as it is needed here.
pub(super) mod pack {
    pub fn array(values: &[Vec<u8>]) -> Vec<u8> {
        [&[0xdc, (values.len() >> 8) as u8, values.len() as u8][..], &values.concat()].concat()
    }

    pub fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let pairs: Vec<Vec<u8>> = pairs.iter().map(|(key, value)| [text(key), value.clone()].concat()).collect();
        [&[0x80 | pairs.len() as u8][..], &pairs.concat()].concat()
    }

    pub fn text(text: &str) -> Vec<u8> {
        let length = text.len() as u8;
        let head = if length < 32 { vec![0xa0 | length] } else { vec![0xd9, length] };
        [&head, text.as_bytes()].concat()
    }

    pub fn int(n: u16) -> Vec<u8> {
        if n < 128 { vec![n as u8] } else { [&[0xcd][..], &n.to_be_bytes()].concat() }
    }

    pub fn float(x: f64) -> Vec<u8> {
        [&[0xcb][..], &x.to_be_bytes()].concat()
    }

    pub fn ints(count: usize) -> Vec<u8> {
        array(&vec![int(999); count])
    }

    pub const NIL: [u8; 1] = [0xc0];
}

use pack::{NIL, array, float, int, ints, map, text};

/// A ZMTP message of these frames.
fn message(frames: &[Vec<u8>]) -> Vec<u8> {
    let frame = |(index, body): (usize, &Vec<u8>)| {
        let more = u8::from(index + 1 < frames.len());
        let head = match u8::try_from(body.len()) {
            Ok(length) => vec![more, length],
            Err(_) => [&[more | 2][..], &(body.len() as u64).to_be_bytes()].concat(),
        };
        [head, body.clone()].concat()
    };
    frames.iter().enumerate().flat_map(frame).collect()
}

fn nils(count: usize) -> Vec<Vec<u8>> {
    vec![NIL.to_vec(); count]
}

fn add(id: &str, prompt: usize) -> Vec<u8> {
    let fields = array(&[vec![text(id), ints(prompt)], nils(3), vec![float(1.5)]].concat());
    message(&[vec![0], fields])
}

fn stats(running: u16, waiting: u16) -> Vec<u8> {
    map(&[("num_running_reqs", int(running)), ("num_waiting_reqs", int(waiting)), ("kv_cache_usage", float(0.5))])
}

fn events(pairs: &[(u16, f64)]) -> Vec<u8> {
    let event = |(kind, when): &(u16, f64)| map(&[("type", int(*kind)), ("timestamp", float(*when))]);
    array(&pairs.iter().map(event).collect::<Vec<_>>())
}

#[test]
fn vllm_outputs_are_read_by_their_shape() {
    let prefill = map(&[("num_prompt_tokens", int(7)), ("num_cached_tokens", int(4))]);
    let logprobs = array(&[array(&[ints(3)]), array(&[array(&[float(-0.5)])])]);
    let seen = events(&[(1, 2.0), (2, 2.5), (3, 2.75), (2, 3.0)]);
    // 0.8: the finish reason stands fifth, a stop reason that is a token sixth.
    let old = [vec![text("a"), ints(1), logprobs.clone(), NIL.to_vec(), int(0), int(4), seen.clone()]].concat();
    // 0.9 to 0.11: after the pooling output.
    let newer =
        [vec![text("b"), ints(2)], nils(3), vec![int(1), NIL.to_vec(), NIL.to_vec(), NIL.to_vec(), int(4)]].concat();
    // 0.12 and later: counts of the prefill in a map.
    let newest = [vec![text("c"), ints(3), logprobs], nils(4), vec![seen], nils(3), vec![prefill]].concat();
    let outputs = array(&[array(&old), array(&newer), array(&newest)]);
    for top in [vec![int(0), outputs.clone(), stats(3, 9), float(4.5)], vec![outputs.clone(), stats(3, 9)]] {
        let bytes = array(&top);
        let reply = vllm::reply(&bytes).expect("a reply");
        let told: Vec<_> = reply.outputs.iter().map(|o| (o.id, o.tokens, o.finish)).collect();
        assert_eq!(told, [("a", 1, Some("stop")), ("b", 2, Some("length")), ("c", 3, None)]);
        let a = &reply.outputs[0];
        assert_eq!((a.queued_ns, a.scheduled_ns, a.preemptions), (Some(2_000_000_000), Some(2_500_000_000), 1));
        let c = &reply.outputs[2];
        assert_eq!((c.prompt_tokens, c.cached_tokens, c.scheduled_ns), (Some(7), Some(4), Some(2_500_000_000)));
        assert_eq!((reply.running, reply.waiting, reply.cut), (Some(3), Some(9), false));
        for end in 0..bytes.len() {
            let part = vllm::reply(&bytes[..end]);
            let outputs = part.as_ref().map_or(&[][..], |part| &part.outputs);
            assert!(outputs.iter().zip(&reply.outputs).all(|(one, other)| one == other), "cut at {end}");
            assert!(part.is_none_or(|part| part.cut || part.outputs.len() == 3), "cut at {end}");
        }
    }
}

#[test]
fn vllm_requests_tell_their_prompt_even_where_they_are_cut() {
    let fields = array(&[text("chatcmpl-x-00000001"), ints(3000), NIL.to_vec()]);
    let added = vllm::request(&fields[..200]).expect("a request");
    assert_eq!((added.id, added.prompt_tokens), ("chatcmpl-x-00000001", Some(3000)));
    let embeds = array(&[text("x"), NIL.to_vec()]);
    assert_eq!(vllm::request(&embeds).expect("a request").prompt_tokens, None);
    let old = array(&[text("x"), NIL.to_vec(), ints(12), NIL.to_vec()]);
    assert_eq!(vllm::request(&old).expect("a request").prompt_tokens, Some(12));
    let pictures = array(&[text("x"), NIL.to_vec(), array(&[map(&[("data", NIL.to_vec())])])]);
    assert_eq!(vllm::request(&pictures).expect("a request").prompt_tokens, None);
    for none in [array(&[int(1), ints(2)]), ints(2), vec![0x93], text("x"), array(&[text(&"x".repeat(0)), ints(1)])] {
        assert_eq!(vllm::request(&none), None);
    }
}

#[test]
fn sglang_messages_are_read_packed_and_pickled() {
    let request = array(&[text("TokenizedGenerateReqInput"), text("9f3a"), NIL.to_vec(), text("secret"), ints(9)]);
    assert_eq!(sglang::request(&request).expect("a request").id, "9f3a");
    let done = map(&[("type", text("length")), ("length", int(8))]);
    let (ids, texts) = (array(&[text("a"), text("b")]), array(&[text("secret"), text("more")]));
    let counts = |x: u16, y: u16| array(&[int(x), int(y)]);
    let fields = [text("BatchStrOutput"), ids, NIL.to_vec(), array(&[NIL.to_vec(), done]), texts, NIL.to_vec()];
    let reply = [&fields[..], &[counts(5, 6), counts(300, 2), counts(0, 0), counts(1, 0)]].concat();
    let reply = array(&reply);
    let reply = sglang::reply(&reply).expect("a reply");
    let told: Vec<_> = reply.outputs.iter().map(|o| (o.id, o.tokens_in_all, o.prompt_tokens, o.finish)).collect();
    assert_eq!(told, [("a", Some(300), Some(5), None), ("b", Some(2), Some(6), Some("length"))]);
    assert_eq!((reply.outputs[0].cached_tokens, reply.cut), (Some(1), false));
    // As pickle.dumps writes dataclasses with these fields (protocol 4).
    let pickled = b"\x80\x04\x95\xa0\0\0\0\0\0\0\0\x8c\x01m\x94\x8c\x0eBatchStrOutput\x94\x93\x94)\x81\x94}\x94(\
        \x8c\x04rids\x94]\x94(\x8c\x01a\x94\x8c\x01b\x94e\x8c\x0boutput_strs\x94]\x94(\x8c\x06secret\x94\x8c\x04more\x94e\
        \x8c\x0dprompt_tokens\x94]\x94(K\x05K\x06e\x8c\x11completion_tokens\x94]\x94(M,\x01K\x02eub.";
    let reply = sglang::reply(pickled).expect("a reply");
    let told: Vec<_> = reply.outputs.iter().map(|o| (o.id, o.tokens_in_all, o.prompt_tokens)).collect();
    assert_eq!((told, reply.cut), (vec![("a", Some(300), Some(5)), ("b", Some(2), Some(6))], false));
    let one = b"\x80\x04\x95\0\0\0\0\0\0\0\0}\x94(\x8c\x04rids\x94]\x94\x8c\x01a\x94a\x8c\x11completion_tokens\x94]\x94K\x03aub.";
    assert_eq!(sglang::reply(one).expect("a reply").outputs[0].tokens_in_all, Some(3));
    let request =
        b"\x80\x04\x95\0\0\0\0\0\0\0\0}\x94(\x8c\x03rid\x94\x8c\x049f3a\x94\x8c\x0ainput_text\x94\x8c\x06secret\x94ub.";
    assert_eq!(sglang::request(request).expect("a request").id, "9f3a");
}

#[test]
fn sglang_is_followed_from_its_first_messages_on() {
    let mut front = Front::new();
    let request = array(&[text("TokenizedGenerateReqInput"), text("9f3a"), NIL.to_vec(), text("secret")]);
    front.all(true, &message(&[request]));
    for count in [1, 2, 5] {
        let list = |value: Vec<u8>| array(&[value]);
        let head = [text("BatchStrOutput"), list(text("9f3a")), NIL.to_vec(), list(NIL.to_vec()), list(text("secret"))];
        let counts = [NIL.to_vec(), list(int(7)), list(int(count)), list(int(0)), list(int(0))];
        front.all(false, &message(&[array(&[&head[..], &counts].concat())]));
    }
    let trace = front.take("9f3a").expect("known");
    assert_eq!((trace.output_tokens, trace.input_tokens, trace.says_all, trace.is_counted()), (5, Some(7), true, true));
    assert!(trace.added_ns < trace.first_ns && trace.first_ns < trace.last_ns && !front.useless);
}

/// The connections of a front.
struct Front {
    engines: Engines,
    stats: Stats,
    offsets: [u64; 2],
    first: [bool; 2],
    now: u64,
    useless: bool,
}

impl Front {
    fn new() -> Self {
        Self {
            engines: Engines::default(),
            stats: Stats::default(),
            offsets: [0; 2],
            first: [true; 2],
            now: 1000,
            useless: false,
        }
    }

    fn record(&mut self, sent: bool, data: &[u8], length: usize) {
        self.now += 10;
        let direction = if sent { DIR_TX } else { DIR_RX };
        let at = &mut self.offsets[usize::from(direction)];
        let first = &mut self.first[usize::from(direction)];
        let mut head = PayloadHeader {
            socket: u64::from(direction),
            offset: *at,
            captured: data.len() as u32,
            length: length as u32,
            service: 1,
            enter_ns: self.now,
            direction,
            flags: PAYLOAD_ZMTP | if std::mem::take(first) { PAYLOAD_FIRST } else { 0 },
            ..PayloadHeader::default()
        };
        head.header.at_ns = self.now;
        *at += length as u64;
        self.useless |= self.engines.payload(&Payload { head, data }, &mut self.stats);
    }

    fn lost(&mut self, sent: bool, bytes: usize) {
        self.offsets[usize::from(if sent { DIR_TX } else { DIR_RX })] += bytes as u64;
    }

    fn all(&mut self, sent: bool, data: &[u8]) {
        self.record(sent, data, data.len());
    }

    /// A request before, so that both connections are known.
    fn known() -> Self {
        let mut front = Self::new();
        front.all(true, &add("chatcmpl-first-0000000f", 3));
        front.all(false, &reply(&[("chatcmpl-first-0000000f", 1, Some(1))]));
        front
    }

    fn take(&mut self, id: &str) -> Option<crate::session::exchange::EngineTrace> {
        self.engines.ledger.take(1, id)
    }
}

fn reply(outputs: &[(&str, usize, Option<u16>)]) -> Vec<u8> {
    let output = |(id, tokens, finish): &(&str, usize, Option<u16>)| {
        let finish = finish.map_or(NIL.to_vec(), int);
        array(&[vec![text(id), ints(*tokens)], nils(3), vec![finish]].concat())
    };
    let outputs = array(&outputs.iter().map(output).collect::<Vec<_>>());
    message(&[array(&[int(0), outputs, stats(2, 1), float(7.0)])])
}

#[test]
fn a_batch_of_frames_cut_anywhere_gives_the_same() {
    let tensors = message(&[vec![0], array(&[text("chatcmpl-b-00000002"), ints(7)]), vec![9; 70_000], vec![8; 300]]);
    let sent = [add("chatcmpl-a-00000001", 400), tensors, message(&[vec![1], array(&[text("none")])])].concat();
    let read = [
        reply(&[("chatcmpl-a-00000001", 1, None)]),
        reply(&[("chatcmpl-a-00000001", 1, None), ("chatcmpl-b-00000002", 1, None)]),
        reply(&[("chatcmpl-a-00000001", 1, Some(1)), ("chatcmpl-b-00000002", 3, Some(0))]),
    ]
    .concat();
    for size in [1, 2, 3, 7, 64, 8192, usize::MAX] {
        let mut front = Front::known();
        sent.chunks(size.min(sent.len())).for_each(|piece| front.all(true, piece));
        read.chunks(size.min(read.len())).for_each(|piece| front.all(false, piece));
        if size < 16 {
            // A message is only known by some bytes of its beginning; without those it is none.
            continue;
        }
        let (a, b) = (front.take("chatcmpl-a").expect("a"), front.take("chatcmpl-b").expect("b"));
        assert_eq!(
            (a.output_tokens, a.input_tokens, a.finish, a.exact()),
            (3, Some(400), Some("length"), true),
            "{size}"
        );
        assert_eq!((b.output_tokens, b.input_tokens, b.in_flight, b.exact()), (4, Some(7), 1, true), "{size}");
        assert_eq!((a.running, a.waiting), (Some(2), Some(1)));
        assert_eq!((front.stats.engine_frames_lost, front.useless), (0, false), "{size}");
    }
}

#[test]
fn what_was_left_out_of_a_long_frame_is_stepped_over() {
    let mut front = Front::known();
    let long = add("chatcmpl-a-00000001", 50_000);
    front.record(true, &long[..4096], long.len());
    front.all(true, &add("chatcmpl-b-00000002", 3));
    assert_eq!(front.take("chatcmpl-a").expect("a").input_tokens, Some(50_000));
    assert_eq!(front.take("chatcmpl-b").expect("b").input_tokens, Some(3));
    assert_eq!(front.stats.engine_frames_lost, 0);
}

#[test]
fn lost_messages_leave_doubt_and_the_next_one_is_taken_up() {
    let mut front = Front::known();
    let id = "chatcmpl-a-00000001";
    front.all(true, &add(id, 3));
    front.all(false, &reply(&[(id, 1, None)]));
    let gone = reply(&[(id, 1, None)]);
    front.lost(false, gone.len());
    front.all(false, &reply(&[(id, 1, Some(1))]));
    front.all(true, &add("chatcmpl-b-00000002", 3));
    front.all(false, &reply(&[("chatcmpl-b-00000002", 5, Some(1))]));
    let (a, b) = (front.take("chatcmpl-a").expect("a"), front.take("chatcmpl-b").expect("b"));
    assert_eq!((a.output_tokens, a.exact(), a.doubt), (2, false, true));
    assert_eq!((b.output_tokens, b.exact()), (5, true));
    assert_eq!(front.stats.engine_frames_lost, 1);
}

#[test]
fn of_requests_before_the_first_reply_that_is_heard_some_may_be_missing() {
    let mut front = Front::new();
    let ids = ["chatcmpl-a-00000001", "chatcmpl-b-00000002"];
    ids.iter().for_each(|id| front.all(true, &add(id, 3)));
    let seen = events(&[(1, 2.0), (2, 2.5)]);
    let first = array(&[vec![text(ids[1]), ints(1)], nils(5), vec![seen]].concat());
    front.all(false, &message(&[array(&[int(0), array(&[first]), stats(2, 0)])]));
    front.all(false, &reply(&[(ids[0], 1, Some(1)), (ids[1], 1, Some(1))]));
    let (a, b) = (front.take("chatcmpl-a").expect("a"), front.take("chatcmpl-b").expect("b"));
    assert_eq!((a.exact(), b.exact(), b.output_tokens), (false, true, 2));
    let mut front = Front::new();
    front.first = [false; 2];
    front.all(true, &add(ids[0], 3));
    front.all(false, &reply(&[(ids[0], 1, Some(1))]));
    assert_eq!((front.take("chatcmpl-a").expect("a").exact(), front.stats.engine_frames_lost), (false, 2));
}

#[test]
fn a_reply_that_was_cut_leaves_doubt() {
    let mut front = Front::known();
    let ids: Vec<String> = (0..9).map(|n| format!("chatcmpl-{n}-0000000{n}")).collect();
    ids.iter().for_each(|id| front.all(true, &add(id, 3)));
    let outputs: Vec<_> = ids.iter().map(|id| (id.as_str(), 1, Some(1))).collect();
    let long = reply(&outputs);
    front.record(false, &long[..120], long.len());
    let exact: Vec<bool> = (0..9).map(|n| front.take(&format!("chatcmpl-{n}")).expect("added").exact()).collect();
    assert!(exact[..3].iter().all(|exact| *exact) && !exact[3..].iter().any(|exact| *exact), "{exact:?}");
}

#[test]
fn what_speaks_otherwise_is_let_go() {
    let mut front = Front::new();
    for _ in 0..=BARREN + 1 {
        front.all(false, &message(&[array(&[int(3), array(&[int(1)]), NIL.to_vec()])]));
    }
    assert!(front.useless && front.engines.ledger.is_empty());
}

#[test]
fn answers_to_the_calls_of_a_front_are_no_reason_to_let_go() {
    let called = |result: Vec<u8>| {
        let answer = array(&[int(9), NIL.to_vec(), result]);
        message(&[array(&[int(0), array(&[]), NIL.to_vec(), float(7.0), answer])])
    };
    let (short, long) = (called(text("secret")), called(ints(200)));
    // A wave of requests is over: without an instant, and to its end.
    let wave = message(&[array(&[vec![int(0), array(&[])], nils(4), vec![int(3)]].concat())]);
    let mut front = Front::known();
    for _ in 0..=BARREN {
        front.all(false, &short);
        front.record(false, &long[..100], long.len());
        front.all(false, &wave);
    }
    assert!(!front.useless);
    let id = "chatcmpl-a-00000001";
    front.all(true, &add(id, 3));
    front.all(false, &reply(&[(id, 2, Some(1))]));
    let trace = front.take("chatcmpl-a").expect("known");
    assert_eq!((trace.output_tokens, trace.exact(), front.stats.engine_frames_lost), (2, true, 0));
    // Each of them on its own would have to do.
    for one in [&short[..], &wave[..]] {
        let mut front = Front::known();
        (0..=BARREN + 1).for_each(|_| front.all(false, one));
        assert!(!front.useless);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        records in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200), 0usize..50), 0..40),
        cut in 0usize..400,
    ) {
        let mut front = Front::new();
        let begin = [add("chatcmpl-a-00000001", 30), reply(&[("chatcmpl-a-00000001", 1, None)])];
        for (sent, data, left_out) in records {
            let data = [&begin[usize::from(!sent)][..cut.min(60)], &data].concat();
            front.record(sent, &data, data.len() + left_out);
            any_frame(&data);
        }
        prop_assert!(front.engines.streams.len() <= 2);
    }

    #[test]
    fn any_change_of_a_message_is_survived(at in any::<prop::sample::Index>(), to in any::<u8>(), size in 1usize..300) {
        let mut bytes = [reply(&[("a", 2, None), ("b", 1, Some(0))]), add("c", 9)].concat();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let mut front = Front::new();
        bytes.chunks(size).for_each(|piece| { front.all(true, piece); front.all(false, piece) });
        any_frame(&bytes);
    }
}

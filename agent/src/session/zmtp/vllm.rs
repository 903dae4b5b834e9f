//! vLLM's messages, which are MessagePack. Structs come as arrays whose trailing defaults are left out, and fields were
//! added in the middle more than once, so that values are told by their shape:
//!
//! - request, after a frame of one byte: `[request_id, nil?, [prompt token, ...] | nil, ...]`
//! - reply: `[engine_index?, [output, ...], {scheduler stats} | nil, ...]`
//! - output: `[request_id, [token, ...], ..., finish_reason (5th or 6th), ..., [{type, timestamp}, ...], ..., {prefill}]`

use rmp::Marker;

use super::{Added, Output, Reply};

/// Ids are kept; a longer one is none.
const ID_BYTES: usize = 512;
/// The longest head of an array.
const HEAD_BYTES: usize = 5;
const FINISH_REASONS: [&str; 5] = ["stop", "length", "abort", "error", "repetition"];
/// Where the finish reason stands: in the first position until 0.9, in the second since.
const FINISH_AT: std::ops::RangeInclusive<u64> = 4..=5;

/// Types of a core's events.
const QUEUED: u64 = 1;
const SCHEDULED: u64 = 2;
const PREEMPTED: u64 = 3;

/// The request of an ADD message's second frame, which may be cut.
pub fn request(bytes: &[u8]) -> Option<Added<'_>> {
    let mut at = bytes;
    let fields = array(&mut at)?;
    let id = text(&mut at)?;
    if fields < 2 || !is_id(id) {
        return None;
    }
    Some(Added { id, prompt_tokens: array(&mut at).or_else(|| third(at)) })
}

/// Until 0.8 the text of the prompt stood before its tokens, nil by then. In the same place pictures came to stand, as maps.
fn third(mut at: &[u8]) -> Option<u64> {
    rmp::decode::read_nil(&mut at).ok()?;
    let tokens = array(&mut at)?;
    number(&mut at).map(|_| tokens)
}

/// The ids of an ABORT message's second frame; false if it is none.
pub fn aborted(bytes: &[u8], each: &mut impl FnMut(&str)) -> bool {
    let mut at = bytes;
    let Some(count) = array(&mut at) else { return false };
    for _ in 0..count {
        let Some(id) = text(&mut at) else { return false };
        each(id);
    }
    true
}

/// A reply, as far as the bytes go; None if they are none.
pub fn reply(bytes: &[u8]) -> Option<Reply<'_>> {
    let mut at = bytes;
    let mut fields = array(&mut at)?;
    if number(&mut at).is_some() {
        fields = fields.checked_sub(1)?;
    }
    let count = array(&mut at)?;
    let mut reply = Reply::default();
    for _ in 0..count {
        match output(&mut at) {
            Some(Some(output)) => reply.outputs.push(output),
            // Something else than a request's output.
            Some(None) => return None,
            None => {
                reply.cut = true;
                return Some(reply);
            }
        }
    }
    for _ in 1..fields {
        let mut stats = at;
        if let Some(pairs) = map(&mut stats) {
            scheduler(&mut stats, pairs, &mut reply);
        }
        // When it was sent, which every core says.
        let mut instant = at;
        reply.sound |= seconds_to_ns(&mut instant).is_some();
        // What follows the stats is of no use.
        if reply.running.is_some() || skip(&mut at).is_none() {
            return Some(reply);
        }
    }
    reply.sound |= fields > 1 && at.is_empty();
    Some(reply)
}

/// None: the bytes end in it. Some(None): it is no output.
fn output<'a>(at: &mut &'a [u8]) -> Option<Option<Output<'a>>> {
    let none = |at: &[u8], most: usize| if at.len() < most { None } else { Some(None) };
    let Some(fields) = array(at) else { return none(at, HEAD_BYTES) };
    let Some(id) = text(at) else { return none(at, ID_BYTES) };
    if fields < 2 || !is_id(id) {
        return Some(None);
    }
    let Some(tokens) = array(at) else { return none(at, HEAD_BYTES) };
    skip_some(at, tokens)?;
    let mut output = Output { id, tokens, ..Output::default() };
    for field in 2..fields {
        let value = *at;
        skip(at)?;
        field_of(&mut output, field, &value[..value.len() - at.len()]);
    }
    Some(Some(output))
}

/// One field after the tokens, whole.
fn field_of(output: &mut Output<'_>, field: u64, mut value: &[u8]) {
    if let Some(reason) = number(&mut value) {
        if FINISH_AT.contains(&field) && output.finish.is_none() {
            output.finish = Some(FINISH_REASONS.get(reason as usize).copied().unwrap_or("other"));
        }
    } else if let Some(pairs) = map(&mut value) {
        pairs_of(&mut value, pairs, |key, value| match key {
            "num_cached_tokens" => output.cached_tokens = number(value),
            "num_prompt_tokens" => output.prompt_tokens = number(value),
            _ => {}
        });
    } else if let Some(count) = array(&mut value) {
        for _ in 0..count {
            let Some(pairs) = map(&mut value) else { return };
            let (mut kind, mut when) = (None, None);
            pairs_of(&mut value, pairs, |key, value| match key {
                "type" => kind = number(value),
                "timestamp" => when = seconds_to_ns(value),
                _ => {}
            });
            match kind {
                Some(QUEUED) => output.queued_ns = when,
                // After a preemption it is scheduled again; the first time ends the wait.
                Some(SCHEDULED) => output.scheduled_ns = output.scheduled_ns.or(when),
                Some(PREEMPTED) => output.preemptions += 1,
                _ => {}
            }
        }
    }
}

fn scheduler(at: &mut &[u8], pairs: u64, reply: &mut Reply<'_>) {
    pairs_of(at, pairs, |key, value| match key {
        "num_running_reqs" => reply.running = number(value),
        "num_waiting_reqs" => reply.waiting = number(value),
        _ => {}
    });
}

/// Each value that has a text for a key, as far as the bytes go.
pub(super) fn pairs_of(at: &mut &[u8], pairs: u64, mut each: impl FnMut(&str, &mut &[u8])) {
    for _ in 0..pairs {
        let key = text(at);
        if key.is_none() && skip(at).is_none() {
            return;
        }
        let mut value = *at;
        if skip(at).is_none() {
            return;
        }
        if let Some(key) = key {
            each(key, &mut value);
        }
    }
}

pub(super) fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= ID_BYTES
}

/// Of a monotonic clock: years, not centuries.
fn seconds_to_ns(at: &mut &[u8]) -> Option<u64> {
    let seconds = rmp::decode::read_f64(at).ok()?;
    (0.0..1e9).contains(&seconds).then_some((seconds * 1e9) as u64)
}

/// The readers below take a value off only if it is of their kind.
fn take<'a, T>(at: &mut &'a [u8], read: impl FnOnce(&mut &'a [u8]) -> Option<T>) -> Option<T> {
    let mut ahead = *at;
    let value = read(&mut ahead)?;
    *at = ahead;
    Some(value)
}

pub(super) fn array(at: &mut &[u8]) -> Option<u64> {
    take(at, |at| rmp::decode::read_array_len(at).ok().map(u64::from))
}

pub(super) fn map(at: &mut &[u8]) -> Option<u64> {
    take(at, |at| rmp::decode::read_map_len(at).ok().map(u64::from))
}

pub(super) fn number(at: &mut &[u8]) -> Option<u64> {
    take(at, |at| rmp::decode::read_int(at).ok())
}

pub(super) fn text<'a>(at: &mut &'a [u8]) -> Option<&'a str> {
    let (text, rest) = rmp::decode::read_str_from_slice(*at).ok()?;
    *at = rest;
    Some(text)
}

/// Steps over one value of any kind.
pub(super) fn skip(at: &mut &[u8]) -> Option<()> {
    skip_some(at, 1)
}

/// Steps over values, whatever is nested in them; each takes a byte at least, so that the bytes bound it.
fn skip_some(at: &mut &[u8], values: u64) -> Option<()> {
    let mut left = values;
    while left > 0 {
        let (first, rest) = at.split_first()?;
        *at = rest;
        let mut length = |bytes: usize| -> Option<u64> {
            let (length, rest) = at.split_at_checked(bytes)?;
            *at = rest;
            Some(length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
        };
        let (bytes, nested) = match Marker::from_u8(*first) {
            Marker::Null | Marker::True | Marker::False | Marker::FixPos(_) | Marker::FixNeg(_) => (0, 0),
            Marker::Reserved => return None,
            Marker::U8 | Marker::I8 => (1, 0),
            Marker::U16 | Marker::I16 | Marker::FixExt1 => (2, 0),
            Marker::FixExt2 => (3, 0),
            Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
            Marker::FixExt4 => (5, 0),
            Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
            Marker::FixExt8 => (9, 0),
            Marker::FixExt16 => (17, 0),
            Marker::FixStr(bytes) => (u64::from(bytes), 0),
            Marker::Str8 | Marker::Bin8 => (length(1)?, 0),
            Marker::Str16 | Marker::Bin16 => (length(2)?, 0),
            Marker::Str32 | Marker::Bin32 => (length(4)?, 0),
            Marker::Ext8 => (length(1)? + 1, 0),
            Marker::Ext16 => (length(2)? + 1, 0),
            Marker::Ext32 => (length(4)? + 1, 0),
            Marker::FixArray(values) => (0, u64::from(values)),
            Marker::Array16 => (0, length(2)?),
            Marker::Array32 => (0, length(4)?),
            Marker::FixMap(pairs) => (0, 2 * u64::from(pairs)),
            Marker::Map16 => (0, 2 * length(2)?),
            Marker::Map32 => (0, 2 * length(4)?),
        };
        *at = at.get(usize::try_from(bytes).ok()?..)?;
        left = (left - 1).saturating_add(nested);
    }
    Some(())
}

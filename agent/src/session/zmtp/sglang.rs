//! SGLang's messages between its front (the tokenizer manager) and the rest: MessagePack arrays that begin with the name of
//! their type in recent versions, pickled dataclasses before. Written from its sources, by which fields stand in which
//! order; a message that does not look like that is none.

use super::vllm::{array, is_id, number, skip, text};
use super::{Added, Output, Reply};

/// Requests of one reply; more of them are left out.
const MOST: usize = 4096;

/// A request, which may be cut.
pub fn request(bytes: &[u8]) -> Option<Added<'_>> {
    let packed = || {
        let mut at = tagged(bytes, |tag| matches!(tag, "TokenizedGenerateReqInput" | "TokenizedEmbeddingReqInput"))?;
        let id = text(&mut at).filter(|id| is_id(id))?;
        Some(Added { id, prompt_tokens: None })
    };
    let pickled = || {
        let at = if is_pickle(bytes) { after_key(bytes, "rid")? } else { return None };
        let id = pickled_text(at)?.0;
        is_id(id).then_some(Added { id, prompt_tokens: None })
    };
    packed().or_else(pickled)
}

/// A reply of the detokenizer. It tells all tokens so far of each request.
pub fn reply(bytes: &[u8]) -> Option<Reply<'_>> {
    if is_pickle(bytes) { pickled_reply(bytes) } else { packed_reply(bytes) }
}

/// `[tag, rids, http_worker_ipcs, finished_reasons, output_strs, output_ids, prompt_tokens, completion_tokens,
/// reasoning_tokens, cached_tokens, ...]`
fn packed_reply(bytes: &[u8]) -> Option<Reply<'_>> {
    let mut at = tagged(bytes, |tag| tag == "BatchStrOutput")?;
    let count = usize::try_from(array(&mut at)?).ok()?.min(MOST);
    let mut reply = Reply { cut: true, ..Reply::default() };
    for _ in 0..count {
        let Some(id) = text(&mut at).filter(|id| is_id(id)) else {
            return Some(Reply { cut: true, ..Reply::default() });
        };
        reply.outputs.push(Output { id, ..Output::default() });
    }
    let rest = |at: &mut &[u8], reply: &mut Reply<'_>| -> Option<()> {
        skip(at)?;
        finished(at, &mut reply.outputs)?;
        skip(at)?;
        skip(at)?;
        numbers(at, &mut reply.outputs, |output, count| output.prompt_tokens = Some(count))?;
        numbers(at, &mut reply.outputs, |output, count| output.tokens_in_all = Some(count))?;
        skip(at)?;
        numbers(at, &mut reply.outputs, |output, count| output.cached_tokens = Some(count))
    };
    reply.cut = rest(&mut at, &mut reply).is_none();
    Some(reply)
}

/// What follows the name of a message's type, if that is one of those wanted.
fn tagged(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Option<&[u8]> {
    let mut at = bytes;
    array(&mut at)?;
    text(&mut at).filter(|tag| wanted(tag))?;
    Some(at)
}

/// A list of nil (it goes on) and maps with a type.
fn finished(at: &mut &[u8], outputs: &mut [Output<'_>]) -> Option<()> {
    let count = array(at)?;
    for index in 0..count {
        let mut value = *at;
        skip(at)?;
        let output = usize::try_from(index).ok().and_then(|index| outputs.get_mut(index));
        if let (Some(pairs), Some(output)) = (super::vllm::map(&mut value), output) {
            super::vllm::pairs_of(&mut value, pairs, |key, value| {
                if key == "type" {
                    output.finish = text(value).map(reason);
                }
            });
        }
    }
    Some(())
}

fn reason(said: &str) -> &'static str {
    ["stop", "length", "abort"].into_iter().find(|known| *known == said).unwrap_or("other")
}

fn numbers<'a>(at: &mut &[u8], outputs: &mut [Output<'a>], set: impl Fn(&mut Output<'a>, u64)) -> Option<()> {
    let count = array(at)?;
    for index in 0..count {
        let mut value = *at;
        skip(at)?;
        if let (Some(number), Some(output)) = (number(&mut value), outputs.get_mut(usize::try_from(index).ok()?)) {
            set(output, number);
        }
    }
    Some(())
}

fn is_pickle(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 4 | 5, ..])
}

/// A pickled dataclass has its fields as a dict with the names for keys. No text can hold such a key: the bytes around
/// the name are not UTF-8.
fn after_key<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let key = [&[SHORT_TEXT, name.len() as u8], name.as_bytes(), &[MEMOIZE]].concat();
    let at = memchr::memmem::find(bytes, &key)?;
    Some(&bytes[at + key.len()..])
}

/// Opcodes of pickle protocol 4 (pickletools).
const SHORT_TEXT: u8 = 0x8c;
const MEMOIZE: u8 = 0x94;

fn pickled_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let [SHORT_TEXT, length, rest @ ..] = bytes else { return None };
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest.strip_prefix(&[MEMOIZE]).unwrap_or(rest)))
}

fn pickled_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes {
        [b'K', n, rest @ ..] => Some((u64::from(*n), rest)),
        [b'M', low, high, rest @ ..] => Some((u64::from(u16::from_le_bytes([*low, *high])), rest)),
        [b'J', a, b, c, d, rest @ ..] => Some((u64::from(u32::from_le_bytes([*a, *b, *c, *d])), rest)),
        _ => None,
    }
}

/// The elements of a list that has only ones that `read` knows, and at most [`MOST`].
fn pickled_list<'a, T>(bytes: &'a [u8], read: impl Fn(&'a [u8]) -> Option<(T, &'a [u8])>) -> Option<Vec<T>> {
    let rest = bytes.strip_prefix(b"]")?;
    let rest = rest.strip_prefix(&[MEMOIZE]).unwrap_or(rest);
    // One element is appended without a mark.
    if let Some((one, [b'a', ..])) = read(rest) {
        return Some(vec![one]);
    }
    let Some(mut rest) = rest.strip_prefix(b"(") else { return Some(Vec::new()) };
    let mut all = Vec::new();
    while !rest.starts_with(b"e") && all.len() < MOST {
        let (value, after) = read(rest)?;
        all.push(value);
        rest = after;
    }
    Some(all)
}

fn pickled_reply(bytes: &[u8]) -> Option<Reply<'_>> {
    let ids = pickled_list(after_key(bytes, "rids")?, pickled_text)?;
    let counts = |name| after_key(bytes, name).and_then(|at| pickled_list(at, pickled_number)).unwrap_or_default();
    let (all, prompt, cached) = (counts("completion_tokens"), counts("prompt_tokens"), counts("cached_tokens"));
    let output = |(index, id): (usize, _)| Output {
        id,
        tokens_in_all: all.get(index).copied(),
        prompt_tokens: prompt.get(index).copied(),
        cached_tokens: cached.get(index).copied(),
        ..Output::default()
    };
    let outputs: Vec<Output<'_>> = ids.into_iter().enumerate().map(output).collect();
    let cut = outputs.len() != all.len();
    Some(Reply { outputs, cut, ..Reply::default() })
}

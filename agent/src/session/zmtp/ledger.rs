//! Requests in an engine, from their ADD to the HTTP exchange that asks for them. Bounded: so many, and each for so long.
//! Replies and requests may come out of order where they come from different threads: either begins an entry.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Added, Output, Reply};
use crate::session::exchange::EngineTrace;

const ENTRIES: usize = 16_384;
/// How long an exchange may take to ask for a request that is over, and how long one may be silent that is not.
const KEEP_ENDED_NS: u64 = 60_000_000_000;
const KEEP_SILENT_NS: u64 = 900_000_000_000;

#[derive(Debug, Default)]
struct Entry {
    service: u32,
    /// Its last message.
    heard_ns: u64,
    /// Whether it counts as in the engine.
    inside: bool,
    trace: EngineTrace,
}

#[derive(Debug, Default)]
pub struct Ledger {
    entries: FxHashMap<Box<str>, Entry>,
    /// Ids with the same [`base`].
    bases: FxHashMap<Box<str>, SmallVec<[Box<str>; 1]>>,
    /// Requests that each service's engine has.
    inside: FxHashMap<u32, u64>,
    /// For which there was no room.
    pub refused: u64,
}

impl Ledger {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn entry(&mut self, service: u32, id: &str, at_ns: u64) -> Option<&mut Entry> {
        if !self.entries.contains_key(id) {
            if self.entries.len() >= ENTRIES {
                self.refused += 1;
                return None;
            }
            self.entries.insert(id.into(), Entry { service, ..Entry::default() });
            self.bases.entry(base(id).into()).or_default().push(id.into());
        }
        let entry = self.entries.get_mut(id)?;
        entry.heard_ns = at_ns;
        Some(entry)
    }

    /// The front handed a request to the core.
    pub fn added(&mut self, service: u32, added: &Added<'_>, at_ns: u64) {
        let inside = self.inside.get(&service).copied().unwrap_or(0);
        let Some(entry) = self.entry(service, added.id, at_ns) else { return };
        let trace = &mut entry.trace;
        if trace.added_ns.replace(at_ns).is_some() {
            return;
        }
        trace.requests = 1;
        trace.in_flight = inside;
        trace.input_tokens = trace.input_tokens.or(added.prompt_tokens);
        if trace.finish.is_none() {
            entry.inside = true;
            self.inside.insert(service, inside + 1);
        }
    }

    /// The core said something of some requests.
    pub fn replied(&mut self, service: u32, reply: &Reply<'_>, at_ns: u64) {
        for output in &reply.outputs {
            let Some(entry) = self.entry(service, output.id, at_ns) else { continue };
            output_of(&mut entry.trace, output, reply, at_ns);
            if output.finish.is_some() && std::mem::take(&mut entry.inside) {
                leave(&mut self.inside, service);
            }
        }
        if reply.cut {
            self.doubt(service);
        }
    }

    /// The front gave a request up.
    pub fn aborted(&mut self, id: &str) {
        if let Some(entry) = self.entries.get_mut(id)
            && std::mem::take(&mut entry.inside)
        {
            leave(&mut self.inside, entry.service);
        }
    }

    /// Messages were lost, of whichever request that is in the engine.
    pub fn doubt(&mut self, service: u32) {
        let theirs = self.entries.values_mut().filter(|entry| entry.service == service && entry.trace.finish.is_none());
        theirs.for_each(|entry| entry.trace.doubt = true);
    }

    /// Replies are heard from here on: of a request that is in the engine already the first ones may have been missed.
    pub fn begun(&mut self, service: u32) {
        let theirs = self.entries.values_mut().filter(|entry| entry.service == service && entry.trace.finish.is_none());
        theirs.for_each(|entry| entry.trace.late = true);
    }

    /// What is known of the requests that answered with this id, of which there can be several: a prompt each, a choice
    /// each. They are forgotten here.
    pub fn take(&mut self, service: u32, id: &str) -> Option<EngineTrace> {
        let named = self.bases.get(base(id))?;
        let here = |id: &str| self.entries.get(id).is_some_and(|entry| entry.service == service);
        let ours = named.iter().filter(|internal| belongs(internal, id) && here(internal));
        let ids: SmallVec<[Box<str>; 1]> = ours.cloned().collect();
        let mut whole: Option<EngineTrace> = None;
        for internal in ids {
            let Some(entry) = self.remove(&internal) else { continue };
            match &mut whole {
                Some(whole) => whole.add(&entry.trace, !is_choice(&internal)),
                None => whole = Some(entry.trace),
            }
        }
        whole
    }

    fn remove(&mut self, id: &str) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        if entry.inside {
            leave(&mut self.inside, entry.service);
        }
        if let Some(named) = self.bases.get_mut(base(id)) {
            named.retain(|known| **known != *id);
            if named.is_empty() {
                self.bases.remove(base(id));
            }
        }
        Some(entry)
    }

    /// Forgets what nobody asked for.
    pub fn tick(&mut self, now_ns: u64) {
        let keep = |entry: &Entry| if entry.inside { KEEP_SILENT_NS } else { KEEP_ENDED_NS };
        let due = |entry: &Entry| now_ns.saturating_sub(entry.heard_ns) > keep(entry);
        let due: Vec<Box<str>> = self.entries.iter().filter(|(_, e)| due(e)).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.remove(&id);
        }
    }
}

fn leave(inside: &mut FxHashMap<u32, u64>, service: u32) {
    if let Some(count) = inside.get_mut(&service) {
        *count -= 1;
        if *count == 0 {
            inside.remove(&service);
        }
    }
}

fn output_of(trace: &mut EngineTrace, output: &Output<'_>, reply: &Reply<'_>, at_ns: u64) {
    let before = trace.output_tokens;
    trace.output_tokens = output.tokens_in_all.unwrap_or(before + output.tokens);
    // The first reply of a request says when it was queued.
    trace.late &= before > 0 || output.queued_ns.is_none();
    trace.says_all |= output.tokens_in_all.is_some();
    if trace.output_tokens > before || output.finish.is_some() {
        trace.last_ns = Some(at_ns);
    }
    if trace.output_tokens > before && trace.first_ns.is_none() {
        (trace.first_ns, trace.running, trace.waiting) = (Some(at_ns), reply.running, reply.waiting);
    }
    trace.finish = output.finish.or(trace.finish);
    trace.preemptions += output.preemptions;
    trace.input_tokens = trace.input_tokens.or(output.prompt_tokens);
    trace.cached_tokens = output.cached_tokens.or(trace.cached_tokens);
    trace.queued_ns = trace.queued_ns.or(output.queued_ns);
    trace.scheduled_ns = trace.scheduled_ns.or(output.scheduled_ns);
}

/// What ids of one exchange have in common: without the number of a choice before it and what is numbered or made up
/// behind it. Different exchanges may share it.
fn base(id: &str) -> &str {
    let mut id = without_choice(id);
    while let Some((before, last)) = id.rsplit_once(['-', '_'])
        && last.len() <= 8
        && last.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        id = before;
    }
    id
}

/// vLLM numbers the choices of one prompt before the id: `0_cmpl-...`.
fn without_choice(id: &str) -> &str {
    match id.split_once('_') {
        Some((number, rest)) if is_number(number) => rest,
        _ => id,
    }
}

/// Whether it is a choice after the first, whose prompt is the same.
fn is_choice(id: &str) -> bool {
    without_choice(id).len() != id.len() && !id.starts_with("0_")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a request of the engine belongs to the exchange whose response says `id`: it is that id, or has behind it the
/// number of a prompt, and eight hexadecimal digits that newer versions of vLLM add to every id.
fn belongs(internal: &str, id: &str) -> bool {
    let internal = if internal.starts_with(id) { internal } else { without_choice(internal) };
    let Some(rest) = internal.strip_prefix(id) else { return false };
    let unmarked = |rest: &str| match rest.rsplit_once('-') {
        Some((before, mark)) if mark.len() == 8 && mark.bytes().all(|byte| byte.is_ascii_hexdigit()) => before.len(),
        _ => rest.len(),
    };
    let prompt = |rest: &str| {
        rest.is_empty() || !id.starts_with("chatcmpl-") && rest.strip_prefix(['-', '_']).is_some_and(is_number)
    };
    prompt(rest) || prompt(&rest[..unmarked(rest)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_engine_belong_to_the_one_that_the_client_saw() {
        for (internal, id, is) in [
            ("chatcmpl-8d44cb05fa0358ca-83503138", "chatcmpl-8d44cb05fa0358ca", true),
            ("chatcmpl-8d44cb05fa0358ca", "chatcmpl-8d44cb05fa0358ca", true),
            ("0_cmpl-ad87ed5c90b55893-0-99743496", "cmpl-ad87ed5c90b55893", true),
            ("1_cmpl-ad87ed5c90b55893-3", "cmpl-ad87ed5c90b55893", true),
            ("cmpl-a-12-deadbeef", "cmpl-a", true),
            ("1_chatcmpl-x-deadbeef", "chatcmpl-x", true),
            ("chatcmpl-job-1-deadbeef", "chatcmpl-job-1", true),
            ("chatcmpl-job-1-deadbeef", "chatcmpl-job", false),
            ("chatcmpl-job-12-deadbeef", "chatcmpl-job-1", false),
            ("5_x", "5_x", true),
            ("9f3a_1", "9f3a", true),
            ("9f3ab", "9f3a", false),
        ] {
            assert_eq!(belongs(internal, id), is, "{internal} {id}");
            assert!(!is || base(internal) == base(id), "{internal} {id}: {} {}", base(internal), base(id));
        }
    }

    fn add(ledger: &mut Ledger, id: &str, at_ns: u64) {
        ledger.added(1, &Added { id, prompt_tokens: Some(5) }, at_ns);
    }

    fn output<'a>(id: &'a str, tokens: u64, finish: Option<&'static str>) -> Reply<'a> {
        let outputs = vec![Output { id, tokens, finish, ..Output::default() }];
        Reply { outputs, running: Some(1), waiting: Some(0), ..Reply::default() }
    }

    #[test]
    fn the_queue_is_what_was_added_and_has_not_ended() {
        let mut ledger = Ledger::default();
        add(&mut ledger, "a-00000001", 10);
        add(&mut ledger, "b-00000001", 20);
        ledger.replied(1, &output("a-00000001", 1, None), 30);
        ledger.replied(1, &output("a-00000001", 2, Some("stop")), 40);
        ledger.aborted("b-00000001");
        add(&mut ledger, "c-00000001", 50);
        let take = |ledger: &mut Ledger, id| ledger.take(1, id).expect("known");
        let a = take(&mut ledger, "a");
        assert_eq!((a.added_ns, a.first_ns, a.last_ns, a.output_tokens), (Some(10), Some(30), Some(40), 3));
        assert_eq!((a.in_flight, a.finish, a.exact()), (0, Some("stop"), true));
        assert_eq!((take(&mut ledger, "b").in_flight, take(&mut ledger, "c").in_flight), (1, 0));
        assert!(ledger.take(1, "a").is_none());
        assert!(ledger.is_empty() && ledger.bases.is_empty() && ledger.inside.is_empty());
    }

    #[test]
    fn choices_and_prompts_of_one_exchange_add_up() {
        let mut ledger = Ledger::default();
        for (at, id) in ["0_cmpl-x-0-00000001", "1_cmpl-x-0-00000001", "0_cmpl-x-1-00000002"].into_iter().enumerate() {
            add(&mut ledger, id, at as u64);
            ledger.replied(1, &output(id, 2, None), 10 + at as u64);
            ledger.replied(1, &output(id, 2, Some("length")), 20 + at as u64);
        }
        assert!(ledger.take(2, "cmpl-x").is_none(), "another service's");
        let all = ledger.take(1, "cmpl-x").expect("known");
        assert_eq!((all.requests, all.output_tokens, all.input_tokens), (3, 12, Some(10)));
        assert_eq!((all.added_ns, all.first_ns, all.last_ns), (Some(0), Some(10), Some(22)));
    }

    #[test]
    fn a_reply_before_its_request_counts_and_one_that_was_cut_is_doubted() {
        let mut ledger = Ledger::default();
        ledger.replied(1, &output("a-00000001", 1, None), 30);
        add(&mut ledger, "a-00000001", 10);
        ledger.replied(1, &Reply { cut: true, ..output("a-00000001", 1, Some("stop")) }, 40);
        add(&mut ledger, "b-00000001", 50);
        ledger.replied(1, &Reply { cut: true, ..Reply::default() }, 60);
        ledger.replied(1, &output("b-00000001", 1, Some("stop")), 70);
        let (a, b) = (ledger.take(1, "a").expect("known"), ledger.take(1, "b").expect("known"));
        assert_eq!((a.output_tokens, a.exact(), b.exact()), (2, true, false));
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let mut ledger = Ledger::default();
        (0..ENTRIES + 5).for_each(|n| add(&mut ledger, &format!("id{n}"), 1));
        assert_eq!((ledger.entries.len(), ledger.refused), (ENTRIES, 5));
        ledger.replied(1, &output("id7", 1, Some("stop")), 2);
        ledger.tick(3 + KEEP_ENDED_NS);
        assert_eq!(ledger.entries.len(), ENTRIES - 1);
        ledger.tick(2 + KEEP_SILENT_NS);
        assert!(ledger.is_empty() && ledger.bases.is_empty() && ledger.inside.is_empty());
    }
}

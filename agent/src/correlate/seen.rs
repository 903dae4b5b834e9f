//! The sound requests of a service that are remembered. Bounded, and divided between its models so that a busy one leaves
//! the others what it takes to know them.

use std::{collections::VecDeque, hash::BuildHasher};

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::request::Request;

/// Requests that are kept of a service.
pub const KEPT: usize = 128;
/// So many of a model stay when others want room: enough to compare with.
pub const OWN: usize = 16;
/// How many later ones a request outlasts at most: its model may be gone.
pub const OUTLASTS: u64 = 16 * KEPT as u64;
/// Sizes of requests in bytes that are taken for the same: most of it is the head.
const HEAD_BYTES: u64 = 256;
/// The same in tokens.
pub const FEW_TOKENS: u64 = 8;

/// What is remembered of a request.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    number: u64,
    model: u64,
    pub ttft_s: Option<f64>,
    pub tpot_s: Option<f64>,
    pub duration_s: f64,
    /// See [`length`].
    pub length: Option<f64>,
    pub output: Option<u64>,
    pub others: f64,
    pub rtt_s: f64,
    operation: Option<&'static str>,
    input: Option<u64>,
    request_bytes: u64,
    response_bytes: u64,
}

/// The model that a request asks for, as a hash. One that asks for none is served by the same as all that do not. What the
/// response says is no help: one that was given up has none.
fn model(request: &Request) -> u64 {
    FxBuildHasher.hash_one(&request.request_model)
}

/// Of a prompt, as the power of e that its tokens are.
pub fn length(request: &Request) -> Option<f64> {
    request.input_tokens.map(|tokens| (tokens.max(1) as f64).ln())
}

/// Whether tokens came out of it: embeddings and the like have none, though some engines say 0.
pub fn is_counted(output: Option<u64>) -> bool {
    output.is_some_and(|tokens| tokens > 0)
}

/// Whether how much comes out is known from what is asked.
fn is_settled(operation: Option<&str>) -> bool {
    matches!(operation, Some("embeddings" | "rerank" | "score" | "classify"))
}

impl Seen {
    fn of(request: &Request, number: u64) -> Self {
        Self {
            number,
            model: model(request),
            ttft_s: request.ttft_s,
            tpot_s: request.tpot_s,
            duration_s: request.duration_s,
            length: length(request),
            output: request.output_tokens,
            others: request.others_in_flight,
            rtt_s: request.network.rtt_s,
            operation: request.operation,
            input: request.input_tokens,
            request_bytes: request.request_bytes,
            response_bytes: request.response_bytes,
        }
    }

    /// How many times as much as of this one is asked: in tokens, or in bytes where they are not said.
    pub fn ratio(&self, request: &Request) -> f64 {
        let (own, other) = match (self.input, request.input_tokens) {
            (Some(own), Some(other)) => (own.max(FEW_TOKENS), other.max(FEW_TOKENS)),
            _ => (self.request_bytes.max(HEAD_BYTES), request.request_bytes.max(HEAD_BYTES)),
        };
        other as f64 / own as f64
    }

    /// What a response in one piece whose tokens nobody counted would have taken by this one, in seconds: more is asked,
    /// more time. None if it is not like it: it does something else, is not of the same size within a factor of two, or
    /// is a text and this one is not certain to be as long.
    pub fn whole_s(&self, request: &Request) -> Option<f64> {
        let same = self.operation == request.operation && self.ttft_s.is_none() && !is_counted(self.output);
        // How long a text would have become that was cut off is not known.
        let whole = request.http_error.is_none() && self.response_bytes >= request.response_bytes;
        let enough = is_settled(request.operation) || whole;
        let ratio = self.ratio(request);
        (same && enough && (0.5..=2.0).contains(&ratio)).then(|| self.duration_s * ratio.max(1.0))
    }
}

/// The last requests of a service.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    seen: VecDeque<Seen>,
    taken: u64,
}

impl Kept {
    /// Takes one in; where there is no room another one goes.
    pub fn push(&mut self, request: &Request) {
        if self.seen.len() == KEPT {
            self.seen.remove(self.dispensable());
        }
        self.taken += 1;
        self.seen.push_back(Seen::of(request, self.taken));
    }

    /// The place of the oldest whose model has others left without it; else, and where it is too old, of the oldest.
    fn dispensable(&self) -> usize {
        if self.seen.front().is_some_and(|oldest| self.taken - oldest.number >= OUTLASTS) {
            return 0;
        }
        let mut models: FxHashMap<u64, usize> = FxHashMap::default();
        self.seen.iter().for_each(|seen| *models.entry(seen.model).or_default() += 1);
        self.seen.iter().position(|seen| models[&seen.model] > OWN).unwrap_or(0)
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter()
    }

    /// Those of the model that a request asks for.
    pub fn of_its_model(&self, request: &Request) -> impl Iterator<Item = &Seen> {
        let model = model(request);
        self.seen.iter().filter(move |seen| seen.model == model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(model: &str) -> Request {
        Request { request_model: Some(model.to_owned()), ..Request::default() }
    }

    fn count(kept: &Kept, model: &str) -> usize {
        kept.of_its_model(&of(model)).count()
    }

    #[test]
    fn a_busy_model_leaves_a_rare_one_enough() {
        let mut kept = Kept::default();
        for number in 0..10_000 {
            kept.push(&of(if number % 40 == 0 { "rare" } else { "busy" }));
            assert!(kept.len() <= KEPT);
        }
        // More than come of it in as many as are kept.
        assert_eq!((count(&kept, "rare"), count(&kept, "busy")), (OWN, KEPT - OWN));
        assert_eq!(kept.of_its_model(&Request::default()).count(), 0, "one that asks for none");
    }

    #[test]
    fn what_is_gone_gives_its_room_back() {
        let mut kept = Kept::default();
        (0..KEPT).for_each(|number| kept.push(&of(&format!("old {}", number % 8))));
        (0..OUTLASTS - KEPT as u64).for_each(|_| kept.push(&of("new")));
        assert_eq!(count(&kept, "new"), OWN + 1);
        (0..2 * KEPT).for_each(|_| kept.push(&of("new")));
        assert_eq!(count(&kept, "new"), KEPT);
    }

    #[test]
    fn names_without_end_leave_the_one_that_is_used_enough() {
        let mut kept = Kept::default();
        for number in 0..10_000 {
            kept.push(&of(&format!("made up {number}")));
            kept.push(&of("used"));
            assert!(kept.len() <= KEPT);
        }
        assert!(count(&kept, "used") >= OWN, "{}", count(&kept, "used"));
    }
}

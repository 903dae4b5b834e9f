//! Which judged requests teach what is usual, and how much of it each: what a fault kept and what came in a rush must not
//! become usual at once. Counts requests, and knows nothing else of them than what was found.

use super::verdict::{NOT_SLOW, Verdict};

/// Of requests that are slow for no reason that shows, one in so many is taken for usual: the work may have changed.
const ADAPT: u64 = 4;
/// The same of all that had unusually many beside them: a rush does not become usual by those that found a place.
const ADAPT_CROWDED: u64 = 16;

/// What a request teaches of the usual.
#[derive(Clone, Copy)]
pub enum Lesson {
    /// Its times and what kept it.
    Whole,
    /// Its times alone.
    Times,
}

/// What is to be learned of a request without an error; None where a fault of the host, its client or a queue kept it.
pub fn lesson(verdict: Verdict, slowdown: Option<f64>) -> Option<Lesson> {
    match verdict {
        Verdict::HostOk => Some(Lesson::Whole),
        // A GPU that never rests is what many a service is like when nothing is wrong.
        Verdict::GpuBound if slowdown.is_none_or(|slowdown| slowdown < NOT_SLOW) => Some(Lesson::Whole),
        Verdict::GpuBound | Verdict::CpuBound | Verdict::Unknown => Some(Lesson::Times),
        _ => None,
    }
}

/// Requests so far of which only some are learned from.
#[derive(Default)]
pub struct Rarely {
    unexplained: u64,
    crowded: u64,
}

impl Rarely {
    /// Whether this one is learned from.
    pub fn takes(&mut self, lesson: Lesson, crowded: bool) -> bool {
        let (count, one_in) = match lesson {
            _ if crowded => (&mut self.crowded, ADAPT_CROWDED),
            Lesson::Times => (&mut self.unexplained, ADAPT),
            Lesson::Whole => return true,
        };
        *count += 1;
        count.is_multiple_of(one_in)
    }
}

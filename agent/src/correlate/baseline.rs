//! What a service is like when nothing is wrong: its last sound requests, and what a request like one of them would have
//! taken. Bounded; medians, so that one odd request changes nothing.

use std::collections::VecDeque;

use super::{
    causes::{CAUSES, Cause, Causes},
    request::Request,
};

/// Requests that are kept.
const KEPT: usize = 128;
/// Fewer than this are no usual.
const LEAST: usize = 5;
/// Requests with the nearest prompts, of which the median is taken.
const NEAREST: usize = 9;
/// Requests beside one that an engine takes without a queue, while its usual is not known.
const OTHERS: f64 = 3.0;
/// Weight of a new request in the usual shares.
const WEIGHT: f64 = 0.05;

#[derive(Clone, Copy, Debug)]
struct Seen {
    ttft_s: Option<f64>,
    tpot_s: Option<f64>,
    duration_s: f64,
    length: Option<f64>,
    output: Option<u64>,
    others: f64,
    rtt_s: f64,
}

/// What a request would have taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    pub ttft_s: Option<f64>,
    pub duration_s: f64,
    /// The same with no more requests beside it than there were beside those that it is compared with.
    pub uncrowded_s: f64,
}

/// The usual of one service.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    seen: VecDeque<Seen>,
    /// Requests in flight beside one, as of nine in ten, and the median round-trip time: of those seen.
    usual_others: Option<f64>,
    usual_rtt_s: Option<f64>,
    /// Share of each cause, and how far a request's is from it, both as running means.
    shares: [(f64, f64); CAUSES],
    learned: u64,
}

fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    (values.len() >= LEAST).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// Of a prompt, as the power of e that its tokens are.
fn length(request: &Request) -> Option<f64> {
    request.input_tokens.map(|tokens| (tokens.max(1) as f64).ln())
}

/// How many times as long the one prompt is as the other, in powers of e; what is not known is like anything.
fn distance(a: Option<f64>, b: Option<f64>) -> f64 {
    let (Some(a), Some(b)) = (a, b) else { return 0.0 };
    (a - b).abs()
}

/// Whether two counts are within a factor of two; what is not known is like anything.
fn alike(a: Option<u64>, b: Option<u64>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return true };
    a.max(8) <= 2 * b.max(8) && b.max(8) <= 2 * a.max(8)
}

impl Seen {
    fn of(request: &Request) -> Self {
        Self {
            ttft_s: request.ttft_s,
            tpot_s: request.tpot_s,
            duration_s: request.duration_s,
            length: length(request),
            output: request.output_tokens,
            others: request.others_in_flight,
            rtt_s: request.network.rtt_s,
        }
    }
}

impl Baseline {
    /// Whether enough was seen to say what is usual.
    pub fn is_known(&self) -> bool {
        self.seen.len() >= LEAST
    }

    /// How much more of a request than usual went to a cause, 0 to 1: what lies within the usual spread is nothing.
    pub fn excess(&self, causes: &Causes, cause: Cause) -> f64 {
        let (usual, spread) = self.shares[cause as usize];
        (causes.share(cause) - usual - 2.0 * spread).max(0.0)
    }

    /// Whether clearly more requests were in flight beside this one than usual.
    pub fn is_crowded(&self, request: &Request) -> bool {
        let usual = self.usual_others().unwrap_or(OTHERS);
        request.others_in_flight >= (2.0 * usual).max(usual + 2.0)
    }

    /// Requests in flight beside one, as of nine in ten.
    pub fn usual_others(&self) -> Option<f64> {
        self.usual_others
    }

    /// The usual round-trip time.
    pub fn usual_rtt_s(&self) -> Option<f64> {
        self.usual_rtt_s
    }

    /// The median of a figure over the sound requests that are most like this one: as many beside it, and then the nearest
    /// prompts. Where none had as many beside it, those that had fewer stand for it; the second number is the median of
    /// what they would have taken had so many taken turns.
    fn usual(&self, request: &Request, figure: impl Fn(&Seen) -> Option<f64>) -> Option<(f64, f64)> {
        let (others, length) = (request.others_in_flight, length(request));
        // More than that are not usual, and no reason to expect less.
        let most_usual = 2.0 * self.usual_others()? + 2.0;
        let of = |least: f64, most: f64| {
            let near = self.seen.iter().filter(|seen| (least..=most).contains(&seen.others));
            let far = |seen: &Seen| distance(seen.length, length);
            let turns = |seen: &Seen| ((others.min(most_usual) + 1.0) / (seen.others + 1.0)).max(1.0);
            let mut like: Vec<(f64, f64, f64)> =
                near.filter_map(|seen| figure(seen).map(|figure| (far(seen), figure, figure * turns(seen)))).collect();
            if like.len() > NEAREST {
                like.select_nth_unstable_by(NEAREST, |a, b| a.0.total_cmp(&b.0));
                like.truncate(NEAREST);
            }
            let plain = median(&mut like.iter().map(|(_, figure, _)| *figure).collect::<Vec<_>>())?;
            Some((plain, median(&mut like.iter().map(|(.., in_turn)| *in_turn).collect::<Vec<_>>())?))
        };
        of(others - 0.5, others + 0.5).map(|(plain, _)| (plain, plain)).or_else(|| of(0.0, others))
    }

    /// What a request like this one takes when nothing is wrong; None if too few like it were seen.
    pub fn expected(&self, request: &Request) -> Option<Expected> {
        let ttft = self.usual(request, |seen| seen.ttft_s);
        let tpot = self.usual(request, |seen| seen.tpot_s);
        let output = request.output_tokens.unwrap_or(1).max(1);
        // A batch makes each of its requests slower, but not more than as if they took turns.
        let (uncrowded_s, duration_s) = match (ttft, tpot) {
            (Some(ttft), Some(tpot)) => {
                let rest = (output - 1) as f64;
                (ttft.0 + tpot.0 * rest, ttft.1 + tpot.1 * rest)
            }
            (Some(ttft), None) if output == 1 => ttft,
            _ => {
                let whole = |seen: &Seen| {
                    let per_token = seen.duration_s / seen.output?.max(1) as f64;
                    alike(seen.output, request.output_tokens).then_some(per_token * output as f64)
                };
                self.usual(request, whole)?
            }
        };
        let ttft_s = ttft.map(|(ttft_s, _)| ttft_s);
        (uncrowded_s > 0.0).then_some(Expected { ttft_s, duration_s, uncrowded_s })
    }

    /// Takes a request for usual.
    pub fn learn(&mut self, request: &Request, causes: &Causes) {
        self.learn_times(request);
        self.learned += 1;
        let weight = WEIGHT.max(1.0 / self.learned as f64);
        for (cause, (usual, spread)) in self.shares.iter_mut().enumerate() {
            let sum = causes.sum();
            let share = if sum > 0.0 { causes.0[cause] / sum } else { 0.0 };
            *spread += weight * ((share - *usual).abs().min(0.25) - *spread);
            *usual += weight * (share - *usual);
        }
    }

    /// Takes its times for usual, and not what kept it: the service does other work by now.
    pub fn learn_times(&mut self, request: &Request) {
        if self.seen.len() == KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen::of(request));
        if self.is_known() {
            let mut others: Vec<f64> = self.seen.iter().map(|seen| seen.others).collect();
            let at = (others.len() * 9 / 10).min(others.len() - 1);
            self.usual_others = Some(*others.select_nth_unstable_by(at, f64::total_cmp).1);
            self.usual_rtt_s = median(&mut self.seen.iter().map(|seen| seen.rtt_s).collect::<Vec<_>>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(ttft: f64, tpot: f64, output: u64, others: f64) -> Request {
        Request {
            ttft_s: Some(ttft),
            tpot_s: Some(tpot),
            duration_s: ttft + tpot * (output - 1) as f64,
            input_tokens: Some(100),
            output_tokens: Some(output),
            others_in_flight: others,
            stream: true,
            ..Request::default()
        }
    }

    #[test]
    fn a_request_is_compared_with_its_like() {
        let mut baseline = Baseline::default();
        assert_eq!(baseline.expected(&request(0.1, 0.01, 11, 0.0)), None);
        for i in 0..20 {
            baseline.learn(&request(0.1, 0.01, 11, 0.0), &Causes::default());
            let long = Request { input_tokens: Some(10_000), ..request(2.0, 0.01, 11, 0.0) };
            baseline.learn(&long, &Causes::default());
            baseline.learn(&request(0.3, 0.05, 11, 7.0 + f64::from(i % 2)), &Causes::default());
        }
        let duration = |request: &Request| baseline.expected(request).expect("like others").duration_s;
        assert!((duration(&request(9.0, 9.0, 101, 0.0)) - 1.1).abs() < 1e-9, "alone");
        assert!((duration(&request(9.0, 9.0, 101, 7.0)) - 5.3).abs() < 1e-9, "in a batch");
        assert!((duration(&request(9.0, 9.0, 101, 1.0)) - 2.2).abs() < 1e-9, "in one that was not seen yet");
        let long = Request { input_tokens: Some(12_000), ..request(9.0, 9.0, 101, 0.0) };
        assert!((duration(&long) - 3.0).abs() < 1e-9, "long prompt");
        // More in flight than ever: as if twice the usual took turns, and not all of them.
        let crowd = duration(&request(9.0, 9.0, 101, 99.0));
        assert!(crowd > 5.3 * 1.5 && crowd < 5.3 * 4.0, "{crowd}");
    }

    #[test]
    fn whole_responses_are_compared_by_their_tokens() {
        let mut baseline = Baseline::default();
        for _ in 0..8 {
            let whole = Request { ttft_s: None, tpot_s: None, stream: false, ..request(0.1, 0.01, 41, 0.0) };
            baseline.learn(&whole, &Causes::default());
        }
        let whole = |output| Request { ttft_s: None, tpot_s: None, ..request(0.0, 0.0, output, 0.0) };
        assert!((baseline.expected(&whole(82)).expect("like others").duration_s - 1.0).abs() < 1e-9);
        assert_eq!(baseline.expected(&whole(1_000)), None);
    }

    #[test]
    fn the_usual_spread_is_no_excess() {
        let mut baseline = Baseline::default();
        let causes = |run_queue: f64| {
            let mut causes = Causes::default();
            causes.0[Cause::RunQueue as usize] = run_queue;
            causes.0[Cause::OnCpu as usize] = 1.0 - run_queue;
            causes
        };
        for i in 0..50 {
            baseline.learn(&request(0.1, 0.01, 11, 0.0), &causes(if i % 2 == 0 { 0.1 } else { 0.2 }));
        }
        assert_eq!(baseline.excess(&causes(0.2), Cause::RunQueue), 0.0);
        assert!(baseline.excess(&causes(0.6), Cause::RunQueue) > 0.3);
    }

    #[test]
    fn memory_is_bounded() {
        let mut baseline = Baseline::default();
        (0..10_000).for_each(|_| baseline.learn(&request(0.1, 0.01, 11, 3.0), &Causes::default()));
        assert_eq!(baseline.seen.len(), KEPT);
        assert_eq!(baseline.usual_others(), Some(3.0));
    }
}

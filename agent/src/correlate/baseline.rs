//! What a service is like when nothing is wrong: its last sound requests, and what a request like one of them would have
//! taken. Bounded; medians, so that one odd request changes nothing.

use super::{
    causes::{CAUSES, Cause, Causes},
    request::Request,
    seen::{FEW_TOKENS, Kept, Seen, is_counted, length},
};

/// Fewer than this are no usual.
const LEAST: usize = 5;
/// Requests with the nearest prompts, of which the median is taken.
const NEAREST: usize = 9;
/// Requests beside one that an engine takes without a queue, while its usual is not known.
const OTHERS: f64 = 3.0;
/// Weight of a new request in the usual shares.
const WEIGHT: f64 = 0.05;

/// What a request would have taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    pub duration_s: f64,
    /// The same with no more requests beside it than there were beside those that it is compared with.
    pub uncrowded_s: f64,
}

/// The usual of one service.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    seen: Kept,
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

/// How many times as long the one prompt is as the other, in powers of e; what is not known is like anything.
fn distance(a: Option<f64>, b: Option<f64>) -> f64 {
    let (Some(a), Some(b)) = (a, b) else { return 0.0 };
    (a - b).abs()
}

/// Whether two counts are within a factor of two.
fn alike(a: u64, b: u64) -> bool {
    let (a, b) = (a.max(FEW_TOKENS), b.max(FEW_TOKENS));
    a <= b.saturating_mul(2) && b <= a.saturating_mul(2)
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

    /// The median of a figure over the sound requests that are most like this one: of the same model, as many beside it,
    /// and then the least far. Where none had as many beside it, those that had fewer stand for it; the second number is
    /// the median of what they would have taken had so many taken turns.
    fn usual(
        &self,
        request: &Request,
        far: impl Fn(&Seen) -> f64,
        figure: impl Fn(&Seen) -> Option<f64>,
    ) -> Option<(f64, f64)> {
        let others = request.others_in_flight;
        // More than that are not usual, and no reason to expect less.
        let most_usual = 2.0 * self.usual_others()? + 2.0;
        let of = |least: f64, most: f64| {
            let near = self.seen.of_its_model(request).filter(|seen| (least..=most).contains(&seen.others));
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

    /// When the first token of a request like this one usually comes, with no more beside it than those had that it is
    /// compared with.
    pub fn usual_ttft_s(&self, request: &Request) -> Option<f64> {
        let length = length(request);
        let (ttft_s, _) = self.usual(request, |seen| distance(seen.length, length), |seen| seen.ttft_s)?;
        Some(ttft_s)
    }

    /// What a request like this one takes when nothing is wrong; None if too few like it were seen, or it is not known how
    /// many tokens its time was for.
    pub fn expected(&self, request: &Request) -> Option<Expected> {
        if !request.stream && !is_counted(request.output_tokens) {
            return self.expected_whole(request);
        }
        // One that failed before the first token has waited for that alone.
        let none_came = || request.error_type.is_some() && request.ttft_s.is_none() && !request.gap;
        let output = request.output_tokens.or_else(|| none_came().then_some(1))?.max(1);
        let length = length(request);
        let far = |seen: &Seen| distance(seen.length, length);
        let ttft = self.usual(request, far, |seen| seen.ttft_s);
        let tpot = self.usual(request, far, |seen| seen.tpot_s);
        // A batch makes each of its requests slower, but not more than as if they took turns.
        let (uncrowded_s, duration_s) = match (ttft, tpot) {
            (Some(ttft), Some(tpot)) => {
                let rest = (output - 1) as f64;
                (ttft.0 + tpot.0 * rest, ttft.1 + tpot.1 * rest)
            }
            (Some(ttft), None) if output == 1 => ttft,
            _ => {
                let whole = |seen: &Seen| {
                    let (own, other) = seen.output.zip(request.output_tokens)?;
                    let per_token = seen.duration_s / own.max(1) as f64;
                    alike(own, other).then_some(per_token * output as f64)
                };
                self.usual(request, far, whole)?
            }
        };
        (uncrowded_s > 0.0).then_some(Expected { duration_s, uncrowded_s })
    }

    /// The same of a response in one piece whose tokens nobody counted.
    fn expected_whole(&self, request: &Request) -> Option<Expected> {
        let far = |seen: &Seen| seen.ratio(request).ln().abs();
        let (uncrowded_s, duration_s) = self.usual(request, far, |seen| seen.whole_s(request))?;
        (uncrowded_s > 0.0).then_some(Expected { duration_s, uncrowded_s })
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
        self.seen.push(request);
        if self.is_known() {
            let mut others: Vec<f64> = self.seen.all().map(|seen| seen.others).collect();
            let at = (others.len() * 9 / 10).min(others.len() - 1);
            self.usual_others = Some(*others.select_nth_unstable_by(at, f64::total_cmp).1);
            self.usual_rtt_s = median(&mut self.seen.all().map(|seen| seen.rtt_s).collect::<Vec<_>>());
        }
    }
}

#[cfg(test)]
#[path = "baseline_test.rs"]
mod tests;

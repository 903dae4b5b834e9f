//! Finished requests as the API tells them: views of the record, which has no text of prompts and no client's address.

use std::collections::BTreeMap;

use super::{
    answers::{Figure, Phase, Record, known},
    history::{end_ns, excess_s},
};
use crate::correlate::{CAUSE_NAMES, Causes, Request, Verdict};

/// A request as of `now_ns` of CLOCK_MONOTONIC, which is `unix_offset_ns` before Unix time.
pub fn record(request: &Request, now_ns: u64, unix_offset_ns: u64) -> Record<'_> {
    let finding = &request.finding;
    Record {
        id: request.id.as_deref(),
        request_id: request.request_id.as_deref(),
        service: &request.service,
        engine: &request.engine,
        pid: request.pid,
        port: request.port,
        method: &request.method,
        path: &request.path,
        operation: request.operation,
        dialect: request.dialect,
        model: request.model.as_deref(),
        stream: request.stream,
        status: request.status,
        error_type: request.error_type.as_deref(),
        finish_reason: request.finish_reason.as_deref(),
        input_tokens: request.input_tokens,
        output_tokens: request.output_tokens,
        cached_tokens: request.cached_tokens,
        tokens_estimated: request.tokens_estimated,
        start_unix_s: Figure((request.start_ns + unix_offset_ns) as f64 / 1e9),
        age_s: Figure(now_ns.saturating_sub(end_ns(request)) as f64 / 1e9),
        ttfb_s: known(request.ttfb_s),
        ttft_s: known(request.ttft_s),
        tpot_s: known(request.tpot_s),
        duration_s: Figure(request.duration_s),
        request_bytes: request.request_bytes,
        response_bytes: request.response_bytes,
        others_in_flight: Figure(request.others_in_flight),
        verdict: finding.verdict.map(Verdict::name),
        verdict_confidence: known(finding.verdict_confidence),
        slowdown: known(finding.slowdown),
        excess_s: known(finding.slowdown.map(|_| excess_s(request))),
        phases: phases(request),
    }
}

/// Where prefill ends does not show if no first content was seen: the whole is one phase then.
fn phases(request: &Request) -> Vec<Phase> {
    let phase = |phase, seconds, causes: Option<Causes>| Phase {
        phase,
        seconds: Figure(seconds),
        causes: causes.map(|causes| shares(&causes)),
    };
    let causes = &request.finding.causes;
    match request.ttft_s {
        Some(ttft_s) => vec![
            phase("prefill", ttft_s, causes.prefill),
            phase("decode", (request.duration_s - ttft_s).max(0.0), causes.decode),
        ],
        None => vec![phase("whole", request.duration_s, causes.total)],
    }
}

/// Parts of the phase by cause; those that took nothing are left out.
fn shares(causes: &Causes) -> BTreeMap<&'static str, Figure> {
    let sum = causes.sum();
    let parts = CAUSE_NAMES.iter().zip(causes.0).filter(|(_, seconds)| sum > 0.0 && *seconds / sum >= 0.000_5);
    parts.map(|(name, seconds)| (*name, Figure(seconds / sum))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::Cause;

    #[test]
    fn phases_add_up_and_tell_their_causes() {
        let mut request = Request { ttft_s: Some(0.5), duration_s: 2.0, ..Request::default() };
        let mut prefill = Causes::default();
        prefill.0[Cause::RunQueue as usize] = 0.375;
        prefill.0[Cause::OnCpu as usize] = 0.125;
        request.finding.causes.prefill = Some(prefill);
        let phases = phases(&request);
        assert_eq!(
            phases.iter().map(|phase| (phase.phase, phase.seconds.0)).collect::<Vec<_>>(),
            [("prefill", 0.5), ("decode", 1.5)]
        );
        let causes = phases[0].causes.as_ref().expect("known");
        assert_eq!((causes["run_queue"].0, causes["on_cpu"].0, causes.len()), (0.75, 0.25, 2));
        assert!(phases[1].causes.is_none());
    }

    #[test]
    fn what_is_not_streamed_is_one_phase() {
        let request = Request { duration_s: 2.0, ..Request::default() };
        assert_eq!(phases(&request).iter().map(|phase| phase.phase).collect::<Vec<_>>(), ["whole"]);
    }
}

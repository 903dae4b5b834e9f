//! What is usual after made-up requests, and what one more of them would have taken.

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
fn a_request_is_compared_with_those_of_its_model() {
    let of = |model: Option<&str>, request| Request { request_model: model.map(str::to_owned), ..request };
    let mut baseline = Baseline::default();
    for number in 0..1_000 {
        baseline.learn(&of(Some("small"), request(0.1, 0.01, 11, 0.0)), &Causes::default());
        if number % 50 == 0 {
            baseline.learn(&of(Some("large"), request(1.0, 0.1, 11, 0.0)), &Causes::default());
        }
    }
    let usual_s = |model| expected_s(&baseline, &of(model, request(9.0, 9.0, 11, 0.0)));
    assert_eq!((usual_s(Some("small")), usual_s(Some("large"))), (Some(0.2), Some(2.0)));
    assert_eq!((usual_s(Some("other")), usual_s(None)), (None, None));
    // With fewer than make a usual there is none, however many others have.
    (0..LEAST - 1).for_each(|_| baseline.learn(&of(None, request(0.3, 0.03, 11, 0.0)), &Causes::default()));
    assert_eq!(expected_s(&baseline, &request(9.0, 9.0, 11, 0.0)), None);
    baseline.learn(&request(0.3, 0.03, 11, 0.0), &Causes::default());
    assert_eq!(expected_s(&baseline, &request(9.0, 9.0, 11, 0.0)), Some(0.6));
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

/// A response in one piece without tokens: (seconds, tokens asked, bytes of the question, bytes of the answer).
fn piece(operation: &'static str, duration_s: f64, input: Option<u64>, bytes: [u64; 2]) -> Request {
    let [request_bytes, response_bytes] = bytes;
    let (operation, input_tokens) = (Some(operation), input);
    Request { operation, duration_s, input_tokens, request_bytes, response_bytes, ..Request::default() }
}

fn learned(usual: &[Request]) -> Baseline {
    let mut baseline = Baseline::default();
    (0..20).flat_map(|_| usual).for_each(|request| baseline.learn(request, &Causes::default()));
    baseline
}

fn expected_s(baseline: &Baseline, request: &Request) -> Option<f64> {
    baseline.expected(request).map(|expected| (expected.duration_s * 1e6).round() / 1e6)
}

#[test]
fn embeddings_are_compared_with_those_of_as_much() {
    let ask = |input, bytes, operation| piece(operation, 0.2, input, [bytes, 5_000]);
    let usual = [
        piece("embeddings", 0.02, Some(100), [800, 5_000]),
        piece("rerank", 0.3, Some(100), [800, 5_000]),
        Request { operation: Some("chat"), input_tokens: Some(100), ..request(1.0, 0.01, 11, 0.0) },
    ];
    let baseline = learned(&usual);
    assert_eq!(expected_s(&baseline, &ask(Some(100), 800, "embeddings")), Some(0.02));
    assert_eq!(expected_s(&baseline, &ask(Some(100), 800, "rerank")), Some(0.3));
    assert_eq!(expected_s(&baseline, &ask(Some(180), 1_400, "embeddings")), Some(0.036), "more takes longer");
    assert_eq!(expected_s(&baseline, &ask(Some(60), 500, "embeddings")), Some(0.02), "less may not be faster");
    for input in [201, 49] {
        assert_eq!(expected_s(&baseline, &ask(Some(input), 800, "embeddings")), None, "{input}");
    }
    assert_eq!(expected_s(&baseline, &ask(Some(100), 800, "score")), None);
    // One that failed, or was given up, says no tokens.
    assert_eq!(expected_s(&baseline, &ask(None, 800, "embeddings")), Some(0.02));
    assert_eq!(expected_s(&baseline, &ask(None, 2_000, "embeddings")), None);
    let zero = Request { output_tokens: Some(0), ..ask(Some(100), 800, "embeddings") };
    assert_eq!(expected_s(&learned(&[Request { duration_s: 0.02, ..zero.clone() }]), &zero), Some(0.02));
}

#[test]
fn a_text_whose_tokens_nobody_counted_is_compared_with_longer_ones() {
    let text = |seconds: f64, bytes: u64| piece("chat", seconds, None, [600, bytes]);
    let baseline = learned(&[text(1.0, 1_000), text(5.0, 4_000)]);
    assert_eq!(expected_s(&baseline, &text(9.0, 2_000)), Some(5.0));
    assert_eq!(expected_s(&baseline, &text(9.0, 4_001)), None, "none was as long");
    let cut = Request { http_error: Some("cancelled".into()), ..text(9.0, 0) };
    assert_eq!(expected_s(&baseline, &cut), None, "it may have become longer");
    // Others whose tokens are known say nothing of it, nor it of them.
    let counted = |output| Request { stream: false, ttft_s: None, tpot_s: None, ..request(0.1, 0.01, output, 0.0) };
    assert_eq!(expected_s(&learned(&[counted(41)]), &Request { output_tokens: None, ..counted(41) }), None);
    assert_eq!(expected_s(&baseline, &counted(41)), None);
}

#[test]
fn a_stream_whose_tokens_are_not_known_is_held_to_its_first_alone() {
    let baseline = learned(&[request(0.1, 0.01, 11, 0.0)]);
    let gap = Request { output_tokens: None, tpot_s: None, gap: true, ..request(0.12, 0.01, 300, 0.0) };
    assert_eq!((expected_s(&baseline, &gap), baseline.usual_ttft_s(&gap)), (None, Some(0.1)));
    // Nothing of it was taken for content.
    let unread = Request { ttft_s: None, gap: false, ..gap };
    assert_eq!(expected_s(&baseline, &unread), None);
    // One that failed before the first token is as late as it is; what was not seen may have had some.
    let failed = Request { error_type: Some("cancelled".into()), ..unread };
    assert_eq!(expected_s(&baseline, &failed), Some(0.1));
    assert_eq!(expected_s(&baseline, &Request { gap: true, ..failed }), None);
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
    assert_eq!(baseline.seen.len(), crate::correlate::seen::KEPT);
    assert_eq!(baseline.usual_others(), Some(3.0));
}

//! What goes over a cap is counted under `_other`, and by what had no room.

use super::*;
use crate::correlate::{self, Labels};
use crate::session::exchange::{Ending, Exchange, GapCounts, LlmExchange, Mark, Role, Sending};

fn exchange(path: &str, status: u16, llm: Option<LlmExchange>) -> Exchange {
    let mark = Mark::default();
    Exchange {
        role: Role::Server,
        tgid: 7,
        service: 1,
        server_port: 8000,
        method: "POST".into(),
        path: path.into(),
        status,
        start: mark,
        request_end: Some(mark),
        first_byte: Some(mark),
        first_content: None,
        last_content: None,
        end: mark,
        ending: Ending::Complete,
        request_bytes: 1,
        response_bytes: 2,
        content_chunks: 0,
        gap: false,
        chunk_gaps: GapCounts::default(),
        others_in_flight: 0.0,
        sending: Sending::default(),
        chunk_times_ns: Vec::new(),
        engine: None,
        fields: None,
        said: None,
        traceparent: None,
        request_id: None,
        subject: None,
        llm,
    }
}

fn observe(requests: &RequestMetrics, service: &str, exchange: Exchange) {
    requests.observe(&correlate::request(exchange, &Labels { service, engine: "vllm", model: None }));
}

fn chat(model: &str, error: Option<String>) -> Exchange {
    let llm = LlmExchange { operation: "chat", request_model: Some(model.into()), error, ..LlmExchange::default() };
    exchange("/v1/chat/completions", 200, Some(llm))
}

fn text(requests: &RequestMetrics) -> String {
    ::prometheus::TextEncoder::new().encode_to_string(&requests.families()).expect("encodable")
}

fn over(requests: &RequestMetrics, family: &str) -> u64 {
    requests.overflow().into_iter().find(|(name, _)| *name == family).expect("a family").1
}

#[test]
fn label_sets_over_the_cap() {
    let requests = RequestMetrics::new(3, Routes::default());
    for n in 0..5 {
        observe(&requests, "a", chat(&n.to_string(), None));
        observe(&requests, "a", exchange("/health", 200 + n, None));
    }
    // The chats share one series of HTTP.
    assert_eq!((over(&requests, "gen_ai"), over(&requests, "http")), (2, 3));
    assert_eq!((over(&requests, "error_type"), over(&requests, "http_route")), (0, 0));
    let other = "_count{service=\"_other\",http_request_method=\"_other\",http_route=\"_other\"";
    assert!(text(&requests).contains(other), "{}", text(&requests));
    // A service that has ended makes room.
    requests.forget("a");
    observe(&requests, "b", chat("m", None));
    assert_eq!((over(&requests, "gen_ai"), over(&requests, "http")), (2, 3));
}

#[test]
fn kinds_of_error_over_the_cap() {
    let requests = RequestMetrics::new(100, Routes::default());
    (0..30).for_each(|n| observe(&requests, "a", chat("m", Some(format!("error {n}")))));
    assert_eq!(over(&requests, "error_type"), 6);
    assert!(text(&requests).contains("error_type=\"_other\"} 6\n"), "{}", text(&requests));
}

#[test]
fn a_scan_takes_no_routes_and_is_counted() {
    let requests = RequestMetrics::new(1000, Routes::default());
    let letters = |n: u32| n.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect::<String>();
    (0..500).for_each(|n| observe(&requests, "a", exchange(&format!("/{}", letters(n)), 404, None)));
    observe(&requests, "a", exchange("/health", 200, None));
    observe(&requests, "a", chat("m", None));
    assert_eq!(over(&requests, "http_route"), 500);
    let text = text(&requests);
    for series in ["http_route=\"_other\",http_response_status_code=\"404\"", "\"/health\"", "\"/v1/chat/completions\""]
    {
        assert!(text.contains(series), "{series} is not in\n{text}");
    }
}

#[test]
fn routes_go_with_the_last_service_that_had_them() {
    let requests = RequestMetrics::new(1000, Routes::default());
    let letters = |n: u32| n.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect::<String>();
    let seen = |service: &str| {
        (0..300).for_each(|n| observe(&requests, service, exchange(&format!("/{service}{}", letters(n)), 200, None)));
        over(&requests, "http_route")
    };
    assert_eq!(seen("a"), 100);
    requests.forget("a");
    assert_eq!(seen("b"), 200);
}

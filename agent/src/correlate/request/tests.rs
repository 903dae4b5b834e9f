//! Exchanges made up here, and the record that each becomes.

use super::*;
use crate::session::exchange::EngineTrace;

fn mark(at_ns: u64) -> Mark {
    Mark { at_ns, ..Mark::default() }
}

fn streamed() -> Exchange {
    Exchange {
        role: Role::Server,
        tgid: 7,
        service: 1,
        server_port: 8000,
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        status: 200,
        start: mark(1_000_000_000),
        request_end: None,
        first_byte: Some(mark(1_010_000_000)),
        first_content: Some(mark(1_100_000_000)),
        last_content: Some(mark(2_000_000_000)),
        end: mark(2_100_000_000),
        ending: Ending::Complete,
        request_bytes: 10,
        response_bytes: 20,
        content_chunks: 5,
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
        llm: Some(LlmExchange {
            operation: "chat",
            stream: true,
            output_tokens: Some(10),
            response_model: Some("m".into()),
            ..LlmExchange::default()
        }),
    }
}

const LABELS: Labels<'_> = Labels { service: "s", engine: "unknown", model: Some("other") };

#[test]
fn times_follow_the_definitions() {
    let request = request(streamed(), &LABELS);
    assert_eq!(request.ttft_s, Some(0.1));
    assert_eq!(request.ttfb_s, Some(0.01));
    assert_eq!(request.tpot_s, Some(0.1));
    assert_eq!(request.duration_s, 1.1);
    assert_eq!((request.tokens_estimated, request.model.as_deref(), request.error_type), (false, Some("m"), None));
}

#[test]
fn without_usage_chunks_are_counted_and_the_record_says_so() {
    let mut exchange = streamed();
    exchange.llm.as_mut().expect("set").output_tokens = None;
    let request = request(exchange, &LABELS);
    assert_eq!((request.output_tokens, request.tokens_estimated), (Some(5), true));
    assert_eq!(request.tpot_s, Some(0.9 / 4.0));
}

#[test]
fn the_engine_counts_where_it_is_known_of_every_choice() {
    let told = |parts, requests| {
        let mut exchange = streamed();
        let llm = exchange.llm.as_mut().expect("set");
        (llm.output_tokens, llm.parts) = (None, parts);
        let trace = EngineTrace {
            requests,
            added_ns: Some(1_010_000_000),
            output_tokens: 9,
            input_tokens: Some(31),
            cached_tokens: Some(4),
            finish: Some("stop"),
            ..EngineTrace::default()
        };
        exchange.engine = Some(Box::new(trace));
        let request = request(exchange, &LABELS);
        (request.output_tokens, request.tokens_estimated, request.input_tokens, request.cached_tokens)
    };
    for (parts, requests) in [(0, 1), (1, 1), (2, 2), (2, 3)] {
        assert_eq!(told(parts, requests), (Some(9), false, Some(31), Some(4)), "{parts} {requests}");
    }
    assert_eq!(told(2, 1), (Some(5), true, None, None), "the other choice's id is not known");
}

#[test]
fn chunks_that_were_lost_are_no_count_of_tokens() {
    let mut exchange = streamed();
    exchange.gap = true;
    let said = request(exchange.clone(), &LABELS);
    assert_eq!((said.output_tokens, said.tpot_s, said.chunks, said.gap), (Some(10), Some(0.1), 5, true));
    exchange.llm.as_mut().expect("set").output_tokens = None;
    let unsaid = request(exchange, &LABELS);
    assert_eq!((unsaid.output_tokens, unsaid.tokens_estimated, unsaid.tpot_s), (None, false, None));
    assert_eq!((unsaid.chunks, unsaid.gap), (5, true));
}

#[test]
fn errors_are_named_by_what_is_most_exact() {
    let name = |change: fn(&mut Exchange)| {
        let mut exchange = streamed();
        change(&mut exchange);
        request(exchange, &LABELS).error_type
    };
    assert_eq!(name(|e| e.status = 503).as_deref(), Some("503"));
    assert_eq!(name(|e| e.ending = Ending::Cancelled).as_deref(), Some("cancelled"));
    assert_eq!(name(|e| e.ending = Ending::ProcessExit).as_deref(), Some("server_exit"));
    let in_stream = |e: &mut Exchange| {
        if let Some(llm) = e.llm.as_mut() {
            llm.error = Some("server_error".into());
        }
    };
    assert_eq!(name(in_stream).as_deref(), Some("server_error"));
    let failed = |e: &mut Exchange| {
        if let Some(llm) = e.llm.as_mut() {
            llm.error = Some("failed".into());
        }
    };
    assert_eq!(name(failed).as_deref(), Some("failed"));
    let failed_with_a_status = |e: &mut Exchange| {
        e.status = 503;
        if let Some(llm) = e.llm.as_mut() {
            llm.error = Some("failed".into());
        }
    };
    assert_eq!(name(failed_with_a_status).as_deref(), Some("503"));
    let finish = |e: &mut Exchange| {
        if let Some(llm) = e.llm.as_mut() {
            llm.finish_reason = Some("abort".into());
        }
    };
    assert_eq!(name(finish).as_deref(), Some("abort"));
}

#[test]
fn http_errors_are_those_of_the_exchange() {
    let name = |status, ending| request(Exchange { status, ending, ..streamed() }, &LABELS).http_error;
    assert_eq!(name(200, Ending::Complete), None);
    assert_eq!(name(404, Ending::Complete).as_deref(), Some("404"));
    assert_eq!(name(503, Ending::Reset).as_deref(), Some("503"));
    assert_eq!(name(200, Ending::Cancelled).as_deref(), Some("cancelled"));
    assert_eq!(name(0, Ending::Reset).as_deref(), Some("connection_reset"));
    assert_eq!(name(0, Ending::ProcessExit).as_deref(), Some("server_exit"));
}

#[test]
fn a_response_written_at_one_go_says_nothing_of_how_its_client_reads() {
    let network = |calls, calls_unread| {
        let sending = Sending {
            calls,
            calls_unread,
            call_ns: [2_000_000_000, 0],
            full_ns: [0, 500_000_000],
            ..Sending::default()
        };
        request(Exchange { sending, ..streamed() }, &LABELS).network
    };
    for calls in 0..4 {
        let said = network(calls, calls);
        assert_eq!((said.unread_ratio, said.write_s, said.full_s), (0.0, [2.0, 0.0], [0.0, 0.5]), "{calls}");
    }
    assert_eq!(network(4, 3).unread_ratio, 0.75);
    assert_eq!(network(100, 100).unread_ratio, 1.0);
}

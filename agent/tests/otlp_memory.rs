//! The OTLP exporter with its collector down: alone in its process, so that the memory is its own.
#![allow(clippy::unwrap_used)]

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use agent::{
    config::Otlp,
    correlate::{self, Labels, Request},
    export::otlp::Exporter,
    session::exchange::{Ending, Exchange, GapCounts, LlmExchange, Mark, Role, Sending},
    tasks::supervised,
};

const REQUESTS: u64 = 10_000;
/// Given up before the backlogs are taken to be full: more than all of them hold. And once more while memory is watched.
const TURNOVER: u64 = 100_000;
/// For one turnover, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The queue, three backlogs, and what is being encoded.
const MOST_BYTES: u64 = 64 << 20;
/// What the allocator may add while the same goes on.
const DRIFT_BYTES: u64 = 8 << 20;
/// A streamed request has three spans, and a log record.
const ITEMS: u64 = 4;

fn request(number: u64) -> Arc<Request> {
    let mark = |at_ns| Mark { at_ns: number + at_ns, service: 1, ..Mark::default() };
    let exchange = Exchange {
        role: Role::Server,
        tgid: 7,
        service: 1,
        server_port: 8000,
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        status: 200,
        start: mark(0),
        request_end: None,
        first_byte: Some(mark(1_000_000)),
        first_content: Some(mark(2_000_000)),
        last_content: Some(mark(9_000_000)),
        end: mark(10_000_000),
        ending: Ending::Complete,
        request_bytes: 100,
        response_bytes: 1000,
        content_chunks: 10,
        gap: false,
        chunk_gaps: GapCounts::default(),
        chunk_times_ns: Vec::new(),
        others_in_flight: 0.0,
        sending: Sending::default(),
        engine: None,
        fields: None,
        said: None,
        traceparent: None,
        request_id: None,
        subject: None,
        llm: Some(LlmExchange { operation: "chat", stream: true, ..LlmExchange::default() }),
    };
    let labels = Labels { service: &format!("service-{}", number % 8), engine: "vllm", model: Some("qwen") };
    Arc::new(correlate::request(exchange, &labels))
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn memory_is_bounded_and_every_span_and_log_record_is_counted() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = Otlp { endpoint: Some(format!("http://127.0.0.1:{port}")), ..Otlp::default() };
    let exporter = Exporter::open(&config).unwrap().unwrap();
    let (queue, counts) = (exporter.queue().unwrap(), exporter.counts());
    let (tasks, _ended) = supervised();
    let running = exporter.start(Box::new(Vec::new), SystemTime::now(), tasks.guard("otlp")).unwrap();
    let before = resident_bytes();
    let (mut sent, mut resident) = (0, Vec::new());
    for turnovers in 1..=2 {
        let began = Instant::now();
        while counts.losses()[2].1 < turnovers * TURNOVER {
            assert!(began.elapsed() < PATIENCE, "the backlogs never fill: {:?} of {sent} requests", counts.losses());
            (0..REQUESTS).for_each(|number| queue.send(&request(sent + number)));
            sent += REQUESTS;
        }
        resident.push(resident_bytes());
    }
    drop(queue);
    running.end();
    let [(_, dropped), (_, rejected), (_, undelivered)] = counts.losses();
    assert_eq!((undelivered, rejected), ((sent - dropped) * ITEMS, 0));
    let (full, last) = (resident[0], resident[1]);
    println!("{} MB before, {} MB, {} MB; {dropped} of {sent} dropped", before >> 20, full >> 20, last >> 20);
    assert!(last < before + MOST_BYTES && last < full + DRIFT_BYTES, "{before} {resident:?}");
}

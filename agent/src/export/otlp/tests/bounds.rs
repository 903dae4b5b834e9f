//! What a collector that is down costs: bounded memory, counted drops, and no time of anybody who waits.

use std::time::Instant;

use super::*;
use crate::export::otlp::backlog::{BYTES, Backlog, EXPORTS, Export};

/// An address where nothing listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn with_the_collector_down_every_span_is_counted_and_memory_is_bounded() {
    let never = Pace { first: Duration::from_secs(3600), most: Duration::from_secs(3600), give_up: Duration::MAX };
    for protocol in [OtlpProtocol::Http, OtlpProtocol::Grpc] {
        let started = start(&only_traces(nobody(), protocol), never);
        let total = 200_000;
        // As fast as it goes: some will not fit into the queue, the rest not into the backlog.
        started.send((0..total).map(chat));
        let began = Instant::now();
        let counts = started.end();
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        let [queue, rejected, undelivered] = losses(&counts);
        assert_eq!((queue + undelivered, rejected), (total, 0));
    }
}

#[test]
fn a_collector_that_hangs_is_waited_for_two_seconds_at_the_end() {
    let collector = Collector::start(OtlpProtocol::Http, &[Answer::Hang]);
    let config = Otlp { timeout: Duration::from_secs(300), ..only_traces(collector.url(), OtlpProtocol::Http) };
    let started = start(&config, EAGER);
    started.send((0..3 * BATCH + 1).map(chat));
    collector.next();
    let began = Instant::now();
    let counts = started.end();
    let took = began.elapsed();
    // The end waits for no longer than twice that in any case; if the worker had not given up by then, nothing would be
    // counted below.
    assert!(took >= super::super::PATIENCE, "{took:?}");
    assert_eq!((exports(&counts, Signal::Traces), losses(&counts)), ([0, 0, 0, 4, 0], [0, 0, 3 * BATCH + 1]));
}

#[test]
fn what_is_queued_at_the_end_is_still_sent() {
    let collector = Collector::start(OtlpProtocol::Http, &[Answer::Success]);
    let config = Otlp { endpoint: Some(collector.url()), ..Otlp::default() };
    let started = start(&config, EAGER);
    started.send((0..10).map(chat));
    let counts = started.end();
    let mut paths: Vec<String> = collector.rest().into_iter().map(|received| received.path).collect();
    paths.sort();
    assert_eq!(paths, ["/v1/logs", "/v1/metrics", "/v1/traces"]);
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        assert_eq!(exports(&counts, signal), [1, 0, 0, 0, 0], "{signal:?}");
    }
    assert_eq!(losses(&counts), [0; 3]);
}

#[test]
fn an_exporter_that_is_dropped_ends_by_itself() {
    let (tasks, mut ended) = supervised();
    let exporter = Exporter::open(&only_traces(nobody(), OtlpProtocol::Http)).unwrap().unwrap();
    drop(exporter.start(Box::new(Vec::new), SystemTime::UNIX_EPOCH, tasks.guard("otlp")).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(ended.first()).to_string().contains("the otlp thread"));
}

#[test]
fn a_full_queue_drops_and_counts() {
    let config = Otlp { queue: 16, ..only_traces(nobody(), OtlpProtocol::Http) };
    let exporter = Exporter::open(&config).unwrap().unwrap();
    let (queue, counts) = (exporter.queue().unwrap(), exporter.counts());
    (0..20).for_each(|number| queue.send(&chat(number)));
    assert_eq!(losses(&counts), [4, 0, 0]);
}

#[test]
fn a_backlog_keeps_the_newest_in_number_and_in_bytes() {
    for (bytes, kept) in [(1, EXPORTS), (BYTES / 4, 4), (BYTES + 1, 0)] {
        let counts = Arc::new(Counts::default());
        let backlog = Backlog::new(Signal::Logs, Arc::clone(&counts));
        let pushed = EXPORTS as u64 + 8;
        for items in 1..=pushed {
            backlog.push(Export { message: vec![0; bytes].into(), items });
        }
        let dropped = pushed - kept as u64;
        assert_eq!(losses(&counts), [0, 0, (1..=dropped).sum()], "{bytes}");
        assert_eq!(exports(&counts, Signal::Logs), [0, 0, 0, dropped, 0], "{bytes}");
        assert_eq!(backlog.abandon(), (dropped + 1..=pushed).sum::<u64>(), "{bytes}");
        assert_eq!(exports(&counts, Signal::Logs), [0, 0, 0, pushed, 0], "{bytes}");
    }
}

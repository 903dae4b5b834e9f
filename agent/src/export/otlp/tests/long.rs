//! Log records with contents, and many spans: exports of a size that collectors take, and all are in one or counted.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;

use super::*;
use crate::{
    events::{Event, Record, Severity, Topic},
    export::otlp::{backlog, logs, resource::Host, spans, split::BYTES, trace::Finished},
    privacy::{Content, Part},
};

/// What collectors take of gRPC.
const TAKEN: usize = 4 << 20;

fn said(bytes: usize) -> Content {
    let part = Part { role: None, kind: "text", text: "x".repeat(bytes) };
    Content { mode: "full", completion: vec![part], ..Content::default() }
}

/// The ids of the requests in an export, in their order.
fn ids(export: &ExportLogsServiceRequest) -> Vec<String> {
    let records = export.resource_logs.iter().flat_map(|of| &of.scope_logs).flat_map(|scope| &scope.log_records);
    records.filter_map(|record| convert::text(&record.attributes, "gen_ai.response.id")).collect()
}

#[test]
fn long_records_are_several_exports_and_each_is_in_one() {
    let third = BYTES / 3 - 4096;
    let lengths = [third, third, third, third, BYTES + 1, 10, 10];
    let requests: Vec<_> = (0..).map(chat).take(lengths.len()).collect();
    let contents = lengths.map(said);
    let finished: Vec<_> =
        requests.iter().zip(&contents).map(|(request, content)| Finished::new(request, Some(content))).collect();
    let start = Event::new(Topic::Change, "start", Severity::Info);
    let exports: Vec<_> = logs::exports(&finished, &[&start], &Host::named("h"), 0, 0).collect();
    let counts: Vec<u64> = exports.iter().map(|(_, count)| *count).collect();
    // One that is too long stands alone; the last three are two requests and the event.
    assert_eq!(counts, [3, 1, 1, 3]);
    assert!(exports.iter().all(|(export, _)| export.encoded_len() < TAKEN));
    let sent: Vec<String> = exports.iter().flat_map(|(export, _)| ids(export)).collect();
    assert_eq!(sent, (0..lengths.len()).map(|number| format!("chatcmpl-{number}")).collect::<Vec<_>>());
    assert_eq!(logs::exports(&[], &[], &Host::named("h"), 0, 0).count(), 0);
}

#[test]
fn the_spans_of_a_request_are_not_torn_apart() {
    // As long as what clients write into names makes them.
    let long = || Some("ä".repeat(256));
    let model = Request { model: long(), request_model: long(), response_model: long(), ..convert::streamed() };
    let request = Request { path: "ä".repeat(256), request_id: long(), id: long(), ..model };
    let finished: Vec<_> = (0..1_000).map(|_| Finished::new(&request, None)).collect();
    let exports: Vec<_> = spans::exports(finished.iter(), &Host::named("h"), 0).collect();
    assert!(exports.len() > 1 && exports.iter().all(|(export, _)| export.encoded_len() < TAKEN), "{}", exports.len());
    assert_eq!(exports.iter().map(|(_, count)| count).sum::<u64>(), 3_000);
    for (export, count) in &exports {
        let spans = &export.resource_spans[0].scope_spans[0].spans;
        let first_of = |trace: &[u8]| {
            spans.iter().find(|span| span.trace_id == trace).is_some_and(|span| span.parent_span_id.is_empty())
        };
        assert_eq!((spans.len() as u64, count % 3), (*count, 0));
        assert!(spans.iter().all(|span| first_of(&span.trace_id)));
    }
}

#[test]
fn contents_reach_a_collector_that_takes_no_more_than_is_usual() {
    let collector = Collector::start(OtlpProtocol::Grpc, &[Answer::Success]);
    let config = Otlp { traces: false, logs: true, ..only_traces(collector.url(), OtlpProtocol::Grpc) };
    let started = start(&config, EAGER);
    let queue = started.queue.as_ref().unwrap();
    // Together more than a collector takes, and less than may wait for it.
    let bytes = backlog::BYTES / 5;
    (0..4).for_each(|number| queue.send(Record::Request(chat(number), Some(Arc::new(said(bytes))))));
    let received: Vec<Received> = (0..4).map(|_| collector.next()).collect();
    assert!(received.iter().all(|received| received.message.len() < TAKEN));
    let of = |received: &Received| ids(&ExportLogsServiceRequest::decode(received.message.clone()).unwrap());
    assert_eq!(received.iter().flat_map(of).collect::<Vec<_>>(), [0, 1, 2, 3].map(|id| format!("chatcmpl-{id}")));
    let counts = started.end();
    assert_eq!((exports(&counts, Signal::Logs), losses(&counts)), ([4, 0, 0, 0, 0], [0; 3]));
}

#[test]
fn of_more_than_may_wait_the_newest_are_sent_and_the_others_counted() {
    let collector = Collector::start(OtlpProtocol::Http, &[Answer::Success]);
    let config = Otlp { traces: false, logs: true, ..only_traces(collector.url(), OtlpProtocol::Http) };
    let started = start(&config, EAGER);
    let queue = started.queue.as_ref().unwrap();
    let total = 20;
    let content = Arc::new(said(backlog::BYTES / 5));
    (0..total).for_each(|number| queue.send(Record::Request(chat(number), Some(Arc::clone(&content)))));
    let (mut sent, last) = (Vec::new(), format!("chatcmpl-{}", total - 1));
    while sent.last() != Some(&last) {
        sent.extend(ids(&ExportLogsServiceRequest::decode(collector.next().message).unwrap()));
    }
    let counts = started.end();
    assert!(sent.len() >= 4, "{sent:?}");
    assert_eq!(losses(&counts), [0, 0, total - sent.len() as u64]);
}

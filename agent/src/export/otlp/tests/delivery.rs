//! What each answer of a collector costs: attempts, outcomes and losses, over both protocols.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tonic::Code;

use super::*;
use crate::export::otlp::transport::{Transport, Verdict};
use OtlpProtocol::{Grpc, Http};

/// Sends one batch, waits for so many attempts, ends, and holds the counts to what is given.
#[track_caller]
fn case(protocol: OtlpProtocol, answers: &[Answer], pace: Pace, wants: ([u64; 5], [u64; 3])) -> Vec<Received> {
    let collector = Collector::start(protocol, answers);
    // Long enough for a busy machine where an answer is to come.
    let hangs = answers.iter().any(|answer| matches!(answer, Answer::Hang));
    let timeout = Duration::from_millis(if hangs { 500 } else { 20_000 });
    let config = Otlp { timeout, ..only_traces(collector.url(), protocol) };
    let started = start(&config, pace);
    started.send((0..BATCH).map(chat));
    let attempts = wants.0.iter().sum();
    let received: Vec<Received> = (0..attempts).map(|_| collector.next()).collect();
    let counts = started.end();
    assert_eq!((exports(&counts, Signal::Traces), losses(&counts)), wants, "{answers:?}");
    assert_eq!(collector.rest().len(), 0, "{answers:?}");
    let spans = |received: &Received| {
        let export = ExportTraceServiceRequest::decode(received.message.clone()).unwrap();
        export.resource_spans.iter().flat_map(|of| &of.scope_spans).map(|scope| scope.spans.len()).sum::<usize>()
    };
    assert!(received.iter().all(|received| spans(received) as u64 == BATCH), "{answers:?}");
    received
}

const NOTHING: [u64; 3] = [0; 3];
const ONCE: Pace = Pace { give_up: Duration::ZERO, ..EAGER };

#[test]
fn over_http() {
    use Answer::{Close, Hang, Page, Partial, Success};
    let status = |status| Answer::Http(status, None);
    for (answers, pace, exports, losses) in [
        (vec![Success], EAGER, [1, 0, 0, 0, 0], NOTHING),
        (vec![Partial(0, "all well")], EAGER, [1, 0, 0, 0, 0], NOTHING),
        (vec![Partial(3, "too old")], EAGER, [0, 1, 0, 0, 0], [0, 3, 0]),
        (vec![Partial(1 << 40, "nonsense")], EAGER, [0, 1, 0, 0, 0], [0, BATCH, 0]),
        (vec![status(503), Success], EAGER, [1, 0, 0, 0, 1], NOTHING),
        (vec![status(429), status(502), status(504), Success], EAGER, [1, 0, 0, 0, 3], NOTHING),
        (vec![Answer::Http(503, Some("Wed, 21 Oct 2015 07:28:00 GMT")), Success], EAGER, [1, 0, 0, 0, 1], NOTHING),
        (vec![status(503)], ONCE, [0, 0, 0, 1, 0], [0, 0, BATCH]),
        (vec![status(400)], EAGER, [0, 0, 1, 0, 0], [0, BATCH, 0]),
        (vec![status(401)], EAGER, [0, 0, 1, 0, 0], [0, BATCH, 0]),
        (vec![status(302)], EAGER, [0, 0, 1, 0, 0], [0, BATCH, 0]),
        (vec![status(500)], EAGER, [0, 0, 1, 0, 0], [0, BATCH, 0]),
        (vec![Page], EAGER, [0, 0, 1, 0, 0], [0, BATCH, 0]),
        (vec![Close, Success], EAGER, [1, 0, 0, 0, 1], NOTHING),
        (vec![Hang, Success], EAGER, [1, 0, 0, 0, 1], NOTHING),
        (vec![Hang], ONCE, [0, 0, 0, 1, 0], [0, 0, BATCH]),
    ] {
        let received = case(Http, &answers, pace, (exports, losses));
        assert!(received.iter().all(|received| received.path == "/v1/traces"), "{answers:?}");
    }
}

#[test]
fn over_grpc() {
    use Answer::{Close, Hang, Partial, Success};
    let status = |code| Answer::Grpc(code, None);
    let soon = Some(Duration::from_millis(20));
    for (answers, pace, exports, losses) in [
        (vec![Success], EAGER, [1, 0, 0, 0, 0], NOTHING),
        (vec![Partial(3, "too old")], EAGER, [0, 1, 0, 0, 0], [0, 3, 0]),
        (vec![status(Code::Unavailable), Success], EAGER, [1, 0, 0, 0, 1], NOTHING),
        (vec![status(Code::Unavailable)], ONCE, [0, 0, 0, 1, 0], [0, 0, BATCH]),
        (vec![Answer::Grpc(Code::ResourceExhausted, soon), Success], EAGER, [1, 0, 0, 0, 1], NOTHING),
        (vec![status(Code::ResourceExhausted)], EAGER, [0, 0, 1, 0, 0], [0, BATCH, 0]),
        (vec![status(Code::InvalidArgument)], EAGER, [0, 0, 1, 0, 0], [0, BATCH, 0]),
        (vec![status(Code::Unauthenticated)], EAGER, [0, 0, 1, 0, 0], [0, BATCH, 0]),
        (vec![Answer::Http(503, None), Success], EAGER, [1, 0, 0, 0, 1], NOTHING),
        (vec![Answer::Http(404, None)], EAGER, [0, 0, 1, 0, 0], [0, BATCH, 0]),
        (vec![Close, Success], EAGER, [1, 0, 0, 0, 1], NOTHING),
        (vec![Hang, Success], EAGER, [1, 0, 0, 0, 1], NOTHING),
    ] {
        let received = case(Grpc, &answers, pace, (exports, losses));
        let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        assert!(received.iter().all(|received| received.path == path), "{answers:?}");
    }
}

#[test]
fn a_collector_that_names_a_time_is_left_alone_until_then() {
    let http = [Answer::Http(429, Some("1")), Answer::Success];
    let grpc = [Answer::Grpc(Code::Unavailable, Some(Duration::from_secs(1))), Answer::Success];
    for (protocol, answers) in [(Http, &http), (Grpc, &grpc)] {
        let received = case(protocol, answers, EAGER, ([1, 0, 0, 0, 1], NOTHING));
        assert!(received[1].at - received[0].at >= Duration::from_secs(1), "{protocol:?}");
    }
}

#[test]
fn what_is_given_up_for_the_time_named_does_not_shorten_it() {
    let collector = Collector::start(Http, &[Answer::Http(503, Some("1")), Answer::Success]);
    let started = start(&only_traces(collector.url(), Http), ONCE);
    started.send((0..2 * BATCH).map(chat));
    let (first, second) = (collector.next(), collector.next());
    assert!(second.at - first.at >= Duration::from_secs(1));
    let counts = started.end();
    assert_eq!((exports(&counts, Signal::Traces), losses(&counts)), ([1, 0, 0, 1, 0], [0, 0, BATCH]));
}

#[test]
fn what_speaks_something_else_is_no_collector() {
    use std::io::Write;
    for protocol in [Http, Grpc] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n\0\xff\xff\xff");
        });
        let started = start(&only_traces(endpoint, protocol), ONCE);
        started.send((0..BATCH).map(chat));
        other.join().unwrap();
        let counts = started.end();
        assert_eq!(
            (exports(&counts, Signal::Traces), losses(&counts)),
            ([0, 0, 0, 1, 0], [0, 0, BATCH]),
            "{protocol:?}"
        );
    }
}

#[test]
fn headers_and_gzip_reach_the_collector_and_no_message() {
    for protocol in [Http, Grpc] {
        for gzip in [true, false] {
            let collector = Collector::start(protocol, &[Answer::Success]);
            let headers = crate::config::Headers::from([("authorization", "Bearer hush-hush"), ("x-scope", "a b")]);
            let config = Otlp { headers, gzip, ..only_traces(collector.url(), protocol) };
            let started = start(&config, EAGER);
            started.send((0..BATCH).map(chat));
            let received = collector.next();
            assert_eq!(received.headers["authorization"], "Bearer hush-hush");
            assert_eq!(received.headers["x-scope"], "a b");
            let encoding = received.headers.get("content-encoding").or(received.headers.get("grpc-encoding"));
            assert_eq!(encoding.map(|encoding| encoding.as_bytes()), gzip.then_some(b"gzip".as_slice()));
            assert!(ExportTraceServiceRequest::decode(received.message).is_ok());
            assert_eq!(exports(&started.end(), Signal::Traces), [1, 0, 0, 0, 0]);
        }
    }
    let config = Otlp { headers: [("x-key", "hush\n")].into(), ..only_traces("http://x".into(), Http) };
    let error = format!("{:?}", Exporter::open(&config).err().unwrap());
    assert!(error.contains("x-key") && !error.contains("hush"), "{error}");
}

#[test]
fn what_a_collector_echoes_of_headers_is_not_told() {
    const ECHO: &str = "no such key: Bearer hush-hush (hush-hush)";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for protocol in [Http, Grpc] {
        let collector = Collector::start(protocol, &[Answer::Partial(1, ECHO)]);
        let headers = [("authorization", "Bearer hush-hush")].into();
        let config = Otlp { headers, ..only_traces(collector.url(), protocol) };
        let transport = Transport::new(&config, &collector.url()).unwrap();
        let verdict = runtime.block_on(transport.send(Signal::Traces, &Default::default()));
        let why = "no such key: *** (***)".to_owned();
        assert_eq!(verdict, Verdict::Taken { rejected: 1, why });
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_the_start() {
    let with = |change: fn(&mut Otlp)| {
        let mut config = only_traces("https://127.0.0.1:1".into(), Http);
        change(&mut config);
        Exporter::open(&config).map(|exporter| exporter.is_some()).map_err(|error| format!("{error:#}"))
    };
    assert_eq!(with(|config| config.endpoint = None), Ok(false));
    for (change, says) in [
        (((|config| config.cert_file = Some("/x".into())) as fn(&mut Otlp)), "set both, or none"),
        (|config| config.ca_file = Some("/no/such".into()), "otlp.ca_file: cannot read certificates from /no/such"),
        (|config| config.ca_file = Some("/dev/null".into()), "otlp.ca_file: no certificate in PEM in /dev/null"),
        (
            |config| {
                config.protocol = Grpc;
                config.endpoint = Some("http://x/v1/traces".into());
            },
            "OTLP/gRPC knows none",
        ),
    ] {
        let said = with(change).unwrap_err();
        assert!(said.contains(says), "{said}");
    }
}

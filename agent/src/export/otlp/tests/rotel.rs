//! Through a real collector, rotel: what it received from the exporter and sends on is what the records say.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;

use super::*;
use crate::export::otlp::attributes;

/// Where `cargo xtask setup --only tools` leaves it, if it runs: it wants a libpython.
fn installed() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let packages = std::fs::read_dir(workspace.join(".cache/tools/rotel/lib")).ok()?;
    packages.flatten().map(|dir| dir.path().join("site-packages/rotel/rotel-agent")).find(|path| runs(path))
}

fn runs(program: &Path) -> bool {
    let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Rotel {
    child: Child,
    http: u16,
    grpc: u16,
}

impl Rotel {
    fn start(program: &Path, to: &Collector, dir: &Path) -> Self {
        let (http, grpc) = (free_port(), free_port());
        let child = Command::new(program)
            .args(["start", "--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &to.url()])
            .env("ROTEL_PID_FILE", dir.join("pid"))
            .env("ROTEL_LOG_FILE", dir.join("log"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, http, grpc }
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a signal's first export says of a service and of its first item.
fn first(collector: &Collector, signal: &str, seen: &mut Vec<Received>) -> Received {
    loop {
        if let Some(at) = seen.iter().position(|received| received.path.ends_with(signal)) {
            return seen.remove(at);
        }
        seen.push(collector.next());
    }
}

fn compare(collector: &Collector, request: &Request) {
    let mut seen = Vec::new();
    let traces = ExportTraceServiceRequest::decode(first(collector, "traces", &mut seen).message).unwrap();
    let (resource, spans) = {
        let of = &traces.resource_spans[0];
        (&of.resource.as_ref().unwrap().attributes, &of.scope_spans[0].spans)
    };
    assert_eq!(convert::text(resource, "service.name").as_deref(), Some("vllm-qwen"));
    let span = spans.iter().find(|span| span.name == attributes::name(request)).unwrap();
    assert_eq!((spans.len(), &span.attributes), (3, &attributes::of(request)));
    assert!(spans.iter().all(|one| one.name == span.name || one.parent_span_id == span.span_id));

    let logs = ExportLogsServiceRequest::decode(first(collector, "logs", &mut seen).message).unwrap();
    let record = &logs.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!((&record.trace_id, &record.span_id), (&span.trace_id, &span.span_id));
    assert_eq!((record.event_name.as_str(), &record.attributes), ("inferscope.request", &span.attributes));

    let metrics = ExportMetricsServiceRequest::decode(first(collector, "metrics", &mut seen).message).unwrap();
    let names: Vec<&str> = metrics
        .resource_metrics
        .iter()
        .flat_map(|of| &of.scope_metrics)
        .flat_map(|scope| &scope.metrics)
        .map(|metric| metric.name.as_str())
        .collect();
    assert!(names.contains(&"gen_ai.server.time_to_first_token"), "{names:?}");
}

#[test]
fn a_real_collector_takes_all_of_it() {
    let Some(program) = installed() else {
        support::live::skip(
            "a_real_collector_takes_all_of_it",
            "rotel is not there or does not run: cargo xtask setup --only tools, and libpython of python3",
        );
        return;
    };
    for protocol in [OtlpProtocol::Http, OtlpProtocol::Grpc] {
        let (collector, dir) = (Collector::start(OtlpProtocol::Http, &[Answer::Success]), tempfile::tempdir().unwrap());
        let rotel = Rotel::start(&program, &collector, dir.path());
        let port = if protocol == OtlpProtocol::Http { rotel.http } else { rotel.grpc };
        let config = Otlp {
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            protocol,
            gzip: true,
            interval: Duration::from_millis(500),
            ..Otlp::default()
        };
        // Until it listens, attempts are made again.
        let started = start(&config, EAGER);
        let request = Arc::new(convert::streamed());
        started.send([Arc::clone(&request)]);
        compare(&collector, &request);
        let counts = started.end();
        assert_eq!((exports(&counts, Signal::Traces)[..4].to_vec(), losses(&counts)), (vec![1, 0, 0, 0], [0; 3]));
    }
}

//! What a scraper reads: every family of the table, and the exporters fed with the worst names there are, held to the
//! text format by our own strict reading and, where it is installed, by `promtool check metrics`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use agent::correlate::{self, Labels};
use agent::export::family::Family;
use agent::export::metrics::{Kind, METRICS};
use agent::export::requests::RequestMetrics;
use agent::export::routes::Routes;
use agent::export::{gpu, own, process};
use agent::poll::nvml::{
    DeviceReading, GpmReading, GpuSnapshot, MemoryReading, MigReading, NvmlHealth, ProcessKind, ProcessReading,
    ProcessUtilization,
};
use agent::poll::procfs::{ProcReader, ProcSnapshot};
use agent::services::{ProcessView, ServiceTable, ServiceView};
use agent::session::exchange::{Ending, Exchange, GapCounts, Mark, Role, Sending};
use agent::session::llm::{LlmParser, Piece};
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;
use support::exposition;
use support::metrics::Metrics;

const SERVICE: &str = "a \"service\"\\ of\nits own, {x=\"1\"} 5";
const COMM: &str = "comm\u{fffd}\"}";

fn written(mut families: Vec<MetricFamily>) -> String {
    families.sort_by(|a, b| a.name().cmp(b.name()));
    TextEncoder::new().encode_to_string(&families).unwrap()
}

#[track_caller]
fn read_strictly(text: &str) {
    let problems = exposition::problems(text);
    assert!(problems.is_empty(), "{}\n{text}", problems.join("\n"));
}

fn services(pid: u32) -> ServiceTable {
    Arc::new(vec![Arc::new(ServiceView {
        name: SERVICE.into(),
        engine: "vllm".into(),
        ports: vec![8000],
        pid,
        processes: vec![ProcessView { pid, comm: COMM.into() }, ProcessView { pid: 1, comm: String::new() }],
        ..ServiceView::default()
    })])
}

fn gpm() -> Option<GpmReading> {
    Some(GpmReading {
        sm_activity: Some(1.0 / 3.0),
        sm_occupancy: Some(0.0),
        tensor: Some(1e-9),
        dram: Some(1.0),
        nvlink_tx_bytes_per_second: Some(4.5e11),
        ..GpmReading::default()
    })
}

fn device(index: u32, pid: u32) -> DeviceReading {
    let memory = Some(MemoryReading { total_bytes: u64::MAX, used_bytes: 0, free_bytes: 0, reserved_bytes: 1 });
    let utilization = Some(ProcessUtilization::default());
    let kind = ProcessKind::Compute;
    let process = ProcessReading { pid, kind, used_memory_bytes: Some(1), gi: None, ci: None, utilization };
    let instance = |index| MigReading { index, memory, gpm: gpm(), ..MigReading::default() };
    DeviceReading {
        index,
        uuid: format!("GPU-{index}"),
        name: "NVIDIA \"H\"\n".into(),
        utilization_gpu: Some(0.5),
        memory,
        energy_joules: Some(1.23456789e9),
        throttle_reasons: Some(4),
        pcie_tx_bytes_per_second: Some(1.0),
        ecc_corrected: Some(0),
        xid_count: Some(1),
        xid_last: Some(79),
        mig_enabled: Some(index == 1),
        mig: if index == 1 { vec![instance(0), instance(1)] } else { Vec::new() },
        gpm: gpm(),
        // One process twice, as on two MIG devices.
        processes: Some(vec![process.clone(), process]),
        ..DeviceReading::default()
    }
}

fn gpus(pid: u32) -> GpuSnapshot {
    GpuSnapshot {
        at_ns: 1,
        at: Some(Instant::now()),
        health: NvmlHealth::Absent { reason: "none".into() },
        library: None,
        driver_version: Some("550\"".into()),
        nvml_version: None,
        cuda_version: None,
        devices: Arc::new([device(0, pid), device(1, pid)]),
        rounds: 1,
        call_errors: Arc::new(BTreeMap::from([(("nvmlInit_v2", "unknown"), 1)])),
    }
}

/// A finished chat whose request asked for the model spelled by these bytes of JSON.
fn chat(role: Role, model: &[u8], gaps: u64) -> Exchange {
    let mut llm = LlmParser::detect("POST", "/v1/chat/completions").unwrap();
    llm.request_body(Piece::Bytes(&[b"{\"stream\":true,\"model\":\"", model, b"\",\"messages\":[]}"].concat()));
    llm.request_end();
    let mark = |at_ns| Mark { at_ns, ..Mark::default() };
    let mut chunk_gaps = GapCounts::default();
    (0..gaps).for_each(|gap| chunk_gaps.add(gap * 7_000_000));
    Exchange {
        role,
        tgid: 7,
        service: 0,
        server_port: 8000,
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        status: 200,
        start: mark(1_000),
        request_end: Some(mark(2_000)),
        first_byte: Some(mark(3_000)),
        first_content: Some(mark(4_000)),
        last_content: Some(mark(9_000_000_000)),
        end: mark(100_000_000_000),
        ending: Ending::Complete,
        request_bytes: 10,
        response_bytes: 20,
        content_chunks: gaps + 1,
        gap: false,
        chunk_gaps,
        chunk_times_ns: Vec::new(),
        others_in_flight: 0.0,
        sending: Sending::default(),
        engine: None,
        fields: None,
        said: None,
        traceparent: None,
        request_id: None,
        subject: None,
        llm: Some(llm.finish()),
    }
}

const LABELS: Labels<'_> = Labels { service: SERVICE, engine: "vllm", model: None };

#[test]
fn metrics_text_of_the_whole_table() {
    let one_of_each = METRICS.iter().map(|metric| {
        let mut family = Family::new(metric);
        let labels: Vec<&str> = metric.labels.iter().map(|_| SERVICE).collect();
        if metric.kind == Kind::Histogram {
            let counts: Vec<u64> = (0..=metric.buckets.len() as u64).collect();
            family.add_histogram(&labels, metric.buckets, &counts, 1.5);
        } else {
            family.add(&labels, 0.1);
        }
        family.finish().unwrap()
    });
    exposition::assert_sound("metrics_text_of_the_whole_table", &written(one_of_each.collect()));
}

#[test]
fn metrics_text_of_the_exporters() {
    let pid = std::process::id();
    let reading = ProcReader::new().read(pid).unwrap().unwrap();
    let processes = Arc::new([(pid, reading)].into_iter().collect());
    let snapshot = ProcSnapshot { processes, ..ProcSnapshot::default() };
    let services = services(pid);
    let requests = RequestMetrics::new(4, Routes::default());
    for model in ["m", "n", "o", "p", "q"] {
        // A proxy is a server and a client of the same model; some go over the cap of series.
        for role in [Role::Server, Role::Client] {
            requests.observe(&correlate::request(chat(role, model.as_bytes(), 9), &LABELS));
        }
    }
    let mut families = gpu::families(&gpus(pid));
    families.extend(gpu::processes(&gpus(pid), &services));
    families.extend(process::families(&snapshot, &services));
    families.extend(own::families(Some(&reading), UNIX_EPOCH + Duration::from_millis(1_795_473_117_123)));
    families.extend(requests.families());
    let text = written(families);
    exposition::assert_sound("metrics_text_of_the_exporters", &text);
    let metrics = Metrics::parse(&text).unwrap();
    let who: &[(&str, &str)] = &[("service", SERVICE), ("comm", COMM)];
    assert!(metrics.count("process_threads", who) >= 1.0, "{text}");
    assert_eq!(metrics.count("inferscope_process_gpu_memory_bytes", who), 4.0, "{text}");
    assert_eq!(metrics.sum("inferscope_start_time_seconds", &[]), Some(1_795_473_117.123));
    assert_eq!(metrics.count("gen_ai_server_request_duration_seconds_count", &[]), 5.0, "{text}");
    assert_eq!(metrics.count("gen_ai_client_operation_duration_seconds_count", &[]), 5.0, "{text}");
}

#[test]
fn metrics_text_with_model_names_that_need_escapes() {
    for (json, label) in [
        (&b"plain"[..], "plain"),
        (br#"say \"hi\""#, "say \"hi\""),
        (br"back\\slash", "back\\slash"),
        // Line ends and other control characters have no place in a label.
        (br"two\nlines\u0000\t", "twolines"),
        (b"not \xff\xfe text", "not \u{fffd}\u{fffd} text"),
        ("grüße 🤗".as_bytes(), "grüße 🤗"),
        (br#"}\" 1\n# TYPE x counter"#, "}\" 1# TYPE x counter"),
    ] {
        let requests = RequestMetrics::new(100, Routes::default());
        let request = correlate::request(chat(Role::Server, json, 3), &LABELS);
        requests.observe(&request);
        let text = written(requests.families());
        read_strictly(&text);
        let name = "gen_ai_server_time_to_first_token_seconds_count";
        let metrics = Metrics::parse(&text).unwrap();
        assert_eq!(metrics.label_values(name, "gen_ai_request_model"), [label], "{text}");
        assert_eq!(metrics.sum(name, &[("service", SERVICE)]), Some(1.0), "{text}");
    }
}

/// Literals that look like a name, in what asks a running agent: each is a family's, a sample's or a label's.
#[test]
fn what_the_tests_ask_for_is_in_the_table() {
    const BEGINNINGS: [&str; 5] = ["gen_ai_", "http_server_", "hw_", "inferscope_", "process_"];
    let names = support::metrics::names_in(&agent::export::metrics::table());
    let labels: Vec<&str> = METRICS.iter().flat_map(|metric| metric.labels.iter().copied()).collect();
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = 0;
    for folder in ["agent/tests", "tests/support/src", "xtask/src/bench"] {
        for file in std::fs::read_dir(workspace.join(folder)).unwrap() {
            let path = file.unwrap().path();
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            for word in text.split('"').filter(|word| BEGINNINGS.iter().any(|begin| word.starts_with(begin))) {
                let name = word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                if name && !BEGINNINGS.contains(&word) {
                    assert!(names.contains(word) || labels.contains(&word), "{}: {word}", path.display());
                    found += 1;
                }
            }
        }
    }
    assert!(found > 50, "{found} names: the sources are elsewhere");
}

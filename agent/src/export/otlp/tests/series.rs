//! The families of a scrape as metrics: every kind of them, the names, and the bounds of an export.

use ::prometheus::proto::MetricFamily;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{AggregationTemporality, Metric, metric::Data, number_data_point::Value},
};
use prost::Message;

use super::*;
use crate::export::{
    family::Family,
    metrics::{self as table, Kind, METRICS},
    otlp::{metrics, resource::Host, starts::Starts},
    requests::RequestMetrics,
    routes::Routes,
};

/// A counter, a gauge and a histogram.
pub fn families() -> Vec<MetricFamily> {
    let mut lost = Family::new(&table::EVENTS_LOST);
    lost.add(&["records"], 7.0);
    let mut active = Family::new(&table::HTTP_ACTIVE);
    active.add(&["vllm-qwen", "8000"], 2.0);
    let metrics = RequestMetrics::new(100, Routes::default());
    for ttft_s in [0.0005, 0.03, 60.0] {
        metrics.observe(&Request { ttft_s: Some(ttft_s), port: 8000, ..(*chat(0)).clone() });
    }
    let mut all: Vec<_> = [lost, active].into_iter().filter_map(Family::finish).collect();
    all.extend(metrics.families());
    all
}

/// What is sent of these families, read at 9 by an agent that began at 5.
fn sent(families: &[MetricFamily]) -> Vec<(ExportMetricsServiceRequest, u64)> {
    sent_after(&mut Starts::new(5), families, 9)
}

/// What is sent of these families, read at `read_ns`, after those that `starts` has seen.
pub fn sent_after(
    starts: &mut Starts,
    families: &[MetricFamily],
    read_ns: u64,
) -> Vec<(ExportMetricsServiceRequest, u64)> {
    let again = |export: ExportMetricsServiceRequest| {
        ExportMetricsServiceRequest::decode(export.encode_to_vec().as_slice()).unwrap()
    };
    let starts = starts.turn(families, read_ns);
    let exports = metrics::exports(families, &starts, read_ns, &Host::named("h"));
    exports.into_iter().map(|(one, points)| (again(one), points)).collect()
}

/// The metrics of a service.
pub fn of(export: &ExportMetricsServiceRequest, service: &str) -> Vec<Metric> {
    let name = Some(Value::AsDouble(0.0)).map(|_| service);
    let found = export
        .resource_metrics
        .iter()
        .find(|one| convert::text(&one.resource.as_ref().unwrap().attributes, "service.name").as_deref() == name);
    found.unwrap().scope_metrics[0].metrics.clone()
}

#[test]
fn each_kind_is_sent_as_it_is() {
    let exports = sent(&families());
    let [(export, _)] = exports.as_slice() else { panic!("{} exports", exports.len()) };
    let own = of(export, "inferscope");
    let Some(Data::Sum(sum)) = &own[0].data else { panic!("{own:?}") };
    assert_eq!((own[0].name.as_str(), own[0].unit.as_str()), ("inferscope_events_lost_total", "{event}"));
    assert!(sum.is_monotonic && sum.aggregation_temporality == AggregationTemporality::Cumulative as i32);
    let point = &sum.data_points[0];
    assert_eq!((point.value, point.start_time_unix_nano, point.time_unix_nano), (Some(Value::AsDouble(7.0)), 5, 9));
    assert_eq!(convert::text(&point.attributes, "where").as_deref(), Some("records"));

    let service = of(export, "vllm-qwen");
    let named = |name: &str| service.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
    let Some(Data::Gauge(gauge)) = &named("http.server.active_requests").data else { panic!("no gauge") };
    let point = &gauge.data_points[0];
    assert_eq!((point.value, point.start_time_unix_nano, point.time_unix_nano), (Some(Value::AsDouble(2.0)), 0, 9));
    assert_eq!(convert::int(&gauge.data_points[0].attributes, "server.port"), Some(8000));
    assert_eq!(convert::text(&gauge.data_points[0].attributes, "service"), None);

    let ttft = named("gen_ai.server.time_to_first_token");
    let Some(Data::Histogram(histogram)) = &ttft.data else { panic!("no histogram") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.explicit_bounds.as_slice()), (3, table::REQUEST_TTFT.buckets));
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 9));
    let filled: Vec<usize> = (0..point.bucket_counts.len()).filter(|at| point.bucket_counts[*at] != 0).collect();
    assert_eq!((filled, point.bucket_counts.len()), (vec![0, 4, 16], 17));
    assert!((point.sum.unwrap() - 60.0305).abs() < 1e-9 && ttft.unit == "s");
    assert_eq!(convert::text(&point.attributes, "gen_ai.operation.name").as_deref(), Some("chat"));
    assert_eq!(convert::text(&point.attributes, "error.type"), None, "an empty label is no attribute");
    named("gen_ai.server.request.duration");
}

#[test]
fn what_is_a_number_on_spans_is_one_on_points() {
    let mut durations = Family::new(&table::HTTP_DURATION);
    let mut threads = Family::new(&table::PROCESS_THREADS);
    let (buckets, counts) = (table::HTTP_DURATION.buckets, vec![1; table::HTTP_DURATION.buckets.len() + 1]);
    durations.add_histogram(&["a", "GET", "/health", "404", "8000", ""], buckets, &counts, 1.0);
    durations.add_histogram(&["b", "GET", "_other", "_other", "_other", "404"], buckets, &counts, 1.0);
    threads.add(&["a", "77", "123"], 5.0);
    let families: Vec<MetricFamily> = [durations, threads].into_iter().filter_map(Family::finish).collect();
    let exports = sent(&families);
    let [(export, 3)] = exports.as_slice() else { panic!("{exports:?}") };
    let (a, b) = (of(export, "a"), of(export, "b"));
    let Some(Data::Histogram(histogram)) = &a[0].data else { panic!("{a:?}") };
    let point = &histogram.data_points[0].attributes;
    assert_eq!(convert::int(point, "http.response.status_code"), Some(404));
    assert_eq!(convert::int(point, "server.port"), Some(8000));
    let Some(Data::Gauge(gauge)) = &a[1].data else { panic!("{a:?}") };
    let point = &gauge.data_points[0].attributes;
    assert_eq!(convert::int(point, "process.pid"), Some(77));
    assert_eq!(convert::text(point, "comm").as_deref(), Some("123"), "a name that looks like one");
    let Some(Data::Histogram(histogram)) = &b[0].data else { panic!("{b:?}") };
    let point = &histogram.data_points[0].attributes;
    for (key, wants) in [("http.response.status_code", "_other"), ("server.port", "_other"), ("error.type", "404")] {
        assert_eq!(convert::text(point, key).as_deref(), Some(wants), "{key}");
    }
}

#[test]
fn a_gauge_in_ones_has_a_unit_only_if_it_is_a_ratio() {
    let (mut up, mut part) = (Family::new(&table::GPU_UP), Family::new(&table::GPU_UTILIZATION));
    up.add(&["0", "GPU-1", "name"], 1.0);
    part.add(&["0", "GPU-1", "name", "general"], 0.5);
    let families: Vec<MetricFamily> = [up, part].into_iter().filter_map(Family::finish).collect();
    let exports = sent(&families);
    let units: Vec<_> = of(&exports[0].0, "inferscope").into_iter().map(|metric| (metric.name, metric.unit)).collect();
    assert_eq!(units, [("hw_gpu_up".into(), "".into()), ("hw.gpu.utilization".into(), "1".into())]);
}

#[test]
fn every_family_is_sent_with_its_type() {
    let families: Vec<MetricFamily> = METRICS
        .iter()
        .filter_map(|metric| {
            let mut family = Family::new(metric);
            match metric.kind {
                Kind::Histogram => family.add_histogram(metric.labels, &[1.0], &[1, 2], 3.0),
                _ => family.add(metric.labels, 1.0),
            }
            family.finish()
        })
        .collect();
    let exports = sent(&families);
    assert_eq!(exports.iter().map(|(_, points)| *points).sum::<u64>(), METRICS.len() as u64);
    let sent =
        exports.iter().flat_map(|(export, _)| &export.resource_metrics).flat_map(|of| &of.scope_metrics[0].metrics);
    assert_eq!(sent.count(), METRICS.len());
}

#[test]
fn many_series_are_several_exports_of_a_size_that_collectors_take() {
    let mut family = Family::new(&table::REQUEST_DURATION);
    let counts = vec![1; table::REQUEST_DURATION.buckets.len() + 1];
    for number in 0..5001 {
        let (service, model) = (format!("service-{}", number % 3), format!("{number:0128}"));
        let labels = [&service, "chat", "vllm", &model, &model, "8000", ""];
        family.add_histogram(&labels, table::REQUEST_DURATION.buckets, &counts, 1.0);
    }
    let exports = sent(&[family.finish().unwrap()]);
    let points: Vec<u64> = exports.iter().map(|(_, points)| *points).collect();
    assert_eq!(points, [1667, 1667, 1667]);
    assert!(exports.iter().all(|(export, _)| export.encoded_len() < 4 << 20));
}

#[test]
fn metrics_are_sent_at_every_interval_and_need_no_requests() {
    let collector = Collector::start(OtlpProtocol::Grpc, &[Answer::Success]);
    let config = Otlp {
        interval: Duration::from_millis(20),
        traces: false,
        logs: false,
        metrics: true,
        ..only_traces(collector.url(), OtlpProtocol::Grpc)
    };
    let started = start(&config, EAGER);
    assert!(started.queue.is_none(), "nothing of requests is wanted");
    let first = collector.next();
    assert!(first.path.ends_with("MetricsService/Export"));
    let export = ExportMetricsServiceRequest::decode(first.message).unwrap();
    assert_eq!(export.resource_metrics.len(), 2);
    collector.next();
    let counts = started.end();
    // Where the machine is slow, newer ones take the place of some that wait.
    let [delivered, partial, rejected, _, retried] = exports(&counts, Signal::Metrics);
    assert!(delivered >= 2 && [partial, rejected, retried] == [0; 3]);
}

#[test]
fn metrics_that_the_collector_does_not_take_are_no_loss() {
    let collector = Collector::start(OtlpProtocol::Http, &[Answer::Partial(2, ""), Answer::Http(400, None)]);
    let config = Otlp {
        interval: Duration::from_millis(20),
        traces: false,
        metrics: true,
        ..only_traces(collector.url(), OtlpProtocol::Http)
    };
    let started = start(&config, EAGER);
    collector.next();
    collector.next();
    let counts = started.end();
    let [delivered, partial, rejected, _, _] = exports(&counts, Signal::Metrics);
    assert!(delivered == 0 && partial == 1 && rejected >= 1);
    assert_eq!(losses(&counts), [0; 3]);
}

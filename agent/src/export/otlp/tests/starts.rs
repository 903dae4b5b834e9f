//! Since when sums are told to count: the agent's own since it began, those that start again since the export before, and
//! those of others without a start.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::UNIX_EPOCH,
};

use ::prometheus::proto::{LabelPair, MetricFamily};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Metric, NumberDataPoint, metric::Data, number_data_point::Value},
};
use prost::Message;

use super::*;
use crate::export::{
    family::Family,
    metrics::{self as table, Metric as Row},
    otlp::starts::Starts,
};

const BEGAN: u64 = 5;

fn counter(metric: &'static Row, rows: &[(&[&str], f64)]) -> MetricFamily {
    let mut family = Family::new(metric);
    rows.iter().for_each(|(labels, value)| family.add(labels, *value));
    family.finish().unwrap()
}

/// A sum for each of these services.
fn oncpu(rows: &[(&str, f64)]) -> MetricFamily {
    let mut family = Family::new(&table::SERVICE_ONCPU);
    rows.iter().for_each(|(service, seconds)| family.add(&[service], *seconds));
    family.finish().unwrap()
}

/// The starts of all points that are sent of one family.
fn starts_of(starts: &mut Starts, family: MetricFamily, read_ns: u64) -> Vec<u64> {
    let exports = series::sent_after(starts, &[family], read_ns);
    let metrics = exports.iter().flat_map(|(export, _)| &export.resource_metrics).flat_map(|of| &of.scope_metrics);
    let of = |metric: &Metric| -> Vec<u64> {
        match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => sum.data_points.iter().map(|point| point.start_time_unix_nano).collect(),
            Data::Histogram(all) => all.data_points.iter().map(|point| point.start_time_unix_nano).collect(),
            other => panic!("{other:?}"),
        }
    };
    metrics.flat_map(|scope| &scope.metrics).flat_map(of).collect()
}

#[test]
fn a_sum_that_falls_began_after_the_export_before() {
    let mut starts = Starts::new(BEGAN);
    for (read_ns, a, b, wants) in [
        (10, 3.0, 3.0, [BEGAN, BEGAN]),
        (20, 4.0, 3.0, [BEGAN, BEGAN]),
        (30, 1.0, 3.0, [20, BEGAN]),
        (40, 6.0, 3.5, [20, BEGAN]),
        (50, 5.0, 3.5, [40, BEGAN]),
    ] {
        assert_eq!(starts_of(&mut starts, oncpu(&[("a", a), ("b", b)]), read_ns), wants, "{read_ns}");
    }
}

#[test]
fn a_sum_that_comes_or_comes_back_began_after_the_export_before() {
    let mut starts = Starts::new(BEGAN);
    assert_eq!(starts_of(&mut starts, oncpu(&[("a", 1.0), ("b", 1.0)]), 10), [BEGAN, BEGAN]);
    assert_eq!(starts_of(&mut starts, oncpu(&[("b", 1.0)]), 20), [BEGAN]);
    // Though it is more than it was.
    assert_eq!(starts_of(&mut starts, oncpu(&[("a", 2.0), ("b", 1.0), ("c", 1.0)]), 30), [20, BEGAN, 20]);
    assert_eq!(starts_of(&mut starts, oncpu(&[("a", 2.0), ("b", 1.0), ("c", 1.0)]), 40), [20, BEGAN, 20]);
}

#[test]
fn a_histogram_starts_again_with_fewer_observations() {
    let histogram = |count: u64, sum: f64| {
        let mut family = Family::new(&table::RUNQUEUE_LATENCY);
        family.add_histogram(&["a", "7", "comm"], &[1.0], &[count, 0], sum);
        family.finish().unwrap()
    };
    let mut starts = Starts::new(BEGAN);
    assert_eq!(starts_of(&mut starts, histogram(3, 0.5), 10), [BEGAN]);
    assert_eq!(starts_of(&mut starts, histogram(3, 0.5), 20), [BEGAN]);
    assert_eq!(starts_of(&mut starts, histogram(2, 0.75), 30), [20]);
}

#[test]
fn series_and_families_do_not_share_a_start() {
    let rows = |reason, other| {
        let rows: [(&[&str], f64); 2] = [(&["a", "futex"], reason), (&["a", "poll"], other)];
        counter(&table::SERVICE_OFFCPU, &rows)
    };
    let (mut starts, read) = (Starts::new(BEGAN), |value| counter(&table::SERVICE_RUNQUEUE, &[(&["a"], value)]));
    starts.turn(&[rows(9.0, 9.0), read(1.0), oncpu(&[("a", 5.0)])], 10);
    let turned = starts.turn(&[rows(8.0, 9.0), read(2.0), oncpu(&[("a", 4.0)])], 20);
    assert_eq!(turned, [vec![10, BEGAN], vec![BEGAN], vec![10]]);
}

#[test]
fn sums_of_others_have_no_start() {
    let device = ["0", "GPU-1", "name"];
    let energy = |joules| counter(&table::GPU_ENERGY, &[(&device, joules)]);
    let ecc = ["0", "GPU-1", "name", "ecc_corrected"];
    let mut starts = Starts::new(BEGAN);
    for (read_ns, value) in [(10, 1e9), (20, 5.0)] {
        assert_eq!(starts_of(&mut starts, energy(value), read_ns), [0]);
        assert_eq!(starts_of(&mut starts, counter(&table::GPU_ERRORS, &[(&ecc, value)]), read_ns), [0]);
        let cpu = counter(&table::PROCESS_CPU, &[(&["a", "7", "comm", "user"], value)]);
        assert_eq!(starts_of(&mut starts, cpu, read_ns), [0]);
    }
}

#[test]
fn a_service_whose_pod_becomes_known_goes_on() {
    let mut starts = Starts::new(BEGAN);
    assert_eq!(starts_of(&mut starts, oncpu(&[("a", 1.0)]), 10), [BEGAN]);
    let mut family = oncpu(&[("a", 2.0)]);
    let row = &mut family.mut_metric()[0];
    let mut labels = row.take_label();
    let mut pod = LabelPair::default();
    pod.set_name("pod".into());
    pod.set_value("vllm-0".into());
    labels.push(pod);
    row.set_label(labels);
    assert_eq!(starts_of(&mut starts, family, 20), [BEGAN]);
}

/// The only point of the only family of an export.
fn point(received: Received) -> NumberDataPoint {
    let export = ExportMetricsServiceRequest::decode(received.message).unwrap();
    let [metric]: [Metric; 1] = series::of(&export, "a").try_into().unwrap();
    let Some(Data::Sum(mut sum)) = metric.data else { panic!("no sum") };
    sum.data_points.remove(0)
}

#[test]
fn the_worker_remembers_from_one_export_to_the_next() {
    let collector = Collector::start(OtlpProtocol::Http, &[Answer::Success]);
    let config = Otlp {
        interval: Duration::from_millis(20),
        traces: false,
        metrics: true,
        ..only_traces(collector.url(), OtlpProtocol::Http)
    };
    let exporter = Exporter::open(&config).unwrap().unwrap();
    let (tasks, _ended) = supervised();
    let reads = AtomicU64::new(0);
    // Much at first, then from one on.
    let scrape = move || match reads.fetch_add(1, Ordering::Relaxed) {
        0 => vec![oncpu(&[("a", 1e6)])],
        later => vec![oncpu(&[("a", later as f64)])],
    };
    let began = UNIX_EPOCH + Duration::from_nanos(BEGAN);
    let running = exporter.start(Box::new(scrape), began, tasks.guard("otlp")).unwrap();
    let mut since = None;
    // Where the machine is slow, newer ones take the place of some that wait.
    for point in (0..4).map(|_| point(collector.next())) {
        if point.value == Some(Value::AsDouble(1e6)) {
            assert_eq!((point.start_time_unix_nano, since), (BEGAN, None));
        } else {
            let start_ns = point.start_time_unix_nano;
            assert!(start_ns > BEGAN && start_ns < point.time_unix_nano, "{point:?}");
            assert_eq!(*since.get_or_insert(start_ns), start_ns);
        }
    }
    assert!(since.is_some());
    running.end();
}

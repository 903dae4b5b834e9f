//! The families of a scrape as OTLP metrics: counters are cumulative monotonic sums, gauges gauges, histograms cumulative
//! with the same bounds. Holds no state: what `/metrics` would say now is what is sent.

use std::collections::BTreeMap;

use ::prometheus::proto::{self, MetricFamily, MetricType};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point::Value,
    },
};

use super::{
    attributes::Attributes,
    names,
    resource::{Host, NAME, scope},
};
use crate::export::metrics::METRICS;

/// Points in one export at most: a collector takes 4 MiB of gRPC if it is not told otherwise.
const POINTS: usize = 2000;
/// The label that becomes the resource.
const SERVICE: &str = "service";
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// A series, and when it was read and began, Unix nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Row<'a> {
    series: &'a proto::Metric,
    start_ns: u64,
    read_ns: u64,
}

/// These families in as many exports as they need, with the points in each. What has no service is the agent's own.
/// `starts`: what [`Starts::turn`](super::starts::Starts::turn) says of them, and `read_ns` what it was told.
pub fn exports(
    families: &[MetricFamily],
    starts: &[Vec<u64>],
    read_ns: u64,
    host: &Host,
) -> Vec<(ExportMetricsServiceRequest, u64)> {
    let mut exports = Vec::new();
    let (mut services, mut points) = (BTreeMap::new(), 0);
    for (family, starts) in families.iter().zip(starts) {
        let mut rows: BTreeMap<&str, Vec<Row<'_>>> = BTreeMap::new();
        for (series, &start_ns) in family.get_metric().iter().zip(starts) {
            rows.entry(service(series)).or_default().push(Row { series, start_ns, read_ns });
        }
        for (service, rows) in &rows {
            for rows in rows.chunks(POINTS) {
                if points + rows.len() > POINTS {
                    exports.push((export(std::mem::take(&mut services), host), points as u64));
                    points = 0;
                }
                points += rows.len();
                services.entry((*service).to_owned()).or_insert_with(Vec::new).push(metric(family, rows));
            }
        }
    }
    if points != 0 {
        exports.push((export(services, host), points as u64));
    }
    exports
}

fn service(series: &proto::Metric) -> &str {
    let label = series.get_label().iter().find(|label| label.name() == SERVICE);
    label.map(proto::LabelPair::value).filter(|service| !service.is_empty()).unwrap_or(NAME)
}

fn export(services: BTreeMap<String, Vec<Metric>>, host: &Host) -> ExportMetricsServiceRequest {
    let one = |(service, metrics): (String, Vec<Metric>)| ResourceMetrics {
        resource: Some(host.resource(&service)),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: services.into_iter().map(one).collect() }
}

fn metric(family: &MetricFamily, rows: &[Row<'_>]) -> Metric {
    let unit = METRICS.iter().find(|metric| metric.name == family.name()).map_or("", |metric| names::unit(metric));
    let numbers = |value: fn(&proto::Metric) -> f64| rows.iter().map(|row| number(row, value(row.series))).collect();
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: numbers(|series| series.get_counter().get_value()),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: rows.iter().map(histogram).collect(),
            aggregation_temporality: CUMULATIVE,
        }),
        // The agent has no summaries and nothing untyped.
        _ => Data::Gauge(Gauge { data_points: numbers(|series| series.get_gauge().get_value()) }),
    };
    Metric {
        name: names::family(family.name()).to_owned(),
        description: family.help().to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn attributes(series: &proto::Metric) -> Attributes {
    let mut attributes = Attributes::default();
    for label in series.get_label().iter().filter(|label| label.name() != SERVICE) {
        let (name, value) = (names::label(label.name()), label.value());
        // What stands for several, or for one that is not known, is no number.
        match value.parse() {
            Ok(number) if names::is_integer(name) => attributes.number(name, number),
            _ => attributes.text(name, Some(value)),
        }
    }
    attributes
}

fn number(row: &Row<'_>, value: f64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(row.series).0,
        start_time_unix_nano: row.start_ns,
        time_unix_nano: row.read_ns,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(row: &Row<'_>) -> HistogramDataPoint {
    let histogram = row.series.get_histogram();
    let buckets = histogram.get_bucket();
    let upto: Vec<u64> =
        buckets.iter().map(proto::Bucket::cumulative_count).chain([histogram.get_sample_count()]).collect();
    let below = std::iter::once(0).chain(upto.iter().copied());
    HistogramDataPoint {
        attributes: attributes(row.series).0,
        start_time_unix_nano: row.start_ns,
        time_unix_nano: row.read_ns,
        count: histogram.get_sample_count(),
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: upto.iter().zip(below).map(|(upto, below)| upto.saturating_sub(below)).collect(),
        explicit_bounds: buckets.iter().map(proto::Bucket::upper_bound).collect(),
        ..HistogramDataPoint::default()
    }
}

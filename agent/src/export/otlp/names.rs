//! OpenTelemetry's names of families and labels, where it has them. All others keep the name that `/metrics` has.

use crate::export::metrics::{Kind, Metric};

/// Families, by the name that they have in the table of metrics.
const FAMILIES: &[(&str, &str)] = &[
    ("gen_ai_server_request_duration_seconds", "gen_ai.server.request.duration"),
    ("gen_ai_server_time_to_first_token_seconds", "gen_ai.server.time_to_first_token"),
    ("gen_ai_server_time_per_output_token_seconds", "gen_ai.server.time_per_output_token"),
    ("gen_ai_client_token_usage", "gen_ai.client.token.usage"),
    ("gen_ai_client_operation_duration_seconds", "gen_ai.client.operation.duration"),
    ("http_server_request_duration_seconds", "http.server.request.duration"),
    ("http_server_active_requests", "http.server.active_requests"),
    ("process_cpu_time_seconds_total", "process.cpu.time"),
    ("process_memory_usage_bytes", "process.memory.usage"),
    ("process_memory_virtual_bytes", "process.memory.virtual"),
    ("process_context_switches_total", "process.context_switches"),
    ("process_paging_faults_total", "process.paging.faults"),
    ("process_disk_io_bytes_total", "process.disk.io"),
    ("process_network_io_bytes_total", "process.network.io"),
    ("process_threads", "process.thread.count"),
    ("process_unix_file_descriptors", "process.unix.file_descriptor.count"),
    ("hw_gpu_utilization_ratio", "hw.gpu.utilization"),
    ("hw_gpu_memory_usage_bytes", "hw.gpu.memory.usage"),
    ("hw_gpu_memory_limit_bytes", "hw.gpu.memory.limit"),
    ("hw_errors_total", "hw.errors"),
];

const LABELS: &[(&str, &str)] = &[
    ("gen_ai_operation_name", "gen_ai.operation.name"),
    ("gen_ai_provider_name", "gen_ai.provider.name"),
    ("gen_ai_request_model", "gen_ai.request.model"),
    ("gen_ai_response_model", "gen_ai.response.model"),
    ("gen_ai_token_type", "gen_ai.token.type"),
    ("server_port", "server.port"),
    ("error_type", "error.type"),
    ("http_request_method", "http.request.method"),
    ("http_response_status_code", "http.response.status_code"),
    ("http_route", "http.route"),
    ("pid", "process.pid"),
    ("container_id", "container.id"),
    ("pod_uid", "k8s.pod.uid"),
    ("namespace", "k8s.namespace.name"),
    ("pod", "k8s.pod.name"),
    ("container", "k8s.container.name"),
];

/// Attributes that are integers to OpenTelemetry, which labels cannot be.
const INTEGERS: &[&str] = &["server.port", "http.response.status_code", "process.pid"];

fn find<'a>(table: &[(&str, &'static str)], name: &'a str) -> &'a str {
    table.iter().find(|(known, _)| *known == name).map_or(name, |(_, theirs)| theirs)
}

/// The name of a family.
pub fn family(name: &str) -> &str {
    find(FAMILIES, name)
}

/// The unit of a family. A gauge in ones is a ratio to Prometheus, which puts that behind its name: what is none has no
/// unit.
pub fn unit(metric: &Metric) -> &'static str {
    let is_number = metric.unit == "1" && metric.kind == Kind::Gauge && !metric.name.ends_with("_ratio");
    if is_number { "" } else { metric.unit }
}

/// The name of a label.
pub fn label(name: &str) -> &str {
    find(LABELS, name)
}

/// Whether an attribute of this name is an integer.
pub fn is_integer(name: &str) -> bool {
    INTEGERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::metrics::{self as table, METRICS};

    /// Families that have another name in Prometheus if they come over OTLP: OpenTelemetry's says what is counted.
    const OTHERS: &[(&str, &str)] = &[
        (table::PROCESS_THREADS.name, "process_thread_count"),
        (table::PROCESS_FDS.name, "process_unix_file_descriptor_count"),
    ];
    /// What Prometheus writes for a unit, word by word.
    const WORDS: &[(&str, &[&str])] = &[
        ("", &[]),
        ("1", &[]),
        ("s", &["seconds"]),
        ("By", &["bytes"]),
        ("By/s", &["bytes", "per", "second"]),
        ("W", &["watts"]),
        ("J", &["joules"]),
        ("Cel", &["celsius"]),
        ("Hz", &["hertz"]),
    ];

    /// The name that Prometheus gives to a family: the unit behind it if it is not in it, then what the kind wants there.
    fn in_prometheus(name: &str, unit: &str, kind: Kind) -> String {
        let mut words: Vec<&str> = name.split(['.', '_']).collect();
        if !unit.starts_with('{') {
            let (_, of_unit) = WORDS.iter().find(|(known, _)| *known == unit).unwrap_or_else(|| panic!("{unit}"));
            let missing: Vec<&str> = of_unit.iter().copied().filter(|word| !words.contains(word)).collect();
            let end = words.len() - usize::from(words.ends_with(&["total"]));
            words.splice(end..end, missing);
        }
        let last = match kind {
            Kind::Counter => Some("total"),
            Kind::Gauge => Some("ratio").filter(|_| unit == "1"),
            Kind::Histogram => None,
        };
        if let Some(last) = last {
            words.retain(|word| *word != last);
            words.push(last);
        }
        words.join("_")
    }

    #[test]
    fn prometheus_makes_the_names_of_the_table_of_them() {
        assert_eq!(in_prometheus("a_up", "1", Kind::Gauge), "a_up_ratio");
        assert_eq!(in_prometheus("a.time", "s", Kind::Counter), "a_time_seconds_total");
        for metric in METRICS {
            let other = OTHERS.iter().find(|(name, _)| *name == metric.name).map(|(_, other)| *other);
            let theirs = in_prometheus(family(metric.name), unit(metric), metric.kind);
            assert_eq!(theirs, other.unwrap_or(metric.name), "{}", metric.name);
        }
        assert_eq!((unit(&table::GPU_UP), unit(&table::GPU_UTILIZATION)), ("", "1"));
    }

    #[test]
    fn every_name_is_one_of_the_table_of_metrics() {
        for (name, _) in FAMILIES {
            assert!(METRICS.iter().any(|metric| metric.name == *name), "{name}");
        }
        for (name, _) in LABELS {
            assert!(METRICS.iter().any(|metric| metric.labels.contains(name)), "{name}");
        }
        for name in INTEGERS {
            assert!(LABELS.iter().any(|(_, theirs)| theirs == name), "{name}");
        }
        assert_eq!((family("inferscope_connections"), label("reason")), ("inferscope_connections", "reason"));
    }
}

//! OpenTelemetry's names of families and labels, where it has them. All others keep the name that `/metrics` has.

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
    use crate::export::metrics::METRICS;

    #[test]
    fn every_name_is_one_of_the_table_of_metrics() {
        for (name, theirs) in FAMILIES {
            assert!(METRICS.iter().any(|metric| metric.name == *name), "{name}");
            // What Prometheus makes of their name is ours.
            assert!(name.starts_with(&theirs.replace('.', "_")) || theirs.ends_with(".count"), "{name} {theirs}");
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

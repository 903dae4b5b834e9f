//! The one table of metrics: name, type, unit, labels, meaning and source. The exporters and the README's table are
//! both made from it, so that a rename is one line.

use std::fmt::Write;

/// Prometheus's type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One family.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    pub source: &'static str,
    /// Upper edges; empty for counters, gauges and histograms that are counted in the kernel.
    pub buckets: &'static [f64],
}

const REQUEST: &[&str] = &[
    "service",
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "server_port",
];
const REQUEST_ERROR: &[&str] = &[
    "service",
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "server_port",
    "error_type",
];
const REQUEST_TOKENS: &[&str] = &[
    "service",
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "server_port",
    "gen_ai_token_type",
];
const PROCESS: &[&str] = &["service", "pid", "comm"];
const DEVICE: &[&str] = &["gpu", "uuid", "name"];
const MIG_DEVICE: &[&str] = &["gpu", "uuid", "name", "gi", "ci"];

const DURATION: &[f64] = &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const TTFT: &[f64] = &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const TPOT: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0,
    2.5,
];
const TOKENS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0,
    67108864.0,
];
const HTTP: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

macro_rules! metrics {
    ($($id:ident = $name:literal, $kind:ident, $unit:literal, $labels:expr, $buckets:expr, $source:literal, $help:literal;)+) => {
        $(pub const $id: Metric = Metric {
            name: $name, kind: Kind::$kind, unit: $unit, labels: $labels, help: $help, source: $source, buckets: $buckets,
        };)+
        /// Every family, in the order of the README's table.
        pub const METRICS: &[&Metric] = &[$(&$id),+];
    };
}

metrics! {
    REQUEST_DURATION = "gen_ai_server_request_duration_seconds", Histogram, "s", REQUEST_ERROR, DURATION, "socket payload",
        "Time from the first byte of an LLM request to the last byte of its response.";
    REQUEST_TTFT = "gen_ai_server_time_to_first_token_seconds", Histogram, "s", REQUEST, TTFT, "socket payload",
        "Time from the first byte of a streamed request to the first chunk with content.";
    REQUEST_TPOT = "gen_ai_server_time_per_output_token_seconds", Histogram, "s", REQUEST, TPOT, "socket payload",
        "Time from the first to the last chunk with content, per output token after the first.";
    INTER_CHUNK = "inferscope_inter_chunk_latency_seconds", Histogram, "s", REQUEST, &crate::session::exchange::GAP_EDGES, "socket payload",
        "Gaps between content chunks on the wire; several tokens can share a chunk.";
    TOKEN_USAGE = "gen_ai_client_token_usage", Histogram, "{token}", REQUEST_TOKENS, TOKENS, "response bodies",
        "Tokens per request, by type; of requests whose response says them.";
    REQUESTS_ESTIMATED = "inferscope_requests_estimated_tokens_total", Counter, "{request}", REQUEST, &[], "socket payload",
        "Requests whose output tokens are the number of content chunks, because the response did not say.";
    TOKENS_ESTIMATED = "inferscope_tokens_estimated_total", Counter, "{token}", REQUEST, &[], "socket payload",
        "Content chunks that stand for output tokens where the response did not say them; not in gen_ai_client_token_usage.";
    CLIENT_DURATION = "gen_ai_client_operation_duration_seconds", Histogram, "s", REQUEST_ERROR, DURATION, "socket payload",
        "Duration of LLM requests that a watched process makes as a client.";
    HTTP_DURATION = "http_server_request_duration_seconds", Histogram, "s",
        &["service", "http_request_method", "http_route", "http_response_status_code", "server_port", "error_type"], HTTP, "socket payload",
        "Duration of every HTTP request to a watched server, LLM or not; error_type is empty for those without an error.";
    PHASE_SECONDS = "inferscope_phase_seconds_total", Counter, "s", &["service", "phase", "cause"], &[], "all sources",
        "Time of the phases of LLM requests by what it went to (README, The verdict); overlapping requests each count theirs.";
    VERDICT = "inferscope_verdict_total", Counter, "{request}", &["service", "verdict"], &[], "all sources",
        "LLM requests by the verdict on what made them slow; host_ok: nothing of the host did.";
    SERVICE_VERDICT = "inferscope_service_verdict_ratio", Gauge, "1", &["service", "verdict"], &[], "all sources",
        "Part of the time of the last minute's LLM requests by verdict.";
    REQUESTS_IN_FLIGHT = "inferscope_requests_in_flight", Gauge, "{request}", &["service"], &[], "socket payload",
        "LLM requests of a watched server whose response is not complete.";
    REQUEST_OLDEST = "inferscope_request_oldest_seconds", Gauge, "s", &["service"], &[], "socket payload",
        "Age of the oldest LLM request in flight; 0 while there is none.";
    REQUEST_IDLE = "inferscope_request_idle_seconds", Gauge, "s", &["service"], &[], "socket payload",
        "Time since a service with LLM requests in flight made progress: since one got content, one ended without an error, or the first came to the idle service; 0 while there is none.";
    HTTP_ACTIVE = "http_server_active_requests", Gauge, "{request}", &["service", "server_port"], &[], "socket payload",
        "Requests of watched servers whose response is not complete.";
    SERVICE_INFO = "inferscope_service_info", Gauge, "1",
        &["service", "engine", "version", "model", "port", "pid", "container_id", "pod_uid"], &[], "discovery",
        "A watched service; always 1. The container and the pod are those of its root process, empty if there is none.";
    SERVICE_PROCESSES = "inferscope_service_processes", Gauge, "{process}", &["service"], &[], "process probe",
        "Processes of a watched service.";
    SERVICE_ONCPU = "inferscope_service_oncpu_seconds_total", Counter, "s", &["service"], &[], "sched probe",
        "Thread time on a CPU of all processes of a service, those that have ended too, since the service is watched.";
    SERVICE_RUNQUEUE = "inferscope_service_runqueue_seconds_total", Counter, "s", &["service"], &[], "sched probe",
        "Thread time runnable, waiting for a CPU, of all processes of a service, those that have ended too.";
    SERVICE_OFFCPU = "inferscope_service_offcpu_seconds_total", Counter, "s", &["service", "reason"], &[], "sched probe",
        "Thread time blocked, by what it waits for, of all processes of a service, those that have ended too.";

    PROCESS_ONCPU = "inferscope_process_oncpu_seconds_total", Counter, "s", PROCESS, &[], "sched probe",
        "Thread time on a CPU, since the process is watched.";
    PROCESS_RUNQUEUE = "inferscope_process_runqueue_seconds_total", Counter, "s", PROCESS, &[], "sched probe",
        "Thread time runnable, waiting for a CPU.";
    PROCESS_OFFCPU = "inferscope_process_offcpu_seconds_total", Counter, "s", &["service", "pid", "comm", "reason"], &[], "sched probe",
        "Thread time blocked, by what it waits for.";
    RUNQUEUE_LATENCY = "inferscope_runqueue_latency_seconds", Histogram, "s", PROCESS, &[], "sched probe",
        "Delay between runnable and running, one observation per wait.";
    SYSCALLS = "inferscope_syscalls_total", Counter, "{call}", &["service", "pid", "comm", "syscall"], &[], "syscall probe",
        "System calls that returned.";
    SYSCALL_SECONDS = "inferscope_syscall_seconds_total", Counter, "s", &["service", "pid", "comm", "syscall"], &[], "syscall probe",
        "Time inside system calls.";
    SYSCALL_ERRORS = "inferscope_syscall_errors_total", Counter, "{call}", &["service", "pid", "comm", "syscall"], &[], "syscall probe",
        "System calls that returned an error; EAGAIN is one.";
    PROCESS_BLOCK_IOS = "inferscope_process_block_ios_total", Counter, "{request}", PROCESS, &[], "block probe",
        "Requests that the process itself handed to block devices.";
    PROCESS_BLOCK_BYTES = "inferscope_process_block_bytes_total", Counter, "By", PROCESS, &[], "block probe",
        "Bytes of those requests.";
    PROCESS_EXITS = "inferscope_process_exits_total", Counter, "{process}", &["service", "cause", "signal"], &[], "process probe",
        "Processes of a service that ended, by cause (success, exit_code, signal, oom_kill) and the signal's name. That the kernel's OOM killer sent it is concluded from its count.";
    LOG_LINES = "inferscope_log_lines_total", Counter, "{message}", &["service", "level"], &[], "write probe",
        "Messages that a service wrote to its standard output and error and to log files, by level (README, Logs of the servers); a message of several lines, such as a traceback, is one.";
    LOG_BYTES = "inferscope_log_bytes_total", Counter, "By", &["service"], &[], "write probe",
        "Bytes that a service wrote there, all of them.";
    LOG_UNREAD = "inferscope_log_unread_bytes_total", Counter, "By", &["service"], &[], "write probe",
        "Bytes of these in which no messages were counted: over the limit of the service, or behind the part of a write that is looked at.";
    CHANGES = "inferscope_changes_total", Counter, "{change}", &["service", "change"], &[], "agent",
        "Changes of watched servers, by kind; of the host and of the agent itself where service is empty.";
    LAST_CHANGE = "inferscope_last_change_timestamp_seconds", Gauge, "s", &["service", "change"], &[], "agent",
        "Unix time of the last of them.";
    PROCESS_CPU = "process_cpu_time_seconds_total", Counter, "s", &["service", "pid", "comm", "state"], &[], "/proc/PID/stat",
        "CPU time of a watched process since its start, by state (user, system).";
    PROCESS_MEMORY = "process_memory_usage_bytes", Gauge, "By", PROCESS, &[], "/proc/PID/statm",
        "Resident memory.";
    PROCESS_VIRTUAL = "process_memory_virtual_bytes", Gauge, "By", PROCESS, &[], "/proc/PID/statm",
        "Address space.";
    PROCESS_SWITCHES = "process_context_switches_total", Counter, "{switch}", &["service", "pid", "comm", "type"], &[], "sched probe",
        "Context switches since the process is watched, by type (voluntary, involuntary).";
    PROCESS_FAULTS = "process_paging_faults_total", Counter, "{fault}", &["service", "pid", "comm", "type"], &[], "/proc/PID/stat",
        "Page faults, by type (minor, major).";
    PROCESS_DISK = "process_disk_io_bytes_total", Counter, "By", &["service", "pid", "comm", "direction"], &[], "/proc/PID/io",
        "Bytes read from and written to storage.";
    PROCESS_NETWORK = "process_network_io_bytes_total", Counter, "By", &["service", "pid", "comm", "direction"], &[], "syscall probe",
        "Bytes that calls moved through sockets, unix sockets too, since the process is watched; sendfile, splice and io_uring are not in it.";
    PROCESS_THREADS = "process_threads", Gauge, "{thread}", PROCESS, &[], "/proc/PID/stat",
        "Threads.";
    PROCESS_FDS = "process_unix_file_descriptors", Gauge, "{fd}", PROCESS, &[], "/proc/PID/fd",
        "Open descriptors.";
    CGROUP_CPU_LIMIT = "inferscope_cgroup_cpu_limit_cpus", Gauge, "{cpu}", &["service"], &[], "cgroup",
        "CPUs that the control group of a service's root process may use, the tightest limit on the way to the root; absent without a limit.";
    CGROUP_THROTTLED = "inferscope_cgroup_cpu_throttled_seconds_total", Counter, "s", &["service"], &[], "cgroup",
        "Time that the group which sets this limit was throttled, summed over CPUs.";
    CGROUP_THROTTLED_PERIODS = "inferscope_cgroup_cpu_throttled_periods_total", Counter, "{period}", &["service"], &[], "cgroup",
        "Periods of this limit that ended in throttling.";
    CGROUP_MEMORY = "inferscope_cgroup_memory_usage_bytes", Gauge, "By", &["service"], &[], "cgroup",
        "Memory of the control group of a service's root process, page cache with it.";
    CGROUP_MEMORY_LIMIT = "inferscope_cgroup_memory_limit_bytes", Gauge, "By", &["service"], &[], "cgroup",
        "Hard limit of that memory, the tightest on the way to the root; absent without a limit.";
    CGROUP_OOM_KILLS = "inferscope_cgroup_oom_kills_total", Counter, "{process}", &["service"], &[], "cgroup",
        "Processes of that control group killed for memory.";
    SOCKET_BYTES = "inferscope_http_bytes_total", Counter, "By", &["service", "direction"], &[], "socket payload",
        "Bytes of finished HTTP exchanges of a service, by direction (receive, transmit).";
    UNSEEN_CALLS = "inferscope_unseen_calls_total", Counter, "{call}", &["service", "pid", "comm", "syscall"], &[], "syscall probe",
        "Calls that can move payload which is not visible here: sendfile, splice, io_uring.";

    GPU_INFO = "hw_gpu_info", Gauge, "1", &["gpu", "uuid", "name", "pci_bus_id"], &[], "NVML", "A GPU; always 1.";
    GPU_UP = "hw_gpu_up", Gauge, "1", DEVICE, &[], "NVML", "1 if the GPU answers, 0 if it was lost.";
    GPU_UTILIZATION = "hw_gpu_utilization_ratio", Gauge, "1", &["gpu", "uuid", "name", "task"], &[], "NVML",
        "Share of time in which a kernel ran (task=general) or memory was read or written (task=memory), over the driver's own window.";
    GPU_MEMORY_USAGE = "hw_gpu_memory_usage_bytes", Gauge, "By", DEVICE, &[], "NVML", "Memory in use.";
    GPU_MEMORY_LIMIT = "hw_gpu_memory_limit_bytes", Gauge, "By", DEVICE, &[], "NVML", "Memory of the device.";
    GPU_MEMORY_RESERVED = "hw_gpu_memory_reserved_bytes", Gauge, "By", DEVICE, &[], "NVML",
        "Memory that the driver keeps for itself; not part of the usage.";
    GPU_POWER = "hw_gpu_power_watts", Gauge, "W", DEVICE, &[], "NVML", "Power as the driver averages it; see the README for its error.";
    GPU_POWER_LIMIT = "hw_gpu_power_limit_watts", Gauge, "W", DEVICE, &[], "NVML", "Power limit in force.";
    GPU_ENERGY = "hw_gpu_energy_joules_total", Counter, "J", DEVICE, &[], "NVML", "Energy counter of the device.";
    GPU_TEMPERATURE = "hw_gpu_temperature_celsius", Gauge, "Cel", DEVICE, &[], "NVML", "Temperature of the GPU.";
    GPU_CLOCK = "hw_gpu_clock_hertz", Gauge, "Hz", &["gpu", "uuid", "name", "domain"], &[], "NVML", "Clock, by domain (sm, memory).";
    GPU_THROTTLED = "hw_gpu_throttle_active", Gauge, "1", &["gpu", "uuid", "name", "reason"], &[], "NVML",
        "1 while the driver holds the clocks down for this reason, else 0.";
    GPU_IO = "hw_gpu_io_bytes_per_second", Gauge, "By/s", &["gpu", "uuid", "name", "direction"], &[], "NVML",
        "PCIe throughput, by direction (receive, transmit).";
    GPU_NVLINK = "hw_gpu_nvlink_bytes_per_second", Gauge, "By/s", &["gpu", "uuid", "name", "direction"], &[], "NVML GPM",
        "NVLink throughput over all links, by direction (receive, transmit), Hopper and later.";
    GPU_ERRORS = "hw_errors_total", Counter, "{error}", &["gpu", "uuid", "name", "error_type"], &[], "NVML",
        "Errors by type: ecc_corrected and ecc_uncorrected since the driver was loaded, xid since the agent started.";
    GPU_XID = "hw_gpu_last_xid", Gauge, "1", DEVICE, &[], "NVML", "Code of the last XID event seen; absent if none.";
    GPU_ACTIVITY = "hw_gpu_activity_ratio", Gauge, "1", &["gpu", "uuid", "name", "unit"], &[], "NVML GPM",
        "Activity of a unit (sm, sm_occupancy, tensor, dram), Hopper and later.";
    GPU_MIG_ENABLED = "hw_gpu_mig_enabled", Gauge, "1", DEVICE, &[], "NVML", "1 if the GPU is in MIG mode.";
    GPU_MIG_MEMORY_USAGE = "hw_gpu_mig_memory_usage_bytes", Gauge, "By", MIG_DEVICE, &[], "NVML",
        "Memory in use of a MIG device; uuid is the MIG device's own.";
    GPU_MIG_MEMORY_LIMIT = "hw_gpu_mig_memory_limit_bytes", Gauge, "By", MIG_DEVICE, &[], "NVML",
        "Memory of a MIG device.";
    GPU_MIG_ACTIVITY = "hw_gpu_mig_activity_ratio", Gauge, "1", &["gpu", "uuid", "name", "gi", "ci", "unit"], &[], "NVML GPM",
        "Activity of a unit of a MIG device's whole GPU instance (gi); its compute instances show the same figure.";
    PROCESS_GPU_UTILIZATION = "inferscope_process_gpu_utilization_ratio", Gauge, "1",
        &["service", "pid", "comm", "gpu", "uuid", "unit"], &[], "NVML",
        "Utilisation of a GPU by a watched process, by unit (sm, memory, encoder, decoder); absent under MIG.";
    PROCESS_GPU_MEMORY = "inferscope_process_gpu_memory_bytes", Gauge, "By", &["service", "pid", "comm", "gpu", "uuid"], &[], "NVML",
        "GPU memory of a watched process.";
    GPU_CONTAINER_INFO = "inferscope_gpu_container_info", Gauge, "1", &["gpu", "uuid", "namespace", "pod", "container", "resource"], &[], "kubelet",
        "A GPU, or a MIG device, that a container was given; always 1. gpu is empty where NVML does not know the uuid.";
    NVML_UP = "inferscope_nvml_up", Gauge, "1", &["state"], &[], "NVML", "1 for the state that the GPU source is in (ok, absent, hung, failing, starting), 0 for the others.";
    NVML_INFO = "inferscope_nvml_info", Gauge, "1", &["driver_version", "nvml_version", "cuda_version"], &[], "NVML",
        "Versions of the GPU driver, its library and the newest CUDA that it runs; always 1.";
    NVML_AGE = "inferscope_nvml_age_seconds", Gauge, "s", &[], &[], "NVML", "Age of the GPU values.";
    NVML_ERRORS = "inferscope_nvml_call_errors_total", Counter, "{error}", &["call", "error"], &[], "NVML", "Calls of the GPU library that failed.";

    EVENTS = "inferscope_events_total", Counter, "{event}", &["kind"], &[], "agent", "Records read from the ring buffer.";
    EVENTS_LOST = "inferscope_events_lost_total", Counter, "{event}", &["where"], &[], "kernel side and agent",
        "What was lost or left out, by the place that lost it.";
    PROC_FAILURES = "inferscope_proc_read_failures_total", Counter, "{read}", &[], &[], "agent",
        "Processes that /proc would not tell of although they live.";
    PARSE_FAILURES = "inferscope_parse_failures_total", Counter, "{failure}", &["cause"], &[], "agent",
        "Bytes that could not be followed, by cause; the connection is taken up again at its next request.";
    EXCHANGES_LOST = "inferscope_exchanges_lost_total", Counter, "{request}", &[], &[], "agent",
        "Requests seen whose record was given up.";
    HOPS = "inferscope_hops_total", Counter, "{end}", &[], &[], "agent",
        "Ends of LLM requests that a service sent to itself while it served another one (Ollama to its runner): part of that one, and not counted as requests.";
    CONNECTIONS = "inferscope_connections", Gauge, "{connection}", &[], &[], "agent", "HTTP connections that are followed.";
    UNSUPPORTED = "inferscope_unsupported_connections_total", Counter, "{connection}", &["protocol"], &[], "agent",
        "Connections whose payload is not parsed: http2, upgraded, tls.";
    BYTES_LEFT_OUT = "inferscope_payload_left_out_bytes_total", Counter, "By", &[], &[], "agent",
        "Payload bytes of followed connections that were not captured.";
    SERIES_OVERFLOW = "inferscope_series_overflow_total", Counter, "{observation}", &["family"], &[], "agent",
        "What was counted under `_other`, by what had no room: label sets (gen_ai, http), kinds of error (error_type), routes (http_route), exits (process_exits), messages of logs (log_lines), changes (changes), metrics of the configuration (custom), those of probes included.";
    CUSTOM_PROBES = "inferscope_custom_probe_places", Gauge, "{place}", &["metric"], &[], "agent",
        "Places that a metric of the configuration is counted at now, of those that have `from`: 1 for a tracepoint, one for each place of a function or a USDT probe in each file; 0: it is not counted.";
    CUSTOM_PROBE_FAILURES = "inferscope_custom_probe_failures_total", Counter, "{failure}", &["metric", "reason"], &[], "agent",
        "Tracepoints and files that such a metric could not be counted at, by reason: tracepoint (no such one, or no such field), file (unreadable, or no such function or probe in it), argument (it has no such one), places (too many), programs (USDT arguments in more kinds of places than there are programs), kernel (it refused).";
    OTLP_EXPORTS = "inferscope_otlp_exports_total", Counter, "{export}", &["signal", "outcome"], &[], "agent",
        "OTLP exports, by what became of them: delivered, partial (some of it was not taken), rejected, undelivered (given up); retried counts attempts that are made again.";
    OTLP_UNSAMPLED = "inferscope_otlp_unsampled_total", Counter, "{request}", &[], &[], "agent",
        "Requests for which no spans are sent, because their traceparent says that the trace is not recorded.";
    HTTP_REJECTED = "inferscope_http_rejected_total", Counter, "{caller}", &["reason"], &[], "agent",
        "Callers of the agent's own port that were turned away: client_certificate, credentials, crowded, handshake, malformed, plain_http, slow, unread.";
    WEB_CONFIG_RELOADS = "inferscope_web_config_reloads_total", Counter, "{reload}", &["outcome"], &[], "agent",
        "Changes of the web configuration or of a file that it names: taken, refused (the former one stays); absent without one.";
    WEB_CONFIG_STALE = "inferscope_web_config_stale", Gauge, "1", &[], &[], "agent",
        "1 if the web configuration was refused when it changed last, else 0; absent without one.";
    WEB_CERTIFICATE_EXPIRES = "inferscope_web_certificate_expires_timestamp_seconds", Gauge, "s", &[], &[], "agent",
        "When the certificate that the agent shows ends; absent without TLS.";
    WEB_CERTIFICATE_BEGINS = "inferscope_web_certificate_begins_timestamp_seconds", Gauge, "s", &[], &[], "agent",
        "When the certificate that ends then began: how long it lives; absent without TLS.";
    KUBERNETES_UP = "inferscope_kubernetes_up", Gauge, "1", &["source"], &[], "agent",
        "1 if a source of names answered last (api: the API server; pod_resources: the kubelet), else 0; absent outside Kubernetes.";
    KUBERNETES_PODS = "inferscope_kubernetes_pods", Gauge, "{pod}", &[], &[], "agent", "Pods of this node that are known.";
    KUBERNETES_ERRORS = "inferscope_kubernetes_errors_total", Counter, "{error}", &["source", "error"], &[], "agent",
        "Failures of these sources, by kind; room: pods or containers that had none.";
    PROBE_UP = "inferscope_probe_up", Gauge, "1", &["probe", "hook"], &[], "agent", "1 if a probe got its hook, 0 if it was refused.";
    RING_FILL = "inferscope_drain_batch_events", Gauge, "{event}", &[], &[], "agent", "Records in the last non-empty batch read from the ring.";
    BUILD_INFO = "inferscope_build_info", Gauge, "1", &["version", "rustc", "arch"], &[], "agent", "Build of the agent; always 1.";
    OWN_CPU = "inferscope_cpu_seconds_total", Counter, "s", &["state"], &[], "/proc/self", "CPU time of the agent, by state.";
    OWN_MEMORY = "inferscope_memory_bytes", Gauge, "By", &[], &[], "/proc/self", "Resident memory of the agent.";
    OWN_START = "inferscope_start_time_seconds", Gauge, "s", &[], &[], "agent", "When the agent began to watch, Unix time.";
}

/// The README's table of metrics, in Markdown.
pub fn table() -> String {
    let mut out = String::from("| metric | type | unit | labels | what | source |\n|---|---|---|---|---|---|\n");
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels = if metric.labels.is_empty() { "-".to_owned() } else { metric.labels.join(" ") };
        let _ = writeln!(
            out,
            "| `{}` | {kind} | {} | {labels} | {} | {} |",
            metric.name, metric.unit, metric.help, metric.source
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = std::collections::HashSet::new();
        for metric in METRICS {
            assert!(seen.insert(metric.name), "{} stands twice", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.buckets.windows(2).all(|pair| pair[0] < pair[1]), "{}", metric.name);
        }
    }
}

//! Services and their series as the API tells them, from discovery's table, the history and NVML's last word.

use super::{
    answers::{Container, Figure, Known, MainVerdict, Process, Series, Service, Window, known},
    sampler,
    source::Source,
    steps::{Point, STEP_NS, Sums},
};
use crate::{
    clock::{monotonic_ns, unix_offset_ns},
    correlate::{VERDICT_NAMES, VERDICTS},
    discover,
    identity::{Home, Identities},
    poll::nvml::GpuSnapshot,
    services::ServiceView,
    top::run_queue_ratio,
};

/// All live services, by name.
pub fn all(source: &dyn Source) -> Vec<Service> {
    let (table, now_ns) = (source.services(), monotonic_ns());
    let in_flight = sampler::in_flight(source.live());
    let gpus = source.gpus();
    let of = |view: &ServiceView| {
        let requests = in_flight.get(&view.name).copied().unwrap_or(0);
        service(source, view, requests, gpus.as_deref(), now_ns)
    };
    let mut services: Vec<Service> = table.iter().map(|view| of(view)).collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services
}

fn service(
    source: &dyn Source,
    view: &ServiceView,
    in_flight: u64,
    gpus: Option<&GpuSnapshot>,
    now_ns: u64,
) -> Service {
    let (sums, verdicts) = source.history().lately(&view.name, now_ns).unwrap_or_default();
    let [last_30s, last_60s] = sums.map(|sums| window(&sums));
    let (gpu_utilization_ratio, gpu_memory_bytes) = gpus.map(|gpus| on_gpus(view, gpus)).unwrap_or_default();
    Service {
        name: view.name.clone(),
        engine: view.engine.clone(),
        version: view.version.clone(),
        model: view.model.clone(),
        ports: view.ports.clone(),
        pid: view.pid,
        processes: view.processes.iter().map(|view| Process { pid: view.pid, comm: view.comm.clone() }).collect(),
        container: view.container.as_ref().map(|container| at_home(container, source.identities())),
        in_flight,
        last_30s,
        last_60s,
        verdict: verdicts.and_then(main_verdict),
        gpu_utilization_ratio,
        gpu_memory_bytes,
    }
}

fn at_home(container: &discover::Container, identities: Option<&Identities>) -> Container {
    let Home { namespace, pod, container: name, pod_uid, .. } = Home::of(Some(container), identities);
    Container { id: container.id.clone(), runtime: container.runtime, pod_uid, namespace, pod, name }
}

fn window(sums: &Sums) -> Window {
    let seconds = sums.seconds.max(1.0);
    let per_second = |count: u64| Figure(count as f64 / seconds);
    Window {
        requests: sums.requests,
        errors: sums.errors,
        requests_per_s: per_second(sums.requests),
        errors_per_s: per_second(sums.errors),
        error_ratio: known((sums.requests > 0).then(|| sums.errors as f64 / sums.requests as f64)),
        ttft_p50_s: known(sums.ttft.quantile(0.5)),
        ttft_p95_s: known(sums.ttft.quantile(0.95)),
        tpot_p50_s: known(sums.tpot.quantile(0.5)),
        duration_p50_s: known(sums.duration.quantile(0.5)),
        duration_p95_s: known(sums.duration.quantile(0.95)),
        input_tokens_per_s: per_second(sums.input_tokens),
        output_tokens_per_s: per_second(sums.output_tokens),
        cpu_cores: known(sums.cpu.map(|[on_cpu, _, seconds]| on_cpu / seconds)),
        run_queue_ratio: known(sums.cpu.and_then(|[on_cpu, run_queue, _]| run_queue_ratio(on_cpu, run_queue))),
    }
}

fn main_verdict(shares: [f64; VERDICTS]) -> Option<MainVerdict> {
    let (at, ratio) = shares.into_iter().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(MainVerdict { verdict: VERDICT_NAMES[at], ratio: Figure(ratio) })
}

/// Share of the GPUs' SMs and memory of all processes of a service; over several GPUs the sums.
fn on_gpus(view: &ServiceView, gpus: &GpuSnapshot) -> (Known, Option<u64>) {
    let uses = || view.processes.iter().flat_map(|process| gpus.uses_of(process.pid)).map(|(_, used)| used);
    let sum = |sum: Option<f64>, more: f64| Some(sum.unwrap_or(0.0) + more);
    let utilization = uses().filter_map(|used| Some(used.utilization?.sm)).fold(None, sum);
    let memory = uses().filter_map(|used| used.used_memory_bytes);
    (known(utilization), memory.fold(None, |sum: Option<u64>, more| Some(sum.unwrap_or(0).saturating_add(more))))
}

/// The last fifteen minutes of a service; None for one that is not known.
pub fn series(source: &dyn Source, service: &str) -> Option<Series> {
    let now_ns = monotonic_ns();
    let points = source.history().points(service, now_ns)?;
    let step_s = STEP_NS / 1_000_000_000;
    let each = |of: &dyn Fn(&Point) -> Option<f64>| -> Vec<Known> {
        points.iter().map(|point| known(point.as_ref().and_then(of))).collect()
    };
    let rate = |count: f64| Some(count / step_s as f64);
    Some(Series {
        service: service.to_owned(),
        step_s,
        end_unix_s: Figure((now_ns / STEP_NS * STEP_NS + unix_offset_ns()) as f64 / 1e9),
        requests_per_s: each(&|point| rate(f64::from(point.requests))),
        errors_per_s: each(&|point| rate(f64::from(point.errors))),
        ttft_p50_s: each(&|point| point.ttft_p50_s),
        ttft_p95_s: each(&|point| point.ttft_p95_s),
        tpot_p50_s: each(&|point| point.tpot_p50_s),
        output_tokens_per_s: each(&|point| rate(point.output_tokens as f64)),
        in_flight: points.iter().map(|point| point.map(|point| point.in_flight)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::known;

    #[test]
    fn a_container_has_the_names_that_its_pod_gives_it() {
        let identities = known(&[]);
        let of = |id: &str, identities| {
            let container =
                discover::Container { id: id.to_owned(), runtime: "containerd", pod_uid: Some("u0".to_owned()) };
            serde_json::to_value(at_home(&container, identities)).unwrap()
        };
        let names = |name: Option<&str>, pod: Option<&str>| {
            let namespace = pod.map(|_| "llm");
            serde_json::json!({"id": name.map_or("c9", |_| "c0"), "runtime": "containerd", "pod_uid": "u0",
                "namespace": namespace, "pod": pod, "name": name})
        };
        assert_eq!(of("c0", Some(&identities)), names(Some("vllm"), Some("vllm-0")));
        assert_eq!(of("c9", Some(&identities)), names(None, Some("vllm-0")));
        assert_eq!(of("c9", None), names(None, None));
    }
}

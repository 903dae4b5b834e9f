//! Families of the control groups of the watched services, as the /proc poller read them last. A service is in the group
//! of its root process; what has no limit, or no controller, has no series.

use ::prometheus::proto::MetricFamily;

use super::{family::Family, metrics};
use crate::{poll::procfs::ProcSnapshot, services::ServiceTable};

/// Limits and what they cost, by service.
pub fn families(proc: &ProcSnapshot, services: &ServiceTable) -> Vec<MetricFamily> {
    let mut cpus = Family::new(&metrics::CGROUP_CPU_LIMIT);
    let mut throttled = Family::new(&metrics::CGROUP_THROTTLED);
    let mut periods = Family::new(&metrics::CGROUP_THROTTLED_PERIODS);
    let mut memory = Family::new(&metrics::CGROUP_MEMORY);
    let mut limit = Family::new(&metrics::CGROUP_MEMORY_LIMIT);
    let mut kills = Family::new(&metrics::CGROUP_OOM_KILLS);
    for service in services.iter() {
        let Some(group) = proc.cgroups.get(&service.pid) else { continue };
        let labels: [&str; 1] = [&service.name];
        if let Some(cpu) = group.cpu {
            cpus.add_some(&labels, cpu.cpus());
            throttled.add(&labels, cpu.throttled_seconds);
            periods.add(&labels, cpu.throttled_periods as f64);
        }
        if let Some(used) = group.memory {
            memory.add(&labels, used.current_bytes as f64);
            limit.add_some(&labels, used.max_bytes.map(|bytes| bytes as f64));
            kills.add_some(&labels, used.oom_kills.map(|kills| kills as f64));
        }
    }
    [cpus, throttled, periods, memory, limit, kills].into_iter().filter_map(Family::finish).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::poll::cgroup::{CgroupReading, CpuReading, MemoryReading};
    use crate::services::ServiceView;

    fn text(reading: CgroupReading) -> String {
        let cgroups = Arc::new([(7, Arc::new(reading))].into_iter().collect());
        let service = |name: &str, pid| {
            Arc::new(ServiceView { name: name.into(), engine: "vllm".into(), pid, ..ServiceView::default() })
        };
        let services = Arc::new(vec![service("svc", 7), service("gone", 8)]);
        let families = families(&ProcSnapshot { cgroups, ..ProcSnapshot::default() }, &services);
        let text = ::prometheus::TextEncoder::new().encode_to_string(&families).expect("encodable");
        text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn limits_and_what_they_cost() {
        let cpu = CpuReading {
            quota_seconds: Some(0.25),
            period_seconds: 0.1,
            periods: 9,
            throttled_periods: 4,
            throttled_seconds: 2.5,
        };
        let memory = MemoryReading { current_bytes: 10, max_bytes: Some(20), oom_kills: Some(0), ..Default::default() };
        let text = text(CgroupReading { cpu: Some(cpu), memory: Some(memory), ..CgroupReading::default() });
        assert_eq!(
            text,
            "inferscope_cgroup_cpu_limit_cpus{service=\"svc\"} 2.5\n\
             inferscope_cgroup_cpu_throttled_seconds_total{service=\"svc\"} 2.5\n\
             inferscope_cgroup_cpu_throttled_periods_total{service=\"svc\"} 4\n\
             inferscope_cgroup_memory_usage_bytes{service=\"svc\"} 10\n\
             inferscope_cgroup_memory_limit_bytes{service=\"svc\"} 20\n\
             inferscope_cgroup_oom_kills_total{service=\"svc\"} 0"
        );
    }

    #[test]
    fn no_limit_has_no_series() {
        let memory = MemoryReading { current_bytes: 10, ..MemoryReading::default() };
        let text = text(CgroupReading { memory: Some(memory), ..CgroupReading::default() });
        assert_eq!(text, "inferscope_cgroup_memory_usage_bytes{service=\"svc\"} 10");
    }
}

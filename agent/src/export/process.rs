//! Families of the watched processes from /proc, as its poller read them last. A process without a reading has no series.

use ::prometheus::proto::MetricFamily;

use super::{family::Family, metrics};
use crate::{
    poll::procfs::{ProcSnapshot, ProcessReading},
    services::ServiceTable,
};

struct ProcessFamilies {
    cpu: Family,
    memory: Family,
    address_space: Family,
    faults: Family,
    disk: Family,
    threads: Family,
    fds: Family,
}

impl ProcessFamilies {
    fn add(&mut self, service: &str, comm: &str, reading: &ProcessReading) {
        let pid = reading.pid.to_string();
        let labels: [&str; 3] = [service, &pid, comm];
        let with = |last| [labels[0], labels[1], labels[2], last];
        self.cpu.add(&with("user"), reading.cpu_user_seconds);
        self.cpu.add(&with("system"), reading.cpu_system_seconds);
        self.memory.add(&labels, reading.resident_bytes as f64);
        self.address_space.add(&labels, reading.virtual_bytes as f64);
        self.faults.add(&with("minor"), reading.minor_faults as f64);
        self.faults.add(&with("major"), reading.major_faults as f64);
        self.disk.add_some(&with("read"), reading.disk_read_bytes.map(|bytes| bytes as f64));
        self.disk.add_some(&with("write"), reading.disk_write_bytes.map(|bytes| bytes as f64));
        self.threads.add(&labels, reading.threads as f64);
        self.fds.add_some(&labels, reading.open_fds.map(|fds| fds as f64));
    }
}

/// Families of the processes that are both in a service and in the snapshot.
pub fn families(proc: &ProcSnapshot, services: &ServiceTable) -> Vec<MetricFamily> {
    let mut families = ProcessFamilies {
        cpu: Family::new(&metrics::PROCESS_CPU),
        memory: Family::new(&metrics::PROCESS_MEMORY),
        address_space: Family::new(&metrics::PROCESS_VIRTUAL),
        faults: Family::new(&metrics::PROCESS_FAULTS),
        disk: Family::new(&metrics::PROCESS_DISK),
        threads: Family::new(&metrics::PROCESS_THREADS),
        fds: Family::new(&metrics::PROCESS_FDS),
    };
    for service in services.iter() {
        for view in &service.processes {
            if let Some(reading) = proc.processes.get(&view.pid) {
                families.add(&service.name, &view.comm, reading);
            }
        }
    }
    let ProcessFamilies { cpu, memory, address_space, faults, disk, threads, fds } = families;
    [cpu, memory, address_space, faults, disk, threads, fds].into_iter().filter_map(Family::finish).collect()
}

/// Reads that failed, of whatever process.
pub fn failures(proc: &ProcSnapshot) -> Option<MetricFamily> {
    let mut failures = Family::new(&metrics::PROC_FAILURES);
    failures.add(&[], proc.failures as f64);
    failures.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::services::{ProcessView, ServiceView};

    fn reading(pid: u32) -> ProcessReading {
        ProcessReading {
            pid,
            start_ticks: 1,
            start_seconds: 0.01,
            cpu_user_seconds: 1.25,
            cpu_system_seconds: 0.5,
            virtual_bytes: 4096,
            resident_bytes: 1024,
            shared_bytes: 512,
            minor_faults: 7,
            major_faults: 2,
            threads: 3,
            disk_read_bytes: Some(11),
            disk_write_bytes: Some(12),
            open_fds: Some(13),
        }
    }

    fn services(pids: &[u32]) -> ServiceTable {
        let processes = pids.iter().map(|pid| ProcessView { pid: *pid, comm: format!("c{pid}") }).collect();
        Arc::new(vec![Arc::new(ServiceView {
            name: "svc".into(),
            engine: "vllm".into(),
            ports: vec![8000],
            pid: pids[0],
            processes,
            ..ServiceView::default()
        })])
    }

    fn text(readings: &[ProcessReading], services: &ServiceTable) -> String {
        let processes = Arc::new(readings.iter().map(|reading| (reading.pid, *reading)).collect());
        let families = families(&ProcSnapshot { processes, ..ProcSnapshot::default() }, services);
        ::prometheus::TextEncoder::new().encode_to_string(&families).expect("encodable")
    }

    #[test]
    fn every_figure_of_a_watched_process_has_its_series() {
        let text = text(&[reading(7), reading(9)], &services(&[7, 8]));
        for line in [
            "process_cpu_time_seconds_total{service=\"svc\",pid=\"7\",comm=\"c7\",state=\"user\"} 1.25",
            "process_cpu_time_seconds_total{service=\"svc\",pid=\"7\",comm=\"c7\",state=\"system\"} 0.5",
            "process_memory_usage_bytes{service=\"svc\",pid=\"7\",comm=\"c7\"} 1024",
            "process_memory_virtual_bytes{service=\"svc\",pid=\"7\",comm=\"c7\"} 4096",
            "process_paging_faults_total{service=\"svc\",pid=\"7\",comm=\"c7\",type=\"minor\"} 7",
            "process_paging_faults_total{service=\"svc\",pid=\"7\",comm=\"c7\",type=\"major\"} 2",
            "process_disk_io_bytes_total{service=\"svc\",pid=\"7\",comm=\"c7\",direction=\"read\"} 11",
            "process_disk_io_bytes_total{service=\"svc\",pid=\"7\",comm=\"c7\",direction=\"write\"} 12",
            "process_threads{service=\"svc\",pid=\"7\",comm=\"c7\"} 3",
            "process_unix_file_descriptors{service=\"svc\",pid=\"7\",comm=\"c7\"} 13",
        ] {
            assert!(text.lines().any(|got| got == line), "no {line} in\n{text}");
        }
        // 8 has no reading, 9 is in no service.
        assert!(!text.contains("\"8\"") && !text.contains("\"9\""), "{text}");
    }

    #[test]
    fn what_may_not_be_seen_has_no_series() {
        let blind = ProcessReading { disk_read_bytes: None, disk_write_bytes: None, open_fds: None, ..reading(7) };
        let text = text(&[blind], &services(&[7]));
        assert!(
            !text.contains("disk_io") && !text.contains("descriptors") && text.contains("process_threads"),
            "{text}"
        );
    }
}

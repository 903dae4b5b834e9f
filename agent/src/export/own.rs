//! Families about the agent itself: its build, its CPU and memory, when it began.

use std::time::{SystemTime, UNIX_EPOCH};

use ::prometheus::proto::MetricFamily;

use super::{family::Family, metrics};
use crate::poll::procfs::ProcessReading;

/// The compiler's version, from the build script.
const RUSTC: &str = match option_env!("INFERSCOPE_RUSTC") {
    Some(version) => version,
    None => "unknown",
};

/// `own` is None until /proc was read for the first time.
pub fn families(own: Option<&ProcessReading>, started: SystemTime) -> Vec<MetricFamily> {
    let mut build = Family::new(&metrics::BUILD_INFO);
    build.add(&[env!("CARGO_PKG_VERSION"), RUSTC, std::env::consts::ARCH], 1.0);
    let mut cpu = Family::new(&metrics::OWN_CPU);
    cpu.add_some(&["user"], own.map(|own| own.cpu_user_seconds));
    cpu.add_some(&["system"], own.map(|own| own.cpu_system_seconds));
    let mut memory = Family::new(&metrics::OWN_MEMORY);
    memory.add_some(&[], own.map(|own| own.resident_bytes as f64));
    let mut start = Family::new(&metrics::OWN_START);
    start.add_some(&[], started.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64()));
    [build, cpu, memory, start].into_iter().filter_map(Family::finish).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::poll::procfs::ProcReader;

    fn text(families: &[MetricFamily]) -> String {
        ::prometheus::TextEncoder::new().encode_to_string(families).expect("encodable")
    }

    #[test]
    fn the_agent_tells_its_build_and_its_cost() {
        let own = ProcReader::new().read(std::process::id()).expect("readable").expect("alive");
        let text = text(&families(Some(&own), UNIX_EPOCH + Duration::from_millis(1500)));
        assert!(text.contains("inferscope_start_time_seconds 1.5\n"), "{text}");
        assert!(text.contains(&format!("inferscope_memory_bytes {}\n", own.resident_bytes)), "{text}");
        assert!(text.contains("inferscope_cpu_seconds_total{state=\"system\"}"), "{text}");
        let rustc = format!("rustc=\"{RUSTC}\"");
        assert!(RUSTC.starts_with("1.") && text.contains(&rustc), "{text}");
    }

    #[test]
    fn before_the_first_reading_there_is_no_cost() {
        let names: Vec<_> = families(None, UNIX_EPOCH).iter().map(|family| family.name().to_owned()).collect();
        assert_eq!(names, ["inferscope_build_info", "inferscope_start_time_seconds"]);
    }
}

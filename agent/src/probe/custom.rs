//! The kernel side of metrics that are made of tracepoints and of probes in programs: programs by slot, what each takes of
//! its events, which services are meant, and the series. What a metric means is not known here.

use std::{
    collections::HashMap as StdMap,
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf,
    maps::{Array, Map, MapData, PerCpuHashMap},
    programs::{Program, ProgramError},
};
use inferscope_abi::{
    CUSTOM_ALL, CUSTOM_OTHER, CUSTOM_SLOTS, CUSTOM_TRACEPOINTS, CustomCount, CustomKey, CustomRule, CustomSums,
};

use super::{
    ProbeReport,
    perf::{self, Attached, FilePlace},
    programs,
    shared::{SharedArray, Wire},
    watcher::take,
};

/// What metrics of the configuration need of the kernel side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CustomRoom {
    /// Programs to load for tracepoints.
    pub tracepoints: usize,
    /// And for places in programs.
    pub uprobes: usize,
    /// Rows of series.
    pub rows: u32,
    /// Whether one of them counts the events of every process.
    pub host: bool,
}

type Series = PerCpuHashMap<MapData, Wire<CustomKey>, Wire<CustomSums>>;

/// The programs and maps.
pub struct CustomKernel {
    /// By slot; those that were not wanted, or that the kernel refused, are missing.
    programs: StdMap<usize, OwnedFd>,
    rules: Mutex<Array<MapData, Wire<CustomRule>>>,
    series: Mutex<Series>,
    counts: SharedArray<CustomCount>,
    services: SharedArray<u64>,
}

fn program_name(slot: usize) -> String {
    match slot.checked_sub(CUSTOM_TRACEPOINTS) {
        None => format!("custom_tp{slot}"),
        Some(slot) => format!("custom_up{slot}"),
    }
}

fn load(program: &mut Program) -> Result<OwnedFd, ProgramError> {
    let fd = match program {
        Program::TracePoint(program) => program.load().and_then(|()| program.fd()),
        Program::UProbe(program) => program.load().and_then(|()| program.fd()),
        _ => return Err(ProgramError::UnexpectedProgramType),
    }?;
    fd.as_fd().try_clone_to_owned().map_err(ProgramError::IOError)
}

/// Loads one program; what the kernel said of it goes to the reports.
fn load_slot(ebpf: &mut Ebpf, slot: usize, reports: &mut Vec<ProbeReport>) -> Option<OwnedFd> {
    let of_tracepoint = slot < CUSTOM_TRACEPOINTS;
    let (program, hook, gives) = if of_tracepoint {
        ("custom_tp", "tracepoint", "metrics of the configuration that are made of a tracepoint")
    } else {
        ("custom_up", "uprobe", "metrics of the configuration that are made of functions and USDT probes")
    };
    let loaded = match ebpf.program_mut(&program_name(slot)) {
        Some(program) => load(program).map_err(|error| programs::why(&error)),
        None => Err("not in this build".to_owned()),
    };
    let (fd, error) = match loaded {
        Ok(fd) => (Some(fd), None),
        Err(error) => (None, Some(error)),
    };
    // One word for each kind: the programs of a kind are the same.
    if error.is_some() || !reports.iter().any(|report| report.program == program) {
        let hook = fd.is_some().then(|| hook.to_owned());
        reports.push(ProbeReport { probe: "custom", program, required: false, hook, error, gives });
    }
    fd
}

impl CustomKernel {
    /// Loads as many programs as are wanted; `services`: how many the kernel side has room for.
    pub(super) fn load(
        ebpf: &mut Ebpf,
        room: CustomRoom,
        services: u32,
        reports: &mut Vec<ProbeReport>,
    ) -> Result<Self> {
        let of_tracepoints = 0..room.tracepoints.min(CUSTOM_TRACEPOINTS);
        let of_uprobes = CUSTOM_TRACEPOINTS..(CUSTOM_TRACEPOINTS + room.uprobes).min(CUSTOM_SLOTS);
        let mut programs = StdMap::new();
        for slot in of_tracepoints.chain(of_uprobes) {
            match load_slot(ebpf, slot, reports) {
                Some(program) => drop(programs.insert(slot, program)),
                // The others of its kind are the same.
                None => continue,
            }
        }
        let shared = |name: &str| match ebpf.map(name) {
            Some(Map::Array(data)) => Ok(data.fd()),
            _ => bail!("the build lacks the array {name}"),
        };
        Ok(Self {
            counts: SharedArray::map(shared("CUSTOM_COUNT")?.as_fd(), CUSTOM_SLOTS)?,
            services: SharedArray::map(shared("CUSTOM_OF")?.as_fd(), services as usize)?,
            programs,
            rules: Mutex::new(take(ebpf, "CUSTOM_RULE")?),
            series: Mutex::new(take(ebpf, "CUSTOM")?),
        })
    }

    /// Says what a slot's program takes of its events, before it is attached.
    pub fn set_rule(&self, slot: usize, rule: CustomRule) -> Result<()> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.set(slot as u32, Wire(rule), 0).with_context(|| format!("cannot set the rule of slot {slot}"))
    }

    /// Hangs a slot's program on the tracepoint of this number. Errors: in words.
    pub fn at_tracepoint(&self, slot: usize, id: u64) -> Result<Attached, String> {
        perf::tracepoint(id, self.program(slot)?.as_fd()).map_err(|error| refusal(&error, "CAP_PERFMON"))
    }

    /// Hangs a slot's program on a place in a file. Errors: in words.
    pub fn at_file(&self, slot: usize, place: FilePlace<'_>) -> Result<Attached, String> {
        perf::uprobe(place, self.program(slot)?.as_fd()).map_err(|error| refusal(&error, "CAP_SYS_ADMIN"))
    }

    fn program(&self, slot: usize) -> Result<&OwnedFd, String> {
        self.programs
            .get(&slot)
            .ok_or_else(|| "the kernel refused the program: `inferscope check` tells why".to_owned())
    }

    /// Says which metrics are made of a service, a bit for each rule.
    pub fn set_service(&self, index: u32, rules: u64) {
        self.services.set(index as usize, rules);
    }

    /// Every row of the series, summed up over the CPUs. Two system calls for each: for scrapes only.
    pub fn rows(&self) -> Vec<(CustomKey, CustomSums)> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = series.iter().filter_map(Result::ok);
        rows.map(|(Wire(key), cpus)| (key, sum(cpus.iter().map(|Wire(cpu)| *cpu)))).collect()
    }

    /// Takes out the rows that `gone` names, and makes room for as many new series.
    pub fn remove(&self, gone: impl Fn(&CustomKey) -> bool) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let (gone, kept): (Vec<CustomKey>, Vec<CustomKey>) =
            series.keys().filter_map(Result::ok).map(|Wire(key)| key).partition(|key| gone(key));
        if gone.is_empty() {
            return;
        }
        for key in gone {
            // It is there no more, then.
            let _ = series.remove(&Wire(key));
        }
        for rule in 0..CUSTOM_SLOTS {
            let own = |key: &&CustomKey| {
                usize::from(key.rule) == rule && key.bucket == CUSTOM_ALL && key.service != CUSTOM_OTHER
            };
            if let Some(count) = self.counts.get(rule) {
                // A series that comes at this instant is not counted towards the cap: the map has room for some.
                self.counts.set(rule, CustomCount { series: kept.iter().filter(own).count() as u64, ..count });
            }
        }
    }

    /// Events of a metric that were over its cap of series.
    pub fn overflow(&self, rule: usize) -> u64 {
        self.counts.get(rule).map_or(0, |count| count.overflow)
    }
}

fn refusal(error: &std::io::Error, takes: &str) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => format!("{error}: it takes {takes}"),
        _ => error.to_string(),
    }
}

fn sum(cpus: impl Iterator<Item = CustomSums>) -> CustomSums {
    cpus.fold(CustomSums::default(), |sum, cpu| {
        let later = if cpu.last_at_ns > sum.last_at_ns { cpu } else { sum };
        CustomSums {
            events: sum.events + cpu.events,
            sum: sum.sum.wrapping_add(cpu.sum),
            last: later.last,
            last_at_ns: later.last_at_ns,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_is_that_of_the_cpu_that_saw_it_last() {
        let cpu = |events, sum: i64, last, last_at_ns| CustomSums { events, sum: sum as u64, last, last_at_ns };
        let all = sum([cpu(1, -5, 7, 30), cpu(0, 0, 0, 0), cpu(2, 3, 9, 20)].into_iter());
        assert_eq!(all, cpu(3, -2, 7, 30));
    }

    #[test]
    fn every_slot_has_a_program() {
        let names: Vec<String> = (0..CUSTOM_SLOTS).map(program_name).collect();
        assert_eq!(
            (names[0].as_str(), names[7].as_str(), names[8].as_str()),
            ("custom_tp0", "custom_tp7", "custom_up0")
        );
        assert_eq!(names[CUSTOM_SLOTS - 1], "custom_up15");
    }
}

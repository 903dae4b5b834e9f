//! What holds at a time of the timeline: device and process state, the energy integral, utilisation samples, XID events.
//! Pure: times come in as seconds since the start.

use std::collections::BTreeMap;

use crate::script::{Kind, Line, Script, Step};

/// How far apart utilisation samples lie, and how many are kept per process, as on a real driver roughly.
const SAMPLE_EVERY_S: f64 = 0.1;
const SAMPLES_KEPT: u64 = 100;

/// A GPU at one time, in NVML's units.
#[derive(Debug, Clone, Default)]
pub struct GpuState {
    pub util: u32,
    pub mem_util: u32,
    pub milliwatts: u32,
    pub memory_used: Option<u64>,
    pub temp: u32,
    pub sm_clock: u32,
    pub mem_clock: u32,
    pub throttle: u64,
    pub pcie_tx: u32,
    pub pcie_rx: u32,
    pub ecc_corrected: u64,
    pub ecc_uncorrected: u64,
    pub gpm: BTreeMap<u32, f64>,
    pub lost: bool,
    pub processes: BTreeMap<u32, ProcessState>,
}

/// A process on a GPU at one time; percent and bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessState {
    pub kind: Kind,
    pub sm: u32,
    pub mem: u32,
    pub enc: u32,
    pub dec: u32,
    pub memory: u64,
    pub gi: Option<u32>,
    pub ci: Option<u32>,
}

/// One utilisation sample: its time in seconds, whose, and what.
pub type Sample = (f64, u32, ProcessState);

/// A script being played.
#[derive(Debug, Clone)]
pub struct World {
    pub script: Script,
}

impl World {
    /// The state of a GPU at `t` seconds. A step at exactly `t` counts.
    pub fn gpu(&self, index: usize, t: f64) -> GpuState {
        let t = self.phase(t);
        let mut state = GpuState::default();
        for step in self.steps_of(index).take_while(|step| step.t <= t) {
            state.apply(step);
        }
        state
    }

    /// Millijoules used by a GPU from 0 to `t`: the integral of its power.
    pub fn energy_mj(&self, index: usize, t: f64) -> f64 {
        match self.script.repeat {
            Some(period) => {
                let rounds = (t / period).floor();
                rounds * self.energy_once(index, period) + self.energy_once(index, t - rounds * period)
            }
            None => self.energy_once(index, t),
        }
    }

    /// Samples of every busy process in `(after, until]`, oldest first.
    pub fn samples(&self, index: usize, after: f64, until: f64) -> Vec<Sample> {
        let last = (until.max(0.0) / SAMPLE_EVERY_S).floor() as u64;
        let first = ((after / SAMPLE_EVERY_S).floor().max(-1.0) + 1.0) as u64;
        let mut samples = Vec::new();
        for tick in first.max(last.saturating_sub(SAMPLES_KEPT))..=last {
            let t = tick as f64 * SAMPLE_EVERY_S;
            let busy = |p: &ProcessState| p.sm + p.mem + p.enc + p.dec > 0;
            let processes = self.gpu(index, t).processes;
            samples.extend(processes.into_iter().filter(|(_, p)| busy(p)).map(|(pid, p)| (t, pid, p)));
        }
        samples
    }

    /// XID numbers of a GPU in `(after, until]`, in order. Repeats of the timeline do not repeat them.
    pub fn xids(&self, index: usize, after: f64, until: f64) -> Vec<u64> {
        self.steps_of(index).filter(|step| step.t > after && step.t <= until).filter_map(|step| step.line.xid).collect()
    }

    fn phase(&self, t: f64) -> f64 {
        self.script.repeat.map_or(t, |period| t.rem_euclid(period))
    }

    fn steps_of(&self, index: usize) -> impl Iterator<Item = &Step> {
        self.script.steps.iter().filter(move |step| step.gpu == index)
    }

    fn energy_once(&self, index: usize, until: f64) -> f64 {
        let mut total = 0.0;
        let (mut since, mut milliwatts) = (0.0, 0.0);
        for step in self.steps_of(index).take_while(|step| step.t <= until) {
            if let Some(next) = step.line.milliwatts {
                total += milliwatts * (step.t - since);
                (since, milliwatts) = (step.t, f64::from(next));
            }
        }
        total + milliwatts * (until - since)
    }
}

impl GpuState {
    /// Bytes in use: as scripted, else the sum over the processes.
    pub fn memory_in_use(&self) -> u64 {
        self.memory_used.unwrap_or_else(|| self.processes.values().map(|process| process.memory).sum())
    }

    fn apply(&mut self, step: &Step) {
        let line = &step.line;
        match step.pid {
            Some(pid) if line.gone => drop(self.processes.remove(&pid)),
            Some(pid) => self.processes.entry(pid).or_default().apply(line),
            None => self.apply_device(line),
        }
    }

    fn apply_device(&mut self, line: &Line) {
        set(&mut self.util, line.util);
        set(&mut self.mem_util, line.mem_util);
        set(&mut self.milliwatts, line.milliwatts);
        self.memory_used = line.memory_used.or(self.memory_used);
        set(&mut self.temp, line.temp);
        set(&mut self.sm_clock, line.sm_clock);
        set(&mut self.mem_clock, line.mem_clock);
        set(&mut self.throttle, line.throttle);
        set(&mut self.pcie_tx, line.pcie_tx);
        set(&mut self.pcie_rx, line.pcie_rx);
        set(&mut self.ecc_corrected, line.ecc_corrected);
        set(&mut self.ecc_uncorrected, line.ecc_uncorrected);
        self.gpm.extend(&line.gpm);
        set(&mut self.lost, line.lost);
    }
}

impl ProcessState {
    fn apply(&mut self, line: &Line) {
        set(&mut self.kind, line.kind);
        set(&mut self.sm, line.sm);
        set(&mut self.mem, line.mem);
        set(&mut self.enc, line.enc);
        set(&mut self.dec, line.dec);
        set(&mut self.memory, line.memory);
        self.gi = line.gi.or(self.gi);
        self.ci = line.ci.or(self.ci);
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(text: &str) -> World {
        World { script: Script::parse(text).expect("valid") }
    }

    #[test]
    fn energy_is_the_integral_of_power() {
        let world = world("{\"t\":1,\"gpu\":0,\"mW\":1000}\n{\"t\":3,\"gpu\":0,\"mW\":500}\n{\"repeat\":10}");
        for (t, want) in [(0.5, 0.0), (2.0, 1000.0), (4.0, 2500.0), (10.0, 5500.0), (12.0, 6500.0)] {
            assert!((world.energy_mj(0, t) - want).abs() < 1e-6, "at {t}");
        }
    }

    #[test]
    fn steps_change_only_what_they_name() {
        let world = world(
            "{\"t\":0,\"gpu\":0,\"util\":50,\"temp\":40}\n{\"t\":1,\"gpu\":0,\"temp\":41}\n\
             {\"t\":0,\"gpu\":0,\"pid\":7,\"sm\":9,\"memory\":100}\n{\"t\":2,\"gpu\":0,\"pid\":7,\"gone\":true}",
        );
        let state = world.gpu(0, 1.5);
        assert_eq!((state.util, state.temp, state.memory_in_use()), (50, 41, 100));
        assert!(world.gpu(0, 2.0).processes.is_empty());
    }

    #[test]
    fn samples_are_those_after_the_last_seen() {
        let world = world("{\"t\":0,\"gpu\":0,\"pid\":7,\"sm\":9}\n{\"t\":1,\"gpu\":0,\"pid\":7,\"sm\":0}");
        assert_eq!(world.samples(0, -1.0, 0.55).len(), 6);
        assert_eq!(world.samples(0, 0.25, 0.55).len(), 3);
        assert!(world.samples(0, 1.0, 2.0).is_empty(), "an idle process has no samples");
    }
}

//! Metrics of the configuration that are made of tracepoints, functions and USDT probes: added up in the kernel, hung in
//! where the configuration says, read by scrapes.
#![forbid(unsafe_code)]

mod attach;
mod follow;
mod from;
mod place;
mod rule;
mod series;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::prometheus::proto::MetricFamily;
use inferscope_abi::{CUSTOM_ALL, CUSTOM_EDGES, CUSTOM_LABELS, CUSTOM_TRACEPOINTS, CUSTOM_UPROBES};
use rustc_hash::FxHashMap;

use crate::{
    discover::matches_pattern,
    export::{
        family::Family,
        metrics::{self, Metric},
    },
    probe::custom::{CustomKernel, CustomRoom},
};
use attach::Attachments;
pub use follow::follow;
pub(super) use from::From;
pub(super) use rule::{ProbeRule, rule};

/// Rows of the map for series that come while the cap is looked at, by another CPU.
const SPARE_ROWS: u32 = 64;
/// They are all made at the start, some 200 bytes and 32 for each CPU.
const MOST_ROWS: u32 = 1 << 17;

/// The checked metrics of a configuration that are made of probes.
#[derive(Clone, Debug, Default)]
pub struct ProbeRules(Vec<ProbeRule>);

/// A probe of the configuration that can't be hung in, for `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub metric: String,
    pub reason: String,
}

/// The metrics at work: what hangs where, and whose series are whose.
pub struct Probes {
    rules: Vec<ProbeRule>,
    metrics: Vec<&'static Metric>,
    /// Which labels of each are texts.
    texts: Vec<[bool; CUSTOM_LABELS]>,
    kernel: CustomKernel,
    /// Held while files are read: by the start, and by the thread that follows processes.
    attachments: Mutex<Attachments>,
    /// Held for a moment only.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where each metric's probe hangs, in places, and why it does not somewhere else.
    report: Vec<(usize, BTreeMap<&'static str, u64>)>,
    /// Name of the service at an index of the kernel side, also of one that has ended while its series stay.
    services: FxHashMap<u32, String>,
}

impl ProbeRules {
    /// Errors: there are more than the kernel side has programs for.
    pub(super) fn new(rules: Vec<ProbeRule>) -> Result<Self, (usize, String)> {
        let of_tracepoints = rules.iter().filter(|rule| rule.is_tracepoint());
        if let Some(one) = of_tracepoints.clone().nth(CUSTOM_TRACEPOINTS) {
            return Err((one.at, format!("there is room for {CUSTOM_TRACEPOINTS} metrics of tracepoints")));
        }
        let of_programs = rules.iter().filter(|rule| !rule.is_tracepoint());
        if let Some(one) = of_programs.clone().nth(CUSTOM_UPROBES) {
            return Err((one.at, format!("there is room for {CUSTOM_UPROBES} metrics of functions and USDT probes")));
        }
        let rules = Self(rules);
        match (rules.0.last(), rules.room()) {
            (Some(last), Some(room)) if room.rows > MOST_ROWS => {
                let text = "`max_series`, times the buckets of a histogram, is too much: there is room for";
                Err((last.at, format!("{text} {MOST_ROWS} in all metrics of probes together")))
            }
            _ => Ok(rules),
        }
    }

    /// What they need of the kernel side; None without any.
    pub fn room(&self) -> Option<CustomRoom> {
        let tracepoints = self.0.iter().filter(|rule| rule.is_tracepoint()).count();
        // A USDT probe can have its arguments elsewhere in each file that comes: all programs are loaded while there is
        // the right to.
        let uprobes = if tracepoints < self.0.len() { CUSTOM_UPROBES } else { 0 };
        let rows = self.0.iter().map(|rule| (rule.max_series as u32 + 1).saturating_mul(rule.rows_each()) + SPARE_ROWS);
        let rows = rows.fold(0, u32::saturating_add);
        let host = self.0.iter().any(|rule| rule.host);
        (!self.0.is_empty()).then_some(CustomRoom { tracepoints, uprobes, rows, host })
    }

    /// Whether probes are hung into programs that appear while the agent runs.
    pub fn follows(&self) -> bool {
        self.0.iter().any(ProbeRule::follows)
    }

    /// What of them this host lacks, as far as it can be told without a watched process. Hangs nothing in.
    pub fn troubles(&self) -> Vec<Trouble> {
        let trouble =
            |rule: &ProbeRule| attach::try_rule(rule).err().map(|reason| Trouble { metric: rule.name.clone(), reason });
        self.0.iter().filter_map(trouble).collect()
    }

    /// Their names, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|rule| rule.name.as_str())
    }
}

impl Probes {
    /// Hangs in what is not in a watched process. What the host lacks is told in the log and counted; the rest runs.
    pub fn start(rules: ProbeRules, kernel: CustomKernel) -> Arc<Self> {
        let probes = Self {
            metrics: rules.0.iter().map(rule::table_row).collect(),
            texts: rules.0.iter().map(attach::texts).collect(),
            rules: rules.0,
            kernel,
            attachments: Mutex::default(),
            state: Mutex::default(),
        };
        {
            let mut attachments = probes.attachments.lock().unwrap_or_else(PoisonError::into_inner);
            attachments.begin(probes.rules.len());
            for (index, rule) in probes.rules.iter().enumerate() {
                attachments.of_host(&probes.kernel, index, rule);
            }
            probes.publish(&attachments);
        }
        Arc::new(probes)
    }

    fn publish(&self, attachments: &Attachments) {
        self.state().report = attachments.report();
    }

    /// Whether probes are hung into programs that appear.
    pub fn follows(&self) -> bool {
        self.rules.iter().any(ProbeRule::follows)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A service begins at an index of the kernel side: before its first process is watched.
    pub fn service(&self, index: u32, name: &str) {
        let mut state = self.state();
        if state.services.get(&index).is_some_and(|former| former != name) {
            self.kernel.remove(|key| key.service == index);
        }
        let wants = |(at, rule): (usize, &ProbeRule)| {
            let fits = rule.service.as_deref().is_none_or(|pattern| matches_pattern(pattern, name));
            u64::from(fits && !rule.host) << at
        };
        self.kernel.set_service(index, self.rules.iter().enumerate().map(wants).sum());
        state.services.insert(index, name.to_owned());
    }

    /// Drops the series of a service that has ended.
    pub fn forget(&self, name: &str) {
        let mut state = self.state();
        let gone: Vec<u32> =
            state.services.iter().filter(|(_, known)| *known == name).map(|(index, _)| *index).collect();
        for index in &gone {
            self.kernel.set_service(*index, 0);
            state.services.remove(index);
        }
        if !gone.is_empty() {
            self.kernel.remove(|key| gone.contains(&key.service));
        }
    }

    /// Events over a metric's cap of label sets.
    pub fn overflow(&self) -> u64 {
        (0..self.rules.len()).map(|rule| self.kernel.overflow(rule)).sum()
    }

    /// Their families, and those that say where they hang.
    pub fn families(&self) -> Vec<MetricFamily> {
        let rows = self.kernel.rows();
        let state = self.state();
        let mut families = Vec::new();
        for (at, (rule, metric)) in self.rules.iter().zip(&self.metrics).enumerate() {
            let own = rows.iter().filter(|(key, _)| usize::from(key.rule) == at);
            families.extend(series::family(rule, metric, &self.texts[at], own, &state.services));
        }
        let mut places = Family::new(&metrics::CUSTOM_PROBES);
        let mut failures = Family::new(&metrics::CUSTOM_PROBE_FAILURES);
        for (rule, (hangs, reasons)) in self.rules.iter().zip(&state.report) {
            places.add(&[&rule.name], *hangs as f64);
            for (reason, count) in reasons {
                failures.add(&[&rule.name, reason], *count as f64);
            }
        }
        families.extend([places, failures].into_iter().filter_map(Family::finish));
        families
    }
}

const _: () = assert!(CUSTOM_EDGES < CUSTOM_ALL as usize && CUSTOM_LABELS == 4);

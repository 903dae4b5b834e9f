//! What hangs where: slots of the kernel side, and the programs on tracepoints and in files that use them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use inferscope_abi::{CUSTOM_LABELS, CUSTOM_SLOTS, CUSTOM_TRACEPOINTS, CustomRule, Place};
use rustc_hash::FxHashMap;

use super::{
    From, ProbeRule,
    from::File,
    place::{in_program, in_record, is_text},
};
use crate::{
    elf::{self, Site, Target, mapped::Below},
    probe::{
        custom::CustomKernel,
        perf::{Attached, FilePlace},
        tracefs::{Format, Tracefs},
    },
};

/// Places of one function or USDT probe in one file: a probe that is inlined into more than so many is no probe to count.
const SITES: usize = 64;

/// Why something does not hang: a word for the metric, and a sentence.
#[derive(Debug)]
pub struct Failure {
    pub reason: &'static str,
    pub text: String,
}

/// All programs that hang, by metric.
#[derive(Default)]
pub struct Attachments {
    rules: Vec<OfRule>,
    /// What each slot's program takes of its events, and for how many places.
    slots: [Slot; CUSTOM_SLOTS],
}

#[derive(Default)]
struct OfRule {
    /// On its tracepoint.
    tracepoint: Option<Attached>,
    files: FxHashMap<Below, Vec<(usize, Attached)>>,
    failures: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct Slot {
    rule: CustomRule,
    users: usize,
}

/// Places of the rule's value and labels.
fn in_tracepoint(rule: &ProbeRule) -> Result<(Format, Vec<Place>), String> {
    let From::Tracepoint { category, name } = &rule.from else { return Err("no tracepoint".to_owned()) };
    let format = Tracefs::open()?.format(category, name)?;
    let figures = std::iter::once(rule.value.is_some()).chain(std::iter::repeat(false));
    let places = rule.operands().zip(figures).map(|(operand, figure)| in_record(&format, category, operand, figure));
    let places = places.collect::<Result<_, _>>()?;
    Ok((format, places))
}

/// The places of a rule's probe in a file, each with those of value and labels.
fn in_file(rule: &ProbeRule, path: &Path) -> Result<Vec<(Site, Vec<Place>)>, Failure> {
    let target = match &rule.from {
        From::Function { symbol, .. } => Target::Function { symbol },
        From::Usdt { provider, name, .. } => Target::Usdt { provider, name },
        From::Tracepoint { .. } => return Ok(Vec::new()),
    };
    let unfit = |error| Failure { reason: "file", text: format!("{}: {error}", path.display()) };
    let sites = elf::sites(path, target).map_err(unfit)?;
    if sites.len() > SITES {
        let text = format!("{} has the probe in {} places, and there is room for {SITES}", path.display(), sites.len());
        return Err(Failure { reason: "places", text });
    }
    let places = |site: Site| {
        let operands = rule.operands().map(|operand| in_program(&site.arguments, &elf::returned(), operand));
        let places = operands.collect::<Result<_, _>>();
        let unfit = |text| Failure { reason: "argument", text: format!("{}: {text}", path.display()) };
        places.map(|places| (site, places)).map_err(unfit)
    };
    sites.into_iter().map(places).collect()
}

/// Whether a rule could be hung in, as far as no watched process is needed to tell; hangs nothing in.
pub fn try_rule(rule: &ProbeRule) -> Result<(), String> {
    match rule.from.file() {
        None => in_tracepoint(rule).map(drop),
        Some(File::Path(path)) => in_file(rule, path).map(drop).map_err(|failure| failure.text),
        Some(File::Library(_) | File::Executable) => Ok(()),
    }
}

/// Which of a rule's labels are texts, as far as that can be told: of a tracepoint that is not there none.
pub fn texts(rule: &ProbeRule) -> [bool; CUSTOM_LABELS] {
    let mut texts = [false; CUSTOM_LABELS];
    let labels = rule.labels.iter().map(|(_, operand)| operand.is_text());
    match in_tracepoint(rule) {
        Ok((_, places)) => {
            let labels = places.iter().skip(usize::from(rule.value.is_some())).map(is_text);
            texts.iter_mut().zip(labels).for_each(|(to, text)| *to = text);
        }
        Err(_) => texts.iter_mut().zip(labels).for_each(|(to, text)| *to = text),
    }
    texts
}

impl Attachments {
    /// Room for so many metrics.
    pub fn begin(&mut self, rules: usize) {
        self.rules.resize_with(rules, OfRule::default);
    }

    /// Hangs in what needs no watched process; a failure is told and counted. `index`: the rule's number.
    pub fn of_host(&mut self, kernel: &CustomKernel, index: usize, rule: &ProbeRule) {
        let hung = match rule.from.file() {
            None => self.tracepoint(kernel, index, rule),
            Some(File::Path(path)) => self.path(kernel, index, rule, path),
            Some(File::Library(_) | File::Executable) => Ok(()),
        };
        if let Err(failure) = hung {
            self.failed(index, rule, &failure);
        }
    }

    /// Tells and counts that something does not hang.
    pub fn failed(&mut self, index: usize, rule: &ProbeRule, failure: &Failure) {
        *self.rules[index].failures.entry(failure.reason).or_default() += 1;
        tracing::warn!(metric = rule.name, "a metric of the configuration is not counted: {}", failure.text);
    }

    fn tracepoint(&mut self, kernel: &CustomKernel, index: usize, rule: &ProbeRule) -> Result<(), Failure> {
        let (format, places) = in_tracepoint(rule).map_err(|text| Failure { reason: "tracepoint", text })?;
        let slot = self.slot(kernel, 0..CUSTOM_TRACEPOINTS, rule.for_kernel(index, &places))?;
        let hung = kernel.at_tracepoint(slot, format.id);
        self.rules[index].tracepoint = Some(hung.map_err(|text| Failure { reason: "kernel", text })?);
        self.slots[slot].users += 1;
        Ok(())
    }

    fn path(&mut self, kernel: &CustomKernel, index: usize, rule: &ProbeRule, path: &PathBuf) -> Result<(), Failure> {
        let file = std::fs::metadata(path)
            .map_err(|error| Failure { reason: "file", text: format!("{}: {error}", path.display()) })?;
        self.file(kernel, index, rule, Below::of(path, &file), path)
    }

    /// Hangs a rule's probe into a file, in all its places or in none.
    pub fn file(
        &mut self,
        kernel: &CustomKernel,
        index: usize,
        rule: &ProbeRule,
        id: Below,
        path: &Path,
    ) -> Result<(), Failure> {
        let returns = matches!(rule.from, From::Function { returns: true, .. });
        let mut hung: Vec<(usize, Attached)> = Vec::new();
        for (site, places) in in_file(rule, path)? {
            let at = FilePlace { path, offset: site.file_offset, semaphore: site.semaphore_offset, returns };
            let slot = self.slot(kernel, CUSTOM_TRACEPOINTS..CUSTOM_SLOTS, rule.for_kernel(index, &places));
            let attached = slot.and_then(|slot| {
                let attached = kernel.at_file(slot, at);
                attached.map(|attached| (slot, attached)).map_err(|text| Failure { reason: "kernel", text })
            });
            match attached {
                Ok(attached) => {
                    self.slots[attached.0].users += 1;
                    hung.push(attached);
                }
                Err(failure) => {
                    self.take_off(hung);
                    return Err(failure);
                }
            }
        }
        self.rules[index].files.insert(id, hung);
        Ok(())
    }

    /// Takes a rule's probe off a file that nobody maps any more.
    pub fn off_file(&mut self, index: usize, id: Below) {
        let hung = self.rules[index].files.remove(&id).unwrap_or_default();
        self.take_off(hung);
    }

    /// Whether a rule's probe hangs in a file.
    pub fn has(&self, index: usize, id: Below) -> bool {
        self.rules[index].files.contains_key(&id)
    }

    /// Files in which a rule's probe hangs.
    pub fn files(&self, index: usize) -> impl Iterator<Item = Below> {
        self.rules[index].files.keys().copied()
    }

    fn take_off(&mut self, hung: Vec<(usize, Attached)>) {
        for (slot, attached) in hung {
            // First the program, then the slot is another's.
            drop(attached);
            self.slots[slot].users -= 1;
        }
    }

    /// A slot whose program takes just this of its events: one that does already, or a free one.
    fn slot(
        &mut self,
        kernel: &CustomKernel,
        of_kind: std::ops::Range<usize>,
        rule: CustomRule,
    ) -> Result<usize, Failure> {
        let mut slots = of_kind.clone();
        if let Some(slot) = slots.find(|slot| self.slots[*slot].users != 0 && self.slots[*slot].rule == rule) {
            return Ok(slot);
        }
        let text = || "the arguments of USDT probes are in more kinds of places than there are programs for".to_owned();
        let mut slots = of_kind;
        let free = slots.find(|slot| self.slots[*slot].users == 0);
        let slot = free.ok_or_else(|| Failure { reason: "programs", text: text() })?;
        kernel.set_rule(slot, rule).map_err(|error| Failure { reason: "kernel", text: format!("{error:#}") })?;
        self.slots[slot].rule = rule;
        Ok(slot)
    }

    /// Where each metric's probe hangs, in places, and why it does not somewhere else.
    pub fn report(&self) -> Vec<(usize, BTreeMap<&'static str, u64>)> {
        let places =
            |rule: &OfRule| usize::from(rule.tracepoint.is_some()) + rule.files.values().map(Vec::len).sum::<usize>();
        self.rules.iter().map(|rule| (places(rule), rule.failures.clone())).collect()
    }
}

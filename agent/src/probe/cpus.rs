//! Programs that run at an event of each CPU: hung on every CPU that is there, and on those that come later. The kernel takes
//! such an event from a CPU that leaves for good: one that comes back has none, and neither has one that is added.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use aya::{
    Ebpf,
    programs::{
        PerfEvent,
        perf_event::{PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
    util::online_cpus,
};

use super::programs::why;

/// What there is one of for each CPU. Bounded by the CPUs that there can be.
#[derive(Debug)]
struct PerCpu<T> {
    held: BTreeMap<u32, T>,
    /// CPUs that have none, of which it was told.
    refused: BTreeSet<u32>,
}

impl<T> PerCpu<T> {
    fn new() -> Self {
        Self { held: BTreeMap::new(), refused: BTreeSet::new() }
    }

    /// Drops what CPUs had that are there no more, and gets one for each that has none yet. Returns the CPUs for which
    /// there is none, each once for as long as it stays; they are tried again every time.
    fn follow(&mut self, online: &[u32], mut get: impl FnMut(u32) -> Result<T, String>) -> Vec<(u32, String)> {
        let there: BTreeSet<u32> = online.iter().copied().collect();
        self.held.retain(|cpu, _| there.contains(cpu));
        self.refused.retain(|cpu| there.contains(cpu));
        let mut refusals = Vec::new();
        for cpu in there {
            if self.held.contains_key(&cpu) {
                continue;
            }
            match get(cpu) {
                Ok(one) => {
                    self.held.insert(cpu, one);
                    self.refused.remove(&cpu);
                }
                Err(error) if self.refused.insert(cpu) => refusals.push((cpu, error)),
                Err(_) => {}
            }
        }
        refusals
    }
}

/// A program and what it hangs on, on each CPU.
#[derive(Debug)]
struct OnCpus {
    program: &'static str,
    gives: &'static str,
    event: SoftwareEvent,
    policy: SamplePolicy,
    events: PerCpu<PerfEventLink>,
}

impl OnCpus {
    /// The CPUs that the kernel refused, and why. Errors: the program is not there, or cannot be used.
    fn follow(&mut self, ebpf: &mut Ebpf, online: &[u32]) -> Result<Vec<(u32, String)>, String> {
        let program = program(ebpf, self.program)?;
        let event = PerfEventConfig::Software(self.event);
        let attach = |cpu| {
            let scope = PerfEventScope::AllProcessesOneCpu { cpu };
            let link = program.attach(event, scope, self.policy, false).map_err(|e| why(&e))?;
            program.take_link(link).map_err(|e| why(&e))
        };
        Ok(self.events.follow(online, attach))
    }

    fn tell(&self, cpu: u32, error: &str) {
        let gives = self.gives;
        tracing::warn!(
            cpu,
            error,
            "no {gives} of a CPU that came: start the agent again, or with `--keep-privileges` if rights are missing"
        );
    }
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut PerfEvent, String> {
    ebpf.program_mut(name).ok_or("not in this build")?.try_into().map_err(|e: aya::programs::ProgramError| why(&e))
}

/// The programs that hang on CPUs. Dropping it takes them off.
#[derive(Debug, Default)]
pub struct CpuEvents {
    programs: Vec<OnCpus>,
    ebpf: Weak<Mutex<Ebpf>>,
}

impl CpuEvents {
    /// Loads a program and hangs it on every CPU. Errors: in the kernel's words; the program hangs nowhere then.
    pub(super) fn add(
        &mut self,
        ebpf: &mut Ebpf,
        (name, gives): (&'static str, &'static str),
        event: SoftwareEvent,
        policy: SamplePolicy,
    ) -> Result<String, String> {
        program(ebpf, name)?.load().map_err(|e| why(&e))?;
        let mut on_cpus = OnCpus { program: name, gives, event, policy, events: PerCpu::new() };
        let online = online_cpus().map_err(|(what, e)| format!("{what}: {e}"))?;
        if let Some((_, error)) = on_cpus.follow(ebpf, &online)?.into_iter().next() {
            return Err(error);
        }
        self.programs.push(on_cpus);
        Ok(format!("perf_event:{event:?}"))
    }

    /// Where the programs are, for [`Self::follow`].
    pub fn of(self, ebpf: &Arc<Mutex<Ebpf>>) -> Self {
        Self { ebpf: Arc::downgrade(ebpf), ..self }
    }

    /// Looks which CPUs there are, and hangs the programs on those that came. A CPU that went and came back since the last
    /// look is not noticed.
    pub fn follow(&mut self) {
        if self.programs.is_empty() {
            return;
        }
        let Some(ebpf) = self.ebpf.upgrade() else { return };
        let online = match online_cpus() {
            Ok(online) => online,
            Err((path, error)) => return tracing::debug!(path, %error, "which CPUs there are cannot be read"),
        };
        let mut ebpf = ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        for on_cpus in &mut self.programs {
            match on_cpus.follow(&mut ebpf, &online) {
                Ok(refusals) => refusals.into_iter().for_each(|(cpu, error)| on_cpus.tell(cpu, &error)),
                Err(error) => tracing::debug!(program = on_cpus.program, error, "a program cannot follow the CPUs"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    /// Tells of its end.
    struct One(u32, Rc<RefCell<Vec<u32>>>);

    impl Drop for One {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn cpus_that_leave_are_let_go_and_those_that_come_are_taken() {
        let ended = Rc::new(RefCell::new(Vec::new()));
        let mut got = Vec::new();
        let mut events = PerCpu::new();
        let mut follow = |online: &[u32]| {
            let get = |cpu| {
                got.push(cpu);
                Ok(One(cpu, Rc::clone(&ended)))
            };
            assert_eq!(events.follow(online, get), []);
            (std::mem::take(&mut got), ended.take())
        };
        assert_eq!(follow(&[0, 1, 2]), (vec![0, 1, 2], vec![]));
        assert_eq!(follow(&[0, 1, 2]), (vec![], vec![]), "nothing changed");
        assert_eq!(follow(&[0, 2]), (vec![], vec![1]));
        assert_eq!(follow(&[0, 1, 5]), (vec![1, 5], vec![2]), "one is back, one is new, one left");
    }

    #[test]
    fn a_refusal_is_told_once_for_each_stay_and_tried_again() {
        let mut events = PerCpu::new();
        let refuse = |_| Err("no".to_owned());
        let told = vec![(1, "no".to_owned())];
        assert_eq!(events.follow(&[0], Ok), []);
        assert_eq!(events.follow(&[0, 1], refuse), told);
        assert_eq!(events.follow(&[0, 1], refuse), []);
        assert_eq!(events.follow(&[0], refuse), []);
        assert_eq!(events.follow(&[0, 1], refuse), told, "it went and came again");
        assert_eq!(events.follow(&[0, 1], Ok), []);
        assert_eq!(events.held.keys().copied().collect::<Vec<_>>(), [0, 1]);
        assert!(events.refused.is_empty());
    }
}

//! The table of probes: what each is for, which hooks it prefers, and whether the main job needs it.

use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, RawTracePoint, TracePoint,
        perf_event::{SamplePolicy, SoftwareEvent},
    },
};

use super::{classic::Classic, cpus::CpuEvents};

/// One program and the places where it can hang, best first.
pub enum Attachment {
    /// `<name>_btf` as a typed tracepoint, else `<name>_raw` as a raw one.
    Tracepoint { name: &'static str, tracepoint: &'static str },
    /// Where the kernel may preempt the two above (7.0 and later) `<name>_tp` as a classic tracepoint, else the same.
    TracepointOrClassic { name: &'static str, tracepoint: &'static str, classic: Classic },
    /// A clock on every CPU, so many times a second.
    Clock { program: &'static str },
    /// A software event on every CPU, at each occurrence.
    SoftwareEvent { program: &'static str, event: SoftwareEvent },
}

/// A row of [`PROBES`].
pub struct Probe {
    pub name: &'static str,
    /// What is lost without it, in the user's words.
    pub gives: &'static str,
    /// Without it the main job (requests with their times) cannot run.
    pub required: bool,
    pub since: &'static str,
    /// Attached only when it is asked for.
    pub asked_for: bool,
    pub attachments: &'static [Attachment],
}

/// The program that tells of each socket that begins to listen.
const LISTEN: &str = "listen_state";

/// Whether the kernel tells of each socket that begins to listen.
pub fn tells_listeners(reports: &[ProbeReport]) -> bool {
    reports.iter().any(|report| report.program == LISTEN && report.hook.is_some())
}

/// In the order in which they are attached: what ends a state before what begins it.
pub const PROBES: &[Probe] = &[
    Probe {
        name: "process",
        gives: "new processes, children and exits",
        required: true,
        since: "4.17",
        asked_for: false,
        attachments: &[
            Attachment::TracepointOrClassic {
                name: "process_exit",
                tracepoint: "sched_process_exit",
                classic: Classic { category: "sched", name: "sched_process_exit", fields: &[] },
            },
            Attachment::TracepointOrClassic {
                name: "process_fork",
                tracepoint: "sched_process_fork",
                classic: Classic {
                    category: "task",
                    name: "task_newtask",
                    fields: &[("pid", 8, 4), ("clone_flags", 32, 8)],
                },
            },
            Attachment::Tracepoint { name: "process_exec", tracepoint: "sched_process_exec" },
        ],
    },
    Probe {
        name: "listen",
        gives: "word of sockets that begin to listen (without it all processes are looked at every `discover.interval`)",
        required: false,
        since: "4.17",
        asked_for: false,
        attachments: &[Attachment::Tracepoint { name: LISTEN, tracepoint: "inet_sock_set_state" }],
    },
    Probe {
        name: "syscall",
        gives: "requests, tokens and times (socket payload), system call counts",
        required: true,
        since: "4.17",
        asked_for: false,
        attachments: &[
            Attachment::TracepointOrClassic {
                name: "sys_exit",
                tracepoint: "sys_exit",
                classic: Classic { category: "raw_syscalls", name: "sys_exit", fields: &[("ret", 16, 8)] },
            },
            Attachment::TracepointOrClassic {
                name: "sys_enter",
                tracepoint: "sys_enter",
                classic: Classic {
                    category: "raw_syscalls",
                    name: "sys_enter",
                    fields: &[("id", 8, 8), ("args", 16, 48)],
                },
            },
        ],
    },
    Probe {
        name: "sched",
        gives: "on-CPU, run-queue and off-CPU time",
        required: false,
        since: "4.17",
        asked_for: false,
        attachments: &[
            Attachment::Tracepoint { name: "sched_switch", tracepoint: "sched_switch" },
            Attachment::Tracepoint { name: "sched_wakeup", tracepoint: "sched_wakeup" },
            Attachment::Tracepoint { name: "sched_new", tracepoint: "sched_wakeup_new" },
        ],
    },
    Probe {
        name: "block",
        gives: "block device requests and bytes per process",
        required: false,
        since: "4.17",
        asked_for: false,
        attachments: &[Attachment::Tracepoint { name: "block_issue", tracepoint: "block_rq_issue" }],
    },
    Probe {
        name: "reclaim",
        gives: "time spent making room in memory",
        required: false,
        since: "4.19",
        asked_for: false,
        attachments: &[
            Attachment::Tracepoint { name: "reclaim_end", tracepoint: "mm_vmscan_direct_reclaim_end" },
            Attachment::Tracepoint { name: "reclaim_mend", tracepoint: "mm_vmscan_memcg_reclaim_end" },
            Attachment::Tracepoint { name: "reclaim_begin", tracepoint: "mm_vmscan_direct_reclaim_begin" },
            Attachment::Tracepoint { name: "reclaim_mbegin", tracepoint: "mm_vmscan_memcg_reclaim_begin" },
        ],
    },
    Probe {
        name: "fault",
        gives: "major page faults per request phase",
        required: false,
        since: "4.9",
        asked_for: false,
        attachments: &[Attachment::SoftwareEvent { program: "fault_major", event: SoftwareEvent::PageFaultsMaj }],
    },
    Probe {
        name: "sample",
        gives: "stacks: where the time on the CPUs goes (attach)",
        required: false,
        since: "4.16",
        asked_for: true,
        attachments: &[Attachment::Clock { program: "sample_clock" }],
    },
];

/// The hook that a program got, or why it got none.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ProbeReport {
    pub probe: &'static str,
    pub program: &'static str,
    pub required: bool,
    /// e.g. `tp_btf:sched_switch`.
    pub hook: Option<String>,
    /// Refusals on the way, in the kernel's words.
    pub error: Option<String>,
    pub gives: &'static str,
}

pub(super) fn why(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    // The verifier's log can be long; its last lines say what was wrong.
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    if lines.len() > 6 {
        format!("{} ... {}", lines[0], lines[lines.len() - 5..].join(" | "))
    } else {
        lines.join(" | ")
    }
}

fn tp_btf(ebpf: &mut Ebpf, name: &str, tracepoint: &str, btf: &Btf) -> Result<String, String> {
    let program: &mut BtfTracePoint =
        ebpf.program_mut(name).ok_or("not in this build")?.try_into().map_err(|e| why(&e))?;
    program.load(tracepoint, btf).map_err(|e| why(&e))?;
    program.attach().map_err(|e| why(&e))?;
    Ok(format!("tp_btf:{tracepoint}"))
}

fn raw_tp(ebpf: &mut Ebpf, name: &str, tracepoint: &str) -> Result<String, String> {
    let program: &mut RawTracePoint =
        ebpf.program_mut(name).ok_or("not in this build")?.try_into().map_err(|e| why(&e))?;
    program.load().map_err(|e| why(&e))?;
    program.attach(tracepoint).map_err(|e| why(&e))?;
    Ok(format!("raw_tp:{tracepoint}"))
}

fn classic_tp(ebpf: &mut Ebpf, name: &str, at: &Classic) -> Result<String, String> {
    at.check()?;
    let program: &mut TracePoint =
        ebpf.program_mut(name).ok_or("not in this build")?.try_into().map_err(|e| why(&e))?;
    program.load().map_err(|e| why(&e))?;
    program.attach(at.category, at.name).map_err(|e| why(&e))?;
    Ok(format!("tp:{}:{}", at.category, at.name))
}

/// Major and minor number of the running kernel; zeroes if it does not say.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Whether this kernel runs tracepoint programs with preemption on.
fn preempts_programs() -> bool {
    kernel_version() >= (7, 0)
}

fn tracepoint(ebpf: &mut Ebpf, name: &str, at: &str, btf: Option<&Btf>) -> (Option<String>, Option<String>) {
    let first = match btf {
        Some(btf) => tp_btf(ebpf, &format!("{name}_btf"), at, btf),
        None => Err("tp_btf needs the kernel's own BTF".to_owned()),
    };
    match first {
        Ok(hook) => (Some(hook), None),
        Err(refused) => match raw_tp(ebpf, &format!("{name}_raw"), at) {
            Ok(hook) => (Some(hook), Some(format!("tp_btf refused: {refused}"))),
            Err(error) => (None, Some(format!("tp_btf refused: {refused}; raw_tp refused: {error}"))),
        },
    }
}

fn one(attached: Result<String, String>) -> (Option<String>, Option<String>) {
    match attached {
        Ok(hook) => (Some(hook), None),
        Err(error) => (None, Some(error)),
    }
}

fn attach_one(
    ebpf: &mut Ebpf,
    cpu_events: &mut CpuEvents,
    (attachment, gives): (&'static Attachment, &'static str),
    btf: Option<&Btf>,
    frequency_hz: u32,
) -> (Option<String>, Option<String>) {
    match attachment {
        Attachment::Tracepoint { name, tracepoint: at } => tracepoint(ebpf, name, at, btf),
        Attachment::TracepointOrClassic { name, tracepoint: at, .. } if !preempts_programs() => {
            tracepoint(ebpf, name, at, btf)
        }
        Attachment::TracepointOrClassic { name, tracepoint: at, classic } => {
            match classic_tp(ebpf, &format!("{name}_tp"), classic) {
                Ok(hook) => (Some(hook), None),
                Err(refused) => {
                    let (hook, error) = tracepoint(ebpf, name, at, btf);
                    let refused =
                        format!("events can be missed, for this kernel preempts the program; tp refused: {refused}");
                    (hook, Some(error.map_or(refused.clone(), |error| format!("{refused}; {error}"))))
                }
            }
        }
        Attachment::SoftwareEvent { program, event } => {
            one(cpu_events.add(ebpf, (program, gives), *event, SamplePolicy::Period(1)))
        }
        Attachment::Clock { program } => {
            let policy = SamplePolicy::Frequency(u64::from(frequency_hz));
            one(cpu_events.add(ebpf, (program, gives), SoftwareEvent::CpuClock, policy))
        }
    }
}

/// Loads and attaches these probes; none that is refused keeps another from running. Those that hang on CPUs go to
/// `cpu_events`. The clock of stacks ticks `frequency_hz` times a second, and not at all at 0.
pub fn attach_all(
    ebpf: &mut Ebpf,
    cpu_events: &mut CpuEvents,
    btf: Option<&Btf>,
    probes: &'static [Probe],
    frequency_hz: u32,
) -> Vec<ProbeReport> {
    let mut reports = Vec::new();
    for probe in probes.iter().filter(|probe| !probe.asked_for || frequency_hz != 0) {
        for attachment in probe.attachments {
            let (hook, error) = attach_one(ebpf, cpu_events, (attachment, probe.gives), btf, frequency_hz);
            let program = match attachment {
                Attachment::Tracepoint { name, .. } | Attachment::TracepointOrClassic { name, .. } => name,
                Attachment::SoftwareEvent { program, .. } | Attachment::Clock { program } => program,
            };
            reports.push(ProbeReport {
                probe: probe.name,
                program,
                required: probe.required,
                hook,
                error,
                gives: probe.gives,
            });
        }
    }
    reports
}

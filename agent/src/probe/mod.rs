//! The kernel side as the agent sees it: load, attach, watch and unwatch, read counters. Nothing here knows what a
//! request is.

pub mod arch;
pub mod btf;
mod classic;
mod cpus;
pub mod custom;
pub mod layout;
pub mod memory;
pub mod perf;
pub mod programs;
mod reader;
pub mod shared;
mod timeline;
pub mod tracefs;
mod watcher;

use std::{os::fd::AsFd, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, RingBuf},
};
use custom::{CustomKernel, CustomRoom};
use inferscope_abi::{Config, Counters, LogRow, PAYLOAD_BYTES, Process, Thread, WATCH_ROW};

pub use cpus::CpuEvents;
pub use programs::{PROBES, ProbeReport, kernel_version, tells_listeners};
pub use reader::{CounterReader, LISTEN, SyscallRow};
use shared::{SharedArray, Wire};
pub use watcher::{FoundThread, Watcher};

/// The kernel programs, as built by build.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/inferscope-ebpf"));

/// Block requests that can be under way at a time while a timeline is recorded.
const BLOCK_REQUESTS: u32 = 8192;

/// Files of which it is remembered whether they are logs.
const LOG_FILES: u32 = 8192;

/// Sizes and limits that the kernel side is loaded with.
#[derive(Debug, Clone)]
pub struct LoadOptions<'a> {
    /// BTF file instead of the running kernel's.
    pub btf: Option<&'a Path>,
    pub ring_bytes: u32,
    pub processes: u32,
    pub services: u32,
    pub connections: u32,
    pub capture_head_bytes: u32,
    pub capture_tail_bytes: u32,
    pub capture_request_bytes: u32,
    /// Every run of a watched thread is an event, and every system call that takes so long; None: no timeline.
    pub timeline: Option<Duration>,
    /// Stacks of what runs are taken so many times a second on every CPU; 0: never.
    pub stacks_hz: u32,
    /// Messages between the processes of an engine are looked for.
    pub engines: bool,
    /// Bytes a second that a service may write to its logs and be read; None: they are not looked at.
    pub logs: Option<u32>,
    /// What metrics of the configuration need; None: there are none that are made here.
    pub custom: Option<CustomRoom>,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self {
            btf: None,
            ring_bytes: 8 << 20,
            processes: 4096,
            services: 256,
            connections: 16_384,
            capture_head_bytes: 128 << 10,
            capture_tail_bytes: 8 << 10,
            capture_request_bytes: 1 << 20,
            timeline: None,
            stacks_hz: 0,
            engines: true,
            logs: Some(1 << 20),
            custom: None,
        }
    }
}

/// Arrays that several tasks read.
pub(crate) struct Arrays {
    pub watched: SharedArray<u16>,
    pub process: SharedArray<Process>,
    pub service: SharedArray<Counters>,
    pub logs: SharedArray<LogRow>,
}

impl Arrays {
    /// Ends the state of a thread that is gone, for its process and for its service: as far as they are those that it
    /// began in.
    fn close(&self, thread: &Thread, now_ns: u64) {
        let state = thread.state as usize;
        let service = thread.service as usize;
        if self.service.get(service).is_some_and(|counters| thread.since_ns >= counters.since_ns) {
            self.service.leave(service, state, now_ns);
        }
        let Some(slot) = self.watched.get(thread.tgid as usize).and_then(|mark| mark.checked_sub(1)) else { return };
        if self.process.get(slot.into()).is_some_and(|process| thread.since_ns >= process.since_ns) {
            self.process.leave(slot.into(), state, now_ns);
        }
    }
}

/// Everything that a load gives; dropping `ebpf` and `cpu_events` detaches all programs.
pub struct Loaded {
    pub ebpf: Ebpf,
    pub ring: RingBuf<MapData>,
    pub watcher: Watcher,
    pub reader: CounterReader,
    pub reports: Vec<ProbeReport>,
    /// What hangs on CPUs, which can come and go.
    pub cpu_events: CpuEvents,
    /// For metrics of the configuration, if any needs it.
    pub custom: Option<CustomKernel>,
}

/// The kernel's limit of process ids.
fn pid_max() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/pid_max")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(4 << 20)
}

/// CPUs that this host can ever have.
fn possible_cpus() -> Result<u32> {
    Ok(aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))? as u32)
}

fn config(options: &LoadOptions<'_>) -> Result<Config> {
    let layout = layout::Layout::read(options.btf)?;
    Ok(Config {
        offsets: layout.offsets,
        switch_prev_state_arg: layout.switch_prev_state_arg,
        block_issue_request_arg: layout.block_issue_request_arg,
        capture_head_bytes: options.capture_head_bytes.next_multiple_of(PAYLOAD_BYTES as u32),
        capture_tail_bytes: options.capture_tail_bytes,
        capture_request_bytes: options.capture_request_bytes,
        timeline: u32::from(options.timeline.is_some()),
        timeline_syscall_us: options
            .timeline
            .map_or(0, |longest| u32::try_from(longest.as_micros()).unwrap_or(u32::MAX)),
        typed_current_task: u32::from(programs::kernel_version() >= (5, 11)),
        task_registers: u32::from(programs::kernel_version() >= (5, 15)),
        wake_bytes: options.ring_bytes / 4,
        services: options.services,
        logs: u32::from(options.logs.is_some()),
        log_byte_ns: 1_000_000_000 / options.logs.unwrap_or(1).max(1),
        custom_host: u32::from(options.custom.is_some_and(|room| room.host)),
        agent_tgid: std::process::id(),
        syscall_class: arch::syscall_classes(),
    })
}

/// Loads the programs and attaches what the kernel allows; an error if the main job cannot run.
pub fn load(options: &LoadOptions<'_>) -> Result<Loaded> {
    let loaded = load_reporting(options)?;
    let refused: Vec<_> = loaded.reports.iter().filter(|r| r.required && r.hook.is_none()).collect();
    if let Some(first) = refused.first() {
        bail!(
            "the kernel refused the probe {} ({}): {}; `inferscope check` tells more",
            first.probe,
            first.gives,
            first.error.as_deref().unwrap_or("no reason given")
        );
    }
    Ok(loaded)
}

/// Like [`load`], but a refused probe is only reported.
pub fn load_reporting(options: &LoadOptions<'_>) -> Result<Loaded> {
    if OBJECT.is_empty() {
        bail!("this binary was built without the kernel programs: build it with `cargo xtask build`");
    }
    let config = Wire(config(options)?);
    let rows = pid_max().div_ceil(WATCH_ROW as u32).max(1);
    let mut ebpf = EbpfLoader::new()
        .override_global("CONFIG", &config, true)
        .map_max_entries("RING", options.ring_bytes)
        .map_max_entries("WATCHED", rows)
        .map_max_entries("PROCESS", options.processes)
        .map_max_entries("FREE_SLOTS", options.processes)
        .map_max_entries("LIVE", options.processes)
        .map_max_entries("SERVICE", options.services)
        .map_max_entries("TRAITS", options.services)
        .map_max_entries("LOG_ROW", options.services)
        .map_max_entries("LOG_MARK", if options.logs.is_some() { LOG_FILES } else { 1 })
        .map_max_entries("RAN", options.services * possible_cpus()?)
        .map_max_entries("CONNECTION", options.connections)
        .map_max_entries("CUSTOM", options.custom.map_or(1, |room| room.rows.max(1)))
        .map_max_entries("CUSTOM_OF", options.services)
        .map_max_entries("BLOCK", if options.timeline.is_some() { BLOCK_REQUESTS } else { 1 })
        .load(OBJECT)
        .context("cannot load the kernel programs: run `inferscope check` to see what this host lacks")?;
    let arrays = Arc::new(Arrays {
        watched: SharedArray::map(array_fd(&ebpf, "WATCHED")?.as_fd(), rows as usize * WATCH_ROW)?,
        process: SharedArray::map(array_fd(&ebpf, "PROCESS")?.as_fd(), options.processes as usize)?,
        service: SharedArray::map(array_fd(&ebpf, "SERVICE")?.as_fd(), options.services as usize)?,
        logs: SharedArray::map(array_fd(&ebpf, "LOG_ROW")?.as_fd(), options.services as usize)?,
    });
    let ring = RingBuf::try_from(ebpf.take_map("RING").context("the build lacks the map RING")?)?;
    let mut reader = CounterReader::new(&mut ebpf, Arc::clone(&arrays))?;
    let watcher = Watcher::new(&mut ebpf, arrays, reader.clone(), options)?;
    let btf = if options.btf.is_none() { aya::Btf::from_sys_fs().ok() } else { None };
    let mut cpu_events = CpuEvents::default();
    let mut reports = programs::attach_all(&mut ebpf, &mut cpu_events, btf.as_ref(), PROBES, options.stacks_hz);
    if options.timeline.is_some() {
        reports.extend(programs::attach_all(&mut ebpf, &mut cpu_events, btf.as_ref(), timeline::PROBES, 0));
    }
    let load_custom = |room| CustomKernel::load(&mut ebpf, room, options.services, &mut reports);
    let custom = options.custom.map(load_custom).transpose()?;
    reader.watch_programs(&ebpf);
    drop(btf);
    release_memory();
    Ok(Loaded { ebpf, ring, watcher, reader, reports, cpu_events, custom })
}

fn array_fd<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a aya::maps::MapFd> {
    match ebpf.map(name) {
        Some(aya::maps::Map::Array(data)) => Ok(data.fd()),
        _ => bail!("the build lacks the array {name}"),
    }
}

/// Reading the kernel's BTF takes tens of megabytes for a moment; the allocator gives them back only when asked.
fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

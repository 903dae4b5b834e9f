//! Writes to the kernel side: who is watched, which connections are not worth capturing. Owned by one task.

use std::{
    collections::{HashMap as StdMap, HashSet},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, Queue},
};
use inferscope_abi::{
    CONNECTION_IGNORED, Connection, FileKey, LOG_MARK_FILE, LOG_MARK_OTHER, NO_SYSCALL, Process, STATE_UNKNOWN,
    THREAD_FOUND, TRAIT_PYTHON, TRAIT_ZMTP, Thread, WAIT_NONE, Wait,
};

use super::{
    Arrays, CounterReader, LoadOptions,
    shared::{Plain, Wire},
};

/// Of an update of a map: only where there is no entry, or only where there is one.
const BPF_NOEXIST: u64 = 1;
const BPF_EXIST: u64 = 2;

/// The writing side of the maps that say who is watched.
pub struct Watcher {
    arrays: Arc<Arrays>,
    reader: CounterReader,
    free_slots: Queue<MapData, u32>,
    live: HashMap<MapData, u32, u32>,
    threads: HashMap<MapData, u32, Wire<Thread>>,
    connections: HashMap<MapData, u64, Wire<Connection>>,
    traits: Array<MapData, u32>,
    log_marks: HashMap<MapData, Wire<FileKey>, u32>,
    /// Whether anybody wants what is said within an engine.
    engines: bool,
    /// What was watched by us or inherited, so that it can be taken back.
    watched: StdMap<u32, u32>,
    /// Connections that the session layer did not know at the last sweep.
    suspects: HashSet<u64>,
    /// Connections that the kernel side has room for.
    capacity: u32,
    /// What threads were doing when their watch began, for a timeline; None: there is none.
    found: Option<Vec<FoundThread>>,
}

/// A thread that was there when the watch of its process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundThread {
    pub tgid: u32,
    pub tid: u32,
    /// The call that it was blocked in; None: it was on a CPU, waited for one, or for a page.
    pub syscall: Option<u32>,
    /// The call is on a socket.
    pub on_socket: bool,
}

pub(super) fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T>
where
    T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).with_context(|| format!("the build lacks the map {name}"))?;
    T::try_from(map).with_context(|| format!("map {name} has another type than this agent expects"))
}

fn zeroed<T: Plain>() -> T {
    // SAFETY: every bit pattern of a `Plain` type is a value.
    unsafe { std::mem::zeroed() }
}

impl Watcher {
    pub(super) fn new(
        ebpf: &mut Ebpf,
        arrays: Arc<Arrays>,
        reader: CounterReader,
        options: &LoadOptions<'_>,
    ) -> Result<Self> {
        let slots = options.processes;
        if slots > u32::from(u16::MAX) {
            bail!("limits.processes is {slots}: the kernel side has marks for {} at most", u16::MAX);
        }
        let mut free_slots: Queue<MapData, u32> = take(ebpf, "FREE_SLOTS")?;
        for slot in 0..slots {
            free_slots.push(slot, 0).context("cannot fill the map FREE_SLOTS")?;
        }
        Ok(Self {
            arrays,
            reader,
            free_slots,
            live: take(ebpf, "LIVE")?,
            threads: take(ebpf, "THREAD")?,
            connections: take(ebpf, "CONNECTION")?,
            traits: take(ebpf, "TRAITS")?,
            log_marks: take(ebpf, "LOG_MARK")?,
            engines: options.engines,
            watched: StdMap::new(),
            suspects: HashSet::new(),
            capacity: options.connections,
            found: options.timeline.is_some().then(Vec::new),
        })
    }

    /// Whether a service's processes may speak ZMTP among themselves, and whether Python's interpreter runs in one of
    /// them: what belongs to that is looked for only then.
    pub fn expect(&mut self, service: u32, zmtp: bool, python: bool) {
        let zmtp = if zmtp && self.engines { TRAIT_ZMTP } else { 0 };
        // An index beyond the array is no service.
        let _ = self.traits.set(service, zmtp | if python { TRAIT_PYTHON } else { 0 }, 0);
    }

    /// Tells the kernel side whether a file is a log. It forgets that of files that nobody has written to for long.
    pub fn mark_file(&mut self, file: FileKey, is_log: bool) {
        // Without the mark it asks again.
        let _ = self.log_marks.insert(Wire(file), if is_log { LOG_MARK_FILE } else { LOG_MARK_OTHER }, 0);
    }

    /// Whether the kernel side watches this process now.
    pub fn is_watched(&self, tgid: u32) -> bool {
        self.arrays.watched.get(tgid as usize).is_some_and(|mark| mark != 0)
    }

    /// Watches a process as part of a service. Its threads that exist already are counted from their next
    /// transition on; the call that each is in is read from /proc, so that its reason is known.
    pub fn watch(&mut self, tgid: u32, service: u32, now_ns: u64) -> Result<()> {
        if tgid == std::process::id() || self.is_watched(tgid) {
            return Ok(());
        }
        if tgid as usize >= self.arrays.watched.len() {
            bail!("process id {tgid} is beyond the kernel's limit at start; restart the agent to watch it");
        }
        let slot = match self.free_slots.pop(0) {
            Ok(slot) => slot,
            Err(_) => bail!("no room to watch process {tgid}: raise limits.processes in the configuration"),
        };
        self.arrays.process.set(slot as usize, Process { tgid, service, since_ns: now_ns, ..zeroed() });
        // Whoever has the entry watches the process: the kernel side may have seen it begin meanwhile.
        if let Err(error) = self.live.insert(tgid, slot, BPF_NOEXIST) {
            let _ = self.free_slots.push(slot, 0);
            return match self.live.get(&tgid, 0) {
                Ok(_) => Ok(()),
                Err(_) => Err(error).with_context(|| format!("no room to watch process {tgid}")),
            };
        }
        for tid in threads_of(tgid) {
            let (syscall, descriptor) = current_syscall(tgid, tid).unzip();
            if let Some(found) = &mut self.found {
                let on_socket = descriptor.is_some_and(|fd| is_socket(tgid, fd));
                found.push(FoundThread { tgid, tid, syscall, on_socket });
            }
            let thread = Thread {
                tgid,
                state: STATE_UNKNOWN,
                syscall: syscall.unwrap_or(NO_SYSCALL),
                syscall_since_ns: now_ns,
                flags: THREAD_FOUND,
                wait: Wait { state: WAIT_NONE, ..Wait::default() },
                ..zeroed()
            };
            // The kernel side makes an entry by itself where this one does not fit, and counts it.
            let _ = self.threads.insert(tid, Wire(thread), 0);
        }
        self.arrays.watched.set(tgid as usize, slot as u16 + 1);
        self.watched.insert(tgid, service);
        Ok(())
    }

    /// Makes a watched process part of another service: from one event to the next, so that nothing of what it does
    /// meanwhile is missed. The states that its threads are in end as the former service's.
    pub fn hand_over(&mut self, tgid: u32, service: u32) -> bool {
        let Some(mark) = self.arrays.watched.get(tgid as usize).filter(|mark| *mark != 0) else { return false };
        let theirs = self.arrays.process.set_service(usize::from(mark) - 1, service);
        if theirs {
            self.watched.insert(tgid, service);
        }
        theirs
    }

    /// The threads whose watch began since the last call, if a timeline is recorded.
    pub fn take_found(&mut self) -> Vec<FoundThread> {
        self.found.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What each thread of the watched processes is doing. One system call per thread.
    pub fn threads(&self) -> Vec<(u32, Thread)> {
        let all = self.threads.iter().filter_map(Result::ok).map(|(tid, Wire(thread))| (tid, thread));
        all.filter(|(_, thread)| self.is_watched(thread.tgid)).collect()
    }

    /// Ends the watch of a live process.
    pub fn unwatch(&mut self, tgid: u32) {
        let Some(mark) = self.arrays.watched.get(tgid as usize).filter(|mark| *mark != 0) else { return };
        self.arrays.watched.set(tgid as usize, 0);
        if self.live.remove(&tgid).is_err() {
            // It has just ended: the kernel side gave its slot back.
            self.watched.remove(&tgid);
            return;
        }
        for tid in threads_of(tgid) {
            let _ = self.threads.remove(&tid);
        }
        self.reader.forget_syscalls(tgid);
        let _ = self.free_slots.push(u32::from(mark) - 1, 0);
        self.watched.remove(&tgid);
    }

    /// The processes that the kernel side watches for a service now. One system call per watched process of the host.
    pub fn of_service(&self, service: u32) -> Vec<u32> {
        let theirs = |slot: u32| self.arrays.process.get(slot as usize).is_some_and(|p| p.service == service);
        self.live.iter().filter_map(Result::ok).filter(|(_, slot)| theirs(*slot)).map(|(tgid, _)| tgid).collect()
    }

    /// The kernel side need not copy this connection any more.
    pub fn ignore_connection(&mut self, socket: u64) {
        if let Ok(Wire(connection)) = self.connections.get(&socket, 0) {
            let ignored = Connection { state: CONNECTION_IGNORED, ..connection };
            // Not one that has been closed meanwhile.
            let _ = self.connections.insert(socket, Wire(ignored), BPF_EXIST);
        }
    }

    /// Takes out connections that were not closed by their process (it was killed, say): those that the session layer
    /// did not know at the last sweep and does not know now. Ignored ones stay while there is room, so that they are
    /// not taken up again.
    pub fn sweep_connections(&mut self, known: impl Fn(u64) -> bool) {
        let sockets: Vec<u64> = self.connections.keys().filter_map(Result::ok).collect();
        let crowded = sockets.len() > self.capacity as usize / 4 * 3;
        let mut suspects = HashSet::new();
        for socket in sockets.into_iter().filter(|socket| !known(*socket)) {
            if !self.suspects.contains(&socket) {
                suspects.insert(socket);
                continue;
            }
            let ignored = self.connections.get(&socket, 0).is_ok_and(|Wire(c)| c.state == CONNECTION_IGNORED);
            if !ignored || crowded {
                let _ = self.connections.remove(&socket);
            }
        }
        self.suspects = suspects;
    }

    /// Takes out threads that are gone and whose last switch came when their process was not watched any more. Where
    /// the kernel left out the run that would have ended a thread's state, it ends here.
    pub fn sweep_threads(&mut self, now_ns: u64) {
        let gone = |tid: &u32| !std::path::Path::new(&format!("/proc/{tid}")).exists();
        let dead: Vec<u32> = self.threads.keys().filter_map(Result::ok).filter(gone).collect();
        for tid in dead {
            let Ok(Wire(thread)) = self.threads.get(&tid, 0) else { continue };
            if self.threads.remove(&tid).is_ok() {
                self.arrays.close(&thread, now_ns);
            }
        }
    }
}

fn threads_of(tgid: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{tgid}/task")) else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str().and_then(|name| name.parse().ok())).collect()
}

/// Number and first argument of the call that a thread is blocked in, from /proc/PID/task/TID/syscall.
fn current_syscall(tgid: u32, tid: u32) -> Option<(u32, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{tgid}/task/{tid}/syscall")).ok()?;
    let mut words = text.split_ascii_whitespace();
    let number = words.next()?.parse::<i64>().ok().and_then(|n| u32::try_from(n).ok())?;
    let argument = words.next().and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    Some((number, argument.unwrap_or(u64::MAX)))
}

fn is_socket(tgid: u32, descriptor: u64) -> bool {
    std::fs::read_link(format!("/proc/{tgid}/fd/{descriptor}"))
        .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
}

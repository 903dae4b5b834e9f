//! What each CPU ran, gathered into bundles: a switch to the thread when its run begins, a switch away when it ends.
//! What other processes did between is not known and is drawn as idle.

use inferscope_abi::{STATE_BLOCK_IO, STATE_FAULT};

use super::{
    form::{Next, Run},
    ftrace::{BlockedReason, Bundle, Event, Renamed, Switches, Waking},
    proto::Packet,
    sink::Sink,
};

/// Switches, or other events, after which a bundle is written.
const BUNDLE: usize = 1024;
/// CPUs that are told apart.
const CPUS: usize = 4096;
/// Priority of an ordinary thread; what it really is is not asked.
const PRIORITY: i32 = 120;
/// The kernel's TASK_RUNNING, TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE and EXIT_DEAD.
const RUNNABLE: i64 = 0;
const ASLEEP: i64 = 1;
const ASLEEP_DEEP: i64 = 2;
const DEAD: i64 = 16;

/// Number of a reason among the interned kernel symbols.
pub fn reason_iid(state: usize) -> u64 {
    state as u64 + 1
}

fn state_of(next: Next) -> i64 {
    match next {
        Next::Ended => DEAD,
        Next::Preempted => RUNNABLE,
        Next::Blocked(STATE_BLOCK_IO | STATE_FAULT) => ASLEEP_DEEP,
        Next::Blocked(_) => ASLEEP,
    }
}

#[derive(Default)]
struct Cpu {
    begun: bool,
    /// Time of the last switch in `switches`.
    last_ns: u64,
    switches: Switches,
    /// The last run's end, which is a switch to the next run if that begins at once.
    left: Option<(u64, i64)>,
    events: Vec<Event>,
}

impl Cpu {
    fn switch(&mut self, at_ns: u64, prev_state: i64, next: i32, name: &str) {
        let delta = if self.switches.timestamp.is_empty() { at_ns } else { at_ns.saturating_sub(self.last_ns) };
        self.last_ns = if self.switches.timestamp.is_empty() { at_ns } else { self.last_ns + delta };
        let known = self.switches.names.iter().position(|known| known == name);
        let name = known.unwrap_or_else(|| {
            self.switches.names.push(name.to_owned());
            self.switches.names.len() - 1
        });
        self.switches.timestamp.push(delta);
        self.switches.prev_state.push(prev_state);
        self.switches.next_tid.push(next);
        self.switches.next_priority.push(PRIORITY);
        self.switches.next_name.push(name as u32);
    }

    /// Of the first switch a reader only takes whom it brought.
    fn begin(&mut self, at_ns: u64) {
        if !std::mem::replace(&mut self.begun, true) {
            self.switch(at_ns, RUNNABLE, 0, "");
        }
    }

    fn run(&mut self, tid: u32, name: &str, oncpu_ns: u64, left: Option<(u64, Next)>) {
        match self.left.take() {
            Some((at_ns, state)) if at_ns >= oncpu_ns => self.switch(at_ns, state, tid as i32, name),
            Some((at_ns, state)) => {
                self.switch(at_ns, state, 0, "");
                self.switch(oncpu_ns, RUNNABLE, tid as i32, name);
            }
            None => self.switch(oncpu_ns, RUNNABLE, tid as i32, name),
        }
        self.left = left.map(|(at_ns, next)| (at_ns, state_of(next)));
    }
}

/// Every CPU on which a watched thread ran or was woken.
#[derive(Default)]
pub struct Cpus {
    all: Vec<Cpu>,
    pub began_ns: u64,
    /// What must be added to CLOCK_MONOTONIC to make CLOCK_BOOTTIME of it.
    pub boot_offset_ns: u64,
}

impl Cpus {
    fn cpu(&mut self, cpu: u16) -> &mut Cpu {
        let at = usize::from(cpu).min(CPUS - 1);
        if self.all.len() <= at {
            self.all.resize_with(at + 1, Cpu::default);
        }
        let began_ns = self.began_ns + self.boot_offset_ns;
        let cpu = &mut self.all[at];
        cpu.begin(began_ns);
        cpu
    }

    /// A thread that was blocked when the recording began: a run of no length before anything else.
    pub fn found(&mut self, sink: &mut Sink, tid: u32, name: &str, began_ns: u64) {
        let mut cpu = Cpu { begun: true, ..Cpu::default() };
        cpu.switch(began_ns + self.boot_offset_ns, RUNNABLE, tid as i32, name);
        cpu.switch(began_ns + self.boot_offset_ns, ASLEEP, 0, "");
        // The bundle before this one must have named whom CPU 0 ran.
        self.cpu(0);
        self.flush(sink, 0);
        put(sink, 0, &mut cpu);
    }

    /// A run and how it came to it. `now_ns`: when that was told, for what has not come to it yet.
    pub fn run(&mut self, sink: &mut Sink, run: &Run, name: &str, now_ns: u64) {
        let offset = self.boot_offset_ns;
        let (waker, waker_cpu) = run.waker.unwrap_or((0, run.cpu));
        let event = || Event { tid: Some(waker), ..Event::default() };
        if let Some((_, state)) = run.blocked {
            let at_ns = run.runnable_ns.or(run.oncpu_ns).unwrap_or(now_ns);
            let io_wait = (state == STATE_BLOCK_IO).then_some(1);
            let blocked = BlockedReason { tid: Some(run.tid as i32), caller: Some(reason_iid(state)), io_wait };
            let event = Event { timestamp: Some(at_ns + offset), blocked: Some(blocked), ..event() };
            self.cpu(waker_cpu).events.push(event);
        }
        if let (Some(at_ns), Some(_)) = (run.runnable_ns, run.waker) {
            let target_cpu = (run.cpu != waker_cpu).then_some(i32::from(run.cpu));
            let waking = Waking { tid: Some(run.tid as i32), priority: Some(PRIORITY), success: Some(1), target_cpu };
            let event = Event { timestamp: Some(at_ns + offset), waking: Some(waking), ..event() };
            self.cpu(waker_cpu).events.push(event);
        }
        if let Some(oncpu_ns) = run.oncpu_ns {
            let left = run.left.map(|(at_ns, next)| (at_ns + offset, next));
            self.cpu(run.cpu).run(run.tid, name, oncpu_ns + offset, left);
        }
        for cpu in [waker_cpu, run.cpu] {
            self.flush_if_full(sink, usize::from(cpu).min(CPUS - 1));
        }
    }

    /// A thread has this name from now on; on which CPU it was is not known.
    pub fn renamed(&mut self, sink: &mut Sink, tid: u32, name: &str, at_ns: u64) {
        let timestamp = Some(at_ns + self.boot_offset_ns);
        let renamed = Some(Renamed { tid: Some(tid as i32), name: Some(name.to_owned()) });
        self.cpu(0).events.push(Event { timestamp, tid: Some(tid), renamed, ..Event::default() });
        self.flush_if_full(sink, 0);
    }

    fn flush_if_full(&mut self, sink: &mut Sink, at: usize) {
        let full = |cpu: &Cpu| cpu.events.len() >= BUNDLE || cpu.switches.timestamp.len() >= BUNDLE;
        if self.all.get(at).is_some_and(full) {
            self.flush(sink, at);
        }
    }

    fn flush(&mut self, sink: &mut Sink, at: usize) {
        put(sink, at, &mut self.all[at]);
    }

    /// Writes what is left.
    pub fn finish(&mut self, sink: &mut Sink) {
        for at in 0..self.all.len() {
            if let Some((at_ns, state)) = self.all[at].left.take() {
                self.all[at].switch(at_ns, state, 0, "");
            }
            self.flush(sink, at);
        }
    }
}

fn put(sink: &mut Sink, at: usize, cpu: &mut Cpu) {
    if cpu.switches.timestamp.is_empty() && cpu.events.is_empty() {
        return;
    }
    let compact = Some(std::mem::take(&mut cpu.switches)).filter(|switches| !switches.timestamp.is_empty());
    let bundle = Bundle { cpu: Some(at as u32), event: std::mem::take(&mut cpu.events), compact };
    sink.packet(&Packet { ftrace: Some(bundle), ..super::tracks::sequenced() });
}

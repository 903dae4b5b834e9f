//! An agent without kernel programs: made-up services whose made-up requests take the way of real ones, from exchange to
//! record to verdict to history. Whatever the page and the API show of it comes from the agent's own code.

use std::{
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

use agent::{
    clock::monotonic_ns,
    correlate::{self, GpuWindow, Judge, Labels},
    events::Journal,
    export::web::{History, Source},
    identity::Identities,
    poll::{
        nvml::{
            DeviceReading, GpuSnapshot, MemoryReading, NvmlHealth, ProcessKind, ProcessReading, ProcessUtilization,
        },
        procfs::{self, ProcReader},
    },
    probe::ProbeReport,
    services::{Homes, ProcessView, ServiceTable, ServiceView, SharedServices},
    session::exchange::{Ending, Exchange, GapCounts, LlmExchange, Mark, Role, Sending},
    shared::{self, Live},
};
use inferscope_abi::{
    Kind, STATE_BLOCK_IO, STATE_FUTEX, STATE_LOCK, STATE_ONCPU, STATE_POLL, STATE_RUNQUEUE, Snapshot,
};

const MODELS: [&str; 8] = [
    "Llama-3.1-8B-Instruct",
    "Qwen2.5-32B-Instruct",
    "Mistral-7B-v0.3",
    "gemma-2-27b-it",
    "DeepSeek-R1-Distill-14B",
    "phi-4",
    "SmolLM2-135M",
    "bge-m3",
];
const ENGINES: [&str; 4] = ["vllm", "sglang", "llama_cpp", "ollama"];
/// Names that a server may give itself.
pub const HOSTILE: [&str; 5] = [
    "<img src=x onerror=\"window.injected=1\">",
    "\"><script>window.injected=1</script>",
    "';window.injected=1;//${window.injected=1}",
    "\u{202e}desrever\u{0000}\u{0007}<b>bold</b>",
    "javascript:window.injected=1&lt;x&gt;%3Cscript%3E",
];

/// The agent. Services do not come and go.
pub struct MadeUp {
    pub history: History,
    pub journal: Journal,
    pub services: SharedServices,
    pub live: Live,
    probes: Vec<ProbeReport>,
    judge: Mutex<Judge>,
    began: Instant,
    started: SystemTime,
    gpus: usize,
}

fn seconds_ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn probes() -> Vec<ProbeReport> {
    let probe = |probe, program, required, hook: Option<&str>, error: Option<&str>, gives| {
        let text = |text: Option<&str>| text.map(str::to_owned);
        ProbeReport { probe, program, required, hook: text(hook), error: text(error), gives }
    };
    vec![
        probe("process", "sched_process_exec", true, Some("tp_btf:sched_process_exec"), None, "new processes"),
        probe("syscall", "sys_enter", true, Some("tp_btf:sys_enter"), None, "requests, tokens, times"),
        probe("sched", "sched_switch", false, Some("tp_btf:sched_switch"), None, "on-CPU and run-queue time"),
        probe("block", "block_rq_issue", false, None, Some("not permitted <b>here</b>"), "disk requests and bytes"),
    ]
}

impl MadeUp {
    /// With so many services, the first of which have hostile names if that is wanted, and so many GPUs.
    pub fn new(services: usize, hostile: bool, gpus: usize) -> Self {
        let table = (0..services).map(|index| Arc::new(view(index, hostile))).collect();
        let shared = SharedServices::default();
        shared.publish(table, Homes::default());
        Self {
            history: History::new(256.max(services)),
            journal: Journal::default(),
            services: shared,
            live: Live::default(),
            probes: probes(),
            judge: Mutex::default(),
            began: Instant::now(),
            started: SystemTime::now(),
            gpus,
        }
    }

    /// A request to the service of this number that ends at `end_ns`.
    pub fn request(&self, service: usize, end_ns: u64) {
        self.live.count(Kind::Payload);
        let table = self.services.table();
        let Some(view) = table.get(service) else { return };
        let exchange = exchange(view, service, end_ns);
        let labels = Labels { service: &view.name, engine: &view.engine, model: view.model.as_deref() };
        let mut request = correlate::request(exchange, &labels);
        let gpu = (service < self.gpus).then_some(GpuWindow { busy: 0.5 + 0.4 * fastrand::f64(), throttled: false });
        self.judge.lock().expect("not poisoned").judge(&mut request, gpu);
        self.history.observe(&Arc::new(request));
    }

    /// Says how many requests are in flight, and that the pipeline turns.
    pub fn publish(&self, in_flight: impl Fn(usize) -> u64) {
        let table = self.services.table();
        let each = table.iter().enumerate();
        let by_service = each.map(|(index, view)| ((view.name.clone(), view.ports[0]), in_flight(index)));
        let snapshot = shared::Snapshot { connections: 431, in_flight: by_service.collect(), ..Default::default() };
        self.live.publish(snapshot);
        self.live.turned_ns.store(monotonic_ns(), std::sync::atomic::Ordering::Relaxed);
    }

    fn gpu(&self, index: u32, table: &ServiceTable) -> DeviceReading {
        let busy = 0.62 + 0.3 * (self.began.elapsed().as_secs_f64() / 7.0 + f64::from(index)).sin();
        let processes = table.iter().skip(index as usize).step_by(self.gpus.max(1)).take(2).map(|view| {
            let utilization = ProcessUtilization { sm: busy * 0.45, ..ProcessUtilization::default() };
            ProcessReading {
                pid: view.pid,
                kind: ProcessKind::Compute,
                used_memory_bytes: Some(21 << 30),
                gi: None,
                ci: None,
                utilization: Some(utilization),
            }
        });
        DeviceReading {
            index,
            uuid: format!("GPU-{index:08x}-0000-4000-8000-000000000000"),
            name: "NVIDIA H100 80GB HBM3".into(),
            utilization_gpu: Some(busy),
            utilization_memory: Some(busy * 0.6),
            memory: Some(MemoryReading {
                total_bytes: 80 << 30,
                used_bytes: (43 + u64::from(index)) << 30,
                free_bytes: 36 << 30,
                reserved_bytes: 0,
            }),
            power_watts: Some(250.0 + 400.0 * busy),
            power_limit_watts: Some(700.0),
            temperature_celsius: Some(48.0 + 30.0 * busy),
            sm_clock_hertz: Some(1.98e9),
            throttle_reasons: Some(if index == 1 { 0x4 } else { 0 }),
            processes: Some(processes.collect()),
            ..DeviceReading::default()
        }
    }
}

fn view(index: usize, hostile: bool) -> ServiceView {
    let (engine, model) = (ENGINES[index % ENGINES.len()], MODELS[index % MODELS.len()]);
    let evil = HOSTILE.get(index).filter(|_| hostile).map(|name| (*name).to_owned());
    let pid = 10_000 + 7 * index as u32;
    let workers = if engine == "vllm" { 2 } else { 1 };
    let process = |n: u32| ProcessView { pid: pid + n, comm: if n == 0 { engine.into() } else { "worker".into() } };
    ServiceView {
        index: index as u32 + 1,
        name: evil.clone().unwrap_or_else(|| format!("{engine}-{}-{index:03}", model.to_lowercase())),
        engine: engine.into(),
        version: Some("0.11.2".into()),
        model: Some(evil.unwrap_or_else(|| model.into())),
        ports: vec![8000 + index as u16],
        pid,
        container: None,
        processes: (0..workers).map(process).collect(),
    }
}

/// What keeps a request of each kind, as thread-seconds of states per second of its time.
fn kept_by(kind: usize) -> &'static [(usize, f64)] {
    match kind {
        0 => &[(STATE_RUNQUEUE, 2.2), (STATE_ONCPU, 1.0)],
        1 => &[(STATE_LOCK, 1.0), (STATE_ONCPU, 0.2)],
        2 => &[(STATE_BLOCK_IO, 0.8), (STATE_ONCPU, 0.2)],
        _ => &[(STATE_ONCPU, 0.55), (STATE_RUNQUEUE, 0.02), (STATE_FUTEX, 3.0), (STATE_POLL, 1.0)],
    }
}

fn exchange(view: &ServiceView, service: usize, end_ns: u64) -> Exchange {
    let chance = fastrand::f64();
    let usual = 1.0 + service as f64 % 5.0 / 4.0;
    let kind = if chance < 0.03 { fastrand::usize(0..3) } else { 9 };
    let slow = if kind < 3 { 4.0 + 4.0 * fastrand::f64() } else { 0.8 + 0.4 * fastrand::f64() };
    let output = fastrand::u64(40..160);
    let (ttft_s, tpot_s) = (0.12 * usual * slow, 0.014 * usual * slow.sqrt());
    let duration_s = ttft_s + tpot_s * output as f64;
    let start_ns = end_ns.saturating_sub(seconds_ns(duration_s));
    let mark = |at_s: f64| {
        let mut snapshot = Snapshot { at_ns: start_ns + seconds_ns(at_s), ..Snapshot::default() };
        kept_by(kind).iter().for_each(|(state, rate)| snapshot.state_ns[*state] = seconds_ns(at_s * rate));
        Mark { at_ns: snapshot.at_ns, service: view.index, snapshot }
    };
    let failed = fastrand::f64() < 0.01;
    let (first, last) = (mark(ttft_s), mark(duration_s - 0.001));
    Exchange {
        role: Role::Server,
        tgid: view.pid,
        service: view.index,
        server_port: view.ports[0],
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        status: if failed { 503 } else { 200 },
        start: mark(0.0),
        request_end: Some(mark(0.001)),
        first_byte: Some(mark(ttft_s * 0.9)),
        first_content: (!failed).then_some(first),
        last_content: (!failed).then_some(last),
        end: mark(duration_s),
        ending: Ending::Complete,
        request_bytes: 900,
        response_bytes: 230 * output,
        content_chunks: output,
        gap: false,
        chunk_gaps: GapCounts::default(),
        chunk_times_ns: Vec::new(),
        others_in_flight: 1.0 + usual,
        sending: Sending { calls: output as u32, rtt_us: 300, ..Sending::default() },
        traceparent: None,
        request_id: None,
        subject: None,
        llm: Some(said(view, output)),
        engine: None,
        fields: None,
        said: None,
    }
}

/// What the bodies say.
fn said(view: &ServiceView, output: u64) -> LlmExchange {
    LlmExchange {
        dialect: "openai_chat",
        operation: "chat",
        request_model: view.model.clone(),
        response_model: view.model.clone(),
        id: Some(format!("chatcmpl-{:016x}", fastrand::u64(..))),
        stream: true,
        input_tokens: Some(fastrand::u64(200..900)),
        output_tokens: Some(output),
        finish_reason: Some("stop".into()),
        ..LlmExchange::default()
    }
}

impl Source for MadeUp {
    fn history(&self) -> &History {
        &self.history
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn services(&self) -> ServiceTable {
        self.services.table()
    }

    fn live(&self) -> &Live {
        &self.live
    }

    fn counters(&self, index: u32) -> Option<Snapshot> {
        let mut now = Snapshot { at_ns: monotonic_ns(), ..Snapshot::default() };
        let elapsed_ns = self.began.elapsed().as_nanos() as u64;
        now.state_ns[STATE_ONCPU] = elapsed_ns * (u64::from(index) % 7 + 1) / 4;
        now.state_ns[STATE_RUNQUEUE] = elapsed_ns * (u64::from(index) % 3) / 10;
        Some(now)
    }

    fn gpus(&self) -> Option<Arc<GpuSnapshot>> {
        let table = self.services.table();
        let devices = (0..self.gpus as u32).map(|index| self.gpu(index, &table)).collect();
        let health = match self.gpus {
            0 => NvmlHealth::Absent { reason: "libnvidia-ml.so.1 is not there".into() },
            _ => NvmlHealth::Ok,
        };
        let now = Some(Instant::now());
        Some(Arc::new(GpuSnapshot { at_ns: monotonic_ns(), at: now, health, devices, ..GpuSnapshot::empty() }))
    }

    fn own(&self) -> Option<procfs::ProcessReading> {
        ProcReader::new().read(std::process::id()).ok().flatten()
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        vec![("ring_payload", 0), ("ring_event", 0), ("candidates", 3), ("records", 0)]
    }

    fn probes(&self) -> &[ProbeReport] {
        &self.probes
    }

    fn identities(&self) -> Option<&Identities> {
        None
    }

    fn healthy(&self) -> bool {
        true
    }

    fn started(&self) -> SystemTime {
        self.started
    }
}

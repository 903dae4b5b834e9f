//! What spans and log records say of a request: the record's fields under OpenTelemetry's names where it has them, else
//! as `inferscope.FIELD`. Computes nothing; holds no text of prompts and completions, as the record holds none.

use std::sync::LazyLock;

use inferscope_abi::{FIRST_OFFCPU_STATE, STATE_NAMES, STATES};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

use crate::{
    correlate::{CAUSE_NAMES, CAUSES, Causes, EngineTimes, HostShare, Request, Verdict},
    identity::Home,
};

/// Longest text of a value, in characters.
const TEXT_CHARS: usize = 256;

/// Attributes under construction. What is absent has none.
#[derive(Debug, Default)]
pub struct Attributes(pub Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: &str, value: Value) {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }

    /// A text, cut where it is too long.
    pub fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.add(key, Value::StringValue(cut(value)));
        }
    }

    /// A count, if it is known.
    pub fn int(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(key, i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: i64) {
        self.add(key, Value::IntValue(value));
    }

    /// A figure, if it is known.
    pub fn seconds(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.add(key, Value::DoubleValue(value));
        }
    }

    /// A yes or no.
    pub fn flag(&mut self, key: &str, value: bool) {
        self.add(key, Value::BoolValue(value));
    }

    /// What the engine did behind its HTTP front.
    pub fn engine(&mut self, times: &EngineTimes) {
        let seconds = [
            ("inferscope.engine.handover_s", times.handover_s),
            ("inferscope.engine.queue_s", times.queue_s),
            ("inferscope.engine.prefill_s", times.prefill_s),
            ("inferscope.engine.decode_s", times.decode_s),
        ];
        seconds.into_iter().for_each(|(key, value)| self.seconds(key, value));
        let counts = [
            ("inferscope.engine.in_flight", Some(times.in_flight)),
            ("inferscope.engine.running", times.running),
            ("inferscope.engine.waiting", times.waiting),
            ("inferscope.engine.output_tokens", Some(times.output_tokens)),
        ];
        counts.into_iter().for_each(|(key, value)| self.int(key, value));
    }

    /// Seconds of a phase by cause, those that are not 0.
    pub fn causes(&mut self, phase: Phase, causes: Option<&Causes>) {
        let keys = KEYS[phase as usize].causes.iter();
        for (key, seconds) in keys.zip(causes.map(|causes| causes.0).into_iter().flatten()) {
            self.seconds(key, Some(seconds).filter(|seconds| *seconds > 0.0));
        }
    }

    /// The host's share of a phase: CPU and run queue always, of the rest what is not 0.
    pub fn share(&mut self, phase: Phase, share: Option<&HostShare>) {
        let Some(share) = share else { return };
        let keys = &KEYS[phase as usize];
        let some = |value: f64| Some(value).filter(|value| *value > 0.0);
        self.seconds(&keys.oncpu_s, Some(share.oncpu_s));
        self.seconds(&keys.runqueue_s, Some(share.runqueue_s));
        for (key, seconds) in keys.offcpu_s.iter().zip(share.offcpu_s) {
            self.seconds(key, some(seconds));
        }
        self.int(&keys.major_faults, Some(share.major_faults).filter(|faults| *faults != 0));
        self.seconds(&keys.block_io_s, some(share.block_io_s));
        self.int(&keys.block_io_bytes, Some(share.block_io_bytes).filter(|bytes| *bytes != 0));
    }
}

/// What a figure is of.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub enum Phase {
    Prefill,
    Decode,
    Total,
}

impl Phase {
    /// Its name.
    pub fn name(self) -> &'static str {
        ["prefill", "decode", "total"][self as usize]
    }
}

/// The names of a phase's figures: put together once, not for each request.
struct Keys {
    causes: [String; CAUSES],
    oncpu_s: String,
    runqueue_s: String,
    offcpu_s: [String; STATES - FIRST_OFFCPU_STATE],
    major_faults: String,
    block_io_s: String,
    block_io_bytes: String,
}

static KEYS: LazyLock<[Keys; 3]> = LazyLock::new(|| {
    [Phase::Prefill, Phase::Decode, Phase::Total].map(|phase| {
        let phase = phase.name();
        let key = |field: &str| format!("inferscope.host.{phase}.{field}");
        Keys {
            causes: CAUSE_NAMES.map(|cause| format!("inferscope.cause.{phase}.{cause}_s")),
            oncpu_s: key("oncpu_s"),
            runqueue_s: key("runqueue_s"),
            offcpu_s: std::array::from_fn(|at| key(&format!("offcpu_s.{}", STATE_NAMES[FIRST_OFFCPU_STATE + at]))),
            major_faults: key("major_faults"),
            block_io_s: key("block_io_s"),
            block_io_bytes: key("block_io_bytes"),
        }
    })
});

fn cut(text: &str) -> String {
    text.char_indices().nth(TEXT_CHARS).map_or(text, |(end, _)| &text[..end]).to_owned()
}

/// `{operation} {model}`, the name of the request's span.
pub fn name(request: &Request) -> String {
    let operation = request.operation.unwrap_or_default();
    match &request.model {
        Some(model) => format!("{operation} {}", cut(model)),
        None => operation.to_owned(),
    }
}

/// All of a request's attributes.
pub fn of(request: &Request) -> Vec<KeyValue> {
    let mut all = Attributes(Vec::with_capacity(48));
    gen_ai(request, &mut all);
    let not_zero = |number: u16| Some(u64::from(number)).filter(|number| *number != 0);
    all.int("server.port", not_zero(request.port));
    all.text("http.request.method", Some(&request.method));
    all.int("http.response.status_code", not_zero(request.status));
    all.text("url.path", Some(&request.path));
    all.text("error.type", request.error_type.as_deref());
    all.int("process.pid", Some(u64::from(request.pid)));
    all.text("inferscope.dialect", request.dialect);
    all.text("inferscope.request_id", request.request_id.as_deref());
    all.flag("inferscope.stream", request.stream);
    all.seconds("inferscope.duration_s", Some(request.duration_s));
    all.seconds("inferscope.ttfb_s", request.ttfb_s);
    all.seconds("inferscope.ttft_s", request.ttft_s);
    all.seconds("inferscope.tpot_s", request.tpot_s);
    all.int("inferscope.chunks", Some(request.chunks));
    all.int("inferscope.request_bytes", Some(request.request_bytes));
    all.int("inferscope.response_bytes", Some(request.response_bytes));
    if request.gap {
        all.flag("inferscope.gap", true);
    }
    home(&request.home, &mut all);
    finding(request, &mut all);
    all.share(Phase::Prefill, request.host.prefill.as_ref());
    all.share(Phase::Decode, request.host.decode.as_ref());
    all.share(Phase::Total, request.host.total.as_ref());
    all.0
}

/// Where the server is.
fn home(home: &Home, all: &mut Attributes) {
    all.text("container.id", home.container_id.as_deref());
    all.text("k8s.namespace.name", home.namespace.as_deref());
    all.text("k8s.pod.name", home.pod.as_deref());
    all.text("k8s.pod.uid", home.pod_uid.as_deref());
    all.text("k8s.container.name", home.container.as_deref());
    all.text("k8s.node.name", home.node.as_deref());
}

/// Why it took as long as it did.
fn finding(request: &Request, all: &mut Attributes) {
    let finding = &request.finding;
    all.text("inferscope.verdict", finding.verdict.map(Verdict::name));
    all.seconds("inferscope.verdict_confidence", finding.verdict_confidence);
    all.seconds("inferscope.slowdown", finding.slowdown);
    all.causes(Phase::Total, finding.causes.total.as_ref());
    let network = &request.network;
    all.int("inferscope.network.retransmits", Some(u64::from(network.retransmits)).filter(|again| *again != 0));
    all.seconds("inferscope.network.rtt_s", Some(network.rtt_s).filter(|rtt| *rtt > 0.0));
}

fn gen_ai(request: &Request, all: &mut Attributes) {
    all.text("gen_ai.operation.name", request.operation);
    all.text("gen_ai.provider.name", Some(&request.engine));
    all.text("gen_ai.request.model", request.request_model.as_deref());
    all.text("gen_ai.response.model", request.response_model.as_deref());
    all.text("gen_ai.response.id", request.id.as_deref());
    if let Some(reason) = &request.finish_reason {
        let reason = Value::StringValue(cut(reason));
        let values = vec![AnyValue { value: Some(reason) }];
        all.add("gen_ai.response.finish_reasons", Value::ArrayValue(ArrayValue { values }));
    }
    all.int("gen_ai.usage.input_tokens", request.input_tokens);
    let output = if request.tokens_estimated { "inferscope.tokens_estimated" } else { "gen_ai.usage.output_tokens" };
    all.int(output, request.output_tokens);
    all.int("gen_ai.usage.cache_read.input_tokens", request.cached_tokens);
}

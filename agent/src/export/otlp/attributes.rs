//! What spans and log records say of a request: the record's fields under OpenTelemetry's names where it has them, else
//! as `inferscope.FIELD`. Computes nothing; holds no text of prompts and completions, as the record holds none.

use inferscope_abi::{FIRST_OFFCPU_STATE, STATE_NAMES};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

use crate::correlate::{CAUSE_NAMES, Causes, EngineTimes, HostShare, Request, Verdict};

/// Longest text of a value, in characters.
const TEXT_CHARS: usize = 256;

/// Attributes under construction. What is absent has none.
#[derive(Debug, Default)]
pub struct Attributes(pub Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: impl Into<String>, value: Value) {
        self.0.push(KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() });
    }

    /// A text, cut where it is too long.
    pub fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.add(key, Value::StringValue(value.chars().take(TEXT_CHARS).collect()));
        }
    }

    fn int(&mut self, key: impl Into<String>, value: Option<u64>) {
        if let Some(value) = value {
            self.add(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
        }
    }

    fn seconds(&mut self, key: impl Into<String>, value: Option<f64>) {
        if let Some(value) = value {
            self.add(key, Value::DoubleValue(value));
        }
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.add(key, Value::BoolValue(value));
    }

    /// What the engine did behind its HTTP front.
    pub fn engine(&mut self, times: &EngineTimes) {
        let seconds = [
            ("handover_s", times.handover_s),
            ("queue_s", times.queue_s),
            ("prefill_s", times.prefill_s),
            ("decode_s", times.decode_s),
        ];
        seconds.into_iter().for_each(|(name, value)| self.seconds(format!("inferscope.engine.{name}"), value));
        let counts = [
            ("in_flight", Some(times.in_flight)),
            ("running", times.running),
            ("waiting", times.waiting),
            ("output_tokens", Some(times.output_tokens)),
        ];
        counts.into_iter().for_each(|(name, value)| self.int(format!("inferscope.engine.{name}"), value));
    }

    /// Seconds of a phase by cause, those that are not 0.
    pub fn causes(&mut self, phase: &str, causes: Option<&Causes>) {
        for (name, seconds) in CAUSE_NAMES.iter().zip(causes.map(|causes| causes.0).into_iter().flatten()) {
            self.seconds(format!("inferscope.cause.{phase}.{name}_s"), Some(seconds).filter(|seconds| *seconds > 0.0));
        }
    }

    /// The host's share of a phase: CPU and run queue always, of the rest what is not 0.
    pub fn share(&mut self, phase: &str, share: Option<&HostShare>) {
        let Some(share) = share else { return };
        let key = |field: &str| format!("inferscope.host.{phase}.{field}");
        let some = |value: f64| Some(value).filter(|value| *value > 0.0);
        self.seconds(key("oncpu_s"), Some(share.oncpu_s));
        self.seconds(key("runqueue_s"), Some(share.runqueue_s));
        for (reason, seconds) in STATE_NAMES[FIRST_OFFCPU_STATE..].iter().zip(share.offcpu_s) {
            self.seconds(key(&format!("offcpu_s.{reason}")), some(seconds));
        }
        self.int(key("major_faults"), Some(share.major_faults).filter(|faults| *faults != 0));
        self.seconds(key("block_io_s"), some(share.block_io_s));
        self.int(key("block_io_bytes"), Some(share.block_io_bytes).filter(|bytes| *bytes != 0));
    }
}

/// `{operation} {model}`, the name of the request's span.
pub fn name(request: &Request) -> String {
    let operation = request.operation.unwrap_or_default();
    match &request.model {
        Some(model) => format!("{operation} {}", model.chars().take(TEXT_CHARS).collect::<String>()),
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
    finding(request, &mut all);
    all.share("prefill", request.host.prefill.as_ref());
    all.share("decode", request.host.decode.as_ref());
    all.share("total", request.host.total.as_ref());
    all.0
}

/// Why it took as long as it did.
fn finding(request: &Request, all: &mut Attributes) {
    let finding = &request.finding;
    all.text("inferscope.verdict", finding.verdict.map(Verdict::name));
    all.seconds("inferscope.verdict_confidence", finding.verdict_confidence);
    all.seconds("inferscope.slowdown", finding.slowdown);
    all.causes("total", finding.causes.total.as_ref());
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
        let reason = Value::StringValue(reason.chars().take(TEXT_CHARS).collect());
        let values = vec![AnyValue { value: Some(reason) }];
        all.add("gen_ai.response.finish_reasons", Value::ArrayValue(ArrayValue { values }));
    }
    all.int("gen_ai.usage.input_tokens", request.input_tokens);
    let output = if request.tokens_estimated { "inferscope.tokens_estimated" } else { "gen_ai.usage.output_tokens" };
    all.int(output, request.output_tokens);
    all.int("gen_ai.usage.cache_read.input_tokens", request.cached_tokens);
}

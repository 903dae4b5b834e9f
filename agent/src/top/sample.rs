//! One scrape, summed up per service: the only file of `top` that knows which metrics it reads.

use std::collections::BTreeMap;

use super::text::Sample;
use crate::export::metrics;

/// What a sample adds to.
#[derive(Clone, Copy)]
enum Part {
    Requests,
    Ttft,
    Tpot,
    Tokens,
    EstimatedTokens,
    InFlight,
    OnCpu,
    RunQueue,
    GpuUtilization,
    GpuMemory,
    /// Shows that the service is watched.
    Presence,
}

/// Family, suffix of the sample's name, and where it goes.
const PARTS: [(&str, &str, Part); 11] = [
    (metrics::REQUEST_DURATION.name, "_count", Part::Requests),
    (metrics::REQUEST_TTFT.name, "_bucket", Part::Ttft),
    (metrics::REQUEST_TPOT.name, "_bucket", Part::Tpot),
    (metrics::TOKEN_USAGE.name, "_sum", Part::Tokens),
    (metrics::TOKENS_ESTIMATED.name, "", Part::EstimatedTokens),
    (metrics::HTTP_ACTIVE.name, "", Part::InFlight),
    (metrics::SERVICE_ONCPU.name, "", Part::OnCpu),
    (metrics::SERVICE_RUNQUEUE.name, "", Part::RunQueue),
    (metrics::PROCESS_GPU_UTILIZATION.name, "", Part::GpuUtilization),
    (metrics::PROCESS_GPU_MEMORY.name, "", Part::GpuMemory),
    (metrics::SERVICE_INFO.name, "", Part::Presence),
];

/// A cumulative histogram: upper edges in seconds, ascending, and the count up to each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets(Vec<(f64, f64)>);

/// One service at one instant. Counters since the agent's start; seconds, bytes, ratios.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    pub requests: f64,
    pub errors: f64,
    pub in_flight: f64,
    pub ttft: Buckets,
    pub tpot: Buckets,
    pub input_tokens: f64,
    pub output_tokens: f64,
    pub on_cpu: Option<f64>,
    pub run_queue: Option<f64>,
    pub gpu_utilization: Option<f64>,
    pub gpu_memory: Option<f64>,
}

/// All services at one instant, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub services: BTreeMap<String, Service>,
}

impl Snapshot {
    /// Sums the samples of a scrape up over all labels but the service.
    pub fn of(samples: &[Sample<'_>]) -> Self {
        let mut snapshot = Snapshot::default();
        for sample in samples.iter().filter(|sample| sample.value.is_finite()) {
            let service = sample.label("service");
            if let Some(part) = part_of(sample.name).filter(|_| !service.is_empty()) {
                snapshot.services.entry(service.to_owned()).or_default().add(part, sample);
            }
        }
        snapshot
    }
}

fn part_of(name: &str) -> Option<Part> {
    PARTS.iter().find(|(family, suffix, _)| name.strip_prefix(family) == Some(suffix)).map(|(_, _, part)| *part)
}

impl Service {
    fn add(&mut self, part: Part, sample: &Sample<'_>) {
        let value = sample.value;
        match part {
            Part::Requests => {
                self.requests += value;
                if !sample.label("error_type").is_empty() {
                    self.errors += value;
                }
            }
            Part::Ttft => self.ttft.add(sample),
            Part::Tpot => self.tpot.add(sample),
            Part::Tokens => match sample.label("gen_ai_token_type") {
                "input" => self.input_tokens += value,
                "output" => self.output_tokens += value,
                _ => {}
            },
            Part::EstimatedTokens => self.output_tokens += value,
            Part::InFlight => self.in_flight += value,
            Part::OnCpu => *self.on_cpu.get_or_insert_default() += value,
            Part::RunQueue => *self.run_queue.get_or_insert_default() += value,
            // The other units (memory, encoder, decoder) are shares of other things.
            Part::GpuUtilization if matches!(sample.label("unit"), "" | "sm") => {
                *self.gpu_utilization.get_or_insert_default() += value;
            }
            Part::GpuMemory => *self.gpu_memory.get_or_insert_default() += value,
            Part::GpuUtilization | Part::Presence => {}
        }
    }
}

impl Buckets {
    fn add(&mut self, sample: &Sample<'_>) {
        let Ok(edge) = sample.label("le").parse::<f64>() else { return };
        match self.0.binary_search_by(|(other, _)| other.total_cmp(&edge)) {
            Ok(at) => self.0[at].1 += sample.value,
            Err(at) => self.0.insert(at, (edge, sample.value)),
        }
    }

    /// Observations.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Buckets) -> Buckets {
        let before = |edge: f64| earlier.0.iter().find(|(other, _)| *other == edge).map_or(0.0, |(_, count)| *count);
        Buckets(self.0.iter().map(|(edge, count)| (*edge, (count - before(*edge)).max(0.0))).collect())
    }

    /// As PromQL's histogram_quantile: linear within the bucket; in the last bucket its lower edge. `None` without
    /// observations.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q * self.count();
        if self.count() <= 0.0 {
            return None;
        }
        let at = self.0.iter().position(|(_, count)| *count >= rank)?;
        let (low, below) = if at == 0 { (0.0, 0.0) } else { self.0[at - 1] };
        let (high, count) = self.0[at];
        if high.is_infinite() || count <= below {
            return Some(low);
        }
        Some(low + (high - low) * (rank - below) / (count - below))
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::parse;
    use super::*;

    #[test]
    fn samples_are_summed_per_service() {
        let text = r#"
gen_ai_server_request_duration_seconds_count{service="a",gen_ai_operation_name="chat"} 7
gen_ai_server_request_duration_seconds_count{service="a",error_type="cancelled"} 2
gen_ai_server_time_to_first_token_seconds_bucket{service="a",le="+Inf"} 9
gen_ai_server_time_to_first_token_seconds_bucket{service="a",le="0.1"} 4
gen_ai_server_time_to_first_token_seconds_bucket{service="a",gen_ai_request_model="m",le="0.1"} 1
gen_ai_client_token_usage_sum{service="a",gen_ai_token_type="input"} 70
gen_ai_client_token_usage_sum{service="a",gen_ai_token_type="output"} 90
inferscope_tokens_estimated_total{service="a"} 6
http_server_active_requests{service="b"} 3
inferscope_service_oncpu_seconds_total{service="a"} 3.5
inferscope_process_oncpu_seconds_total{service="a",pid="2",comm="y"} 2
inferscope_process_gpu_memory_bytes{service="a",pid="1",gpu="0"} 100
inferscope_process_gpu_memory_bytes{service="a",pid="1",gpu="1"} 50
inferscope_process_gpu_utilization_ratio{service="a",pid="1",unit="sm"} 0.25
inferscope_process_gpu_utilization_ratio{service="a",pid="1",unit="memory"} 0.5
inferscope_service_info{service="quiet",engine="vllm"} 1
other{service="c"} 1
http_server_active_requests 1
http_server_active_requests{service="d"} NaN
"#;
        let snapshot = Snapshot::of(&parse(text));
        assert_eq!(snapshot.services.keys().collect::<Vec<_>>(), ["a", "b", "quiet"]);
        let a = &snapshot.services["a"];
        assert_eq!((a.requests, a.errors, a.input_tokens, a.output_tokens), (9.0, 2.0, 70.0, 96.0));
        assert_eq!(a.ttft, Buckets(vec![(0.1, 5.0), (f64::INFINITY, 9.0)]));
        assert_eq!((a.on_cpu, a.run_queue), (Some(3.5), None));
        assert_eq!((a.gpu_memory, a.gpu_utilization), (Some(150.0), Some(0.25)));
    }

    #[test]
    fn quantiles_as_promql() {
        let buckets = Buckets(vec![(0.1, 10.0), (0.2, 30.0), (0.4, 40.0), (f64::INFINITY, 40.0)]);
        let near = |q: f64, want: f64| {
            let got = buckets.quantile(q).unwrap();
            assert!((got - want).abs() < 1e-9, "{q}: {got}");
        };
        near(0.5, 0.15);
        near(0.95, 0.36);
        near(0.25, 0.1);
        near(1.0, 0.4);
        assert_eq!(Buckets(vec![(1.0, 0.0), (f64::INFINITY, 5.0)]).quantile(0.5), Some(1.0));
        assert_eq!(Buckets::default().quantile(0.5), None);
        assert_eq!(buckets.since(&buckets).quantile(0.5), None);
        assert_eq!(buckets.since(&Buckets::default()), buckets);
    }
}

//! Definitions in TOML: what each kind of metric does with requests, and every refusal with its line.

use ::prometheus::TextEncoder;

use super::*;
use crate::{config::Config, session::wanted::Values};

fn rules(toml: &str) -> Result<Rules, Vec<String>> {
    match Config::parse(toml) {
        Ok(config) => Ok(Rules::new(&config.metrics.custom).expect("checked by the configuration")),
        Err(problems) => {
            Err(problems.into_iter().map(|problem| format!("{}: {}", problem.line, problem.text)).collect())
        }
    }
}

const GOOD: &str = r#"
[[metrics.custom]]
name = "tenant_requests_total"
help = "Requests of each tenant"
type = "counter"
labels = { tenant = "request.header.X-Tenant", status = "record.status" }
max_series = 2

[[metrics.custom]]
name = "asked_tokens"
type = "histogram"
value = "request.body.max_tokens"
buckets = [16, 64.5, 256]
service = "vllm*"

[[metrics.custom]]
name = "last_ttft_seconds"
type = "gauge"
value = "record.ttft_s"

[[metrics.custom]]
name = "cost_total"
type = "counter"
value = "response.body.usage.cost"
"#;

/// A finished request with values of the wanted fields, in the order of GOOD: tenant, max_tokens, cost.
fn request(service: &str, values: [Option<&str>; 3]) -> Request {
    let mut fields = Values::new(values.len());
    for (id, value) in values.into_iter().enumerate() {
        if let Some(text) = value {
            fields.put(id as FieldId, text);
        }
    }
    let fields = Some(Box::new(fields));
    Request { service: service.into(), role: "server", status: 200, fields, ttft_s: Some(0.25), ..Request::default() }
}

fn lines(metrics: &CustomMetrics) -> Vec<String> {
    let text = TextEncoder::new().encode_to_string(&metrics.families()).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn each_kind_does_what_prometheus_means_by_it() {
    let mut metrics = CustomMetrics::new(&rules(GOOD).unwrap());
    metrics.observe(&request("vllm-a", [Some("acme"), Some("64"), Some("0.5")]));
    metrics.observe(&request("vllm-a", [Some("acme"), Some("300"), Some("0.25")]));
    metrics.observe(&request("other", [None, Some("1"), None]));
    let lines = lines(&metrics);
    for wanted in [
        r#"tenant_requests_total{service="vllm-a",status="200",tenant="acme"} 2"#,
        r#"tenant_requests_total{service="other",status="200",tenant=""} 1"#,
        r#"asked_tokens_bucket{service="vllm-a",le="16"} 0"#,
        r#"asked_tokens_bucket{service="vllm-a",le="64.5"} 1"#,
        r#"asked_tokens_bucket{service="vllm-a",le="+Inf"} 2"#,
        r#"asked_tokens_sum{service="vllm-a"} 364"#,
        r#"last_ttft_seconds{service="other"} 0.25"#,
        r#"cost_total{service="vllm-a"} 0.75"#,
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted}\n{}", lines.join("\n"));
    }
    assert!(!lines.iter().any(|line| line.contains(r#"asked_tokens_count{service="other"}"#)), "no service that fits");
    assert!(!lines.iter().any(|line| line.contains(r#"cost_total{service="other"}"#)), "nothing was said");
}

#[test]
fn series_are_bounded_and_end_with_their_service() {
    let mut metrics = CustomMetrics::new(&rules(GOOD).unwrap());
    for tenant in ["a", "b", "c", "d", "a"] {
        metrics.observe(&request("s", [Some(tenant), None, None]));
    }
    let found = lines(&metrics);
    let of_tenants: Vec<&String> = found.iter().filter(|line| line.starts_with("tenant")).collect();
    assert_eq!(
        of_tenants,
        [
            r#"tenant_requests_total{service="_other",status="_other",tenant="_other"} 2"#,
            r#"tenant_requests_total{service="s",status="200",tenant="a"} 2"#,
            r#"tenant_requests_total{service="s",status="200",tenant="b"} 1"#,
        ]
    );
    assert_eq!(metrics.overflow, 2);
    metrics.forget("s");
    assert!(!lines(&metrics).iter().any(|line| line.contains(r#"service="s""#)));
}

#[test]
fn a_key_in_the_place_of_a_name_is_not_published() {
    let mut metrics = CustomMetrics::new(&rules(GOOD).unwrap());
    let key = format!("sk-proj-{}", "aB3dE6gH9".repeat(5));
    metrics.observe(&request("s", [Some(&key), None, None]));
    metrics.observe(&request(
        "s",
        [Some("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9"), None, None],
    ));
    let found = lines(&metrics).join("\n");
    assert!(found.contains("tenant_requests_total{"), "{found}");
    assert!(!found.contains("aB3dE6gH9") && !found.contains("eyJzdWIi"), "{found}");
}

#[test]
fn what_is_no_figure_is_counted_and_left_out() {
    let mut metrics = CustomMetrics::new(&rules(GOOD).unwrap());
    metrics.observe(&request("vllm", [None, Some("many"), Some("-1")]));
    metrics.observe(&request("vllm", [None, Some("inf"), None]));
    assert_eq!(metrics.unusable, 3);
    assert!(!lines(&metrics).iter().any(|line| line.starts_with("asked") || line.starts_with("cost")));
    // What watched servers ask of others is not theirs.
    metrics.observe(&Request { role: "client", ..request("vllm", [None, Some("1"), None]) });
    assert!(!lines(&metrics).iter().any(|line| line.starts_with("asked")));
}

/// A metric with these lines, and whatever it lacks.
fn refused(lines: &str) -> String {
    let defaults = [("name", "\"x_total\""), ("type", "\"counter\"")];
    let has = |key: &str| lines.lines().any(|line| line.trim_start().starts_with(&format!("{key} =")));
    let missing: String = defaults.iter().filter(|(key, _)| !has(key)).map(|(k, v)| format!("{k} = {v}\n")).collect();
    match rules(&format!("[metrics]\nper_process = true\n\n[[metrics.custom]]\n{lines}\n{missing}")) {
        Ok(_) => String::new(),
        Err(problems) => problems.join("\n"),
    }
}

#[test]
fn what_is_wrong_is_refused_with_the_reason_and_the_line() {
    for (lines, wants) in [
        ("name = \"inferscope_x_total\"", "4: metrics.custom: `inferscope_x_total` is a name of inferscope's own"),
        ("name = \"gen_ai_server_request_duration_seconds_count\"\ntype = \"gauge\"\nvalue = \"record.status\"", "own"),
        ("name = \"a-b_total\"", "no name of a metric"),
        ("name = \"requests\"", "ends in _total: `requests_total`"),
        ("name = \"x_total\"\ntype = \"gauge\"\nvalue = \"record.status\"", "as only counters do"),
        ("name = \"x_sum\"\ntype = \"gauge\"\nvalue = \"record.status\"", "ends in _sum"),
        ("name = \"x\"\ntype = \"gauge\"", "need a `value`"),
        ("name = \"x\"\ntype = \"histogram\"\nvalue = \"record.status\"", "needs `buckets`"),
        (
            "name = \"x\"\ntype = \"histogram\"\nvalue = \"record.status\"\nbuckets = [2, 1]",
            "larger than the one before",
        ),
        ("name = \"x\"\ntype = \"histogram\"\nvalue = \"record.status\"\nbuckets = [nan]", "finite"),
        ("buckets = [1]", "only a histogram"),
        ("buckets = \"1\"", "wants a list of numbers"),
        ("labels = { service = \"record.status\" }", "label `service` already"),
        ("labels = { \"a-b\" = \"record.status\" }", "no name of a label"),
        ("labels = { a = 1 }", "wants a section of names and texts"),
        ("labels = { a = \"request.headers.x\" }", "is no place: there are request.header.NAME"),
        ("labels = { a = \"request.header.Authorization\" }", "may hold a secret"),
        ("labels = { a = \"request.header.x-api-key\" }", "may hold a secret"),
        ("labels = { a = \"request.body.auth.token\" }", "may hold a secret"),
        ("labels = { a = \"request.body.messages[].content\" }", "what people or models write"),
        ("labels = { a = \"response.body.choices[].message.content\" }", "what people or models write"),
        ("labels = { a = \"request.body.prompt[]\" }", "what people or models write"),
        ("labels = { a = \"request.body.text_input\" }", "what people or models write"),
        ("labels = { a = \"response.body.delta\" }", "what people or models write"),
        ("labels = { a = \"request.header.ocp-apim-subscription-key\" }", "may hold a secret"),
        ("labels = { a = \"request.body.messages.#\" }", "has no bound"),
        ("labels = { a = \"record.request_id\" }", "a series of each"),
        ("labels = { a = \"record.modle\" }", "did you mean `record.model`?"),
        ("labels = { a = \"request.header.a b\" }", "no name of a header"),
        ("value = \"request.body.a..b\"", "a path is made of names"),
        ("type = \"summary\"", "wants one of \"counter\", \"gauge\", \"histogram\""),
        ("kind = \"counter\"", "unknown key `metrics.custom.kind`"),
        ("max_series = 0", "wants a whole number from 1"),
    ] {
        let said = refused(lines);
        assert!(said.contains(wants), "{lines}\n  said: {said}");
    }
    assert_eq!(
        refused("labels = { a = \"request.body.max_tokens\", b = \"record.model\", c = \"request.body.user\" }"),
        ""
    );
}

#[test]
fn what_is_wrong_with_a_probe_is_refused_with_the_reason_and_the_line() {
    let refused = |lines: &str| {
        let (kind, lines) = lines.split_once(' ').unwrap();
        let name = if kind == "counter" { "a_total" } else { "a" };
        let text = format!("[[metrics.custom]]\nname = \"{name}\"\ntype = \"{kind}\"\n{lines}\n");
        rules(&text).err().unwrap_or_default().join("\n")
    };
    for (lines, wants) in [
        ("counter from = \"kprobe:x\"", "1: metrics.custom: `kprobe:x` is no place for a probe"),
        ("counter from = \"uprobe:libc:x\"", "is no file of programs"),
        ("counter from = \"tracepoint:a:b\"\nvalue = \"arg0\"", "nothing of a tracepoint"),
        ("counter from = \"uprobe:exe:f\"\nvalue = \"arg0:string\"", "a text is no value"),
        ("counter from = \"tracepoint:a:b\"\nvalue = \"comm\"", "a text is no value"),
        ("gauge from = \"tracepoint:a:b\"", "a gauge and a histogram need a `value`"),
        ("histogram from = \"tracepoint:a:b\"\nvalue = \"field.x\"\nbuckets = [0.1, 0.2]", "two of the `buckets`"),
        ("counter from = \"tracepoint:a:b\"\nscope = \"host\"\nservice = \"x\"", "of no use with scope"),
        ("counter from = \"uprobe:exe:f\"\nscope = \"host\"", "an absolute path"),
        ("counter scope = \"host\"", "`scope` goes with `from`"),
        ("counter scale = 2", "`scale` goes with `from`"),
        ("counter from = \"tracepoint:a:b\"\nscale = 0", "wants a number above zero"),
        ("counter from = \"tracepoint:a:b\"\nscale = -1.5", "wants a number above zero"),
        ("counter from = \"tracepoint:a:b\"\nscale = inf", "wants a number above zero"),
        (
            "counter from = \"usdt:exe:a:b\"\nlabels = { a = \"arg0\", b = \"arg1\", c = \"arg2\", d = \"cpu\", e = \"comm\" }",
            "4 labels at most",
        ),
        ("counter from = \"tracepoint:a:b\"\nmax_series = 100000\nlabels = { a = \"cpu\" }", ""),
    ] {
        let said = refused(lines);
        assert!(said.contains(wants) && said.is_empty() == wants.is_empty(), "{lines}\n  said: {said}");
    }
    let many = |count: usize, from: &str| {
        let one = |at| format!("[[metrics.custom]]\nname = \"m{at}_total\"\ntype = \"counter\"\nfrom = \"{from}\"\n");
        rules(&(0..count).map(one).collect::<String>()).err().unwrap_or_default().join("\n")
    };
    assert_eq!((many(8, "tracepoint:a:b"), many(16, "uprobe:exe:f")), (String::new(), String::new()));
    assert!(many(9, "tracepoint:a:b").contains("there is room for 8 metrics of tracepoints"));
    assert!(many(17, "uprobe:exe:f").contains("there is room for 16 metrics of functions"));
    let large = "[[metrics.custom]]\nname = \"h\"\ntype = \"histogram\"\nfrom = \"tracepoint:a:b\"\n\
                 value = \"field.x\"\nbuckets = [1, 2, 3]\nmax_series = 50000\n";
    assert!(rules(large).unwrap_err()[0].contains("is too much: there is room for"));
}

#[test]
fn each_problem_has_the_line_of_its_metric() {
    let text = format!("{GOOD}\n[[metrics.custom]]\nname = \"cost_total\"\ntype = \"counter\"\n");
    let line = text.lines().count() - 2;
    assert_eq!(
        rules(&text).unwrap_err(),
        [format!("{line}: metrics.custom: there is a metric `cost_total` before this one")]
    );
    let missing = rules("[[metrics.custom]]\nhelp = \"x\"\n").unwrap_err();
    assert_eq!(missing, ["1: a `metrics.custom` needs a `name`", "1: a `metrics.custom` needs a `type`"]);
}

#[test]
fn what_is_asked_for_of_requests_is_read_once() {
    let twice =
        format!("{GOOD}\n[[metrics.custom]]\nname = \"b\"\ntype = \"gauge\"\nvalue = \"request.body.max_tokens\"\n");
    let wanted = |text: &str| rules(text).unwrap().wanted().len();
    assert_eq!((wanted(GOOD), wanted(&twice), wanted("")), (3, 3, 0));
}

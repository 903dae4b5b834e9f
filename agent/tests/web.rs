//! The page and the API over a made-up agent, asked through a real connection: shapes against docs/api.md, refusals, whom
//! it answers, names that servers give themselves.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use agent::services::Homes;
use agent::{
    clock::monotonic_ns,
    events::{Event, Severity, Topic},
    export::{http, web::Web},
};
use axum::{Router, routing::get};
use serde_json::Value;

#[path = "web/made_up.rs"]
mod made_up;

use made_up::{HOSTILE, MadeUp};

const DOCS: &str = include_str!("../../docs/api.md");

struct Served {
    agent: Arc<MadeUp>,
    address: SocketAddr,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Served {
    fn new(services: usize) -> Self {
        let agent = Arc::new(MadeUp::new(services, true, 2));
        agent.publish(|service| service as u64 % 3);
        let now_ns = monotonic_ns();
        for ago_s in (1..120).rev() {
            (0..services).for_each(|service| agent.request(service, now_ns.saturating_sub(ago_s * 1_000_000_000)));
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let served = Arc::clone(&agent);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = http::bind(([127, 0, 0, 1], 0).into()).await.expect("served");
                let address = listener.local_addr().expect("served");
                sender.send(address).expect("served");
                let web = Web::new(served, address);
                let routes = Router::new()
                    .route("/metrics", get(|| async { "up 1\n" }))
                    .route("/healthz", get(|| async { "ok\n" }))
                    .route("/readyz", get(|| async { "ready\n" }));
                http::serve_routes(listener, routes, web, http::Door::open(), std::future::pending())
                    .await
                    .expect("served");
            });
        });
        Self { agent, address: receiver.recv().expect("served") }
    }

    fn ask(&self, method: &str, path: &str, host: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("served");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("served");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("served");
        let (head, body) = text.split_once("\r\n\r\n").expect("served");
        let status = head.split(' ').nth(1).expect("served").parse().expect("served");
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "localhost:9770")
    }

    fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }
}

/// The fields of the table below a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let section = DOCS.split("\n#").find(|section| section.trim_start_matches('#').lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("docs/api.md has no heading {heading}"));
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.flat_map(|row| row.split(" |").next().unwrap_or_default().split(", "));
    names.map(|name| name.trim_matches('`').to_owned()).collect()
}

#[test]
fn every_field_is_documented_and_every_documented_field_is_there() {
    let served = Served::new(6);
    let name = "sglang-phi-4-005";
    let one = served.json(&format!("/api/v1/overview?service={name}"));
    assert_eq!((one["requests"]["service"].as_str(), one["series"]["service"].as_str()), (Some(name), Some(name)));
    let of = |heading: &str, pointer: &str| {
        let value = one.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"));
        let keys: BTreeSet<String> = value.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(keys, documented(heading), "{heading} in docs/api.md against {pointer}");
    };
    for (heading, pointer) in [
        (" overview", ""),
        (" agent", "/agent"),
        (" loss", "/agent/losses/0"),
        (" probe", "/agent/probes/0"),
        (" history", "/agent/history"),
        (" service", "/services/0"),
        (" window", "/services/0/last_30s"),
        (" window", "/services/0/last_60s"),
        (" series", "/series"),
        (" requests", "/requests"),
        (" request", "/requests/requests/0"),
        (" phase", "/requests/requests/0/phases/0"),
        (" gpus", "/gpus"),
        (" gpu", "/gpus/gpus/0"),
    ] {
        of(heading, pointer);
    }
    served.agent.journal.tell(Event::new(Topic::Change, "start", Severity::Info).of(name, 7).with("port", 8000_u64));
    let event = served.json(&format!("/api/v1/events?service={name}&record=change&limit=1"));
    let keys: BTreeSet<String> = event["events"][0].as_object().expect("an object").keys().cloned().collect();
    assert_eq!(keys, documented(" event"));
    assert_eq!(served.json("/api/v1/events?service=other")["events"], serde_json::json!([]));
    assert_eq!(served.get("/api/v1/events?record=x").status, 400);
    // Each part is what its own path tells.
    for (path, pointer) in [("/api/v1/agent", "/agent"), ("/api/v1/gpus", "/gpus")] {
        let keys = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
        assert_eq!(keys(&served.json(path)), one.pointer(pointer).and_then(keys), "{path}");
    }
}

#[test]
fn figures_are_those_of_the_requests() {
    let served = Served::new(6);
    let services = served.json("/api/v1/services")["services"].clone();
    assert_eq!(services.as_array().map(Vec::len), Some(6));
    let last = &services[3]["last_60s"];
    let between = |value: &Value, least: f64, most: f64| {
        let value = value.as_f64().unwrap();
        assert!((least..most).contains(&value), "{value}");
    };
    between(&last["requests_per_s"], 0.9, 1.1);
    between(&last["ttft_p50_s"], 0.08, 0.4);
    between(&last["output_tokens_per_s"], 60.0, 140.0);
    let name = services[3]["name"].as_str().unwrap().to_owned();
    let series = served.json(&format!("/api/v1/series?service={}", encoded(&name)));
    for column in
        ["requests_per_s", "errors_per_s", "ttft_p50_s", "ttft_p95_s", "tpot_p50_s", "output_tokens_per_s", "in_flight"]
    {
        assert_eq!(series[column].as_array().map(Vec::len), Some(180), "{column}");
    }
    assert!(series["requests_per_s"][0].is_null() && series["requests_per_s"][178].as_f64() > Some(0.0), "{series}");
    let slow = served.json("/api/v1/requests?limit=3")["requests"].clone();
    let excess: Vec<f64> = slow.as_array().unwrap().iter().map(|one| one["excess_s"].as_f64().unwrap_or(0.0)).collect();
    assert!(excess.len() == 3 && excess.is_sorted_by(|a, b| a >= b), "{excess:?}");
    let recent = served.json("/api/v1/requests?limit=512&sort=recent")["requests"].clone();
    assert_eq!(recent.as_array().map(Vec::len), Some(512));
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn what_is_asked_wrongly_is_refused_in_words() {
    let served = Served::new(6);
    for (path, status, says) in [
        ("/api/v1/services?x=1", 400, "unknown parameter \"x\": this path takes none"),
        ("/api/v1/requests?limt=1", 400, "takes service, sort, limit"),
        ("/api/v1/requests?limit=0", 400, "from 1 to 512"),
        ("/api/v1/requests?limit=513", 400, "from 1 to 512"),
        ("/api/v1/requests?sort=fast", 400, "one of slow, recent"),
        ("/api/v1/overview?scope=none", 400, "one of service, all"),
        ("/api/v1/series", 400, "service is missing"),
        ("/api/v1/series?service=none", 404, "no service \"none\""),
        ("/api/v1/requests?service=none", 404, "/api/v1/services lists them"),
        ("/api/v1/overview?service=none", 404, "no service"),
        ("/api/v2/services", 404, "/api/v1/overview"),
        ("/api/v1/services/", 404, "no such path"),
        ("/api", 404, "no such path"),
    ] {
        let answer = served.get(path);
        let json = answer.json();
        assert_eq!((answer.status, json["status"].as_u64()), (status, Some(u64::from(status))), "{path}");
        assert!(json["error"].as_str().is_some_and(|error| error.contains(says)), "{path}: {json}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = served.ask(method, "/api/v1/agent", "localhost");
        assert_eq!((answer.status, answer.json()["status"].as_u64()), (405, Some(405)), "{method}");
    }
}

#[test]
fn strangers_are_refused_and_every_answer_has_its_headers() {
    let served = Served::new(1);
    for path in ["/", "/page/main.js", "/api/v1/overview", "/api/none", "/metrics", "/none"] {
        let answer = served.ask("GET", path, "evil.example:9770");
        assert_eq!(answer.status, 403, "{path}");
        assert!(!answer.body.contains("up 1"), "{path}: {}", answer.body);
        for answer in [answer, served.get(path)] {
            for header in [
                "x-content-type-options: nosniff",
                "content-security-policy: default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                "referrer-policy: no-referrer",
            ] {
                assert!(answer.head.contains(header), "{path}: {header} is not in {}", answer.head);
            }
            assert!(!answer.head.contains("access-control-"), "{}", answer.head);
        }
    }
    assert_eq!(served.get("/metrics").body, "up 1\n");
    // The kubelet probes by the pod's address, and learns no more than that.
    for path in ["/healthz", "/readyz"] {
        assert_eq!(served.ask("GET", path, "10.1.2.3:9770").status, 200, "{path}");
    }
    assert!(served.get("/api/v1/agent").head.contains("cache-control: no-store"));
    let page = served.get("/");
    assert!(page.status == 200 && page.head.contains("text/html") && page.head.contains("etag: \""), "{}", page.head);
}

#[test]
fn names_come_out_as_they_are() {
    let served = Served::new(6);
    for name in HOSTILE {
        let answer = served.json(&format!("/api/v1/requests?service={}", encoded(name)));
        assert_eq!((answer["service"].as_str(), answer["requests"][0]["model"].as_str()), (Some(name), Some(name)));
    }
}

#[test]
fn a_service_that_ended_is_in_no_list_and_its_past_is_there() {
    let served = Served::new(6);
    served.agent.services.publish(Vec::new(), Homes::default());
    assert_eq!(served.json("/api/v1/services")["services"].as_array().map(Vec::len), Some(0));
    let name = "sglang-phi-4-005";
    assert!(served.json(&format!("/api/v1/series?service={name}"))["requests_per_s"][170].is_number());
    assert!(served.json(&format!("/api/v1/requests?service={name}"))["requests"][0].is_object());
}

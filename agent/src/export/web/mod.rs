//! The page at `/` and the JSON API under `/api/v1` (docs/api.md). Read-only: GET, no cookies, no CORS, nothing kept of a
//! caller. Figures of a request come from its record and are computed nowhere here.
#![forbid(unsafe_code)]

mod agent;
mod answers;
mod assets;
mod gpus;
mod guard;
mod histogram;
mod history;
mod query;
mod requests;
mod sampler;
mod services;
mod source;
mod steps;

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, Request, State},
    http::{Method, Response, StatusCode},
    middleware::{self, Next},
    routing::{any, get},
};
use tokio::sync::Semaphore;

use crate::{
    clock::{monotonic_ns, unix_offset_ns},
    events::{KEPT, Topic},
    export::http::{OPEN, in_turn},
};
use answers::{Events, Figure, Overview, Requests, Services, Told};
use guard::json;
use query::Query;
use sampler::Pulse;

pub use guard::Refusal;
pub use history::{Held, History, RECENT};
pub use source::Source;

/// Most requests of one answer.
const REQUESTS_MOST: usize = RECENT;
const REQUESTS_USUAL: usize = 50;
/// Slow requests that an overview shows.
const OVERVIEW_REQUESTS: usize = 20;
/// Answers that are made at once; more callers than that wait.
static TURNS: Semaphore = Semaphore::const_new(2);
const EVENTS_USUAL: usize = 50;
/// Changes that an overview shows.
const OVERVIEW_CHANGES: usize = 20;
/// Topics of events, by their names.
const RECORDS: [&str; 2] = ["change", "log"];
const SORTS: [&str; 2] = ["slow", "recent"];
/// Whose requests an overview shows: those of the service that it names, or of all.
const SCOPES: [&str; 2] = ["service", "all"];

/// The page and the API of one agent.
pub struct Web {
    source: Arc<dyn Source>,
    pulse: Pulse,
    /// It listens on the loopback interface: whoever calls it by another name is refused.
    local: bool,
}

type Answer = fn(&Web, &Query) -> Result<Response<Body>, Refusal>;

/// Path, the parameters that it takes, and what makes the answer.
const ENDPOINTS: [(&str, &[&str], Answer); 7] = [
    ("/api/v1/services", &[], |web, _| Ok(json(&Services { services: services::all(web.source()) }))),
    ("/api/v1/series", &["service"], series),
    ("/api/v1/requests", &["service", "sort", "limit"], finished),
    ("/api/v1/events", &["record", "service", "limit"], events),
    ("/api/v1/gpus", &[], |web, _| Ok(json(&gpus::all(web.source())))),
    ("/api/v1/agent", &[], |web, _| Ok(json(&agent::now(web.source(), &web.pulse)))),
    ("/api/v1/overview", &["service", "sort", "limit", "scope"], overview),
];

impl Web {
    /// Of an agent that listens there.
    pub fn new(source: Arc<dyn Source>, listens: SocketAddr) -> Arc<Self> {
        Arc::new(Self { source, pulse: Pulse::default(), local: listens.ip().is_loopback() })
    }

    fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// Reads the counters for as long as it is polled: rates need it.
    pub async fn sample(&self) -> Infallible {
        sampler::run(self.source(), &self.pulse).await
    }

    /// The routes of the page and of the API.
    pub fn router(self: Arc<Self>) -> Router {
        let mut router = assets::routes();
        for (path, parameters, answer) in ENDPOINTS {
            let web = Arc::clone(&self);
            let handler = move |RawQuery(query): RawQuery| respond(web, query, parameters, answer);
            router = router.route(path, get(handler).fallback(refused_method));
        }
        router.route("/api", any(nowhere)).route("/api/", any(nowhere)).route("/api/{*rest}", any(nowhere))
    }

    /// Puts what stands before every answer before all of these routes, whoever they are of.
    pub fn guard(self: Arc<Self>, routes: Router) -> Router {
        routes.layer(middleware::from_fn_with_state(self, guarded))
    }
}

/// Makes an answer off the runtime's only thread: one of 200 services takes a millisecond.
async fn respond(
    web: Arc<Web>,
    query: Option<String>,
    parameters: &'static [&'static str],
    answer: Answer,
) -> Response<Body> {
    let query = match Query::parse(query.as_deref(), parameters) {
        Ok(query) => query,
        Err(says) => return bad(says).response(),
    };
    match in_turn(&TURNS, move || answer(&web, &query)).await {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => refusal.response(),
        Err(error) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).response(),
    }
}

/// Refuses strangers, and puts the headers on every answer. Whether the agent works is no secret, and probes ask for it by
/// any name.
async fn guarded(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response<Body> {
    let is_open = OPEN.contains(&request.uri().path());
    let mut response = if web.local && !is_open && !guard::is_local(request.headers()) {
        let says = "this agent listens on the loopback interface and answers only to localhost, 127.0.0.1 and [::1]: \
            call it by one of these names, or let it listen elsewhere with --listen";
        Refusal::new(StatusCode::FORBIDDEN, says).response()
    } else {
        next.run(request).await
    };
    guard::add_headers(response.headers_mut());
    response
}

async fn refused_method(method: Method) -> Response<Body> {
    let says = format!("{method} changes nothing here: only GET is answered");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, says).response()
}

async fn nowhere() -> Response<Body> {
    let paths = ENDPOINTS.map(|(path, ..)| path).join(", ");
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no such path: there are {paths}")).response()
}

fn bad(says: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, says)
}

/// The service that a query names, if it names one.
fn named<'a>(web: &Web, query: &'a Query) -> Result<Option<&'a str>, Refusal> {
    let Some(service) = query.get("service") else { return Ok(None) };
    let known =
        web.source().history().knows(service) || web.source().services().iter().any(|view| view.name == service);
    if known {
        return Ok(Some(service));
    }
    Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no service {service:?}: /api/v1/services lists them")))
}

fn series(web: &Web, query: &Query) -> Result<Response<Body>, Refusal> {
    let Some(service) = named(web, query)? else {
        return Err(bad("service is missing: /api/v1/series?service=NAME".to_owned()));
    };
    let series = services::series(web.source(), service);
    series.map(|series| json(&series)).ok_or_else(|| {
        Refusal::new(StatusCode::NOT_FOUND, format!("nothing is kept of service {service:?} yet: try again in 2 s"))
    })
}

fn finished(web: &Web, query: &Query) -> Result<Response<Body>, Refusal> {
    let service = named(web, query)?;
    with_requests(web, query, service, REQUESTS_USUAL, |requests| json(&requests))
}

fn events(web: &Web, query: &Query) -> Result<Response<Body>, Refusal> {
    let service = query.get("service");
    let record = query.word("record", &RECORDS).map_err(bad)?;
    let limit = query.number("limit", EVENTS_USUAL, KEPT).map_err(bad)?;
    let is = |of: Option<&str>| service.is_none() || of == service;
    Ok(json(&Events { events: last_events(web.source(), record, limit, is) }))
}

/// The last events of a topic, newest first, of the services that are wanted; None is the host.
fn last_events(source: &dyn Source, record: &str, limit: usize, is: impl Fn(Option<&str>) -> bool) -> Vec<Told> {
    let topic = Topic::named(record).unwrap_or(Topic::Change);
    let mut last = source.journal().last(topic);
    last.retain(|event| is(event.service.as_deref()));
    last.truncate(limit);
    last.into_iter().map(Told).collect()
}

fn overview(web: &Web, query: &Query) -> Result<Response<Body>, Refusal> {
    let (source, service) = (web.source(), named(web, query)?);
    let scope = query.word("scope", &SCOPES).map_err(bad)?;
    let series = service.and_then(|service| services::series(source, service));
    let of = service.filter(|_| scope == "service");
    with_requests(web, query, of, OVERVIEW_REQUESTS, |requests| {
        json(&Overview {
            now_unix_s: Figure((monotonic_ns() + unix_offset_ns()) as f64 / 1e9),
            agent: agent::now(source, &web.pulse),
            services: services::all(source),
            gpus: gpus::all(source),
            series,
            requests,
            changes: last_events(source, RECORDS[0], OVERVIEW_CHANGES, |service| {
                of.is_none() || service.is_none() || service == of
            }),
        })
    })
}

fn with_requests(
    web: &Web,
    query: &Query,
    service: Option<&str>,
    usual: usize,
    answer: impl FnOnce(Requests<'_>) -> Response<Body>,
) -> Result<Response<Body>, Refusal> {
    let sort = query.word("sort", &SORTS).map_err(bad)?;
    let limit = query.number("limit", usual, REQUESTS_MOST).map_err(bad)?;
    let (history, now_ns, offset_ns) = (web.source().history(), monotonic_ns(), unix_offset_ns());
    let found = if sort == "recent" { history.recent(service, limit) } else { history.slow(service, now_ns, limit) };
    let requests = found.iter().map(|request| requests::record(request, now_ns, offset_ns)).collect();
    Ok(answer(Requests { service, sort, requests }))
}

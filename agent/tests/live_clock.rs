//! Live: steps of the wall clock. Only on a machine of its own, as the kernel matrix' guests are.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use support::agent::Agent;
use support::client::Request;
use support::live::{self, assert_exact, send};
use support::metrics::Metrics;
use support::server::Server;

const SOON: Duration = Duration::from_secs(30);

/// Sets the wall clock this much on.
fn step_clock(seconds: i64) {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is valid for both calls.
    let done = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &mut t);
        t.tv_sec += seconds;
        libc::clock_settime(libc::CLOCK_REALTIME, &t)
    };
    assert_eq!(done, 0, "clock_settime: {}", std::io::Error::last_os_error());
}

/// An hour on and back within requests.
#[test]
fn a_step_of_the_clock() {
    let Some(_guard) = live::begin("a_step_of_the_clock") else { return };
    if std::env::var_os("INFERSCOPE_OWN_MACHINE").is_none() {
        return live::skip("a_step_of_the_clock", "INFERSCOPE_OWN_MACHINE is not set: others use this machine's clock");
    }
    let server = Server::start(&["-s", "delay-us=5000"]).unwrap();
    let agent = Agent::watch(&[server.pid()]).unwrap();
    let mut outcomes = Vec::new();
    for step in [3600, -3600, -3600, 3600] {
        let streamed = std::thread::scope(|scope| {
            let stream = scope.spawn(|| send(&server, &Request::chat("m", "hi", 100, true)));
            let active = |m: &Metrics| m.count("http_server_active_requests", &[]) == 1.0;
            agent.wait_metrics("the request is in flight", SOON, active).unwrap();
            step_clock(step);
            stream.join().unwrap()
        });
        outcomes.push(streamed);
    }
    let c = assert_exact(&agent, &outcomes);
    assert!(c.duration.p95_s < 1.0 && c.ttft.p95_s < 1.0, "{c}");
    assert_eq!(support::page::get(&agent.target, "/healthz").unwrap().0, 200);
}

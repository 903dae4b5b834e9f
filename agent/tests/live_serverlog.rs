//! Live: messages that watched processes write to their outputs and log files, counted exactly by level, against a real
//! logger; a flood is exact in what is counted and what is lost; what stands in an output is no request.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::agent::Agent;
use support::child::{Lines, Running};
use support::live;
use support::metrics::Metrics;

const SOON: Duration = Duration::from_secs(20);
const LINES: &str = "inferscope_log_lines_total";
const QUIET: &str = "[discover]\nenabled = false\n[nvml]\nenabled = false\n";

/// A Python program that waits for a line, works, and says `done`; standard error goes to /dev/null.
struct Script {
    running: Running,
}

impl Script {
    /// None, with the reason told, where there is no Python.
    fn start(test: &str, work: &str, folder: &Path) -> Option<Self> {
        if Command::new("python3").arg("-V").stdout(Stdio::null()).status().is_err() {
            live::skip(test, "there is no python3");
            return None;
        }
        // What it says to the test goes through a descriptor that is no log: a pipe that was opened as standard output,
        // and is not that any more.
        let program = format!(
            "import os, sys, logging, socket\nsay = os.dup(1)\nr, w = os.pipe()\nos.dup2(w, 1)\n\
             os.write(say, b'ready\\n')\nsys.stdin.readline()\n{work}\nos.write(say, b'done\\n')\nsys.stdin.readline()\n"
        );
        let mut command = Command::new("python3");
        command.args(["-c", &program]).current_dir(folder).stderr(Stdio::null());
        let running = Running::start(command, Lines::Stdout).unwrap();
        running.wait_line(SOON, |line| (line == "ready").then_some(())).unwrap();
        Some(Self { running })
    }

    fn work(&mut self) {
        self.running.tell("go").unwrap();
        self.running.wait_line(Duration::from_secs(120), |line| (line == "done").then_some(())).unwrap();
    }

    fn finish(&mut self) {
        self.running.hush();
        assert!(self.running.wait(SOON).unwrap().success());
    }
}

/// Messages by level: unknown, debug, info, warning, error, critical.
fn counts(metrics: &Metrics) -> [f64; 6] {
    ["unknown", "debug", "info", "warning", "error", "critical"].map(|level| metrics.count(LINES, &[("level", level)]))
}

fn wait_for(agent: &Agent, expected: [f64; 6]) -> Metrics {
    let all: f64 = expected.iter().sum();
    let enough = |m: &Metrics| counts(m).iter().sum::<f64>() >= all;
    let what = format!("{all} messages");
    let m = agent.wait_metrics(&what, SOON, enough).unwrap_or_else(|error| {
        panic!("{error:#}\nthere are {:?} of {expected:?}", agent.scrape().map(|m| counts(&m)));
    });
    assert_eq!(counts(&m), expected);
    m
}

const LOGGING: &str = r#"
fmt = logging.Formatter('%(asctime)s %(levelname)s %(name)s: %(message)s')
def logger(name, handler):
    handler.setFormatter(fmt)
    log = logging.getLogger(name)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(handler)
    return log
err = logger('err', logging.StreamHandler())
out = logger('out', logging.StreamHandler(os.fdopen(os.dup(1), 'w')))
file = logger('file', logging.FileHandler('server.log'))
for log in (err, out, file):
    for _ in range(3): log.debug('a')
    for _ in range(5): log.info('b')
    for _ in range(7): log.warning('c')
    for _ in range(11): log.error('d')
    for _ in range(2): log.critical('e')
    try:
        {}['x']
    except KeyError:
        log.exception('one error, traceback and all')
"#;

#[test]
fn a_real_logger_is_counted_exactly_on_every_way_out() {
    let name = "a_real_logger_is_counted_exactly_on_every_way_out";
    let Some(_guard) = live::begin(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(mut script) = Script::start(name, LOGGING, folder.path()) else { return };
    let agent = Agent::configured(&[script.running.pid()], QUIET).unwrap();
    script.work();
    let m = wait_for(&agent, [0.0, 9.0, 15.0, 21.0, 36.0, 6.0]);
    let size = std::fs::metadata(folder.path().join("server.log")).unwrap().len() as f64;
    assert_eq!(m.count("inferscope_log_unread_bytes_total", &[]), 0.0);
    // The same text went three ways, but for the loggers' names: `file` has a letter more.
    let bytes = m.count("inferscope_log_bytes_total", &[]);
    assert!(bytes > 2.9 * size && bytes < 3.0 * size, "{bytes} of three times {size}");
    assert_eq!(agent.lost().unwrap(), 0.0);
    script.finish();
}

const RAW: &str = r#"
def w(fd, text): assert os.write(fd, text) == len(text)
# Split over writes, several in one, one of several buffers.
w(1, b'ERR'); w(1, b'OR: spl'); w(1, b'it\nINFO: one\nWARNING: two\nno level\n')
os.writev(2, [b'CRITICAL', b': ', b'', b'of five buffers', b'\nINFO: x\n'])
# A progress bar is one line, and what it showed before is none.
w(2, b'\r 10% ERROR: x'); w(2, b'\r100%\n')
# Longer than what is looked at of a write.
w(2, b'ERROR: ' + b'x' * 20000 + b'\n')
w(2, b'INFO: after it\n')
# Duplicated, and opened again by name.
dup = os.dup(1); w(dup, b'ERROR: duplicated\n')
again = os.open('/dev/stdout', os.O_WRONLY); w(again, b'ERROR: opened again\n')
# Files: logs by name or by being appended to, and data.
app = os.open('messages', os.O_WRONLY | os.O_CREAT | os.O_APPEND); w(app, b'ERROR: appended\n')
named = os.open('run.log', os.O_WRONLY | os.O_CREAT); w(named, b'WARNING: named\n')
os.pwrite(named, b'WARNING: at a place\n', 15)
for data in ('records.jsonl', 'cache.bin'):
    fd = os.open(data, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(100): w(fd, b'ERROR: this is data\n')
fd = os.open('model.gguf', os.O_WRONLY | os.O_CREAT)
for _ in range(100): w(fd, b'ERROR: this is a model\n')
r2, w2 = os.pipe(); w(w2, b'ERROR: between processes\n')
# A child inherits what is open.
child = os.fork()
if child == 0:
    w(app, b'ERROR: of a child\n'); w(2, b'INFO: of a child\n'); w(2, b'ERROR: without an end')
    os._exit(0)
os.waitpid(child, 0)
w(1, b'\x00\xff\x1b[31m\xfe binary\n')
"#;

#[test]
fn writes_of_every_shape_and_no_other_file() {
    let name = "writes_of_every_shape_and_no_other_file";
    let Some(_guard) = live::begin(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(mut script) = Script::start(name, RAW, folder.path()) else { return };
    let agent = Agent::configured(&[script.running.pid()], QUIET).unwrap();
    script.work();
    // Unknown: no level, the bar, binary. Errors: split, long, duplicated, opened again, appended, the child's two.
    let m = wait_for(&agent, [3.0, 0.0, 4.0, 3.0, 7.0, 1.0]);
    assert_eq!(m.count("inferscope_log_unread_bytes_total", &[]), (20_008 - 8192) as f64);
    assert_eq!(agent.lost().unwrap(), 0.0);
    script.finish();
}

const FLOOD: &str = "for n in range(50000): os.write(2, b'ERROR: %08d\\n' % n)\n";

#[test]
fn a_flood_is_exact_in_what_is_counted_and_what_is_lost() {
    let name = "a_flood_is_exact_in_what_is_counted_and_what_is_lost";
    let Some(_guard) = live::begin(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(mut script) = Script::start(name, FLOOD, folder.path()) else { return };
    let config = format!("{QUIET}[logs]\nbytes_per_second = 65536\n");
    let agent = Agent::configured(&[script.running.pid()], &config).unwrap();
    script.work();
    let lost = |m: &Metrics| m.count("inferscope_events_lost_total", &[("where", "log_rate")]);
    let errors = |m: &Metrics| m.count(LINES, &[("level", "error")]);
    let m = agent.wait_metrics("the flood", SOON, |m| errors(m) + lost(m) >= 50_000.0).unwrap();
    assert_eq!(errors(&m) + lost(&m), 50_000.0);
    assert!(lost(&m) > 0.0 && errors(&m) > 400.0, "{} counted, {} lost", errors(&m), lost(&m));
    assert_eq!(m.count("inferscope_log_bytes_total", &[]), 50_000.0 * 16.0);
    assert_eq!(m.count("inferscope_log_unread_bytes_total", &[]), lost(&m) * 16.0);
    assert_eq!(counts(&m).iter().sum::<f64>(), errors(&m));
    script.finish();
}

const JOURNAL: &str = r#"
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
os.dup2(ours.fileno(), 1)
os.write(1, b'GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n')
os.write(1, b'ERROR: to the journal\n')
"#;

#[test]
fn an_output_that_is_a_socket_is_a_log_and_no_connection() {
    let name = "an_output_that_is_a_socket_is_a_log_and_no_connection";
    let Some(_guard) = live::begin(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(mut script) = Script::start(name, JOURNAL, folder.path()) else { return };
    let agent = Agent::configured(&[script.running.pid()], QUIET).unwrap();
    script.work();
    let m = wait_for(&agent, [2.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    assert_eq!(m.count("inferscope_connections", &[]), 0.0);
    script.finish();
}

const SECRET: &str = "os.write(2, b'ERROR: no access for sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD, mail eve@example.com\\nINFO: x\\n')\n";

/// Texts of the records of messages.
fn told(agent: &Agent) -> Vec<serde_json::Value> {
    let events = agent.wait("a record of the message", SOON, || {
        let text = std::fs::read_to_string(agent.records_path())?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let logs: Vec<_> = lines.filter(|line| line["record"] == "log").collect();
        Ok((!logs.is_empty()).then_some(logs))
    });
    events.unwrap()
}

#[test]
fn an_error_has_a_record_and_its_text_only_where_it_is_asked_for() {
    let name = "an_error_has_a_record_and_its_text_only_where_it_is_asked_for";
    let Some(_guard) = live::begin(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    for (config, shown) in [("", false), ("[logs]\ntext = \"redacted\"\n", true)] {
        let Some(mut script) = Script::start(name, SECRET, folder.path()) else { return };
        let agent = Agent::configured(&[script.running.pid()], &format!("{QUIET}{config}")).unwrap();
        script.work();
        let events = told(&agent);
        assert_eq!(events.len(), 1, "{events:?}");
        let (event, attributes) = (&events[0], &events[0]["attributes"]);
        assert_eq!((&event["severity"], &event["pid"]), (&"error".into(), &script.running.pid().into()));
        assert_eq!((&attributes["stream"], &attributes["requests_in_flight"]), (&"stderr".into(), &0.into()));
        let text = attributes["text"].as_str();
        assert_eq!(text.is_some_and(|text| text.starts_with("ERROR: no access for ")), shown, "{event}");
        let line = event.to_string();
        assert!(!line.contains("sk-proj") && !line.contains("eve@"), "{line}");
        script.finish();
    }
}

#[test]
fn nothing_is_looked_at_where_that_is_turned_off() {
    let name = "nothing_is_looked_at_where_that_is_turned_off";
    let Some(_guard) = live::begin(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(mut script) = Script::start(name, LOGGING, folder.path()) else { return };
    let agent = Agent::configured(&[script.running.pid()], &format!("{QUIET}[logs]\nenabled = false\n")).unwrap();
    script.work();
    // The exit is behind the writes in the ring.
    script.finish();
    let ended = |m: &Metrics| m.count("inferscope_process_exits_total", &[("cause", "success")]) == 1.0;
    let m = agent.wait_metrics("the end of the process", SOON, ended).unwrap();
    assert_eq!((m.sum(LINES, &[]), m.count("inferscope_events_total", &[("kind", "log")])), (None, 0.0));
}

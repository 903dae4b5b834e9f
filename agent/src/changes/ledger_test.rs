//! Servers of one's own begin, end and begin again; what is told of them is compared.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::{
    config::Changes,
    discover::{Evidence, Process},
};

struct Bench {
    ledger: Ledger,
    journal: Arc<Journal>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(began_ticks: u64) -> Self {
        let journal = Arc::<Journal>::default();
        let groups = Cgroups::new(None);
        let around = Around {
            reader: Reader::new(Changes::default().environment),
            groups: groups.clone(),
            oom: Arc::new(Oom::new(groups)),
            journal: Arc::clone(&journal),
            counts: Arc::default(),
            host: Host::default(),
        };
        let mut ledger = Ledger::new(around);
        ledger.began_ticks = began_ticks;
        Self { ledger, journal, folder: tempfile::tempdir().unwrap() }
    }

    /// What was told since the last call, oldest first, with the attributes that matter here.
    fn told(&self) -> Vec<String> {
        let events = self.journal.last(Topic::Change);
        let seen = self.folder.path().join("seen");
        let before: usize = std::fs::read_to_string(&seen).map_or(0, |count| count.parse().unwrap());
        std::fs::write(&seen, events.len().to_string()).unwrap();
        let told = |event: &Arc<Event>| {
            let kept = event.attributes.iter().filter(|(name, _)| !["down_s", "previous_pid", "argv"].contains(name));
            let words: Vec<String> =
                kept.map(|(name, value)| format!(" {name}={}", serde_json::to_value(value).unwrap())).collect();
            format!("{}{}", event.name, words.concat())
        };
        events[..events.len() - before].iter().rev().map(told).collect()
    }

    fn begins(&mut self, found: &Found) {
        self.hears_of(found, true);
    }

    fn hears_again(&mut self, found: &Found) {
        self.hears_of(found, false);
    }

    fn hears_of(&mut self, found: &Found, begins: bool) {
        let (service, found) = (found.service.clone(), Box::new(found.clone()));
        self.ledger.hear(Tell::Service { index: 1, service, found, begins });
    }

    fn ends(&mut self, found: &Found, exit: Exit) {
        let (service, pid) = (found.service.clone(), found.process.pid);
        self.ledger.hear(Tell::Exit { service, pid, at_ns: crate::clock::monotonic_ns(), exit });
    }
}

/// `sleep` with another name of its own, so that it can have any arguments.
fn server(arguments: &[&str], environment: &[(&str, &str)]) -> (Child, Found) {
    let mut command = Command::new("python3");
    command.args(["-c", "import sys; sys.stdin.read()"]).args(arguments).stdin(Stdio::piped());
    let child = command.env_clear().env("PATH", "/usr/bin:/bin").envs(environment.iter().copied()).spawn().unwrap();
    // Until it has run its program it is a copy of this one, and for a moment nothing.
    let own = |process: &Process| process.argv.last().map(String::as_str) == arguments.last().copied();
    let process = loop {
        if let Some(process) = Process::read(Path::new("/proc"), child.id()).filter(own) {
            break process;
        }
        std::thread::yield_now();
    };
    let found = Found {
        service: "vllm-m".into(),
        wanted: "vllm-m".into(),
        engine: "vllm",
        evidence: Evidence::Given,
        version: Some("1".into()),
        model: Some("m".into()),
        ports: vec![8000],
        unix_sockets: Vec::new(),
        process,
        children: Vec::new(),
        dialect: None,
    };
    (child, found)
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

const KILLED: Exit = Exit { code: Some(9), oom: None };

#[test]
fn a_server_that_begins_again_is_compared_with_what_it_was() {
    let mut bench = Bench::new(0);
    let config = bench.folder.path().join("config.yaml");
    std::fs::write(&config, "a: 1").unwrap();
    let path = config.display().to_string();
    let secrets = [("VLLM_API_KEY", "swordfish"), ("HF_TOKEN", "swordfish")];
    let environment = |devices| [secrets.as_slice(), &[("CUDA_VISIBLE_DEVICES", devices)]].concat();
    let (child, found) =
        server(&["--config", &path, "--api-key", "swordfish", "--max-model-len", "4096"], &environment("0"));
    bench.begins(&found);
    bench.begins(&found);
    assert_eq!(bench.told(), ["start engine=\"vllm\" version=\"1\" model=\"m\" port=8000"]);
    bench.ledger.look();
    std::fs::File::options()
        .write(true)
        .open(&config)
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    bench.ledger.look();
    assert!(bench.told().is_empty(), "only the file's time is another");
    std::fs::write(&config, "a: 22").unwrap();
    bench.ledger.look();
    bench.ledger.look();
    assert_eq!(bench.told(), [format!("config_file path=\"{path}\" old_bytes=4 new_bytes=5 gone=false")]);
    end(child);
    bench.ends(&found, KILLED);
    let killed = r#"exit cause="signal" process="root" signal="SIGKILL" signal_number=9 core_dumped=false"#;
    assert_eq!(bench.told(), [killed]);
    let (child, found) = server(
        &["--config", &path, "--api-key", "mackerel", "--max-model-len", "8192"],
        &[environment("1").as_slice(), &[("VLLM_USE_V1", "1")]].concat(),
    );
    bench.begins(&Found { version: Some("2".into()), ..found.clone() });
    let masked = r#"added="--api-key *** --max-model-len 8192" removed="--api-key *** --max-model-len 4096""#;
    assert_eq!(
        bench.told(),
        [
            r#"restart engine="vllm" version="2" model="m" port=8000 previous_exit="SIGKILL""#.to_owned(),
            format!("argv {masked}"),
            r#"environment name="CUDA_VISIBLE_DEVICES" old="0" new="1""#.to_owned(),
            r#"environment name="VLLM_USE_V1" new="1""#.to_owned(),
            r#"binary old_version="1" new_version="2""#.to_owned(),
        ]
    );
    let all = serde_json::to_string(
        &bench.journal.last(Topic::Change).iter().map(|e| e.as_ref().clone()).collect::<Vec<_>>(),
    );
    let all = all.unwrap();
    assert!(all.contains("--max-model-len") && !all.contains("swordfish") && !all.contains("mackerel"), "{all}");
    end(child);
}

#[test]
fn a_server_that_begins_again_within_a_clock_tick_is_another() {
    let mut bench = Bench::new(0);
    let (child, found) = server(&["--port", "1"], &[]);
    bench.begins(&found);
    end(child);
    bench.ends(&found, KILLED);
    bench.told();
    let (child, mut again) = server(&["--port", "1"], &[]);
    again.process.start_ticks = found.process.start_ticks;
    bench.begins(&again);
    let told = bench.told();
    assert!(told.len() == 1 && told[0].starts_with("restart "), "{told:?}");
    end(child);
}

#[test]
fn a_title_forgets_nothing_and_other_arguments_are_told() {
    let mut bench = Bench::new(0);
    let config = bench.folder.path().join("config.yaml");
    std::fs::write(&config, "a: 1").unwrap();
    let path = config.display().to_string();
    let (child, found) = server(&["--config", &path, "--seed", "1"], &[]);
    bench.begins(&found);
    bench.told();
    let mut later = found.clone();
    later.process.argv = vec!["vLLM::server".into()];
    bench.hears_again(&later);
    std::fs::write(&config, "a: 22").unwrap();
    bench.ledger.look();
    let told = bench.told();
    assert!(told.len() == 1 && told[0].starts_with("config_file"), "{told:?}");
    later.process.argv = found.process.argv.clone();
    later.process.argv.pop();
    later.process.argv.push("2".into());
    bench.hears_again(&later);
    assert_eq!(bench.told(), ["argv added=\"--seed 2\" removed=\"--seed 1\""]);
    end(child);
}

#[test]
fn what_ran_before_the_agent_does_not_begin() {
    let mut bench = Bench::new(u64::MAX);
    let (child, found) = server(&["--port", "1"], &[]);
    bench.begins(&found);
    assert!(bench.told().is_empty());
    // No rule wants it for a while.
    bench.ledger.began_ticks = 0;
    bench.ledger.hear(Tell::LetGo { pid: found.process.pid, at_ns: 1 });
    bench.begins(&found);
    assert!(bench.told().is_empty());
    end(child);
    bench.ends(&found, Exit { code: Some(3 << 8), oom: None });
    assert_eq!(bench.told(), [r#"exit cause="exit_code" process="root" exit_code=3"#]);
}

#[test]
fn helpers_are_told_only_when_they_fail_and_not_without_end() {
    let mut bench = Bench::new(0);
    let exit =
        |pid, code| Tell::Exit { service: "s".into(), pid, at_ns: 1, exit: Exit { code: Some(code), oom: None } };
    bench.ledger.hear(exit(4_000_000, 0));
    assert!(bench.told().is_empty());
    (0..PER_MINUTE + 7).for_each(|n| bench.ledger.hear(exit(4_000_000 + n, 11)));
    assert_eq!(bench.told().len(), PER_MINUTE as usize);
    bench.ledger.look();
    assert!(bench.told().is_empty(), "its minute is not over");
    bench.ledger.told.values_mut().for_each(|(since, _)| *since = since.checked_sub(MINUTE).unwrap());
    bench.ledger.look();
    assert_eq!(bench.told(), ["more changes=7"]);
}

#[test]
fn what_is_past_is_bounded() {
    let mut bench = Bench::new(0);
    let (child, found) = server(&["--port", "1"], &[]);
    for number in 0..PAST as u64 + 9 {
        let process =
            Process { start_ticks: number, argv: vec!["x".into(), number.to_string()], ..found.process.clone() };
        let found = Found { service: format!("s{number}"), process, ..found.clone() };
        bench.begins(&found);
        bench.ends(&found, KILLED);
    }
    end(child);
    assert_eq!((bench.ledger.past.len(), bench.ledger.living.len()), (PAST, 0));
}

#[test]
fn an_end_that_nobody_saw_is_noticed() {
    let mut bench = Bench::new(0);
    let (child, found) = server(&["--port", "1"], &[]);
    bench.begins(&found);
    bench.ledger.look();
    end(child);
    bench.ledger.look();
    assert_eq!(bench.told().len(), 1, "its end may be on its way");
    bench.ledger.look();
    assert_eq!(
        (bench.told(), bench.ledger.living.len()),
        (vec![r#"exit cause="unknown" process="root""#.to_owned()], 0)
    );
}

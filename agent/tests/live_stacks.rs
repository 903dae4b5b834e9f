//! Live: stacks of `attach`. Functions of small programs are found by their names, in their threads and phases, whatever
//! happens to the file that they came from; Python's with who held the GIL.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use agent::export::pprof::Pprof;
use prost::Message;
use support::{
    child::{Lines, Running},
    client::{Client, Request},
    live, locate,
    transport::Target,
};

const SOON: Duration = Duration::from_secs(30);
/// Places of the values.
const CPU: usize = 1;
const PYTHON: usize = 2;
const HELD: usize = 3;
const WAITED: usize = 4;

/// One sample: its labels, its functions from the innermost, its values.
struct Stack {
    labels: BTreeMap<String, String>,
    functions: Vec<String>,
    values: Vec<i64>,
}

struct Stacks(Vec<Stack>);

impl Stacks {
    fn read(file: &Path) -> Self {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_end(&mut bytes).unwrap();
        let profile = Pprof::decode(bytes.as_slice()).unwrap();
        let text = |at: i64| profile.string_table[at as usize].clone();
        assert_eq!(text(0), "");
        let units: Vec<_> = profile.sample_type.iter().map(|value| text(value.r#type)).collect();
        assert_eq!(units, ["samples", "cpu", "python", "gil_held", "gil_wait"]);
        let function = |location: &u64| {
            let location = &profile.location[*location as usize - 1];
            text(profile.function[location.line[0].function_id as usize - 1].name)
        };
        let stack = |sample: &agent::export::pprof::Sample| Stack {
            labels: sample
                .label
                .iter()
                .map(|l| (text(l.key), if l.str == 0 { l.num.to_string() } else { text(l.str) }))
                .collect(),
            functions: sample.location_id.iter().map(function).collect(),
            values: sample.value.clone(),
        };
        Self(profile.sample.iter().map(stack).collect())
    }

    /// The sum of a value over the stacks that are wanted.
    fn sum(&self, value: usize, wanted: impl Fn(&Stack) -> bool) -> i64 {
        self.0.iter().filter(|stack| wanted(stack)).map(|stack| stack.values[value]).sum()
    }
}

impl Stack {
    fn has(&self, function: &str) -> bool {
        self.functions.iter().any(|name| name.ends_with(function))
    }

    fn is(&self, label: &str, value: &str) -> bool {
        self.labels.get(label).is_some_and(|of| of == value)
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stacks").join(name)
}

/// The C program, built with frame pointers.
fn build(folder: &Path) -> Option<PathBuf> {
    let program = folder.join("spin");
    let mut compiler = Command::new("cc");
    compiler.args(["-O0", "-fno-omit-frame-pointer", "-pthread", "-o"]);
    let built = compiler.arg(&program).arg(data("spin.c")).status();
    built.is_ok_and(|status| status.success()).then_some(program)
}

fn started(mut command: Command) -> (Running, String) {
    command.stdin(std::process::Stdio::piped());
    let running = Running::start(command, Lines::Stdout).unwrap();
    let line = running.wait_line(SOON, |line| line.starts_with("up").then(|| line.to_owned())).unwrap();
    (running, line)
}

fn attach(pid: u32, file: &Path, duration: &str, more: &[&str]) -> Command {
    let mut command = Command::new(locate::agent().unwrap());
    command.args(["attach", "--pid", &pid.to_string(), "--duration", duration, "--out"]).arg(file).args(more);
    command
}

fn words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

fn pprof(pid: u32, folder: &Path) -> (Stacks, String) {
    let file = folder.join("profile");
    let said = words(&attach(pid, &file, "2s", &["--format", "pprof"]).output().unwrap());
    (Stacks::read(&file), said)
}

/// Both threads spent nearly all their time in their own function, and none in the other's.
fn assert_both(stacks: &Stacks) {
    for (thread, own, other) in [("alpha", "alpha_outer", "beta_outer"), ("beta", "beta_outer", "alpha_outer")] {
        let all = stacks.sum(CPU, |stack| stack.is("thread", thread));
        let in_own = stacks.sum(CPU, |stack| stack.is("thread", thread) && stack.has(own));
        assert!(all > 0 && in_own * 10 >= all * 9, "{thread}: {in_own} of {all} ns in {own}");
        assert_eq!(stacks.sum(CPU, |stack| stack.is("thread", thread) && stack.has(other)), 0);
    }
}

#[test]
fn stacks_have_the_names_of_their_functions() {
    let Some(_guard) = live::begin("stacks_have_the_names_of_their_functions") else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = build(folder.path()) else {
        return live::skip("stacks_have_the_names_of_their_functions", "no C compiler");
    };
    let (spin, _) = started(Command::new(&program));
    let (stacks, _) = pprof(spin.pid(), folder.path());
    assert_both(&stacks);
    let inner = stacks.0.iter().filter(|stack| stack.has("alpha_inner"));
    assert!(inner.clone().count() > 0 && inner.clone().all(|stack| stack.has("alpha_outer")));
    // No request was seen, so no phase is told.
    assert!(stacks.0.iter().all(|stack| stack.is("phase", "no requests")));
}

#[test]
fn a_deleted_file_and_one_of_another_mount_namespace_have_names() {
    let Some(_guard) = live::begin("a_deleted_file_and_one_of_another_mount_namespace_have_names") else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = build(folder.path()) else {
        return live::skip("a_deleted_file_and_one_of_another_mount_namespace_have_names", "no C compiler");
    };
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let mut hidden = Command::new("unshare");
    let script =
        format!("mount -t tmpfs none {0} && cp {1} {0}/hidden && exec {0}/hidden", inside.display(), program.display());
    hidden.args(["--mount", "sh", "-c", &script]);
    let (hidden, _) = started(hidden);
    let (deleted, _) = started(Command::new(&program));
    std::fs::remove_file(&program).unwrap();
    assert!(!inside.join("hidden").exists());
    for pid in [deleted.pid(), hidden.pid()] {
        assert_both(&pprof(pid, folder.path()).0);
    }
}

#[test]
fn a_stripped_file_is_told_by_module_and_offset() {
    let Some(_guard) = live::begin("a_stripped_file_is_told_by_module_and_offset") else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path());
    let stripped = program.as_ref().is_some_and(|p| Command::new("strip").arg(p).status().is_ok_and(|s| s.success()));
    let (Some(program), true) = (program, stripped) else {
        return live::skip("a_stripped_file_is_told_by_module_and_offset", "no C compiler, or no strip");
    };
    let (spin, _) = started(Command::new(&program));
    let (stacks, said) = pprof(spin.pid(), folder.path());
    let nameless = stacks.sum(CPU, |stack| stack.functions.first().is_some_and(|name| name.starts_with("spin+0x")));
    assert!(nameless > 0 && !stacks.0.iter().any(|stack| stack.has("alpha_outer")));
    assert!(said.contains("have no name") && said.contains(": in spin"), "{said}");
}

#[test]
fn a_process_that_ends_meanwhile_keeps_its_names() {
    let Some(_guard) = live::begin("a_process_that_ends_meanwhile_keeps_its_names") else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = build(folder.path()) else {
        return live::skip("a_process_that_ends_meanwhile_keeps_its_names", "no C compiler");
    };
    let (mut spin, _) = started(Command::new(&program));
    let file = folder.path().join("profile");
    let mut attach = Running::start(attach(spin.pid(), &file, "10m", &["--format", "pprof"]), Lines::Stderr).unwrap();
    attach.wait_line(SOON, |line| line.starts_with("watching").then_some(())).unwrap();
    // Until it has used two ticks of a second's hundred of each thread, it has been sampled.
    let used = || support::schedstat::read(spin.pid()).unwrap().oncpu_ns;
    let before = used();
    while used() - before < 1_000_000_000 {
        std::thread::yield_now();
    }
    spin.tell("end").unwrap();
    assert!(attach.wait(SOON).unwrap().success());
    assert_both(&Stacks::read(&file));
}

/// CPython of this host, and of pyenv if it is there.
fn pythons() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let versions = std::fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    let mut all: Vec<_> = versions.map(|entry| entry.path().join("bin/python3")).collect();
    all.push("/usr/bin/python3".into());
    let minor = |python: &PathBuf| {
        let asked = Command::new(python).args(["-c", "import sys; print(sys.version_info[1])"]).output().ok()?;
        String::from_utf8_lossy(&asked.stdout).trim().parse::<u32>().ok()
    };
    all.retain(|python| minor(python).is_some_and(|minor| (9..=14).contains(&minor)));
    all.sort();
    all
}

#[test]
fn python_functions_are_told_with_who_holds_the_gil() {
    let Some(_guard) = live::begin("python_functions_are_told_with_who_holds_the_gil") else { return };
    let folder = tempfile::tempdir().unwrap();
    let pythons = pythons();
    if pythons.is_empty() {
        return live::skip("python_functions_are_told_with_who_holds_the_gil", "no CPython 3.9 to 3.14");
    }
    for python in pythons {
        let mut command = Command::new(&python);
        command.arg(data("gil.py"));
        let (running, _) = started(command);
        let (stacks, said) = pprof(running.pid(), folder.path());
        let whose = python.display();
        let held = |function: &str| stacks.sum(HELD, |stack| stack.has(function));
        assert!(held("inner_work") > 0, "{whose}: {said}");
        assert!(stacks.sum(WAITED, |stack| stack.has("spin")) > 0, "{whose}: no one waited");
        let all = stacks.sum(HELD, |_| true);
        assert!(held("spin") * 10 >= all * 9, "{whose}: {} of {all}", held("spin"));
        assert!(stacks.sum(PYTHON, |stack| stack.has("stands_still")) > 0, "{whose}");
        assert_eq!(held("stands_still"), 0, "{whose}");
        // The reader keeps to a hundredth of a CPU: on a slow one it looks less often, and fewer samples are near a look.
        let merged = stacks.sum(CPU, |stack| stack.has("inner_work") && stack.has("spin"));
        assert!(merged * 2 >= stacks.sum(CPU, |_| true), "{whose}: {merged}");
        assert!(said.contains("GIL of process"), "{said}");
    }
}

#[test]
fn phases_are_told_apart() {
    let Some(_guard) = live::begin("phases_are_told_apart") else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(python) = pythons().into_iter().next_back() else {
        return live::skip("phases_are_told_apart", "no CPython 3.9 to 3.14");
    };
    let mut command = Command::new(python);
    command.arg(data("phases.py"));
    let (server, line) = started(command);
    let target = Target::parse(&format!("http://127.0.0.1:{}", line.trim_start_matches("up "))).unwrap();
    let file = folder.path().join("profile");
    let mut attach = Running::start(attach(server.pid(), &file, "10m", &["--format", "pprof"]), Lines::Stderr).unwrap();
    attach.wait_line(SOON, |line| line.starts_with("watching").then_some(())).unwrap();
    for _ in 0..2 {
        let outcome = Client::new(&target).send(&Request::chat("m", "hi", 8, true)).unwrap();
        assert_eq!(outcome.content_chunks, 8);
    }
    assert!(attach.stop(libc::SIGINT, SOON).unwrap().success());
    let stacks = Stacks::read(&file);
    for (function, phase) in [("burn_prefill", "prefill"), ("burn_decode", "decode")] {
        let all = stacks.sum(CPU, |stack| stack.has(function));
        let right = stacks.sum(CPU, |stack| stack.has(function) && stack.is("phase", phase));
        assert!(all > 0 && right * 10 >= all * 9, "{function}: {right} of {all} ns in {phase}");
    }
    let lines = attach.lines().join("\n");
    assert!(lines.contains("prefill: ") && lines.contains("decode: "), "{lines}");
}

#[test]
fn a_flame_graph_and_a_timeline_name_the_functions() {
    let Some(_guard) = live::begin("a_flame_graph_and_a_timeline_name_the_functions") else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = build(folder.path()) else {
        return live::skip("a_flame_graph_and_a_timeline_name_the_functions", "no C compiler");
    };
    let (spin, _) = started(Command::new(&program));
    let file = folder.path().join("out");
    words(&attach(spin.pid(), &file, "1s", &["--format", "flamegraph"]).output().unwrap());
    let svg = std::fs::read_to_string(&file).unwrap();
    assert!(svg.contains("<svg") && svg.contains("alpha_outer") && svg.contains("beta_outer"));
    words(&attach(spin.pid(), &file, "1s", &[]).output().unwrap());
    let names = |bytes: &[u8]| bytes.windows(11).any(|part| part == b"alpha_outer");
    assert!(names(&std::fs::read(&file).unwrap()));
    words(&attach(spin.pid(), &file, "1s", &["--no-stacks"]).output().unwrap());
    assert!(!names(&std::fs::read(&file).unwrap()));
}

//! Places of probes in files that a compiler made, against what the running programs say of themselves.

use agent::elf::{Argument, Base, Error, Site, Target, Unreadable, mapped, sites};
use agent::profile::maps::mappings;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::live::skip;

mod processes;

const PROC: &str = "/proc";

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/elf").join(name)
}

/// None, and why in words, where there is no compiler, or not for such programs.
fn compile(test: &str, to: &Path, flags: &[&str], sources: &[&str]) -> Option<()> {
    let mut compiler = Command::new("cc");
    compiler.arg("-O1").args(flags).arg("-o").arg(to).args(sources.iter().map(|name| source(name)));
    match compiler.stderr(Stdio::piped()).output() {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            skip(
                test,
                &format!("cc cannot make such a program: {flags:?}: {}", text.lines().next().unwrap_or_default()),
            );
            None
        }
        Err(error) => {
            skip(test, &format!("there is no cc: {error}"));
            None
        }
    }
}

fn program(test: &str, to: &Path, flags: &[&str]) -> Option<()> {
    compile(test, to, flags, &["probed.c", "other.c"])
}

/// The program while it runs, and where it says that its parts are in its memory.
struct Running {
    child: Child,
    addresses: HashMap<String, u64>,
}

impl Running {
    fn start(mut command: Command) -> Option<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let mut addresses = HashMap::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if line == "." {
                break;
            }
            if let Some((name, hex)) = line.split_once(" 0x") {
                addresses.insert(name.to_owned(), u64::from_str_radix(hex, 16).unwrap());
            }
        }
        (!addresses.is_empty()).then_some(Self { child, addresses })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where in its file a part is, by the kernel's word.
    fn offset(&self, name: &str) -> u64 {
        let at = self.addresses[name];
        let all = mappings(self.pid(), |_| true).unwrap();
        let mapping = all.iter().find(|mapping| (mapping.start..mapping.end).contains(&at)).unwrap();
        at - mapping.start + mapping.offset
    }

    fn offsets(&self, names: &[&str]) -> Vec<u64> {
        let mut offsets: Vec<_> = names.iter().map(|name| self.offset(name)).collect();
        offsets.sort_unstable();
        offsets
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn function(path: &Path, symbol: &str) -> Result<Vec<Site>, Error> {
    sites(path, Target::Function { symbol })
}

fn usdt(path: &Path, name: &str) -> Result<Vec<Site>, Error> {
    sites(path, Target::Usdt { provider: "demo", name })
}

fn offsets(sites: Result<Vec<Site>, Error>) -> Vec<u64> {
    sites.unwrap().iter().map(|site| site.file_offset).collect()
}

fn said(sites: Result<Vec<Site>, Error>) -> String {
    sites.unwrap_err().to_string()
}

#[cfg(target_arch = "x86_64")]
const INTEGER: Base = Base::Register(112);
#[cfg(target_arch = "aarch64")]
const INTEGER: Base = Base::Register(0);

fn assert_probes(path: &Path, running: &Running) {
    let found = usdt(path, "request").unwrap();
    let places: Vec<_> = found.iter().map(|site| site.file_offset).collect();
    assert_eq!(places, running.offsets(&["request_site_1", "request_site_2"]));
    let semaphore = Some(running.offset("semaphore"));
    assert!(found.iter().all(|site| site.semaphore_offset == semaphore), "{found:?}");
    let first = found.iter().find(|site| site.file_offset == running.offset("request_site_1")).unwrap();
    let at = |base, size, signed| Argument { base, at: None, size, signed };
    assert_eq!(first.arguments[..2], [at(INTEGER, 4, true), at(Base::Constant(-5), 8, false)]);
    assert_eq!(first.arguments[2].base, Base::Unreadable(Unreadable::Indexed));
    let idle = usdt(path, "idle").unwrap();
    assert_eq!(idle[0].file_offset, running.offset("idle_site"));
    assert_eq!((idle[0].semaphore_offset, idle[0].arguments.len()), (None, 0));
    assert!(said(usdt(path, "requests")).contains("it has demo:request, demo:idle"));
}

fn assert_functions(path: &Path, running: &Running) {
    let begin = function(path, "begin").unwrap();
    assert_eq!((begin.len(), begin[0].file_offset), (1, running.offset("begin")));
    assert_eq!((begin[0].arguments.len(), begin[0].arguments[0].base), (6, INTEGER));
    assert_eq!(offsets(function(path, "twice")), running.offsets(&["twice", "other_twice"]));
    for (written, name) in [
        ("_ZN6engine4stepEi", "step_int"),
        ("engine::step(int)", "step_int"),
        ("engine::step( long )", "step_long"),
        ("engine::Batch::add", "add"),
        ("engine::Batch::add(int)", "add"),
    ] {
        assert_eq!(offsets(function(path, written)), [running.offset(name)], "{written}");
    }
    let both = said(function(path, "engine::step"));
    assert!(both.contains("_ZN6engine4stepEi, _ZN6engine4stepEl"), "{both}");
    let spelt = said(function(path, "Batch::add"));
    assert!(spelt.contains("did you mean _ZN6engine5Batch3addEi"), "{spelt}");
    assert!(said(function(path, "begni")).contains("did you mean begin"));
    assert!(matches!(function(path, "chosen"), Err(Error::Indirect(_))));
    assert!(matches!(function(path, "table"), Err(Error::NotCode(_))));
}

#[test]
fn places_are_where_the_running_program_says() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [&[] as &[&str], &["-no-pie"], &["-static"], &["-static-pie"], &["-Wl,-z,noseparate-code"]] {
        let path = folder.path().join(format!("probed{}", flags.concat().replace(',', "")));
        let Some(()) = program("places_are_where_the_running_program_says", &path, flags) else { continue };
        let running = Running::start(Command::new(&path)).unwrap();
        assert_probes(&path, &running);
        assert_functions(&path, &running);
        assert!(matches!(usdt(&path, ""), Err(Error::NoProbe { .. })));
    }
}

#[test]
fn a_stripped_program_has_its_probes_and_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probed");
    let test = "a_stripped_program_has_its_probes_and_says_what_it_lacks";
    let Some(()) = program(test, &path, &["-s"]) else { return };
    let running = Running::start(Command::new(&path)).unwrap();
    assert_probes(&path, &running);
    assert!(said(function(&path, "begin")).contains("stripped"));
    assert!(matches!(function(&path, "printf"), Err(Error::Imported(_))));
    assert!(said(function(&path, "")).contains("no name"));
}

#[test]
fn versions_of_a_library_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("-Wl,--version-script={}", source("library.map").display());
    let test = "versions_of_a_library_are_told_apart";
    for strip in [None, Some("-s")] {
        let path = folder.path().join("libanswer.so.1.2");
        let mut flags = vec!["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1", &script];
        flags.extend(strip);
        let Some(()) = compile(test, &path, &flags, &["library.c"]) else { return };
        let [first, second] = ["first_answer", "second_answer"].map(|name| offsets(function(&path, name))[0]);
        let mut both = [first, second];
        both.sort_unstable();
        assert_eq!(offsets(function(&path, "answer")), both);
        for (name, place) in [("answer@DEMO_1", first), ("answer@@DEMO_2", second), ("answer@DEMO_2", second)] {
            assert_eq!(offsets(function(&path, name)), [place], "{name} {strip:?}");
        }
        assert!(matches!(function(&path, "answer@DEMO_3"), Err(Error::NoFunction { .. })));
        let inner = function(&path, "inner_answer");
        assert_eq!(inner.is_ok(), strip.is_none(), "{inner:?}");
        assert!(matches!(usdt(&path, "request"), Err(Error::NoProbes)));
    }
}

#[test]
fn a_file_that_is_cut_or_is_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probed");
    let test = "a_file_that_is_cut_or_is_something_else_is_refused";
    let Some(()) = program(test, &path, &[]) else { return };
    let bytes = fs::read(&path).unwrap();
    let cut = folder.path().join("cut");
    // The section headers are at the end.
    for end in (0..bytes.len()).step_by(97) {
        fs::write(&cut, &bytes[..end]).unwrap();
        assert!(function(&cut, "begin").is_err() && usdt(&cut, "request").is_err(), "{end} bytes");
    }
    let other = |at: usize, new: &[u8]| {
        let mut other = bytes.clone();
        other[at..at + new.len()].copy_from_slice(new);
        fs::write(&cut, &other).unwrap();
        function(&cut, "begin")
    };
    assert!(matches!(other(0, b"\x7fBAD"), Err(Error::NotElf)));
    assert!(matches!(other(4, &[1]), Err(Error::Narrow)));
    assert!(matches!(other(5, &[2]), Err(Error::Foreign(_))));
    assert!(matches!(other(16, &[1, 0]), Err(Error::Kind)));
    // IBM's.
    assert!(matches!(other(18, &[22, 0]), Err(Error::Foreign(_))));
    let foreign = if cfg!(target_arch = "x86_64") { [183, 0] } else { [62, 0] };
    assert!(matches!(other(18, &foreign), Err(Error::Foreign("arm64" | "x86-64"))));
    // No section headers.
    assert!(matches!(other(40, &[0; 8]), Err(Error::Headless)));
    assert!(matches!(other(40, &[0xff; 8]), Err(Error::Broken(_))));
    assert!(matches!(function(folder.path(), "begin"), Err(Error::Irregular)));
    assert!(matches!(function(Path::new("/dev/zero"), "begin"), Err(Error::Irregular)));
    assert!(matches!(function(&folder.path().join("none"), "begin"), Err(Error::Read(_))));
}

#[test]
fn functions_of_the_own_c_library_are_where_they_run() {
    let pid = std::process::id();
    let Some(library) = processes::file(pid, "libc.so.6") else {
        return skip("functions_of_the_own_c_library_are_where_they_run", "this program does not use glibc");
    };
    let place = function(&library.path, "getpid").unwrap();
    let at = libc::getpid as *const () as u64;
    let all = mappings(pid, |mapping| mapping.executable).unwrap();
    let mapping = all.iter().find(|mapping| (mapping.start..mapping.end).contains(&at)).unwrap();
    assert_eq!(place[0].file_offset, at - mapping.start + mapping.offset);
    assert_eq!(function(&library.path, "getpid@@GLIBC_2.2.5").is_ok(), cfg!(target_arch = "x86_64"));
    assert!(matches!(function(&library.path, "memcpy"), Err(Error::Indirect(_))));
    assert!(said(function(&library.path, "getpidd")).contains("getpid"));
}

#[test]
fn the_c_plus_plus_library_has_its_probes() {
    let test = "the_c_plus_plus_library_has_its_probes";
    let Ok(output) = Command::new("cc").arg("-print-file-name=libstdc++.so.6").output() else {
        return skip(test, "there is no cc to say where libstdc++ is");
    };
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    if !path.is_absolute() {
        return skip(test, "there is no libstdc++");
    }
    let probe = |name| sites(&path, Target::Usdt { provider: "libstdcxx", name });
    if matches!(probe("catch"), Err(Error::NoProbes)) {
        return skip(test, "this libstdc++ was built without probes");
    }
    for name in ["catch", "throw", "rethrow"] {
        let found = probe(name).unwrap();
        assert!(!found.is_empty() && found.iter().all(|site| site.semaphore_offset.is_none()), "{found:?}");
        for argument in found.iter().flat_map(|site| &site.arguments) {
            assert!(matches!(argument.base, Base::Register(_)) && argument.size == 8, "{found:?}");
        }
    }
    assert!(said(probe("cach")).contains("libstdcxx:catch"));
    let terminate = function(&path, "std::terminate()").unwrap();
    assert_eq!(terminate, function(&path, "_ZSt9terminatev").unwrap());
}

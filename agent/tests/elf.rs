//! Places of probes in files that a compiler made, against what the running programs say of themselves.
#![allow(clippy::unwrap_used)]

use agent::elf::{Argument, Base, Error, Site, Target, Unreadable, mapped, sites};
use agent::profile::maps::mappings;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::live::skip;

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

fn identity(path: &Path) -> (u64, u64) {
    let meta = fs::metadata(path).unwrap();
    (meta.dev(), meta.ino())
}

/// The only file that a process calls so.
fn file(pid: u32, name: &str) -> Option<mapped::Mapped> {
    let mut files = mapped::files(Path::new(PROC), pid, name);
    assert!(files.len() <= 1, "{name}: {files:?}");
    files.pop()
}

#[test]
fn the_program_of_a_process_is_found_when_it_has_been_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("a probed program");
    let test = "the_program_of_a_process_is_found_when_it_has_been_deleted";
    let Some(()) = program(test, &path, &[]) else { return };
    let running = Running::start(Command::new(&path)).unwrap();
    let own = identity(&path);
    let names = ["exe", "a probed program", path.to_str().unwrap()];
    let assert_found = |names: &[&str]| {
        for name in names {
            let found = file(running.pid(), name).unwrap();
            assert_eq!((found.device, found.inode), own, "{name}");
            assert_probes(&found.path, &running);
        }
    };
    assert_found(&names);
    assert_eq!(file(running.pid(), "probed program"), None);
    fs::remove_file(&path).unwrap();
    assert_found(&names);
    // Another stands in its place, as after an upgrade.
    fs::write(&path, b"new").unwrap();
    assert_found(&names);
    assert_eq!(file(running.pid(), "/no/such/file"), None);
    assert_eq!(file(u32::MAX, "exe"), None);
}

#[test]
fn a_library_is_found_by_the_name_that_its_users_have_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().canonicalize().unwrap();
    let test = "a_library_is_found_by_the_name_that_its_users_have_for_it";
    let (library, link, program) = (at.join("libanswer.so.1.2"), at.join("libanswer.so.1"), at.join("probed"));
    let script = format!("-Wl,--version-script={}", source("library.map").display());
    let flags = ["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1", &script];
    let Some(()) = compile(test, &library, &flags, &["library.c"]) else { return };
    std::os::unix::fs::symlink("libanswer.so.1.2", &link).unwrap();
    let search = format!("-Wl,-rpath,{}", at.display());
    let (folder, beside) = (format!("-L{}", at.display()), "-l:libanswer.so.1");
    let flags = ["-Wl,--no-as-needed", &search, &folder, beside];
    let Some(()) = compile(test, &program, &flags, &["probed.c", "other.c"]) else { return };
    let running = Running::start(Command::new(&program)).unwrap();
    let own = identity(&library);
    let names = ["libanswer.so.1.2", "libanswer.so.1", library.to_str().unwrap(), link.to_str().unwrap()];
    for name in names {
        let found = file(running.pid(), name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((found.device, found.inode), own, "{name}");
        assert!(function(&found.path, "answer").is_ok());
    }
    assert_eq!(file(running.pid(), "libanswer.so.2"), None);
    // Without the link, by what the library says of itself.
    fs::remove_file(&link).unwrap();
    fs::rename(&library, at.join("libanswer.so.1.2.old")).unwrap();
    let found = file(running.pid(), "libanswer.so.1").unwrap();
    assert_eq!((found.device, found.inode), own);
    assert_eq!(file(running.pid(), "libansw"), None);
}

#[test]
fn a_program_in_another_mount_namespace_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let test = "a_program_in_another_mount_namespace_is_reached";
    let (path, root) = (folder.path().join("probed"), folder.path().join("root"));
    let Some(()) = program(test, &path, &["-static-pie"]) else { return };
    fs::create_dir(&root).unwrap();
    let mut command = Command::new("unshare");
    let inside = "mount -t tmpfs tmpfs \"$1\" && mkdir \"$1/bin\" && cp \"$0\" \"$1/bin/probed\" && \
        ln -s /bin/probed \"$1/link\" && cp \"$0\" \"$1/bin/idle\" && exec chroot \"$1\" /bin/probed";
    command.args(["--mount", "--propagation", "private", "sh", "-c", inside]).arg(&path).arg(&root);
    let Some(running) = Running::start(command) else {
        return skip(test, "no new mount namespace may be made here");
    };
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "what is inside is not seen from outside");
    for name in ["exe", "probed", "/bin/probed", "/link"] {
        let found = file(running.pid(), name).unwrap_or_else(|| panic!("{name}"));
        assert_ne!((found.device, found.inode), identity(&path), "{name}");
        assert_probes(&found.path, &running);
    }
    // Not loaded yet.
    let idle = file(running.pid(), "/bin/idle").unwrap();
    assert_eq!(offsets(usdt(&idle.path, "idle")), [running.offset("idle_site")]);
    assert_eq!(file(running.pid(), "idle"), None);
    assert_eq!(file(running.pid(), path.to_str().unwrap()), None, "its root has no such file");
}

/// A process as /proc shows it to who may not follow its mappings: text of its maps, its root, and its program.
fn seen(folder: &Path, maps: &str, root: &Path, exe: &Path) -> PathBuf {
    let proc = folder.join("proc");
    let process = proc.join("7");
    fs::create_dir_all(&process).unwrap();
    fs::write(process.join("maps"), maps).unwrap();
    std::os::unix::fs::symlink(root, process.join("root")).unwrap();
    std::os::unix::fs::symlink(exe, process.join("exe")).unwrap();
    proc
}

#[test]
fn without_leave_to_follow_mappings_files_are_found_by_their_paths_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().canonicalize().unwrap();
    let root = at.join("root");
    fs::create_dir_all(root.join("lib")).unwrap();
    for name in ["lib/libone.so.1.5", "lib/libtwo.so", "lib/libthree.so", "program"] {
        fs::write(root.join(name), name).unwrap();
    }
    // Outside of the root, and a link that leads there.
    fs::write(at.join("libfour.so"), "four").unwrap();
    for (to, link) in [("libone.so.1.5", "lib/libone.so.1"), ("../../libfour.so", "lib/libfour.so")] {
        std::os::unix::fs::symlink(to, root.join(link)).unwrap();
    }
    std::os::unix::fs::symlink("/lib/libtwo.so", root.join("two")).unwrap();
    let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    let maps = format!(
        "7f0000000000-7f0000001000 r-xp 00000000 08:01 {one} {root}/lib/libone.so.1.5\n\
         7f0000001000-7f0000002000 r-xp 00001000 08:01 {one} {root}/lib/libone.so.1.5\n\
         7f0000002000-7f0000003000 r-xp 00000000 08:01 {two} {root}/lib/libtwo.so\n\
         7f0000003000-7f0000004000 r--p 00000000 08:01 {three} {root}/lib/libthree.so\n\
         7f0000004000-7f0000005000 r-xp 00000000 08:01 1 {root}/lib/libthree.so\n\
         7f0000005000-7f0000006000 r-xp 00000000 08:01 {program} {root}/gone (deleted)\n\
         7f0000006000-7f0000007000 r-xp 00000000 00:00 0 [vdso]\n\
         nonsense\n",
        one = inode("lib/libone.so.1.5"),
        two = inode("lib/libtwo.so"),
        three = inode("lib/libthree.so"),
        program = inode("program"),
        root = root.display(),
    );
    let proc = seen(&at, &maps, &root, &root.join("program"));
    let found = |name: &str| {
        let files = mapped::files(&proc, 7, name);
        files
            .iter()
            .map(|file| file.path.canonicalize().unwrap().strip_prefix(&at).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for name in ["libone.so.1.5", "libone.so.1", "/lib/libone.so.1.5", "/lib/libone.so.1"] {
        assert_eq!(found(name), [Path::new("root/lib/libone.so.1.5")], "{name}");
    }
    assert_eq!(found("/two"), [Path::new("root/lib/libtwo.so")]);
    assert_eq!(found("gone"), [Path::new("root/program")], "by the program's own link");
    assert_eq!(found("exe"), [Path::new("root/program")]);
    // Another file than that which is mapped.
    assert!(found("libthree.so").is_empty());
    for name in ["", "libfour.so", "/lib/libfour.so", "/lib", "/", "lib", "..", "/../libfour.so", "a\0b", "[vdso]"] {
        assert!(found(name).is_empty(), "{name:?}");
    }
    // Not mapped as code, but there.
    assert_eq!(found("/lib/libthree.so"), [Path::new("root/lib/libthree.so")]);
    assert!(mapped::files(&proc, 8, "exe").is_empty() && mapped::files(&proc, 8, "/program").is_empty());
}

#[test]
fn functions_of_the_own_c_library_are_where_they_run() {
    let pid = std::process::id();
    let Some(library) = file(pid, "libc.so.6") else {
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

//! Configuration files that a command line names, as its process sees them: size, time and a keyed hash of the content,
//! which is never kept. Files are read again only when their size, time or inode is another.

use std::{
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::secrets;

/// Files of a service that are followed.
const FILES: usize = 16;
/// The most that is read of one; of a longer one the beginning stands for the whole.
const CONTENT_BYTES: u64 = 8 << 20;
/// Ends of the names of options whose value is a file.
const OPTIONS: [&str; 9] =
    ["config", "config-file", "config-path", "conf", "preset", "presets", "template", "template-file", "api-options"];

/// A file as it was last.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// As the command line has it.
    pub path: String,
    /// None while it cannot be read.
    state: Option<State>,
    /// It was not there at the last look: editors replace files in two steps.
    missed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    inode: u64,
    mtime: (i64, i64),
    size: u64,
    hash: u64,
}

/// A file with another content than before.
#[derive(Debug, PartialEq, Eq)]
pub struct Changed {
    pub path: String,
    pub old_bytes: u64,
    /// None if it is gone.
    pub new_bytes: Option<u64>,
}

/// The files of a command line that can be read.
pub fn named(argv: &[String], pid: u32, hasher: &RandomState) -> Vec<ConfigFile> {
    let mut files: Vec<ConfigFile> = Vec::new();
    for path in paths(argv) {
        if files.len() < FILES && !files.iter().any(|file| file.path == path) {
            let state = open(&path, pid).and_then(|file| read(&file, None, hasher));
            // What is no file is a value that looks like one.
            files.extend(state.map(|state| ConfigFile { path, state: Some(state), missed: false }));
        }
    }
    files
}

/// Values of options that name files.
fn paths(argv: &[String]) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, arg) in argv.iter().enumerate() {
        let Some(name) = arg.strip_prefix("--") else { continue };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, argv.get(at + 1).map(String::as_str)),
        };
        let name = name.replace('_', "-");
        let ends = |end: &str| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('-'));
        let Some(value) = value.filter(|value| !value.is_empty() && !value.starts_with(['-', '{'])) else { continue };
        if OPTIONS.iter().any(|end| ends(end)) && !secrets::is_secret_name(&name) && !secrets::looks_secret(value) {
            paths.push(value.to_owned());
        }
    }
    paths
}

/// Opens a regular file as the process sees it: below its root, from its working directory, never out of it.
fn open(path: &str, pid: u32) -> Option<File> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, format!("/proc/{pid}/root"), directory, Mode::empty()).ok()?;
    let inside: PathBuf = match path.starts_with('/') {
        true => path.into(),
        false => std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?.join(path),
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(root, Path::new(&inside), flags, Mode::empty(), within).ok()?);
    file.metadata().is_ok_and(|file| file.is_file()).then_some(file)
}

/// What a file is now; its content is taken for that of before if nothing else is another.
fn read(file: &File, before: Option<State>, hasher: &RandomState) -> Option<State> {
    let meta = file.metadata().ok()?;
    let (inode, mtime, size) = (meta.ino(), (meta.mtime(), meta.mtime_nsec()), meta.len());
    if let Some(before) = before.filter(|before| (before.inode, before.mtime, before.size) == (inode, mtime, size)) {
        return Some(before);
    }
    let mut hash = hasher.build_hasher();
    let (mut content, mut piece) = (file.take(CONTENT_BYTES), [0; 16 << 10]);
    loop {
        match content.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => hash.write(&piece[..count]),
            Err(_) => return None,
        }
    }
    Some(State { inode, mtime, size, hash: hash.finish() })
}

/// Looks at the files again.
pub fn changed(files: &mut [ConfigFile], pid: u32, hasher: &RandomState) -> Vec<Changed> {
    let mut all = Vec::new();
    for file in files {
        let now = open(&file.path, pid).and_then(|opened| read(&opened, file.state, hasher));
        let missed = std::mem::replace(&mut file.missed, now.is_none());
        let tell = |before: State, new_bytes| Changed { path: file.path.clone(), old_bytes: before.size, new_bytes };
        match (file.state, now) {
            (Some(before), Some(now)) => {
                all.extend((before.hash != now.hash || before.size != now.size).then(|| tell(before, Some(now.size))));
                file.state = Some(now);
            }
            (Some(before), None) if missed => {
                all.push(tell(before, None));
                file.state = None;
            }
            (None, Some(now)) => {
                all.push(Changed { path: file.path.clone(), old_bytes: 0, new_bytes: Some(now.size) });
                file.state = Some(now);
            }
            _ => {}
        }
    }
    all
}

/// Files whose content another start found otherwise.
pub fn between(old: &[ConfigFile], new: &[ConfigFile]) -> Vec<Changed> {
    let before = |file: &ConfigFile| old.iter().find(|old| old.path == file.path)?.state;
    let differs = |file: &ConfigFile| {
        let (before, now) = (before(file)?, file.state?);
        let told = Changed { path: file.path.clone(), old_bytes: before.size, new_bytes: Some(now.size) };
        (before.hash != now.hash || before.size != now.size).then_some(told)
    };
    new.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_that_name_files() {
        for (line, want) in [
            ("vllm serve m --config a.yaml --port 1", &["a.yaml"][..]),
            ("x --config=/a --chat-template /t.jinja --models-preset p.ini", &["/a", "/t.jinja", "p.ini"]),
            ("x --extra_llm_api_options o.yaml --config", &["o.yaml"]),
            ("x --api-key-file k --speculative-config {\"a\":1} --reconfig a --config -", &[]),
        ] {
            assert_eq!(paths(&words(line)), want, "{line}");
        }
    }

    #[test]
    fn content_counts_and_time_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        std::fs::write(&path, "a: 1").unwrap();
        let (pid, hasher) = (std::process::id(), RandomState::new());
        let argv = ["--config".to_owned(), path.display().to_string()];
        let mut files = named(&argv, pid, &hasher);
        assert_eq!(files.len(), 1);
        let now = || changed(&mut files.clone(), pid, &hasher).len();
        assert_eq!(now(), 0);
        File::options().write(true).open(&path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(now(), 0, "only its time is another");
        let before = files.clone();
        std::fs::write(&path, "a: 2").unwrap();
        let told = Changed { path: path.display().to_string(), old_bytes: 4, new_bytes: Some(4) };
        assert_eq!(changed(&mut files, pid, &hasher), [told]);
        assert_eq!((changed(&mut files, pid, &hasher).len(), between(&before, &files).len()), (0, 1));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(changed(&mut files, pid, &hasher).len(), 0, "it may be about to be replaced");
        assert_eq!(changed(&mut files, pid, &hasher)[0].new_bytes, None);
        assert_eq!(changed(&mut files, pid, &hasher).len(), 0);
        std::fs::write(&path, "a: 33").unwrap();
        assert_eq!(changed(&mut files, pid, &hasher)[0].new_bytes, Some(5));
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let argv = ["--config".to_owned(), pipe.display().to_string(), "--config=/dev/zero".to_owned()];
        assert_eq!(named(&argv, std::process::id(), &RandomState::new()).len(), 0);
    }
}

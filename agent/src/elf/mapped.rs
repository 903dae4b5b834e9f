//! Files that hold a process' code, as it names them and so that the agent can open them: in another mount namespace,
//! deleted, replaced, or called otherwise on the disk than by those who load them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::soname;
use crate::profile::maps::{self, Mapping};

/// Of /proc/PID/maps.
const MAPS_BYTES: u64 = 64 << 20;
/// Different files with code in one process: the largest have some hundred.
const FILES: usize = 4096;
/// Files whose own name for themselves is read.
const READ: usize = 16;

/// A file that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// As `stat` tells it. Two containers of one image have the same file on two devices.
    pub device: u64,
    pub inode: u64,
    /// Openable by us, through /proc/PID, as long as the process lives and has it mapped.
    pub path: PathBuf,
}

/// The files with code that a process calls so: `exe` for its program, the name of a library as its users name it
/// (`libcuda.so.1`, also where the file is `libcuda.so.550.54`), or an absolute path inside its root, there also if it
/// has not loaded it yet. Empty if there is none, it has ended, or may not be looked at.
pub fn files(proc: &Path, pid: u32, name: &str) -> Vec<Mapped> {
    let process = proc.join(pid.to_string());
    if name == "exe" {
        return regular(process.join("exe")).into_iter().collect();
    }
    if name.is_empty() || name.contains('\0') {
        return Vec::new();
    }
    let mut mapped = Vec::new();
    for mapping in wanted(&process, &code(&process), name) {
        let file = reach(&process, &mapping);
        mapped.extend(file.filter(|file| !mapped.iter().any(|known| same(known, file))));
    }
    if mapped.is_empty() && name.starts_with('/') {
        mapped.extend(inside(&process, Path::new(name)).and_then(|file| unloaded(&process, &file)));
    }
    mapped
}

fn same(a: &Mapped, b: &Mapped) -> bool {
    (a.device, a.inode) == (b.device, b.inode)
}

/// One mapping of each file with code.
fn code(process: &Path) -> Vec<Mapping> {
    let Ok(file) = File::open(process.join("maps")) else { return Vec::new() };
    let root = fs::read_link(process.join("root")).unwrap_or_default();
    let mut lines = BufReader::new(file.take(MAPS_BYTES));
    let (mut line, mut seen, mut found) = (Vec::new(), BTreeSet::new(), Vec::new());
    // What ends in an error has ended.
    while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        line.clear();
        let code = |mapping: &Mapping| mapping.executable && mapping.path.starts_with('/');
        let Some(mut mapping) = maps::mapping(&text).filter(code) else { continue };
        mapping.path = from_root(&root, mapping.path);
        if seen.insert((mapping.device.clone(), mapping.inode)) {
            found.push(mapping);
        }
        if found.len() >= FILES {
            break;
        }
    }
    found
}

/// The kernel tells us paths from the top of a mount namespace, and the root of a process may be below that.
fn from_root(root: &Path, path: String) -> String {
    match Path::new(&path).strip_prefix(root).map(Path::to_str) {
        Ok(Some(inside)) => format!("/{inside}"),
        _ => path,
    }
}

fn on_disk(mapping: &Mapping) -> &str {
    mapping.path.strip_suffix(" (deleted)").unwrap_or(&mapping.path)
}

/// Those of a name.
fn wanted(process: &Path, all: &[Mapping], name: &str) -> Vec<Mapping> {
    let last = |mapping: &Mapping| on_disk(mapping).rsplit('/').next().unwrap_or_default().to_owned();
    let absolute = name.starts_with('/');
    let is = |mapping: &Mapping| if absolute { on_disk(mapping) == name } else { last(mapping) == name };
    let mut found: Vec<_> = all.iter().filter(|mapping| is(mapping)).cloned().collect();
    // Beside the files of libraries lie links of the names that programs ask for.
    let folders: BTreeSet<_> = all.iter().filter_map(|mapping| Path::new(on_disk(mapping)).parent()).collect();
    let links: Vec<PathBuf> = match absolute {
        true => vec![name.into()],
        false => folders.iter().map(|folder| folder.join(name)).collect(),
    };
    let targets: BTreeSet<u64> =
        links.iter().filter_map(|link| Some(inside(process, link)?.metadata().ok()?.ino())).collect();
    let linked = |mapping: &&Mapping| targets.contains(&mapping.inode) && !is(mapping);
    found.extend(all.iter().filter(linked).cloned());
    // After an upgrade the link is that of another file, or gone.
    if found.is_empty() && !absolute {
        let stem = name.split(".so").next().unwrap_or(name);
        let likely = all.iter().filter(|mapping| last(mapping).starts_with(stem)).take(READ);
        let calls_itself_so = |mapping: &&Mapping| {
            reach(process, mapping).and_then(|file| soname::of(&file.path)).is_some_and(|own| own == name)
        };
        found.extend(likely.filter(calls_itself_so).cloned());
    }
    found
}

/// A way to the file of a mapping: through the mapping itself where that is allowed (CAP_CHECKPOINT_RESTORE), else by
/// its path in the process' own root if that is still the same file, else as its program.
fn reach(process: &Path, mapping: &Mapping) -> Option<Mapped> {
    let range = format!("{:x}-{:x}", mapping.start, mapping.end);
    let by_path = below(&process.join("root"), on_disk(mapping));
    let is = |file: &Mapped| file.inode == mapping.inode;
    regular(process.join("map_files").join(range))
        .or_else(|| regular(by_path).filter(is))
        .or_else(|| regular(process.join("exe")).filter(is))
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn regular(path: PathBuf) -> Option<Mapped> {
    let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    Some(Mapped { device: meta.dev(), inode: meta.ino(), path })
}

/// A file by its path as the process sees it: links in it lead nowhere else.
fn inside(process: &Path, path: &Path) -> Option<File> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, process.join("root"), directory, Mode::empty()).ok()?;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), within).ok()?;
    Some(File::from(file))
}

/// A way to a file that no mapping leads to: the kernel knows its path without links, in the root that it is in.
fn unloaded(process: &Path, file: &File) -> Option<Mapped> {
    let meta = file.metadata().ok()?;
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let is = |found: &Mapped| (found.device, found.inode) == (meta.dev(), meta.ino());
    let root = fs::read_link(process.join("root")).ok()?;
    regular(below(&process.join("root"), &from_root(&root, path.to_str()?.to_owned()))).filter(is)
}

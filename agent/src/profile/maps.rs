//! Which file an address of a process belongs to. Files are opened when they are first met, so that their symbols can
//! be read when the process has ended, the file has been replaced, or it lies in another mount namespace.

use std::{fs::File, io, os::unix::fs::MetadataExt};

use rustc_hash::FxHashMap;

use crate::{clock::monotonic_ns, shown::shown};

/// A line of /proc/PID/maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    pub offset: u64,
    pub executable: bool,
    pub device: String,
    pub inode: u64,
    /// As the kernel tells it, ` (deleted)` at its end if it is so; empty for memory without a file.
    pub path: String,
}

/// None: it is no such line.
pub fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let executable = words.next()?.as_bytes().get(2) == Some(&b'x');
    let offset = hex(words.next()?)?;
    let device = words.next()?.to_owned();
    let inode = words.next()?.parse().ok()?;
    let path = words.next().unwrap_or_default().trim_start().to_owned();
    Some(Mapping { start: hex(start)?, end: hex(end)?, offset, executable, device, inode, path })
}

/// The mappings of a process in the order of their addresses. Errors: it has ended, or may not be looked at.
pub fn mappings(pid: u32, wanted: impl Fn(&Mapping) -> bool) -> io::Result<Vec<Mapping>> {
    let bytes = std::fs::read(format!("/proc/{pid}/maps"))?;
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(mapping).filter(wanted).collect())
}

/// Kilobytes of a process' memory that are code; None where its status does not say.
fn code(pid: u32) -> Option<u64> {
    let status = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim_end().parse::<u64>().ok()
    };
    Some(kilobytes("VmExe:")? + kilobytes("VmLib:")?)
}

/// A file that holds code, or what stands for one.
#[derive(Debug, Default)]
pub struct Module {
    /// In its own mount namespace.
    pub path: String,
    /// None where it could not be opened.
    pub file: Option<File>,
    pub deleted: bool,
}

impl Module {
    /// The last part of its path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// Files kept open, and files known, at most.
const FILES: usize = 400;
const MODULES: usize = 8192;
/// Addresses where no code is known: so long after one, the next is a reason to look for new code again. Stacks of code
/// without frame pointers have many.
const AGAIN_NS: u64 = 500_000_000;
/// Such a look reads all mappings, thousands of lines, if the process has more or less code than before; in any case
/// after this time, for as much may have come as went.
const ANYWAY_NS: u64 = 60_000_000_000;

#[derive(Default)]
struct Space {
    /// start, end, what to add to an address to have its offset in the file, module.
    ranges: Vec<(u64, u64, u64, u32)>,
    /// How much of its memory was code when they were read.
    code: Option<u64>,
    looked_ns: u64,
    read_ns: u64,
}

/// Every module that was met, and the address spaces of every process.
#[derive(Default)]
pub struct Maps {
    spaces: FxHashMap<u32, Space>,
    known: FxHashMap<(String, u64, String), u32>,
    pub modules: Vec<Module>,
    open: usize,
}

impl Maps {
    /// Reads a process' mappings if they are not known yet.
    pub fn meet(&mut self, pid: u32) {
        if !self.spaces.contains_key(&pid) {
            self.read(pid);
        }
    }

    /// The process runs another program.
    pub fn forget(&mut self, pid: u32) {
        self.spaces.remove(&pid);
    }

    /// Reads them again if there may be others by now.
    fn look_again(&mut self, pid: u32) {
        let (now, Some(space)) = (monotonic_ns(), self.spaces.get_mut(&pid)) else { return };
        if now.saturating_sub(space.looked_ns) <= AGAIN_NS {
            return;
        }
        space.looked_ns = now;
        if code(pid) != space.code || now.saturating_sub(space.read_ns) > ANYWAY_NS {
            self.read(pid);
        }
    }

    fn read(&mut self, pid: u32) {
        let now = monotonic_ns();
        let space = self.spaces.entry(pid).or_default();
        // Before the mappings: what comes in between is a reason to look again.
        space.code = code(pid);
        (space.looked_ns, space.read_ns) = (now, now);
        // What it had when it ended is still right for samples that were taken before.
        let Ok(mappings) = mappings(pid, |mapping| mapping.executable) else { return };
        let mut ranges = Vec::with_capacity(mappings.len());
        for mapping in &mappings {
            if let Some(module) = self.module(pid, mapping) {
                ranges.push((mapping.start, mapping.end, mapping.offset.wrapping_sub(mapping.start), module));
            }
        }
        if !ranges.is_empty()
            && let Some(space) = self.spaces.get_mut(&pid)
        {
            space.ranges = ranges;
        }
    }

    fn module(&mut self, pid: u32, mapping: &Mapping) -> Option<u32> {
        let key = (mapping.device.clone(), mapping.inode, mapping.path.clone());
        if let Some(module) = self.known.get(&key) {
            return Some(*module);
        }
        if self.modules.len() >= MODULES {
            return None;
        }
        let path = mapping.path.strip_suffix(" (deleted)");
        let deleted = path.is_some();
        let path = path.unwrap_or(&mapping.path);
        let file = (path.starts_with('/') && self.open < FILES).then(|| open(pid, mapping)).flatten();
        self.open += usize::from(file.is_some());
        let path = if path.is_empty() { "[memory without a file]" } else { path };
        let path = shown(path).into_owned();
        self.modules.push(Module { path, file, deleted });
        let module = self.modules.len() as u32 - 1;
        self.known.insert(key, module);
        Some(module)
    }

    /// Module and offset in its file of an address of a process; None if no code is there.
    pub fn find(&mut self, pid: u32, address: u64) -> Option<(u32, u64)> {
        self.meet(pid);
        if let Some(found) = self.known_at(pid, address) {
            return Some(found);
        }
        self.look_again(pid);
        self.known_at(pid, address)
    }

    fn known_at(&self, pid: u32, address: u64) -> Option<(u32, u64)> {
        let ranges = &self.spaces.get(&pid)?.ranges;
        let (start, end, add, module) =
            *ranges.get(ranges.partition_point(|range| range.0 <= address).checked_sub(1)?)?;
        (start..end).contains(&address).then(|| (module, address.wrapping_add(add)))
    }
}

/// Through the mapping itself where that is allowed (CAP_CHECKPOINT_RESTORE), else by its path in the process' own root,
/// else as its executable, which the kernel opens even where an image has none of that name any more.
pub fn open(pid: u32, mapping: &Mapping) -> Option<File> {
    let path = mapping.path.strip_suffix(" (deleted)").unwrap_or(&mapping.path);
    let same = |file: &File| file.metadata().is_ok_and(|meta| meta.is_file() && meta.ino() == mapping.inode);
    let at = |path: String| File::open(path).ok().filter(same);
    let range = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
    File::open(range).ok().or_else(|| at(format!("/proc/{pid}/root{path}"))).or_else(|| at(format!("/proc/{pid}/exe")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader, Write},
        process::{Command, Stdio},
    };

    #[test]
    fn lines_are_read_whole() {
        let line = "7f10a000-7f10b000 r-xp 00026000 fe:00 1234                       /usr/lib/a b.so (deleted)";
        let got = mapping(line).unwrap();
        assert_eq!((got.start, got.end, got.offset, got.inode), (0x7f10_a000, 0x7f10_b000, 0x26000, 1234));
        assert!(got.executable && got.path == "/usr/lib/a b.so (deleted)");
        assert_eq!(mapping("00400000-00401000 rw-p 00000000 00:00 0").unwrap().path, "");
        for bad in ["", "x", "1-2", "zz-2 r-xp 0 0:0 0", "1-2 r-xp 0 0:0 x"] {
            assert_eq!(mapping(bad), None, "{bad}");
        }
    }

    #[test]
    fn code_of_this_process_is_found() {
        let mut maps = Maps::default();
        let address = code_of_this_process_is_found as fn() as usize as u64;
        let (module, offset) = maps.find(std::process::id(), address).unwrap();
        let module = &maps.modules[module as usize];
        assert!(module.file.is_some() && !module.deleted && offset > 0);
        assert_eq!(module.name(), std::env::current_exe().unwrap().file_name().unwrap());
        assert_eq!(maps.find(std::process::id(), 8), None);
        assert_eq!(maps.find(0, address), None);
    }

    #[test]
    fn code_that_comes_later_is_found_and_what_is_no_code_is_no_reason_to_read() {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", "echo first; read line; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let (pid, mut to) = (child.id(), child.stdin.take().unwrap());
        let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut says = |line: &str| assert_eq!(from.next().unwrap().unwrap(), line);
        says("first");
        let mut maps = Maps::default();
        maps.meet(pid);
        let looked = |maps: &mut Maps, at_ns| maps.spaces.get_mut(&pid).unwrap().looked_ns = at_ns;
        let before = maps.spaces[&pid].read_ns;
        looked(&mut maps, 0);
        assert_eq!((maps.find(pid, 8), maps.spaces[&pid].read_ns), (None, before));
        to.write_all(b"\nsecond\n").unwrap();
        says("second");
        let of_cat = |mapping: &Mapping| mapping.executable && mapping.path.ends_with("/cat");
        let there = mappings(pid, of_cat).unwrap()[0].start;
        looked(&mut maps, u64::MAX);
        assert_eq!(maps.find(pid, there), None, "not looked for so soon");
        looked(&mut maps, 0);
        let (module, _) = maps.find(pid, there).unwrap();
        assert_eq!(maps.modules[module as usize].name(), "cat");
        drop(to);
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn an_executable_that_its_image_has_no_more_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("cat");
        // By another process: a test that forks while this one had it open for writing would leave it busy.
        assert!(Command::new("cp").arg("/bin/cat").arg(&program).status().unwrap().success());
        let mut command = Command::new(&program);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Its code is mapped a moment after it was started: once it answers, it is.
        child.stdin.as_ref().unwrap().write_all(b"x\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        std::fs::remove_file(&program).unwrap();
        let of_cat = |mapping: &Mapping| mapping.path.ends_with("/cat (deleted)");
        let mut mapping = mappings(child.id(), of_cat).unwrap().remove(0);
        // No such range: as without the right to open ranges.
        (mapping.start, mapping.end) = (1, 2);
        assert!(open(child.id(), &mapping).is_some());
        mapping.inode += 1;
        assert!(open(child.id(), &mapping).is_none(), "another file");
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}

//! What a server's process was started with, and what it depends on, as of one look: command line, allow-listed names of
//! the environment, executable, version and configuration files. Texts are masked; what tells one value from another is a
//! hash with a key of this run. What may not be read is None, and is then compared with nothing.

use std::{
    collections::BTreeMap,
    fs,
    hash::{BuildHasher, RandomState},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
};

use super::{
    files::{self, ConfigFile},
    secrets::{self, MASK},
};
use crate::discover::{Found, Process};

/// The most that is read of an environment.
const ENVIRON_BYTES: u64 = 256 << 10;
/// Units of a command line and names of an environment that are kept.
const ENTRIES: usize = 256;
/// Characters of each that are kept.
const TEXT_CHARS: usize = 200;

/// A value: what may be shown of it, and what tells it from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub shown: String,
    hash: u64,
}

/// Which file an executable is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: i64,
}

/// What there is to compare.
#[derive(Debug, Clone)]
pub struct Facts {
    /// None if the process has put a title in its place.
    pub argv: Option<Vec<Kept>>,
    pub environment: Option<BTreeMap<String, Kept>>,
    /// The file that runs.
    pub binary: Option<Binary>,
    pub version: Option<String>,
    pub files: Vec<ConfigFile>,
}

/// Reads facts.
#[derive(Debug)]
pub struct Reader {
    hasher: RandomState,
    /// Patterns of names.
    environment: Vec<String>,
}

impl Binary {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self { dev: file.dev(), ino: file.ino(), size: file.len(), mtime: file.mtime() })
    }

    /// Whether it may be the same build: copies of one, such as in two containers of an image, have different inodes.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.size, self.mtime) == (other.size, other.mtime)
    }
}

impl Reader {
    /// With these patterns of names of the environment.
    pub fn new(environment: Vec<String>) -> Self {
        Self { hasher: RandomState::new(), environment }
    }

    fn kept(&self, raw: &str, shown: &str) -> Kept {
        Kept { shown: shown.chars().take(TEXT_CHARS).collect(), hash: self.hasher.hash_one(raw) }
    }

    /// Everything about a service's root process.
    pub fn read(&self, found: &Found) -> Facts {
        let process = &found.process;
        Facts {
            argv: self.argv(process),
            environment: self.environment(process.pid),
            binary: Binary::of(Path::new(&format!("/proc/{}/exe", process.pid))),
            version: found.version.clone(),
            files: files::named(&process.argv, process.pid, &self.hasher),
        }
    }

    /// Looks at the files again; those whose content is another.
    pub fn changed_files(&self, pid: u32, facts: &mut Facts) -> Vec<files::Changed> {
        files::changed(&mut facts.files, pid, &self.hasher)
    }

    fn argv(&self, process: &Process) -> Option<Vec<Kept>> {
        if is_title(process) {
            return None;
        }
        let units = secrets::units(&process.argv).into_iter().take(ENTRIES);
        Some(units.map(|(raw, shown)| self.kept(&raw, &shown)).collect())
    }

    fn environment(&self, pid: u32) -> Option<BTreeMap<String, Kept>> {
        let mut bytes = Vec::new();
        fs::File::open(format!("/proc/{pid}/environ")).ok()?.take(ENVIRON_BYTES).read_to_end(&mut bytes).ok()?;
        Some(self.allowed(&bytes))
    }

    /// Those of an environment block whose names are allowed, and what may be shown of them.
    pub fn allowed(&self, block: &[u8]) -> BTreeMap<String, Kept> {
        let mut allowed = BTreeMap::new();
        for entry in block.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            let Some((name, value)) = entry.split_once('=') else { continue };
            if allowed.len() < ENTRIES && name.len() <= TEXT_CHARS && self.is_allowed(name) {
                let shown = if secrets::looks_secret(value) { MASK } else { value };
                allowed.insert(name.to_owned(), self.kept(value, shown));
            }
        }
        allowed
    }

    /// A secret's name is never allowed, whatever the patterns say.
    fn is_allowed(&self, name: &str) -> bool {
        self.environment.iter().any(|pattern| crate::discover::matches_pattern(pattern, name))
            && !secrets::is_secret_name(name)
    }
}

/// A process that writes a title over its arguments leaves one word, which is not its executable's.
fn is_title(process: &Process) -> bool {
    let [only] = process.argv.as_slice() else { return false };
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let exe = process.exe.as_deref().and_then(Path::to_str).map(base);
    exe.is_some_and(|exe| exe != base(only))
}

/// Whether the file at the executable's path is another one than that which runs; None if either cannot be seen.
pub fn replaced(process: &Process) -> Option<Binary> {
    let exe = process.exe.as_deref()?.strip_prefix("/").ok()?;
    let runs = Binary::of(Path::new(&format!("/proc/{}/exe", process.pid)))?;
    let there = Binary::of(&Path::new(&format!("/proc/{}/root", process.pid)).join(exe))?;
    ((runs.dev, runs.ino) != (there.dev, there.ino)).then_some(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        Reader::new(["CUDA_VISIBLE_DEVICES", "VLLM_*", "MY_TOKEN"].map(str::to_owned).to_vec())
    }

    #[test]
    fn only_allowed_names_that_are_no_secrets_are_kept() {
        let block = b"PATH=/bin\0CUDA_VISIBLE_DEVICES=0,1\0VLLM_API_KEY=sk-secret\0MY_TOKEN=x\0VLLM_URL=http://a:b@c/\0VLLM_NO\0=\0VLLM_B=\xff";
        let allowed = reader().allowed(block);
        let shown: Vec<_> = allowed.iter().map(|(name, kept)| (name.as_str(), kept.shown.as_str())).collect();
        assert_eq!(shown, [("CUDA_VISIBLE_DEVICES", "0,1"), ("VLLM_B", "\u{fffd}"), ("VLLM_URL", "***")]);
    }

    #[test]
    fn masked_values_are_told_apart() {
        let reader = reader();
        let of = |value: &str| reader.allowed(format!("VLLM_URL=http://u:{value}@h/").as_bytes())["VLLM_URL"].clone();
        assert_eq!(of("a"), of("a"));
        assert_eq!((of("a").shown, of("a") != of("b")), ("***".to_owned(), true));
    }

    #[test]
    fn a_title_is_no_command_line() {
        let process = |argv: &[&str], exe: &str| Process {
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            exe: Some(exe.into()),
            ..Process::read(Path::new("/proc"), std::process::id()).unwrap()
        };
        assert!(is_title(&process(&["VLLM::APIServer"], "/usr/bin/python3.11")));
        assert!(!is_title(&process(&["llama-server"], "/opt/llama-server")));
        assert!(!is_title(&process(&["python3", "-m", "x"], "/usr/bin/python3.11")));
    }

    proptest::proptest! {
        #[test]
        fn any_block_is_read(block in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            reader().allowed(&block);
        }
    }
}

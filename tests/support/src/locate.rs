//! Where the programs under test and their helpers lie: in a target directory, or side by side in a small VM.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static FIRST: OnceLock<PathBuf> = OnceLock::new();

/// From here on programs are looked for in `dir` before anywhere else. The first call counts.
pub fn look_first_in(dir: PathBuf) {
    let _ = FIRST.set(dir);
}

/// The agent: `INFERSCOPE_BIN`, otherwise like any helper.
pub fn agent() -> Result<PathBuf> {
    match std::env::var_os("INFERSCOPE_BIN") {
        Some(path) => Ok(path.into()),
        None => helper("inferscope"),
    }
}

/// A program of this crate (`sse-server`, `load`, `workload`): in `SUPPORT_BIN_DIR`, next to the running
/// executable, one directory above it (cargo's `deps`), or in the workspace's target directory.
pub fn helper(name: &str) -> Result<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(FIRST.get().cloned());
    places.extend(std::env::var_os("SUPPORT_BIN_DIR").map(PathBuf::from));
    if let Ok(exe) = std::env::current_exe() {
        places.extend(exe.ancestors().skip(1).take(2).map(Path::to_owned));
    }
    // No `..` in it: a guest has the files at these paths, not the directories on the way.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/"));
    places.extend(["release", "debug"].map(|profile| workspace.join("target").join(profile)));
    match places.iter().map(|p| p.join(name)).find(|p| p.is_file()) {
        Some(path) => Ok(path),
        None => {
            bail!("no `{name}` in any of {places:?}; build it (cargo build -p support -p agent) or set SUPPORT_BIN_DIR")
        }
    }
}

//! Where things lie: the workspace, its target directory and `.cache`, which holds all that set-up fetches.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The repository's root, which is also the working directory of every command that xtask starts.
pub fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Cargo's target directory, wherever the user put it.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// `.cache/NAME`, made if it is missing.
pub fn cache(name: &str) -> Result<PathBuf> {
    let dir = workspace().join(".cache").join(name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}: check its owner", dir.display()))?;
    Ok(dir)
}

/// The program NAME in PATH, or in cargo's own bin directory, which a root shell often lacks.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let dirs = std::env::split_paths(&path).chain(cargo_bin()).chain(sbin);
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn cargo_bin() -> Option<PathBuf> {
    cargo_home().map(|home| home.join("bin"))
}

/// Where cargo keeps its programs and the sources of dependencies.
pub fn cargo_home() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}

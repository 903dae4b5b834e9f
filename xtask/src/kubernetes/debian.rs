//! What comes from Debian's archive, unpacked under `.cache` and installed nowhere: runc, the seccomp profile, and a root
//! file system with Python and what llama.cpp's server is linked against. Fetched once; after that no network is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{paths, process, step};

const TOOLS: [&str; 3] = ["runc", "libseccomp2", "golang-github-containers-common"];
/// Without the interpreter's, whose names have its version.
const ROOT: [&str; 6] = ["libc6", "libgcc-s1", "libstdc++6", "libgomp1", "zlib1g", "libexpat1"];
const PROFILE: &str = "usr/share/containers/seccomp.json";

/// What is unpacked.
pub struct Debian {
    pub runc: PathBuf,
    /// seccomp.json of the container tools.
    pub profile: String,
    /// A root file system; not to be written to.
    pub root: PathBuf,
    /// Path of the interpreter in it.
    pub python: String,
}

impl Debian {
    /// Fetches what is missing. Errors: not a Debian, or its archive cannot be reached.
    pub fn ensure() -> Result<Self> {
        let dir = paths::cache("kubernetes")?;
        let tools = unpacked(&dir, "tools", "5 seconds, 10 MB", || Ok(TOOLS.map(str::to_owned).to_vec()))?;
        let root = unpacked(&dir, "debian", "10 seconds, 30 MB", || {
            let python = python()?;
            let parts = [format!("{python}-minimal"), format!("lib{python}-minimal"), format!("lib{python}-stdlib")];
            Ok(ROOT.iter().map(|&name| name.to_owned()).chain(parts).collect())
        })?;
        let profile = fs::read_to_string(tools.join(PROFILE)).context("no seccomp profile in the package")?;
        Ok(Self { runc: runc(&tools)?, profile, python: interpreter(&root)?, root })
    }
}

/// A folder with the contents of packages; complete or not there.
fn unpacked(dir: &Path, name: &str, expect: &str, packages: impl FnOnce() -> Result<Vec<String>>) -> Result<PathBuf> {
    let whole = dir.join(name);
    if whole.exists() {
        step::already(&format!("{name} of Debian's packages"));
        return Ok(whole);
    }
    step::work(&format!("{name} of Debian's packages"), expect, || {
        let part = tempfile::tempdir_in(dir)?;
        fetch(part.path(), &packages()?)?;
        let tree = part.path().join("tree");
        // Folders that a container's runtime mounts on: it cannot make them in a root that nobody may write to.
        for folder in ["proc", "sys", "dev", "tmp", "opt/llama", "models"] {
            fs::create_dir_all(tree.join(folder))?;
        }
        fs::rename(&tree, &whole).with_context(|| format!("cannot make {}", whole.display()))
    })?;
    Ok(whole)
}

fn fetch(dir: &Path, packages: &[String]) -> Result<()> {
    let download = || process::output(Command::new("apt-get").current_dir(dir).args(["-q", "download"]).args(packages));
    // The index of a fresh machine is empty or old. As root, apt's own user cannot write here, which it says and goes on.
    download()
        .or_else(|_| process::output(Command::new("apt-get").args(["-q", "update"])).and_then(|_| download()))
        .with_context(|| format!("apt cannot fetch {}", packages.join(" ")))?;
    let unpack = "for package in *.deb; do dpkg-deb -x \"$package\" tree || exit 1; done";
    process::output(Command::new("sh").current_dir(dir).args(["-c", unpack])).map(drop)
}

/// The name of the interpreter's package: `python3.11`.
fn python() -> Result<String> {
    let list = process::output(Command::new("apt-cache").args(["depends", "python3"]))?;
    let found = list.lines().find_map(|line| line.trim().strip_prefix("Depends: python3.").map(str::to_owned));
    found.map(|minor| format!("python3.{minor}")).context("Debian's python3 depends on no interpreter")
}

fn interpreter(root: &Path) -> Result<String> {
    let names = fs::read_dir(root.join("usr/bin"))?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let name = names.filter(|name| name.starts_with("python3.")).max().context("no interpreter in Debian's root")?;
    Ok(format!("/usr/bin/{name}"))
}

/// The host's own where there is one; else the package's, with the library from beside it.
fn runc(tools: &Path) -> Result<PathBuf> {
    if let Some(found) = paths::program("runc") {
        return Ok(found);
    }
    let program = tools.join("usr/sbin/runc");
    let library = fs::read_dir(tools.join("usr/lib"))?.flatten().map(|entry| entry.path());
    let library = library.into_iter().find(|path| path.join("libseccomp.so.2").exists()).context("no libseccomp")?;
    let script = tools.join("runc");
    let text = format!("#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n", library.display(), program.display());
    fs::write(&script, text)?;
    process::output(Command::new("chmod").arg("755").arg(&script))?;
    Ok(script)
}

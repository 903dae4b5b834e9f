//! Cargo as xtask calls it: always in the workspace, and asked in JSON where what it built matters.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::paths;

/// `cargo ARGS` in the workspace.
pub fn command(args: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(paths::workspace()).args(args);
    forget_this_package(&mut cargo);
    cargo
}

/// What `cargo run` tells xtask of its own package is not for another cargo: build scripts that look at such variables
/// (ring's) would run again after each plain `cargo build`, and with them all that needs them.
fn forget_this_package(cargo: &mut Command) {
    let own = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(own) {
            cargo.env_remove(name);
        }
    }
}

/// Compiler flags that keep the places of this host out of what is built; agent/build.rs gives the kernel programs the
/// same.
pub fn nameless_paths() -> [String; 2] {
    let workspace = paths::workspace();
    let workspace = workspace.canonicalize().unwrap_or(workspace);
    let home = paths::cargo_home().unwrap_or_default();
    let to = |path: PathBuf, name: &str| format!("--remap-path-prefix={}={name}", path.display());
    [to(workspace, "/inferscope"), to(home, "/cargo")]
}

/// Runs a building command; the names and paths of the programs that it built or found built.
pub fn programs(args: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut cargo = command(args);
    cargo.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(Stdio::inherit());
    let done = cargo.output().context("cannot start cargo")?;
    if !done.status.success() {
        bail!("cargo {} failed: the compiler's reason is above", args.join(" "));
    }
    Ok(String::from_utf8_lossy(&done.stdout).lines().filter_map(program).collect())
}

fn program(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(message["executable"].as_str()?)))
}

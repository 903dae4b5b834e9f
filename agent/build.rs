//! Builds the kernel programs (`inferscope-ebpf`) and leaves the object at `$OUT_DIR/inferscope-ebpf`.
//!
//! `INFERSCOPE_BPF_OBJECT=FILE` takes that object instead; `INFERSCOPE_SKIP_BPF=1` leaves an empty one, for fuzzing,
//! docs and unit tests on hosts without the toolchain (the agent then refuses to load it). Installs nothing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

const PACKAGE: &str = "inferscope-ebpf";
/// In order of preference. `bpf` is what `cargo xtask setup` links where rustup cannot fetch a nightly.
const TOOLCHAINS: [&str; 2] = ["bpf", "nightly"];
const NO_TOOLCHAIN: &str = "no toolchain for the kernel programs: run `cargo xtask setup`";

fn main() -> Result<()> {
    for name in ["INFERSCOPE_SKIP_BPF", "INFERSCOPE_BPF_OBJECT"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rustc-env=INFERSCOPE_RUSTC={}", compiler_version());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for watched in ["ebpf", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(watched).display());
    }
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set: run this through cargo")?);
    let object = out_dir.join(PACKAGE);

    if let Some(given) = env::var_os("INFERSCOPE_BPF_OBJECT").filter(|given| !given.is_empty()) {
        println!("cargo:rerun-if-changed={}", Path::new(&given).display());
        fs::copy(&given, &object)
            .with_context(|| format!("INFERSCOPE_BPF_OBJECT names {}, which cannot be read", given.display()))?;
        return Ok(());
    }
    if env::var_os("INFERSCOPE_SKIP_BPF").is_some_and(|skip| skip == "1") {
        return fs::write(&object, []).context("cannot write the empty object");
    }
    let built = build(&workspace, &target_dir(&out_dir, &workspace))?;
    fs::copy(&built, &object).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(())
}

/// What `rustc --version` says after the name, for `inferscope_build_info`.
fn compiler_version() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).arg("--version").output();
    let line = asked.map(|asked| String::from_utf8_lossy(&asked.stdout).into_owned()).unwrap_or_default();
    line.split_whitespace().nth(1).unwrap_or("unknown").to_owned()
}

/// Builds the object and returns where it lies.
fn build(workspace: &Path, target_dir: &Path) -> Result<PathBuf> {
    let Some(toolchain) = TOOLCHAINS.into_iter().find(|name| has_library_source(name)) else { bail!(NO_TOOLCHAIN) };
    // Through rustup, which adds cargo's own bin directory to the path.
    if !runs(Command::new("rustup").args(["run", toolchain, "bpf-linker", "--version"])) {
        bail!("bpf-linker is missing: run `cargo xtask setup`");
    }
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("CARGO_CFG_TARGET_ARCH is not set")?;
    let endian = env::var("CARGO_CFG_TARGET_ENDIAN").context("CARGO_CFG_TARGET_ENDIAN is not set")?;
    let target = if endian == "big" { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

    let mut cargo = Command::new("rustup");
    cargo.args(["run", toolchain, "cargo", "build", "--release", "--package", PACKAGE, "--bins"]);
    cargo.args(["--target", target, "-Z", "build-std=core", "--target-dir"]).arg(target_dir);
    cargo.current_dir(workspace).stdout(Stdio::null());
    forget_outer_cargo(&mut cargo);
    if toolchain == "bpf" {
        // A release compiler, which takes `-Z build-std` only so.
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    let mut flags =
        vec![format!("--cfg=bpf_target_arch=\"{arch}\""), "-Cdebuginfo=2".into(), "-Clink-arg=--btf".into()];
    flags.extend(nameless_paths(workspace)?);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // bpf-linker optimises the linked whole; the agent's thin LTO before it would only cost time.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");

    let status = cargo.status().context(NO_TOOLCHAIN)?;
    if !status.success() {
        bail!(
            "the kernel programs did not build with toolchain `{toolchain}` ({status}): the compiler's reason is above"
        );
    }
    Ok(target_dir.join(target).join("release").join(PACKAGE))
}

/// BTF names the sources of every line: without the places of this host, or each checkout had another object.
fn nameless_paths(workspace: &Path) -> Result<[String; 2]> {
    let workspace = workspace.canonicalize().context("the workspace is not there")?;
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"))).unwrap_or_default();
    let to = |path: &Path, name: &str| format!("--remap-path-prefix={}={name}", path.display());
    Ok([to(&workspace, "/inferscope"), to(&home, "/cargo")])
}

/// What the outer cargo, or cargo-fuzz around it, chose for the host must not reach the kernel programs.
fn forget_outer_cargo(cargo: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let profile = text.starts_with("CARGO_PROFILE_") || text.starts_with("CARGO_BUILD_");
        let compiler = ["RUSTC", "RUSTFLAGS", "RUSTDOC", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR", "CARGO_ENCODED"];
        if profile || text == "CARGO" || compiler.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
}

/// `core` is built from source, so the toolchain must bring it.
fn has_library_source(toolchain: &str) -> bool {
    let asked = Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]).output();
    asked.is_ok_and(|asked| {
        let sysroot = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
        asked.status.success() && sysroot.join("lib/rustlib/src/rust/library/core").exists()
    })
}

/// One directory for every profile of the agent: `core` takes more than a minute to build and is the same for all.
fn target_dir(out_dir: &Path, workspace: &Path) -> PathBuf {
    let root = out_dir.ancestors().filter(|dir| dir.join("CACHEDIR.TAG").exists()).last();
    root.map_or_else(|| workspace.join("target"), Path::to_path_buf).join("bpf")
}

fn runs(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

//! The kernel programs' toolchain: a compiler whose library source is at hand, and a bpf-linker on the same LLVM.
//!
//! rustup's nightly is preferred; where it cannot be had, or no LLVM of its version, Debian's compiler is linked into
//! rustup as the toolchain `bpf`. A toolchain that the user already has is never updated.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::apt;
use crate::{cargo as host, paths, process, step};

const LINKER_VERSION: &str = "0.13.0";
/// The LLVM versions that this bpf-linker can be built with.
const LINKER_LLVM: [u32; 3] = [21, 22, 23];
/// What Debian's compiler is called once it is linked into rustup.
const DEBIAN_TOOLCHAIN: &str = "bpf";
const DEBIAN_LLVM: u32 = 22;
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"];
const RUSTUP_LIMIT: Duration = Duration::from_secs(180);

/// Installs what is missing; prints one line when nothing is.
pub fn ensure() -> Result<()> {
    if paths::program("rustup").is_none() {
        bail!("rustup is missing: install it as rustup.rs says, then run this again");
    }
    if let Some(found) = usable() {
        step::already(&found);
        return Ok(());
    }
    if let Err(error) = nightly() {
        println!("  note     no nightly toolchain ({error:#}): taking Debian's compiler");
        debian().context("the kernel programs' toolchain could not be installed")?;
    }
    let found = usable().context("the toolchain was installed and still does not work: see .cache/log")?;
    step::already(&found);
    Ok(())
}

/// The toolchain that the agent's build will take, in words, if one is complete.
fn usable() -> Option<String> {
    let toolchain = complete_toolchain()?;
    let version = process::output(linker_in(toolchain).arg("--version")).ok()?;
    let compiler = llvm_of(toolchain)?;
    // A linker with LLVM inside it does not tell its version: it is taken on trust.
    let linker = linker_llvm().unwrap_or(compiler);
    (linker >= compiler).then(|| format!("toolchain {toolchain} (LLVM {compiler}), {version}"))
}

/// The cargo command SUBCOMMAND on the kernel programs, as agent/build.rs runs `build`.
pub fn cargo(subcommand: &str) -> Result<Command> {
    let toolchain = complete_toolchain().context("no toolchain for the kernel programs: run `cargo xtask setup`")?;
    let mut cargo = Command::new("rustup");
    cargo.current_dir(paths::workspace()).args(["run", toolchain, "cargo", subcommand, "--release"]);
    cargo.args(["--package", "inferscope-ebpf", "--bins", "--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    cargo.arg("--target-dir").arg(paths::target().join("bpf"));
    if toolchain == DEBIAN_TOOLCHAIN {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    let arch = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    let mut flags = vec![arch, "-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    flags.extend(host::nameless_paths());
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    Ok(cargo)
}

/// Clippy for that toolchain, which comes apart from it.
pub fn ensure_clippy() -> Result<()> {
    let toolchain = complete_toolchain().context("no toolchain for the kernel programs: run `cargo xtask setup`")?;
    if process::succeeds(Command::new("rustup").args(["run", toolchain, "cargo-clippy", "--version"])) {
        return Ok(());
    }
    if toolchain == DEBIAN_TOOLCHAIN {
        return apt::ensure(&["rust-web-clippy"], "10 seconds");
    }
    let mut add = Command::new("rustup");
    add.args(["component", "add", "clippy", "--toolchain", toolchain]);
    step::run_within("rustup component add clippy", "10 seconds", RUSTUP_LIMIT, &mut add)
}

fn complete_toolchain() -> Option<&'static str> {
    [DEBIAN_TOOLCHAIN, "nightly"].into_iter().find(|name| has_library_source(name))
}

fn nightly() -> Result<()> {
    let rustup = || Command::new("rustup");
    if !process::succeeds(rustup().args(["run", "nightly", "rustc", "--version"])) {
        let mut install = rustup();
        install.args(["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"]);
        step::run_within("rustup toolchain install nightly", "1 minute", RUSTUP_LIMIT, &mut install)?;
    } else if !has_library_source("nightly") {
        let mut add = rustup();
        add.args(["component", "add", "rust-src", "--toolchain", "nightly"]);
        step::run_within("rustup component add rust-src", "10 seconds", RUSTUP_LIMIT, &mut add)?;
    }
    let llvm = llvm_of("nightly").context("rustc does not tell its LLVM version")?;
    if !LINKER_LLVM.contains(&llvm) {
        bail!("bpf-linker {LINKER_VERSION} does not know LLVM {llvm}");
    }
    if llvm_prefix(llvm).is_none() {
        let package = format!("llvm-{llvm}-dev");
        if !apt::available(&package) {
            bail!("bpf-linker needs LLVM {llvm} and this host has no package {package}");
        }
        apt::ensure(&[&package], "1 minute")?;
    }
    linker(llvm)
}

fn debian() -> Result<()> {
    apt::ensure(&DEBIAN_PACKAGES, "1 minute, 500 MB")?;
    if !has_library_source(DEBIAN_TOOLCHAIN) {
        step::run(
            "rustup toolchain link bpf",
            "1 second",
            Command::new("rustup").args(["toolchain", "link", DEBIAN_TOOLCHAIN, "/usr"]),
        )?;
    }
    linker(DEBIAN_LLVM)
}

/// Builds bpf-linker against LLVM, unless the one that is there fits.
fn linker(llvm: u32) -> Result<()> {
    let fits = linker_llvm().is_none_or(|linked| linked >= llvm);
    if fits
        && paths::program("bpf-linker").is_some_and(|linker| process::succeeds(Command::new(linker).arg("--version")))
    {
        return Ok(());
    }
    let prefix = llvm_prefix(llvm).with_context(|| format!("no LLVM {llvm} under /usr/lib/llvm-{llvm}"))?;
    let mut install = Command::new("cargo");
    install.args(["install", "bpf-linker", "--locked", "--force", "--version", LINKER_VERSION]);
    install.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]);
    // Debian keeps libLLVM outside the default path: llvm-sys reads one name, the linker's own build script the other.
    install.env("LLVM_PREFIX", &prefix).env(format!("LLVM_SYS_{llvm}1_PREFIX"), &prefix);
    step::run(&format!("cargo install bpf-linker {LINKER_VERSION}"), "3 minutes", &mut install)
}

fn llvm_prefix(llvm: u32) -> Option<PathBuf> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    prefix.join("bin/llvm-config").exists().then_some(prefix)
}

/// The LLVM major version of a toolchain's compiler.
fn llvm_of(toolchain: &str) -> Option<u32> {
    let about = process::output(Command::new("rustup").args(["run", toolchain, "rustc", "-vV"])).ok()?;
    let version = about.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// bpf-linker as a build finds it: rustup adds cargo's own bin directory to the path.
fn linker_in(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, "bpf-linker"]);
    command
}

/// The LLVM major version that bpf-linker loads, if it loads one.
fn linker_llvm() -> Option<u32> {
    let libraries = process::output(Command::new("ldd").arg(paths::program("bpf-linker")?)).ok()?;
    let (_, name) = libraries.split_once("libLLVM")?;
    let digits: String = name.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// `core` is built from source, so the toolchain must bring it.
fn has_library_source(toolchain: &str) -> bool {
    process::output(Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]))
        .is_ok_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/core").exists())
}

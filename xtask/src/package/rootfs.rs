//! The file system of the image: the program, the libraries it needs, certificates, and no more.
//!
//! Libraries and certificates are this host's; what is said of a container's files is said here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::libraries::{Elf, Libraries, Processor};
use super::source::Source;
use super::tree::Tree;
use crate::paths;

pub const PROGRAM: &str = "usr/bin/inferscope";
/// What NVIDIA's library is linked against; glibc keeps the names although all of it is in libc today.
const FOR_NVML: [&str; 5] = ["libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"];
/// Names of hosts, where glibc (before 2.34) has that outside libc.
const FOR_NAMES: [&str; 3] = ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"];
const CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];
/// Debian packages whose files are taken, for the licences of those.
const PACKAGES: [&str; 3] = ["libc6", "libgcc-s1", "ca-certificates"];
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnobody:x:65534:\n";

/// What the image is made of.
pub struct Parts {
    pub program: PathBuf,
    /// Certificate authorities (PEM) instead of this host's.
    pub certificates: Option<PathBuf>,
}

/// The tree and the processor that its program is for.
pub fn assemble(parts: &Parts, source: &Source) -> Result<(Tree, Processor)> {
    let program =
        fs::read(&parts.program).with_context(|| format!("cannot read the program {}", parts.program.display()))?;
    let elf = Elf::read(&program).with_context(|| format!("{} cannot be packed", parts.program.display()))?;
    let mut tree = Tree::default();
    for folder in ["bin", "lib", "lib64", "sbin"] {
        tree.dir(&format!("usr/{folder}"), 0o755);
        tree.link(folder, &format!("usr/{folder}"));
    }
    // A container's runtime mounts these, and cannot make them where the root may not be written.
    for folder in ["dev", "proc", "run", "sys"] {
        tree.dir(folder, 0o755);
    }
    tree.dir("tmp", 0o1777);
    libraries(&mut tree, &elf)?;
    settings(&mut tree, source);
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, certificates(parts.certificates.as_deref())?);
    documents(&mut tree)?;
    tree.file(PROGRAM, 0o755, program);
    Ok((tree, elf.processor))
}

fn libraries(tree: &mut Tree, elf: &Elf) -> Result<()> {
    let loader = elf.loader.as_deref().context("the program has no dynamic loader, so it cannot load NVML")?;
    let found = Libraries::of(elf, &FOR_NVML, &FOR_NAMES)?;
    // /lib is a link to /usr/lib in the image, whatever it is here.
    let in_image = |path: &str| format!("usr/{}", path.trim_start_matches('/').trim_start_matches("usr/"));
    let folder = in_image(&found.folder.to_string_lossy());
    for (name, bytes) in found.files {
        // The loader too can be run by itself, as it is here.
        let mode = if name.starts_with("ld-") { 0o755 } else { 0o644 };
        tree.file(&format!("{folder}/{name}"), mode, bytes);
    }
    let name = Path::new(loader).file_name().unwrap_or_default().to_string_lossy();
    if in_image(loader) != format!("{folder}/{name}") {
        tree.link(&in_image(loader), &format!("/{folder}/{name}"));
    }
    Ok(())
}

fn settings(tree: &mut Tree, source: &Source) {
    tree.file("etc/passwd", 0o644, PASSWD);
    tree.file("etc/group", 0o644, GROUP);
    tree.file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
    let version = source.version;
    let release =
        format!("NAME=inferscope\nID=inferscope\nVERSION_ID={version}\nPRETTY_NAME=\"inferscope {version}\"\n");
    tree.file("usr/lib/os-release", 0o644, release);
    tree.link("etc/os-release", "../usr/lib/os-release");
}

fn certificates(given: Option<&Path>) -> Result<Vec<u8>> {
    let here = || CERTIFICATES.iter().map(Path::new).find(|path| path.is_file());
    let Some(path) = given.or_else(here) else {
        bail!("this host has no certificate authorities: install ca-certificates, or give --ca-certificates FILE")
    };
    let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        bail!("{} holds no certificate in PEM", path.display());
    }
    Ok(pem)
}

fn documents(tree: &mut Tree) -> Result<()> {
    let root = paths::workspace();
    for name in ["LICENSE", "deploy/inferscope.example.toml"] {
        let bytes = fs::read(root.join(name)).with_context(|| format!("cannot read {name}"))?;
        tree.file(&format!("usr/share/doc/inferscope/{}", name.trim_start_matches("deploy/")), 0o644, bytes);
    }
    for package in PACKAGES {
        // Elsewhere the packages have other names, and their licences are not at hand.
        if let Ok(bytes) = fs::read(format!("/usr/share/doc/{package}/copyright")) {
            tree.file(&format!("usr/share/doc/{package}/copyright"), 0o644, bytes);
        }
    }
    Ok(())
}

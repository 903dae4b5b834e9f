//! `cargo xtask dist`: the agent with its pages, completions and unit as an archive to unpack under a prefix.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::libraries::Elf;
use super::oci::sha256;
use super::source::Source;
use super::tree::{Tree, gzip};
use crate::{build, paths, process};

const SUMS: &str = "SHA256SUMS";
/// Shells, and where each looks for completions below a prefix.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/inferscope"),
    ("zsh", "share/zsh/site-functions/_inferscope"),
    ("fish", "share/fish/vendor_completions.d/inferscope.fish"),
];
/// Files of the repository and where they go.
/// Beside them the pages of [`DOCS`], which the README links to.
const FILES: [(&str, &str); 5] = [
    ("deploy/inferscope.service", "lib/systemd/system/inferscope.service"),
    ("deploy/inferscope.example.toml", "share/doc/inferscope/inferscope.example.toml"),
    ("deploy/INSTALL", "share/doc/inferscope/INSTALL"),
    ("LICENSE", "share/doc/inferscope/LICENSE"),
    ("README.md", "share/doc/inferscope/README.md"),
];
/// The folder of those pages.
const DOCS: &str = "docs";

/// Make an archive (tar.gz) with the program, its manual pages, completions and systemd unit, and SHA256SUMS beside it
#[derive(clap::Args)]
pub struct Args {
    /// The folder to write into [default: dist]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Pack this program instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let program = args.binary.clone().map_or_else(build::packaged, Ok)?;
    let folder = args.output.clone().map_or_else(super::folder, Ok)?;
    let (name, bytes) = pack(&program, &Source::read()?)?;
    let sums = format!("{}  {name}\n", sha256(&bytes));
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write(&name, &bytes)?;
    write(SUMS, sums.as_bytes())?;
    println!("{}  {:.1} MB\n{sums}", folder.join(&name).display(), bytes.len() as f64 / 1e6);
    Ok(())
}

/// The archive's name and bytes. PROGRAM is run for what it says of itself, so it must be one for this host.
pub fn pack(program: &Path, source: &Source) -> Result<(String, Vec<u8>)> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let processor = Elf::read(&bytes).with_context(|| format!("{} cannot be packed", program.display()))?.processor;
    let top = format!("inferscope-{}-{}-linux", source.version, processor.name);
    let mut tree = Tree::default();
    let mut add = |path: &str, mode: u32, bytes: Vec<u8>| tree.file(&format!("{top}/{path}"), mode, bytes);
    add("bin/inferscope", 0o755, bytes);
    for (shell, path) in SHELLS {
        let script = process::output(Command::new(program).args(["completions", shell]))?;
        add(path, 0o644, (script + "\n").into_bytes());
    }
    for (name, page) in manual(program)? {
        add(&format!("share/man/man1/{name}"), 0o644, page);
    }
    for (from, to) in FILES {
        add(to, 0o644, fs::read(paths::workspace().join(from)).with_context(|| format!("cannot read {from}"))?);
    }
    for page in pages()? {
        let name = page.file_name().context("a page without a name")?.to_string_lossy();
        let text = fs::read(&page).with_context(|| format!("cannot read {}", page.display()))?;
        add(&format!("share/doc/inferscope/{DOCS}/{name}"), 0o644, text);
    }
    Ok((format!("{top}.tar.gz"), gzip(&tree.tar(source.time_s)?)?))
}

/// The documentation's pages, in the order of their names.
fn pages() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(paths::workspace().join(DOCS)).context("cannot read the documentation")?;
    let mut pages: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    Ok(pages)
}

fn manual(program: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let dir = tempfile::tempdir().context("no room for the manual pages")?;
    process::output(Command::new(program).arg("man").arg(dir.path()))?;
    let mut pages = Vec::new();
    for entry in fs::read_dir(dir.path())? {
        let entry = entry?;
        pages.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    Ok(pages)
}

//! Kernels from Debian's archive, through a private apt state: the host's own apt is read, never changed.
//!
//! The mirrors and the proxy are those that the host's apt already uses; the signatures are checked as always.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::vmlinux;
use crate::{paths, process, step};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const FLAVOUR: &str = "cloud-amd64";

/// A guest kernel: `release` as `uname -r` gives it, `image` an ELF file with a PVH entry and BTF.
pub struct Kernel {
    pub release: String,
    pub image: PathBuf,
}

/// The newest kernel of each of SERIES, fetched where it is missing, or everywhere with NEWEST.
pub fn ensure(series: &[&str], newest: bool) -> Result<Vec<Kernel>> {
    let dir = paths::cache("kernels")?;
    let missing: Vec<&str> = series.iter().copied().filter(|series| newest || kept(&dir, series).is_none()).collect();
    if missing.is_empty() {
        step::already(&format!("kernels {}", series.join(" ")));
    } else {
        let apt = Apt::open(&dir)?;
        for series in missing {
            let what = format!("kernel {series}");
            step::work(&what, "10 seconds, 20 MB", || apt.fetch(series, &dir).context(what.clone()))?;
        }
    }
    let found = |series: &&str| kept(&dir, series).with_context(|| format!("no kernel of series {series}"));
    series.iter().map(found).collect()
}

fn kept(dir: &Path, series: &str) -> Option<Kernel> {
    let prefix = format!("vmlinux-{series}.");
    let names = fs::read_dir(dir).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let name = names.filter(|name| name.starts_with(&prefix)).max_by_key(|name| numbers(name))?;
    Some(Kernel { release: name.trim_start_matches("vmlinux-").to_owned(), image: dir.join(name) })
}

/// The numbers in a version, which is how versions sort.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

struct Apt {
    state: PathBuf,
}

impl Apt {
    fn open(dir: &Path) -> Result<Self> {
        if !Path::new(KEYRING).exists() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        let apt = Self { state: dir.join("apt") };
        for part in ["lists/partial", "archives/partial", "work"] {
            fs::create_dir_all(apt.state.join(part)).context("cannot make the private apt state")?;
        }
        fs::write(apt.state.join("status"), "")?;
        fs::write(apt.state.join("sources.list"), sources()?)?;
        fs::write(apt.state.join("conf"), apt.configuration()?)?;
        step::run("apt-get update for the kernels", "10 seconds", apt.command("apt-get").args(["-q", "update"]))?;
        Ok(apt)
    }

    /// Everything of the host's configuration that says how to download, and directories of our own.
    fn configuration(&self) -> Result<String> {
        let host = process::output(Command::new("apt-config").arg("dump"))?;
        let mut text: String =
            host.lines().filter(|line| line.starts_with("Acquire::")).map(|line| format!("{line}\n")).collect();
        let state = self.state.display();
        text += &format!(
            "Dir::State \"{state}\";\nDir::State::Lists \"{state}/lists\";\nDir::State::status \"{state}/status\";\n\
             Dir::Cache \"{state}\";\nDir::Cache::archives \"{state}/archives\";\n\
             Dir::Etc::sourcelist \"{state}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
             Acquire::Languages \"none\";\nAPT::Sandbox::User \"root\";\n"
        );
        Ok(text)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.state.join("conf"));
        command
    }

    fn fetch(&self, series: &str, dir: &Path) -> Result<()> {
        let names = process::output(self.command("apt-cache").args(["pkgnames", "linux-"]))?;
        let package = newest(names.lines(), series)
            .with_context(|| format!("the mirrors hold no {FLAVOUR} kernel of series {series}"))?;
        let work = tempfile::tempdir_in(self.state.join("work"))?;
        process::output(self.command("apt-get").current_dir(&work).args(["-q", "download", package]))?;
        let deb = only_file(work.path(), |name| name.ends_with(".deb"))?;
        let tree = work.path().join("tree");
        process::output(Command::new("dpkg-deb").arg("-x").args([&deb, &tree]))?;
        let boot = only_file(&tree.join("boot"), |name| name.starts_with("vmlinuz-"))
            .or_else(|_| find_image(&tree).context("the package holds no vmlinuz"))?;
        let release = package.splitn(3, '-').nth(2).unwrap_or(package);
        let part = dir.join(format!("part-{release}"));
        vmlinux::extract(&boot, &part)?;
        fs::rename(&part, dir.join(format!("vmlinux-{release}")))?;
        Ok(())
    }
}

/// Packages of a signed kernel are called `linux-image-…` up to 6.12 and `linux-binary-…` after.
fn newest<'a>(names: impl Iterator<Item = &'a str> + Clone, series: &str) -> Option<&'a str> {
    let of = |kind: &str| {
        let prefix = format!("linux-{kind}-{series}.");
        let fits = |name: &&str| name.starts_with(&prefix) && name.ends_with(FLAVOUR);
        // Signing templates, and rebuilds for an older release that want that release's tools.
        let plain = |name: &&str| !name.contains("template") && !name.contains("deb11");
        names.clone().filter(fits).filter(plain).max_by_key(|name| numbers(name))
    };
    of("binary").or_else(|| of("image"))
}

/// The suites that hold the series, on the mirrors that the host's apt uses.
fn sources() -> Result<String> {
    let sites = process::output(Command::new("apt-get").args(["indextargets", "--format", "$(SITE)"]))?;
    let site = |ending: &str| {
        let found = sites.lines().map(|line| line.trim_end_matches('/')).find(|line| line.ends_with(ending));
        found.with_context(|| format!("this host's apt names no mirror that ends with {ending}: add one and run again"))
    };
    let (archive, security) = (site("/debian")?, site("/debian-security")?);
    let mut text = format!("deb [signed-by={KEYRING}] {archive} trixie-backports main\n");
    for suite in ["bullseye", "bookworm", "trixie"] {
        text += &format!("deb [signed-by={KEYRING}] {security} {suite}-security main\n");
    }
    Ok(text)
}

fn only_file(dir: &Path, fits: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let found = entries.flatten().map(|entry| entry.path());
    let mut found = found.filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&fits));
    found.next().with_context(|| format!("nothing fitting in {}", dir.display()))
}

fn find_image(tree: &Path) -> Option<PathBuf> {
    let found = process::output(Command::new("find").arg(tree).args(["-type", "f", "-name", "vmlinuz*"])).ok()?;
    found.lines().next().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_series_is_by_number_not_by_letter() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-38-cloud-amd64",
            "linux-image-6.1.0-38-amd64",
            "linux-image-6.12.1-cloud-amd64",
            "linux-image-6.1.0-40-cloud-amd64-unsigned",
        ];
        assert_eq!(newest(names.into_iter(), "6.1"), Some("linux-image-6.1.0-38-cloud-amd64"));
        assert_eq!(newest(names.into_iter(), "7.3"), None);
    }

    #[test]
    fn the_newer_package_name_wins() {
        let names = ["linux-image-6.18.9-cloud-amd64", "linux-binary-6.18.2-cloud-amd64"];
        assert_eq!(newest(names.into_iter(), "6.18"), Some("linux-binary-6.18.2-cloud-amd64"));
    }
}

//! What is packaged works: the image starts without an engine, the archive is whole, the unit is one for systemd.
//!
//! Packs the release build, stripped as a package is: the test does not wait for another build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::rootfs::{PROGRAM, Parts, assemble};
use super::source::Source;
use super::{dist, oci, readback};
use crate::{paths, process};

/// Runs the image's own loader and libraries on the image's program: what is missing there shows here.
const IN_IMAGE: &str = "mount -t proc proc proc && mount --rbind /sys sys && exec chroot . \"$@\"";

/// A package's contents, ready to be tried.
pub struct Proof {
    dir: TempDir,
    program: PathBuf,
    source: Source,
}

impl Proof {
    /// PROGRAM is the release build.
    pub fn new(program: &Path) -> Result<Self> {
        let dir = tempfile::tempdir().context("no room for packages")?;
        let stripped = dir.path().join("inferscope");
        process::output(Command::new("strip").args(["--strip-debug", "-o"]).arg(&stripped).arg(program))
            .context("strip comes with the C compiler's binutils")?;
        Ok(Self { dir, program: stripped, source: Source::read()? })
    }

    /// Packs an image twice and reads it back; its root file system is unpacked then.
    pub fn image(&self) -> Result<()> {
        let image = self.pack()?;
        ensure!(image.digest == self.pack()?.digest, "packed again, the image has another digest");
        unpack(&image, &self.root())
    }

    /// Packs an image, reads it back and unpacks it there.
    pub fn image_at(&self, root: &Path) -> Result<()> {
        unpack(&self.pack()?, root)
    }

    fn pack(&self) -> Result<oci::Image> {
        let parts = Parts { program: self.program.clone(), certificates: None };
        let (tree, processor) = assemble(&parts, &self.source)?;
        oci::pack(&tree, processor, &self.source, "inferscope:test")
    }

    /// Starts the program in that root with nothing else in it, and lets it load a GPU library there. Wants root.
    pub fn starts(&self, fake_nvml: &Path) -> Result<()> {
        let version = self.run(&["--version"])?;
        ensure!(version.contains(self.source.version), "it says {version}");
        let libraries = fs::read_dir(self.root().join("usr/lib"))?.filter_map(|entry| Some(entry.ok()?.path()));
        let folder = libraries.into_iter().find(|folder| folder.join("libc.so.6").exists()).context("no libc")?;
        fs::copy(fake_nvml, folder.join("libnvidia-ml.so.1")).context("no fake GPU library")?;
        let report: Value = serde_json::from_str(&self.run(&["check", "--json"])?)?;
        let of = |name: &str| {
            let findings = report["findings"].as_array().into_iter().flatten();
            findings.filter(|finding| finding["name"] == name).map(|finding| finding["status"].clone()).next()
        };
        ensure!(of("nvml").is_some_and(|status| status == "ok"), "no GPU library in the image: {report}");
        ensure!(report["can_run"] == true, "nothing can be watched from the image: {report}");
        Ok(())
    }

    /// Packs an archive twice; it holds what is named in the README.
    pub fn archive(&self) -> Result<()> {
        let (name, bytes) = dist::pack(&self.program, &self.source)?;
        ensure!(bytes == dist::pack(&self.program, &self.source)?.1, "packed again, the archive has other bytes");
        let file = self.dir.path().join(&name);
        fs::write(&file, bytes)?;
        let list = process::output(Command::new("tar").arg("-tzf").arg(&file))?;
        let pages = ["docs/record.md", "docs/privileges.md"];
        let files = ["bin/inferscope", "share/man/man1/inferscope-run.1", "lib/systemd/system/inferscope.service"];
        for wanted in files.into_iter().chain(pages) {
            ensure!(list.lines().any(|line| line.ends_with(wanted)), "{name} has no {wanted}");
        }
        Ok(())
    }

    /// systemd knows every line of the unit.
    pub fn unit(&self, analyze: &Path) -> Result<()> {
        let unit = fs::read_to_string(paths::workspace().join("deploy/inferscope.service"))?;
        let file = self.dir.path().join("inferscope.service");
        fs::write(&file, unit.replace("ExecStart=inferscope", &format!("ExecStart={}", self.program.display())))?;
        let done = Command::new(analyze).args(["verify", "--man=no"]).arg(&file).output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success() && !said.contains("inferscope.service"), "systemd-analyze verify: {said}");
        Ok(())
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("unshare");
        command.current_dir(self.root()).args(["--mount", "sh", "-c", IN_IMAGE, "sh"]).arg(format!("/{PROGRAM}"));
        process::output(command.args(args))
    }
}

fn unpack(image: &oci::Image, root: &Path) -> Result<()> {
    let tar = readback::layer(&image.archive)?;
    tar::Archive::new(tar.as_slice()).unpack(root).context("the layer cannot be unpacked")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings that close devices, and GPUs with them; before systemd 252 the last one does, for it implies the first.
    const CLOSING: [&str; 4] = ["DeviceAllow", "DevicePolicy", "PrivateDevices", "ProtectClock"];

    fn settings(unit: &str) -> Vec<(&str, &str)> {
        let lines = unit.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.trim(), value)).collect()
    }

    #[test]
    fn the_unit_leaves_devices_open_and_the_clock_alone() {
        let unit = fs::read_to_string(paths::workspace().join("deploy/inferscope.service")).unwrap();
        let settings = settings(&unit);
        let closing: Vec<_> = settings.iter().filter(|(name, _)| CLOSING.contains(name)).collect();
        assert!(closing.is_empty(), "{closing:?}");
        // What ProtectClock= would take is not given in the first place.
        for (wanted, given) in [
            ("CapabilityBoundingSet", &["CAP_SYS_TIME", "CAP_WAKE_ALARM"][..]),
            ("SystemCallFilter", &["@clock", "adjtimex", "clock_adjtime", "clock_settime", "settimeofday"]),
        ] {
            let values: Vec<_> = settings.iter().filter(|(name, _)| *name == wanted).map(|(_, value)| *value).collect();
            assert!(!values.is_empty(), "without {wanted}= everything is given");
            let words = values.iter().flat_map(|value| value.split_whitespace());
            let over: Vec<_> = words.filter(|word| word.starts_with('~') || given.contains(word)).collect();
            assert!(over.is_empty(), "{wanted}= gives {over:?}");
        }
    }
}

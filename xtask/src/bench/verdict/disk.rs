//! A small disk of the bench's own: a loop device over a file in memory, with a file system on it. It is as fast as memory,
//! until somebody limits it. Gone when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::paths::program;
use crate::process;

pub struct Disk {
    dir: PathBuf,
    device: Option<String>,
    mounts: Vec<PathBuf>,
}

impl Disk {
    /// Holds FILE and nothing else; for reading.
    pub fn with(file: &Path, dir: &Path) -> Result<Self> {
        let size = file.metadata().with_context(|| format!("{} is not there", file.display()))?.len();
        let mut disk = Self { dir: dir.to_owned(), device: None, mounts: Vec::new() };
        let (memory, mount) = (dir.join("memory"), dir.join("disk"));
        fs::create_dir_all(&memory)?;
        fs::create_dir_all(&mount)?;
        run("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", text(&memory)?])?;
        disk.mounts.push(memory.clone());
        let image = memory.join("image");
        fs::File::create(&image)?.set_len(size + size / 8 + (32 << 20))?;
        run("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", text(&image)?])?;
        let device = run("losetup", &["--find", "--show", text(&image)?])?;
        disk.device = Some(device.clone());
        run("mount", &[&device, text(&mount)?])?;
        disk.mounts.push(mount.clone());
        let copied = mount.join(file.file_name().context("a file has a name")?);
        fs::copy(file, &copied).context("no room for the model in memory")?;
        // Mounted anew, so that its pages are of those who read them, and not of this program.
        run("umount", &[text(&mount)?])?;
        run("mount", &["-o", "ro", &device, text(&mount)?])?;
        Ok(disk)
    }

    pub fn file(&self) -> Result<PathBuf> {
        let mut entries = fs::read_dir(self.dir.join("disk"))?.flatten().map(|entry| entry.path());
        entries.find(|path| path.is_file()).context("the disk is empty")
    }

    /// MAJOR:MINOR, as control groups name a device.
    pub fn number(&self) -> Result<String> {
        let device = self.device.as_deref().context("no device")?;
        let name = device.trim_start_matches("/dev/");
        let number = fs::read_to_string(format!("/sys/class/block/{name}/dev"));
        Ok(number.with_context(|| format!("{device} has no number in /sys"))?.trim().to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut steps: Vec<(&str, Vec<String>)> = Vec::new();
        let unmount = |path: &PathBuf| ("umount", vec!["-l".to_owned(), path.display().to_string()]);
        steps.extend(self.mounts.get(1).map(unmount));
        steps.extend(self.device.iter().map(|device| ("losetup", vec!["-d".to_owned(), device.clone()])));
        steps.extend(self.mounts.first().map(unmount));
        for (name, args) in steps {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            if let Err(error) = run(name, &args) {
                eprintln!("the bench's disk stays behind: {error:#}");
            }
        }
    }
}

pub fn run(name: &str, args: &[&str]) -> Result<String> {
    let path = program(name).with_context(|| format!("{name} is not installed"))?;
    process::output(Command::new(path).args(args))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

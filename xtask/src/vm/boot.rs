//! One guest: an archive with busybox and the programs to run, one boot in qemu, the programs' output and exit codes.
//!
//! Output comes over the second serial line, which carries nothing else; the first is the kernel's console.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::archive::Archive;
use crate::{process, step};

const BUSYBOX: &str = "/bin/busybox";
const MEMORY_MB: u32 = 1024;
/// Marks our own lines among the programs' output.
const MARK: &str = "@@inferscope";
/// bpf among the security modules, as 5.10 wants it for BPF LSM; the rest only makes the boot quicker and steady.
const KERNEL_LINE: &str = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off no_timer_check tsc=reliable \
    random.trust_cpu=on nowatchdog cryptomgr.notests=1 init_on_alloc=0 8250.nr_uarts=2 rcupdate.rcu_expedited=1 \
    audit=0 lsm=lockdown,yama,bpf";
const INIT: &str = include_str!("init.sh");
/// What the guest writes to its console each second, and how long without it until the guest counts as dead.
const BEAT: &str = "@@inferscope beat";
const SILENCE: Duration = Duration::from_secs(60);

pub struct Guest {
    kernel: PathBuf,
    archive: Archive,
    script: String,
    pub cpus: u32,
    pub limit: Duration,
}

/// A program's end: CODE is None if the guest died or ran out of time before it.
pub struct JobEnd {
    pub output: String,
    pub code: Option<i32>,
}

pub struct Outcome {
    pub release: String,
    pub wall: Duration,
    pub jobs: Vec<JobEnd>,
    pub console: String,
    /// Its kernel no longer ran anything, so its end says nothing about the program that it was at.
    pub dead: bool,
}

impl Outcome {
    pub fn console_tail(&self) -> String {
        step::last_lines(&self.console, 15)
    }
}

impl Guest {
    pub fn new(kernel: &Path) -> Self {
        let mut archive = Archive::default();
        for dir in ["/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/var/tmp"] {
            archive.directory(dir);
        }
        archive.link("/sbin", "bin");
        archive.link("/bin/sh", "busybox");
        archive.file("/etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n".to_vec());
        archive.file("/etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n".to_vec());
        archive.file("/init", 0o755, INIT.as_bytes().to_vec());
        let limit = Duration::from_secs(120);
        Self { kernel: kernel.to_path_buf(), archive, script: String::new(), cpus: 2, limit }
    }

    /// A file or directory of the host, at the same path in the guest, with the libraries that a program wants.
    pub fn add_path(&mut self, host: &Path) -> Result<()> {
        let host = std::path::absolute(host)?;
        self.archive.copy(&host, &host.to_string_lossy())?;
        if host.is_file() { self.archive.libraries(&host) } else { Ok(()) }
    }

    /// A program that others start, in the directory where they are; returns its path in the guest.
    pub fn add_beside(&mut self, binary: &Path) -> Result<String> {
        let name = binary.file_name().context("the program needs a file name")?.to_string_lossy();
        let path = format!("/job/{name}");
        self.archive.copy(binary, &path)?;
        self.archive.libraries(binary)?;
        Ok(path)
    }

    /// A program to run after those already added.
    pub fn job(&mut self, binary: &Path, args: Vec<String>) -> Result<()> {
        let path = self.add_beside(binary)?;
        let words: Vec<String> = std::iter::once(path).chain(args).map(|word| quoted(&word)).collect();
        self.script += &format!("{}\necho \"{MARK} rc=$?\"\n", words.join(" "));
        Ok(())
    }

    /// Boots, waits, and reads what came of it.
    pub fn boot(&self) -> Result<Outcome> {
        let work = tempfile::Builder::new().prefix("inferscope-vm-").tempdir()?;
        let (initrd, output, console) =
            (work.path().join("initrd"), work.path().join("output"), work.path().join("console"));
        fs::write(&initrd, self.packed()?)?;
        let started = Instant::now();
        let messages = fs::File::create(work.path().join("qemu"))?;
        let dead = self.wait(self.qemu(&initrd, &output, &console).stderr(messages), &console)?;
        let wall = started.elapsed();
        let text = String::from_utf8_lossy(&fs::read(&output).unwrap_or_default()).replace('\r', "");
        let (release, jobs) = parse(&text);
        let read =
            |file: &str| String::from_utf8_lossy(&fs::read(work.path().join(file)).unwrap_or_default()).into_owned();
        let messages: String =
            read("console").lines().filter(|line| !line.contains(BEAT)).flat_map(|line| [line, "\n"]).collect();
        Ok(Outcome { release, wall, jobs, console: messages + &read("qemu"), dead })
    }

    fn packed(&self) -> Result<Vec<u8>> {
        let mut archive = self.archive.clone();
        archive.copy(Path::new(BUSYBOX), BUSYBOX).context("run `cargo xtask setup --only vm`")?;
        archive.file("/job/script", 0o755, self.script.clone().into_bytes());
        Ok(archive.pack())
    }

    fn qemu(&self, initrd: &Path, output: &Path, console: &Path) -> Command {
        // KVM inside a virtual machine is often half there, and emulation boots in two seconds: KVM only when asked for.
        // One thread for all virtual CPUs: with one for each, a CPU at times runs into an instruction that another is
        // just patching, which real ones do not, and the guest dies of it.
        let accelerator = std::env::var("INFERSCOPE_VM_ACCEL").unwrap_or_else(|_| "tcg,thread=single".into());
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-M", "pc", "-accel", &accelerator, "-cpu", "max,la57=off"]);
        qemu.args(["-smp", &self.cpus.to_string(), "-m", &MEMORY_MB.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(initrd).args(["-append", KERNEL_LINE]);
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        qemu.arg("-serial").arg(format!("file:{}", output.display()));
        qemu.stdin(Stdio::null()).stdout(Stdio::null());
        qemu
    }

    /// True where the guest's sign of life stayed away, and the guest was ended for it.
    fn wait(&self, qemu: &mut Command, console: &Path) -> Result<bool> {
        let started = Instant::now();
        let mut last = (0, started);
        let mut group = process::Group::spawn(qemu).context("run `cargo xtask setup --only vm`")?;
        while group.try_wait()?.is_none() {
            if process::interrupted() {
                bail!("interrupted");
            }
            let written = fs::metadata(console).map_or(0, |file| file.len());
            if written != last.0 {
                last = (written, Instant::now());
            }
            let silent = last.1.elapsed() > SILENCE;
            if silent || started.elapsed() > self.limit {
                let why = if silent { "showed no sign of life for" } else { "ran longer than" };
                eprintln!("the guest {why} {}: ended", step::seconds(if silent { SILENCE } else { self.limit }));
                group.end();
                return Ok(silent);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }
}

/// The guest's `uname -r`, and each program's output and code in order.
fn parse(text: &str) -> (String, Vec<JobEnd>) {
    let (mut release, mut jobs, mut output) = (String::from("?"), Vec::new(), String::new());
    for line in text.lines() {
        // A program may end without a newline, so the mark can stand anywhere in a line.
        let Some((before, mark)) = line.split_once(MARK) else {
            output += line;
            output.push('\n');
            continue;
        };
        output += before;
        match mark.trim().split_once('=') {
            Some(("release", value)) => release = value.to_owned(),
            Some(("rc", value)) => {
                jobs.push(JobEnd { output: std::mem::take(&mut output), code: value.parse().ok() });
            }
            _ => {}
        }
    }
    if !output.trim().is_empty() {
        jobs.push(JobEnd { output, code: None });
    }
    (release, jobs)
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_program_and_its_code() {
        let (release, jobs) =
            parse("@@inferscope release=6.1.0\none\n@@inferscope rc=0\ntwo@@inferscope rc=3\nhalf of the third\n");
        assert_eq!(release, "6.1.0");
        let seen: Vec<_> = jobs.iter().map(|job| (job.output.as_str(), job.code)).collect();
        assert_eq!(seen, [("one\n", Some(0)), ("two", Some(3)), ("half of the third\n", None)]);
    }

    #[test]
    fn quotes_survive_the_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}

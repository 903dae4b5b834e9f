//! The watched servers, each in a container of its own: mount, PID, IPC, UTS and network namespaces, a root file system of
//! Debian's packages, another user than root, and a control group as a kubelet names it. All listen on the same port,
//! which only their own network namespace has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::debian::Debian;
use super::runtime::{Running, Runtime};
use super::settings::{Mount, Settings};
use crate::{http, paths, process, servers, step};

pub const PORT: u16 = 8000;
const USER: u32 = 1000;
/// The package's version that the container shows, in its own root only.
pub const VLLM_VERSION: &str = "0.11.2";
/// What a module of Python needs around it to be found by its dotted name.
const PACKAGES: [&str; 3] = ["vllm", "vllm/entrypoints", "vllm/entrypoints/openai"];
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server's pod is called, and what it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// llama.cpp with a real model: native code, libraries beside the program.
    Llama,
    /// A server of Python's standard library, as vLLM's from outside.
    Python,
    /// The same, and its interpreter is deleted from the image while it runs.
    Deleted,
}

pub const KINDS: [Kind; 3] = [Kind::Llama, Kind::Python, Kind::Deleted];

impl Kind {
    pub fn pod(self) -> &'static str {
        match self {
            Self::Llama => "llama-0",
            Self::Python => "vllm-0",
            Self::Deleted => "vllm-old-0",
        }
    }

    pub fn container(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Python | Self::Deleted => "vllm",
        }
    }

    /// The engine that it should be taken for.
    pub fn engine(self) -> &'static str {
        match self {
            Self::Llama => "llama_cpp",
            Self::Python | Self::Deleted => "vllm",
        }
    }

    fn number(self) -> usize {
        KINDS.iter().position(|kind| *kind == self).unwrap_or_default()
    }

    /// Of the container.
    pub fn id(self) -> String {
        format!("{:02x}", 0xc1 + self.number()).repeat(32)
    }

    pub fn pod_uid(self) -> String {
        format!("8b1d1f3e-1c2d-4e5f-8a9b-0c1d2e3f4a5{}", self.number())
    }

    /// Requests that the test sends: different ones, so that a mix-up shows.
    pub fn requests(self) -> usize {
        [3, 5, 2][self.number()]
    }
}

/// A server that answers, in its own namespaces.
pub struct Server {
    pub kind: Kind,
    pub running: Running,
    netns: PathBuf,
    /// After the container: its mount goes with it.
    root: Overlay,
}

impl Server {
    /// Starts it in the network namespace NETNS and waits until it answers there.
    pub fn start(kind: Kind, runtime: &Runtime, debian: &Debian, netns: PathBuf) -> Result<Self> {
        let root = root(kind, debian)?;
        let settings = settings(kind, debian, root.merged.clone(), netns.clone())?;
        let running = runtime.run(kind.pod(), &settings)?;
        let server = Self { kind, running, netns, root };
        server.wait()?;
        if kind == Kind::Deleted {
            fs::remove_file(server.root.merged.join(debian.python.trim_start_matches('/')))?;
            let exe = fs::read_link(format!("/proc/{}/exe", server.running.pid))?;
            ensure!(exe.to_string_lossy().ends_with(" (deleted)"), "{} is still there", exe.display());
        }
        Ok(server)
    }

    fn wait(&self) -> Result<()> {
        let started = Instant::now();
        while !self.inside(|| Ok(http::get(PORT, "/health").is_ok_and(|answer| answer.status == 200)))? {
            let late = started.elapsed() > PATIENCE;
            if late || !self.running.is_alive() {
                let log = step::tail(&self.running.log, 15);
                bail!("{} does not answer; the end of {}:\n{log}", self.kind.pod(), self.running.log.display());
            }
            process::pause(Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// So many streamed requests, one after the other, from inside the server's network namespace.
    pub fn chat(&self, requests: usize) -> Result<()> {
        self.inside(|| (0..requests).try_for_each(|_| http::chat(PORT, "tiny", "Name three rivers.", 8, true)))
    }

    /// A long request, for who looks at it meanwhile.
    pub fn long_chat(&self, tokens: u32) -> Result<()> {
        self.inside(|| http::chat(PORT, "tiny", "Tell a long story.", tokens, true))
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        inside(&self.netns, work)
    }
}

/// Runs WORK on a thread that is in the network namespace NETNS: nowhere else is that port.
pub fn inside<T: Send>(netns: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let namespace = fs::File::open(netns).with_context(|| format!("no namespace {}", netns.display()))?;
    std::thread::scope(|scope| {
        let entered = scope.spawn(move || {
            use std::os::fd::AsFd as _;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        entered.join().map_err(|_| anyhow::anyhow!("the thread in {} failed", netns.display()))?
    })
}

/// A root file system as containerd makes it: the image below, what changes above.
struct Overlay {
    merged: PathBuf,
}

impl Overlay {
    fn mount(name: &str, image: &Path) -> Result<Self> {
        // runc takes no path with a link in it.
        let home = paths::cache("kubernetes/roots")?.canonicalize()?.join(name);
        let merged = home.join("merged");
        // Of a run that was killed.
        process::succeeds(Command::new("umount").arg(&merged));
        if home.exists() {
            fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
        }
        let [upper, work] = ["upper", "work"].map(|name| home.join(name));
        for folder in [&upper, &work, &merged] {
            fs::create_dir_all(folder)?;
        }
        let image = image.canonicalize()?;
        let layers = format!("lowerdir={},upperdir={},workdir={}", image.display(), upper.display(), work.display());
        process::output(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(&merged))?;
        Ok(Self { merged })
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        process::succeeds(Command::new("umount").arg(&self.merged));
    }
}

/// Debian's root, and of Python's servers the module that they run.
fn root(kind: Kind, debian: &Debian) -> Result<Overlay> {
    let root = Overlay::mount(kind.pod(), &debian.root)?;
    if kind == Kind::Llama {
        return Ok(root);
    }
    let packages = root.merged.join("usr/lib/python3/dist-packages");
    for package in PACKAGES {
        fs::create_dir_all(packages.join(package))?;
        fs::write(packages.join(package).join("__init__.py"), "")?;
    }
    fs::create_dir_all(packages.join(format!("vllm-{VLLM_VERSION}.dist-info")))?;
    let source = paths::workspace().join("tests/kubernetes/server/api_server.py");
    fs::copy(source, packages.join("vllm/entrypoints/openai/api_server.py"))?;
    // Whoever the checkout belongs to: the server's user reads it.
    process::output(Command::new("chmod").args(["-R", "a+rX"]).arg(&packages))?;
    Ok(root)
}

fn settings(kind: Kind, debian: &Debian, root: PathBuf, netns: PathBuf) -> Result<Settings> {
    let (args, mounts) = match kind {
        Kind::Llama => llama()?,
        Kind::Python | Kind::Deleted => (python(&debian.python), Vec::new()),
    };
    Ok(Settings {
        id: kind.id(),
        hostname: kind.pod().to_owned(),
        args,
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("HOME".to_owned(), "/tmp".to_owned())],
        root,
        read_only_root: true,
        user: (USER, USER),
        capabilities: Vec::new(),
        no_new_privileges: true,
        seccomp: None,
        mounts,
        host_pid: false,
        netns,
        cgroup: format!("/kubepods/burstable/pod{}/{}", kind.pod_uid(), kind.id()),
        memory: None,
        cpu_shares: None,
    })
}

fn llama() -> Result<(Vec<String>, Vec<Mount>)> {
    let (program, model) = servers::llama_files()?;
    let folder = program.parent().context("the server has no folder")?.to_owned();
    let name = model.file_name().context("the model has no name")?.to_string_lossy().into_owned();
    let mount = |source: PathBuf, target: &str| Mount { source, target: target.to_owned(), read_only: true };
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let command =
        format!("/opt/llama/{program} -m /models/{name} --host 0.0.0.0 --port {PORT} -t 1 -c 2048 -np 1 --device none");
    let models = model.parent().context("the model has no folder")?.to_owned();
    let mounts = vec![mount(folder, "/opt/llama"), mount(models.join(&name), &format!("/models/{name}"))];
    Ok((command.split(' ').map(str::to_owned).collect(), mounts))
}

fn python(interpreter: &str) -> Vec<String> {
    let command = format!("{interpreter} -m vllm.entrypoints.openai.api_server --model tiny --port {PORT}");
    command.split(' ').map(str::to_owned).collect()
}

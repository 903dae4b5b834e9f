//! Processes and threads that end at once, and this process ending itself.

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::process::Command;
use support::clock::{now_ns, sleep_until_ns};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// fork, then exit.
    Process,
    /// fork, exec of this program, exit.
    Exec,
    Thread,
}

#[derive(Args)]
pub struct Spawn {
    #[arg(long, default_value_t = 2000)]
    count: u64,
    /// Starts per second; 0 is as fast as it goes.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    #[arg(long, value_enum, default_value_t = What::Process)]
    what: What,
    /// Threads that each process has when it ends, which all are busy.
    #[arg(long, default_value_t = 0)]
    threads: u32,
    /// Exit code of each.
    #[arg(long, default_value_t = 0)]
    code: i32,
}

impl Spawn {
    pub fn run(&self) -> Result<Value> {
        let start = now_ns();
        let mut last_pid = 0;
        for i in 0..self.count {
            if self.rate > 0.0 {
                sleep_until_ns(start + (i as f64 / self.rate * 1e9) as u64);
            }
            last_pid = match self.what {
                What::Process => self.process()?,
                What::Exec => self.exec()?,
                What::Thread => {
                    std::thread::spawn(std::thread::current).join().expect("an empty thread does not panic");
                    0
                }
            };
        }
        Ok(json!({
            "load": "spawn", "what": format!("{:?}", self.what).to_lowercase(), "count": self.count, "code": self.code,
            "last_pid": last_pid, "seconds": (now_ns() - start) as f64 / 1e9,
        }))
    }

    fn process(&self) -> Result<i32> {
        // SAFETY: this program has one thread here, and so has the child at first.
        let forked = unsafe {
            match libc::fork() {
                0 => {
                    (0..self.threads).for_each(|_| {
                        drop(std::thread::spawn(|| {
                            loop {
                                std::hint::spin_loop()
                            }
                        }))
                    });
                    libc::_exit(self.code)
                }
                other => other,
            }
        };
        match forked {
            -1 => bail!("fork: {}", std::io::Error::last_os_error()),
            pid => {
                let mut status = 0;
                // SAFETY: waits for our own child.
                let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
                ensure!(waited == pid && libc::WEXITSTATUS(status) == self.code & 0xff, "child {pid} ended oddly");
                Ok(pid)
            }
        }
    }

    fn exec(&self) -> Result<i32> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["exit", "--code", &self.code.to_string()])
            .stdout(std::process::Stdio::null())
            .spawn()?;
        let pid = child.id() as i32;
        ensure!(child.wait()?.code() == Some(self.code & 0xff), "child {pid} ended oddly");
        Ok(pid)
    }
}

#[derive(Args)]
pub struct Exit {
    #[arg(long, default_value_t = 0)]
    code: i32,
    /// End by this signal instead.
    #[arg(long)]
    signal: Option<i32>,
}

impl Exit {
    pub fn run(&self) -> Result<Value> {
        if let Some(signal) = self.signal {
            // SAFETY: restores the default and signals this process.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                libc::kill(libc::getpid(), signal);
            }
        }
        std::process::exit(self.code)
    }
}

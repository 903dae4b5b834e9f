//! One system call over and over: exact counts, and its price in nanoseconds. The least of several repeats is the
//! price; the others had company.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use support::clock::now_ns;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The shortest there is.
    Getppid,
    /// One byte from /dev/zero.
    Read,
    /// One byte to /dev/null.
    Write,
    /// A line to standard error, which is /dev/null then.
    Line,
    /// As many bytes to the beginning of a file in memory.
    File,
    /// close(-1), which fails.
    Fail,
}

/// A line of a log, of 80 bytes.
const LINE: &[u8; 80] = b"ERROR 11-24 12:00:00 [core.py:718] the engine has met with an error it tells of\n";

/// What calls are made on.
struct Descriptors {
    zero: i32,
    null: i32,
    file: i32,
}

#[derive(Args)]
pub struct Syscalls {
    #[arg(long, value_enum, default_value_t = Kind::Getppid)]
    kind: Kind,
    /// Calls of one repeat.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    #[arg(long, default_value_t = 1)]
    repeats: u64,
}

impl Syscalls {
    pub fn run(&self) -> Result<Value> {
        // SAFETY: constant paths, plain calls.
        let on = unsafe {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY);
            if self.kind == Kind::Line {
                libc::dup2(null, libc::STDERR_FILENO);
            }
            let zero = libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY);
            Descriptors { zero, null, file: libc::memfd_create(c"data".as_ptr(), 0) }
        };
        if on.zero < 0 || on.null < 0 || on.file < 0 {
            bail!("/dev/zero, /dev/null and a file in memory: {}", std::io::Error::last_os_error());
        }
        let mut prices = Vec::new();
        for _ in 0..self.repeats.max(1) {
            let start = now_ns();
            for _ in 0..self.count {
                self.call(&on);
            }
            prices.push((now_ns() - start) as f64 / self.count as f64);
        }
        prices.sort_by(f64::total_cmp);
        let calls = self.count * self.repeats.max(1);
        Ok(json!({
            "load": "syscalls", "kind": format!("{:?}", self.kind).to_lowercase(), "calls": calls,
            "errors": if self.kind == Kind::Fail { calls } else { 0 },
            "ns_per_call": prices[0], "ns_per_call_median": prices[prices.len() / 2],
        }))
    }

    #[inline(always)]
    fn call(&self, on: &Descriptors) {
        let mut byte = 0u8;
        // SAFETY: valid bytes of a buffer; close(-1) touches nothing.
        unsafe {
            match self.kind {
                Kind::Getppid => libc::syscall(libc::SYS_getppid),
                Kind::Read => libc::read(on.zero, (&raw mut byte).cast(), 1) as i64,
                Kind::Write => libc::write(on.null, (&raw const byte).cast(), 1) as i64,
                Kind::Line => libc::write(libc::STDERR_FILENO, LINE.as_ptr().cast(), LINE.len()) as i64,
                Kind::File => libc::pwrite(on.file, LINE.as_ptr().cast(), LINE.len(), 0) as i64,
                Kind::Fail => libc::syscall(libc::SYS_close, -1),
            };
        }
    }
}

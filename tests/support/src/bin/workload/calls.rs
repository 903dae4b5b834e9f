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
    /// close(-1), which fails.
    Fail,
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
        let (zero, null) = unsafe {
            (libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY), libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY))
        };
        if zero < 0 || null < 0 {
            bail!("/dev/zero and /dev/null: {}", std::io::Error::last_os_error());
        }
        let mut prices = Vec::new();
        for _ in 0..self.repeats.max(1) {
            let start = now_ns();
            for _ in 0..self.count {
                self.call(zero, null);
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
    fn call(&self, zero: i32, null: i32) {
        let mut byte = 0u8;
        // SAFETY: one valid byte of buffer; close(-1) touches nothing.
        unsafe {
            match self.kind {
                Kind::Getppid => libc::syscall(libc::SYS_getppid),
                Kind::Read => libc::read(zero, (&raw mut byte).cast(), 1) as i64,
                Kind::Write => libc::write(null, (&raw const byte).cast(), 1) as i64,
                Kind::Fail => libc::syscall(libc::SYS_close, -1),
            };
        }
    }
}

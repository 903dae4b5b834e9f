//! A bad link where the kernel has no netem: two TUN devices, and between them this program, which delays and drops
//! packets as it is told. Says `ready`, then takes `bad DELAY_US LOSS`, `good` and `count` on standard input; ends, and
//! the devices with it, when that closes.

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use support::clock::now_ns;

/// Packets under way in one direction; more are dropped, as by any queue.
const ROOM: usize = 4096;

#[derive(Parser)]
#[command(about = "A link between two TUN devices that delays and drops")]
struct Args {
    /// Names of the two devices.
    left: String,
    right: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    support::priority::die_with_parent()?;
    let mut ends = [device(&args.left)?, device(&args.right)?];
    println!("ready");
    let mut link = Link::default();
    let mut typed = Vec::new();
    loop {
        let ready = wait(&ends, link.next_ns())?;
        for end in [0, 1] {
            if ready[end] {
                link.take(&mut ends[end], end)?;
            }
            link.deliver(&mut ends[1 - end], end)?;
        }
        if ready[2] && !told(&mut typed, &mut link)? {
            return Ok(());
        }
    }
}

/// What is under way from each end, and what became of the rest.
#[derive(Default)]
struct Link {
    delay_ns: u64,
    loss: f64,
    random: u64,
    under_way: [VecDeque<(u64, Vec<u8>)>; 2],
    forwarded: u64,
    dropped: u64,
}

impl Link {
    fn take(&mut self, from: &mut File, end: usize) -> Result<()> {
        let mut packet = [0; 65536];
        loop {
            let size = match from.read(&mut packet) {
                Ok(size) => size,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).context("reading a device"),
            };
            if self.unlucky() || self.under_way[end].len() >= ROOM {
                self.dropped += 1;
                continue;
            }
            // A packet never overtakes one that went before it, whatever the delay is by now.
            let last = self.under_way[end].back().map_or(0, |(at, _)| *at);
            let at = last.max(now_ns() + self.delay_ns);
            self.under_way[end].push_back((at, packet[..size].to_vec()));
        }
    }

    fn deliver(&mut self, to: &mut File, end: usize) -> Result<()> {
        while self.under_way[end].front().is_some_and(|(at, _)| *at <= now_ns()) {
            let Some((_, packet)) = self.under_way[end].pop_front() else { break };
            match to.write(&packet) {
                Ok(_) => self.forwarded += 1,
                // A device that is down or full loses packets.
                Err(e) if e.raw_os_error() == Some(libc::EIO) || e.kind() == ErrorKind::WouldBlock => self.dropped += 1,
                Err(e) => return Err(e).context("writing to a device"),
            }
        }
        Ok(())
    }

    fn next_ns(&self) -> Option<u64> {
        self.under_way.iter().filter_map(|queue| queue.front()).map(|(at, _)| *at).min()
    }

    /// Marsaglia's xorshift64: the same losses in every run.
    fn unlucky(&mut self) -> bool {
        if self.loss <= 0.0 {
            return false;
        }
        if self.random == 0 {
            self.random = 0x9e37_79b9_7f4a_7c15;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 11) as f64) < self.loss * (1u64 << 53) as f64
    }

    fn obey(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["bad", delay_us, loss] => (self.delay_ns, self.loss) = (delay_us.parse::<u64>()? * 1000, loss.parse()?),
            ["good"] => (self.delay_ns, self.loss) = (0, 0.0),
            ["count"] => {}
            _ => bail!("`{line}` is none of: bad DELAY_US LOSS, good, count"),
        }
        let under_way: usize = self.under_way.iter().map(VecDeque::len).sum();
        let (forwarded, dropped) = (self.forwarded, self.dropped);
        println!("{}", serde_json::json!({ "forwarded": forwarded, "dropped": dropped, "under_way": under_way }));
        Ok(std::io::stdout().flush()?)
    }
}

/// Obeys the complete lines on standard input; false when it is closed.
fn told(typed: &mut Vec<u8>, link: &mut Link) -> Result<bool> {
    let mut some = [0; 256];
    // Not through a buffer of the library's: poll(2) would not know what lies in it.
    // SAFETY: reads at most the buffer's length into it.
    let size = unsafe { libc::read(0, some.as_mut_ptr().cast(), some.len()) };
    if size <= 0 {
        return Ok(false);
    }
    typed.extend_from_slice(&some[..size as usize]);
    while let Some(end) = typed.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = typed.drain(..=end).collect();
        link.obey(&String::from_utf8_lossy(&line))?;
    }
    Ok(true)
}

/// Which of the two devices and of standard input have something, at the latest at `until_ns`.
fn wait(ends: &[File; 2], until_ns: Option<u64>) -> Result<[bool; 3]> {
    let mut all =
        [ends[0].as_raw_fd(), ends[1].as_raw_fd(), 0].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let left_ns = until_ns.map(|until| until.saturating_sub(now_ns()));
    let timeout =
        left_ns.map(|ns| libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: three valid pollfds and a timespec, or none, that outlive the call; no signal mask.
    let n = unsafe { libc::ppoll(all.as_mut_ptr(), 3, timeout, std::ptr::null()) };
    if n < 0 && std::io::Error::last_os_error().kind() != ErrorKind::Interrupted {
        bail!("ppoll: {}", std::io::Error::last_os_error());
    }
    Ok(all.map(|one| one.revents != 0))
}

/// A new TUN device of this name, of plain IP packets.
fn device(name: &str) -> Result<File> {
    let mut file = OpenOptions::new();
    file.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let file = file.open("/dev/net/tun").context("this kernel has no TUN devices: /dev/net/tun")?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        bail!("`{name}` is too long for a device");
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        bail!("cannot make the device {name}: {}", std::io::Error::last_os_error());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loses_the_share_that_it_was_told() {
        let mut link = Link::default();
        assert!((0..1000).all(|_| !link.unlucky()), "a good link loses nothing");
        link.obey("bad 50000 0.05").expect("a command");
        assert_eq!(link.delay_ns, 50_000_000);
        let lost = (0..100_000).filter(|_| link.unlucky()).count();
        assert!((4_500..5_500).contains(&lost), "{lost} of 100,000");
        assert!(link.obey("worse").is_err());
    }
}

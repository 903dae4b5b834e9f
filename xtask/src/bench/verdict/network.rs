//! The server's own network namespace, a good cable to it, and a link that can be made bad: by netem where the kernel has
//! it, else by tests/support's `link`. Gone when dropped.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use support::child::{Lines, Running};
use support::locate;

use super::disk::run;

/// Networks out of those that are set aside for benchmarks (RFC 2544); the third number differs from bench to bench.
const CABLE: [u8; 2] = [198, 18];
const LINK: [u8; 2] = [198, 19];
/// One way, in both directions.
const DELAY_MS: u64 = 80;
const LOSS: f64 = 0.05;
/// What the server's kernel holds for a reader: little, so that a stream feels its reader and the link within a second.
const SEND_BUFFER: &str = "4096 16384 32768";
const SOON: Duration = Duration::from_secs(5);

pub struct Network {
    name: String,
    devices: [String; 2],
    emulator: Option<Running>,
    /// The bad end of the cable, by netem.
    netem: bool,
}

impl Network {
    pub fn new(name: &str) -> Result<Self> {
        let id = std::process::id();
        let devices = [format!("iv{id}a"), format!("iv{id}b")];
        run("ip", &["netns", "add", name])?;
        let mut network = Self { name: name.to_owned(), devices, emulator: None, netem: false };
        let [near, far] = network.devices.clone();
        run("ip", &["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", name])?;
        run("ip", &["-n", name, "link", "set", "lo", "up"])?;
        network.address(&near, &far, CABLE)?;
        // /proc/sys/net is that of whoever opens it.
        let namespace = format!("--net={}", network.namespace().display());
        let shrink = format!("echo '{SEND_BUFFER}' >/proc/sys/net/ipv4/tcp_wmem");
        run("nsenter", &[&namespace, "sh", "-c", &shrink])?;
        network.netem = network.try_netem();
        if !network.netem {
            network.emulate()?;
        }
        Ok(network)
    }

    pub fn namespace(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// The server's address on the cable.
    pub fn cable(&self) -> Ipv4Addr {
        there(CABLE)
    }

    /// The server's address on the link that can be bad.
    pub fn link(&self) -> Ipv4Addr {
        there(if self.netem { CABLE } else { LINK })
    }

    pub fn bad(&mut self) -> Result<()> {
        match &mut self.emulator {
            Some(_) => self.tell(&format!("bad {} {LOSS}", DELAY_MS * 1000)).map(drop),
            None => self.netem("replace", DELAY_MS, LOSS),
        }
    }

    pub fn good(&mut self) -> Result<()> {
        match &mut self.emulator {
            Some(_) => self.tell("good").map(drop),
            None => self.netem("replace", 0, 0.0),
        }
    }

    /// Packets lost so far and under way now, where the emulator counts them.
    pub fn counts(&mut self) -> Result<(u64, u64)> {
        if self.emulator.is_none() {
            return Ok((0, 0));
        }
        let said = self.tell("count")?;
        let figure = |name: &str| said[name].as_u64().with_context(|| format!("link said no {name}"));
        Ok((figure("dropped")?, figure("under_way")?))
    }

    fn tell(&mut self, line: &str) -> Result<Value> {
        let emulator = self.emulator.as_mut().context("no emulator")?;
        let before = emulator.lines().len();
        emulator.tell(line)?;
        let deadline = std::time::Instant::now() + SOON;
        while emulator.lines().len() <= before && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let lines = emulator.lines();
        serde_json::from_str(lines.get(before).context("the link emulator says nothing")?).context("link said no JSON")
    }

    fn try_netem(&self) -> bool {
        self.netem("add", 0, 0.0).is_ok()
    }

    fn netem(&self, verb: &str, delay_ms: u64, loss: f64) -> Result<()> {
        let (delay, loss) = (format!("{delay_ms}ms"), format!("{}%", loss * 100.0));
        let netem = ["root", "netem", "delay", &delay, "loss", &loss, "limit", "10000"];
        run("tc", &[&["-n", &self.name, "qdisc", verb, "dev", &self.devices[1]][..], &netem].concat())?;
        run("tc", &[&["qdisc", verb, "dev", &self.devices[0]][..], &netem].concat()).map(drop)
    }

    fn emulate(&mut self) -> Result<()> {
        let [near, far] = self.devices.clone().map(|name| format!("{name}t"));
        let mut command = Command::new(locate::helper("link")?);
        command.args([&near, &far]);
        let emulator = Running::start(command, Lines::Stdout)?;
        emulator.wait_line(SOON, |line| (line == "ready").then_some(()))?;
        self.emulator = Some(emulator);
        run("ip", &["link", "set", &far, "netns", &self.name])?;
        self.address(&near, &far, LINK)
    }

    fn address(&self, near: &str, far: &str, network: [u8; 2]) -> Result<()> {
        run("ip", &["addr", "add", &format!("{}/30", here(network)), "dev", near])?;
        run("ip", &["-n", &self.name, "addr", "add", &format!("{}/30", there(network)), "dev", far])?;
        run("ip", &["link", "set", near, "up"])?;
        run("ip", &["-n", &self.name, "link", "set", far, "up"]).map(drop)
    }
}

fn here([first, second]: [u8; 2]) -> Ipv4Addr {
    Ipv4Addr::new(first, second, std::process::id() as u8, 1)
}

fn there([first, second]: [u8; 2]) -> Ipv4Addr {
    Ipv4Addr::new(first, second, std::process::id() as u8, 2)
}

impl Drop for Network {
    fn drop(&mut self) {
        self.emulator = None;
        // The cable goes with its namespace, but only once the last socket in it has.
        for args in [vec!["link", "delete", &self.devices[0]], vec!["netns", "delete", &self.name]] {
            if let Err(error) = run("ip", &args) {
                eprintln!("the bench's network stays behind: {error:#}");
            }
        }
    }
}

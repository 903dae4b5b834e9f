//! Flame graphs of servers in containers, taken from the agent's container: names come from the programs, libraries and
//! interpreters in the servers' own roots.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};

use super::node::Node;
use super::servers::Kind;

/// The only place of the container that can be written to.
const FILE: &str = "/dev/shm/stacks.svg";
const SECONDS: &str = "3s";

pub fn native(node: &Node) -> Result<()> {
    // Of a library that lies beside the program, in a folder that only the container has there; most time goes there.
    named(node, Kind::Llama, &["ggml_"])
}

pub fn python(node: &Node) -> Result<()> {
    named(node, Kind::Python, &["decode_next_token"])?;
    // The interpreter's file is gone from the image; the kernel still has it.
    named(node, Kind::Deleted, &["decode_next_token"])
}

fn named(node: &Node, kind: Kind, names: &[&str]) -> Result<()> {
    let server = node.server(kind)?;
    let pid = server.running.pid.to_string();
    let over = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                server.long_chat(64)?;
            }
            Ok(())
        });
        let args = ["/usr/bin/inferscope", "attach", "--pid", &pid, "--duration", SECONDS, "--out", FILE];
        let said = node.agent.exec(&[&args[..], &["--format", "flamegraph"]].concat());
        over.store(true, Ordering::Relaxed);
        traffic.join().map_err(|_| anyhow::anyhow!("the thread that sends requests failed"))??;
        said
    })?;
    let file = node.agent.path(FILE);
    let picture = std::fs::read_to_string(&file).with_context(|| format!("no flame graph; it said: {said}"))?;
    std::fs::remove_file(&file)?;
    for name in names {
        ensure!(picture.contains(name), "no {name} in the stacks of {}; it said: {said}", kind.pod());
    }
    Ok(())
}

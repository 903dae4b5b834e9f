//! vLLM on the CPU with a tiny model whose weights it makes up itself.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::running::{Launch, Surroundings, state_home};
use super::{home, tiny};
use crate::setup::python;

const SET: python::Set = python::Set {
    name: "vLLM for CPU",
    pins: include_str!("../../pins/vllm.txt"),
    python: "python3.11",
    expect: "3 minutes, 6 GB",
};
/// The name that the CPU build must be known under for its own version look-up.
const VERSION: &str = "0.32.0+cpu";

/// Requests that the server works on at once.
pub const SEQUENCES: usize = 8;

pub fn install() -> Result<()> {
    let dir = home()?.join("vllm");
    python::ensure(&SET, &dir)?;
    let about = python::site_packages(&dir)?.join(format!("vllm-{VERSION}.dist-info"));
    fs::create_dir_all(&about)?;
    let text = format!("Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}\n");
    fs::write(about.join("METADATA"), text).context("cannot write vLLM's metadata")?;
    tiny::hugging_face(&home()?.join("tiny-model"))
}

/// The command that serves on PORT, not yet started.
pub fn launch(port: u16, place: &Surroundings) -> Result<Launch> {
    install()?;
    let (dir, state) = (home()?.join("vllm"), state_home("vllm")?);
    // Not the script alone, whose first line has the full path that it was installed under.
    let mut command = Command::new(dir.join("bin/python"));
    command.arg(dir.join("bin/vllm")).arg("serve").arg(home()?.join("tiny-model"));
    command.args(["--host", &place.listen().to_string(), "--port", &port.to_string(), "--served-model-name", "tiny"]);
    command.args(["--load-format", "dummy", "--dtype", "float32", "--max-model-len", "2048"]);
    command.args(["--max-num-seqs", &SEQUENCES.to_string(), "--enforce-eager"]);
    command.env("VLLM_CPU_KVCACHE_SPACE", "1").env("OMP_NUM_THREADS", "2");
    for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK"] {
        command.env(name, "1");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", dir.join("bin").display()));
    command.env("HF_HOME", state.join("hf"));
    Ok(Launch { command, patience: Duration::from_secs(300) })
}

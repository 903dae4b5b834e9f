//! The real servers that requests are measured on, each started once for all measurements that need it.

use std::cell::RefCell;

use anyhow::{Context as _, Result};
use support::metrics::Metrics;
use support::transport::Target;

use super::table::Row;
use crate::servers::{Engine, Options, Server};

pub struct Engines {
    port: Option<u16>,
    chosen: Vec<Engine>,
    running: RefCell<Vec<(Engine, Server)>>,
}

/// A server that runs.
#[derive(Clone)]
pub struct Running {
    pub name: &'static str,
    pub pid: u32,
    pub url: String,
    pub model: &'static str,
}

impl Engines {
    /// llama.cpp, with `vllm` that one too; or `only` this one.
    pub fn new(port: Option<u16>, vllm: bool, only: Option<Engine>) -> Self {
        let chosen = match only {
            Some(only) => vec![only],
            None if vllm => vec![Engine::Llama, Engine::Vllm],
            None => vec![Engine::Llama],
        };
        Self { port, chosen, running: RefCell::default() }
    }

    /// Those that were asked for.
    pub fn chosen(&self) -> Vec<Engine> {
        self.chosen.clone()
    }

    pub fn get(&self, engine: Engine) -> Result<Running> {
        self.start(engine, self.port.filter(|_| engine == Engine::Llama))
    }

    pub fn llama(&self) -> Result<Running> {
        self.get(Engine::Llama)
    }

    /// None if nobody asked for it.
    pub fn vllm(&self) -> Result<Option<Running>> {
        self.chosen.contains(&Engine::Vllm).then(|| self.get(Engine::Vllm)).transpose()
    }

    /// What is said where vLLM was not asked for.
    pub fn without_vllm(&self) -> Option<Row> {
        (!self.chosen.contains(&Engine::Vllm)).then(|| Row::skipped("vLLM", "asked for with --vllm"))
    }

    /// Ends them: an idle server disturbs what is measured next.
    pub fn end(&self) {
        self.running.borrow_mut().clear();
    }

    fn start(&self, engine: Engine, port: Option<u16>) -> Result<Running> {
        let mut running = self.running.borrow_mut();
        if !running.iter().any(|(known, _)| *known == engine) {
            let server = Server::start(engine, &Options { port, ..Options::default() })?;
            running.push((engine, server));
        }
        let (_, server) = running.iter().find(|(known, _)| *known == engine).context("started above")?;
        let url = format!("http://127.0.0.1:{}", server.port);
        Ok(Running { name: engine.name(), pid: server.pid(), url, model: server.model() })
    }
}

impl Running {
    /// The server's own metrics.
    pub fn metrics(&self) -> Result<Metrics> {
        let (_, text) = support::page::get(&Target::parse(&self.url)?, "/metrics")?;
        Metrics::parse(&text)
    }
}

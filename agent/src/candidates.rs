//! Processes that listen and are not recognised, watched under a service index of their own until an exchange in an
//! LLM dialect shows what they are. Bounded: so many processes, so many exchanges kept until discovery has answered.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use crate::session::exchange::{Exchange, Role};

/// The service index under which candidates are watched; it is never published.
pub const CANDIDATES: u32 = 0;
const PROCESSES: usize = 64;
const EXCHANGES: usize = 256;
/// A process that answered so many requests without one in a dialect is no inference server.
const PATIENCE: u32 = 2_000;

/// The processes that are listened to, and what they have said so far.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Exchanges outside any dialect, by pid.
    others: HashMap<u32, u32>,
    kept: Vec<Exchange>,
}

/// An exchange that only an LLM server has: answered, and answered in the dialect.
fn convinces(exchange: &Exchange) -> bool {
    let Some(llm) = &exchange.llm else { return false };
    let said = llm.response_model.is_some() || llm.output_tokens.is_some() || llm.finish_reason.is_some();
    exchange.role == Role::Server && (200..400).contains(&exchange.status) && said
}

impl Candidates {
    /// False if there is no room.
    pub fn add(&mut self, pid: u32) -> bool {
        self.others.retain(|pid, _| std::path::Path::new(&format!("/proc/{pid}")).exists());
        let room = self.others.len() < PROCESSES || self.others.contains_key(&pid);
        if room {
            self.others.entry(pid).or_default();
        }
        room
    }

    /// True if it was one.
    pub fn remove(&mut self, pid: u32) -> bool {
        self.others.remove(&pid).is_some()
    }

    /// Dialect and port of an exchange that is worth keeping; others are counted.
    pub fn keep(&mut self, exchange: &Exchange) -> Option<(&'static str, u16)> {
        if convinces(exchange) {
            return exchange.llm.as_ref().map(|llm| (llm.dialect, exchange.server_port));
        }
        if let Some(others) = self.others.get_mut(&exchange.tgid) {
            *others += 1;
        }
        None
    }

    /// Keeps an exchange until discovery has answered; without room for it, it is dropped.
    /// False if there is no room.
    pub fn push(&mut self, exchange: Exchange) -> bool {
        let room = self.kept.len() < EXCHANGES;
        if room {
            self.kept.push(exchange);
        }
        room
    }

    /// The exchanges kept so far.
    pub fn take(&mut self) -> Vec<Exchange> {
        std::mem::take(&mut self.kept)
    }

    /// Processes that have answered too much else to be of interest any more.
    pub fn given_up(&mut self) -> Vec<u32> {
        let given_up: Vec<u32> =
            self.others.iter().filter(|(_, others)| **others >= PATIENCE).map(|(pid, _)| *pid).collect();
        for pid in &given_up {
            self.others.remove(pid);
        }
        given_up
    }
}

//! Sockets that begin to listen and are closed again, and connections of which the same is true.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::net::{TcpListener, TcpStream};

#[derive(Args)]
pub struct Listen {
    #[arg(long, default_value_t = 1000)]
    count: u64,
}

impl Listen {
    pub fn run(&self) -> Result<Value> {
        for _ in 0..self.count {
            TcpListener::bind("127.0.0.1:0")?;
        }
        Ok(json!({ "load": "listen", "count": self.count }))
    }
}

#[derive(Args)]
pub struct Connect {
    #[arg(long, default_value_t = 1000)]
    count: u64,
}

impl Connect {
    pub fn run(&self) -> Result<Value> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        for _ in 0..self.count {
            let client = TcpStream::connect(address)?;
            // The server ends first, so that no port of a client waits.
            drop(listener.accept()?);
            drop(client);
        }
        Ok(json!({ "load": "connect", "count": self.count }))
    }
}

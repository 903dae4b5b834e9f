//! One GET on a connection of its own: pages small enough to hold, such as /metrics and /readyz.

use crate::transport::Target;
use crate::wire::{Body, Head};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::time::Duration;

/// Status and body.
pub fn get(target: &Target, path: &str) -> Result<(u16, String)> {
    let mut connection = target.connect(Duration::from_secs(30))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", target.host());
    connection.write_all(request.as_bytes())?;
    let mut raw = Vec::new();
    connection.read_to_end(&mut raw).with_context(|| format!("reading {path}"))?;
    let head = Head::take(&mut raw)?.with_context(|| format!("no response to {path}"))?;
    let mut body = Vec::new();
    Body::of(&head)?.feed(&mut raw, &mut body)?;
    Ok((head.status, String::from_utf8(body).context("a page that is no text")?))
}

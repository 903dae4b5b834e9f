//! From the chart to labelled series, as test cases: helm, the image, runc, servers in namespaces of their own.

use anyhow::Result;

use super::report::Verdict;
use crate::{build, kubernetes};

pub fn run() -> Result<Verdict> {
    if let Some(why) = kubernetes::obstacle() {
        return Ok(Verdict::skipped(why));
    }
    // What comes from Debian's archive is not to be had everywhere; what comes after it must work.
    if let Err(error) = kubernetes::prepare() {
        return Ok(Verdict::skipped(&format!("no containers: {error:#}")));
    }
    let binary = build::agent(false)?;
    kubernetes::prove(&binary).map(Verdict::from)
}

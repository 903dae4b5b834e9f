//! What is packaged: the version, the commit and its time. The only time that goes into a package.

use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::{paths, process};

pub struct Source {
    pub version: &'static str,
    /// The commit's hash, with `-dirty` behind it if files differ from it; `unknown` outside a repository.
    pub revision: String,
    /// Seconds since 1970: SOURCE_DATE_EPOCH, else the commit's.
    pub time_s: u64,
    /// Where the source is published, if somebody said it.
    pub url: Option<String>,
}

impl Source {
    pub fn read() -> Result<Self> {
        let commit = git(&["rev-parse", "HEAD"]).ok();
        let dirty = commit.is_some() && !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        let mark = if dirty { "-dirty" } else { "" };
        let revision = commit.map_or_else(|| "unknown".to_owned(), |commit| commit + mark);
        let given = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|text| !text.is_empty());
        let time = given.map_or_else(|| git(&["log", "-1", "--format=%ct"]), Ok);
        let time = time.context("there is no commit to take the time from: set SOURCE_DATE_EPOCH")?;
        let time_s = time.parse().context("SOURCE_DATE_EPOCH must be a number of seconds since 1970")?;
        Ok(Self { version: env!("CARGO_PKG_VERSION"), revision, time_s, url: None })
    }

    /// The time in RFC 3339.
    pub fn created(&self) -> String {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.time_s)).to_string()
    }
}

fn git(args: &[&str]) -> Result<String> {
    process::output(Command::new("git").current_dir(paths::workspace()).args(args)).map(|text| text.trim().to_owned())
}

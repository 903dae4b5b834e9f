//! Which test files there are, by name: `live_llama*` and `live_vllm*` need a server, `live_*` the kernel, others nothing.

use anyhow::{Context as _, Result};

use crate::{cargo, process};

#[derive(Default, Debug, PartialEq, Eq)]
pub struct Targets {
    pub plain: Vec<String>,
    pub live: Vec<String>,
    pub llama: Vec<String>,
    pub vllm: Vec<String>,
}

/// The integration tests of every package.
pub fn find() -> Result<Targets> {
    let metadata = process::output(&mut cargo::command(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let tests = targets.filter(|target| target["kind"][0] == "test").filter_map(|target| target["name"].as_str());
    Ok(sorted(tests))
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Targets {
    let mut found = Targets::default();
    for name in names {
        let list = match name {
            name if name.starts_with("live_llama") => &mut found.llama,
            name if name.starts_with("live_vllm") => &mut found.vllm,
            name if name.starts_with("live_") => &mut found.live,
            _ => &mut found.plain,
        };
        list.push(name.to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_a_test_needs() {
        let found = sorted(["config", "live_sched", "live_llama", "live_vllm_tokens"].into_iter());
        let list = |name: &str| vec![name.to_owned()];
        let wanted = Targets {
            plain: list("config"),
            live: list("live_sched"),
            llama: list("live_llama"),
            vllm: list("live_vllm_tokens"),
        };
        assert_eq!(found, wanted);
    }
}

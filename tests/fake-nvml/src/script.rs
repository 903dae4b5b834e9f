//! The script's lines: JSON to typed values, in time order. Knows the format of README.md and nothing of NVML's calls.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One line of the script as written. Percent, bytes, mW, MHz and KB/s, as NVML itself has them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Line {
    pub repeat: Option<f64>,
    pub driver: Option<String>,
    pub t: Option<f64>,
    pub gpu: Option<usize>,
    pub name: Option<String>,
    pub uuid: Option<String>,
    pub bus_id: Option<String>,
    pub memory_total: Option<u64>,
    pub memory_reserved: Option<u64>,
    pub unsupported: Vec<String>,
    pub gpm_support: Option<bool>,
    pub mig: Option<Vec<MigLine>>,
    pub util: Option<u32>,
    pub mem_util: Option<u32>,
    #[serde(rename = "mW")]
    pub milliwatts: Option<u32>,
    pub memory_used: Option<u64>,
    pub temp: Option<u32>,
    pub sm_clock: Option<u32>,
    pub mem_clock: Option<u32>,
    pub throttle: Option<u64>,
    pub pcie_tx: Option<u32>,
    pub pcie_rx: Option<u32>,
    pub ecc_corrected: Option<u64>,
    pub ecc_uncorrected: Option<u64>,
    pub gpm: BTreeMap<u32, f64>,
    pub lost: Option<bool>,
    pub pid: Option<Pid>,
    pub sm: Option<u32>,
    pub mem: Option<u32>,
    pub enc: Option<u32>,
    pub dec: Option<u32>,
    pub memory: Option<u64>,
    pub gi: Option<u32>,
    pub ci: Option<u32>,
    pub kind: Option<Kind>,
    pub gone: bool,
    pub xid: Option<u64>,
}

/// A MIG device of a GPU line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigLine {
    pub gi: u32,
    pub ci: u32,
    pub memory_total: u64,
}

/// Which of NVML's process lists a process is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Compute,
    Graphics,
    Mps,
}

/// A process id as written: a number, `"self"` or `"$NAME"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Pid {
    Number(u32),
    Text(String),
}

impl Pid {
    /// The number, or `None` for an environment variable that is not set. Errors: text that is neither form.
    fn resolve(&self) -> Result<Option<u32>, String> {
        match self {
            Pid::Number(number) => Ok(Some(*number)),
            Pid::Text(text) if text == "self" => Ok(Some(std::process::id())),
            Pid::Text(text) => {
                let name =
                    text.strip_prefix('$').ok_or_else(|| format!("pid {text:?}: want a number, self or $NAME"))?;
                match std::env::var(name) {
                    Err(_) => Ok(None),
                    Ok(value) => value.parse().map(Some).map_err(|_| format!("{name}={value}: not a process id")),
                }
            }
        }
    }
}

/// A line with a time, its process id resolved.
#[derive(Debug, Clone)]
pub struct Step {
    pub t: f64,
    pub gpu: usize,
    pub pid: Option<u32>,
    pub line: Line,
}

/// A GPU as the lines without a time describe it.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub name: String,
    pub uuid: String,
    pub bus_id: String,
    pub memory_total: u64,
    pub memory_reserved: u64,
    pub unsupported: Vec<String>,
    pub gpm_support: bool,
    pub mig: Option<Vec<MigLine>>,
}

impl Gpu {
    fn new(index: usize) -> Gpu {
        Gpu {
            name: "NVIDIA H100 80GB HBM3".into(),
            uuid: format!("GPU-fa4e0000-0000-4000-8000-{index:012}"),
            bus_id: format!("00000000:{:02X}:00.0", 0x3b + index),
            memory_total: 80 << 30,
            memory_reserved: 512 << 20,
            unsupported: Vec::new(),
            gpm_support: true,
            mig: None,
        }
    }

    fn describe(&mut self, line: Line) {
        let Line { name, uuid, bus_id, memory_total, memory_reserved, unsupported, gpm_support, mig, .. } = line;
        self.name = name.unwrap_or(std::mem::take(&mut self.name));
        self.uuid = uuid.unwrap_or(std::mem::take(&mut self.uuid));
        self.bus_id = bus_id.unwrap_or(std::mem::take(&mut self.bus_id));
        self.memory_total = memory_total.unwrap_or(self.memory_total);
        self.memory_reserved = memory_reserved.unwrap_or(self.memory_reserved);
        self.unsupported.extend(unsupported);
        self.gpm_support = gpm_support.unwrap_or(self.gpm_support);
        self.mig = mig.or(self.mig.take());
    }
}

/// A parsed script: GPUs by index, steps in time order.
#[derive(Debug, Clone)]
pub struct Script {
    pub driver: String,
    pub repeat: Option<f64>,
    pub gpus: Vec<Gpu>,
    pub steps: Vec<Step>,
}

impl Script {
    /// Parses JSON lines. Errors: the line's number and what is wrong with it.
    pub fn parse(text: &str) -> Result<Script, String> {
        let mut script =
            Script { driver: "550.54.15".into(), repeat: None, gpus: vec![Gpu::new(0)], steps: Vec::new() };
        for (number, text) in text.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let line: Line = serde_json::from_str(text).map_err(|error| format!("line {}: {error}", number + 1))?;
            script.add(line).map_err(|error| format!("line {}: {error}", number + 1))?;
        }
        script.steps.sort_by(|a, b| a.t.total_cmp(&b.t));
        Ok(script)
    }

    fn add(&mut self, line: Line) -> Result<(), String> {
        if let Some(driver) = &line.driver {
            self.driver = driver.clone();
        }
        self.repeat = line.repeat.filter(|seconds| *seconds > 0.0).or(self.repeat);
        let Some(gpu) = line.gpu else {
            return if line.t.is_some() { Err("a line with t needs gpu".into()) } else { Ok(()) };
        };
        if gpu >= 64 {
            return Err(format!("gpu {gpu}: at most 64"));
        }
        while self.gpus.len() <= gpu {
            self.gpus.push(Gpu::new(self.gpus.len()));
        }
        match line.t {
            None => self.gpus[gpu].describe(line),
            Some(t) => {
                let pid = match &line.pid {
                    None => None,
                    Some(pid) => match pid.resolve()? {
                        None => return Ok(()),
                        resolved => resolved,
                    },
                };
                self.steps.push(Step { t, gpu, pid, line });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_script_parses() {
        let script = Script::parse(include_str!("default.jsonl")).expect("valid");
        assert_eq!((script.gpus.len(), script.steps.len(), script.repeat), (1, 4, Some(30.0)));
        assert_eq!(script.steps[1].pid, Some(std::process::id()));
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, want) in [
            ("{\"t\":0,\"gpu\":0,\"watts\":1}", "line 1: unknown field"),
            ("\n{\"t\":1,\"mW\":5}", "line 2: a line with t needs gpu"),
            ("not json", "line 1: "),
            ("{\"t\":0,\"gpu\":0,\"pid\":\"me\"}", "want a number, self or $NAME"),
        ] {
            let error = Script::parse(text).expect_err(text);
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn unset_variable_leaves_the_line_out() {
        let script = Script::parse("{\"t\":0,\"gpu\":0,\"pid\":\"$FAKE_NVML_NO_SUCH_PID\"}").expect("valid");
        assert!(script.steps.is_empty());
    }
}

//! `inferscope ps`: the inference servers of this host, as a table or as JSON. Needs no kernel programs and no agent.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use serde::Serialize;

use crate::discover::{Evidence, Found};
use crate::poll::nvml::GpuSnapshot;
use crate::shown::shown;

/// What a process uses of all GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GpuUse {
    pub memory_bytes: Option<u64>,
    /// Ratio of one GPU's time; over several GPUs the sum.
    pub utilization: Option<f64>,
}

/// One service, as `--json` prints it: a list of these objects. Keys are only ever added.
#[derive(Clone, Debug, Serialize)]
pub struct Row<'a> {
    pub service: &'a str,
    pub engine: &'a str,
    pub version: Option<&'a str>,
    pub model: Option<&'a str>,
    pub pid: u32,
    pub comm: &'a str,
    pub exe: Option<&'a str>,
    /// The executable was replaced or removed since the start.
    pub exe_deleted: bool,
    /// The main one first.
    pub ports: &'a [u16],
    pub unix_sockets: &'a [String],
    pub children: &'a [u32],
    pub container_id: Option<&'a str>,
    pub container_runtime: Option<&'a str>,
    pub pod_uid: Option<&'a str>,
    pub systemd_unit: Option<&'a str>,
    pub evidence: Evidence,
    /// Of the process and its children; null without GPU or driver.
    pub gpu: Option<GpuUse>,
}

/// Rows for the found services. `gpu_of` says what a process uses of the GPUs ([`GpuUse::of`]),
/// `None` where it uses none.
pub fn rows<'a>(found: &'a [Found], gpu_of: impl Fn(u32) -> Option<GpuUse>) -> Vec<Row<'a>> {
    found.iter().map(|found| row(found, &gpu_of)).collect()
}

fn row<'a>(found: &'a Found, gpu_of: &impl Fn(u32) -> Option<GpuUse>) -> Row<'a> {
    let process = &found.process;
    let container = process.container.as_ref();
    let pids = std::iter::once(process.pid).chain(found.children.iter().copied());
    Row {
        service: &found.service,
        engine: found.engine,
        version: found.version.as_deref(),
        model: found.model.as_deref(),
        pid: process.pid,
        comm: &process.comm,
        exe: process.exe.as_deref().and_then(|exe| exe.to_str()),
        exe_deleted: process.exe_deleted,
        ports: &found.ports,
        unix_sockets: &found.unix_sockets,
        children: &found.children,
        container_id: container.map(|container| container.id.as_str()),
        container_runtime: container.map(|container| container.runtime),
        pod_uid: container.and_then(|container| container.pod_uid.as_deref()),
        systemd_unit: process.systemd_unit.as_deref(),
        evidence: found.evidence,
        gpu: pids.filter_map(gpu_of).reduce(GpuUse::plus),
    }
}

impl GpuUse {
    /// What `pid` uses, summed over all GPUs of a snapshot; `None` if it uses none.
    pub fn of(snapshot: &GpuSnapshot, pid: u32) -> Option<Self> {
        let uses = snapshot.uses_of(pid).map(|(_, reading)| GpuUse {
            memory_bytes: reading.used_memory_bytes,
            utilization: reading.utilization.map(|utilization| utilization.sm),
        });
        uses.reduce(GpuUse::plus)
    }

    fn plus(self, other: GpuUse) -> GpuUse {
        GpuUse {
            memory_bytes: self
                .memory_bytes
                .map_or(other.memory_bytes, |bytes| Some(bytes + other.memory_bytes.unwrap_or(0))),
            utilization: self
                .utilization
                .map_or(other.utilization, |ratio| Some(ratio + other.utilization.unwrap_or(0.0))),
        }
    }

    fn words(self) -> String {
        let ratio = self.utilization.map(|ratio| format!("{:.0}%", ratio * 100.0));
        let memory = self.memory_bytes.map(|bytes| format!("{:.1}GiB", bytes as f64 / f64::from(1 << 30)));
        let words: Vec<String> = ratio.into_iter().chain(memory).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(" ") }
    }
}

/// One JSON list, indented.
pub fn write_json(rows: &[Row<'_>], out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, rows)?;
    writeln!(out)
}

const HEAD: [&str; 9] = ["SERVICE", "ENGINE", "VERSION", "MODEL", "PID", "PORTS", "CHILDREN", "CONTAINER", "GPU"];

/// A table, or a sentence when there is nothing to show.
pub fn write_table(rows: &[Row<'_>], out: &mut impl Write) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(
            out,
            "No inference server found. A server that was started under another name is found by what it speaks once\n\
             `inferscope run` sees a request of it, or with `--pid`."
        );
    }
    let cells: Vec<[String; 9]> = rows.iter().map(cells).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 9] = std::array::from_fn(|column| width(column).max(HEAD[column].len()));
    let mut line = |row: [&str; 9]| {
        let padded: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(HEAD)?;
    cells.iter().try_for_each(|row| line(std::array::from_fn(|column| row[column].as_str())))
}

fn cells(row: &Row<'_>) -> [String; 9] {
    /// Ports that fit into the table; engines open many between their own processes.
    const PORTS: usize = 3;
    const ID_DIGITS: usize = 12;
    let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
    let list = |words: Vec<String>| if words.is_empty() { "-".to_owned() } else { words.join(",") };
    let mut ports: Vec<String> = row.ports.iter().take(PORTS).map(u16::to_string).collect();
    if row.ports.len() > PORTS {
        ports.push(format!("+{}", row.ports.len() - PORTS));
    }
    if ports.is_empty() {
        ports.extend(row.unix_sockets.iter().take(1).cloned());
    }
    [
        row.service.to_owned(),
        row.engine.to_owned(),
        text(row.version),
        text(row.model),
        row.pid.to_string(),
        list(ports),
        row.children.len().to_string(),
        text(row.container_id.map(|id| id.get(..ID_DIGITS).unwrap_or(id))),
        row.gpu.map_or("-".to_owned(), GpuUse::words),
    ]
    // Processes choose their arguments, and with them the model's name.
    .map(|cell| shown(&cell).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::{Container, Process};

    fn found() -> Found {
        let container = Container { id: "ab".repeat(32), runtime: "docker", pod_uid: None };
        let process = Process {
            pid: 42,
            ppid: 1,
            start_ticks: 7,
            comm: "vllm".into(),
            exe: Some("/usr/bin/python3.11".into()),
            exe_deleted: false,
            argv: vec!["vllm".into()],
            container: Some(container),
            systemd_unit: Some("vllm@tiny".into()),
        };
        Found {
            service: "vllm-tiny".into(),
            wanted: "vllm-tiny".into(),
            engine: "vllm",
            evidence: Evidence::Program,
            version: Some("0.32.0".into()),
            model: Some("tiny".into()),
            ports: vec![8000, 1, 2, 3, 4],
            unix_sockets: Vec::new(),
            process,
            children: vec![43, 44],
            dialect: None,
        }
    }

    fn gpu_of(pid: u32) -> Option<GpuUse> {
        match pid {
            43 => Some(GpuUse { memory_bytes: Some(3 << 30), utilization: Some(0.5) }),
            44 => Some(GpuUse { memory_bytes: Some(1 << 30), utilization: None }),
            _ => None,
        }
    }

    #[test]
    fn a_table() {
        let found = [found()];
        let mut text = Vec::new();
        write_table(&rows(&found, gpu_of), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
        assert_eq!(lines[0], HEAD);
        assert_eq!(
            lines[1],
            ["vllm-tiny", "vllm", "0.32.0", "tiny", "42", "8000,1,2,+2", "2", "abababababab", "50%", "4.0GiB"]
        );
        let odd = Found { model: Some("m\u{1b}]52;c;eA==\u{7}\nx".into()), ..found[0].clone() };
        let mut text = Vec::new();
        write_table(&rows(&[odd], gpu_of), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.lines().count() == 2 && text.contains(" m\u{fffd}]52;c;eA==\u{fffd}\u{fffd}x "), "{text:?}");
        let mut nothing = Vec::new();
        write_table(&[], &mut nothing).unwrap();
        assert!(nothing.starts_with(b"No inference server found."));
    }

    #[test]
    fn json() {
        let found = [found()];
        let mut text = Vec::new();
        write_json(&rows(&found, gpu_of), &mut text).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(json[0]["ports"][0], 8000);
        assert_eq!(json[0]["evidence"], "program");
        assert_eq!(json[0]["systemd_unit"], "vllm@tiny");
        assert_eq!(json[0]["gpu"]["memory_bytes"], 4u64 << 30);
        assert_eq!(json[0]["children"], serde_json::json!([43, 44]));
        let mut without = Vec::new();
        write_json(&rows(&found, |_| None), &mut without).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&without).unwrap();
        assert!(json[0]["gpu"].is_null());
    }
}

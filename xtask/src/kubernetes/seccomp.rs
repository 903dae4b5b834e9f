//! `RuntimeDefault`: the profile of Debian's containers package (CRI-O and Podman), which is written by capabilities, as
//! the filter for a container with some of them.
//!
//! That release gives bpf(2) and perf_event_open(2) to CAP_SYS_ADMIN only; containerd from 1.7 on gives them to CAP_BPF and
//! CAP_PERFMON, which is what the chart's values ask for. Here they are as in containerd.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Calls that newer profiles give to a capability of their own.
const OWN_CAPABILITY: [(&str, &str); 2] = [("bpf", "CAP_BPF"), ("perf_event_open", "CAP_PERFMON")];

#[cfg(target_arch = "x86_64")]
const PROCESSOR: (&str, &[&str]) = ("amd64", &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
#[cfg(not(target_arch = "x86_64"))]
const PROCESSOR: (&str, &[&str]) = ("arm64", &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);

/// `linux.seccomp` for a container with CAPABILITIES. PROFILE is the text of seccomp.json.
pub fn filter(profile: &str, capabilities: &[String]) -> Result<Value> {
    let profile: Value = serde_json::from_str(profile).context("the seccomp profile")?;
    let rules = profile["syscalls"].as_array().context("the seccomp profile has no rules")?;
    let mut calls: Vec<Value> = rules.iter().filter(|rule| applies(rule, capabilities)).filter_map(call).collect();
    for (name, capability) in OWN_CAPABILITY {
        if has(capabilities, capability) || has(capabilities, "CAP_SYS_ADMIN") {
            calls.push(json!({"names": [name], "action": "SCMP_ACT_ALLOW"}));
        }
    }
    Ok(json!({
        "defaultAction": profile["defaultAction"], "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": PROCESSOR.1, "syscalls": calls,
    }))
}

fn has(capabilities: &[String], name: &str) -> bool {
    capabilities.iter().any(|capability| capability == name)
}

fn applies(rule: &Value, capabilities: &[String]) -> bool {
    let list = |of: &str, what: &str| -> Vec<String> {
        let names = rule[of][what].as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let processors = list("includes", "arches");
    (processors.is_empty() || processors.iter().any(|name| name == PROCESSOR.0))
        && list("includes", "caps").iter().all(|name| has(capabilities, name))
        && !list("excludes", "caps").iter().any(|name| has(capabilities, name))
}

/// The rule as the runtime specification has it; none if no call is left.
fn call(rule: &Value) -> Option<Value> {
    let own = |name: &&Value| OWN_CAPABILITY.iter().any(|(call, _)| **name == *call);
    let names: Vec<&Value> = rule["names"].as_array()?.iter().filter(|name| !own(name)).collect();
    if names.is_empty() {
        return None;
    }
    let mut call = json!({"names": names, "action": rule["action"]});
    if let Some(code) = rule.get("errnoRet") {
        call["errnoRet"] = code.clone();
    }
    let arguments = rule["args"].as_array().filter(|arguments| !arguments.is_empty());
    if let Some(arguments) = arguments {
        call["args"] = arguments.iter().map(argument).collect();
    }
    Some(call)
}

fn argument(argument: &Value) -> Value {
    json!({"index": argument["index"], "value": argument["value"], "valueTwo": argument["valueTwo"], "op": argument["op"]})
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[
        {"names":["read","perf_event_open"],"action":"SCMP_ACT_ALLOW","args":[],"includes":{},"excludes":{}},
        {"names":["bpf"],"action":"SCMP_ACT_ERRNO","errnoRet":1,"args":[],"includes":{},"excludes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["kcmp"],"action":"SCMP_ACT_ALLOW","args":null,"includes":{"caps":["CAP_SYS_PTRACE"]},"excludes":{}},
        {"names":["fadvise"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["ppc64le"]}}]}"#;

    fn names(capabilities: &[&str]) -> Vec<String> {
        let capabilities: Vec<String> = capabilities.iter().map(|&name| name.to_owned()).collect();
        let filter = filter(PROFILE, &capabilities).unwrap();
        assert_eq!((&filter["defaultAction"], &filter["defaultErrnoRet"]), (&json!("SCMP_ACT_ERRNO"), &json!(38)));
        let calls = filter["syscalls"].as_array().unwrap();
        calls.iter().map(|call| call["names"][0].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn calls_come_with_their_capability() {
        assert_eq!(names(&[]), ["read"]);
        assert_eq!(names(&["CAP_BPF", "CAP_SYS_PTRACE"]), ["read", "kcmp", "bpf"]);
        assert_eq!(names(&["CAP_SYS_ADMIN"]), ["read", "bpf", "perf_event_open"]);
        assert!(filter("{}", &[]).is_err() && filter("no", &[]).is_err());
    }
}

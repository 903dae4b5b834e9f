//! What this process may do: capabilities, locked memory and the sysctls that restrict BPF, all read from /proc/self.

use super::report::Finding;

/// Numbers of capability.h.
const DAC_READ_SEARCH: u32 = 2;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const SYS_NICE: u32 = 23;
const SYS_RESOURCE: u32 = 24;
const SYSLOG: u32 = 34;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// A process's effective rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privilege {
    pub euid: u32,
    effective: u64,
}

impl Privilege {
    /// Reads /proc/self/status; without it, no rights.
    pub fn read(status: &str) -> Self {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let euid = field("Uid:").and_then(|ids| ids.split_ascii_whitespace().nth(1)?.parse().ok());
        let effective = field("CapEff:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        Privilege { euid: euid.unwrap_or(u32::MAX), effective: effective.unwrap_or(0) }
    }

    fn has(self, capability: u32) -> bool {
        self.effective & (1 << capability) != 0
    }

    fn may_load_programs(self) -> bool {
        self.has(SYS_ADMIN) || (self.has(BPF) && self.has(PERFMON))
    }

    /// Whether it may load tracing programs.
    pub fn programs(self) -> Finding {
        let name = "privileges";
        if self.has(SYS_ADMIN) {
            return Finding::ok(name, format!("uid {}, CAP_SYS_ADMIN", self.euid)).required();
        }
        if self.may_load_programs() {
            return Finding::ok(name, format!("uid {}, CAP_BPF and CAP_PERFMON", self.euid)).required();
        }
        let missing: Vec<&str> = [(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON")]
            .into_iter()
            .filter_map(|(capability, name)| (!self.has(capability)).then_some(name))
            .collect();
        Finding::missing(
            name,
            format!("uid {} without {}: the kernel loads no programs for it", self.euid, missing.join(" and ")),
        )
        .required()
        .next("run as root (sudo inferscope ...), or give the service CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
    }

    /// Whether it may look into other users' processes.
    pub fn other_processes(self) -> Finding {
        let name = "other users' processes";
        let missing: Vec<&str> = [(SYS_PTRACE, "CAP_SYS_PTRACE"), (DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH")]
            .into_iter()
            .filter_map(|(capability, name)| (!self.has(capability)).then_some(name))
            .collect();
        // A process's descriptors are its user's own: root without the second is as blind as without the first.
        if missing.is_empty() {
            return Finding::ok(name, "executables, libraries and sockets of all processes can be read");
        }
        let without = missing.join(" and ");
        Finding::degraded(
            name,
            format!("without {without}: ports, versions and stacks of other users' servers stay unknown"),
        )
        .next(format!("run as root with all its capabilities, or add {without}"))
    }

    /// What is lost by each of the capabilities that it can do without.
    pub fn niceties(self) -> Finding {
        let lost: Vec<&str> = [
            (SYS_NICE, "without CAP_SYS_NICE no precedence beside busy servers: more may be lost"),
            (SYSLOG, "without CAP_SYSLOG no names of kernel functions in stacks, where the kernel hides its addresses"),
        ]
        .into_iter()
        .filter_map(|(capability, lost)| (!self.has(capability)).then_some(lost))
        .collect();
        let detail = if lost.is_empty() { "CAP_SYS_NICE, CAP_SYSLOG".to_owned() } else { lost.join("; ") };
        Finding::ok("more capabilities", detail)
    }

    /// Whether the kernel's limit of locked memory leaves room for the maps. `limits` is /proc/self/limits.
    pub fn locked_memory(self, kernel: Option<(u32, u32)>, limits: &str) -> Finding {
        let name = "locked memory";
        if kernel.is_some_and(|version| version >= (5, 11)) {
            return Finding::ok(name, "not limited: since 5.11 BPF maps count towards the memory cgroup");
        }
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
        let soft = limit.and_then(|line| line.split_ascii_whitespace().next()).unwrap_or("unknown");
        let enough = soft == "unlimited" || soft.parse::<u64>().is_ok_and(|bytes| bytes >= 256 << 20);
        if enough || self.has(SYS_RESOURCE) {
            return Finding::ok(name, format!("limit {soft}, can be raised: {}", self.has(SYS_RESOURCE)));
        }
        Finding::missing(name, format!("limit {soft} bytes and no CAP_SYS_RESOURCE to raise it: maps will not fit"))
            .required()
            .next("set LimitMEMLOCK=infinity in the unit, `ulimit -l unlimited` in the shell, or add CAP_SYS_RESOURCE")
    }

    /// kernel.unprivileged_bpf_disabled: 0, 1 or 2; matters only to those without rights.
    pub fn unprivileged_bpf(self, value: Option<&str>) -> Finding {
        let name = "unprivileged BPF";
        let Some(value) = value.map(str::trim) else { return Finding::ok(name, "this kernel has no such setting") };
        let restricted = if value == "0" { "allowed" } else { "disabled" };
        let matters = if self.may_load_programs() { "no matter here: privileges are there" } else { "root is needed" };
        Finding::ok(name, format!("{restricted} (kernel.unprivileged_bpf_disabled={value}); {matters}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;

    fn with(euid: u32, capabilities: &[u32]) -> Privilege {
        let mask: u64 = capabilities.iter().map(|capability| 1u64 << capability).sum();
        Privilege::read(&format!("Name:\tx\nUid:\t0\t{euid}\t0\t0\nCapEff:\t{mask:016x}\n"))
    }

    #[test]
    fn rights_to_load_programs() {
        for (capabilities, status) in [
            (&[SYS_ADMIN][..], Status::Ok),
            (&[BPF, PERFMON], Status::Ok),
            (&[BPF], Status::Missing),
            (&[SYS_PTRACE], Status::Missing),
            (&[], Status::Missing),
        ] {
            let finding = with(1000, capabilities).programs();
            assert_eq!((finding.status, finding.required), (status, true), "{capabilities:?}");
        }
        assert_eq!(Privilege::read("garbage").programs().status, Status::Missing);
        assert_eq!(with(1000, &[SYS_PTRACE, DAC_READ_SEARCH]).other_processes().status, Status::Ok);
        assert_eq!(with(0, &[SYS_PTRACE]).other_processes().status, Status::Degraded);
        assert_eq!(with(1000, &[BPF]).other_processes().status, Status::Degraded);
    }

    #[test]
    fn what_is_nice_to_have_is_told_and_never_missing() {
        let finding = with(1000, &[SYS_NICE]).niceties();
        assert_eq!(finding.status, Status::Ok);
        assert!(finding.detail.contains("CAP_SYSLOG") && !finding.detail.contains("CAP_SYS_NICE"));
        assert_eq!(with(0, &[SYS_NICE, SYSLOG]).niceties().detail, "CAP_SYS_NICE, CAP_SYSLOG");
    }

    #[test]
    fn locked_memory_matters_on_old_kernels_only() {
        let limits = "Max locked memory         65536                65536                bytes\n";
        let status = |capabilities: &[u32], kernel| with(0, capabilities).locked_memory(Some(kernel), limits).status;
        assert_eq!(status(&[], (6, 1)), Status::Ok);
        assert_eq!(status(&[], (5, 10)), Status::Missing);
        assert_eq!(status(&[SYS_RESOURCE], (5, 10)), Status::Ok);
        let unlimited = limits.replace("65536", "unlimited");
        assert_eq!(with(0, &[]).locked_memory(Some((5, 10)), &unlimited).status, Status::Ok);
    }
}

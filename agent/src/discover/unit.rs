//! The systemd unit that a process runs in, from its cgroup path.

/// Units whose processes are no services of their own: they hold whatever somebody starts through them.
const HOLDERS: [&str; 20] = [
    "docker",
    "containerd",
    "crio",
    "cri-o",
    "podman",
    "kubelet",
    "k3s",
    "k3s-agent",
    "rke2-server",
    "rke2-agent",
    "cron",
    "crond",
    "atd",
    "ssh",
    "sshd",
    "slurmd",
    "supervisor",
    "supervisord",
    "gdm",
    "lightdm",
];

/// Reads /proc/PID/cgroup: the unit of the system that is named in it, without `.service`. None for sessions, users,
/// slices and scopes.
pub fn from_cgroup(text: &str) -> Option<String> {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(from_path)
}

/// `/system.slice/NAME.service`, of instances `/system.slice/system-NAME.slice/NAME@INSTANCE.service`, and what such a
/// unit keeps below it.
fn from_path(path: &str) -> Option<String> {
    let below = path.strip_prefix("/system.slice/")?;
    let unit = below.split('/').find(|part| !part.ends_with(".slice"))?;
    let name = unit.strip_suffix(".service").filter(|name| !name.is_empty() && !name.starts_with("user@"))?;
    Some(unescaped(name))
}

/// systemd writes what a path may not have as `\x2d`.
fn unescaped(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii_graphic);
        match byte {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[2..]);
            }
            None => {
                plain.push_str("\\x");
                plain.push_str(part);
            }
        }
    }
    plain
}

/// Whether a service may be called by this unit: it is the server's own, and not one that holds others.
pub fn names_a_service(unit: &str) -> bool {
    let base = unit.split('@').next().unwrap_or(unit);
    !HOLDERS.contains(&base) && !unit.starts_with("session-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_the_system() {
        for (cgroup, unit) in [
            ("0::/system.slice/ollama.service", Some("ollama")),
            ("12:pids:/system.slice/vllm.service\n1:name=systemd:/system.slice/vllm.service", Some("vllm")),
            ("0::/system.slice/system-vllm.slice/vllm@qwen.service", Some("vllm@qwen")),
            ("0::/system.slice/vllm\\x2dqwen.service/workers", Some("vllm-qwen")),
            ("0::/system.slice/odd\\xzz\\x.service", Some("odd\\xzz\\x")),
            ("0::/system.slice/docker-0123.scope", None),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", None),
            ("0::/user.slice/user-0.slice/session-2.scope", None),
            ("0::/system.slice", None),
            ("0::/system.slice/.service", None),
            ("0::/kubepods.slice/x.service", None),
            ("0::/", None),
        ] {
            assert_eq!(from_cgroup(cgroup).as_deref(), unit, "{cgroup}");
        }
    }

    #[test]
    fn units_that_hold_others_name_nothing() {
        assert!(names_a_service("ollama") && names_a_service("vllm@a"));
        for unit in ["docker", "sshd", "ssh@1", "containerd", "cron", "kubelet"] {
            assert!(!names_a_service(unit), "{unit}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".*") {
            from_cgroup(&format!("0::/system.slice/{text}.service"));
            from_cgroup(&text);
        }
    }
}

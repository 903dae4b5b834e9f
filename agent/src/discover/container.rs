//! The container and the pod that a process runs in, from its cgroup path: Docker, containerd, CRI-O, Podman, cgroup
//! v1 and v2, systemd and cgroupfs drivers, nested (the innermost wins), LXC. Asks no container runtime.

use serde::Serialize;

/// A container, as its runtime names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Container {
    /// 64 hexadecimal digits; of LXC the container's name.
    pub id: String,
    /// `docker`, `containerd`, `cri-o`, `podman`, `lxc`, or `unknown` where the path does not say.
    pub runtime: &'static str,
    /// The Kubernetes pod's uid, with dashes.
    pub pod_uid: Option<String>,
}

const ID_DIGITS: usize = 64;

/// Prefixes of a cgroup's name before the id (systemd driver), or names of the cgroup above it.
const RUNTIMES: [(&str, &str); 8] = [
    ("cri-containerd", "containerd"),
    ("containerd", "containerd"),
    ("docker", "docker"),
    ("crio", "cri-o"),
    ("cri-o", "cri-o"),
    ("libpod", "podman"),
    ("podman", "podman"),
    ("machine.slice", "podman"),
];

/// Reads /proc/PID/cgroup. All its lines (one per v1 hierarchy) name the same container; the first that does is taken.
pub fn from_cgroup(text: &str) -> Option<Container> {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(from_path)
}

/// Reads /proc/PID/mountinfo, for a process whose cgroup namespace hides its path: Docker and Podman bind-mount files
/// of the container's own directory (`.../containers/ID/hostname`) over /etc.
pub fn from_mountinfo(text: &str) -> Option<Container> {
    text.lines().find_map(|line| {
        let root = line.split(' ').nth(3)?;
        let (above, below) = root.split_once("containers/")?;
        let id = below.get(..ID_DIGITS).filter(|id| is_hex(id))?;
        below[ID_DIGITS..].starts_with('/').then(|| Container {
            id: id.to_owned(),
            runtime: if above.contains("docker") { "docker" } else { "podman" },
            pod_uid: None,
        })
    })
}

fn from_path(path: &str) -> Option<Container> {
    let parts: Vec<&str> = path.split('/').collect();
    let innermost = parts.iter().enumerate().rev().find_map(|(at, part)| Some((at, id_in(part)?)));
    let Some((at, id)) = innermost else { return lxc(&parts) };
    let runtime = runtime_of(parts[at]).or_else(|| at.checked_sub(1).and_then(|above| runtime_of(parts[above])));
    Some(Container {
        id: id.to_owned(),
        runtime: runtime.unwrap_or("unknown"),
        pod_uid: parts[..=at].iter().rev().find_map(|p| pod_in(p)),
    })
}

/// `lxc.payload.NAME` (since LXC 4), `lxc.payload/NAME` (LXC 3) or `lxc/NAME`. `lxc.monitor` is outside.
fn lxc(parts: &[&str]) -> Option<Container> {
    let below = |at: usize| parts.get(at + 1).copied();
    let name = parts.iter().enumerate().rev().find_map(|(at, part)| match *part {
        "lxc" | "lxc.payload" => below(at),
        part => part.strip_prefix("lxc.payload."),
    });
    let name = name.filter(|name| !name.is_empty() && *name != "..")?;
    Some(Container { id: name.to_owned(), runtime: "lxc", pod_uid: None })
}

/// The id at the end of `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID`, `ID`, or `cri-containerd:...:ID`.
fn id_in(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.get(part.len().checked_sub(ID_DIGITS)?..)?;
    let before = &part[..part.len() - ID_DIGITS];
    // CRI-O's monitor process lives beside the container, in a cgroup with the container's id.
    let is_monitor = before.contains("conmon");
    (is_hex(id) && !is_monitor && (before.is_empty() || before.ends_with(['-', ':']))).then_some(id)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn runtime_of(part: &str) -> Option<&'static str> {
    part.split(':')
        .find_map(|name| RUNTIMES.iter().find(|(prefix, _)| name.starts_with(prefix)))
        .map(|(_, runtime)| *runtime)
}

/// `pod8-4-4-4-12` (cgroupfs) or `kubepods-burstable-pod8_4_4_4_12.slice` (systemd).
fn pod_in(part: &str) -> Option<String> {
    const UID: usize = 36;
    let part = part.split(':').next().unwrap_or(part);
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = &part[part.rfind("pod").filter(|at| *at == 0 || part[..*at].ends_with('-'))? + 3..];
    let is_uid = |b: u8| b.is_ascii_hexdigit() || b == b'_' || b == b'-';
    // Static pods have a hash of 32 digits for a uid.
    ((uid.len() == UID || uid.len() == 32) && uid.bytes().all(is_uid)).then(|| uid.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const INNER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const POD: &str = "8b1d1f3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b";

    /// Cgroups with id, runtime, and whether the pod is [`POD`], or none.
    fn all_are(cases: &[(String, &str, &str, bool)]) {
        for (cgroup, id, runtime, pod) in cases {
            let found = from_cgroup(cgroup).unwrap();
            assert_eq!((found.id.as_str(), found.runtime), (*id, *runtime), "{cgroup}");
            assert_eq!(found.pod_uid.as_deref(), pod.then_some(POD), "{cgroup}");
        }
    }

    #[test]
    fn containers_of_every_runtime_and_driver() {
        let pod_slice = POD.replace('-', "_");
        all_are(&[
            (format!("0::/system.slice/docker-{ID}.scope"), ID, "docker", false),
            (format!("12:pids:/docker/{ID}\n1:name=systemd:/docker/{ID}"), ID, "docker", false),
            (format!("0::/kubepods/besteffort/pod{POD}/{ID}"), ID, "unknown", true),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod_slice}.slice/cri-containerd-{ID}.scope"
                ),
                ID,
                "containerd",
                true,
            ),
            (format!("0::/kubepods.slice/kubepods-pod{pod_slice}.slice/crio-{ID}.scope"), ID, "cri-o", true),
            (format!("0::/kubepods.slice/kubepods-pod{pod_slice}.slice:cri-containerd:{ID}"), ID, "containerd", true),
            (format!("0::/machine.slice/libpod-{ID}.scope/container"), ID, "podman", false),
            (format!("0::/docker/{ID}/docker/{INNER}"), INNER, "docker", false),
            (format!("0::/docker/{ID}/system.slice/docker-{INNER}.scope/init"), INNER, "docker", false),
        ]);
    }

    #[test]
    fn containers_seen_from_beside_and_in_one_another() {
        let pod_slice = POD.replace('-', "_");
        all_are(&[
            // Read from a cgroup namespace of the reader's own: a pod beside it, a container of the same pod.
            (
                format!("0::/../../kubepods-besteffort-pod{pod_slice}.slice/cri-containerd-{ID}.scope"),
                ID,
                "containerd",
                true,
            ),
            (format!("0::/../cri-containerd-{ID}.scope"), ID, "containerd", false),
            (format!("0::/../../../besteffort/pod{POD}/{ID}"), ID, "unknown", true),
            (format!("0::/../crio-{ID}.scope/container"), ID, "cri-o", false),
            // A node that is a container (kind), and k3s in a pod: the inner pod is the one.
            (
                format!(
                    "0::/docker/{INNER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{pod_slice}.slice/cri-containerd-{ID}.scope"
                ),
                ID,
                "containerd",
                true,
            ),
            (
                format!(
                    "0::/kubepods/pod00000000-0000-0000-0000-000000000000/{INNER}/kubepods/burstable/pod{POD}/{ID}"
                ),
                ID,
                "unknown",
                true,
            ),
            (
                format!("0::/k3s.slice/kubepods.slice/kubepods-pod{pod_slice}.slice/cri-containerd-{ID}.scope"),
                ID,
                "containerd",
                true,
            ),
            (format!("0::/lxc.payload.box/docker/{ID}"), ID, "docker", false),
            ("0::/lxc.payload.box/system.slice/ollama.service".to_owned(), "box", "lxc", false),
            ("12:pids:/lxc/101/ns/init.scope\n0::/".to_owned(), "101", "lxc", false),
            ("0::/lxc.payload/c1".to_owned(), "c1", "lxc", false),
        ]);
    }

    #[test]
    fn other_cgroups_are_no_container() {
        let upper = ID.to_uppercase();
        for cgroup in [
            "0::/".to_owned(),
            "0::/user.slice/user-1000.slice/session-2.scope".to_owned(),
            "0::/system.slice/ssh.service".to_owned(),
            format!("0::/docker/{}", &ID[1..]),
            format!("0::/x{ID}"),
            format!("0::/docker/{upper}"),
            format!("0::/machine.slice/crio-conmon-{ID}.scope"),
            "0::/lxc.monitor.box".to_owned(),
            "0::/lxc/..".to_owned(),
            "0::/lxc".to_owned(),
            "0::/\u{fc}\u{fc}".repeat(40),
            String::new(),
        ] {
            assert_eq!(from_cgroup(&cgroup), None, "{cgroup}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".*", tail in "\\PC*") {
            let hostile = format!("0::/pod{tail}/docker-{tail}{ID}.scope/crio-{text}");
            for text in [&text, &hostile] {
                from_cgroup(text);
                from_mountinfo(text);
                from_mountinfo(&format!("1 2 3 /containers/{text}{ID}/"));
            }
        }
    }

    #[test]
    fn mounts_give_the_container_away() {
        let line =
            format!("587 580 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/vda1 rw");
        let found = from_mountinfo(&line).unwrap();
        assert_eq!((found.id.as_str(), found.runtime), (ID, "docker"));
        assert_eq!(from_mountinfo("22 1 254:0 / / rw,relatime - ext4 /dev/vda rw"), None);
        assert_eq!(from_mountinfo("1 2 3 /containers/\u{fc} x"), None);
    }
}

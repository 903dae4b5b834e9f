//! Where the agent's own group lies in the host's tree. In a cgroup namespace the kernel tells paths from there on, and
//! other groups as `/../..`; what /sys/fs/cgroup shows for its root is a folder of the host's tree, with the same inode.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Folders of the host's tree that are looked at.
const FOLDERS: usize = 65_536;

/// The path of our root below the host's; empty if they are the same, `None` if it is not found there.
pub(super) fn own_path(host: &Path, ours: &Path) -> Option<PathBuf> {
    if host == ours {
        return Some(PathBuf::new());
    }
    let inode = |path: &Path| path.metadata().ok().map(|about| (about.dev(), about.ino()));
    let wanted = inode(ours)?;
    let mut folders = VecDeque::from([host.to_owned()]);
    for _ in 0..FOLDERS {
        let folder = folders.pop_front()?;
        if inode(&folder) == Some(wanted) {
            return folder.strip_prefix(host).ok().map(Path::to_owned);
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    None
}

/// A path as the kernel tells it to a reader whose root is at `own`; `None` if it leads out of the tree.
pub(super) fn resolve(own: &Path, path: &str) -> Option<PathBuf> {
    let mut whole = own.to_owned();
    for part in Path::new(path.trim_start_matches('/')).components() {
        match part {
            Component::ParentDir => whole.pop().then_some(())?,
            Component::Normal(name) => whole.push(name),
            _ => {}
        }
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_root_is_found_in_the_hosts_tree() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join("kubepods.slice/kubepods-pod1.slice");
        std::fs::create_dir_all(pod.join("cri-containerd-1.scope")).unwrap();
        let own = own_path(root.path(), &pod.join("cri-containerd-1.scope")).unwrap();
        assert_eq!(own, Path::new("kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope"));
        assert_eq!(own_path(root.path(), root.path()), Some(PathBuf::new()));
        assert_eq!(own_path(&pod, root.path()), None);
        assert_eq!(own_path(root.path(), Path::new("/nonexistent")), None);
    }

    #[test]
    fn paths_are_told_from_our_own_group_on() {
        let own = Path::new("kubepods.slice/pod1.slice/agent.scope");
        for (path, whole) in [
            ("/", Some("kubepods.slice/pod1.slice/agent.scope")),
            ("/init", Some("kubepods.slice/pod1.slice/agent.scope/init")),
            ("/../server.scope", Some("kubepods.slice/pod1.slice/server.scope")),
            ("/../../pod2.slice/vllm.scope", Some("kubepods.slice/pod2.slice/vllm.scope")),
            ("/../../../system.slice/ollama.service", Some("system.slice/ollama.service")),
            ("/../../..", Some("")),
            ("/../../../../x", None),
        ] {
            assert_eq!(resolve(own, path).as_deref(), whole.map(Path::new), "{path}");
        }
        assert_eq!(resolve(Path::new(""), "/../x"), None, "no namespace is known: what lies there is another group");
    }
}

//! Parents and children of one moment's processes: descendants for a service, ancestors for its root.
//! A child that was given to another parent (double fork) is lost here; the kernel's watch set still has it.

use std::collections::HashMap;
use std::path::Path;

use rustc_hash::FxHashMap;

use super::process;

/// Parent of every process, read once.
#[derive(Debug, Default)]
pub struct Tree {
    parents: FxHashMap<u32, u32>,
}

/// Deeper chains do not occur; a cycle (a tree read while pids were reused) must end.
const MAX_DEPTH: usize = 64;

impl Tree {
    /// Reads every process's parent.
    pub fn read(proc_root: &Path) -> Self {
        let parent = |pid: u32| Some((pid, process::stat(proc_root, pid)?.ppid));
        Tree { parents: process::pids(proc_root).into_iter().filter_map(parent).collect() }
    }

    /// All descendants of `pid`, without it, ascending.
    pub fn descendants(&self, pid: u32) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (&child, &parent) in &self.parents {
            children.entry(parent).or_default().push(child);
        }
        let mut found = Vec::new();
        let mut next = children.remove(&pid).unwrap_or_default();
        // Each list is taken out once, so a cycle ends.
        while let Some(child) = next.pop() {
            next.extend(children.remove(&child).unwrap_or_default());
            if child != pid {
                found.push(child);
            }
        }
        found.sort_unstable();
        found
    }

    /// Parents of `pid`, nearest first.
    pub fn ancestors(&self, pid: u32) -> Vec<u32> {
        chain(pid, |pid| self.parents.get(&pid).copied())
    }
}

/// Parents of one process, nearest first, read one by one: for a single new process.
pub fn ancestors(proc_root: &Path, pid: u32) -> Vec<u32> {
    chain(pid, |pid| Some(process::stat(proc_root, pid)?.ppid))
}

/// Children of a process of this host that run the same program, `most` of them at most: its workers.
pub fn workers(pid: u32, most: usize) -> Vec<u32> {
    let program = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let (Some(own), Ok(threads)) = (program(pid), std::fs::read_dir(format!("/proc/{pid}/task"))) else {
        return Vec::new();
    };
    let children = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let pids = children.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>());
    pids.filter(|pid| program(*pid).as_ref() == Some(&own)).take(most).collect()
}

fn chain(pid: u32, parent: impl Fn(u32) -> Option<u32>) -> Vec<u32> {
    std::iter::successors(parent(pid), |pid| parent(*pid)).take_while(|pid| *pid > 0).take(MAX_DEPTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(pairs: &[(u32, u32)]) -> Tree {
        Tree { parents: pairs.iter().copied().collect() }
    }

    #[test]
    fn families() {
        let tree = tree(&[(1, 0), (10, 1), (11, 10), (12, 10), (13, 12), (20, 1)]);
        assert_eq!(tree.descendants(10), [11, 12, 13]);
        assert!(tree.descendants(13).is_empty());
        assert!(tree.descendants(99).is_empty());
        assert_eq!(tree.ancestors(13), [12, 10, 1]);
        assert!(tree.ancestors(1).is_empty());
    }

    #[test]
    fn workers_run_their_parents_program() {
        // Two shells within a shell, and something else.
        let script = "exec 3<&0; sh -c 'read x; :' <&3 & sh -c 'read x; :' <&3 & cat <&3 & wait";
        let mut parent = std::process::Command::new("sh");
        let mut parent = parent.args(["-c", script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        // A child is the parent's program until it runs its own.
        let settled = || std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", parent.id())).unwrap();
        let names = |list: &str| {
            let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            list.split_whitespace().map(name).collect::<Vec<_>>()
        };
        while names(&settled()).iter().filter(|name| *name == "cat\n").count() < 1 {
            assert!(std::time::Instant::now() < deadline, "{:?}", names(&settled()));
        }
        assert_eq!((workers(parent.id(), 9).len(), workers(parent.id(), 1).len()), (2, 1));
        drop(parent.stdin.take());
        parent.wait().unwrap();
    }

    #[test]
    fn cycles_end() {
        let tree = tree(&[(10, 11), (11, 10)]);
        assert_eq!(tree.descendants(10), [11]);
        assert_eq!(tree.ancestors(10).len(), MAX_DEPTH);
    }

    #[test]
    fn this_process_is_its_childs_parent() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let root = Path::new("/proc");
        let me = std::process::id();
        assert!(Tree::read(root).descendants(me).contains(&child.id()));
        assert_eq!(ancestors(root, child.id()).first(), Some(&me));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

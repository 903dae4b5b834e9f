//! The guest's first and only file system: a cpio archive in the "newc" form that the kernel unpacks.
//!
//! Layout: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

const DIRECTORY: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;

/// Absolute guest paths and what lies there. A sorted map, so that a directory comes before what is in it.
#[derive(Default, Clone)]
pub struct Archive {
    entries: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Archive {
    pub fn directory(&mut self, path: &str) {
        self.parents(path);
        self.insert(path, DIRECTORY, Vec::new());
    }

    pub fn link(&mut self, path: &str, to: &str) {
        self.parents(path);
        self.insert(path, LINK, to.as_bytes().to_vec());
    }

    pub fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.parents(path);
        self.insert(path, FILE | mode, bytes);
    }

    /// A file or a directory of the host at PATH in the guest; links are followed.
    pub fn copy(&mut self, host: &Path, path: &str) -> Result<()> {
        let about = fs::metadata(host).with_context(|| format!("{} is not there", host.display()))?;
        if about.is_dir() {
            self.directory(path);
            for entry in fs::read_dir(host)? {
                let entry = entry?;
                self.copy(&entry.path(), &format!("{path}/{}", entry.file_name().to_string_lossy()))?;
            }
            return Ok(());
        }
        let bytes = fs::read(host).with_context(|| format!("cannot read {}", host.display()))?;
        self.file(path, about.permissions().mode() & 0o777, bytes);
        Ok(())
    }

    /// The shared libraries and the loader of PROGRAM, at the same paths as on the host; none for a static one.
    pub fn libraries(&mut self, program: &Path) -> Result<()> {
        let Ok(listed) = process::output(Command::new("ldd").arg(program)) else { return Ok(()) };
        for path in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            if !self.entries.contains_key(path.trim_start_matches('/')) {
                self.copy(Path::new(path), path)?;
            }
        }
        Ok(())
    }

    /// The archive's bytes.
    pub fn pack(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, (mode, bytes))) in self.entries.iter().enumerate() {
            member(&mut out, number as u32 + 1, path, *mode, bytes);
        }
        member(&mut out, 0, "TRAILER!!!", 0, &[]);
        out
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
            self.entries.entry(path[1..at].to_owned()).or_insert_with(|| (DIRECTORY, Vec::new()));
        }
    }

    fn insert(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.entries.insert(path.trim_start_matches('/').to_owned(), (mode, bytes));
    }
}

fn member(out: &mut Vec<u8>, inode: u32, name: &str, mode: u32, bytes: &[u8]) {
    let (links, size, name_size) = (1, bytes.len() as u32, name.len() as u32 + 1);
    let header = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
    out.extend(b"070701");
    header.iter().for_each(|field| out.extend(format!("{field:08x}").bytes()));
    out.extend(name.bytes());
    out.push(0);
    pad(out);
    out.extend(bytes);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_aligned_and_follows_its_directory() {
        let mut archive = Archive::default();
        archive.file("/a/b/c", 0o755, b"12345".to_vec());
        archive.link("/sh", "a/b/c");
        let packed = archive.pack();
        assert_eq!(packed.len() % 4, 0);
        let names: Vec<_> = archive.entries.keys().cloned().collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "sh"]);
        assert!(packed.starts_with(b"07070100000001000041ed"));
    }
}

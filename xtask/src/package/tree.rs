//! A file tree in memory and its tar stream: the same tree gives the same bytes, whoever packs it, when and where.
//!
//! Knows no file system: what goes in was read by others, so that no umask, owner or order of a directory comes along.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

#[derive(Default)]
pub struct Tree(BTreeMap<String, Entry>);

enum Entry {
    Dir { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
}

impl Tree {
    /// An empty directory, or other rights for one that is there.
    pub fn dir(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::Dir { mode });
    }

    pub fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::File { mode, bytes: bytes.into() });
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::Link { target: target.to_owned() });
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Entry::Dir { mode: 0o755 });
        }
    }

    /// The files and their sizes in bytes, largest first.
    pub fn largest(&self) -> Vec<(&str, usize)> {
        let mut sizes: Vec<(&str, usize)> = self.0.iter().map(|(path, entry)| (path.as_str(), entry.size())).collect();
        sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        sizes
    }

    /// All of it as a tar archive, every entry root's and of this time (seconds since 1970).
    pub fn tar(&self, mtime_s: u64) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            append(&mut archive, path, entry, mtime_s).with_context(|| format!("cannot pack {path}"))?;
        }
        Ok(archive.into_inner()?)
    }
}

impl Entry {
    fn size(&self) -> usize {
        match self {
            Entry::File { bytes, .. } => bytes.len(),
            Entry::Dir { .. } | Entry::Link { .. } => 0,
        }
    }
}

fn append(archive: &mut Builder<Vec<u8>>, path: &str, entry: &Entry, mtime_s: u64) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime_s);
    header.set_size(entry.size() as u64);
    let (kind, mode, bytes) = match entry {
        Entry::Dir { mode } => (EntryType::Directory, *mode, &[][..]),
        Entry::File { mode, bytes } => (EntryType::Regular, *mode, bytes.as_slice()),
        Entry::Link { target } => {
            header.set_link_name(target)?;
            (EntryType::Symlink, 0o777, &[][..])
        }
    };
    header.set_entry_type(kind);
    header.set_mode(mode);
    let slash = if kind == EntryType::Directory { "/" } else { "" };
    header.set_path(format!("{path}{slash}"))?;
    header.set_cksum();
    archive.append(&header, bytes)?;
    Ok(())
}

/// Gzip without a name and a time in it.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    out.write_all(bytes)?;
    Ok(out.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_packing_does_not_matter() {
        let files = [("usr/bin/a", 0o755, "one"), ("etc/b", 0o644, "two"), ("usr/lib/c", 0o644, "three")];
        let packed = |files: &mut dyn Iterator<Item = &(&str, u32, &str)>| {
            let mut tree = Tree::default();
            for (path, mode, text) in files {
                tree.file(path, *mode, *text);
            }
            gzip(&tree.tar(7).unwrap()).unwrap()
        };
        assert_eq!(packed(&mut files.iter()), packed(&mut files.iter().rev()));
    }

    #[test]
    fn parents_come_first_and_everything_is_roots() {
        let mut tree = Tree::default();
        tree.file("a/b/c", 0o640, "text");
        tree.link("a/l", "b/c");
        tree.dir("tmp", 0o1777);
        let bytes = tree.tar(1_700_000_000).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<(String, u32)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
                assert_eq!(header.mtime().unwrap(), 1_700_000_000);
                (entry.path().unwrap().display().to_string(), header.mode().unwrap())
            })
            .collect();
        let wanted = [("a/", 0o755), ("a/b/", 0o755), ("a/b/c", 0o640), ("a/l", 0o777), ("tmp/", 0o1777)];
        assert_eq!(seen, wanted.map(|(path, mode)| (path.to_owned(), mode)));
    }
}

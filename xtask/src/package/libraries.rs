//! The shared libraries that a program needs, found as the dynamic loader finds them. Reads ELF files, runs nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use object::Endianness;
use object::elf::{DT_NEEDED, EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};

/// What is said of a processor: by cargo, by OCI and in Debian's folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    pub name: &'static str,
    pub oci: &'static str,
    multiarch: &'static str,
    machine: u16,
}

const PROCESSORS: [Processor; 2] = [
    Processor { name: "x86_64", oci: "amd64", multiarch: "x86_64-linux-gnu", machine: EM_X86_64 },
    Processor { name: "aarch64", oci: "arm64", multiarch: "aarch64-linux-gnu", machine: EM_AARCH64 },
];

/// What an ELF file says of itself.
#[derive(Debug)]
pub struct Elf {
    pub processor: Processor,
    /// The dynamic loader's path, which a library has not.
    pub loader: Option<String>,
    needed: Vec<String>,
}

/// A program's libraries by name, and the folder of this host that the loader looks into.
#[derive(Debug)]
pub struct Libraries {
    pub folder: PathBuf,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Elf {
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let header = FileHeader64::<Endianness>::parse(bytes).context("it is no 64-bit ELF file")?;
        let endian = header.endian()?;
        let machine = header.e_machine(endian);
        let known = PROCESSORS.into_iter().find(|processor| processor.machine == machine);
        let processor = known.with_context(|| format!("processor {machine} is not one that inferscope knows"))?;
        let mut loader = None;
        for segment in header.program_headers(endian, bytes)? {
            if let Some(path) = segment.interpreter(endian, bytes)? {
                loader = Some(String::from_utf8_lossy(path).into_owned());
            }
        }
        let sections = header.sections(endian, bytes)?;
        let mut needed = Vec::new();
        if let Some((entries, link)) = sections.dynamic(endian, bytes)? {
            let strings = sections.strings(endian, bytes, link)?;
            for entry in entries.iter().filter(|entry| entry.tag(endian) == DT_NEEDED) {
                let name = entry.string(endian, strings)?;
                needed.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(Self { processor, loader, needed })
    }
}

impl Libraries {
    /// What PROGRAM needs and what that needs; ALSO what it loads by name, and BESIDES what of these is there.
    pub fn of(program: &Elf, also: &[&str], besides: &[&str]) -> Result<Self> {
        let folders = folders(program.processor);
        let here = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
        let mut files = BTreeMap::new();
        let mut folder = None;
        let mut open: Vec<String> = program.needed.clone();
        open.extend(also.iter().map(|name| (*name).to_owned()));
        open.extend(besides.iter().filter(|name| here(name).is_some()).map(|name| (*name).to_owned()));
        while let Some(name) = open.pop() {
            if files.contains_key(&name) {
                continue;
            }
            let Some(path) = here(&name) else { bail!("{name} is needed, and is in none of {folders:?}") };
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let elf = Elf::read(&bytes).with_context(|| format!("{} cannot be taken", path.display()))?;
            if elf.processor != program.processor {
                bail!("{} is for {}: the program is not", path.display(), elf.processor.name);
            }
            if name == "libc.so.6" {
                folder = path.parent().map(Path::to_path_buf);
            }
            open.extend(elf.needed);
            files.insert(name, bytes);
        }
        Ok(Self { folder: folder.context("the program does without glibc: nothing could be loaded by it")?, files })
    }
}

/// Where glibc looks, on Debian and elsewhere.
fn folders(processor: Processor) -> Vec<PathBuf> {
    let multiarch = processor.multiarch;
    [&format!("/lib/{multiarch}"), &format!("/usr/lib/{multiarch}"), "/lib64", "/usr/lib64", "/lib", "/usr/lib"]
        .into_iter()
        .map(PathBuf::from)
        .filter(|folder| folder.is_dir())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_program_needs_is_found() {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::read(&program).unwrap();
        assert_eq!(elf.processor.name, std::env::consts::ARCH);
        let loader = elf.loader.clone().unwrap();
        let found = Libraries::of(&elf, &["libdl.so.2"], &["libnot-there.so.9"]).unwrap();
        let name = Path::new(&loader).file_name().unwrap().to_str().unwrap();
        for needed in ["libc.so.6", "libgcc_s.so.1", "libdl.so.2", name] {
            assert!(found.files.contains_key(needed), "{needed} is not among {:?}", found.files.keys());
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        let error = Libraries::of(&Elf::read(&program).unwrap(), &["libnot-there.so.9"], &[]).unwrap_err();
        assert!(error.to_string().contains("libnot-there.so.9 is needed"), "{error}");
        assert!(Elf::read(b"#!/bin/sh\n").unwrap_err().to_string().contains("no 64-bit ELF"));
    }
}

//! Whether a process is a CPython interpreter, which version it is, and where its runtime stands in memory.

use object::{Object, ObjectSegment, ObjectSymbol, ReadCache, read::elf::ElfFile64};

use super::layout::{DESCRIPTION_BYTES, Layout};
use crate::{
    probe::memory,
    profile::maps::{Mapping, mappings, open},
};

/// An interpreter in a process.
#[derive(Clone, Copy, Debug)]
pub struct Interpreter {
    /// Address of `_PyRuntime`.
    pub runtime: u64,
    pub layout: Layout,
}

/// What a process is.
#[derive(Debug)]
pub enum Found {
    Interpreter(Interpreter),
    /// CPython, and in words why its stacks cannot be read.
    Unreadable(String),
    Other,
}

/// The minor version in a name such as `python3.11` or `libpython3.11.so.1.0`.
fn minor_in(path: &str) -> Option<u32> {
    let name = path.rsplit('/').next()?;
    let rest = name.strip_prefix("lib").unwrap_or(name).strip_prefix("python3.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// Where the symbols stand that tell.
struct Symbols {
    runtime: u64,
    version: Option<u64>,
}

/// In memory: what the file says of them, moved to where the mapping has it.
fn symbols(pid: u32, mapping: &Mapping) -> Option<Symbols> {
    let file = open(pid, mapping)?;
    // A library that is being written to at the moment is none.
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<object::Endianness, _>::parse(&cache).ok()?;
    let (mut runtime, mut version) = (None, None);
    for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
        match symbol.name_bytes() {
            Ok(b"_PyRuntime") if symbol.address() != 0 => runtime = Some(symbol.address()),
            Ok(b"Py_Version") if symbol.address() != 0 => version = Some(symbol.address()),
            _ => continue,
        }
        if runtime.is_some() && version.is_some() {
            break;
        }
    }
    let page = |at: u64| at & !4095;
    let segment = elf.segments().find(|segment| page(segment.file_range().0) == page(mapping.offset))?;
    let bias = mapping.start.wrapping_sub(page(segment.address()));
    Some(Symbols { runtime: runtime?.wrapping_add(bias), version: version.map(|at| at.wrapping_add(bias)) })
}

/// Looks at a process.
pub fn find(pid: u32) -> Found {
    let Ok(all) = mappings(pid, |_| true) else { return Found::Other };
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let exe = exe.to_string_lossy().into_owned();
    let named = |mapping: &&Mapping| minor_in(&mapping.path).is_some();
    let library = all.iter().find(|m| named(m) && m.path.rsplit('/').next().is_some_and(|n| n.starts_with("lib")));
    let Some(mapping) = library.or_else(|| all.iter().find(|m| m.path == exe && m.path.starts_with('/'))) else {
        return Found::Other;
    };
    let minor = minor_in(&mapping.path);
    let Some(Symbols { runtime, version }) = symbols(pid, mapping) else {
        return match minor {
            Some(minor) => Found::Unreadable(format!("3.{minor}: no symbol _PyRuntime in {}", mapping.path)),
            None => Found::Other,
        };
    };
    let mut bytes = Vec::new();
    if memory::read(pid, &[(runtime, DESCRIPTION_BYTES)], &mut bytes).is_ok()
        && let Some(layout) = Layout::described(&bytes)
    {
        return Found::Interpreter(Interpreter { runtime, layout });
    }
    let version = version.and_then(|at| {
        memory::read(pid, &[(at, 4)], &mut bytes).ok()?;
        Some(u32::from(bytes[2]))
    });
    let Some(minor) = version.or(minor) else {
        return Found::Unreadable("its version cannot be told".to_owned());
    };
    match Layout::of(minor) {
        Some(layout) => Found::Interpreter(Interpreter { runtime, layout }),
        None => Found::Unreadable(format!("3.{minor}: this version is not known; 3.9 to 3.14 are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_names() {
        for (path, minor) in [
            ("/usr/bin/python3.11", Some(11)),
            ("/opt/lib/libpython3.9.so.1.0", Some(9)),
            ("/usr/bin/python3.13t", Some(13)),
            ("/usr/bin/python3", None),
            ("/usr/lib/libpython3.so", None),
            ("/usr/bin/nginx", None),
        ] {
            assert_eq!(minor_in(path), minor, "{path}");
        }
    }

    #[test]
    fn what_is_no_interpreter_is_found_to_be_none() {
        assert!(matches!(find(std::process::id()), Found::Other));
        assert!(matches!(find(0), Found::Other));
    }
}

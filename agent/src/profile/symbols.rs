//! Names of places. Modules are read one after the other and let go again, for one of a gigabyte may be among them; what
//! has no name is told by its module and offset.

use std::{
    ffi::OsStr,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::PathBuf,
};

use blazesym::{
    MaybeDefault,
    symbolize::{
        Input, Symbolized, Symbolizer,
        source::{Elf, Kernel, Source},
    },
};

use super::{
    maps::Module,
    table::{Place, Table},
};
use crate::shown;

/// What kind of code a frame is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Kernel,
    Native,
    Python,
}

/// A place with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub name: String,
    /// Path of the module, or of the Python file.
    pub file: String,
    /// The function's first line; 0 where that is not known.
    pub line: u32,
    /// Address in the kernel, or offset in the file.
    pub address: u64,
    pub module: Option<u32>,
    /// False where there is no name but the module's with an offset.
    pub named: bool,
}

impl Frame {
    /// The name; without one the module's alone, so that its places are one.
    pub fn label(&self) -> &str {
        if self.named { &self.name } else { self.file.rsplit('/').next().unwrap_or_default() }
    }
}

/// Frames by the number of their place, and how many have no name.
#[derive(Default)]
pub struct Named {
    pub frames: Vec<Frame>,
    pub nameless: usize,
    /// Modules that have frames without a name.
    pub without: Vec<String>,
}

const KERNEL: &str = "[kernel]";
/// Longer names are cut: templates can have kilobytes.
const NAME_CHARS: usize = 300;

fn clean(name: &str) -> String {
    name.chars().take(NAME_CHARS).map(shown::sign).collect()
}

fn symbolizer() -> Symbolizer {
    Symbolizer::builder().enable_auto_reload(false).enable_code_info(false).enable_inlined_fns(false).build()
}

/// Names in the order of the addresses.
fn names(source: &Source<'_>, input: Input<&[u64]>) -> Vec<Option<String>> {
    let named = |symbol: &Symbolized<'_>| symbol.as_sym().map(|symbol| clean(&symbol.name));
    let symbolizer = symbolizer();
    symbolizer.symbolize(source, input).map(|symbols| symbols.iter().map(named).collect()).unwrap_or_default()
}

fn of_kernel(addresses: &[u64]) -> Vec<Option<String>> {
    let kernel = Kernel { vmlinux: MaybeDefault::None, debug_syms: false, ..Kernel::default() };
    names(&Source::Kernel(kernel), Input::AbsAddr(addresses))
}

fn of_module(module: &Module, offsets: &[u64]) -> Vec<Option<String>> {
    let Some(file) = &module.file else { return Vec::new() };
    // Through the open file, whatever its path means by now.
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let elf = Elf { debug_syms: false, ..Elf::new(path) };
    names(&Source::Elf(elf), Input::FileOffset(offsets))
}

/// Names every place of the table.
pub fn name_all(table: &Table, modules: &[Module]) -> Named {
    let mut named = Named { frames: Vec::with_capacity(table.places.values.len()), ..Named::default() };
    // Places of one module side by side, in the order of their addresses.
    let mut order: Vec<usize> = (0..table.places.values.len()).collect();
    order.sort_unstable_by_key(|index| table.places.values[*index]);
    let mut texts: Vec<Option<String>> = vec![None; order.len()];
    let group = |place: &Place| match place {
        Place::Kernel(_) => Some(None),
        Place::Native(module, _) => Some(Some(*module)),
        _ => None,
    };
    let places = &table.places.values;
    for run in order.chunk_by(|a, b| group(&places[*a]) == group(&places[*b])) {
        let addresses: Vec<u64> = run.iter().map(|index| address(&places[*index])).collect();
        let found = match group(&places[run[0]]) {
            Some(None) => of_kernel(&addresses),
            Some(Some(module)) => of_module(&modules[module as usize], &addresses),
            None => Vec::new(),
        };
        for (index, name) in run.iter().zip(found) {
            texts[*index] = name;
        }
    }
    for (place, text) in places.iter().zip(texts) {
        let frame = frame(place, text, table, modules, &mut named);
        named.frames.push(frame);
    }
    named.without.sort();
    named.without.dedup();
    named
}

fn address(place: &Place) -> u64 {
    match place {
        Place::Kernel(address) | Place::Native(_, address) | Place::Unknown(address) => *address,
        Place::Python(_) | Place::Rest => 0,
    }
}

fn frame(place: &Place, name: Option<String>, table: &Table, modules: &[Module], named: &mut Named) -> Frame {
    let mut nameless = |text: String, file: &str| {
        named.nameless += 1;
        if !named.without.iter().any(|known| known == file) {
            named.without.push(file.to_owned());
        }
        text
    };
    let address = address(place);
    let has_name = name.is_some() || matches!(place, Place::Python(_) | Place::Rest);
    let native = |name: String, file: &str, module| Frame {
        kind: Kind::Native,
        named: has_name,
        name,
        file: file.to_owned(),
        line: 0,
        address,
        module,
    };
    match place {
        Place::Kernel(_) => {
            let name = name.unwrap_or_else(|| nameless(format!("{KERNEL}+{address:#x}"), KERNEL));
            Frame { kind: Kind::Kernel, ..native(name, KERNEL, None) }
        }
        Place::Native(module, offset) => {
            let file = &modules[*module as usize];
            let name = name.unwrap_or_else(|| nameless(format!("{}+{offset:#x}", file.name()), &file.path));
            native(name, &file.path, Some(*module))
        }
        Place::Unknown(at) => native(nameless(format!("[unknown]+{at:#x}"), "[unknown]"), "[unknown]", None),
        Place::Python(number) => {
            let function = &table.functions[*number as usize];
            let (name, line) = (function.name.clone(), function.line);
            Frame { kind: Kind::Python, line, ..native(name, &function.file, None) }
        }
        Place::Rest => native("[more than there was room for]".to_owned(), "", None),
    }
}

/// The build id of a module, in hexadecimal.
pub fn build_id(module: &Module) -> Option<String> {
    let path = format!("/proc/self/fd/{}", module.file.as_ref()?.as_raw_fd());
    let id = blazesym::helper::read_elf_build_id(OsStr::from_bytes(path.as_bytes())).ok()??;
    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::maps::Maps;

    #[test]
    fn functions_have_names_and_the_rest_is_told_by_its_place() {
        let (mut table, mut maps) = (Table::default(), Maps::default());
        let code = functions_have_names_and_the_rest_is_told_by_its_place as fn() as usize as u64;
        table.native(&mut maps, std::process::id(), &[code], 0);
        table.native(&mut maps, std::process::id(), &[16], 0);
        let own = maps.modules.iter().position(|module| module.name().starts_with("agent")).unwrap();
        let named = name_all(&table, &maps.modules);
        let of = |text: &str| named.frames.iter().find(|frame| frame.name.contains(text));
        assert!(of("functions_have_names").is_some(), "{:?}", named.frames);
        assert!(of("[unknown]+0x10").is_some() && named.nameless == 1 && named.without == ["[unknown]"]);
        maps.modules[own].file = None;
        let named = name_all(&table, &maps.modules);
        assert!(named.frames.iter().any(|frame| frame.name.starts_with(&format!("{}+0x", maps.modules[own].name()))));
        assert_eq!(named.nameless, 2);
    }
}

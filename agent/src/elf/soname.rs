//! What a library calls itself, by which programs ask for it.

use std::path::Path;

use object::LittleEndian;
use object::elf::{DT_SONAME, Dyn64, SHT_DYNAMIC};

use super::{
    file::{Elf, LE, Opened},
    symbols::elf_name,
};

/// None: it has none, or cannot be read.
pub(super) fn of(path: &Path) -> Option<String> {
    let elf = Elf::parse(Opened::open(path).ok()?).ok()?;
    let section = elf.sections().iter().find(|section| section.kind == SHT_DYNAMIC)?;
    let names = elf.section(section.link)?;
    let piece = elf.whole(section).ok()?;
    let own = piece.table::<Dyn64<LittleEndian>>().iter().find(|entry| entry.d_tag.get(LE) == DT_SONAME)?;
    let name = elf_name(&elf, names, u32::try_from(own.d_val.get(LE)).ok()?).ok()?;
    String::from_utf8(name).ok()
}

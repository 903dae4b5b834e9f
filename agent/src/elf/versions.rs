//! Versions of the symbols that other files use (`memcpy@GLIBC_2.2.5`): a number per symbol in one section, the names
//! of the numbers in another.

use object::elf::{SHT_GNU_VERDEF, SHT_GNU_VERSYM, VERSYM_VERSION, Verdaux, Verdef};
use object::{LittleEndian, pod};

use super::{
    Error,
    file::{Elf, LE, Section, Source},
    symbols::{Table, elf_name},
};

/// A file has a hundred at most.
const VERSIONS: usize = 4096;

/// The versions that a file defines.
#[derive(Debug)]
pub(super) struct Versions<'a> {
    numbers: Option<&'a Section>,
    names: Vec<(u16, Vec<u8>)>,
}

impl<'a> Versions<'a> {
    /// Those of the symbols in a table; none where the table has none.
    pub(super) fn of<S: Source>(elf: &'a Elf<S>, table: &Table<'a>) -> Result<Self, Error> {
        let of_table = |section: &&Section| section.kind == SHT_GNU_VERSYM && section.link as usize == table.index;
        let mut versions = Self { numbers: elf.sections().iter().find(of_table), names: Vec::new() };
        if versions.numbers.is_some() {
            for section in elf.sections().iter().filter(|section| section.kind == SHT_GNU_VERDEF) {
                versions.define(elf, section)?;
            }
        }
        Ok(versions)
    }

    /// Definitions are a chain: each says how many bytes behind its own begin its names and the next.
    fn define<S: Source>(&mut self, elf: &Elf<S>, section: &Section) -> Result<(), Error> {
        let broken = Error::Broken("its versions end in the middle");
        let Some(strings) = elf.section(section.link) else { return Err(broken) };
        let piece = elf.whole(section)?;
        let mut rest = piece.bytes();
        while let Ok((definition, _)) = pod::from_bytes::<Verdef<LittleEndian>>(rest) {
            // The first name is its own; the others are those of what it builds on.
            let names = rest.get(definition.vd_aux.get(LE) as usize..);
            let Some(Ok((name, _))) = names.map(pod::from_bytes::<Verdaux<LittleEndian>>) else { return Err(broken) };
            self.names.push((definition.vd_ndx.get(LE), elf_name(elf, strings, name.vda_name.get(LE))?));
            if self.names.len() > VERSIONS {
                return Err(Error::TooMany { what: "versions", count: self.names.len(), most: VERSIONS });
            }
            match definition.vd_next.get(LE) as usize {
                0 => return Ok(()),
                next => rest = rest.get(next..).unwrap_or_default(),
            }
        }
        Err(broken)
    }

    /// Whether a symbol, by its place in the table, is of a version.
    pub(super) fn is<S: Source>(&self, elf: &Elf<S>, index: u64, wanted: &str) -> Result<bool, Error> {
        let Some(section) = self.numbers else { return Ok(false) };
        let Some(at) = index.checked_mul(2).filter(|at| at + 2 <= section.size) else { return Ok(false) };
        let offset = section.offset.checked_add(at).ok_or(Error::Broken("a table has no end"))?;
        let piece = elf.read(offset, 2)?;
        let number = piece.bytes().try_into().map_or(0, u16::from_le_bytes) & VERSYM_VERSION;
        Ok(self.names.iter().any(|(known, name)| *known == number && name == wanted.as_bytes()))
    }
}

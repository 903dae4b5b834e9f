//! The entries of a function, by its symbol. The table of names is searched first, in pieces, for the places where the
//! wanted one stands; the symbols are then looked through for those that point there. So neither table is ever held,
//! whatever their size.

use memchr::memmem::Finder;
use object::elf::{
    SHN_LORESERVE, SHN_UNDEF, SHN_XINDEX, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, Sym64,
};
use object::{LittleEndian, elf::SHT_STRTAB};

use super::{
    Error, SITES, Site, alike,
    error::shown,
    file::{Elf, LE, PIECE_BYTES, Piece, Section, Source},
    versions::Versions,
};

/// Bytes of a name that are read; the longest of C++ are some thousand.
pub(super) const NAME_BYTES: usize = 4096;
/// Places of a name in a table of names: names share their ends.
const PLACES: usize = 1 << 22;
const SYMBOL_BYTES: u64 = size_of::<Sym64<LittleEndian>>() as u64;

/// A table of symbols with its names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    pub(super) symbols: &'a Section,
    pub(super) names: &'a Section,
    /// Its place among the sections.
    pub(super) index: usize,
}

/// The tables of a file: of all symbols, and of those that other files use.
pub(super) fn tables<S: Source>(elf: &Elf<S>) -> impl Iterator<Item = Table<'_>> {
    elf.sections().iter().enumerate().filter_map(|(index, symbols)| {
        let names = elf.section(symbols.link)?;
        let both = matches!(symbols.kind, SHT_SYMTAB | SHT_DYNSYM) && names.kind == SHT_STRTAB;
        both.then_some(Table { symbols, names, index })
    })
}

/// What a name stands for in a file.
#[derive(Debug, Default)]
struct Found {
    sites: Vec<u64>,
    imported: bool,
    indirect: bool,
    other: bool,
}

/// Where the functions of that name begin.
pub(super) fn sites<S: Source>(elf: &Elf<S>, symbol: &str) -> Result<Vec<Site>, Error> {
    if symbol.is_empty() || symbol.len() > NAME_BYTES || symbol.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Error::Name(shown(symbol)));
    }
    if elf.sections().is_empty() {
        return Err(Error::Headless);
    }
    let found = entries(elf, symbol)?;
    let nothing = found.sites.is_empty() && !found.imported && !found.indirect && !found.other;
    let found = if nothing { entries(elf, &alike::written(elf, symbol)?)? } else { found };
    // Of a function in several versions, one that is chosen at the start would be missing from the rest.
    if found.indirect {
        return Err(Error::Indirect(shown(symbol)));
    }
    if found.sites.is_empty() {
        return Err(if found.imported { Error::Imported(shown(symbol)) } else { Error::NotCode(shown(symbol)) });
    }
    let site = |file_offset| Site { file_offset, semaphore_offset: None, arguments: elf.arch().arguments() };
    Ok(found.sites.into_iter().map(site).collect())
}

/// All that a name, as it is in the file, stands for.
fn entries<S: Source>(elf: &Elf<S>, symbol: &str) -> Result<Found, Error> {
    let (name, version) = match symbol.split_once('@') {
        Some((name, version)) if !name.is_empty() => (name, Some(version.trim_start_matches('@'))),
        _ => (symbol, None),
    };
    let mut found = Found::default();
    for table in tables(elf) {
        let places = places(elf, table.names, name.as_bytes())?;
        if places.is_empty() {
            continue;
        }
        let versions = version.map(|_| Versions::of(elf, &table)).transpose()?;
        each(elf, table.symbols, |index, entry| {
            if places.binary_search(&entry.st_name.get(LE)).is_err() {
                return Ok(());
            }
            if let (Some(wanted), Some(versions)) = (version, &versions) {
                let written = elf_name(elf, table.names, entry.st_name.get(LE))?;
                let own = version_in(&written).map(|own| Ok(own == wanted.as_bytes()));
                if !own.unwrap_or_else(|| versions.is(elf, index, wanted))? {
                    return Ok(());
                }
            }
            found.add(elf, entry)
        })?;
    }
    found.sites.sort_unstable();
    found.sites.dedup();
    Ok(found)
}

/// The version in a name as `.symtab` has it, behind one `@` or two.
fn version_in(name: &[u8]) -> Option<&[u8]> {
    let version = &name[memchr::memchr(b'@', name)? + 1..];
    Some(version.strip_prefix(b"@").unwrap_or(version))
}

impl Found {
    fn add<S: Source>(&mut self, elf: &Elf<S>, entry: &Sym64<LittleEndian>) -> Result<(), Error> {
        let section = entry.st_shndx.get(LE);
        if section == SHN_UNDEF {
            self.imported = true;
        } else if entry.st_type() == STT_GNU_IFUNC {
            self.indirect = true;
        } else if let Some(offset) = code(elf, entry) {
            // Both tables have most of them.
            if self.sites.last() != Some(&offset) {
                self.sites.push(offset);
            }
            if self.sites.len() > 2 * SITES {
                return Err(Error::TooMany { what: "functions of that name", count: self.sites.len(), most: SITES });
            }
        } else {
            self.other = true;
        }
        Ok(())
    }
}

/// Where the code of a symbol is in the file; None if it is not a function's, or none that this file has.
pub(super) fn code<S: Source>(elf: &Elf<S>, entry: &Sym64<LittleEndian>) -> Option<u64> {
    let section = entry.st_shndx.get(LE);
    let here = section != SHN_UNDEF && (section < SHN_LORESERVE || section == SHN_XINDEX);
    // Functions in assembly often have no type.
    let kind = matches!(entry.st_type(), STT_FUNC | STT_NOTYPE);
    (here && kind).then(|| elf.code(entry.st_value.get(LE))).flatten()
}

/// Every symbol of a table with its place.
pub(super) fn each<S: Source>(
    elf: &Elf<S>,
    symbols: &Section,
    mut see: impl FnMut(u64, &Sym64<LittleEndian>) -> Result<(), Error>,
) -> Result<(), Error> {
    let count = symbols.size / SYMBOL_BYTES;
    let at_once = PIECE_BYTES / SYMBOL_BYTES;
    let (mut piece, mut first) = (Piece::default(), 0);
    while first < count {
        let some = at_once.min(count - first);
        let offset = symbols.offset.checked_add(first * SYMBOL_BYTES).ok_or(Error::Broken("a table has no end"))?;
        elf.read_into(&mut piece, offset, some * SYMBOL_BYTES)?;
        for (index, entry) in (first..).zip(piece.table::<Sym64<LittleEndian>>()) {
            see(index, entry)?;
        }
        first += some;
    }
    Ok(())
}

/// Where in a table of names the name stands, alone, before its version, or at the end of another; ascending.
fn places<S: Source>(elf: &Elf<S>, names: &Section, name: &[u8]) -> Result<Vec<u32>, Error> {
    let finder = Finder::new(name);
    let (mut piece, mut start, mut places) = (Piece::default(), 0, Vec::new());
    // The piece ends with the byte behind a name that begins in it.
    let more = name.len() as u64;
    while start < names.size {
        let length = (PIECE_BYTES + more).min(names.size - start);
        let offset = names.offset.checked_add(start).ok_or(Error::Broken("a table has no end"))?;
        elf.read_into(&mut piece, offset, length)?;
        let bytes = piece.bytes();
        let mut from = 0;
        while let Some(at) = finder.find(&bytes[from..]).map(|at| from + at) {
            from = at + 1;
            let whole = matches!(bytes.get(at + name.len()), Some(0 | b'@'));
            if whole && (at as u64) < PIECE_BYTES {
                let place = u32::try_from(start + at as u64);
                places.push(place.map_err(|_| Error::Broken("its names are beyond what a symbol can point to"))?);
            }
            if places.len() > PLACES {
                return Err(Error::TooMany { what: "names that end so", count: places.len(), most: PLACES });
            }
        }
        start += PIECE_BYTES;
    }
    Ok(places)
}

/// The name at a place, without what is beyond the longest.
pub(super) fn elf_name<S: Source>(elf: &Elf<S>, names: &Section, at: u32) -> Result<Vec<u8>, Error> {
    let at = u64::from(at);
    let length = names.size.saturating_sub(at).min(NAME_BYTES as u64);
    let offset = names.offset.checked_add(at).ok_or(Error::Broken("a table has no end"))?;
    let piece = elf.read(offset, length)?;
    let bytes = piece.bytes();
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    Ok(bytes[..end].to_vec())
}

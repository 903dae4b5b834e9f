//! Headers of an ELF file, and its bytes piece by piece. Files change while they are read, and say of themselves what
//! is not so: every read is bounded, and checked against the file as it is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use object::elf::{
    ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFMAG, ET_DYN, ET_EXEC, FileHeader64, PF_W, PF_X, PN_XNUM, PT_LOAD,
    ProgramHeader64, SHF_COMPRESSED, SHN_XINDEX, SHT_NOBITS, SectionHeader64,
};
use object::{LittleEndian, pod};

use super::{Arch, Error};

/// The most that is read at once.
pub(super) const PIECE_BYTES: u64 = 1 << 20;
/// The largest part of a file that is held whole.
const WHOLE_BYTES: u64 = 16 << 20;
const SEGMENTS: usize = 4096;
const SECTIONS: usize = 1 << 17;

pub(super) const LE: LittleEndian = LittleEndian;

/// Bytes that can be read anywhere.
pub trait Source {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
    /// Bytes in all, when it was opened.
    fn size(&self) -> u64;
}

impl Source for &[u8] {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let part = rest.and_then(|rest| rest.get(..into.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(part);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }
}

/// A regular file.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    size: u64,
}

impl Opened {
    /// Does not wait for the writer of a pipe.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(Error::Irregular);
        }
        Ok(Self { file, size: meta.len() })
    }
}

impl Source for Opened {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// Bytes that stand where tables of words may.
#[derive(Debug, Default)]
pub(super) struct Piece {
    words: Vec<u64>,
    length: usize,
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        &pod::bytes_of_slice(&self.words)[..self.length]
    }

    /// The whole entries of a table.
    pub(super) fn table<T: pod::Pod>(&self) -> &[T] {
        let count = self.length / size_of::<T>();
        pod::slice_from_bytes(self.bytes(), count).map_or(&[], |(entries, _)| entries)
    }
}

/// A part of the file that is loaded into memory.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    offset: u64,
    /// In the file.
    size: u64,
    executable: bool,
    writable: bool,
}

/// A part of the file by its use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    name: u32,
    pub(super) kind: u32,
    pub(super) address: u64,
    pub(super) offset: u64,
    /// In the file.
    pub(super) size: u64,
    pub(super) link: u32,
    pub(super) align: u64,
}

/// The headers of a file.
#[derive(Debug)]
pub(super) struct Elf<S> {
    source: S,
    arch: Arch,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    names: Piece,
}

impl<S: Source> Elf<S> {
    pub(super) fn parse(source: S) -> Result<Self, Error> {
        let mut piece = Piece::default();
        let length = source.size().min(size_of::<FileHeader64<LittleEndian>>() as u64);
        fill(&source, &mut piece, 0, length)?;
        if !piece.bytes().starts_with(&ELFMAG) {
            return Err(Error::NotElf);
        }
        // The fifth byte says which of the two headers it is.
        if piece.bytes().get(ELFMAG.len()) == Some(&ELFCLASS32) {
            return Err(Error::Narrow);
        }
        let [header] = *piece.table::<FileHeader64<LittleEndian>>() else {
            return Err(Error::Broken("it ends in its header"));
        };
        if (header.e_ident.class, header.e_ident.data) != (ELFCLASS64, ELFDATA2LSB) {
            return Err(Error::Foreign("not one of 64 bits, the low byte first"));
        }
        if !matches!(header.e_type.get(LE), ET_EXEC | ET_DYN) {
            return Err(Error::Kind);
        }
        let arch = Arch::of_machine(header.e_machine.get(LE)).ok_or(Error::Foreign("neither x86-64 nor arm64"))?;
        let mut elf = Self { source, arch, segments: Vec::new(), sections: Vec::new(), names: Piece::default() };
        let first = elf.first_section(&header)?;
        elf.read_segments(&header, first.as_ref())?;
        elf.read_sections(&header, first.as_ref())?;
        Ok(elf)
    }

    /// It says what has no room in the file's header.
    fn first_section(
        &self,
        header: &FileHeader64<LittleEndian>,
    ) -> Result<Option<SectionHeader64<LittleEndian>>, Error> {
        if header.e_shoff.get(LE) == 0 {
            return Ok(None);
        }
        if usize::from(header.e_shentsize.get(LE)) != size_of::<SectionHeader64<LittleEndian>>() {
            return Err(Error::Broken("its section headers are of another size"));
        }
        let piece = self.read(header.e_shoff.get(LE), size_of::<SectionHeader64<LittleEndian>>() as u64)?;
        Ok(piece.table().first().copied())
    }

    fn read_segments(
        &mut self,
        header: &FileHeader64<LittleEndian>,
        first: Option<&SectionHeader64<LittleEndian>>,
    ) -> Result<(), Error> {
        let count = match (header.e_phnum.get(LE), first) {
            (PN_XNUM, Some(first)) => first.sh_info.get(LE) as usize,
            (count, _) => usize::from(count),
        };
        if count > SEGMENTS {
            return Err(Error::TooMany { what: "segments", count, most: SEGMENTS });
        }
        if count > 0 && usize::from(header.e_phentsize.get(LE)) != size_of::<ProgramHeader64<LittleEndian>>() {
            return Err(Error::Broken("its program headers are of another size"));
        }
        let bytes = (count * size_of::<ProgramHeader64<LittleEndian>>()) as u64;
        let piece = self.read(header.e_phoff.get(LE), bytes)?;
        let loaded = piece.table::<ProgramHeader64<LittleEndian>>().iter().filter(|p| p.p_type.get(LE) == PT_LOAD);
        self.segments = loaded
            .map(|segment| Segment {
                address: segment.p_vaddr.get(LE),
                offset: segment.p_offset.get(LE),
                size: segment.p_filesz.get(LE),
                executable: segment.p_flags.get(LE) & PF_X != 0,
                writable: segment.p_flags.get(LE) & PF_W != 0,
            })
            .collect();
        Ok(())
    }

    fn read_sections(
        &mut self,
        header: &FileHeader64<LittleEndian>,
        first: Option<&SectionHeader64<LittleEndian>>,
    ) -> Result<(), Error> {
        let Some(first) = first else { return Ok(()) };
        let count = match header.e_shnum.get(LE) {
            0 => usize::try_from(first.sh_size.get(LE)).unwrap_or(usize::MAX),
            count => usize::from(count),
        };
        if count > SECTIONS {
            return Err(Error::TooMany { what: "sections", count, most: SECTIONS });
        }
        let bytes = (count * size_of::<SectionHeader64<LittleEndian>>()) as u64;
        let piece = self.read(header.e_shoff.get(LE), bytes)?;
        let held = |section: &SectionHeader64<LittleEndian>| match section.sh_type.get(LE) {
            SHT_NOBITS => 0,
            _ if section.sh_flags.get(LE) & u64::from(SHF_COMPRESSED) != 0 => 0,
            _ => section.sh_size.get(LE),
        };
        let sections = piece.table::<SectionHeader64<LittleEndian>>().iter().map(|section| Section {
            name: section.sh_name.get(LE),
            kind: section.sh_type.get(LE),
            address: section.sh_addr.get(LE),
            offset: section.sh_offset.get(LE),
            size: held(section),
            link: section.sh_link.get(LE),
            align: section.sh_addralign.get(LE),
        });
        self.sections = sections.collect();
        let names = match header.e_shstrndx.get(LE) {
            SHN_XINDEX => first.sh_link.get(LE),
            index => u32::from(index),
        };
        self.names = match self.section(names) {
            Some(section) => self.whole(section)?,
            None => Piece::default(),
        };
        Ok(())
    }

    pub(super) fn arch(&self) -> Arch {
        self.arch
    }

    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// None: the file ends the list before, or 0, which stands for none.
    pub(super) fn section(&self, index: u32) -> Option<&Section> {
        self.sections.get(usize::try_from(index).ok()?).filter(|_| index != 0)
    }

    /// Sections of a name; there can be several.
    pub(super) fn named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |section| {
            let text = self.names.bytes().get(section.name as usize..).and_then(|rest| rest.strip_prefix(name));
            text.is_some_and(|rest| rest.first() == Some(&0))
        })
    }

    /// Bytes of the file; an error beyond its end, or for more than is held.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Piece, Error> {
        let mut piece = Piece::default();
        self.read_into(&mut piece, offset, length)?;
        Ok(piece)
    }

    pub(super) fn read_into(&self, piece: &mut Piece, offset: u64, length: u64) -> Result<(), Error> {
        fill(&self.source, piece, offset, length)
    }

    /// All of a section.
    pub(super) fn whole(&self, section: &Section) -> Result<Piece, Error> {
        self.read(section.offset, section.size)
    }

    /// Where in the file the code at an address is.
    pub(super) fn code(&self, address: u64) -> Option<u64> {
        self.place(address, |segment| segment.executable)
    }

    /// Where in the file the variable at an address is.
    pub(super) fn variable(&self, address: u64) -> Option<u64> {
        self.place(address, |segment| segment.writable && !segment.executable)
    }

    fn place(&self, address: u64, fits: impl Fn(&Segment) -> bool) -> Option<u64> {
        self.segments.iter().filter(|segment| fits(segment)).find_map(|segment| {
            let inside = address.checked_sub(segment.address).filter(|inside| *inside < segment.size)?;
            // Where the file has been cut, there is nothing to put a probe on.
            segment.offset.checked_add(inside).filter(|offset| *offset < self.source.size())
        })
    }
}

fn fill<S: Source>(source: &S, piece: &mut Piece, offset: u64, length: u64) -> Result<(), Error> {
    if offset.checked_add(length).is_none_or(|end| end > source.size()) {
        return Err(Error::Broken("a part of it is beyond its end"));
    }
    if length > WHOLE_BYTES {
        return Err(Error::Broken("one of its tables is larger than any that is known"));
    }
    let length = length as usize;
    piece.words.clear();
    piece.words.resize(length.div_ceil(8), 0);
    piece.length = length;
    Ok(source.read_exact_at(&mut pod::bytes_of_slice_mut(&mut piece.words)[..length], offset)?)
}

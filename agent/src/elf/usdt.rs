//! USDT probes: their notes in `.note.stapsdt`. A note has three addresses (of the probe's instruction, of the section
//! `.stapsdt.base` when the file was linked, of its semaphore or 0), and three strings that end in a zero byte (provider,
//! name, arguments): <https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation>.

use std::collections::BTreeSet;

use object::LittleEndian;
use object::elf::{FileHeader64, SHT_NOTE};
use object::read::elf::NoteIterator;

use super::{
    Error, SITES, Site,
    error::shown,
    file::{Elf, LE, Source},
    spec,
};

const SECTION: &[u8] = b".note.stapsdt";
const BASE: &[u8] = b".stapsdt.base";
const OWNER: &[u8] = b"stapsdt";
/// The third form of such notes; the two before it have not been written since 2010.
const KIND: u32 = 3;
/// Different probes that are remembered for a message.
const REMEMBERED: usize = 4096;

/// One note.
#[derive(Debug)]
struct Note<'a> {
    location: u64,
    base: u64,
    semaphore: u64,
    provider: &'a [u8],
    name: &'a [u8],
    arguments: &'a [u8],
}

impl<'a> Note<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let word = |bytes: &'a [u8]| {
            let (word, rest) = bytes.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*word), rest))
        };
        let string = |bytes: &'a [u8]| {
            let end = memchr::memchr(0, bytes)?;
            Some((&bytes[..end], &bytes[end + 1..]))
        };
        let (location, rest) = word(bytes)?;
        let (base, rest) = word(rest)?;
        let (semaphore, rest) = word(rest)?;
        let (provider, rest) = string(rest)?;
        let (name, rest) = string(rest)?;
        let (arguments, _) = string(rest)?;
        Some(Self { location, base, semaphore, provider, name, arguments })
    }

    fn site<S: Source>(&self, elf: &Elf<S>) -> Result<Site, Error> {
        // Prelinking moves code and data, but knows nothing of notes: the one section that it moves tells how far.
        let moved = match elf.named(BASE).next() {
            Some(section) if self.base != 0 => section.address.wrapping_sub(self.base),
            _ => 0,
        };
        let location = elf.code(self.location.wrapping_add(moved));
        let file_offset = location.ok_or(Error::Broken("a USDT probe is not where there is code"))?;
        let semaphore_offset = match self.semaphore {
            0 => None,
            address => {
                let place = elf.variable(address.wrapping_add(moved));
                Some(place.ok_or(Error::Broken("the semaphore of a USDT probe is not where there is data"))?)
            }
        };
        let arguments = spec::arguments(elf.arch(), &String::from_utf8_lossy(self.arguments));
        Ok(Site { file_offset, semaphore_offset, arguments })
    }
}

/// The sites of a probe: a function that the compiler copied has one in each copy, its arguments elsewhere.
pub(super) fn sites<S: Source>(elf: &Elf<S>, provider: &str, name: &str) -> Result<Vec<Site>, Error> {
    if elf.sections().is_empty() {
        return Err(Error::Headless);
    }
    let (mut sites, mut there) = (Vec::new(), BTreeSet::new());
    for section in elf.named(SECTION).filter(|section| section.kind == SHT_NOTE) {
        let piece = elf.whole(section)?;
        let broken = |_| Error::Broken("its USDT notes end in the middle");
        let notes = NoteIterator::<FileHeader64<LittleEndian>>::new(LE, section.align, piece.bytes());
        let mut notes = notes.map_err(broken)?;
        while let Some(note) = notes.next().map_err(broken)? {
            if note.name() != OWNER || note.n_type(LE) != KIND {
                continue;
            }
            let note = Note::parse(note.desc()).ok_or(Error::Broken("a USDT note ends in the middle"))?;
            if (note.provider, note.name) == (provider.as_bytes(), name.as_bytes()) {
                sites.push(note.site(elf)?);
            } else if there.len() < REMEMBERED {
                let text = |bytes| shown(&String::from_utf8_lossy(bytes));
                there.insert(format!("{}:{}", text(note.provider), text(note.name)));
            }
            if sites.len() > SITES {
                return Err(Error::TooMany { what: "places of that name", count: sites.len(), most: SITES });
            }
        }
    }
    match (sites.is_empty(), there.is_empty()) {
        (false, _) => Ok(sites),
        (true, true) => Err(Error::NoProbes),
        (true, false) => {
            let wanted = shown(&format!("{provider}:{name}"));
            Err(Error::NoProbe { there: nearest(there, &wanted), wanted })
        }
    }
}

/// The names most like the wanted one first.
fn nearest(there: BTreeSet<String>, wanted: &str) -> Vec<String> {
    let scored = there.into_iter().map(|name| (strsim::jaro_winkler(&name, wanted), name));
    let mut scored: Vec<_> = scored.collect();
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    scored.into_iter().map(|(_, name)| name).collect()
}

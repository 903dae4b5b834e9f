//! What somebody may have meant who names a function that is not there: the same as C++ or Rust write it, or one that
//! is spelt nearly so. Only then are the names of all functions looked at.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use memchr::memmem::Finder;
use object::elf::SHT_SYMTAB;

use super::{
    Error,
    error::shown,
    file::{Elf, LE, PIECE_BYTES, Piece, Section, Source},
    symbols::{NAME_BYTES, code, each, tables},
};

/// Functions of a table; the largest libraries have some 500,000.
const FUNCTIONS: usize = 1 << 22;
/// Names that mean what is wanted, kept for the message, and those that look like it.
const SAME: usize = 256;
const ALIKE: usize = 3;
/// How alike, from 0 to 1 (Jaro-Winkler).
const LEAST: f64 = 0.85;
/// Characters of a name as it is written in a program.
const WRITTEN_BYTES: usize = 4096;

/// What was found on the way through the names.
#[derive(Debug)]
struct Search<'a> {
    wanted: &'a str,
    /// Without spaces, which people and compilers set differently.
    bare: String,
    /// Compilers keep words as they are, so that a name without this one cannot be it.
    word: Finder<'a>,
    same: BTreeSet<String>,
    nearly: Vec<(f64, String)>,
}

/// The symbol of the only function that is written so. Errors: none is, or several are.
pub(super) fn written<S: Source>(elf: &Elf<S>, wanted: &str) -> Result<String, Error> {
    let before = wanted.split(['(', '<']).next().unwrap_or_default().trim_end();
    let word = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    let mut search = Search {
        wanted,
        bare: bare(wanted),
        word: Finder::new(word.as_bytes()),
        same: BTreeSet::new(),
        nearly: Vec::new(),
    };
    for table in tables(elf) {
        names(elf, table.symbols, table.names, |name| search.see(name))?;
    }
    let mut same = search.same.into_iter();
    match (same.next(), same.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => {
            Err(Error::Ambiguous { symbol: shown(wanted), names: [first, second].into_iter().chain(same).collect() })
        }
        (None, _) => Err(Error::NoFunction {
            symbol: shown(wanted),
            alike: search.nearly.into_iter().map(|(_, name)| name).collect(),
            stripped: !elf.sections().iter().any(|section| section.kind == SHT_SYMTAB),
        }),
    }
}

impl Search<'_> {
    fn see(&mut self, name: &[u8]) {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let mut score = 0.0;
        if self.word.find(name.as_bytes()).is_some()
            && let Some(forms) = forms(name)
        {
            if self.same.len() < SAME && forms.contains(&self.bare) {
                self.same.insert(name.to_owned());
                return;
            }
            // `f` of some namespace or type: what is told is left out of its beginning.
            let within = |form: &String| form.strip_suffix(&self.bare).is_some_and(|front| front.ends_with("::"));
            score = if forms.iter().any(within) { 1.0 } else { 0.0 };
        }
        if name.len() <= 2 * self.wanted.len() && self.wanted.len() <= 2 * name.len() && name.len() < 256 {
            score = f64::max(score, strsim::jaro_winkler(name, self.wanted));
        }
        let better = |kept: &(f64, String)| kept.0 < score || (kept.0 == score && kept.1.as_str() > name);
        if score < LEAST || self.nearly.iter().any(|(_, kept)| kept == name) {
            return;
        }
        let at = self.nearly.iter().position(better).unwrap_or(self.nearly.len());
        self.nearly.insert(at, (score, name.to_owned()));
        self.nearly.truncate(ALIKE);
    }
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// How a program writes what a compiler made a symbol of: with its parameters and without. None: it is no such symbol.
fn forms(symbol: &str) -> Option<[String; 2]> {
    if let Ok(name) = rustc_demangle::try_demangle(symbol) {
        let text = written_out(|out| write!(out, "{name:#}"))?;
        return Some([text.clone(), text]);
    }
    // A compiler's copies and cut-off parts of a function (`.cold`, `.part.0`) are not where it begins.
    let copy = symbol.split_once('.').is_some_and(|(_, more)| !more.starts_with("llvm."));
    if !symbol.starts_with("_Z") || copy {
        return None;
    }
    let name = cpp_demangle::Symbol::new(symbol).ok()?;
    let all = cpp_demangle::DemangleOptions::new().recursion_limit(64);
    let short = all.no_params().no_return_type();
    let text = |options| written_out(|out| name.structured_demangle(out, &options).map_err(|_| fmt::Error));
    Some([text(all)?, text(short)?])
}

/// The text without spaces; None if there is more of it than any program has: a short symbol can mean megabytes.
fn written_out(write: impl FnOnce(&mut Bounded) -> fmt::Result) -> Option<String> {
    let mut out = Bounded(String::new());
    write(&mut out).ok()?;
    Some(bare(&out.0))
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > WRITTEN_BYTES {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// The names of all functions of a table, in the order of the names.
fn names<S: Source>(elf: &Elf<S>, symbols: &Section, names: &Section, mut see: impl FnMut(&[u8])) -> Result<(), Error> {
    let mut places = Vec::new();
    each(elf, symbols, |_, entry| {
        if code(elf, entry).is_some() {
            places.push(entry.st_name.get(LE));
        }
        match places.len() {
            0..=FUNCTIONS => Ok(()),
            count => Err(Error::TooMany { what: "functions", count, most: FUNCTIONS }),
        }
    })?;
    places.sort_unstable();
    places.dedup();
    let (mut piece, mut start) = (Piece::default(), 0);
    for place in places {
        let at = u64::from(place);
        if at >= names.size {
            continue;
        }
        // A name that may go on behind the piece is the first of the next.
        if piece.bytes().is_empty() || at + NAME_BYTES as u64 > start + piece.bytes().len() as u64 {
            let offset = names.offset.checked_add(at).ok_or(Error::Broken("a table has no end"))?;
            let behind = start + piece.bytes().len() as u64;
            if piece.bytes().is_empty() || behind < names.size {
                start = at;
                elf.read_into(&mut piece, offset, PIECE_BYTES.min(names.size - at))?;
            }
        }
        let rest = &piece.bytes()[(at - start) as usize..];
        if let Some(end) = memchr::memchr(0, &rest[..rest.len().min(NAME_BYTES)]) {
            see(&rest[..end]);
        }
    }
    Ok(())
}

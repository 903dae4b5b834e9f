//! Struct layouts of the running kernel, out of its BTF. Reads only what it is asked for: the whole type graph of a
//! kernel takes tens of megabytes, and the agent needs thirty numbers of it.
//!
//! Format: Documentation/bpf/btf.rst in the kernel tree.

use std::{collections::HashMap, path::Path};

/// Why a type or a field was not found.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    #[error("cannot read {path}: {reason}")]
    Read { path: String, reason: std::io::Error },
    #[error("no BTF, or cut short: {0}")]
    Malformed(&'static str),
    #[error("BTF kind {0} is not known to this version")]
    Kind(u32),
}

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Bytes behind the 12 bytes that each type has.
fn extra(kind: u32, vlen: usize) -> Result<usize, BtfError> {
    Ok(match kind {
        PTR | 7 | TYPEDEF | VOLATILE | CONST | RESTRICT | 12 | 16 | TYPE_TAG => 0,
        INT | VAR | DECL_TAG => 4,
        ARRAY => 12,
        STRUCT | UNION | DATASEC | ENUM64 => 12 * vlen,
        ENUM | FUNC_PROTO => 8 * vlen,
        other => return Err(BtfError::Kind(other)),
    })
}

/// Where a field lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub bit_offset: u32,
    /// 0 for a field that is no bit-field.
    pub bits: u32,
    type_id: u32,
}

impl Field {
    /// Offset in bytes (of a bit-field: of the byte that holds its first bit).
    pub fn byte(&self) -> u32 {
        self.bit_offset / 8
    }
}

/// The types that were asked for.
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Position of each type; ids begin at 1.
    types: Vec<u32>,
    /// Structs, unions and typedefs by name.
    names: HashMap<String, u32>,
}

fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let slice = bytes.get(at..at + 4).ok_or(BtfError::Malformed("a type reaches past the end"))?;
    Ok(u32::from_ne_bytes([slice[0], slice[1], slice[2], slice[3]]))
}

impl Btf {
    /// Reads a BTF file and indexes the types whose names `wanted` takes.
    pub fn read(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self, BtfError> {
        let bytes =
            std::fs::read(path).map_err(|reason| BtfError::Read { path: path.display().to_string(), reason })?;
        Self::parse(bytes, wanted)
    }

    pub fn parse(bytes: Vec<u8>, wanted: impl Fn(&str) -> bool) -> Result<Self, BtfError> {
        if bytes.get(..2) != Some(&0xeb9f_u16.to_ne_bytes()) {
            return Err(BtfError::Malformed("wrong magic number"));
        }
        let head = word(&bytes, 4)? as usize;
        let begin = head + word(&bytes, 8)? as usize;
        let end = begin + word(&bytes, 12)? as usize;
        let strings = head + word(&bytes, 16)? as usize;
        let mut btf = Btf { bytes, strings, types: vec![0], names: HashMap::new() };
        let mut at = begin;
        while at < end {
            let info = word(&btf.bytes, at + 4)?;
            let (kind, vlen) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            if matches!(kind, STRUCT | UNION | TYPEDEF) {
                let id = btf.types.len() as u32;
                if let Some(name) = btf.name(at)?.filter(|name| wanted(name)).map(str::to_owned) {
                    btf.names.entry(name).or_insert(id);
                }
            }
            btf.types.push(at as u32);
            at += 12 + extra(kind, vlen)?;
        }
        Ok(btf)
    }

    fn name(&self, at: usize) -> Result<Option<&str>, BtfError> {
        self.string(word(&self.bytes, at)?)
    }

    fn string(&self, offset: u32) -> Result<Option<&str>, BtfError> {
        if offset == 0 {
            return Ok(None);
        }
        let rest =
            self.bytes.get(self.strings + offset as usize..).ok_or(BtfError::Malformed("a name lies outside"))?;
        let end = rest.iter().position(|b| *b == 0).ok_or(BtfError::Malformed("a name without an end"))?;
        Ok(std::str::from_utf8(&rest[..end]).ok())
    }

    fn at(&self, id: u32) -> Result<(usize, u32, usize, bool), BtfError> {
        let at = *self.types.get(id as usize).filter(|at| **at != 0).ok_or(BtfError::Malformed("no such type"))?;
        let info = word(&self.bytes, at as usize + 4)?;
        Ok((at as usize, info >> 24 & 0x1f, (info & 0xffff) as usize, info >> 31 == 1))
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Result<u32, BtfError> {
        for _ in 0..32 {
            let (at, kind, ..) = self.at(id)?;
            if !matches!(kind, TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG) {
                return Ok(id);
            }
            id = word(&self.bytes, at + 8)?;
        }
        Err(BtfError::Malformed("a chain of typedefs without an end"))
    }

    fn member(&self, id: u32, wanted: &str, depth: u32) -> Result<Option<Field>, BtfError> {
        let (at, kind, vlen, bit_fields) = self.at(self.resolve(id)?)?;
        if !matches!(kind, STRUCT | UNION) || depth > 8 {
            return Ok(None);
        }
        for member in 0..vlen {
            let at = at + 12 + 12 * member;
            let (type_id, raw) = (word(&self.bytes, at + 4)?, word(&self.bytes, at + 8)?);
            let (bit_offset, bits) = if bit_fields { (raw & 0xff_ffff, raw >> 24) } else { (raw, 0) };
            match self.name(at)? {
                Some(name) if name == wanted => return Ok(Some(Field { bit_offset, bits, type_id })),
                Some(_) => {}
                None => {
                    if let Some(inner) = self.member(type_id, wanted, depth + 1)? {
                        return Ok(Some(Field { bit_offset: bit_offset + inner.bit_offset, ..inner }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The field at `path` (members of members, in one struct) of a struct; None if this kernel has none such.
    pub fn field(&self, structure: &str, path: &[&str]) -> Result<Option<Field>, BtfError> {
        let Some(mut id) = self.names.get(structure).copied() else { return Ok(None) };
        let mut found: Option<Field> = None;
        for name in path {
            let Some(field) = self.member(id, name, 0)? else { return Ok(None) };
            let base = found.map_or(0, |f| f.bit_offset);
            id = field.type_id;
            found = Some(Field { bit_offset: base + field.bit_offset, ..field });
        }
        Ok(found)
    }

    /// How many arguments a tracepoint hands over; None if this kernel has no such tracepoint.
    pub fn tracepoint_arguments(&self, tracepoint: &str) -> Result<Option<usize>, BtfError> {
        let Some(id) = self.names.get(&format!("btf_trace_{tracepoint}")).copied() else { return Ok(None) };
        let (at, kind, ..) = self.at(self.resolve(id)?)?;
        if kind != PTR {
            return Ok(None);
        }
        let (_, kind, vlen, _) = self.at(self.resolve(word(&self.bytes, at + 8)?)?)?;
        // The first parameter is the tracepoint's own `void *__data`.
        Ok((kind == FUNC_PROTO && vlen > 0).then(|| vlen - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_the_fields_that_every_kernel_has() {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        if !path.exists() {
            eprintln!("skipped: this kernel has no BTF");
            return;
        }
        let btf = Btf::read(path, |name| {
            matches!(name, "task_struct" | "sock" | "btf_trace_sched_switch" | "btf_trace_sys_enter")
        })
        .expect("readable");
        let pid = btf.field("task_struct", &["pid"]).expect("sound").expect("there");
        let tgid = btf.field("task_struct", &["tgid"]).expect("sound").expect("there");
        assert_eq!(tgid.byte(), pid.byte() + 4);
        assert_eq!(btf.field("task_struct", &["in_iowait"]).expect("sound").expect("there").bits, 1);
        let port = btf.field("sock", &["__sk_common", "skc_dport"]).expect("sound").expect("there");
        assert_eq!(port.byte(), 12);
        assert_eq!(btf.tracepoint_arguments("sys_enter").expect("sound"), Some(2));
        assert!(btf.tracepoint_arguments("sched_switch").expect("sound") >= Some(3));
        assert_eq!(btf.tracepoint_arguments("no_such").expect("sound"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [vec![], vec![0; 64], [&0xeb9f_u16.to_ne_bytes()[..], &[0xff; 40]].concat()] {
            assert!(Btf::parse(bytes, |_| true).is_err());
        }
    }
}

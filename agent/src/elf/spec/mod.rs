//! Where a USDT note says that its arguments are: `SIZE@OPERAND`, the size in bytes and negative if signed, the operand
//! as the assembler of the processor writes it. The compiler chose it, so that it can be anything an instruction may
//! name; what has more than one register, or none, is told to be unreadable and leaves the others their numbers.

mod aarch64;
mod x86_64;

use super::{Arch, Argument, Base, Unreadable};

/// What one note has at most.
const ARGUMENTS: usize = 12;

/// Where an operand's value is: the base, where in memory if it is there, and the width of a register that is the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operand {
    base: Base,
    at: Option<i32>,
    width: u8,
}

impl Operand {
    const fn constant(value: i64) -> Self {
        Self { base: Base::Constant(value), at: None, width: 8 }
    }

    const fn register(offset: u16, width: u8) -> Self {
        Self { base: Base::Register(offset), at: None, width }
    }

    const fn memory(register: u16, at: i32) -> Self {
        Self { base: Base::Register(register), at: Some(at), width: 8 }
    }
}

/// The arguments of a note.
pub(super) fn arguments(arch: Arch, text: &str) -> Vec<Argument> {
    let mut specs: Vec<(Size<'_>, String)> = Vec::new();
    for word in text.split_ascii_whitespace() {
        match (split(word), specs.last_mut()) {
            (Some((size, operand)), _) => specs.push((size, operand.to_owned())),
            // Some operands have spaces in them.
            (None, Some((_, operand))) => {
                operand.push(' ');
                operand.push_str(word);
            }
            (None, None) => specs.push((Size(""), word.to_owned())),
        }
    }
    specs.truncate(ARGUMENTS);
    specs.iter().map(|(size, operand)| argument(arch, *size, operand)).collect()
}

/// What stands before the `@`.
#[derive(Clone, Copy)]
struct Size<'a>(&'a str);

/// Whether a new argument begins with a word.
fn split(word: &str) -> Option<(Size<'_>, &str)> {
    let (size, operand) = word.split_once('@')?;
    let digits = size.strip_prefix('-').unwrap_or(size);
    let digits = digits.strip_suffix('f').unwrap_or(digits);
    let right = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    right.then_some((Size(size), operand))
}

fn argument(arch: Arch, size: Size<'_>, operand: &str) -> Argument {
    let unreadable = |why| Argument { base: Base::Unreadable(why), at: None, size: 8, signed: false };
    let (signed, digits) = match size.0.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, size.0),
    };
    if digits.ends_with('f') {
        return unreadable(Unreadable::Float);
    }
    let Some(size) = digits.parse().ok().filter(|size: &u8| matches!(size, 1 | 2 | 4 | 8)) else {
        return unreadable(Unreadable::Size);
    };
    let found = match arch {
        Arch::X86_64 => x86_64::operand(operand),
        Arch::Aarch64 => aarch64::operand(operand),
    };
    match found {
        Err(why) => unreadable(why),
        Ok(Operand { base: Base::Constant(value), .. }) => {
            Argument { base: Base::Constant(cut(value, size, signed)), at: None, size, signed }
        }
        // What a narrower name of the register leaves out is no part of the value.
        Ok(Operand { base, at, width }) => Argument { base, at, size: size.min(width), signed },
    }
}

/// The value as a variable of that size has it.
fn cut(value: i64, size: u8, signed: bool) -> i64 {
    let unused = 64 - 8 * u32::from(size);
    let high = value << unused;
    if signed { high >> unused } else { ((high as u64) >> unused) as i64 }
}

/// A number as assemblers write it; those above the largest signed one stand for their bits.
fn number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    if !digits.bytes().next()?.is_ascii_hexdigit() {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    match negative {
        false => Some(value as i64),
        true => 0_i64.checked_sub_unsigned(value),
    }
}

#[cfg(test)]
mod tests;

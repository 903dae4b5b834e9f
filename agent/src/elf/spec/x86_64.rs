//! Operands of x86-64 as the GNU assembler writes them: `%eax`, `$-5`, `-24(%rbp)`, `(%rax,%rbx,4)`, `name+8(%rip)`,
//! `%fs:16`.

use super::{Operand, Unreadable, number};
use crate::elf::arch::x86_64 as regs;

/// What a name stands for.
enum Register {
    /// Offset in `pt_regs`, and how many of its bytes the name means.
    General(u16, u8),
    Instruction,
    Unreadable(Unreadable),
}

pub(super) fn operand(text: &str) -> Result<Operand, Unreadable> {
    if let Some(constant) = text.strip_prefix('$') {
        let is_symbol = constant.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '.'));
        let why = if is_symbol { Unreadable::Symbol } else { Unreadable::Form };
        return number(constant).map(Operand::constant).ok_or(why);
    }
    if ["%fs:", "%gs:"].iter().any(|segment| text.starts_with(segment)) {
        return Err(Unreadable::ThreadLocal);
    }
    match text.split_once('(') {
        Some((displacement, inside)) => memory(displacement, inside),
        None if text.starts_with('%') => match register(text).ok_or(Unreadable::Form)? {
            Register::General(offset, width) => Ok(Operand::register(offset, width)),
            Register::Instruction => Err(Unreadable::Form),
            Register::Unreadable(why) => Err(why),
        },
        // Memory at a fixed address, which is another in every process.
        None if text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.')) => {
            Err(if text.contains(char::is_whitespace) { Unreadable::Form } else { Unreadable::Symbol })
        }
        None => Err(Unreadable::Form),
    }
}

fn memory(displacement: &str, inside: &str) -> Result<Operand, Unreadable> {
    let inside = inside.strip_suffix(')').ok_or(Unreadable::Form)?;
    let (base, index) = match inside.split_once(',') {
        Some((base, index)) => (base, Some(index)),
        None => (inside, None),
    };
    match register(base.trim()) {
        Some(Register::Instruction) => Err(Unreadable::Symbol),
        Some(Register::General(offset, 8)) if index.is_none() => Ok(Operand::memory(offset, sum(displacement)?)),
        Some(Register::General(_, 8)) => Err(Unreadable::Indexed),
        None if base.trim().is_empty() && index.is_some() => Err(Unreadable::Indexed),
        // An address of 32 bits is none of these programs.
        _ => Err(Unreadable::Form),
    }
}

/// A displacement is a sum, in which the compiler does not always do the additions: `-8+16`.
fn sum(text: &str) -> Result<i32, Unreadable> {
    if text.contains(|c: char| c.is_alphabetic() && !matches!(c, 'a'..='f' | 'A'..='F' | 'x' | 'X') || c == '_') {
        return Err(Unreadable::Symbol);
    }
    let (mut total, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let end = rest.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map_or(rest.len(), |(at, _)| at);
        let (part, behind) = rest.split_at(end);
        let part = number(part).ok_or(Unreadable::Form)?;
        total = total.checked_add(part).ok_or(Unreadable::Form)?;
        rest = behind;
    }
    i32::try_from(total).map_err(|_| Unreadable::Form)
}

fn register(text: &str) -> Option<Register> {
    let name = text.strip_prefix('%')?;
    if ["xmm", "ymm", "zmm", "mm", "st", "k"].iter().any(|kind| name.starts_with(kind)) {
        return Some(Register::Unreadable(Unreadable::Vector));
    }
    let general = |offset, width| Some(Register::General(offset, width));
    // The old ones: the letter that they have before their name says their width.
    let old = [
        ("ax", "al", regs::AX),
        ("bx", "bl", regs::BX),
        ("cx", "cl", regs::CX),
        ("dx", "dl", regs::DX),
        ("si", "sil", regs::SI),
        ("di", "dil", regs::DI),
        ("bp", "bpl", regs::BP),
        ("sp", "spl", regs::SP),
    ];
    for (word, byte, offset) in old {
        match name.strip_suffix(word) {
            Some("r") => return general(offset, 8),
            Some("e") => return general(offset, 4),
            Some("") => return general(offset, 2),
            _ if name == byte => return general(offset, 1),
            _ => {}
        }
    }
    if matches!(name, "ah" | "bh" | "ch" | "dh") {
        return Some(Register::Unreadable(Unreadable::HighByte));
    }
    if matches!(name, "rip" | "eip") {
        return Some(Register::Instruction);
    }
    let numbered = [regs::R8, regs::R9, regs::R10, regs::R11, regs::R12, regs::R13, regs::R14, regs::R15];
    let rest = name.strip_prefix('r')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, width) = rest.split_at(digits);
    let width = match width {
        "" => 8,
        "d" => 4,
        "w" => 2,
        "b" => 1,
        _ => return None,
    };
    let at = digits.parse::<usize>().ok()?.checked_sub(8)?;
    general(*numbered.get(at)?, width)
}

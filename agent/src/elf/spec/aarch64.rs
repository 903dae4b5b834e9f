//! Operands of arm64 as the GNU assembler writes them: `x0`, `w1`, `5`, `[sp, 12]`, `[x0, x1, lsl 3]`,
//! `[x0, :lo12:name]`.

use super::{Operand, Unreadable, number};
use crate::elf::arch::aarch64 as regs;

/// What a name stands for.
enum Register {
    /// Offset in `pt_regs`, and how many of its bytes the name means.
    General(u16, u8),
    /// The one that is always 0.
    Zero,
    Vector,
}

pub(super) fn operand(text: &str) -> Result<Operand, Unreadable> {
    if let Some(inside) = text.strip_prefix('[') {
        // Behind it stands what the instruction that does not exist would do to the register.
        return memory(inside.strip_suffix(']').ok_or(Unreadable::Form)?);
    }
    if let Some(value) = number(text.strip_prefix('#').unwrap_or(text)) {
        return Ok(Operand::constant(value));
    }
    match register(text) {
        Some(Register::General(offset, width)) => Ok(Operand::register(offset, width)),
        Some(Register::Zero) => Ok(Operand::constant(0)),
        Some(Register::Vector) => Err(Unreadable::Vector),
        None if text.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '.' | ':')) => {
            Err(Unreadable::Symbol)
        }
        None => Err(Unreadable::Form),
    }
}

fn memory(inside: &str) -> Result<Operand, Unreadable> {
    let (base, offset) = match inside.split_once(',') {
        Some((base, offset)) => (base.trim(), Some(offset.trim())),
        None => (inside.trim(), None),
    };
    let Some(Register::General(base, 8)) = register(base) else { return Err(Unreadable::Form) };
    let Some(offset) = offset else { return Ok(Operand::memory(base, 0)) };
    if let Some(value) = number(offset.strip_prefix('#').unwrap_or(offset)) {
        return i32::try_from(value).map(|at| Operand::memory(base, at)).map_err(|_| Unreadable::Form);
    }
    let first = offset.split([',', ' ']).next().unwrap_or_default();
    Err(match register(first) {
        Some(Register::General(..) | Register::Zero) => Unreadable::Indexed,
        Some(Register::Vector) => Unreadable::Form,
        None if first.starts_with(':') || first.starts_with(char::is_alphabetic) => Unreadable::Symbol,
        None => Unreadable::Form,
    })
}

fn register(name: &str) -> Option<Register> {
    match name {
        "sp" => return Some(Register::General(regs::SP, 8)),
        "wsp" => return Some(Register::General(regs::SP, 4)),
        "fp" => return Some(Register::General(29 * 8, 8)),
        "lr" => return Some(Register::General(30 * 8, 8)),
        "xzr" | "wzr" => return Some(Register::Zero),
        _ => {}
    }
    let (kind, digits) = name.split_at_checked(1)?;
    let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
    let number = digits.parse::<u16>().ok()?;
    match kind {
        "x" if number < regs::REGISTERS => Some(Register::General(number * 8, 8)),
        "w" if number < regs::REGISTERS => Some(Register::General(number * 8, 4)),
        "b" | "h" | "s" | "d" | "q" | "v" if number < 32 => Some(Register::Vector),
        _ => None,
    }
}

//! What differs between processors: the offsets of registers in `struct pt_regs`, and which of them hold arguments.

use object::elf::{EM_AARCH64, EM_X86_64};

use super::{Argument, Base};

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    Aarch64,
}

/// Of x86-64: `r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss`, eight bytes each.
pub mod x86_64 {
    pub const R15: u16 = 0;
    pub const R14: u16 = 8;
    pub const R13: u16 = 16;
    pub const R12: u16 = 24;
    pub const BP: u16 = 32;
    pub const BX: u16 = 40;
    pub const R11: u16 = 48;
    pub const R10: u16 = 56;
    pub const R9: u16 = 64;
    pub const R8: u16 = 72;
    pub const AX: u16 = 80;
    pub const CX: u16 = 88;
    pub const DX: u16 = 96;
    pub const SI: u16 = 104;
    pub const DI: u16 = 112;
    pub const SP: u16 = 152;
}

/// Of arm64 (`struct user_pt_regs`): 31 general registers of eight bytes, then the stack pointer.
pub mod aarch64 {
    pub const REGISTERS: u16 = 31;
    pub const SP: u16 = 8 * REGISTERS;
}

impl Arch {
    /// That which the agent runs on.
    #[cfg(target_arch = "x86_64")]
    pub const OWN: Self = Self::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub const OWN: Self = Self::Aarch64;

    pub(super) fn of_machine(machine: u16) -> Option<Self> {
        match machine {
            EM_X86_64 => Some(Self::X86_64),
            EM_AARCH64 => Some(Self::Aarch64),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86-64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The first six integers or pointers of a call: System V ABI of x86-64 (3.2.3), AAPCS64 (6.8.2).
    pub(super) fn arguments(self) -> Vec<Argument> {
        let offsets = match self {
            Self::X86_64 => [x86_64::DI, x86_64::SI, x86_64::DX, x86_64::CX, x86_64::R8, x86_64::R9],
            Self::Aarch64 => [0, 8, 16, 24, 32, 40],
        };
        offsets.map(whole).to_vec()
    }

    pub(super) fn returned(self) -> Argument {
        match self {
            Self::X86_64 => whole(x86_64::AX),
            Self::Aarch64 => whole(0),
        }
    }
}

fn whole(offset: u16) -> Argument {
    Argument { base: Base::Register(offset), at: None, size: 8, signed: false }
}

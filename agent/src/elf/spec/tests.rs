//! Arguments of USDT notes of both architectures, and any text.
use proptest::prelude::*;

use super::*;
use crate::elf::arch::x86_64 as x86;

fn register(offset: u16, size: u8, signed: bool) -> Argument {
    Argument { base: Base::Register(offset), at: None, size, signed }
}

fn memory(offset: u16, at: i32, size: u8, signed: bool) -> Argument {
    Argument { base: Base::Register(offset), at: Some(at), size, signed }
}

fn constant(value: i64, size: u8, signed: bool) -> Argument {
    Argument { base: Base::Constant(value), at: None, size, signed }
}

fn one(arch: Arch, text: &str) -> Argument {
    let all = arguments(arch, text);
    assert_eq!(all.len(), 1, "{text}");
    all[0]
}

#[test]
fn operands_of_x86_64() {
    let cases = [
        ("-4@%eax", register(x86::AX, 4, true)),
        ("4@%edi", register(x86::DI, 4, false)),
        ("8@%rbp", register(x86::BP, 8, false)),
        ("8@%rsp", register(x86::SP, 8, false)),
        ("2@%ax", register(x86::AX, 2, false)),
        ("1@%al", register(x86::AX, 1, false)),
        ("-1@%sil", register(x86::SI, 1, true)),
        ("1@%bpl", register(x86::BP, 1, false)),
        ("8@%r8", register(x86::R8, 8, false)),
        ("-4@%r9d", register(x86::R9, 4, true)),
        ("2@%r15w", register(x86::R15, 2, false)),
        ("1@%r12b", register(x86::R12, 1, false)),
        // The register's name says less than the size.
        ("8@%r12b", register(x86::R12, 1, false)),
        ("8@-24(%rbp)", memory(x86::BP, -24, 8, false)),
        ("8@(%rsp)", memory(x86::SP, 0, 8, false)),
        ("-4@0x10(%r13)", memory(x86::R13, 16, 4, true)),
        ("4@-8+16(%rbx)", memory(x86::BX, 8, 4, false)),
        ("4@$-5", constant(0xffff_fffb, 4, false)),
        ("-4@$-5", constant(-5, 4, true)),
        ("-4@$0xfffffffb", constant(-5, 4, true)),
        ("8@$18446744073709551615", constant(-1, 8, false)),
        ("-8@$-9223372036854775808", constant(i64::MIN, 8, true)),
        ("1@$256", constant(0, 1, false)),
    ];
    for (text, wanted) in cases {
        assert_eq!(one(Arch::X86_64, text), wanted, "{text}");
    }
}

#[test]
fn operands_of_arm64() {
    let cases = [
        ("8@x0", register(0, 8, false)),
        ("-4@w1", register(8, 4, true)),
        ("8@x30", register(240, 8, false)),
        ("8@sp", register(248, 8, false)),
        ("8@fp", register(232, 8, false)),
        ("4@[sp, 12]", memory(248, 12, 4, false)),
        ("4@[sp,12]", memory(248, 12, 4, false)),
        ("-8@[x19, #-16]", memory(152, -16, 8, true)),
        ("8@[x0]", memory(0, 0, 8, false)),
        ("4@5", constant(5, 4, false)),
        ("-4@-5", constant(-5, 4, true)),
        ("4@#5", constant(5, 4, false)),
        ("8@xzr", constant(0, 8, false)),
    ];
    for (text, wanted) in cases {
        assert_eq!(one(Arch::Aarch64, text), wanted, "{text}");
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    use Unreadable::*;
    let x86 = [
        ("8@(%rax,%rbx,4)", Indexed),
        ("8@16(%rax,%rbx)", Indexed),
        ("8@table(,%rax,8)", Indexed),
        ("8@name(%rip)", Symbol),
        ("8@name+8(%rip)", Symbol),
        ("8@name(%rax)", Symbol),
        ("8@$name", Symbol),
        ("8@name", Symbol),
        ("8@%fs:16", ThreadLocal),
        ("8@%fs:(%rax)", ThreadLocal),
        ("1@%ah", HighByte),
        ("8f@%xmm0", Float),
        ("-4f@%xmm0", Float),
        ("8@%xmm0", Vector),
        ("16@%rax", Size),
        ("3@%rax", Size),
        ("0@%rax", Size),
        ("999999999999999999999@%rax", Size),
        ("%rax", Size),
        ("8@", Form),
        ("8@%", Form),
        ("8@%rfoo", Form),
        ("8@%r16", Form),
        ("8@%r7", Form),
        ("8@%rip", Form),
        ("8@(%rax", Form),
        ("8@-(%rax)", Form),
        ("8@1 2(%rax)", Form),
        ("8@99999999999(%rax)", Form),
        ("8@(%eax)", Form),
        ("8@QWORD PTR [rbp-8]", Form),
    ];
    let arm64 = [
        ("8@[x0, x1, lsl 3]", Indexed),
        ("8@[x0, w1, sxtw]", Indexed),
        ("8@[x0, :lo12:name]", Symbol),
        ("8@name", Symbol),
        ("8@d0", Vector),
        ("8f@d0", Float),
        ("8@[x0, 8]!", Form),
        ("8@[x0], 8", Form),
        ("8@[w0]", Form),
        ("8@[", Form),
        ("8@x31", Symbol),
        ("8@é", Symbol),
        ("8@", Form),
    ];
    let x86 = x86.map(|(text, why)| (Arch::X86_64, text, why));
    for (arch, text, why) in x86.into_iter().chain(arm64.map(|(text, why)| (Arch::Aarch64, text, why))) {
        assert_eq!(one(arch, text).base, Base::Unreadable(why), "{text}");
    }
}

#[test]
fn arguments_keep_their_numbers_beside_one_that_cannot_be_read() {
    let all = arguments(Arch::X86_64, " 8@%rdi  4@(%rax,%rbx,4) -4@$7 ");
    assert_eq!([all[0], all[2]], [register(x86::DI, 8, false), constant(7, 4, true)]);
    assert_eq!(all[1].base, Base::Unreadable(Unreadable::Indexed));
    assert_eq!(all.len(), 3);
    let spaced = arguments(Arch::Aarch64, "8@[x0, x1, lsl 3] 4@[sp, 12] 8@x2");
    assert_eq!(spaced[1..], [memory(248, 12, 4, false), register(16, 8, false)]);
    let intel = arguments(Arch::X86_64, "8@QWORD PTR [rbp-8] 4@%eax");
    assert_eq!(intel[1..], [register(x86::AX, 4, false)]);
    assert_eq!(arguments(Arch::X86_64, ""), []);
    assert_eq!(arguments(Arch::X86_64, &"8@%rdi ".repeat(100)).len(), 12);
}

fn is_sound(arch: Arch, argument: &Argument) -> bool {
    let end = match arch {
        Arch::X86_64 => 21 * 8,
        Arch::Aarch64 => 32 * 8,
    };
    let base = match argument.base {
        Base::Register(offset) => offset % 8 == 0 && offset < end,
        Base::Constant(value) => argument.at.is_none() && cut(value, argument.size, argument.signed) == value,
        Base::Unreadable(_) => argument.at.is_none(),
    };
    base && matches!(argument.size, 1 | 2 | 4 | 8)
}

proptest! {
    #[test]
    fn any_text_gives_arguments_that_can_be_used(text in "[-0-9a-z@%$()\\[\\], +:#!.é]{0,80}") {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            prop_assert!(arguments(arch, &text).iter().all(|argument| is_sound(arch, argument)));
        }
    }

    #[test]
    fn what_is_written_is_read(size in prop::sample::select(vec![1_u8, 2, 4, 8]), signed: bool, at: i32, n in 0_u16..31) {
        let sign = if signed { "-" } else { "" };
        let x86 = one(Arch::X86_64, &format!("{sign}{size}@{at}(%r12)"));
        prop_assert_eq!(x86, memory(x86::R12, at, size, signed));
        let arm64 = one(Arch::Aarch64, &format!("{sign}{size}@[x{n}, {at}]"));
        prop_assert_eq!(arm64, memory(8 * n, at, size, signed));
        let value = one(Arch::X86_64, &format!("{sign}{size}@${at}"));
        prop_assert_eq!(value, constant(cut(i64::from(at), size, signed), size, signed));
    }
}

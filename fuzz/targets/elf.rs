//! ELF files and arguments of USDT notes: a place is within the file, a register within those that there are. The input is a
//! file behind its first byte: the kept ones are tables of some hundred bytes made by hand, and no programs.
#![no_main]

use agent::elf::{Arch, Base, Target, arguments, sites_in};
use libfuzzer_sys::fuzz_target;

fn readable(arch: Arch, text: &str) {
    let end = match arch {
        Arch::X86_64 => 21 * 8,
        Arch::Aarch64 => 32 * 8,
    };
    let all = arguments(arch, text);
    assert!(all.len() <= 12);
    for argument in all {
        assert!(matches!(argument.size, 1 | 2 | 4 | 8));
        match argument.base {
            Base::Register(offset) => assert!(offset < end && offset % 8 == 0),
            Base::Constant(_) | Base::Unreadable(_) => assert_eq!(argument.at, None),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let file = [b"\x7f", input].concat();
    let targets = [
        Target::Function { symbol: "begin" },
        Target::Function { symbol: "f@V1" },
        Target::Function { symbol: "engine::step" },
        Target::Usdt { provider: "demo", name: "request" },
    ];
    for target in targets {
        match sites_in(&file, target) {
            Ok(sites) => {
                assert!(!sites.is_empty());
                for site in sites {
                    assert!(site.file_offset.max(site.semaphore_offset.unwrap_or(0)) < file.len() as u64);
                }
            }
            Err(error) => assert!(!error.to_string().contains(char::is_control)),
        }
    }
    let text = String::from_utf8_lossy(input);
    readable(Arch::X86_64, &text);
    readable(Arch::Aarch64, &text);
});

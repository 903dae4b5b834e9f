//! Files made by hand: prelinked, lying, cut short, of another kind, of any bytes.
mod made;

use object::elf::{EM_AARCH64, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT, STT_TLS};
use proptest::prelude::*;

use super::file::PIECE_BYTES;
use super::*;
use made::{CODE, CODE_AT, DATA, DATA_AT, Made, PART_BYTES};

const REQUEST: Target<'_> = Target::Usdt { provider: "demo", name: "request" };

fn function<'a>(symbol: &'a str) -> Target<'a> {
    Target::Function { symbol }
}

fn offsets(made: &Made, target: Target<'_>) -> Vec<u64> {
    sites_in(&made.bytes(), target).unwrap().iter().map(|site| site.file_offset).collect()
}

fn refused(made: &Made, target: Target<'_>) -> String {
    sites_in(&made.bytes(), target).unwrap_err().to_string()
}

#[test]
fn what_a_function_returns_is_where_its_processor_has_it() {
    let base = match Arch::OWN {
        Arch::X86_64 => Base::Register(80),
        Arch::Aarch64 => Base::Register(0),
    };
    assert_eq!(returned(), Argument { base, at: None, size: 8, signed: false });
}

#[test]
fn arguments_of_functions_are_where_each_processor_has_them() {
    let mut made = Made::default();
    made.function("f", CODE);
    let bases = |made: &Made| {
        let sites = sites_in(&made.bytes(), function("f")).unwrap();
        sites[0].arguments.iter().map(|argument| argument.base).collect::<Vec<_>>()
    };
    assert_eq!(bases(&made), [112, 104, 96, 88, 72, 64].map(Base::Register));
    made.machine = EM_AARCH64;
    assert_eq!(bases(&made), [0, 8, 16, 24, 32, 40].map(Base::Register));
}

#[test]
fn probes_of_a_file_that_was_moved_after_it_was_linked_are_where_it_was_moved_to() {
    let mut made = Made { base: CODE + 0x900, ..Made::default() };
    made.note([CODE - 0x700 + 8, CODE + 0x200, DATA - 0x700 + 6], "demo\0request\08@%rdi 4@8(%rsp)");
    // Of the time before such moves.
    made.note([CODE + 16, 0, 0], "demo\0request\0");
    let sites = sites_in(&made.bytes(), REQUEST).unwrap();
    assert_eq!((sites[0].file_offset, sites[0].semaphore_offset), (CODE_AT + 8, Some(DATA_AT + 6)));
    assert_eq!((sites[0].arguments.len(), sites[0].arguments[1].at), (2, Some(8)));
    assert_eq!((sites[1].file_offset, sites[1].semaphore_offset), (CODE_AT + 16, None));
    // The file has no such section: nothing says that it moved.
    let mut unmoved = Made::default();
    unmoved.note([CODE + 8, 0x1234, DATA], "demo\0request\0");
    assert_eq!(offsets(&unmoved, REQUEST), [CODE_AT + 8]);
}

#[test]
fn notes_that_lie_are_refused() {
    for (addresses, strings, why) in [
        ([DATA, 0, 0], "demo\0request\0", "not where there is code"),
        ([CODE + PART_BYTES, 0, 0], "demo\0request\0", "not where there is code"),
        ([CODE, 0, CODE], "demo\0request\0", "not where there is data"),
        // Not in the file, but zeroed memory behind it.
        ([CODE, 0, DATA + PART_BYTES], "demo\0request\0", "not where there is data"),
        ([u64::MAX, 1, u64::MAX], "demo\0request\0", "not where there is code"),
        ([CODE, 0, 0], "demo\0request", "ends in the middle"),
    ] {
        let mut made = Made::default();
        made.note(addresses, strings);
        let told = refused(&made, REQUEST);
        assert!(told.contains(why), "{strings:?}: {told}");
    }
    let mut made = Made::default();
    made.note([CODE, 0, 0], "demo\0request\0");
    made.notes.truncate(made.notes.len() - 4);
    assert!(refused(&made, REQUEST).contains("end in the middle"));
}

#[test]
fn of_other_notes_and_copies_nothing_comes() {
    let mut made = Made::default();
    made.note([CODE, 0, 0], "demo\0request\0");
    made.note([CODE, 0, 0], "demo\0request\0");
    made.note([CODE + 1, 0, 0], "other\0request\0");
    let kept = made.notes.len();
    made.note([CODE + 2, 0, 0], "demo\0request\0");
    made.notes[kept + 8] = 2;
    assert_eq!(offsets(&made, REQUEST), [CODE_AT]);
    assert!(refused(&made, Target::Usdt { provider: "demo", name: "reqest" }).contains("it has demo:request, "));
    made.note([CODE, 0, 0], "a\x1b[2J\nb\0c\0");
    let told = refused(&made, Target::Usdt { provider: "demo", name: "" });
    assert!(!told.contains(['\x1b', '\n']), "{told}");
}

#[test]
fn there_is_an_end_to_places_of_one_name() {
    let (mut some, mut many) = (Made::default(), Made::default());
    for at in 0..SITES as u64 + 1 {
        let made = if at < SITES as u64 { &mut some } else { &mut many };
        made.note([CODE + at, 0, 0], "demo\0request\0");
        made.function("f", CODE + at);
    }
    assert_eq!((offsets(&some, REQUEST).len(), offsets(&some, function("f")).len()), (SITES, SITES));
    some.notes.extend(&many.notes);
    some.function("f", CODE + SITES as u64);
    assert!(refused(&some, REQUEST).contains("more than 1024"));
    assert!(refused(&some, function("f")).contains("more than 1024"));
}

#[test]
fn symbols_are_what_they_are() {
    let mut made = Made { dynamic: true, ..Made::default() };
    let at = made.names.len() as u32;
    made.names.extend(b"the_begin\0f@@V1\0f@V2\0");
    made.symbol(at, STT_FUNC, 1, CODE + 1);
    // Names share their ends.
    made.symbol(at + 4, STT_FUNC, 1, CODE + 2);
    made.symbol(at + 10, STT_FUNC, 1, CODE + 3);
    made.symbol(at + 16, STT_NOTYPE, 1, CODE + 4);
    assert_eq!(offsets(&made, function("the_begin")), [CODE_AT + 1]);
    assert_eq!(offsets(&made, function("begin")), [CODE_AT + 2]);
    assert_eq!(offsets(&made, function("f")), [CODE_AT + 3, CODE_AT + 4]);
    assert_eq!(offsets(&made, function("f@V1")), [CODE_AT + 3]);
    assert_eq!(offsets(&made, function("f@@V2")), [CODE_AT + 4]);
    assert!(refused(&made, function("n")).contains("stripped"));
    for (kind, section, address, why) in [
        (STT_FUNC, 0, 0, "only calls other"),
        (STT_GNU_IFUNC, 1, CODE, "IFUNC"),
        (STT_OBJECT, 2, DATA, "is no function"),
        (STT_TLS, 2, 0, "is no function"),
        (STT_FUNC, 1, DATA, "is no function"),
        (STT_FUNC, 1, CODE + PART_BYTES, "is no function"),
        (STT_FUNC, 0xfff1, CODE, "is no function"),
    ] {
        let mut made = made.clone();
        let at = made.names.len() as u32;
        made.names.extend(b"other\0");
        made.symbol(at, kind, section, address);
        let told = refused(&made, function("other"));
        assert!(told.contains(why), "{why}: {told}");
    }
    for name in ["", "a\nb", "a\0b", &"a".repeat(5000)] {
        assert!(refused(&made, function(name)).contains("no name of a function"));
    }
}

#[test]
fn names_and_symbols_at_the_seams_of_what_is_read_at_once_are_found() {
    // The table of names is written so that one is at every place around a seam; that of symbols has three pieces.
    for back in [0, 1, 4, 5, 6, 7] {
        let mut made = Made::default();
        while (made.names.len() as u64) < PIECE_BYTES - 40 {
            made.names.extend(b"filler_filler\0");
        }
        made.names.resize((PIECE_BYTES - back) as usize, b'x');
        *made.names.last_mut().unwrap() = 0;
        while (made.symbols.len() as u64) < 2 * PIECE_BYTES {
            made.symbol(1, STT_FUNC, 1, CODE + 64);
        }
        made.function("begin", CODE + 7);
        made.function("_ZN6engine4stepEi", CODE + 9);
        assert_eq!(offsets(&made, function("begin")), [CODE_AT + 7], "{back}");
        assert_eq!(offsets(&made, function("engine::step")), [CODE_AT + 9], "{back}");
        assert!(refused(&made, function("bgin")).contains("did you mean begin"), "{back}");
    }
}

#[test]
fn what_is_written_in_rust_is_found_without_its_hash() {
    let mut made = Made::default();
    made.function("_ZN6engine7sampler4pick17h0123456789abcdefE", CODE);
    made.function("_RNvCs15kBYyAo9fc_7mycrate7example", CODE + 1);
    assert_eq!(offsets(&made, function("engine::sampler::pick")), [CODE_AT]);
    assert_eq!(offsets(&made, function("mycrate::example")), [CODE_AT + 1]);
    made.function("_ZN6engine7sampler4pick17hfedcba9876543210E", CODE + 2);
    assert!(refused(&made, function("engine::sampler::pick")).contains("can be several functions"));
}

#[test]
fn parts_that_a_compiler_cut_off_a_function_are_not_taken_for_it() {
    let mut made = Made::default();
    made.function("_ZN6engine4stepEi.cold", CODE);
    made.function("_ZN6engine4stepEi", CODE + 1);
    made.function("_ZN6engine4stopEv.llvm.123", CODE + 2);
    assert_eq!(offsets(&made, function("engine::step")), [CODE_AT + 1]);
    assert_eq!(offsets(&made, function("engine::step(int)")), [CODE_AT + 1]);
    assert_eq!(offsets(&made, function("engine::stop")), [CODE_AT + 2]);
    assert_eq!(offsets(&made, function("_ZN6engine4stepEi.cold")), [CODE_AT]);
}

#[test]
fn names_that_mean_far_more_than_they_say_are_left_alone() {
    let mut made = Made::default();
    // Each pair of parameters is twice the one before.
    let doubled: String = (0..60).map(|n| format!("St4pairIS{n:X}_S{n:X}_E")).collect();
    made.function(&format!("_Z4begin{doubled}"), CODE);
    made.function(&format!("_Z5begin{}i", "P".repeat(4000)), CODE);
    made.function("begins", CODE);
    assert!(refused(&made, function("begin")).contains("did you mean begins"));
}

#[test]
fn sizes_that_no_file_has_are_not_believed() {
    let mut made = Made::default();
    made.function("f", CODE);
    made.note([CODE, 0, 0], "demo\0request\0");
    let bytes = made.bytes();
    let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    for section in 1..6 {
        // Offset, size and both.
        for fields in [&[24][..], &[32], &[24, 32]] {
            for value in [1 << 30, 1 << 60, u64::MAX, u64::MAX - 23] {
                let mut bytes = bytes.clone();
                for field in fields {
                    let at = table + 64 * section + field;
                    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                }
                let both = [sites_in(&bytes, function("f")), sites_in(&bytes, REQUEST)];
                let wrong = both.iter().filter(|sites| matches!(sites, Err(Error::Broken(_)))).count();
                assert!(wrong > 0 || section == 2, "{section} {fields:?} {value:x}: {both:?}");
            }
        }
    }
}

fn sample() -> Vec<u8> {
    let mut made = Made { base: CODE + 0x900, ..Made::default() };
    made.note([CODE + 8, CODE + 0x900, DATA + 6], "demo\0request\0-4@%edi 8@$-5 8@(%rax,%rbx,4)");
    made.note([CODE + 9, CODE + 0x900, 0], "demo\0idle\0");
    made.function("begin", CODE + 7);
    made.function("_ZN6engine4stepEi", CODE + 9);
    made.function("f@@V1", CODE + 3);
    made.bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_give_places_inside_the_file_or_a_reason(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        end in any::<prop::sample::Index>(),
        cut: bool,
    ) {
        let mut bytes = sample();
        // What is not code or data, where all are zeros.
        let places: Vec<usize> = (0..0xb0).chain((DATA_AT + PART_BYTES) as usize..bytes.len()).collect();
        for (at, value) in changes {
            bytes[*at.get(&places)] = value;
        }
        if cut {
            bytes.truncate(*end.get(&places));
        }
        for target in [REQUEST, function("begin"), function("engine::step"), function("f@V1"), function("begun")] {
            match sites_in(&bytes, target) {
                Ok(sites) => for site in sites {
                    let last = site.semaphore_offset.unwrap_or_default().max(site.file_offset);
                    prop_assert!(last < bytes.len() as u64);
                },
                Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
            }
        }
    }
}

use super::*;

#[test]
fn what_a_function_returns_is_where_its_processor_has_it() {
    let base = match Arch::OWN {
        Arch::X86_64 => Base::Register(80),
        Arch::Aarch64 => Base::Register(0),
    };
    assert_eq!(returned(), Argument { base, at: None, size: 8, signed: false });
}

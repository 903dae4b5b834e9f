//! Where the values of an event are: from a tracepoint's description, or from what a file says of an argument.

use inferscope_abi::{
    PLACE_COMM, PLACE_CONSTANT, PLACE_CONTEXT, PLACE_CPU, PLACE_DATA_LOC, PLACE_MEMORY, PLACE_REL_LOC, PLACE_SIGNED,
    PLACE_TEXT, PLACE_USER_TEXT, Place,
};

use super::from::{Operand, Reading};
use crate::{
    elf::{Argument, Base},
    probe::tracefs::{Field, Format},
};

const NUMBERS: [u32; 4] = [1, 2, 4, 8];

/// Whether a place holds a text.
pub fn is_text(place: &Place) -> bool {
    place.flags & PLACE_USER_TEXT != 0 || matches!(place.from, PLACE_COMM | PLACE_TEXT | PLACE_DATA_LOC | PLACE_REL_LOC)
}

/// Places that are the same for all events.
fn everywhere(operand: &Operand) -> Option<Place> {
    match operand {
        Operand::Comm => Some(Place { from: PLACE_COMM, size: 8, ..Place::default() }),
        Operand::Cpu => Some(Place { from: PLACE_CPU, size: 4, ..Place::default() }),
        _ => None,
    }
}

/// In the record of the tracepoint `category:...`. `figure`: it is to be the value. Errors: in words, with what there is.
pub fn in_record(format: &Format, category: &str, operand: &Operand, figure: bool) -> Result<Place, String> {
    let Operand::Field { name, text } = operand else {
        return everywhere(operand).ok_or_else(|| "a tracepoint has fields".to_owned());
    };
    let field = format.fields.iter().find(|field| field.name == *name).ok_or_else(|| {
        let names: Vec<&str> = format.fields.iter().map(|field| field.name.as_str()).collect();
        format!("the tracepoint has no field `{name}`; there are: {}", names.join(", "))
    })?;
    let place = of_field(field, category, *text)?;
    if figure && is_text(&place) {
        return Err(format!("the field `{name}` is a text (`{}`), and no value: take it for a label", field.kind));
    }
    Ok(place)
}

fn of_field(field: &Field, category: &str, text: bool) -> Result<Place, String> {
    let Field { name, kind, elements, offset, size, signed } = field;
    let at = |from, size: u32, flags| Place { from, size: size as u8, flags, offset: *offset, ..Place::default() };
    let chars = kind.contains("char");
    if kind.starts_with("__data_loc") && chars {
        return Ok(at(PLACE_DATA_LOC, 4, 0));
    }
    if kind.starts_with("__rel_loc") && chars {
        return Ok(at(PLACE_REL_LOC, 4, 0));
    }
    if elements.is_some() && chars && !kind.contains('*') {
        return Ok(at(PLACE_TEXT, 1, 0));
    }
    if kind.ends_with('*') && text && category == "syscalls" {
        return Ok(at(PLACE_CONTEXT, 8, PLACE_USER_TEXT));
    }
    if kind.contains('*') {
        let text =
            if category == "syscalls" { format!("; `field.{name}:string` is the text there") } else { String::new() };
        return Err(format!("the field `{name}` is an address (`{kind}`), which tells nothing{text}"));
    }
    if text {
        return Err(format!("the field `{name}` is no text but `{kind}`"));
    }
    if elements.is_some() || kind.starts_with("__") && kind.contains("_loc") || !NUMBERS.contains(size) {
        return Err(format!("the field `{name}` is neither a number nor a text but `{kind}` of {size} bytes"));
    }
    Ok(at(PLACE_CONTEXT, *size, if *signed { PLACE_SIGNED } else { 0 }))
}

/// Where a probe in a program has what is asked for: `arguments` are those of this very place. Errors: in words.
pub fn in_program(arguments: &[Argument], returned: &Argument, operand: &Operand) -> Result<Place, String> {
    let (argument, read) = match operand {
        Operand::Argument { index, read } => {
            let argument = arguments
                .get(*index)
                .ok_or_else(|| format!("the probe has no arg{index}: it has {} argument(s)", arguments.len()))?;
            (argument, *read)
        }
        Operand::Returned { read } => (returned, *read),
        other => return everywhere(other).ok_or_else(|| "a probe in a program has arguments".to_owned()),
    };
    let mut place = match argument.base {
        Base::Register(offset) => Place { from: PLACE_CONTEXT, offset: offset.into(), ..Place::default() },
        Base::Constant(number) => Place { from: PLACE_CONSTANT, number: number as u64, ..Place::default() },
        Base::Unreadable(reason) => return Err(format!("an argument of the probe cannot be read: {reason}")),
    };
    (place.size, place.flags) = match read {
        Reading::Given => (argument.size, if argument.signed { PLACE_SIGNED } else { 0 }),
        Reading::Number { size, signed } => (size, if signed { PLACE_SIGNED } else { 0 }),
        // An address, however wide the argument that holds it is said to be.
        Reading::Text => (argument.size, PLACE_USER_TEXT),
    };
    if let (Some(at), Base::Register(_)) = (argument.at, argument.base) {
        place.flags |= PLACE_MEMORY;
        place.number = i64::from(at) as u64;
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: &str, elements: Option<usize>, size: u32) -> Field {
        Field { name: "f".into(), kind: kind.into(), elements, offset: 16, size, signed: kind == "int" }
    }

    fn place(category: &str, field: Field, text: bool, figure: bool) -> Result<Place, String> {
        let format = Format { id: 1, fields: vec![field] };
        in_record(&format, category, &Operand::Field { name: "f".into(), text }, figure)
    }

    #[test]
    fn fields_of_tracepoints() {
        let of = |kind: &str, elements, size| place("sched", field(kind, elements, size), false, false);
        assert_eq!(
            of("int", None, 4).unwrap(),
            Place { from: PLACE_CONTEXT, size: 4, flags: PLACE_SIGNED, offset: 16, ..Place::default() }
        );
        assert_eq!(of("unsigned long", None, 8).unwrap().flags, 0);
        assert_eq!(of("char", Some(16), 16).unwrap().from, PLACE_TEXT);
        assert_eq!(of("__data_loc char[]", None, 4).unwrap().from, PLACE_DATA_LOC);
        assert_eq!(of("__rel_loc char[]", None, 4).unwrap().from, PLACE_REL_LOC);
        let file = place("syscalls", field("const char *", None, 8), true, false).unwrap();
        assert_eq!((file.from, file.flags), (PLACE_CONTEXT, PLACE_USER_TEXT));
        for (category, given, text, figure, reason) in [
            ("sched", field("const void *", None, 8), false, false, "is an address"),
            ("sched", field("const char *", None, 8), true, false, "is an address"),
            ("syscalls", field("const char *", None, 8), false, true, "field.f:string"),
            ("sched", field("unsigned long", Some(6), 48), false, false, "neither a number"),
            ("sched", field("struct x", None, 24), false, false, "neither a number"),
            ("sched", field("char", Some(16), 16), false, true, "is a text"),
            ("sched", field("int", None, 4), true, false, "is no text"),
        ] {
            let said = place(category, given.clone(), text, figure).unwrap_err();
            assert!(said.contains(reason), "{given:?}: {said}");
        }
        let format = Format { id: 1, fields: vec![field("int", None, 4)] };
        let missing = Operand::Field { name: "g".into(), text: false };
        assert!(in_record(&format, "sched", &missing, false).unwrap_err().contains("there are: f"));
    }

    #[test]
    fn arguments_of_programs() {
        let register = |at, size, signed| Argument { base: Base::Register(104), at, size, signed };
        let given = [register(None, 8, false), register(Some(-8), 4, true)];
        let constant = Argument { base: Base::Constant(-3), at: None, size: 4, signed: true };
        let of = |index, read| in_program(&given, &constant, &Operand::Argument { index, read });
        assert_eq!(
            of(0, Reading::Given).unwrap(),
            Place { from: PLACE_CONTEXT, size: 8, offset: 104, ..Place::default() }
        );
        let memory = of(1, Reading::Given).unwrap();
        assert_eq!((memory.flags, memory.number as i64, memory.size), (PLACE_SIGNED | PLACE_MEMORY, -8, 4));
        let narrow = of(0, Reading::Number { size: 4, signed: true }).unwrap();
        assert_eq!((narrow.size, narrow.flags), (4, PLACE_SIGNED));
        assert_eq!(of(0, Reading::Text).unwrap().flags, PLACE_USER_TEXT);
        assert!(of(2, Reading::Given).unwrap_err().contains("it has 2 argument(s)"));
        let returned = in_program(&given, &constant, &Operand::Returned { read: Reading::Given }).unwrap();
        assert_eq!((returned.from, returned.number as i64), (PLACE_CONSTANT, -3));
    }
}

//! The words of `from`, and of values and labels of metrics that have one: which tracepoint or which place in which
//! program, and what of it. Checks what can be told without looking at the host.

use std::path::PathBuf;

/// Where events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    Tracepoint { category: String, name: String },
    Function { file: File, symbol: String, returns: bool },
    Usdt { file: File, provider: String, name: String },
}

/// A file of programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    /// Of the host, whoever maps it.
    Path(PathBuf),
    /// The watched processes' library of this name, such as `libcuda.so.1`.
    Library(String),
    /// The watched processes' own programs.
    Executable,
}

/// What of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A field of a tracepoint.
    Field {
        name: String,
        text: bool,
    },
    /// Of a function or of a USDT probe, from 0.
    Argument {
        index: usize,
        read: Reading,
    },
    /// What a function returned.
    Returned {
        read: Reading,
    },
    Comm,
    Cpu,
}

/// How an argument is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As a register of it, or as the USDT probe says.
    Given,
    /// A number of so many bytes.
    Number { size: u8, signed: bool },
    /// The address of a text.
    Text,
}

const FORMS: &str = "\"tracepoint:CATEGORY:NAME\", \"uprobe:FILE:FUNCTION\", \"uretprobe:FILE:FUNCTION\" or \
                     \"usdt:FILE:PROVIDER:NAME\"";
const READINGS: [(&str, Reading); 9] = [
    ("i8", Reading::Number { size: 1, signed: true }),
    ("u8", Reading::Number { size: 1, signed: false }),
    ("i16", Reading::Number { size: 2, signed: true }),
    ("u16", Reading::Number { size: 2, signed: false }),
    ("i32", Reading::Number { size: 4, signed: true }),
    ("u32", Reading::Number { size: 4, signed: false }),
    ("i64", Reading::Number { size: 8, signed: true }),
    ("u64", Reading::Number { size: 8, signed: false }),
    ("string", Reading::Text),
];
/// Arguments of a function that are in registers on every processor; a USDT probe has twelve at most.
const FUNCTION_ARGUMENTS: usize = 6;
const USDT_ARGUMENTS: usize = 12;

impl From {
    /// Errors: in words, with what it takes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        if parts.iter().any(|part| part.is_empty() || part.chars().any(char::is_control)) {
            return Err(format!("`{text}` is no place for a probe: there are {FORMS}"));
        }
        match parts.as_slice() {
            ["tracepoint", category, name] => {
                let plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
                if !plain(category) || !plain(name) {
                    return Err(format!("`{text}`: names of tracepoints are letters, digits and _"));
                }
                Ok(From::Tracepoint { category: (*category).to_owned(), name: (*name).to_owned() })
            }
            [kind @ ("uprobe" | "uretprobe"), file, symbol] => Ok(From::Function {
                file: File::parse(file)?,
                symbol: (*symbol).to_owned(),
                returns: *kind == "uretprobe",
            }),
            ["usdt", file, provider, name] => {
                Ok(From::Usdt { file: File::parse(file)?, provider: (*provider).to_owned(), name: (*name).to_owned() })
            }
            _ => Err(format!("`{text}` is no place for a probe: there are {FORMS}")),
        }
    }

    /// The file, if it is in one.
    pub fn file(&self) -> Option<&File> {
        match self {
            From::Tracepoint { .. } => None,
            From::Function { file, .. } | From::Usdt { file, .. } => Some(file),
        }
    }

    /// What of an event `text` names. Errors: in words, with what there is.
    pub fn operand(&self, text: &str) -> Result<Operand, String> {
        match text {
            "comm" => return Ok(Operand::Comm),
            "cpu" => return Ok(Operand::Cpu),
            _ => {}
        }
        let (name, read) = match text.split_once(':') {
            None => (text, Reading::Given),
            Some((name, reading)) => {
                let known = READINGS.iter().find(|(known, _)| *known == reading);
                let known = known.ok_or_else(|| {
                    format!("`{text}`: `{reading}` is no way to read it; there are i8 to i64, u8 to u64 and string")
                })?;
                (name, known.1)
            }
        };
        let index = || name.strip_prefix("arg")?.parse::<usize>().ok();
        match self {
            From::Tracepoint { .. } => match (name.strip_prefix("field."), read) {
                (Some(field), Reading::Given | Reading::Text) if !field.is_empty() => {
                    Ok(Operand::Field { name: field.to_owned(), text: read == Reading::Text })
                }
                (Some(field), _) if !field.is_empty() => {
                    Err(format!("`{text}`: the kernel says how a field is to be read"))
                }
                _ => Err(format!("`{text}` is nothing of a tracepoint: there are field.NAME, comm and cpu")),
            },
            From::Function { returns: true, .. } => match name {
                "ret" => Ok(Operand::Returned { read }),
                _ => Err(format!("`{text}` is nothing of a function's return: there are ret, comm and cpu")),
            },
            From::Function { .. } => match index() {
                Some(index) if index < FUNCTION_ARGUMENTS => Ok(Operand::Argument { index, read }),
                _ => Err(format!("`{text}` is nothing of a function's call: there are arg0 to arg5, comm and cpu")),
            },
            From::Usdt { .. } => match index() {
                Some(index) if index < USDT_ARGUMENTS => Ok(Operand::Argument { index, read }),
                _ => Err(format!("`{text}` is nothing of a USDT probe: there are arg0 to arg11, comm and cpu")),
            },
        }
    }
}

impl File {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "exe" {
            return Ok(File::Executable);
        }
        if text.starts_with('/') {
            return Ok(File::Path(text.into()));
        }
        if text.contains('/') || !text.contains(".so") {
            return Err(format!(
                "`{text}` is no file of programs: an absolute path, the name of a library such as `libcuda.so.1`, or \
                 `exe` for the programs of watched processes"
            ));
        }
        Ok(File::Library(text.to_owned()))
    }
}

impl Operand {
    /// Whether it can be only a label.
    pub fn is_text(&self) -> bool {
        match self {
            Operand::Comm => true,
            Operand::Field { text, .. } => *text,
            Operand::Argument { read, .. } | Operand::Returned { read } => *read == Reading::Text,
            Operand::Cpu => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_form() {
        let file = |text: &str| match From::parse(text).unwrap() {
            From::Function { file, symbol, returns } => (file, symbol, returns),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            From::parse("tracepoint:sched:sched_switch").unwrap(),
            From::Tracepoint { category: "sched".into(), name: "sched_switch".into() }
        );
        assert_eq!(
            file("uprobe:/usr/lib/libc.so.6:malloc"),
            (File::Path("/usr/lib/libc.so.6".into()), "malloc".into(), false)
        );
        assert_eq!(
            file("uretprobe:libcuda.so.1:cuMemAlloc_v2"),
            (File::Library("libcuda.so.1".into()), "cuMemAlloc_v2".into(), true)
        );
        assert_eq!(file("uprobe:exe:main").0, File::Executable);
        assert_eq!(
            From::parse("usdt:libpython3.13.so.1.0:python:gc__start").unwrap(),
            From::Usdt {
                file: File::Library("libpython3.13.so.1.0".into()),
                provider: "python".into(),
                name: "gc__start".into()
            }
        );
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "is no place for a probe"),
            ("kprobe:do_sys_open", "is no place for a probe"),
            ("tracepoint:sched", "is no place for a probe"),
            ("tracepoint:sched:", "is no place for a probe"),
            ("tracepoint:..:x/y", "letters, digits"),
            ("uprobe:libc:malloc", "is no file of programs"),
            ("uprobe:bin/x:main", "is no file of programs"),
            ("usdt:exe:p", "is no place for a probe"),
        ] {
            let said = From::parse(text).unwrap_err();
            assert!(said.contains(reason), "{text}: {said}");
        }
        for (from, operand, reason) in [
            ("tracepoint:a:b", "arg0", "field.NAME"),
            ("tracepoint:a:b", "field.", "field.NAME"),
            ("tracepoint:a:b", "field.x:u32", "the kernel says"),
            ("uprobe:exe:f", "arg6", "arg0 to arg5"),
            ("uprobe:exe:f", "ret", "arg0 to arg5"),
            ("uretprobe:exe:f", "arg0", "there are ret"),
            ("uprobe:exe:f", "arg0:f32", "no way to read it"),
            ("usdt:exe:p:n", "arg12", "arg0 to arg11"),
            ("usdt:exe:p:n", "request.header.x", "arg0 to arg11"),
        ] {
            let said = From::parse(from).unwrap().operand(operand).unwrap_err();
            assert!(said.contains(reason), "{from} {operand}: {said}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "(tracepoint|uprobe|usdt)?:?\\PC{0,40}", operand in "(arg|field\\.)?\\PC{0,20}") {
            if let Ok(from) = From::parse(&text) {
                let _ = from.operand(&operand);
            }
        }
    }
}

//! What a command line really runs: the program, or, behind an interpreter or the dynamic loader, the script or module.
//! Shells, `uv run`, `docker run` and the like are not looked through: what they start is a process of its own.

use std::path::{Path, PathBuf};

/// A command line with its interpreter taken off.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Command<'a> {
    /// Base names under which the program may be known: executable, `argv[0]`, script.
    pub names: Vec<&'a str>,
    /// Path of the Python script.
    pub script: Option<String>,
    /// Python module, or the script's path, as dotted name without `.py`.
    pub dotted: Option<String>,
    /// `argv[0]` as it stands; a process title where setproctitle(3) was used.
    pub title: &'a str,
    /// What follows the program.
    pub args: &'a [String],
}

/// The last component of a path, as text; empty when there is none.
pub fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// Whether `name` is a Python interpreter's file name: `python`, `python3`, `python3.11`, `pypy3`, `python3.11-dbg`.
pub fn is_python(name: &str) -> bool {
    let rest = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    rest.is_some_and(|rest| rest.trim_end_matches("-dbg").bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b't'))
}

/// Programs that run the file named by their first argument in their own process: the dynamic loader and the loader of
/// actually portable executables (llamafile).
pub fn is_loader(name: &str) -> bool {
    name == "ape" || name.starts_with(".ape-") || (name.starts_with("ld-") && name.contains(".so"))
}

impl<'a> Command<'a> {
    /// Reads a command line. `exe` is the executable's path; `cwd` is asked for only when a script's path is relative.
    pub fn read(exe: Option<&'a Path>, argv: &'a [String], cwd: impl FnOnce() -> Option<PathBuf>) -> Self {
        let Some(title) = argv.first().map(String::as_str) else { return Self::default() };
        let exe_name = exe.and_then(Path::file_name).and_then(|name| name.to_str()).map(unwrapped);
        let mut names: Vec<&str> = exe_name.into_iter().collect();
        let zero = base_name(title);
        if !zero.is_empty() && !names.contains(&zero) {
            names.push(zero);
        }
        let mut command = Command { names, script: None, dotted: None, title, args: &argv[1..] };
        if command.names.iter().any(|name| is_python(name)) {
            command.enter_python(cwd);
        } else if command.names.iter().any(|name| is_loader(name)) {
            command.enter_loader();
        }
        command
    }

    fn enter_python(&mut self, cwd: impl FnOnce() -> Option<PathBuf>) {
        let (runs, args) = python_target(self.args);
        self.args = args;
        match runs {
            Python::Module(module) => self.dotted = Some(module.to_owned()),
            Python::Script(script) => {
                self.names.push(base_name(script));
                let path = if script.starts_with('/') { None } else { cwd().map(|dir| dir.join(script)) };
                let path = path.as_deref().and_then(Path::to_str).unwrap_or(script);
                self.script = Some(path.to_owned());
                self.dotted = Some(path.trim_end_matches(".py").trim_end_matches("/__main__").replace('/', "."));
            }
            Python::Other => {}
        }
    }

    fn enter_loader(&mut self) {
        let mut at = 0;
        while let Some(arg) = self.args.get(at) {
            match arg.as_str() {
                "--library-path" | "--argv0" | "--preload" | "--inhibit-rpath" | "--audit" => at += 2,
                option if option.starts_with("--") => at += 1,
                program => {
                    self.names.push(base_name(program));
                    self.args = &self.args[at + 1..];
                    return;
                }
            }
        }
    }

    /// The first argument that is no option: the subcommand of a command-line tool.
    pub fn subcommand(&self) -> Option<&'a str> {
        self.args.iter().map(String::as_str).find(|arg| !arg.starts_with('-'))
    }
}

/// Nix renames a wrapped `tool` to `.tool-wrapped`.
pub fn unwrapped(name: &str) -> &str {
    name.strip_prefix('.').and_then(|name| name.strip_suffix("-wrapped")).unwrap_or(name)
}

enum Python<'a> {
    Module(&'a str),
    Script(&'a str),
    /// `-c`, standard input, or nothing.
    Other,
}

/// Python's own option syntax (python(1)): single letters may be joined; `m`, `c`, `W` and `X` take a value.
fn python_target(args: &[String]) -> (Python<'_>, &[String]) {
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        let after = &args[at + 1..];
        if arg == "--check-hash-based-pycs" {
            at += 2;
            continue;
        }
        let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty() && !letters.starts_with('-'))
        else {
            let is_script = !arg.starts_with('-') && !arg.is_empty();
            return (if is_script { Python::Script(arg) } else { Python::Other }, after);
        };
        at += 1;
        for (i, letter) in letters.char_indices() {
            let value = &letters[i + letter.len_utf8()..];
            match letter {
                'm' if !value.is_empty() => return (Python::Module(value), after),
                'm' => {
                    return match after.split_first() {
                        Some((module, rest)) => (Python::Module(module), rest),
                        None => (Python::Other, after),
                    };
                }
                'c' => return (Python::Other, after.get(usize::from(value.is_empty())..).unwrap_or_default()),
                'W' | 'X' => {
                    at += usize::from(value.is_empty());
                    break;
                }
                _ => {}
            }
        }
    }
    (Python::Other, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn interpreters_are_looked_through() {
        for (exe, line, name, dotted, args) in [
            ("/usr/bin/python3.11", "/v/bin/python3 /v/bin/vllm serve m", "vllm", Some(".v.bin.vllm"), "serve m"),
            ("/usr/bin/python3.11", "python3 -m vllm.x --port 1", "python3", Some("vllm.x"), "--port 1"),
            ("/usr/bin/python3.11", "python3 -u -X dev -W ignore -Bm vllm.x a", "python3", Some("vllm.x"), "a"),
            ("/usr/bin/python3.11", "python3 -mvllm.x a", "python3", Some("vllm.x"), "a"),
            ("/usr/bin/python3.11", "python3 -c print(1) a", "python3", None, "a"),
            ("/usr/bin/python3.11", "python3 server.py --api", "server.py", Some(".w.ui.server"), "--api"),
            ("/usr/bin/python3.11", "python3 /p/sglang/__main__.py x", "__main__.py", Some(".p.sglang"), "x"),
            (
                "/lib64/ld-linux-x86-64.so.2",
                "ld.so --library-path /l /o/llama-server -m x",
                "llama-server",
                None,
                "-m x",
            ),
            ("/usr/bin/ape", "/usr/bin/ape ./llava.llamafile --server", "llava.llamafile", None, "--server"),
            ("/nix/store/h-ollama/bin/.ollama-wrapped", "ollama serve", "ollama", None, "serve"),
            ("/bin/bash", "bash -c vllm", "bash", None, "-c vllm"),
        ] {
            let argv = argv(line);
            let command = Command::read(Some(Path::new(exe)), &argv, || Some("/w/ui".into()));
            assert!(command.names.contains(&name), "{line}: {:?}", command.names);
            assert_eq!(command.dotted.as_deref(), dotted, "{line}");
            assert_eq!(command.args.join(" "), args, "{line}");
        }
    }

    #[test]
    fn python_names() {
        for name in ["python", "python3", "python3.11", "pypy3", "python3.13t", "python3.11-dbg"] {
            assert!(is_python(name), "{name}");
        }
        for name in ["pythonw.sh", "ipython", "python-config", "bash"] {
            assert!(!is_python(name), "{name}");
        }
    }

    #[test]
    fn empty_command_lines_are_harmless() {
        assert_eq!(Command::read(None, &[], || None), Command::default());
        let argv = argv("python3");
        assert_eq!(Command::read(None, &argv, || None).dotted, None);
    }
}

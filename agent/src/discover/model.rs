//! Which model a server serves and on which port it was told to listen, from its command line alone.
//! The wire says it better (every response names its model); this is what is known before the first request.

use std::fs;
use std::path::{Path, PathBuf};

use super::command::{Command, base_name};
use super::engine::Engine;
use super::process;
use crate::privacy;

/// Words of an engine's command-line tool that stand between the program and the model.
const SUBCOMMANDS: [&str; 6] = ["serve", "run", "start", "runner", "api_server", "plain"];

/// The model's name as the server will call it, as far as the command line says it: an alias as it stands, a hub id as
/// `owner/name`, a path and a URL as its last component without `.gguf`. It becomes a label and a service's name, so
/// that secrets are taken out of it.
pub fn model(engine: &Engine, command: &Command<'_>) -> Option<String> {
    let positional = || if engine.model_argument { argument(command.args) } else { None };
    let name = match option(command.args, engine.alias_options) {
        Some(alias) => alias.to_owned(),
        None => short_name(option(command.args, engine.model_options).or_else(positional)?)?,
    };
    Some(privacy::name(&name).into_owned())
}

/// The model that an option or an argument names, as it stands: what Ollama's blobs are looked up by.
fn model_path<'a>(engine: &Engine, command: &Command<'a>) -> Option<&'a str> {
    option(command.args, engine.model_options)
}

/// The HTTP port that the command line asks for.
pub fn port(engine: &Engine, command: &Command<'_>) -> Option<u16> {
    let value = option(command.args, engine.port_options)?;
    value.rsplit(':').next()?.parse().ok().filter(|port| *port > 0)
}

/// The value of the first of `names` that is given, as `--name value` or `--name=value`; `_` and `-` are the same.
fn option<'a>(args: &'a [String], names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        args.iter().enumerate().find_map(|(at, arg)| {
            let (given, value) = match arg.split_once('=') {
                Some((given, value)) if given.starts_with("--") => (given, Some(value)),
                _ => (arg.as_str(), None),
            };
            if !same_option(given, name) {
                return None;
            }
            value
                .or_else(|| args.get(at + 1).map(String::as_str))
                .filter(|value| !value.is_empty() && !value.starts_with('-'))
        })
    })
}

fn same_option(given: &str, name: &str) -> bool {
    let plain = |b: u8| if b == b'_' { b'-' } else { b };
    given.starts_with('-') && given.len() == name.len() && given.bytes().map(plain).eq(name.bytes().map(plain))
}

/// The first argument that is neither an option, nor an option's value, nor a subcommand.
fn argument(args: &[String]) -> Option<&str> {
    let mut before = "";
    for arg in args {
        let is_value = before.starts_with('-') && !before.contains('=');
        if !arg.starts_with('-') && !is_value && !SUBCOMMANDS.contains(&arg.as_str()) {
            return Some(arg);
        }
        before = arg;
    }
    None
}

/// `None` for names that mean nothing to a reader, such as Ollama's blobs.
fn short_name(named: &str) -> Option<String> {
    let (named, is_url) = match named.split_once("://") {
        Some((scheme, rest)) => (path_of_url(scheme, rest)?, true),
        None => (named, false),
    };
    if let Some(cached) = hub_cache_name(named) {
        return Some(cached);
    }
    let is_path =
        is_url || named.starts_with(['/', '.', '~']) || named.ends_with(".gguf") || named.matches('/').count() > 1;
    let name = if is_path { base_name(named) } else { named };
    let name = name.strip_suffix(".gguf").or_else(|| name.strip_suffix(".llamafile")).unwrap_or(name);
    (!name.is_empty() && !name.starts_with("sha256-")).then(|| name.to_owned())
}

/// The path of a URL without its `/`. A query signs or holds a key, a fragment says nothing, and before the path stand a
/// host and maybe a password, which name no model. `ollama://name` has nothing but the name.
fn path_of_url<'a>(scheme: &str, rest: &'a str) -> Option<&'a str> {
    let rest = rest.split(['?', '#']).next()?;
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = authority.rsplit('@').next()?.rsplit_once(':').map_or("", |(_, port)| port);
    // `user:pass/word@host/...`: a password with a slash in it goes on in what looks like the path.
    if web && !port.ends_with(']') && !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match path.trim_matches('/') {
        "" if web || authority.contains('@') => None,
        "" => Some(authority),
        path => Some(path),
    }
}

/// `.../models--owner--name/snapshots/HASH/...` is `owner/name` (the layout of the Hugging Face cache).
fn hub_cache_name(path: &str) -> Option<String> {
    path.split('/').find_map(|part| Some(part.strip_prefix("models--")?.replacen("--", "/", 1)))
}

/// The name under which Ollama knows the blob that a runner loads: the manifest that lists the blob's digest.
/// Reads the manifests beside the blobs, through the process's own root directory.
pub fn ollama_model(proc_root: &Path, pid: u32, engine: &Engine, command: &Command<'_>) -> Option<String> {
    let blob = model_path(engine, command)?;
    let (models, digest) = blob.rsplit_once("/blobs/sha256-")?;
    let manifests = process::file(proc_root, pid, "root").join(models.trim_start_matches('/')).join("manifests");
    let manifest = find_manifest(&manifests, &format!("sha256:{digest}"), 5)?;
    let parts: Vec<&str> = manifest.strip_prefix(&manifests).ok()?.iter().filter_map(|part| part.to_str()).collect();
    // HOST/OWNER/NAME/TAG; the default host and owner are left out, as `ollama list` does.
    match parts.as_slice() {
        [_, "library", name, tag] => Some(format!("{name}:{tag}")),
        [.., owner, name, tag] => Some(format!("{owner}/{name}:{tag}")),
        _ => None,
    }
}

/// The most manifests that are read for one model.
const MAX_MANIFESTS: usize = 512;

fn find_manifest(dir: &Path, digest: &str, depth: u32) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).ok()?.take(MAX_MANIFESTS).filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    entries.into_iter().find_map(|path| {
        if path.is_dir() {
            return depth.checked_sub(1).and_then(|depth| find_manifest(&path, digest, depth));
        }
        process::read_text(&path)?.contains(digest).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::super::classify::classify;
    use super::*;

    fn read(line: &str) -> (Option<String>, Option<u16>) {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let command = Command::read(None, &argv, || None);
        let (engine, _) = classify(&command).unwrap();
        (model(engine, &command), port(engine, &command))
    }

    #[test]
    fn no_secret_of_a_command_line_becomes_a_name() {
        for (arguments, model) in [
            ("-mu https://b.s3.amazonaws.com/m/y.gguf?X-Amz-Credential=AKIA0&X-Amz-Signature=5f3c", Some("y")),
            ("--model-url https://host/m/y.gguf?token=hunter2/secret", Some("y")),
            ("--model-url=HTTPS://host/m/y.gguf#hunter2", Some("y")),
            ("-mu https://host/models--a--b?token=hunter2", Some("a/b")),
            ("-mu https://user:hunter2@models.corp", None),
            ("-mu https://user:hunter2@models.corp/", None),
            ("-mu https://user:hunter2@models.corp:8443/x/y.gguf", Some("y")),
            ("-mu https://user:hunt/er2@models.corp/", None),
            ("-mu https://user:hunt?er2@models.corp/y.gguf", None),
            ("-mu https://[::1]:80/y.gguf", Some("y")),
            ("-mu https://[::1]/y.gguf", Some("y")),
            ("-m redis://user:hunter2@models.corp", None),
            ("-a hf_abcdefghijklmnopqrstuvwxyz012345", Some("[hf-token]")),
            ("-m /m/hf_abcdefghijklmnopqrstuvwxyz012345.gguf", Some("[hf-token]")),
        ] {
            let (named, _) = read(&format!("/o/llama-server {arguments}"));
            assert_eq!(named.as_deref(), model, "{arguments}");
        }
    }

    #[test]
    fn models_and_ports() {
        for (line, model, port) in [
            ("/v/bin/python /v/bin/vllm serve /m/tiny-llama --port 18000 --served-model-name tiny", "tiny", 18000),
            ("/v/bin/python /v/bin/vllm serve Qwen/Qwen3-8B --port=8001", "Qwen/Qwen3-8B", 8001),
            ("/v/bin/python /v/bin/vllm serve --port 8001 Qwen/Qwen3-8B", "Qwen/Qwen3-8B", 8001),
            ("python -m vllm.entrypoints.openai.api_server --model a/b --served_model_name x y --port 1", "x", 1),
            ("python -m sglang.launch_server --model-path /m/q/ --port 30001", "q", 30001),
            ("/o/llama-server -m /m/SmolLM2.Q4_1.gguf --port 18080", "SmolLM2.Q4_1", 18080),
            ("/o/llama-server -hf ggml-org/gemma:Q4 --port 9", "ggml-org/gemma:Q4", 9),
            ("/o/llama-server -m /m/x.gguf -a chat --port 9", "chat", 9),
            ("text-generation-launcher --model-id m/q -p 80", "m/q", 80),
            ("python3 /x/bin/trtllm-serve serve m/q --port 8", "m/q", 8),
            ("mistralrs-server --port 1234 plain -m m/q", "m/q", 1234),
            ("/v/bin/python /v/bin/lmdeploy serve api_server m/q --server-port 23334", "m/q", 23334),
            ("local-ai run --address :8081 --model x", "", 8081),
            ("/v/bin/python /v/bin/vllm serve /h/hub/models--a--b-c/snapshots/0123/ --port 7", "a/b-c", 7),
            ("/o/llama-server --model-url https://host/x/y.gguf --port 7", "y", 7),
            ("/o/llama-server -mu https://hf.co/o/SmolLM2-Q4.gguf?download=true --port 7", "SmolLM2-Q4", 7),
            ("/v/bin/python /v/bin/vllm serve s3://bucket/models/qwen --port 7", "qwen", 7),
            ("/o/llama-server -m ollama://smollm:135m --port 7", "smollm:135m", 7),
            ("ollama runner --model /root/.ollama/models/blobs/sha256-00 --port 34000", "", 34000),
        ] {
            let model = (!model.is_empty()).then(|| model.to_owned());
            assert_eq!(read(line), (model, Some(port)), "{line}");
        }
        assert_eq!(read("/o/llama-server"), (None, None));
        assert_eq!(read("/o/llama-server -m"), (None, None));
        assert_eq!(read("/o/llama-server --port 70000 -m --x"), (None, None));
    }

    #[test]
    fn ollama_blobs_have_names() {
        let root = tempfile::tempdir().unwrap();
        let manifests = root.path().join("7/root/root/.ollama/models/manifests/registry.ollama.ai/library");
        for (name, tag, digest) in [("llama3.2", "1b", "aa"), ("qwen3", "latest", "bb")] {
            fs::create_dir_all(manifests.join(name)).unwrap();
            fs::write(manifests.join(name).join(tag), format!(r#"{{"layers":[{{"digest":"sha256:{digest}"}}]}}"#))
                .unwrap();
        }
        let line = "ollama runner --model /root/.ollama/models/blobs/sha256-bb --port 34000";
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let command = Command::read(None, &argv, || None);
        let (engine, _) = classify(&command).unwrap();
        assert_eq!(ollama_model(root.path(), 7, engine, &command).as_deref(), Some("qwen3:latest"));
        assert_eq!(ollama_model(root.path(), 8, engine, &command), None);
    }
}

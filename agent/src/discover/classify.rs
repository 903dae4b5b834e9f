//! Whether a command line, a set of libraries or an execve path belongs to an engine of the table.
//! Decides from names alone; reads no file.

use super::command::{Command, base_name, is_loader, is_python, unwrapped};
use super::engine::{ENGINES, Engine};
use super::pattern;

/// What gave a process away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The executable's or the console script's name.
    Program,
    /// The Python module or script.
    Module,
    /// A process title.
    Title,
    /// A library that only this engine loads, in a process that listens.
    Library,
    /// What it spoke on the wire.
    Wire,
    /// The operator named the process, its executable or its port.
    Given,
}

/// The engine that a command line runs, if any.
pub fn classify(command: &Command<'_>) -> Option<(&'static Engine, Evidence)> {
    ENGINES.iter().find_map(|engine| engine.runs(command).map(|evidence| (engine, evidence)))
}

impl Engine {
    fn runs(&self, command: &Command<'_>) -> Option<Evidence> {
        if pattern::any(self.titles, command.title) {
            return Some(Evidence::Title);
        }
        let by_program = command.names.iter().any(|name| pattern::any(self.programs, name));
        let by_module = command.dotted.as_deref().is_some_and(|dotted| self.runs_module(dotted));
        if !(by_program || by_module) || !self.serves(command) {
            return None;
        }
        Some(if by_program { Evidence::Program } else { Evidence::Module })
    }

    fn runs_module(&self, dotted: &str) -> bool {
        self.modules
            .iter()
            .any(|module| pattern::matches(module, dotted) || pattern::matches(&format!("*.{module}"), dotted))
    }

    /// A module that is a server by itself needs no subcommand; a command-line tool does.
    fn serves(&self, command: &Command<'_>) -> bool {
        if command.args.iter().any(|arg| matches!(arg.as_str(), "--help" | "--version")) {
            return false;
        }
        let is_server_module = command.dotted.as_deref().is_some_and(|dotted| dotted.ends_with("_server"));
        let subcommand = command.subcommand().unwrap_or_default();
        let right_subcommand =
            self.subcommands.is_empty() || is_server_module || self.subcommands.contains(&subcommand);
        let has_needed = self.needs.is_empty()
            || command.args.iter().any(|arg| self.needs.iter().any(|needed| arg.contains(needed)));
        right_subcommand && has_needed
    }
}

/// Words in a command line that make it worth reading the process's libraries.
const HINTS: [&str; 5] = ["llama", "gguf", "triton", "trtllm", "tensorrt"];

/// Whether a process that is no known engine by its command line may be one by its libraries.
pub fn hints_at_library(argv: &[String]) -> bool {
    argv.iter().any(|arg| HINTS.iter().any(|hint| arg.contains(hint)))
}

/// The engine that loads one of these libraries, given as paths.
pub fn by_library<'a>(mut libraries: impl Iterator<Item = &'a str>) -> Option<&'static Engine> {
    libraries.find_map(|path| ENGINES.iter().find(|engine| pattern::any(engine.libraries, base_name(path))))
}

/// Whether an execve(2) path could start an inference server: an engine's name, an interpreter, or a name that says
/// nothing (cut off, or a descriptor). A cheap filter for every exec of the host; `inspect` then decides.
pub fn worth_a_look(filename: &[u8]) -> bool {
    // The kernel event holds at most this many bytes: a longer path has lost its last component.
    const CUT: usize = inferscope_abi::FILENAME_BYTES - 1;
    let Ok(path) = std::str::from_utf8(filename) else { return filename.len() >= CUT };
    if filename.len() >= CUT || path.starts_with("/proc/") || path.starts_with("/dev/fd/") {
        return true;
    }
    let name = unwrapped(base_name(path));
    is_python(name)
        || is_loader(name)
        || HINTS.iter().any(|hint| name.contains(hint))
        || ENGINES.iter().any(|engine| pattern::any(engine.programs, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine_of(exe: &str, line: &str) -> Option<(&'static str, Evidence)> {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let exe = (!exe.is_empty()).then(|| exe.as_ref());
        let command = Command::read(exe, &argv, || Some("/srv/text-generation-webui".into()));
        classify(&command).map(|(engine, evidence)| (engine.name, evidence))
    }

    const PY: &str = "/usr/bin/python3.11";

    #[test]
    fn servers_are_recognised() {
        use Evidence::{Module, Program, Title};
        for (exe, line, engine, evidence) in [
            (PY, "/v/bin/python /v/bin/vllm serve /m/tiny --port 18000", "vllm", Program),
            (PY, "python -m vllm.entrypoints.openai.api_server --model m", "vllm", Module),
            (PY, "python3 /v/lib/python3.11/site-packages/vllm/entrypoints/openai/api_server.py", "vllm", Module),
            (PY, "python3 -m vllm.entrypoints.cli.main serve m", "vllm", Module),
            (PY, "VLLM::EngineCore", "vllm", Title),
            (PY, "VLLM::Worker_TP0", "vllm", Title),
            ("", "VLLM::APIServer_1", "vllm", Title),
            (PY, "python3 -m sglang.launch_server --model-path q", "sglang", Module),
            (PY, "sglang::scheduler_TP0", "sglang", Title),
            (PY, "/v/bin/python /v/bin/sglang serve --model-path q", "sglang", Program),
            ("/usr/local/bin/ollama", "/usr/local/bin/ollama serve", "ollama", Program),
            ("/usr/local/bin/ollama", "/usr/local/bin/ollama runner --model /b/sha256-1 --port 4", "ollama", Program),
            ("/o/llama-server", "./llama-server -m x.gguf", "llama_cpp", Program),
            ("", "/o/bin/llama-server -m x.gguf", "llama_cpp", Program),
            (PY, "python -m llama_cpp.server --model x.gguf", "llama_cpp", Module),
            ("/usr/bin/ape", "/usr/bin/ape ./llava.llamafile", "llamafile", Program),
            ("/x/text-generation-router", "text-generation-router --port 80", "tgi", Program),
            (
                PY,
                "/opt/conda/bin/python3 /opt/conda/bin/text-generation-server serve q --uds-path /tmp/u",
                "tgi",
                Program,
            ),
            ("/opt/tritonserver/bin/tritonserver", "tritonserver --model-repository=/m", "triton", Program),
            (PY, "/usr/bin/python3 /usr/local/bin/trtllm-serve q", "tensorrt_llm", Program),
            ("/x/mistralrs-server", "mistralrs-server --port 1234 plain -m q", "mistral_rs", Program),
            (PY, "/v/bin/python /v/bin/lmdeploy serve api_server q", "lmdeploy", Program),
            ("/x/koboldcpp-linux-x64", "./koboldcpp-linux-x64 m.gguf", "koboldcpp", Program),
            (PY, "python3 koboldcpp.py m.gguf", "koboldcpp", Module),
            (PY, "python3 server.py --model q", "text_generation_webui", Module),
            ("/x/local-ai", "local-ai", "localai", Program),
            (PY, "python -m aphrodite.endpoints.openai.api_server --model q", "aphrodite", Module),
            (PY, "ray::ServeReplica:app:LLMServer:q", "ray_serve_llm", Title),
            (PY, "python /v/bin/serve run ray.serve.llm:build_openai_app", "ray_serve_llm", Program),
            ("/x/text-embeddings-router", "text-embeddings-router --model-id q", "tei", Program),
        ] {
            assert_eq!(engine_of(exe, line), Some((engine, evidence)), "{line}");
        }
    }

    #[test]
    fn tools_and_wrappers_are_not() {
        for (exe, line) in [
            ("/usr/bin/vim", "vim vllm.py"),
            ("/usr/bin/grep", "grep -r vllm"),
            (PY, "python3 /usr/bin/pip install vllm"),
            (PY, "python3 -m pip install vllm"),
            ("/usr/bin/tail", "tail -f vllm.log"),
            ("/bin/bash", "bash -c vllm serve m"),
            ("/bin/bash", "/bin/bash /usr/local/bin/vllm serve m"),
            ("/usr/bin/docker", "docker run --name vllm vllm/vllm-openai --model m"),
            ("/root/.local/bin/uv", "uv run vllm serve m"),
            ("/root/.local/bin/uvx", "uvx vllm serve m"),
            ("/usr/bin/tini", "tini -- vllm serve m"),
            ("/usr/bin/sudo", "sudo -u llm vllm serve m"),
            ("/usr/bin/gdb", "gdb --args llama-server -m x"),
            (PY, "python3 vllm.py"),
            (PY, "python3 train_vllm.py"),
            (PY, "python3 -c import(vllm.entrypoints.openai.api_server)"),
            (PY, "/v/bin/python /v/bin/vllm bench serve --model m"),
            (PY, "/v/bin/python /v/bin/vllm --version"),
            (PY, "/v/bin/python /v/bin/vllm serve --help"),
            (PY, "/v/bin/python /v/bin/torchrun -m sglang.launch_server"),
            ("/usr/local/bin/ollama", "ollama run llama3"),
            ("/usr/local/bin/ollama", "ollama pull llama3"),
            ("/o/llama-cli", "llama-cli -m x.gguf"),
            ("/o/llama-bench", "llama-bench -m x.gguf"),
            (PY, "python3 server.py.bak"),
            (PY, "python /v/bin/serve run app:main"),
            (PY, "ray::IDLE"),
            ("/usr/bin/less", "less llama-server.log"),
            ("/usr/bin/bash", "-bash"),
        ] {
            assert_eq!(engine_of(exe, line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(argv in proptest::collection::vec("[-=:/.a-z\u{fc}]*", 0..6), exe in "\\PC*", bytes in proptest::collection::vec(0u8.., 0..120)) {
            for first in ["python3", "ld-linux.so.2", "vllm", "ollama", "lmdeploy"] {
                let argv: Vec<String> = std::iter::once(first.to_owned()).chain(argv.iter().cloned()).collect();
                let command = Command::read(Some(exe.as_ref()), &argv, || None);
                if let Some((engine, _)) = classify(&command) {
                    super::super::model::model(engine, &command);
                    super::super::model::port(engine, &command);
                }
            }
            worth_a_look(&bytes);
        }
    }

    #[test]
    fn libraries_name_the_engine() {
        let name = |path: &str| by_library([path].into_iter()).map(|engine| engine.name);
        assert_eq!(name("/x/libllama.so.0.0.4321"), Some("llama_cpp"));
        assert_eq!(name("/opt/tritonserver/lib/libtritonserver.so"), Some("triton"));
        assert_eq!(name("/x/libtensorrt_llm.so"), Some("tensorrt_llm"));
        // OpenAI's Triton compiler is part of every PyTorch.
        assert_eq!(name("/x/site-packages/triton/_C/libtriton.so"), None);
        assert_eq!(name("/usr/lib/libnvinfer.so.10"), None);
    }

    #[test]
    fn exec_paths_are_filtered() {
        for path in ["/usr/bin/python3", "/v/bin/vllm", "./llama-server", "a.llamafile", "/proc/self/fd/3", "/x/ollama"]
        {
            assert!(worth_a_look(path.as_bytes()), "{path}");
        }
        assert!(worth_a_look(&[b'x'; inferscope_abi::FILENAME_BYTES]));
        for path in ["/bin/sh", "/usr/bin/grep", "/usr/bin/git", "", "/usr/bin/vim"] {
            assert!(!worth_a_look(path.as_bytes()), "{path}");
        }
        assert!(!worth_a_look(b"/bin/\xff\xfe"));
    }

    #[test]
    fn the_table_is_well_formed() {
        for engine in ENGINES {
            let recognised =
                engine.programs.len() + engine.modules.len() + engine.titles.len() + engine.libraries.len();
            assert!(recognised > 0, "{}", engine.name);
            assert!(!engine.name.is_empty() && engine.default_port > 0);
            assert!(engine.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", engine.name);
        }
    }
}

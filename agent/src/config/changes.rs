//! What is followed of changes of the watched servers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration_text;

/// Changes of servers, host and agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    pub enabled: bool,
    /// How often files, limits, executables and the driver are looked at.
    #[serde(with = "duration_text")]
    pub interval: Duration,
    /// Names of the environment that are compared when a server begins again, with `*` and `?`. Those that look like
    /// names of secrets are left out.
    pub environment: Vec<String>,
}

const ENVIRONMENT: [&str; 22] = [
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_MODULE_LOADING",
    "NVIDIA_VISIBLE_DEVICES",
    "VLLM_*",
    "SGLANG_*",
    "SGL_*",
    "OLLAMA_*",
    "LLAMA_ARG_*",
    "GGML_*",
    "TRTLLM_*",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "TOKENIZERS_PARALLELISM",
    "NCCL_*",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_LOGS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
];

impl Default for Changes {
    fn default() -> Self {
        let environment = ENVIRONMENT.map(str::to_owned).to_vec();
        Changes { enabled: true, interval: Duration::from_secs(10), environment }
    }
}
